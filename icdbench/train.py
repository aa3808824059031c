"""The one trainer: `fit` reads top to bottom.

Lightning Fabric supplies devices, precision and, for one run on several of them, distributed data parallel: each process
computes its share of every batch, and the mean of their gradients is that of the whole batch. The order of documents is a pure function of seed and epoch, every random
state is in the checkpoint, and a checkpoint is one file: a run stopped at any instant and started again ends, on a CPU,
with the same bits as one never stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from icdbench import metrics, store
from icdbench.batches import batches, evaluation_order, training_order
from icdbench.objectives import drop_count, drop_rate, each_loss, loss
from icdbench.spec import SpecError, TrainSpec, nearest
from icdbench.types import Batch, Encoded, FloatArray, IntArray, Predictions

log = logging.getLogger("icdbench")

# Metrics that training may be stopped by: the larger, the better.
MONITORS = (
    *("p@5", "p@8", "p@15", "r@5", "r@8", "r@15", "map", "r_precision", "auc_macro", "auc_micro"),
    *("f1_micro", "f1_macro", "f1_macro_present", "f1_macro_harmonic"),
)
CHECKPOINT_SECONDS = 300.0  # from one checkpoint to the next within an epoch
CHECKPOINT_SHARE = 0.02  # of the time may go into checkpoints, so that short epochs have none at their end
EXPLODED = 1e4  # a mean cross-entropy no training comes back from; that of an untrained model is 0.69


class TrainingError(RuntimeError):
    """Training cannot go on: a loss or score that is not finite. Says where."""


@dataclass(frozen=True)
class Progress:
    """What a display may show after a step: counts of this epoch, the last loss, the monitored metric so far."""

    epoch: int
    step: int
    steps: int
    loss: float
    rate: float  # documents per second
    monitor: str
    value: float | None
    best: float | None
    best_epoch: int
    seconds_per_epoch: float
    dropped: int  # positive pairs that this epoch has left out so far
    ended: bool  # the epoch is over and evaluated; its mean loss


@dataclass
class State:
    """Where training stands; JSON beside the tensors of a checkpoint."""

    epoch: int = 1
    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    owed: float = 0.0  # of a positive pair that the truncated objective has still to leave out
    positives: int = 0  # positive pairs seen in this epoch, and how many of them were left out
    dropped: int = 0
    split: int = 0  # batches of this epoch that memory held in parts only
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def value(self) -> float | None:
        return self.history[-1]["monitor"] if self.history else None

    def to_drop(self, rate: float, positives: int) -> int:
        """How many of a batch's positive pairs the objective leaves out."""
        if not rate:
            return 0
        count, self.owed = drop_count(rate, positives, self.owed)
        self.positives, self.dropped = self.positives + positives, self.dropped + count
        return count

    def learned(self, value: float, documents: int, parts: int) -> None:
        """A step is done."""
        self.step += 1
        self.loss_sum += value * documents
        self.loss_count += documents
        self.split += parts > 1

    def over(self, spec: TrainSpec) -> bool:
        """Whether training has come to its end."""
        return self.epoch > spec.max_epochs or self.epoch - self.best_epoch > spec.patience

    def next_epoch(self) -> None:
        """Begin the next epoch: its own counts start at zero."""
        self.epoch += 1
        self.step, self.loss_sum, self.loss_count, self.positives, self.dropped, self.split = 0, 0.0, 0, 0, 0, 0


def fabric(device: str, precision: str = "auto", devices: int = 1, nodes: int = 1) -> Fabric:
    """Fabric on `auto`, `cpu`, `cuda` or `mps`; `auto` precision is bf16 where a GPU has it. Raises SpecError.

    With several devices or nodes it takes part in the processes that icdbench.launch.join began.
    """
    known = ("auto", "cpu", "cuda", "mps")
    if device not in known:
        raise SpecError(f"no device '{device}'{nearest(device, known)}")
    present = {"cpu": True, "auto": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[device]:
        raise SpecError(f"this machine has no '{device}' device that torch can use; leave --device out or say cpu")
    if precision == "auto":
        precision = resolved(precision, Fabric(accelerator=device, devices=1))
    if devices * nodes == 1:
        return Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
    on = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy="ddp", precision=precision)  # type: ignore[arg-type]
    on.launch()
    return on


