"""The specification of a run: settings of the data (`DataSpec`) and of training (`TrainSpec`), and the whole run (`RunSpec`).

A model's settings are in its own file, which imports from here what it needs (`Settings`, `tunable`, `Variant`, `Positive`, …).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue

from icdbench.settings import (
    Benchmark,
    Layers,
    NotNegative,
    Odd,
    OddSizes,
    Positive,
    PositiveFloat,
    Rate,
    Reported,
    Settings,
    SpecError,
    Study,
    Variant,
    tunable,
)

__all__ = [
    "Benchmark",
    "DataSpec",
    "Layers",
    "Odd",
    "OddSizes",
    "Positive",
    "PositiveFloat",
    "Rate",
    "Reported",
    "Rule",
    "RunSpec",
    "Settings",
    "SpecError",
    "StoredDataSpec",
    "Study",
    "TrainSpec",
    "Variant",
    "option",
    "tunable",
]


def option(default: Any, about: str, *, task: bool) -> Any:
    """Declare a setting of a data set. `task`: it changes the documents or codes, so runs that differ in it are not compared."""
    return Field(default, description=about, json_schema_extra={"task": task})


Rule = Literal["not-numeric", "some-letter", "ascii", "sentences"]  # which tokens count as words (icdbench.data.tokens)


EMBEDDINGS = ("word2vec", "random")
OWN_VECTORS = re.compile("file-[0-9a-f]{16}")  # a user's own word vectors, by content (icdbench.data.own_vectors)


def _vectors(value: str) -> str:
    """Check the name of a kind of word vectors, the path of a file or, in a run, the digest of a file."""
    if not (value in EMBEDDINGS or OWN_VECTORS.fullmatch(value) or set("./\\") & set(value)):
        raise ValueError(
            f"neither {', '.join(EMBEDDINGS)} nor the path of a file; write ./{value} for one in this folder"
        )
    return value


class DataSpec(Settings):
    """How raw notes become documents, vocabulary and labels: the settings of every data set.

    A source of data declares its own options in a subclass, beside the code that uses them (icdbench.data.source).
    """

    top_codes: Positive | None = option(None, "keep only the most frequent training codes; none: all", task=True)
    label_set: Literal["train", "system"] = option(
        "train", "codes that can be predicted: those of training, or the whole code system", task=True
    )
    fraction: Annotated[float, Field(gt=0, le=1)] = option(
        1.0,
        "share of the training documents to keep, for learning curves; a larger share contains a smaller one",
        task=True,
    )
    fraction_seed: int = option(0, "seed for the choice of the training documents of data.fraction", task=True)
    train_on: Literal["train", "train+validation"] = option(
        "train",
        "documents that the model learns from; epochs and threshold are always chosen without those of validation",
        task=True,
    )
    min_documents: Positive = Field(3, description="a token is known if at least this many training documents have it")
    code_terms: bool = Field(
        False, description="read all names of the codes (inclusion terms); their words are known despite min_documents"
    )
    synonyms: str = Field(
        "", description="your own CSV file with columns code and synonym: more names for data.code_terms"
    )
    spans: bool = Field(
        False, description="read the words that a person marked for each code, in training documents only"
    )
    max_tokens: Positive = Field(2500, description="documents are cut to this many tokens when batches are made")
    embeddings: Annotated[str, AfterValidator(_vectors)] = Field(
        "word2vec", description="initial word vectors: word2vec, random, or your own file in a format of word2vec"
    )
    unit_vectors: bool = Field(True, description="scale word vectors to length one, as CAML's preparation does")
    embedding_corpus: Literal["train", "train+background", "all"] = Field(
        "train", description="texts that word2vec is trained on; only 'all' includes validation and test texts"
    )
    vectors_per_seed: bool = Field(
        False, description="train word2vec anew for each seed of a run, else runs of all seeds share its vectors"
    )
    words: Rule = Field("not-numeric", description="which tokens count as words (icdbench.data.tokens)")
    tokens: Literal["words", "subwords"] = Field(
        "words", description="units that documents are split into; subwords: by a tokeniser with a fixed vocabulary"
    )
    tokenizer: str = Field(
        "", description="folder of the encoder whose subwords are used; a model with an encoder uses its own"
    )

    @classmethod
    def task_fields(cls) -> dict[str, bool]:
        """The fields declared by `option`, and whether each changes the documents or their codes."""
        extras: dict[str, Any] = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {name: extra["task"] for name, extra in extras.items() if "task" in (extra or {})}

    @property
    def unchosen(self) -> set[str]:
        """The fields that enter no key and no id because they have the only value there was before they were added.

        With `top_codes` the label set is the most frequent codes, whatever `label_set` says.
        """
        usual = {
            "label_set": self.label_set == "train" or self.top_codes is not None,
            "code_terms": not self.code_terms,
            "synonyms": not (self.code_terms and self.synonyms),
            "spans": not self.spans,
            "train_on": self.train_on == "train",
            "fraction": self.fraction == 1,
            "fraction_seed": self.fraction == 1,
            "tokens": self.tokens == "words",
            "tokenizer": self.tokens == "words",
            "vectors_per_seed": not self.vectors_per_seed,
        }
        return {name for name, is_usual in usual.items() if is_usual}

    @property
    def of_words(self) -> set[str]:
        """The fields without effect on subwords, whose vocabulary is fixed."""
        return {"words", "min_documents"} if self.tokens == "subwords" else set()

    def idle(self, *, word_vectors: bool = True) -> set[str]:
        """The fields without effect, given the others and whether the model has `word_vectors`."""
        idle = ({"fraction_seed", "tokenizer", "synonyms"} & self.unchosen) | self.of_words
        idle |= {"label_set"} if self.top_codes is not None else set()
        if not word_vectors:
            return idle | {"embeddings", "unit_vectors", "embedding_corpus", "vectors_per_seed"}
        untrained = {"embedding_corpus", "vectors_per_seed"}
        by_kind = {"random": {"unit_vectors"} | untrained, "word2vec": set[str]()}
        return idle | by_kind.get(self.embeddings, untrained)


class StoredDataSpec(DataSpec):
    """The data settings of a run: the common ones, and any options of its data set's source."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    @property
    def options(self) -> dict[str, JsonValue]:
        """The options of the source by name."""
        return dict(self.__pydantic_extra__)


