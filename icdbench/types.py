"""What flows from stage to stage. Each stage reads only its left neighbour's type:

raw tables -> [Document] -> Vocabulary -> Encoded -> Batch -> logits_BL -> Predictions -> {metric: value} -> RunRecord
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from icdbench.spec import RunSpec, Settings

if TYPE_CHECKING:
    from torch import Tensor

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.floating[Any]]
Report = Callable[[str, int, int], None]  # told what is being done, how much of it is, and how much there is

PADDING, UNKNOWN = 0, 1  # positions in Vocabulary.tokens
SPLITS = ("train", "validation", "test")


def quiet(_what: str, _done: int, _total: int) -> None:
    """The Report of those who show nothing."""


@dataclass(frozen=True, slots=True)
class Document:
    """One note, or all notes of one admission, in one of `SPLITS`, with its gold codes as the source lists them.

    Some sources list a code twice; labels are sets all the same.
    """

    id: str
    text: str
    codes: tuple[str, ...]
    split: str


@dataclass(frozen=True)
class Vocabulary:
    """Words and codes; an index is a position. Token 0 is padding, 1 unknown."""

    tokens: tuple[str, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Encoded:
    """N documents as flat integer arrays: document i has `tokens[token_offsets[i]:token_offsets[i + 1]]`.

    `codes` holds positions in Vocabulary.codes in the same way. `unseen` [N] counts each document's gold codes that the
    label set lacks because training never shows them: no model can predict them, and metrics count them as missed.
    """

    ids: tuple[str, ...]
    tokens: IntArray
    token_offsets: IntArray
    codes: IntArray
    code_offsets: IntArray
    unseen: IntArray

    def __len__(self) -> int:
        return len(self.token_offsets) - 1

    def labels(self, num_codes: int) -> csr_matrix:
        """Gold codes as a binary N×L matrix."""
        ones = np.ones(len(self.codes), dtype=np.uint8)
        return csr_matrix((ones, self.codes, self.code_offsets), shape=(len(self), num_codes))

    def lengths(self, max_tokens: int) -> IntArray:
        """Tokens of each document [N], at most max_tokens."""
        return np.minimum(np.diff(self.token_offsets), max_tokens)


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The tree of N nodes above the label set: nodes 0 to L - 1 are its codes in their order, the rest are `ancestors`.

    `parents` [N] gives each node's parent, -1 for a root; a code may be the parent of another. `descriptions` are the
    titles of the ancestors alone, as token indices, empty where there is none.
    """

    parents: IntArray
    ancestors: tuple[str, ...]
    descriptions: tuple[IntArray, ...]


@dataclass(frozen=True, eq=False)
class Corpus:
    """An encoded data set: three splits, unlabelled background texts, and the title of each code as token indices.

    `descriptions[l]` is empty where a code has no title, as `titles[l]`, its text, is. `key` names the encoding (raw content and settings);
    `fingerprint` the raw content alone. `facts` are stated in every record: how the split was made, what was left out.
    """

    name: str
    vocabulary: Vocabulary
    splits: Mapping[str, Encoded]
    background: Encoded
    descriptions: tuple[IntArray, ...]
    fingerprint: str
    key: str
    synthetic: bool
    facts: Mapping[str, Any]
    hierarchy: Hierarchy | None = None
    titles: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Task:
    """All that a model may know of the data: sizes, initial word vectors [V, E], code titles as token indices, the tree."""

    num_tokens: int
    num_codes: int
    embeddings: FloatArray | None = None
    descriptions: tuple[IntArray, ...] | None = None
    hierarchy: Hierarchy | None = None


@dataclass(eq=False)  # not frozen: Fabric's mixed precision rebuilds it field by field
class Batch:
    """B documents padded to T tokens: tokens_BT (0 = padding), lengths_B ≥ 1, labels_BL (0 or 1), positions index_B."""

    tokens_BT: Tensor
    lengths_B: Tensor
    labels_BL: Tensor
    index_B: Tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of N documents × L codes, before the sigmoid, beside their gold labels; what every model ends in.

    `unseen` [N] counts gold codes outside the label set, as in `Encoded`.
    """

    ids: tuple[str, ...]
    scores_NL: FloatArray
    labels: csr_matrix
    unseen: IntArray


@dataclass(frozen=True, eq=False)
class LabelSet:
    """The L codes by name, and how many training documents have each: `train_counts` [L]."""

    codes: tuple[str, ...]
    train_counts: IntArray


class RunRecord(Settings):
    """A finished run: its spec and all that was measured. Times are seconds, rates documents per second.

    `metrics[split][rule][key]`: split validation or test; rule fixed (0.5) or tuned (`threshold["tuned"]`).
    `intervals[rule][key]`: 95 % percentile interval of a test figure, by drawing test documents (icdbench.bootstrap).
    `popularity`: test metrics of ranking codes by training frequency. `collapse[rule]`: what is degenerate about the test
    scores, if anything. `remeasured`: when all that was last computed again from the stored predictions. `digest`: of the
    rest as it was stored, so that a record altered since is seen; records stored before there was one have none.
    """

    id: str
    spec: RunSpec
    metrics: dict[str, dict[str, dict[str, float]]]
    threshold: dict[str, float]
    intervals: dict[str, dict[str, tuple[float, float]]] = {}
    collapse: dict[str, str] = {}
    popularity: dict[str, float] = {}
    history: list[dict[str, float]] = []
    parameters: int
    corpus: dict[str, Any]
    timing: dict[str, float]
    device: str
    versions: dict[str, str]
    commit: str = ""
    created: str = ""
    remeasured: str = ""
    digest: str = ""


class Trust(Settings):
    """How far one method's explanations of a run can be trusted (icdbench.faithful): figures, 95 % intervals.

    `boundary` is the share of a note's positive weight from which a word counts as chosen; none without evidence.
    """

    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    boundary: float | None = None


class Explained(Settings):
    """A run's explanations, measured. `documents` and `seed` say which documents were asked for, `counts` what was found.

    `trained` is the record's `created`: a run that is trained again has to be measured again.
    """

    run: str
    trained: str
    version: str
    documents: int
    seed: int
    counts: dict[str, int]
    methods: dict[str, Trust]
    created: str
