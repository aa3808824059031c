"""The search space of tuning: the fields of a model and of training that have a range (`parameters`), and draws from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from icdbench.registry import Entry
from icdbench.settings import Range, Settings, SpecError
from icdbench.spec import RunSpec
from icdbench.training import TrainingError


@dataclass(frozen=True)
class Parameter:
    """A field that is searched: its full name (`train.learning_rate`), its range, its value in a run without tuning (`start`)
    and, once known, the best value and the importance."""

    name: str
    range: Range
    start: Any
    best: Any = None
    importance: float | None = None

    def draw(self, trial: optuna.Trial) -> Any:
        low, high = self.range.low, self.range.high
        if self.range.choices:
            return trial.suggest_categorical(self.name, self.range.choices)
        assert low is not None
        assert high is not None
        if isinstance(self.start, int):
            return trial.suggest_int(self.name, int(low), int(high), log=self.range.log)
        return trial.suggest_float(self.name, low, high, log=self.range.log)


def parameters(entry: Entry, base: RunSpec, fixed: Mapping[str, Any]) -> list[Parameter]:
    """The fields with a range that can take effect and are not fixed, with the base run's values.

    A field that takes effect with one value of another field is searched if that value is chosen, or if that field is searched.
    """
    config = entry.config().override(base.config, entry.name)
    settings: list[tuple[str, Settings, Mapping[str, Range]]] = [(entry.name, config, config.ranges())]
    if entry.uses_trainer:
        settings.append(("train", base.train, entry.train_ranges))
    found = []
    for target, values, ranges in settings:
        free = [field for field in ranges if f"{target}.{field}" not in fixed]
        open_fields = {name for field in free for names in values.belonging.get(field, {}).values() for name in names}
        idle = values.idle() - open_fields
        found += [
            Parameter(f"{target}.{field}", ranges[field], getattr(values, field)) for field in free if field not in idle
        ]
    return found


def drawn(trial: optuna.Trial, base: RunSpec, entry: Entry, searched: Sequence[Parameter]) -> RunSpec:
    """The base run with a drawn value for each parameter. Raises TrainingError for an impossible combination."""
    changes = by_target({each.name: each.draw(trial) for each in searched})
    try:
        config = entry.config().override({**base.config, **changes["model"]}, entry.name)
        trained = base.train.override(changes["train"], "train")
    except SpecError as error:
        raise TrainingError(f"impossible: {error}") from None
    return base.model_copy(update={"config": config.model_dump(mode="json"), "train": trained})


def with_effect(base: RunSpec, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes that have an effect on the run."""
    parts = base.parts
    parts["train"]["monitor"] = base.train.monitor
    targets = {key: key.partition(".") for key in changes}
    return {key: changes[key] for key, (target, _, field) in targets.items() if field in parts[target]}


def by_target(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Turn `{"jlan.blocks": 2, "train.t_loss": .1}` into the settings of a variant, `{"model": …, "train": …}`, without data's."""
    found: dict[str, dict[str, Any]] = {"model": {}, "train": {}}
    for name, value in values.items():
        target, _, field = name.partition(".")
        if target != "data":
            found["train" if target == "train" else "model"][field] = value
    return found
