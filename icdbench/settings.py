"""The base class of all settings, and the errors shown to users.

Settings are frozen pydantic models. A wrong name or value raises a `SpecError`, one line that names the field, the
value, the nearest known one and what to do. A field's tuning range is declared beside its default (`tunable`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError('"same" padding needs an odd kernel size')
    return size


def _split_sizes(sizes: Any) -> Any:
    """Split `3,5,9` as typed on a command line."""
    return sizes.split(",") if isinstance(sizes, str) else sizes


SHOWN, WORDS = 40, 3  # characters and words of a cell that a message may show; more might be a note

Positive = Annotated[int, Field(ge=1)]

Layers = Annotated[int, Field(ge=1, le=100)]  # more would take minutes to build, if they can be built at all

Odd = Annotated[int, Field(ge=1), AfterValidator(_odd)]

OddSizes = Annotated[tuple[Odd, ...], Field(min_length=1), BeforeValidator(_split_sizes)]

Rate = Annotated[float, Field(ge=0, lt=1)]

NotNegative = Annotated[float, Field(ge=0)]

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SpecError(ValueError):
    """A request that cannot be carried out; one line for the user."""


class UnsuitableError(SpecError):
    """A model that needs something these data lack, such as titles of the codes."""


class DataError(ValueError):
    """Missing, damaged or contradictory data; one line for the user."""


def nearest(value: str, known: Iterable[str], most: int = 40) -> str:
    """Return `; did you mean 'caml'? (known: …)`, the end of an error line, listing at most `most` known names."""
    names = sorted(known)
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    shown = ", ".join(names[:most]) + (", …" if len(names) > most else "")
    return f"{hint} (known: {shown})"


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
    """The base of everything a user can set: frozen, and unknown fields are rejected by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def ranges(cls) -> dict[str, Range]:
        """Return the ranges of the tunable fields."""
        extras: dict[str, Any] = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {name: Range(**extra["range"]) for name, extra in extras.items() if "range" in (extra or {})}

    def override(self, changes: Mapping[str, Any], where: str) -> Self:
        """Return these settings with some fields replaced.

        `where` names the settings in errors, such as `jlan` or `train`. Raises SpecError for an unknown field or an impossible value.
        """
        for field in changes:
            if field not in type(self).model_fields:
                raise SpecError(f"'{where}' has no field '{field}'{nearest(field, type(self).model_fields)}")
        try:
            return type(self).model_validate(self.model_dump() | dict(changes))
        except ValidationError as error:
            raise SpecError(f"{where}.{first_of(error)}") from None


class Study(Settings):
    """The search that found a model's settings for small data: how many trials, on which data set."""

    trials: Positive
    dataset: str

    def __str__(self) -> str:
        return f"{self.trials} trials on {self.dataset}"
