"""The base class of all settings, what models and tables declare with it, and the errors shown to users.

Settings are frozen pydantic models. A wrong name or value raises a `SpecError`, one line that names the field, the
value, the nearest known one and what to do. A field's tuning range is declared beside its default (`tunable`).
"""

from __future__ import annotations

import difflib
import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError('"same" padding needs an odd kernel size')
    return size


def _split_sizes(sizes: Any) -> Any:
    """Split `3,5,9` as typed on a command line."""
    return sizes.split(",") if isinstance(sizes, str) else sizes


SHOWN, WORDS = 40, 3  # most characters and words of a cell that a message shows; longer text might be from a note

Positive = Annotated[int, Field(ge=1)]

Layers = Annotated[int, Field(ge=1, le=100)]  # more would take minutes to build, or fail

Odd = Annotated[int, Field(ge=1), AfterValidator(_odd)]

OddSizes = Annotated[tuple[Odd, ...], Field(min_length=1), BeforeValidator(_split_sizes)]

Rate = Annotated[float, Field(ge=0, lt=1)]

NotNegative = Annotated[float, Field(ge=0)]

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SpecError(ValueError):
    """A request that cannot be carried out; one line for the user."""


class UnsuitableError(SpecError):
    """The model needs something that the data lack, such as titles of the codes."""


class DataError(ValueError):
    """Missing, damaged or contradictory data; one line for the user."""


class TrainingError(RuntimeError):
    """Training cannot go on, for example because a loss is not finite or a model does not fit into memory."""


def nearest(value: str, known: Iterable[str], most: int = 40) -> str:
    """Return `; did you mean 'caml'? (known: …)`, the end of an error line, listing at most `most` known names."""
    names = sorted(known)
    close = closest(value, names)
    hint = f"; did you mean '{close}'?" if close else ""
    shown = ", ".join(names[:most]) + (", …" if len(names) > most else "")
    return f"{hint} (known: {shown})"


def closest(value: str, known: Iterable[str]) -> str:
    """Return the known name most similar to the value, whatever its case; an empty text if none is similar."""
    folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.5)
    return folded[found[0]] if found else ""


def unknown(what: str, wrong: Sequence[str], known: Iterable[str]) -> str:
    """Return `no model 'camll'; did you mean 'caml'? (known: …)`, or the same for several wrong names."""
    names = sorted(known)
    if len(wrong) == 1:
        return f"no {what} '{wrong[0]}'{nearest(wrong[0], names)}"
    each = [f"'{name}'" + (f" (did you mean '{like}'?)" if (like := closest(name, names)) else "") for name in wrong]
    return f"no {what}s {', '.join(each)}; known: {', '.join(names)}"


def shown(cell: object) -> str:
    """Quote a cell of the user's data for a message: at most SHOWN characters, and none of what could be a note."""
    text = str(cell)
    if len(text) > 200 or len(text.split(maxsplit=WORDS)) > WORDS:
        return f"a text of {len(text):,} characters"
    plain = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[:SHOWN])
    return f"'{plain[:SHOWN]}{'…' if max(len(text), len(plain)) > SHOWN else ''}'"


