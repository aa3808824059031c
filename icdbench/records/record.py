"""The content of a finished run's record (`RunRecord`), and of the measures of its explanations (`Explained`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from icdbench.settings import Settings
from icdbench.spec import RunSpec, Study
from icdbench.types import SPLITS, THRESHOLDS, Count, Number

SCHEMA = 9  # of stored records; icdbench.records.store.upgrade reads the earlier ones


def _of_every_split(counts: dict[str, int]) -> dict[str, int]:
    if missing := [split for split in SPLITS if split not in counts]:
        raise ValueError(f"the {missing[0]} split has no size")
    return counts


SplitCounts = Annotated[dict[str, Count], AfterValidator(_of_every_split)]


class DataFacts(Settings):
    """The data that a run was made on. `assignments` counts gold codes, `unseen` those that never occur in training.

    `facts` come from the source (how the split was made, what was left out), `notices` are problems of the data.
    `word_vectors` says how the vectors were trained; empty for a model without any.
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
    """Seconds of each stage, and documents per second of training (0 for a model that is fitted as a whole)."""

    prepare: Number
    train: Number
    predict: Number
    documents_per_second: Number = 0.0


class Epoch(Settings):
    """One epoch of training. Validation metrics stand beside the fields, each under its key such as `p@5`.

    `drop_rate` is the share of positive pairs that the objective should leave out, `dropped` the share that it did.
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
        """All recorded figures of the epoch by key, without fields that the run did not record."""
        return self.model_dump(exclude_unset=True)


class ScoredFile(Settings):
    """The origin of predictions that no model of the suite made: a file's name and SHA-256, and how it was read.

    `kind` says what the file lists for each document: codes with probabilities, codes with other numbers (read as logits),
    a ranking of codes, or only codes. `runs`: the predictions mix the runs listed in `file` (icdbench.experiments.blend).
    `validation` is the file on which the threshold was tuned. `counts` has for each split what did not match the data set
    (icdbench.experiments.scored has the rules). There are no ids and no texts.
    """

    file: str
    sha256: str
    kind: Literal["probabilities", "logits", "ranking", "codes", "runs"]
    validation: str = ""
    validation_sha256: str = ""
    counts: dict[str, dict[str, Count]] = {}

    @property
    def lacking(self) -> tuple[str, ...]:
        """Prefixes of the keys of metrics that are undefined for such predictions."""
        ranked = ("p@", "r@", "map", "r_precision")
        return {"ranking": ("auc",), "codes": ("auc", *ranked)}.get(self.kind, ())


class RunRecord(Settings):
    """A finished run: its spec and all that was measured. Times are seconds, rates documents per second.

    - `changed` and `adapted`: where settings come from (icdbench.spec.Planned); `study`: the search that found the latter.
    - `metrics[split][rule][key]`: split validation or test; rule fixed (0.5) or tuned (`threshold["tuned"]`).
    - `intervals[rule][key]`: 95 % interval of a test figure over resampled documents (icdbench.evaluation.bootstrap).
    - `popularity`: test metrics of ranking codes by training frequency; `ceilings`: of ranking each document's gold codes
      first, which no system can exceed.
    - `collapse[rule]`: what is degenerate about the test scores, if anything; `notes`: remarks on the training.
    - `data`: stored under the name `corpus`. `remeasured`: when the figures were last recomputed from stored predictions.
    - `code`: digest of the model's file; `code_source`: where it is, if not in the suite (`file mine.py`, `package theirs`).
    - `scored`: the origin of predictions made elsewhere; without a validation file there is no tuned threshold.
    - `files`: SHA-256 of each file beside the record; `digest`: of the record itself, to detect changes (empty: unsigned).
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
        rules = THRESHOLDS if self.scored is None else ("fixed", *self.threshold)
        if not all("f1_micro" in self.metrics.get("test", {}).get(rule, {}) for rule in rules):
            raise ValueError("the F1 of the test split is missing")
        return self

    @property
    def signed(self) -> bool:
        """Whether the record has digests of itself and of the files beside it."""
        return bool(self.digest)

    @property
    def best_epoch(self) -> Epoch | None:
        """The epoch whose weights were kept, the first with the best monitored value; None for a model without epochs."""
        return max(self.history, key=lambda epoch: epoch.monitor, default=None)

    def as_json(self, indent: int | None = None) -> str:
        return self.model_dump_json(by_alias=True, indent=indent)


class Trust(Settings):
    """How far one method's explanations of a run can be trusted (icdbench.inference.faithfulness): figures and 95 % intervals.

    `boundary` is the share of a note's positive weight from which a word counts as chosen; None without evidence.
    """

    figures: dict[str, Number]
    intervals: dict[str, tuple[Number, Number]]
    boundary: Number | None = None


class Explained(Settings):
    """The measures of a run's explanations, on `documents` test documents drawn with `seed`; `counts` has sizes.

    `trained` is the record's `created`: a run that is trained again must be measured again. `marks` is a digest of the
    evidence in a user's own data.
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