# Early records have the options of all sources, with these values if their own source lacks them. These stay part of a run's
# identity, so that early runs equal runs requested now. This list does not grow.
FORMER_OPTIONS: Mapping[str, JsonValue] = {
    "language": "en",
    "categories": False,
    "drop_overlap": False,
    "protocol": "released",
    "split_seed": 0,
    "code_system": "none",
    "columns": "",
    "encoding": "auto",
    "code_separator": "auto",
    "skip_bad": False,
}


def _with_options(given: object) -> object:
    """Dump the settings of any source, with its own options, for a run."""
    return given.model_dump(mode="json") if isinstance(given, DataSpec) else given


# Fields that were added to TrainSpec later, with the values that earlier runs had in effect. Without effect they enter no id.
LATER_FIELDS: Mapping[str, JsonValue] = {
    "focal_gamma": 2.0,
    "focal_alpha": 0.25,
    "asl_gamma_pos": 0.0,
    "asl_gamma_neg": 4.0,
    "asl_clip": 0.05,
    "cb_beta": 0.999,
    "db_alpha": 0.1,
    "db_beta": 10.0,
    "db_mu": 0.2,
    "db_kappa": 0.05,
    "db_lambda": 2.0,
    "warmup": 0.1,
    "r_drop": 0.0,
    "guidance": 0.0,
    "guidance_similarity": 0.0,
    "clip_norm": 0.0,
}


Precision = Literal["auto", "32-true", "bf16-mixed"]


