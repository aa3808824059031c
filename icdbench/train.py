"""The trainer of all models: `fit` is the whole loop, to be read top to bottom.

Lightning Fabric supplies devices, precision and, on several devices, distributed data parallel: each process computes its
share of every batch, and the mean of their gradients is that of the whole batch. The order of documents depends only on
seed and epoch, and a checkpoint is one file with every random state. So a run that is stopped at any instant and resumed
ends, on a CPU, with the same bits as one that was never stopped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
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

EXPLODED = 1e4  # a mean cross-entropy from which training never recovers; an untrained model has 0.69


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

    A network may have a method `penalty(batch)`, a scalar that is added to the objective and so to the reported loss.
    Continues from `checkpoint` if it exists; with None no checkpoint is written. Ctrl-C, SIGTERM and SIGHUP write one and
    raise KeyboardInterrupt. A linear model is fitted as a whole and has no history. Without validation documents training
    lasts `max_epochs`, and the last weights are kept. Raises TrainingError.
    """
    if not score.is_network(model):
        return _fit_whole(model, train)
    module, optimizer = on.setup(model, objectives.optimizer_of(model, spec))
    checkpoints = checkpointing.Checkpoints(checkpoint, model, optimizer, on)
    if on.global_rank:  # each process drops out different units
        torch.manual_seed(seed * on.world_size + on.global_rank)
    state, best_weights = checkpointing.resume(checkpoint, model, optimizer, on)
    _check_same_step(state, checkpoint, on)
    documents, held_out = batches.Loader(train, on.device), batches.Loader(validation, on.device)
    positives_N = np.diff(train.code_offsets)
    monitor = objectives.monitored(spec, train.num_codes) if len(validation) else ""
    objective = objectives.objective_for(spec, train, on.device)

    with checkpointing.interruptible() as interrupted:
        clock = state.timed()
        while not state.over(spec):
            order = batches.training_order(train.lengths, spec.batch_size, seed, state.epoch)
            drop_rate = objectives.drop_rate(spec, state.epoch)
            done, steps = (state.epoch - 1) * len(order) + state.step, spec.max_epochs * len(order)
            schedule = objectives.schedule(optimizer, spec, state.monitored, done, steps)
            module.train()
            shares = [accelerator.share_of(index_B, on) for index_B in order[state.step :]]
            for batch in documents.batches(shares):
                index_B = order[state.step]
                count = state.to_drop(drop_rate, int(positives_N[index_B].sum()))
                loss, parts = memory.backward(module, optimizer, batch, objective, count, len(index_B), on)
                if not loss < EXPLODED:
                    raise TrainingError(f"the loss is {loss:g} {_position(state, state.step + 1, checkpoint)}")
                optimizer.step()
                schedule.step()
                if parts > 1 and not state.ever_split:
                    memory.warn_of_parts(model, len(index_B), parts)
                state.learned(loss, len(index_B), parts)
                clock()
                _report(report, _progress(state, len(order), loss, monitor, len(train)))
                checkpoints.stop_or_save(state, best_weights, checkpointing.CHECKPOINT_SECONDS, stop=interrupted())
            measured = _validation_figures(model, held_out, monitor, state, checkpoint, on)
            if measured[monitor] > state.best:
                state.best, state.best_epoch = measured[monitor], state.epoch
                best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            clock()
            state.history.append(_epoch_figures(state, drop_rate, measured, monitor))
            _report(report, _progress(state, len(order), state.history[-1]["loss"], monitor, len(train), ended=True))
            state.next_epoch()
            checkpoints.stop_or_save(state, best_weights, 0.0, stop=interrupted(), at_once=state.over(spec))
    model.load_state_dict(best_weights)
    return state


def _fit_whole(model: LinearModel, train: Encoded) -> State:
    began = time.monotonic()
    model.fit(train)
    return State(seconds=time.monotonic() - began)


def _check_same_step(state: State, checkpoint: Path | None, on: Fabric) -> None:
    """Raises TrainingError if processes start from different steps: they would wait for each other for ever."""
    steps_WP = accelerator.all_rows(torch.tensor([state.epoch, state.step]), on)
    if not (steps_WP == steps_WP[0]).all():
        raise TrainingError(f"processes do not find the same {checkpoint}; it must lie in a folder that all share")


def _validation_figures(
    model: Model, held_out: batches.Loader, monitor: str, state: State, checkpoint: Path | None, on: Fabric
) -> dict[str, float]:
    """The figures after an epoch; without validation documents only its number, by which the last one is the best."""
    if not monitor:
        return {monitor: float(state.epoch)}
    try:
        return measure.epoch_measures(score.predictions(model, held_out, on), monitor)
    except TrainingError as error:
        raise TrainingError(f"{error} {_position(state, state.step, checkpoint)}") from None


def _position(state: State, step: int, checkpoint: Path | None) -> str:
    """The end of an error message: epoch and step, the last good checkpoint, and what may help."""
    candidates = () if checkpoint is None else (checkpoint, checkpoint.with_name(store.PREVIOUS))
    good = next((path for path in candidates if path.exists()), None)
    kept = f"the last good checkpoint is {good}" if good else "there was no checkpoint yet"
    return f"in epoch {state.epoch}, step {step}; {kept}; a smaller train.learning_rate may help"


def _report(report: Callable[[Progress], None], progress: Progress) -> None:
    with contextlib.suppress(OSError):  # a closed terminal must not cost the checkpoint
        report(progress)


def _progress(state: State, steps: int, loss: float, monitor: str, documents: int, *, ended: bool = False) -> Progress:
    rate = (documents * (state.epoch - 1) + state.loss_count) / max(state.seconds, 1e-9)
    return Progress(
        epoch=state.epoch,
        step=state.step,
        steps=steps,
        loss=loss,
        rate=rate,
        monitor=monitor,
        value=state.value,
        best=state.best if state.best_epoch else None,
        best_epoch=state.best_epoch,
        seconds_per_epoch=documents / rate,
        dropped=state.dropped,
        figures=state.history[-1] if ended else {},
    )


def _epoch_figures(state: State, drop_rate: float, measured: dict[str, float], monitor: str) -> dict[str, float]:
    """What the history has of an epoch."""
    kept = ("p@5", "p@8", "f1_micro", "f1_macro_harmonic", "auc_macro", "auc_micro", "map", "validation_loss")
    return {
        "epoch": state.epoch,
        "loss": state.loss_sum / state.loss_count,
        "drop_rate": drop_rate,
        "dropped": state.dropped / state.positives if state.positives else 0.0,
        **({"split": state.split} if state.split else {}),
        "monitor": measured[monitor],
        **{key: measured[key] for key in kept if key in measured},
        "seconds": round(state.seconds, 3),
    }