def resolved(precision: str, on: Fabric) -> str:
    """What `auto` means on this device; other precisions stay. Runs of different precision are different runs."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if on.device.type == "cuda" and torch.cuda.is_bf16_supported() else "32-true"


def keep_freed_memory() -> None:
    """Have Linux's C library keep what a step frees for the next step; asking the kernel for it anew costs a fifth of a step."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: no mapping of its own for a large tensor, which goes when that goes
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: the end of the heap is not given back


def seed_everything(seed: int) -> None:
    """Seed every generator that a model or torch may use."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  gensim and scikit-learn may read the global state
    torch.manual_seed(seed)


def fit(
    model: nn.Module,
    train: Encoded,
    validation: Encoded,
    spec: TrainSpec,
    *,
    max_tokens: int,
    num_codes: int,
    seed: int,
    on: Fabric,
    checkpoint: Path,
    report: Callable[[Progress], None] = lambda _: None,
) -> State:
    """Train until the monitored validation metric has not risen for `patience` epochs; the model ends with its best weights.

    A model may have a method `penalty(batch)`, a scalar that is added to the objective (and so is in the reported loss).
    Continues from `checkpoint` if that exists. On Ctrl-C writes one and raises KeyboardInterrupt. Raises TrainingError.
    """
    keep_freed_memory()
    module, optimizer = on.setup(model, optimizer_of(model, spec))
    checkpoints = _Checkpoints(checkpoint, model, optimizer, on)
    if on.global_rank:  # each process drops out other units
        torch.manual_seed(seed * on.world_size + on.global_rank)
    state, best_weights = _resume(checkpoint, model, optimizer, on)
    places_WP = _of_all(torch.tensor([state.epoch, state.step]), on)
    if not (places_WP == places_WP[0]).all():  # they would wait for each other for ever
        raise TrainingError(f"processes do not find the same {checkpoint}; it must lie in a folder that all share")
    lengths, positives_N = train.lengths(max_tokens), np.diff(train.code_offsets)
    monitor = monitored(spec, num_codes)

    with _interruptible() as interrupted:
        started = time.monotonic()
        while not state.over(spec):
            order = training_order(lengths, spec.batch_size, seed, state.epoch)
            rate = drop_rate(spec, state.epoch)
            _set_rate(optimizer, learning_rate(spec, [past["monitor"] for past in state.history]))
            module.train()
            own = [_share(index_B, on) for index_B in order[state.step :]]
            for batch in batches(train, own, num_codes, max_tokens, on.device):
                index_B = order[state.step]
                count = state.to_drop(rate, int(positives_N[index_B].sum()))
                value, parts = backward(module, optimizer, batch, count, len(index_B), on)
                if not value < EXPLODED:
                    raise TrainingError(f"the loss is {value:g} {_place(state, state.step + 1, checkpoint)}")
                optimizer.step()
                state.learned(value, len(index_B), parts)
                now = time.monotonic()
                state.seconds, started = state.seconds + now - started, now
                report(_progress(state, len(order), value, monitor, len(train)))
                checkpoints.stop_or_save(state, best_weights, CHECKPOINT_SECONDS, stop=interrupted())
            try:
                measured = _measured(predict(model, validation, max_tokens, num_codes, on), monitor)
            except TrainingError as error:
                raise TrainingError(f"{error} {_place(state, state.step, checkpoint)}") from None
            if measured[monitor] > state.best:
                state.best, state.best_epoch = measured[monitor], state.epoch
                best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            now = time.monotonic()
            state.seconds, started = state.seconds + now - started, now
            state.history.append(_epoch_figures(state, rate, measured[monitor], measured))
            mean = state.history[-1]["loss"]
            report(_progress(state, len(order), mean, monitor, len(train), ended=True))
            state.next_epoch()
            checkpoints.stop_or_save(state, best_weights, 0.0, stop=interrupted(), at_once=state.over(spec))
    model.load_state_dict(best_weights)
    return state


def _share(index_B: IntArray, on: Fabric) -> IntArray:
    """This process's documents of a batch; of a batch with fewer documents than processes perhaps one that will not count."""
    own = index_B[on.global_rank :: on.world_size]
    return own if len(own) else index_B[:1]


