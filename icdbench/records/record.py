"""What a finished run leaves: its record, and what was measured of its explanations."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from icdbench.settings import Settings
from icdbench.spec import RunSpec, Study
from icdbench.types import SPLITS, Count, Number

SCHEMA = 9  # of stored records; icdbench.records.store.upgrade reads the earlier ones
RULES = ("fixed", "tuned")  # thresholds: 0.5, and the one chosen on validation


def _of_every_split(counts: dict[str, int]) -> dict[str, int]:
    if missing := [split for split in SPLITS if split not in counts]:
        raise ValueError(f"the {missing[0]} split has no size")
    return counts


SplitCounts = Annotated[dict[str, Count], AfterValidator(_of_every_split)]


class DataFacts(Settings):
    """The data that a run was made on. `assignments` counts gold codes, `unseen` those that training never shows.

    `facts` are the source's own (how the split was made, what was left out), `notices` what is wrong with the data.
    `word_vectors` says how the vectors were trained; empty where a model has none.
    """

    model_config = ConfigDict(strict=True)

    name: str
    synthetic: bool
    fingerprint: str
    documents: SplitCounts
    num_codes: Count
    num_tokens: Count
    assignments: SplitCounts
    unseen: SplitCounts
    facts: dict[str, Any] = {}
    notices: list[str] = []
    word_vectors: dict[str, Number] = {}


class Timing(Settings):
    """Seconds of each stage; documents per second of training, 0 for a model that is fitted as a whole."""

    prepare: Number
    train: Number
    predict: Number
    documents_per_second: Number = 0.0


class Epoch(Settings):
    """One epoch of training. Validation metrics stand beside the fields, each under its key such as `p@5`.

    `drop_rate` is the share of positive pairs that the objective should leave out, `dropped` the share that it did;
    `split` counts the batches that memory held only in parts; `seconds` is the training time so far.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number] = Field(init=False)

    epoch: Number
    loss: Number
    drop_rate: Number = 0.0
    dropped: Number = 0.0
    split: Number = 0.0
    monitor: Number
    seconds: Number = 0.0

    @property
    def figures(self) -> dict[str, float]:
        """All that was recorded of the epoch by key; a field that the run did not record is absent."""
        return self.model_dump(exclude_unset=True)


class ScoredFile(Settings):
    """Where the predictions of a run come from that were made elsewhere: a file's name and SHA-256, and how it was read.

    `kind` says what the file has of each document: codes with probabilities, codes with other numbers (read as logits), a
    ranking of codes, or codes alone; `runs`: they are a mixture of the runs that `file` lists
    (icdbench.experiments.blend). `validation` is the file that the threshold was tuned on. `counts` has by split what
    did not fit the data set (icdbench.experiments.scored says the rules). No id and no text.
    """

    file: str
    sha256: str
    kind: Literal["probabilities", "logits", "ranking", "codes", "runs"]
    validation: str = ""
    validation_sha256: str = ""
    counts: dict[str, dict[str, Count]] = {}

    @property
    def lacking(self) -> tuple[str, ...]:
        """How the keys of those metrics begin that such predictions do not tell."""
        ranked = ("p@", "r@", "map", "r_precision")
        return {"ranking": ("auc",), "codes": ("auc", *ranked)}.get(self.kind, ())


class RunRecord(Settings):
    """A finished run: its spec and all that was measured. Times are seconds, rates documents per second.

    `changed` and `adapted` say where settings come from (icdbench.spec.Planned), `study` which search found the latter, if
    one did. `data` is stored as `corpus`.
    `metrics[split][rule][key]`: split validation or test; rule fixed (0.5) or tuned (`threshold["tuned"]`).
    `intervals[rule][key]`: 95 % percentile interval of a test figure over resampled documents (icdbench.evaluation.bootstrap).
    `popularity`: test metrics of ranking codes by training frequency; `ceilings`: of ranking each document's gold codes
    first, the most that any system can reach. `collapse[rule]`: what is degenerate about the
    test scores, if anything. `notes`: what a reader of the figures should know of the training. `remeasured`: when the
    figures were last computed again from the stored predictions. `code`: a digest of the model's file; `code_source`:
    where that is, if not in the suite (`file mine.py`, `package theirs`). `scored`: of predictions that were made elsewhere,
    where they come from; without a validation file such a run has no tuned threshold. `files`: the SHA-256
    of each file stored beside the record. `digest`: that of the record itself as stored, so that a later change to it is
    seen; empty in an unsigned record.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_version: int = SCHEMA
    id: str
    spec: RunSpec
    changed: dict[str, Any] = {}
    adapted: dict[str, Any] = {}
    study: Study | None = None
    metrics: dict[str, dict[str, dict[str, Number]]]
    threshold: dict[str, Number]
    intervals: dict[str, dict[str, tuple[Number, Number]]] = {}
    collapse: dict[str, str] = {}
    popularity: dict[str, Number] = {}
    ceilings: dict[str, Number] = {}
    history: list[Epoch] = []
    parameters: Count
    data: DataFacts = Field(validation_alias="corpus", serialization_alias="corpus")
    timing: Timing
    notes: list[str] = []
    device: str
    versions: dict[str, str]
    commit: str = ""
    code: str = ""
    code_source: str = ""
    scored: ScoredFile | None = None
    created: str = ""
    remeasured: str = ""
    files: dict[str, str] = {}
    digest: str = ""

    @model_validator(mode="after")
    def _has_test_f1(self) -> Self:
        rules = RULES if self.scored is None else ("fixed", *self.threshold)
        if not all("f1_micro" in self.metrics.get("test", {}).get(rule, {}) for rule in rules):
            raise ValueError("the F1 of the test split is missing")
        return self

    @property
    def signed(self) -> bool:
        """Whether the record vouches for itself and for the files beside it."""
        return bool(self.digest)

    @property
    def best_epoch(self) -> Epoch | None:
        """The first epoch with the best monitored value, whose weights were kept; None for a model without epochs."""
        return max(self.history, key=lambda epoch: epoch.monitor, default=None)

    def as_json(self, indent: int | None = None) -> str:
        """The record as it is stored."""
        return self.model_dump_json(by_alias=True, indent=indent)


class Trust(Settings):
    """How far one method's explanations of a run can be trusted (icdbench.inference.faithfulness): figures, 95 % intervals.

    `boundary` is the share of a note's positive weight from which a word counts as chosen; none without evidence.
    """

    figures: dict[str, Number]
    intervals: dict[str, tuple[Number, Number]]
    boundary: Number | None = None


class Explained(Settings):
    """A run's explanations, measured. `documents` and `seed` say which documents were chosen, `counts` what was found.

    `trained` is the record's `created`: a run that is trained again has to be measured again. `marks` changes with the
    evidence of a user's own data.
    """

    run: str
    trained: str
    version: str
    documents: Count
    seed: Count
    counts: dict[str, Count]
    methods: dict[str, Trust]
    created: str
    marks: str = ""