class TrainSpec(Settings):
    """How a neural model is trained. Defaults are the suite's; a model declares where its paper differs.

    Defaults of an objective are those of its paper (docs/losses.md).
    """

    belonging: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
        "objective": {
            "truncated": ("t_loss", "ramp_epochs", "stop_epoch"),
            "focal": ("focal_gamma", "focal_alpha"),
            "asymmetric": ("asl_gamma_pos", "asl_gamma_neg", "asl_clip"),
            "class-balanced": ("cb_beta",),
            "distribution-balanced": ("db_alpha", "db_beta", "db_mu", "db_kappa", "db_lambda"),
        },
        "scheduler": {"plateau": ("plateau_factor", "plateau_patience", "plateau_floor"), "linear": ("warmup",)},
    }

    learning_rate: Annotated[float, Field(gt=0, le=1000)] = tunable(1e-3, 1e-4, 1e-2, log=True)
    weight_decay: NotNegative = tunable(0.0, choices=(0.0, 1e-6, 1e-5, 1e-4, 1e-3))
    optimizer: Literal["adam", "adamw"] = "adam"
    batch_size: Positive = tunable(16, choices=(4, 8, 16, 32), about="documents per step")
    max_epochs: Positive = 200
    patience: Positive = Field(10, description="epochs without a better validation metric before training stops")
    monitor: str = Field("auto", description="validation metric for early stopping; auto: p@5 up to 50 codes, else p@8")

    objective: Literal["bce", "truncated", "focal", "asymmetric", "class-balanced", "distribution-balanced"] = "bce"
    t_loss: Rate = tunable(0.15, 0.0, 0.3, about="largest fraction of positive pairs dropped (D_max)")
    ramp_epochs: Positive = Field(30, description="epochs until t_loss is reached (the slope is D_max / ramp_epochs)")
    stop_epoch: Positive | None = Field(None, description="epoch from which no pair is dropped; none: never")
    focal_gamma: NotNegative = tunable(2.0, 0.0, 5.0, about="how strongly easy pairs are down-weighted")
    focal_alpha: Rate = tunable(0.25, 0.1, 0.9, about="weight of positive pairs; negative pairs have 1 - focal_alpha")
    asl_gamma_pos: NotNegative = tunable(0.0, 0.0, 2.0, about="how strongly easy positive pairs are down-weighted")
    asl_gamma_neg: NotNegative = tunable(4.0, 0.0, 8.0, about="how strongly easy negative pairs are down-weighted")
    asl_clip: Rate = tunable(0.05, 0.0, 0.2, about="negative pairs of a lower probability have no loss")
    cb_beta: Rate = tunable(
        0.999, choices=(0.9, 0.99, 0.999, 0.9999), about="0: equal weights of codes; near 1: weights 1/frequency"
    )
    db_alpha: NotNegative = Field(0.1, description="smallest weight of a pair")
    db_beta: NotNegative = Field(10.0, description="how steeply weights rise from db_alpha to db_alpha + 1")
    db_mu: NotNegative = tunable(0.2, 0.1, 0.9, about="relative rarity in a document at which a code's weight rises")
    db_kappa: NotNegative = tunable(0.05, 0.0, 0.2, about="how much the logits of rare codes are lowered")
    db_lambda: PositiveFloat = tunable(2.0, 1.0, 5.0, about="how strongly easy negative pairs are down-weighted")
    r_drop: NotNegative = Field(0.0, description="weight of R-Drop, which reads documents twice; 0: no R-Drop")
    guidance: NotNegative = Field(0.0, description="weight of the loss on names of the gold codes; 0: no guidance")
    guidance_similarity: NotNegative = Field(0.0, description="weight of the distance of notes from their names")
    clip_norm: NotNegative = Field(0.0, description="gradients of a larger norm are scaled down to it; 0: no clipping")

    scheduler: Literal["none", "plateau", "linear"] = Field(
        "none", description="plateau: lower the learning rate when the monitored metric no longer rises; linear: to 0"
    )
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.9, description="factor of the learning rate")
    plateau_patience: int = Field(5, ge=0, description="epochs without a better metric before it is applied")
    plateau_floor: NotNegative = Field(0.0, description="lowest learning rate")
    warmup: Annotated[float, Field(ge=0, le=1)] = tunable(
        0.1, 0.0, 0.2, about="share of all steps in which the learning rate rises from 0"
    )
    precision: Precision = Field("auto", description="auto: bf16 on a GPU that has it, else 32 bits")

    def idle(self) -> set[str]:
        """The fields without effect: those of an objective or scheduler that is not chosen, or of guidance if there is none."""
        return super().idle() | (set() if self.guidance else {"guidance_similarity"})

    @property
    def unchosen(self) -> set[str]:
        """The fields that enter no id: those of LATER_FIELDS that are without effect."""
        off = {name for name in ("r_drop", "guidance", "clip_norm") if not getattr(self, name)}
        return LATER_FIELDS.keys() & (self.idle() | off)