def first_of(error: ValidationError) -> str:
    """Return the first error of pydantic on one line: `field=value: what is wrong`."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "?"
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{field}={first['input']!r}: {message.removeprefix('value error, ')}"


def path_text(given: object, what: str) -> str:
    """Return a name or path as text. Raises SpecError for anything else, such as a table in memory."""
    if isinstance(given, str | os.PathLike):
        return str(given)
    remedy = ": write it to a file (to_csv) and give its path" if hasattr(given, "to_csv") else ""
    raise SpecError(f"{what} is a {type(given).__name__}, neither a name nor a path{remedy}")


def given_names(given: object, what: str) -> list[str]:
    """Return one name or several as a list. Raises SpecError if there is none, or if one is no name."""
    several = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not [name for name in several if name != ""]:
        raise SpecError(f"{what}={given!r}: name at least one, or leave it out for the default")
    return [path_text(name, what) for name in several]


def seed_list(seeds: object) -> list[int]:
    """Return a count as the seeds from 1 on, a list as it is, numpy's integers as Python's. Raises SpecError."""
    try:
        several = seeds if isinstance(seeds, Iterable) else range(1, 1 + min(operator.index(seeds), 1001))  # type: ignore[arg-type]
        found = [operator.index(seed) for seed in several]
    except TypeError:
        found = []
    if not found or len(found) > 1000 or any(not 0 <= seed < 2**31 for seed in found):
        raise SpecError(
            f"seeds={seeds}: give a count such as 3 (at most 1000), or a list of numbers from 0 up such as [1, 2, 3]"
        )
    return found


def given_settings(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return settings as a dict. Raises SpecError if they are no mapping of names."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise SpecError(f"settings={given!r}: give a dict of names and values, such as {{'train.max_epochs': 5}}")
    return dict(given)


def typed(value: object) -> str:
    """Write a setting's value as --set accepts it."""
    if isinstance(value, list | tuple):
        return ",".join(map(typed, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Range:
    """The range that tuning searches: an interval (`log`: on a logarithmic scale) or a list of choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if self.choices:
            return "{" + ", ".join(map(str, self.choices)) + "}"
        return f"[{self.low:g}, {self.high:g}]" + (" log" if self.log else "")

    def holds(self, value: Any) -> bool:
        """Whether the range includes the value."""
        if self.low is None or self.high is None:
            return value in self.choices
        return bool(self.low <= value <= self.high)

    def holding(self, value: Any) -> Range:
        """A range that includes the value: this one if it does, else extended or, on a logarithmic scale, centred on the value."""
        if self.holds(value):
            return self
        if self.low is None or self.high is None:
            return replace(self, choices=tuple(sorted((*self.choices, value))))
        half = math.sqrt(self.high / self.low) if self.log else 1
        low, high = (value / half, value * half) if self.log else (min(self.low, value), max(self.high, value))
        return replace(self, low=low, high=high)


def tunable(
    default: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    log: bool = False,
    choices: tuple[Any, ...] = (),
    about: str = "",
) -> Any:
    """Declare a settings field with its default and the range that tuning searches."""
    return Field(default, description=about or None, json_schema_extra={"range": vars(Range(low, high, log, choices))})


class Settings(BaseModel):
    """The base of everything a user can set: frozen, and unknown fields are rejected by name.

    `belonging` maps a field that selects something to its values, and each value to the fields that take effect only with
    it. Tuning leaves out fields without effect.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
    belonging: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]] = {}

    def idle(self) -> set[str]:
        """The fields without effect, given the values of the others (see `belonging`)."""
        idle = set[str]()
        for selector, fields in self.belonging.items():
            idle |= {name for names in fields.values() for name in names} - set(fields.get(getattr(self, selector), ()))
        return idle

    @classmethod
    def ranges(cls) -> dict[str, Range]:
        """Return the ranges of the tunable fields."""
        extras: dict[str, Any] = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {name: Range(**extra["range"]) for name, extra in extras.items() if "range" in (extra or {})}

    def override(self, changes: Mapping[str, Any], where: str) -> Self:
        """Return these settings with some fields replaced.

        `where` names the settings in errors, such as `jlan` or `train`. Raises SpecError for an unknown field or an impossible value.
        """
        fields = type(self).model_fields
        if wrong := [field for field in changes if field not in fields]:
            raise SpecError(f"'{where}' has {unknown('field', wrong, fields)}")
        # The command line passes `none` as None, but some fields have a choice "none".
        values = {
            name: "none" if value is None and "none" in get_args(fields[name].annotation) else value
            for name, value in changes.items()
        }
        try:
            return type(self).model_validate(self.model_dump() | values)
        except ValidationError as error:
            raise SpecError(f"{where}.{first_of(error)}") from None


class Study(Settings):
    """The search that found a model's settings for small data: number of trials, and the data set."""

    trials: Positive
    dataset: str

    def __str__(self) -> str:
        return f"{self.trials} trials on {self.dataset}"


class Variant(Settings):
    """A named set of overrides of a model's own fields (`model`), the data and the training.

    `needs` names what it requires of the data in addition to its model: titles, hierarchy.
    """

    name: str
    about: str = ""
    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}
    needs: tuple[str, ...] = ()


class Reported(Settings):
    """Published figures of a system on a data set: as printed, by metric key, with their source.

    A macro-F1 has the key of its definition, or `f1_macro_unstated` if the source gives none. `threshold` is the rule behind
    the F1 figures, empty if it is not known. `read_in` is the list or other paper in which the figures were read, empty if
    that is the source itself.
    """

    dataset: str
    system: str
    figures: dict[str, str]
    source: str
    read_in: str = ""
    threshold: Literal["", "fixed", "tuned"] = ""

    @property
    def origin(self) -> str:
        """The source and, for second-hand figures, where they were read."""
        return f"{self.source}; second-hand, read in {self.read_in}" if self.read_in else self.source


class Benchmark(Settings):
    """One table or figure, of a paper or your own: the systems compared, the data set, and the published figures.

    `metrics` are pairs of heading and metric key, measured at `threshold`. `published` maps a row label to the system and one
    text per metric, exactly as the source prints it: a dash where it has a dash, empty where it has nothing, no texts at all
    if it prints no numbers. `models` are systems without published figures; with any, no other systems are shown. `study` is
    the name under which `icdbench ablate` makes the runs, `overrides` are their settings as by --set.

    There are three kinds: a row for each system; with `per_epoch` a row for each epoch, with metrics from the training
    history; with `statistics` a row for each data set (in place of a system), with its sizes.

    `plot` draws it (`icdbench figures`): `systems`, a panel for each metric with a row for each system; `metrics`, a row for
    each metric with a mark for each system; `epochs`, curves; `frequencies`, how often codes occur in training; `ranks`,
    systems by their mean ranks over all data sets, without a `dataset`.
    """

    name: str
    title: str
    dataset: str = ""
    metrics: Annotated[tuple[tuple[str, str], ...], Field(min_length=1)]
    published: dict[str, tuple[str, tuple[str, ...]]] = {}
    models: tuple[str, ...] = ()
    threshold: Literal["fixed", "tuned"] = "fixed"
    source: str = ""
    caption: str = ""
    study: str = ""
    overrides: dict[str, Any] = {}
    per_epoch: bool = False
    statistics: bool = False
    plot: Literal["", "systems", "metrics", "epochs", "frequencies", "ranks"] = ""

    @property
    def systems(self) -> list[str]:
        """The compared systems in order."""
        return list(dict.fromkeys([*(system for system, _ in self.published.values()), *self.models]))

    @property
    def kind(self) -> Literal["systems", "epochs", "data sets"]:
        """What the rows stand for."""
        return "data sets" if self.statistics else "epochs" if self.per_epoch else "systems"
