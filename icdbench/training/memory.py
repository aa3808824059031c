"""Memory: check that a model fits before anything is allocated, and compute batches that do not fit in parts.

Without the check an absurd width would end in one of torch's dozen errors, or in swapping and a killed process, which would
end the other runs of a grid, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from icdbench import registry
from icdbench.settings import SpecError, TrainingError, UnsuitableError
from icdbench.spec import RunSpec
from icdbench.training import guidance, score
from icdbench.training.objectives import Objective, objective_of, own_count, read, with_penalty
from icdbench.training.state import State
from icdbench.types import Batch, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger("icdbench")

TRAINED = 4  # training needs the weights' memory this many times: weights, gradients, Adam's two moments
MAKERS = (
    torch.empty,
    torch.zeros,
    torch.ones,
    torch.full,
    torch.rand,
    torch.randn,
)  # functions that layers allocate with
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class TooLargeError(TrainingError):
    """A model that needs more memory than there is."""


class _Counting(TorchFunctionMode):
    """Raises TooLargeError before tensors of more than `most` numbers in all are made."""

    def __init__(self, most: int, message: str) -> None:
        super().__init__()
        self.made, self.most, self.message = 0, most, message

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func in MAKERS and args:
            size = args[0] if isinstance(args[0], Sequence) else [each for each in args if isinstance(each, int)]
            self.made += prod(size)
            if self.made > self.most:
                raise TooLargeError(self.message.format(4 * self.made / 1e9))
        return func(*args, **(kwargs or {}))


def memory() -> int:
    """Bytes of main memory of this machine, or of its container's limit."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [text for path in LIMITS if path.is_file() and (text := path.read_text().strip()).isdecimal()]
    return min(installed, *map(int, limits))


def check(spec: RunSpec, task: Task, *, on_cpu: bool, changed: Iterable[str] = ()) -> None:
    """Raises TrainingError if the model does not fit, as far as this can be told without allocating anything.

    The task needs no word vectors, so that none are trained for a model that does not fit. The message names the settings
    among `changed` that are the model's own.
    """
    try:
        with torch.device("meta"):
            _build(spec, task, changed, on_cpu=on_cpu)
    except TooLargeError:
        raise
    except (ValueError, TypeError, OverflowError, RuntimeError):
        pass  # not every model can be built on the meta device; its own errors are raised when it is built for use


def check_settings(spec: RunSpec, task: Task) -> None:
    """Raises UnsuitableError for settings that the model itself rejects, as far as this can be told without allocating."""
    if not spec.uses_trainer:
        return
    try:
        with torch.device("meta"):
            model = _build(spec, task, (), on_cpu=True)
    except SpecError as error:
        named = str(error).startswith(spec.system)
        raise UnsuitableError(f"{'' if named else f'{spec.system}: '}{error}") from None
    except Exception:  # noqa: BLE001  as in check; a model's code may raise anything
        return
    if spec.train.guidance and spec.train.guidance_similarity and isinstance(model, nn.Module):
        guidance.check(model, spec.system)


def build(spec: RunSpec, task: Task, *, on_cpu: bool, changed: Iterable[str] = ()) -> registry.Model:
    """The model of a run. Raises TrainingError, so that the other runs of a grid go on, if it does not fit or cannot be built."""
    try:
        return _build(spec, task, changed, on_cpu=on_cpu)
    except TrainingError:
        raise
    except (ValueError, TypeError, OverflowError, RuntimeError, MemoryError) as error:
        small = isinstance(error, RuntimeError | MemoryError) and out_of_memory(error)
        reason = "not enough memory" if small else next(iter(str(error).splitlines()), type(error).__name__)
        raise TrainingError(f"the model cannot be built: {reason}") from error


