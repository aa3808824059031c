"""What a user can set, and the two errors a user can meet.

Settings are frozen pydantic models: a wrong name or value is a `SpecError` of one line that names the field, the
value, the nearest known one and what to do. A field's tuning range stands beside its default (`tunable`).
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError('"same" padding needs an odd kernel size')
    return size


def _listed(sizes: Any) -> Any:
    """`3,5,9` as it stands on a command line."""
    return sizes.split(",") if isinstance(sizes, str) else sizes


Positive = Annotated[int, Field(ge=1)]
Odd = Annotated[int, Field(ge=1), AfterValidator(_odd)]
OddSizes = Annotated[tuple[Odd, ...], Field(min_length=1), BeforeValidator(_listed)]
Rate = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SpecError(ValueError):
    """A request that cannot be carried out as it stands; one line for the user."""


class UnsuitableError(SpecError):
    """A model that needs more than the data have."""


class DataError(ValueError):
    """Data that are missing, damaged or contradictory; one line for the user."""


def nearest(value: str, known: Iterable[str]) -> str:
    """`; did you mean 'caml'?` and the known names, to end an error line with."""
    names = sorted(known)
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    shown = ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
    return f"{hint} (known: {shown})"


def first_of(error: ValidationError) -> str:
    """The first of pydantic's complaints in one line: `field=value: what is wrong`."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "?"
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{field}={first['input']!r}: {message.removeprefix('value error, ')}"


@dataclass(frozen=True)
class Range:
    """Where tuning may search: an interval (`log`: on a logarithmic scale) or a list of choices."""

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
    """A settings field with the range that tuning searches beside its default."""
    return Field(default, description=about or None, json_schema_extra={"range": vars(Range(low, high, log, choices))})


class Settings(BaseModel):
    """Base of all that a user can set: frozen, unknown fields rejected by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def ranges(cls) -> dict[str, Range]:
        """The tunable fields and their ranges."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {name: Range(**extra["range"]) for name, extra in extras.items() if isinstance(extra, dict)}  # type: ignore[arg-type]

    def override(self, changes: Mapping[str, Any], where: str) -> Self:
        """These settings with some fields replaced. `where` names the settings in errors, such as `jlan` or `train`.

        Raises SpecError for an unknown field or an impossible value.
        """
        for field in changes:
            if field not in type(self).model_fields:
                raise SpecError(f"'{where}' has no field '{field}'{nearest(field, type(self).model_fields)}")
        try:
            return type(self).model_validate(self.model_dump() | dict(changes))
        except ValidationError as error:
            raise SpecError(f"{where}.{first_of(error)}") from None


class DataSpec(Settings):
    """How raw notes become documents, vocabulary and labels. A data set's source says which fields it heeds."""

    language: Literal["en", "es"] = Field("en", description="language of the texts (CodiEsp)")
    top_codes: Positive | None = Field(None, description="keep only the most frequent training codes; none: all")
    categories: bool = Field(False, description="cut codes to their three-character category")
    drop_overlap: bool = Field(False, description="leave out test cases whose article is also in train or validation")
    min_documents: Positive = Field(3, description="a token is known if at least this many training documents have it")
    max_tokens: Positive = Field(2500, description="documents are cut to this many tokens when batches are made")
    embeddings: Literal["word2vec", "random"] = Field("word2vec", description="initial word vectors")
    unit_vectors: bool = Field(True, description="scale word2vec vectors to length one, as CAML's preparation does")
    embedding_corpus: Literal["train", "train+background", "all"] = Field(
        "train", description="texts that word2vec is trained on; only 'all' lets it see validation and test texts"
    )
    protocol: Literal["released", "paper", "corrected"] = Field(
        "released", description="which published preparation of MIMIC-III is followed (docs/data.md)"
    )
    words: Literal["not-numeric", "some-letter", "ascii"] = Field(
        "not-numeric", description="which tokens count as words (icdbench.tokens)"
    )
    split_seed: int = Field(0, ge=0, description="seed of the split of own data without a split column")
    code_system: Literal["none", "icd9cm", "icd10cm"] = Field("none", description="where titles of own codes come from")