class _Checkpoints:
    """Writes them when it is time, or when training is to stop."""

    def __init__(self, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, on: Fabric) -> None:
        self.path, self.model, self.optimizer, self.on = path, model, optimizer, on
        self.last, self.cost = time.monotonic(), 0.0  # when the last one was written, and what it took

    def stop_or_save(
        self,
        state: State,
        best: dict[str, Tensor],
        wait: float,
        *,
        stop: bool,
        at_once: bool = False,
    ) -> None:
        """Save if that is due `wait` seconds after the last time, or at once. Raises KeyboardInterrupt after a save to stop."""
        due = at_once or time.monotonic() - self.last > max(wait, self.cost / CHECKPOINT_SHARE)
        stop, due = _agreed(self.on, stop, due)
        if not stop and not due:
            return
        begun = time.monotonic()
        _save(self.path, self.model, self.optimizer, state, best, self.on)
        self.last = time.monotonic()
        self.cost = self.last - begun
        if stop:
            self.on.barrier()  # one that ended while the first still writes would take that along
            raise KeyboardInterrupt


def _agreed(on: Fabric, *flags: bool) -> list[bool]:
    """Whether any process says so."""
    if on.world_size == 1:
        return list(flags)
    said: Any = on.all_reduce(torch.tensor(flags, dtype=torch.float32, device=on.device), reduce_op="sum")
    return [bool(each) for each in said]


def backward(
    module: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, count: int, whole: int, on: Fabric
) -> tuple[float, int]:
    """Gradients of the objective of a batch of `whole` documents; its value, and in how many parts it was computed.

    `batch` holds this process's documents: all, unless there are others. In one part, unless memory does not hold it: then
    halves, quarters and so on, each counting by its documents. Of the `count` positive pairs to leave out each part has its
    share by its positive pairs. Raises as torch does if not even a single document fits, or if other processes wait.
    """
    parts, world = 1, on.world_size
    if world > 1:
        counting = (whole - on.global_rank + world - 1) // world  # 0: a document is computed and does not count
        logits_BL = module(batch)
        own = _own_count(logits_BL.detach(), batch.labels_BL, count, on, counting=counting > 0) if count else 0
        objective = _objective(module, batch, logits_BL, own) * (counting / whole)
        optimizer.zero_grad(set_to_none=True)
        on.backward(objective * world)  # processes' gradients are averaged
        return on.all_reduce(objective.detach(), reduce_op="sum").item(), parts  # type: ignore[union-attr]
    while True:
        try:
            optimizer.zero_grad(set_to_none=True)
            value = 0.0
            for part, left_out in _parts(batch, count, parts):
                share = len(part.index_B) / whole
                objective = objective_of(module, part, left_out)
                on.backward(objective * share if parts > 1 else objective)
                value += objective.item() * share
        except (RuntimeError, MemoryError) as error:
            if parts >= whole or not out_of_memory(error):
                raise
            parts *= 2
        else:
            return value, parts
        # Out of the except block nothing refers to the failed attempt any more.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("memory does not hold a batch of %d documents; it is computed in %d parts", whole, parts)


def _parts(batch: Batch, count: int, parts: int) -> Iterator[tuple[Batch, int]]:
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


