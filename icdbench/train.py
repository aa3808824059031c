"""The one trainer: `fit` reads top to bottom.

Lightning Fabric supplies devices, precision and, for a run on several devices, distributed data parallel: each process
computes its share of every batch, and the mean of their gradients is that of the whole batch. The order of documents is a
pure function of seed and epoch, every random state is in the checkpoint, and a checkpoint is one file: a run stopped at any
instant and started again ends, on a CPU, with the same bits as one that was never stopped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from icdbench.data import batches
from icdbench.evaluation import measure
from icdbench.records import store
from icdbench.spec import TrainSpec
from icdbench.training import Progress, State, TrainingError, accelerator, checkpointing, memory, objectives, score
from icdbench.types import Encoded

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from icdbench.registry import LinearModel, Model

EXPLODED = 1e4  # a mean cross-entropy no training comes back from; that of an untrained model is 0.69


def fit(
    model: Model,
    train: Encoded,
    validation: Encoded,
    spec: TrainSpec,
    *,
    seed: int,
    on: Fabric,
    checkpoint: Path | None,
    report: Callable[[Progress], None] = lambda _: None,
) -> State:
    """Train until the monitored validation metric has not risen for `patience` epochs; the model ends with its best weights.

    A network may have a method `penalty(batch)`, a scalar that is added to the objective (and so is in the reported loss).
    Continues from `checkpoint` if that exists; None: never writes one. On Ctrl-C, SIGTERM or SIGHUP writes one and raises
    KeyboardInterrupt. A linear model is fitted as a whole, and has no history. Raises TrainingError.
    """
    if not score.is_network(model):
        return _fit_whole(model, train)
    module, optimizer = on.setup(model, objectives.optimizer_of(model, spec))
    checkpoints = checkpointing.Checkpoints(checkpoint, model, optimizer, on)
    if on.global_rank:  # each process drops out other units
        torch.manual_seed(seed * on.world_size + on.global_rank)
    state, best_weights = checkpointing.resume(checkpoint, model, optimizer, on)
    _check_alike(state, checkpoint, on)
    documents, held_out = batches.Loader(train, on.device), batches.Loader(validation, on.device)
    positives_N, monitor = np.diff(train.code_offsets), objectives.monitored(spec, train.num_codes)
    objective = objectives.objective_for(spec, train, on.device)

    with checkpointing.interruptible() as interrupted:
        clock = state.timed()
        while not state.over(spec):
            order = batches.training_order(train.lengths, spec.batch_size, seed, state.epoch)
            drop_rate = objectives.drop_rate(spec, state.epoch)
            done, steps = (state.epoch - 1) * len(order) + state.step, spec.max_epochs * len(order)
            schedule = objectives.schedule(optimizer, spec, state.monitored, done, steps)
            module.train()
            own = [accelerator.share_of(index_B, on) for index_B in order[state.step :]]
            for batch in documents.batches(own):
                index_B = order[state.step]
                count = state.to_drop(drop_rate, int(positives_N[index_B].sum()))
                loss, parts = memory.backward(module, optimizer, batch, objective, count, len(index_B), on)
                if not loss < EXPLODED:
                    raise TrainingError(f"the loss is {loss:g} {_where(state, state.step + 1, checkpoint)}")
                optimizer.step()
                schedule.step()
                if parts > 1 and not state.ever_split:
                    memory.warn_of_parts(model, len(index_B), parts)
                state.learned(loss, len(index_B), parts)
                clock()
                with contextlib.suppress(OSError):  # a closed terminal must not cost the checkpoint
                    report(_progress(state, len(order), loss, monitor, len(train)))
                checkpoints.stop_or_save(state, best_weights, checkpointing.CHECKPOINT_SECONDS, stop=interrupted())
            with _told_where(state, checkpoint):
                measured = measure.epoch_measures(score.predictions(model, held_out, on), monitor)
            if measured[monitor] > state.best:
                state.best, state.best_epoch = measured[monitor], state.epoch
                best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            clock()
            state.history.append(_epoch(state, drop_rate, measured[monitor], measured))
            with contextlib.suppress(OSError):  # a closed terminal must not cost the checkpoint
                report(_progress(state, len(order), state.history[-1]["loss"], monitor, len(train), ended=True))
            state.next_epoch()
            checkpoints.stop_or_save(state, best_weights, 0.0, stop=interrupted(), at_once=state.over(spec))
    model.load_state_dict(best_weights)
    return state


def _fit_whole(model: LinearModel, train: Encoded) -> State:
    began = time.monotonic()
    model.fit(train)
    return State(seconds=time.monotonic() - began)


def _check_alike(state: State, checkpoint: Path | None, on: Fabric) -> None:
    """Raises TrainingError where processes stand at different steps: they would wait for each other for ever."""
    steps_WP = accelerator.all_rows(torch.tensor([state.epoch, state.step]), on)
    if not (steps_WP == steps_WP[0]).all():
        raise TrainingError(f"processes do not find the same {checkpoint}; it must lie in a folder that all share")


@contextlib.contextmanager
def _told_where(state: State, checkpoint: Path | None) -> Iterator[None]:
    """Adds to a TrainingError where training stands, and what it can go back to."""
    try:
        yield
    except TrainingError as error:
        raise TrainingError(f"{error} {_where(state, state.step, checkpoint)}") from None


def _where(state: State, step: int, checkpoint: Path | None) -> str:
    """Where training stands, and what it can go back to, for an error message."""
    kept_ones = () if checkpoint is None else (checkpoint, checkpoint.with_name(store.PREVIOUS))
    good = next((path for path in kept_ones if path.exists()), None)
    kept = f"the last good checkpoint is {good}" if good else "there was no checkpoint yet"
    return f"in epoch {state.epoch}, step {step}; {kept}; a smaller train.learning_rate may help"


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
        figures=state.history[-1] if ended else {},
    )


def _epoch(state: State, rate: float, monitored_value: float, measured: dict[str, float]) -> dict[str, float]:
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
