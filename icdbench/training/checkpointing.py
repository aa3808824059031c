"""Checkpoints of training: `Checkpoints` writes them, `resume` continues from one with the same bits (on a CPU)."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from icdbench.host import processes
from icdbench.records import store
from icdbench.training.accelerator import agreed, all_rows
from icdbench.training.state import State

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger("icdbench")

CHECKPOINT_SECONDS = 300.0  # from one checkpoint to the next within an epoch
CHECKPOINT_SHARE = 0.02  # largest share of the time spent on checkpoints: not every short epoch ends with one


class Checkpoints:
    """Writes checkpoints when they are due and when training is interrupted."""

    def __init__(self, path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, on: Fabric) -> None:
        self.path, self.model, self.optimizer, self.on = path, model, optimizer, on
        self.last, self.cost = time.monotonic(), 0.0  # when the last one was written; seconds that it took

    def stop_or_save(
        self, state: State, best: dict[str, Tensor], wait: float, *, stop: bool, at_once: bool = False
    ) -> None:
        """Save if the last checkpoint is `wait` seconds old, or `at_once`. With `stop` save, then raise KeyboardInterrupt."""
        due = at_once or time.monotonic() - self.last > max(wait, self.cost / CHECKPOINT_SHARE)
        stop, due = agreed(self.on, stop, due)
        if not stop and not due:
            return
        if self.path is not None:
            began = time.monotonic()
            self._save(self.path, state, best)
            self.last = time.monotonic()
            self.cost = self.last - began
        if stop:
            self.on.barrier()  # if one process ended, the first, which is still writing, would be ended, too
            raise KeyboardInterrupt

    def _save(self, path: Path, state: State, best: dict[str, Tensor]) -> None:
        """Write weights, best weights, optimizer and every random state; what is no tensor goes into the JSON part.

        All processes of a run must call it; the first one writes.
        """
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in best.items()}
        stored = self.optimizer.state_dict()
        for index, slots in stored["state"].items():
            tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in slots.items()}
        tensors["random/torch"] = all_rows(torch.get_rng_state(), self.on)
        if torch.cuda.is_available():
            tensors["random/cuda"] = all_rows(torch.cuda.get_rng_state(), self.on)
        if self.on.global_rank:
            return
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        tensors["random/numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
        version, internal, gauss = random.getstate()
        json_state = {
            "state": vars(state) | {"best": state.best if state.best_epoch else None},
            "groups": stored["param_groups"],
            "numpy": [kind, *rest],
            "python": [version, list(internal), gauss],
        }
        store.save_checkpoint(
            path, {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, json_state
        )


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C, SIGTERM or SIGHUP came in the block; a second such signal acts at once."""
    received = False
    previous: dict[signal.Signals, Any] = {}

    def receive(number: int, _: Any) -> None:
        nonlocal received
        received = True
        signal.signal(number, previous[signal.Signals(number)])

    try:
        for number in (signal.SIGINT, *processes.terminations()):
            previous[number] = signal.signal(number, receive)
    except ValueError:  # not the main thread, which alone handles signals
        yield lambda: False
        return
    try:
        yield lambda: received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def resume(
    path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, on: Fabric
) -> tuple[State, dict[str, Tensor]]:
    """Return the state and the best weights so far, and restore the model, the optimizer and all random generators.

    If there is no checkpoint, or none that fits the model (which is warned of), training starts from the model as it is.
    """
    fresh = {name: value.detach().clone() for name, value in model.state_dict().items()}
    untouched = optimizer.state_dict(), torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    discard = on.world_size == 1  # other processes may still be reading it
    found = None if path is None else store.load_checkpoint(path, discard=discard)
    if found is None:
        return State(), fresh
    try:
        return _restore(*found, model, optimizer, on.global_rank)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        log.warning("checkpoint %s does not fit (%s); this run starts again", path, str(error).splitlines()[0])
        model.load_state_dict(fresh)
        optimizer.load_state_dict(untouched[0])
        torch.set_rng_state(untouched[1])
        np.random.set_state(untouched[2])  # noqa: NPY002
        random.setstate(untouched[3])
        return State(), fresh


def _restore(
    tensors: dict[str, Tensor],
    stored: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rank: int,
) -> tuple[State, dict[str, Tensor]]:
    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimizer/").items():
        index, _, slot = name.partition("/")
        slots.setdefault(int(index), {})[slot] = value
    values = dict(stored["state"])
    values["best"] = -math.inf if values["best"] is None else values["best"]
    state = State(**values)
    model.load_state_dict(part("best/"))  # only to fail here, not at the end, if they do not fit
    model.load_state_dict(part("model/"))
    optimizer.load_state_dict({"state": slots, "param_groups": stored["groups"]})
    # A copy, because torch reads a row's storage from the beginning of the whole tensor.
    torch.set_rng_state(tensors["random/torch"][rank % len(tensors["random/torch"])].clone())
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"][rank % len(tensors["random/cuda"])].clone())
    kind, *rest = stored["numpy"]
    np.random.set_state((kind, tensors["random/numpy"].numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = stored["python"]
    random.setstate((version, tuple(internal), gauss))
    device = next(model.parameters()).device
    return state, {name: value.to(device) for name, value in part("best/").items()}
