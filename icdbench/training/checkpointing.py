"""Checkpoints: a run stopped at any instant and started again ends with the same bits as one never stopped (on a CPU)."""

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
CHECKPOINT_SHARE = 0.02  # of the time that checkpoints may take: not every short epoch ends with one


class Checkpoints:
    """Writes checkpoints when they are due, or when training is asked to stop."""

    def __init__(self, path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, on: Fabric) -> None:
        self.path, self.model, self.optimizer, self.on = path, model, optimizer, on
        self.last, self.cost = time.monotonic(), 0.0  # when the last one was written, and what it took

    def stop_or_save(
        self, state: State, best: dict[str, Tensor], wait: float, *, stop: bool, at_once: bool = False
    ) -> None:
        """Save if the last checkpoint is `wait` seconds old, or at once. With `stop` raises KeyboardInterrupt when saved."""
        due = at_once or time.monotonic() - self.last > max(wait, self.cost / CHECKPOINT_SHARE)
        stop, due = agreed(self.on, stop, due)
        if not stop and not due:
            return
        if self.path is not None:
            began = time.monotonic()
            _save(self.path, self.model, self.optimizer, state, best, self.on)
            self.last = time.monotonic()
            self.cost = self.last - began
        if stop:
            self.on.barrier()  # a process that ended while the first still writes would end that too
            raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C, SIGTERM or SIGHUP came in the block; the second such signal acts at once."""
    asked = False
    previous: dict[signal.Signals, Any] = {}

    def ask(number: int, _: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, previous[signal.Signals(number)])

    try:
        for number in (signal.SIGINT, *processes.terminations()):
            previous[number] = signal.signal(number, ask)
    except ValueError:  # not the main thread: Ctrl-C is somebody else's
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: State, best: dict[str, Tensor], on: Fabric
) -> None:
    """Weights, best weights, optimizer and every random state; numbers that are no tensors go into the JSON part.

    Of several processes all must call it, and the first one writes.
    """
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    stored = optimizer.state_dict()
    for index, slots in stored["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in slots.items()}
    tensors["random/torch"] = all_rows(torch.get_rng_state(), on)
    if torch.cuda.is_available():
        tensors["random/cuda"] = all_rows(torch.cuda.get_rng_state(), on)
    if on.global_rank:
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


def resume(
    path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, on: Fabric
) -> tuple[State, dict[str, Tensor]]:
    """State and best weights so far; the model, the optimizer and all generators are set to where they were.

    A checkpoint that does not fit the model is warned of, and training starts from the model as it came.
    """
    fresh = {name: value.detach().clone() for name, value in model.state_dict().items()}
    untouched = optimizer.state_dict(), torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    discard = on.world_size == 1  # of several processes none, while others read
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
    model.load_state_dict(part("best/"))  # fails here if they do not fit, not at the end
    model.load_state_dict(part("model/"))
    optimizer.load_state_dict({"state": slots, "param_groups": stored["groups"]})
    # A copy: torch reads the storage of a row from its beginning, not from the row's.
    torch.set_rng_state(tensors["random/torch"][rank % len(tensors["random/torch"])].clone())
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"][rank % len(tensors["random/cuda"])].clone())
    kind, *rest = stored["numpy"]
    np.random.set_state((kind, tensors["random/numpy"].numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = stored["python"]
    random.setstate((version, tuple(internal), gauss))
    device = next(model.parameters()).device
    return state, {name: value.to(device) for name, value in part("best/").items()}