def out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether torch raised this for want of memory, on a GPU or not."""
    words = ("not enough memory", "can't allocate memory", "out of memory", "could not create a primitive")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(each in str(error) for each in words)


def _place(state: State, step: int, checkpoint: Path) -> str:
    """Where training stands, and what it can go back to."""
    good = next((path for path in (checkpoint, checkpoint.with_name(store.PREVIOUS)) if path.exists()), None)
    kept = f"the last good checkpoint is {good}" if good else "there was no checkpoint yet"
    return f"in epoch {state.epoch}, step {step}; {kept}; a smaller train.learning_rate may help"


def monitored(spec: TrainSpec, num_codes: int) -> str:
    """The validation metric that decides about stopping; `auto` is that of the published protocols."""
    if spec.monitor != "auto":
        return spec.monitor
    if num_codes <= 5:
        return "map"  # P@5 would be the same for every ranking
    return "p@5" if num_codes <= 50 else "p@8"


def learning_rate(spec: TrainSpec, values: Sequence[float]) -> float:
    """The rate of the next epoch, given the monitored metric of each epoch so far.

    `plateau` computes what torch's ReduceLROnPlateau does (better is better by a factor of 1.0001). As a function of the
    history it needs no state of its own in a checkpoint.
    """
    rate, best, waited = spec.learning_rate, -math.inf, 0
    if spec.scheduler == "none":
        return rate
    for value in values:
        best, waited = (value, 0) if value > best * 1.0001 else (best, waited + 1)
        if waited > spec.plateau_patience:
            rate, waited = max(rate * spec.plateau_factor, min(rate, spec.plateau_floor)), 0
    return rate


@torch.no_grad()
def predict(model: nn.Module, encoded: Encoded, max_tokens: int, num_codes: int, on: Fabric) -> Predictions:
    """Logits of every document, in their order. Raises TrainingError if any is not finite.

    Each of several processes computes its share, every document in exactly one, and has all in the end.
    Always in 32 bits: among thousands of codes, logits of bf16 tie in masses, and ties distort every ranking.
    """
    model.eval()
    scores_NL = np.zeros((len(encoded), num_codes), np.float32)
    order = evaluation_order(encoded.lengths(max_tokens))[on.global_rank :: on.world_size]
    for batch in batches(encoded, order, num_codes, max_tokens, on.device):
        scores_NL[batch.index_B.cpu().numpy()] = model(batch).cpu().numpy()
    if on.world_size > 1:
        scores_NL = on.all_reduce(torch.from_numpy(scores_NL).to(on.device), reduce_op="sum").cpu().numpy()  # type: ignore[union-attr]
    if not np.isfinite(scores_NL).all():
        raise TrainingError("the model's scores are not finite")
    return Predictions(encoded.ids, scores_NL, encoded.labels(num_codes), encoded.unseen)


def _measured(scored: Predictions, monitor: str) -> dict[str, float]:
    """What an epoch's history keeps comes from these. Raises SpecError if the metric to stop by is none of them."""
    figures = metrics.evaluate(probabilities(scored.scores_NL), scored.labels, unseen=scored.unseen)
    if monitor not in figures:
        raise SpecError(f"train.monitor: {monitor} is undefined on this validation split; choose another, such as p@5")
    return figures | {"validation_loss": _whole_loss(scored)}


def _whole_loss(predicted: Predictions) -> float:
    """Mean binary cross-entropy of all pairs, whatever the objective leaves out: softplus(z), less z where y = 1."""
    gold = predicted.labels.multiply(predicted.scores_NL).sum(dtype=np.float64)
    return float((np.logaddexp(0, predicted.scores_NL).sum(dtype=np.float64) - gold) / predicted.scores_NL.size)


def probabilities(logits_NL: FloatArray) -> FloatArray:
    """Sigmoid in double precision, so that distinct logits below 36 stay distinct probabilities."""
    from scipy.special import expit

    result: FloatArray = expit(logits_NL.astype(np.float64))
    return result


def objective_of(module: nn.Module, batch: Batch, count: int) -> Tensor:
    """The loss of a batch without its `count` worst positive pairs, plus the model's own penalty if it has one."""
    return _objective(module, batch, module(batch), count)


def _objective(module: nn.Module, batch: Batch, logits_BL: Tensor, count: int) -> Tensor:
    objective = loss(logits_BL, batch.labels_BL, count)
    # Fabric's wrapper lets only `forward` through; the model beneath computes its penalty, in 32 bits.
    penalty: Callable[[Batch], Tensor] | None = getattr(module.module, "penalty", None)
    return objective if penalty is None else objective + penalty(batch)