def _build(spec: RunSpec, task: Task, changed: Iterable[str], *, on_cpu: bool) -> registry.Model:
    have, times = memory(), TRAINED if on_cpu else 1  # when a GPU trains, main memory holds only a copy of the weights
    with _Counting(have // (4 * times), _too_large(changed, spec.model, have, times)):
        return registry.build(spec.model, task, **spec.config)


def _too_large(changed: Iterable[str], model: str, have: int, times: int) -> str:
    """The error message, with a placeholder for the size of the weights in GB."""
    sizes = [key for key in changed if key.startswith(f"{model}.")]
    smaller = f"choose a smaller {' or '.join(sizes)}" if sizes else "it needs a larger machine"
    needs = (
        f"at least {{:,.1f}} GB of weights, {times} times that in training" if times > 1 else "{:,.1f} GB of weights"
    )
    return f"the model does not fit into memory: {needs}, and there are {have / 1e9:,.1f} GB; {smaller}"


def backward(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    objective: Objective,
    count: int,
    whole: int,
    on: Fabric,
) -> tuple[float, int]:
    """Compute the gradients of the objective of a batch of `whole` documents; return its value and the number of parts.

    `batch` holds this process's documents, which are all of them unless there are other processes. It is computed as a
    whole if memory allows, else in halves, quarters and so on, weighted by their documents. Each part leaves out positive
    pairs in proportion to those it has, `count` in all. Raises torch's error if not even one document fits, or if there are
    other processes.
    """
    if on.world_size > 1:
        return _share_backward(module, optimizer, batch, objective, count, whole, on), 1
    parts = 1
    while True:
        try:
            optimizer.zero_grad(set_to_none=True)
            value = 0.0
            for part, left_out in _parts(batch, count, parts):
                share = len(part.index_B) / whole
                loss = objective_of(module, part, objective, left_out)
                loss_value = _read_later(loss.detach())
                on.backward(loss * share if parts > 1 else loss)
                value += loss_value() * share
        except (RuntimeError, MemoryError) as error:
            if parts >= whole or not out_of_memory(error):
                raise
            parts *= 2
        else:
            return value, parts
        # Outside the except block nothing refers to the failed attempt any more.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _read_later(number: Tensor) -> Callable[[], float]:
    """A function that returns the number. On a GPU it waits only for work queued before now, not for later work."""
    if number.device.type != "cuda":
        return number.item
    here, ready = torch.empty((), dtype=number.dtype, pin_memory=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
    here.copy_(number, non_blocking=True)
    ready.record()

    def read_number() -> float:
        ready.synchronize()
        return here.item()

    return read_number


def _share_backward(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    objective: Objective,
    count: int,
    whole: int,
    on: Fabric,
) -> float:
    """Compute the gradients of this process's share, which Fabric averages; return the value of the whole batch's objective."""
    world = on.world_size
    documents = (whole - on.global_rank + world - 1) // world  # 0: a document is computed, but has no weight
    batch, count = objective.repeated(batch), count * objective.readings
    logits_BL, added = read(module, batch, objective)
    logits_and_labels = objective.documents(logits_BL.detach()), objective.documents(batch.labels_BL)
    left_out = own_count(*logits_and_labels, count, on, counting=documents > 0) if count else 0
    loss = (with_penalty(module, batch, logits_BL, objective, left_out) + added) * (documents / whole)
    optimizer.zero_grad(set_to_none=True)
    on.backward(loss * world)
    value: float = on.all_reduce(loss.detach(), reduce_op="sum").item()  # type: ignore[union-attr]
    return value


def _parts(batch: Batch, count: int, parts: int) -> Iterator[tuple[Batch, int]]:
    """The batch split into parts, each with the number of positive pairs that it leaves out."""
    if parts == 1:
        yield batch, count
        return
    positives, seen, taken = int(batch.labels_BL.sum()), 0, 0
    for rows in torch.arange(len(batch.index_B)).chunk(parts):
        part = Batch(*(value[rows] for value in vars(batch).values()))
        seen += int(part.labels_BL.sum())
        upto = count * seen // max(positives, 1)
        yield part, upto - taken
        taken = upto


def warn_of_parts(model: nn.Module, documents: int, parts: int) -> None:
    """Warn that a batch was computed in parts."""
    norm = "; its batch norm saw the statistics of the parts" if has_batch_norm(model) else ""
    log.warning("memory does not hold a batch of %d documents; it was computed in %d parts%s", documents, parts, norm)


def notes(model: registry.Model, state: State) -> list[str]:
    """A record's note on a model whose batch norm saw only parts of batches, which affects its figures."""
    if not state.ever_split or not has_batch_norm(model):
        return []
    batches = round(sum(epoch.get("split", 0) for epoch in state.history))
    return [f"memory held {batches:,} batches in parts only, so their batch norm saw the statistics of the parts"]


def has_batch_norm(model: registry.Model) -> bool:
    """Whether a model has a layer whose output for a document depends, in training, on the others of its batch."""
    kinds = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    return score.is_network(model) and any(isinstance(layer, kinds) for layer in model.modules())


def out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether torch ran out of memory, on a GPU or not."""
    words = ("not enough memory", "can't allocate memory", "out of memory", "could not create a primitive")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(each in str(error) for each in words)


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turns torch's out-of-memory errors into a TrainingError, so that the other runs of a grid go on."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            raise TrainingError("not enough memory; a smaller train.batch_size or data.max_tokens needs less") from None
        raise
