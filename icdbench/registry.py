"""Models by name. A file in `models/` registers what it defines; nothing else has to be edited."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from torch import nn

from icdbench import models
from icdbench.spec import Settings, SpecError, TrainSpec, UnsuitableError, Variant, nearest
from icdbench.types import Corpus, Encoded, FloatArray, Task


class LinearModel(Protocol):
    """A model that is fitted as a whole, without the trainer's epochs."""

    def fit(self, encoded: Encoded, max_tokens: int) -> None:
        """Fit to the documents, cut to max_tokens."""

    def scores(self, encoded: Encoded, max_tokens: int) -> FloatArray:
        """Logits N×L."""

    def contributions(self, encoded: Encoded, max_tokens: int, code: int) -> FloatArray:
        """What each position of a single document adds to a code's logit [T]."""

    def weights(self) -> Mapping[str, FloatArray]:
        """All fitted numbers by name, for storing."""

    def restore(self, weights: Mapping[str, FloatArray]) -> None:
        """Become the model that `weights` was called of."""


Model = nn.Module | LinearModel
M = TypeVar("M", bound=Callable[[Any, Task], Any])


@dataclass(frozen=True)
class Entry:
    """A registered model: its class, fields, paper and what it changes of the suite's data and training defaults."""

    name: str
    cls: Callable[[Any, Task], Any]
    config: type[Settings]
    paper: str
    about: str
    variants: Mapping[str, Variant]
    data: Mapping[str, Any]
    train: Mapping[str, Any]
    small: Mapping[str, Any]
    needs: Sequence[str]
    version: str

    def variant(self, name: str) -> Variant:
        """The declared variant, an empty one for no name. Raises SpecError."""
        if not name:
            return Variant(name="")
        if name not in self.variants:
            raise SpecError(f"model '{self.name}' has no variant '{name}'{nearest(name, self.variants)}")
        return self.variants[name]

    def check(self, data: Corpus | Task) -> None:
        """Raises UnsuitableError if the data have not what the model needs."""
        there = {"titles": any(map(len, data.descriptions or ())), "hierarchy": data.hierarchy is not None}
        if lacking := next((need for need in self.needs if not there[need]), None):
            raise UnsuitableError(
                f"{self.name} needs the codes' {lacking}, and these data have none; run another model, "
                "or for own data set data.code_system"
            )


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str,
    *,
    config: type[Settings],
    paper: str,
    variants: Sequence[Variant] = (),
    data: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    small: Mapping[str, Any] | None = None,
    needs: Sequence[str] = (),
    version: str = "1",
) -> Callable[[M], M]:
    """Decorate a model class `(config, task)` to make it known.

    `data` and `train` say where its paper differs from the suite's defaults; `small` replaces training settings on data
    sets of hundreds of documents, where an epoch has few steps and the published learning rate would end at the start;
    what it replaces is kept as the variant `published`. `needs` names what it cannot be trained without: titles, hierarchy.
    `version` changes when equal settings give other results than before, by more than rounding or another seed would: stored
    runs of another version are not reused.
    """

    def add(cls: M) -> M:
        assert name not in _ENTRIES, name
        named = {variant.name: variant for variant in [*variants, *_published(train or {}, small or {})]}
        doc = importlib.import_module(cls.__module__).__doc__ or ""
        _ENTRIES[name] = Entry(
            name,
            cls,
            config,
            paper,
            doc.strip(),
            named,
            data or {},
            train or {},
            small or {},
            needs,
            version,
        )
        return cls

    return add


def _published(train: Mapping[str, Any], small: Mapping[str, Any]) -> list[Variant]:
    """The variant that trains on small data as on any other, where a model has settings for them."""
    usual = TrainSpec().override(train, "train")
    settings = {name: getattr(usual, name) for name in small}
    about = "trained on small data as on any other"
    return [Variant(name="published", about=about, train=settings)] if small else []


def entries() -> dict[str, Entry]:
    """Every model, by name."""
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{models.__name__}.{module.name}")
    return dict(sorted(_ENTRIES.items()))


def entry(name: str) -> Entry:
    """The model registered under this name. Raises SpecError."""
    known = entries()
    if name not in known:
        raise SpecError(f"no model '{name}'{nearest(name, known)}")
    return known[name]


def build(name: str, task: Task, **overrides: Any) -> Model:
    """A new model, `name` being `caml` or `jlan@no-joint`, with some of its fields replaced. Raises SpecError."""
    base, _, variant = name.partition("@")
    found = entry(base)
    found.check(task)
    config = found.config().override(found.variant(variant).model, name).override(overrides, base)
    return cast("Model", found.cls(config, task))