def _own_count(logits_BL: Tensor, labels_BL: Tensor, count: int, on: Fabric, *, counting: bool) -> int:
    """How many of the `count` positive pairs of largest loss, of all processes, are this one's; none if it is not `counting`.

    Of equal losses those of the first process are taken.
    """
    losses_BL = each_loss(logits_BL, labels_BL)
    positive_P = losses_BL[labels_BL > 0] if counting else losses_BL.new_empty(0)
    largest = losses_BL.new_full((count,), -1.0)
    kept = min(count, len(positive_P))
    largest[:kept] = positive_P.topk(kept).values
    every_WC = _of_all(largest, on)
    least = every_WC.flatten().topk(count).values[-1]
    above_W, equal_W = (every_WC > least).sum(1), (every_WC == least).sum(1)
    ahead = equal_W[: on.global_rank].sum()
    left = (count - above_W.sum() - ahead).clamp(min=0)
    return int(above_W[on.global_rank] + torch.minimum(left, equal_W[on.global_rank]))


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group.update(lr=rate)


def optimizer_of(model: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    """In one pass over memory per parameter (fused), on every device: word vectors alone are millions."""
    kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
    return kind(model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)


def _progress(state: State, steps: int, value: float, monitor: str, documents: int, *, ended: bool = False) -> Progress:
    rate = (documents * (state.epoch - 1) + state.loss_count) / max(state.seconds, 1e-9)
    return Progress(
        epoch=state.epoch,
        step=state.step,
        steps=steps,
        loss=value,
        rate=rate,
        monitor=monitor,
        value=state.value,
        best=state.best if state.best_epoch else None,
        best_epoch=state.best_epoch,
        seconds_per_epoch=documents / rate,
        dropped=state.dropped,
        ended=ended,
    )


def _epoch_figures(state: State, rate: float, monitored_value: float, measured: dict[str, float]) -> dict[str, float]:
    kept = ("p@5", "p@8", "f1_micro", "f1_macro_harmonic", "auc_macro", "auc_micro", "map", "validation_loss")
    figures = {key: measured[key] for key in kept if key in measured}
    mean = state.loss_sum / state.loss_count
    return {
        "epoch": state.epoch,
        "loss": mean,
        "drop_rate": rate,
        "dropped": state.dropped / state.positives if state.positives else 0.0,
        **({"split": state.split} if state.split else {}),
        "monitor": monitored_value,
        **figures,
        "seconds": round(state.seconds, 3),
    }


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C or SIGTERM only sets what the yielded function tells; a second one acts at once."""
    asked = False
    previous: dict[signal.Signals, Any] = {}

    def ask(number: int, _: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, previous[signal.Signals(number)])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # the latter is how a cluster announces that it will kill
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
    tensors["random/torch"] = _of_all(torch.get_rng_state(), on)
    if torch.cuda.is_available():
        tensors["random/cuda"] = _of_all(torch.cuda.get_rng_state(), on)
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


def _of_all(value: Tensor, on: Fabric) -> Tensor:
    """The tensors of all processes [W, …], as the sum of what has one's own row alone: what Fabric gathers with is deprecated."""
    every_W = torch.zeros(on.world_size, *value.shape, dtype=value.dtype, device=on.device)
    every_W[on.global_rank] = value.to(on.device)
    if on.world_size > 1:
        on.all_reduce(every_W, reduce_op="sum")
    return every_W


def _resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, on: Fabric
) -> tuple[State, dict[str, Tensor]]:
    """State and best weights so far; the model, the optimizer and all generators are set to where they were.

    A checkpoint that does not fit the model is warned of, and training starts from the model as it came.
    """
    fresh = {name: value.detach().clone() for name, value in model.state_dict().items()}
    untouched = optimizer.state_dict(), torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    found = store.load_checkpoint(path, discard=on.world_size == 1)  # of several processes none, while others read
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