class TrainSpec(Settings):
    """How a neural model is trained. Defaults are the suite's; a model declares where its paper differs."""

    learning_rate: Annotated[float, Field(gt=0, le=1000)] = tunable(1e-3, 1e-5, 1e-2, log=True)
    weight_decay: Annotated[float, Field(ge=0)] = tunable(0.0, 0.0, 1e-2)
    optimizer: Literal["adam", "adamw"] = "adam"
    batch_size: Positive = Field(16, description="documents per step")
    max_epochs: Positive = 200
    patience: Positive = Field(10, description="epochs without a better validation metric before training stops")
    monitor: str = Field("auto", description="validation metric that decides; auto: p@5 up to 50 codes, else p@8")
    objective: Literal["bce", "truncated"] = "bce"
    t_loss: Rate = tunable(0.15, 0.0, 0.3, about="largest fraction of positive pairs dropped (D_max)")
    ramp_epochs: Positive = Field(30, description="epochs until t_loss is reached (its slope is D_max / ramp_epochs)")
    stop_epoch: Positive | None = Field(None, description="epoch from which nothing is dropped any more; none: never")
    scheduler: Literal["none", "plateau"] = Field(
        "none", description="plateau: a smaller learning rate once the monitored metric no longer rises"
    )
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.9, description="what it is multiplied by")
    plateau_patience: int = Field(5, ge=0, description="epochs without a better metric that are borne before that")
    plateau_floor: Annotated[float, Field(ge=0)] = Field(
        0.0, description="the learning rate is never lowered below this"
    )
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field("auto", description="auto: bf16 where the GPU has it")


class Variant(Settings):
    """A named set of overrides of a model's own fields (`model`), the data and the training."""

    name: str
    about: str = ""
    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}


class Benchmark(Settings):
    """One table or figure, of a paper or one's own: what is compared on which data set, and what was published.

    `metrics` are (heading, metric key) pairs, measured at `threshold`; `published` gives per row label the system it belongs
    to and one text per metric, as printed in the source (a dash where the source has a dash, empty where it has nothing).
    What prints no numbers gives no texts at all: what it compares is still named. `models` are systems without published
    figures; with any, the table has no rows but those named.

    `study` is the name under which `icdbench ablate` makes the runs, `overrides` what is set for them as --set does;
    with `per_epoch` the metrics are those of a run's history, a row for each epoch. With `statistics` the rows are data
    sets, which stand in the place of systems, and the metrics are sizes.
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


class Reported(Settings):
    """What others report of a system on a data set: texts as printed by metric key, and where they were read.

    A macro-F1 stands under the key of its definition, `f1_macro_unstated` where the source gives none. `threshold` is
    the rule of the F1 figures, empty where it is not known.
    """

    dataset: str
    system: str
    figures: dict[str, str]
    source: str
    threshold: Literal["", "fixed", "tuned"] = ""


def _folder_name(name: str) -> str:
    """The name, if it can be that of a folder and leads nowhere else."""
    if name in {"", ".", ".."} or not name.isprintable() or set("/\\") & set(name):
        raise ValueError("a name must not be empty, a dot or two, nor hold a slash")
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]


class RunSpec(Settings):
    """One training run, completely: equal specs give equal runs. `fingerprint` is that of the raw data.

    Digests leave out what has its default, so that a field added later does not rename the runs stored before.
    """

    dataset: FolderName
    fingerprint: str
    model: FolderName
    variant: str = Field("", pattern=r"^[^/\\\x00]*$")
    seed: int = Field(1, ge=0, lt=2**31)
    data: DataSpec
    train: TrainSpec
    config: dict[str, Any]
    version: str = Field("1", description="of the model's code; see registry.register")
    changed: dict[str, Any] = Field({}, description="fields set by the user to another value than the default")
    adapted: dict[str, Any] = Field({}, description="training settings replaced because the training split is small")

    @property
    def system(self) -> str:
        """The model as a user types it: `jlan` or `jlan@no-denoise`."""
        return f"{self.model}@{self.variant}" if self.variant else self.model

    @property
    def setting(self) -> str:
        """8 hex digits of everything but the seed: runs of equal setting may be averaged."""
        return self._digest("seed")

    @property
    def id(self) -> str:
        """The run's readable name and its folder below results: `codiesp-d50/jlan/1-3f9c2d1a`."""
        return f"{self.dataset}/{self.system}/{self.seed}-{self._digest()}"

    def _digest(self, *without: str) -> str:
        content = self.model_dump(mode="json", exclude={"changed", "adapted", *without}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