def _folder_name(name: str) -> str:
    """Check that the name can be that of a folder."""
    if name in {"", ".", ".."} or not name.isprintable() or set("/\\") & set(name):
        raise ValueError("a name must not be empty, a dot or two, nor hold a slash")
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]


ID_SCHEMA = 2  # enters the ids of runs and must stay; the schema of stored records is icdbench.records.record.SCHEMA


class RunSpec(Settings):
    """The complete specification of a run: equal specs give equal runs. `fingerprint` is that of the raw data.

    A stored run keeps its id, which names its folder; whether two runs are equal is decided by `identity`.
    """

    dataset: FolderName
    fingerprint: str
    model: FolderName
    variant: str = Field("", pattern=r"^[^/\\\x00]*$")
    seed: int = Field(1, ge=0, lt=2**31)
    data: Annotated[StoredDataSpec, BeforeValidator(_with_options)]
    train: TrainSpec
    config: dict[str, Any]
    version: str = Field("1", description="of the model's code; see registry.register")
    uses_trainer: bool = Field(
        True, description="false for a model that is fitted as a whole, on which `train` has no effect"
    )

    @property
    def system(self) -> str:
        """The model as a user types it: `jlan` or `jlan@no-denoise`."""
        return f"{self.model}@{self.variant}" if self.variant else self.model

    @property
    def setting(self) -> str:
        """8 hex digits of all settings but the seed: runs of equal setting may be averaged."""
        return _digest(self.identity("seed"))

    @property
    def id(self) -> str:
        """The readable name of a run with these settings, and its folder below results: `codiesp-d50/jlan/1-3f9c2d1a`."""
        return f"{self.dataset}/{self.system}/{self.seed}-{_digest(self._complete())}"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that have an effect, named as for --set: `train.batch_size`, `caml.dropout`."""
        parts, given = self.parts, self.data.model_dump().keys()
        parts["data"] = {name: value for name, value in parts["data"].items() if name in given}
        return {f"{part}.{name}": value for part in reversed(parts) for name, value in parts[part].items()}

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        """The settings that have an effect, by the part that they belong to: data, train, and the model by its name."""
        content = self.identity()
        return {"data": content["data"], "train": content["train"], self.model: content["config"]}

    def identity(self, *without: str) -> dict[str, Any]:
        """All settings that have an effect, as JSON: runs of equal identity are the same run."""
        content = self._complete(*without)
        for name in self.data.idle(word_vectors=bool(self.config.get("embedding_size"))):
            content["data"].pop(name, None)
        for name in self.train.idle() if self.uses_trainer else set(TrainSpec.model_fields):
            content["train"].pop(name, None)
        return content

    def _complete(self, *without: str) -> dict[str, Any]:
        content = self.model_dump(mode="json", exclude=set(without))
        content["data"] = {**FORMER_OPTIONS, **content["data"]}
        for name in self.data.unchosen:
            del content["data"][name]
        for name in self.train.unchosen:
            del content["train"][name]
        return content


def _digest(settings: Mapping[str, Any]) -> str:
    """8 hex digits of all settings, defaults included, so that a default may change later."""
    content = {"schema": ID_SCHEMA, **settings}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Planned:
    """A run to execute, and for its record where its settings come from, by names such as `train.max_epochs`.

    `changed`: fields that the user set to another value than the default. `adapted`: fields with the model's settings for
    small training splits.
    """

    spec: RunSpec
    changed: Mapping[str, Any] = field(default_factory=dict)
    adapted: Mapping[str, Any] = field(default_factory=dict)

    def with_seed(self, seed: int) -> Planned:
        """The same run with another seed."""
        return replace(self, spec=self.spec.model_copy(update={"seed": seed}))
