"""The types that stages pass on. Each stage reads only the type to its left:

raw tables -> [Document] -> Vocabulary -> Encoded -> Batch -> logits_BL -> Predictions -> {metric: value} -> RunRecord
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from torch import Tensor

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.floating[Any]]
Weights = Mapping[str, NDArray[Any]]  # fitted numbers by name
Report = Callable[[str, int, int], None]  # progress: what is being done, how much is done, how much there is

# Numbers read from files: finite, of printable size, and neither text nor booleans.
Number = Annotated[float, Field(strict=True, ge=-1e15, le=1e15)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]

PADDING, UNKNOWN = 0, 1  # positions in Vocabulary.tokens
SENTENCE_END = "."  # a token, if data.words=sentences
SPLITS = ("train", "validation", "test")
THRESHOLDS = ("fixed", "tuned")  # rules for the decision threshold: 0.5, and the one chosen on validation


def quiet(_what: str, _done: int, _total: int) -> None:
    """Ignore progress: a Report for callers that show none."""


def composed(text: str) -> str:
    """Return the text in Unicode normal form C, in which é is one character."""
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True, slots=True)
class Document:
    """A note, or all notes of one admission, with its gold codes as the source lists them, in one of `SPLITS`.

    A source may list a code twice; labels are sets nevertheless. `group` identifies what must not occur in two splits,
    such as the patient; it is empty if the source does not tell.
    """

    id: str
    text: str
    codes: tuple[str, ...]
    split: str
    group: str = ""


@dataclass(frozen=True)
class Vocabulary:
    """Words and codes by index. Token 0 is padding, 1 stands for unknown words.

    Where tokens are subwords, `tokenizer` says how texts become them: the text of a tokenizer.json.
    """

    tokens: tuple[str, ...]
    codes: tuple[str, ...]
    tokenizer: str = ""


@dataclass(frozen=True, eq=False)
class Marks:
    """The words that a person marked as the reason for a code: M marks in N documents; a mark may have gaps.

    Mark m is for the code `codes[m]`; `words[word_offsets[m] : word_offsets[m + 1]]` are the positions of its words in its
    document, ascending. The marks of document i are those from `offsets[i]` to `offsets[i + 1]`.
    """

    words: IntArray
    word_offsets: IntArray
    codes: IntArray
    offsets: IntArray


@dataclass(frozen=True, eq=False)
class Encoded:
    """N documents as flat integer arrays: document i has the tokens from `token_offsets[i]` to `token_offsets[i + 1]`.

    Models read its first `lengths[i]` tokens, at most `max_tokens`; word vectors are trained on all. `codes` holds
    positions among the `num_codes` of Vocabulary.codes in the same way. `unseen` [N] counts each document's gold codes
    outside the label set, which never occur in training: no model can predict them, and metrics count them as missed.
    Only training documents have `descriptions` and `names`, the same as `Corpus`, and `marks` (with `data.spans`).
    """

    ids: tuple[str, ...]
    tokens: IntArray
    token_offsets: IntArray
    codes: IntArray
    code_offsets: IntArray
    unseen: IntArray
    num_codes: int
    max_tokens: int = sys.maxsize
    descriptions: tuple[IntArray, ...] | None = None
    names: Names | None = None
    marks: Marks | None = None

    def __len__(self) -> int:
        return len(self.token_offsets) - 1

    def labels(self) -> csr_matrix:
        """Return the gold codes as a binary matrix [N, L]."""
        ones = np.ones(len(self.codes), dtype=np.uint8)
        return csr_matrix((ones, self.codes, self.code_offsets), shape=(len(self), self.num_codes))

    @property
    def lengths(self) -> IntArray:
        """The number of tokens that models read of each document [N]."""
        return np.minimum(np.diff(self.token_offsets), self.max_tokens)


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The code tree of N nodes: nodes 0 to L - 1 are the codes of the label set in order, the rest are `ancestors`.

    `parents` [N] gives each node's parent, -1 for a root; a code may be the parent of another. `descriptions` holds the
    titles of the ancestors only, as token indices; empty for a node without a title.
    """

    parents: IntArray
    ancestors: tuple[str, ...]
    descriptions: tuple[IntArray, ...]


@dataclass(frozen=True, eq=False)
class Names:
    """The M names of codes: titles, and the other names that the code system lists (inclusion terms).

    A name is a bag of normal forms of words: name m, of the code `codes[m]`, has the forms from `offsets[m]` to
    `offsets[m + 1]` of `forms`; `is_term[m]` is 1 unless it is a title. `form_of_token` [V] is the normal form of each token
    of the vocabulary, -1 for a word that names ignore, such as "of"; `negates` [V] marks words such as "no".
    """

    forms: IntArray
    offsets: IntArray
    codes: IntArray
    is_term: IntArray
    form_of_token: IntArray
    negates: IntArray


@dataclass(frozen=True, eq=False)
class Corpus:
    """An encoded data set: three splits, unlabelled background texts, and the titles of the codes.

    `descriptions` are the titles as token indices and `titles` as text; both are empty for a code without a title.
    `key` identifies the encoding (raw content and settings), `fingerprint` only the raw content. `facts` go into every
    record: how the split was made and what was left out. `notices` are problems of the data, one line each, which records
    and tables repeat. `names` are there with `data.code_terms`.
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
    notices: tuple[str, ...] = ()
    names: Names | None = None


@dataclass(frozen=True, eq=False)
class Encoder:
    """A pretrained transformer encoder: the content of its config.json, and the folder of its `weights`.

    `ids` [V] are the encoder's own numbers of the tokens, -1 for a token that it lacks. Without weights it is initialised at
    random, as in a bundle, which has the weights itself.
    """

    config: Mapping[str, Any]
    ids: IntArray | None = None
    weights: Path | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """What a model may know of the data: sizes, initial word vectors [V, E], titles as token indices, the code tree, the codes
    as spelled in the data, the words (`tokens`), with `data.code_terms` all names of the codes, and for a model that needs
    one the pretrained encoder.
    """

    num_tokens: int
    num_codes: int
    embeddings: FloatArray | None = None
    descriptions: tuple[IntArray, ...] | None = None
    hierarchy: Hierarchy | None = None
    names: Names | None = None
    codes: tuple[str, ...] = ()
    tokens: tuple[str, ...] | None = None
    encoder: Encoder | None = None


@dataclass(eq=False)  # not frozen: Fabric's mixed precision rebuilds it field by field
class Batch:
    """B documents padded to T tokens: tokens_BT (0 = padding), lengths_B ≥ 1, labels_BL (0 or 1), positions index_B."""

    tokens_BT: Tensor
    lengths_B: Tensor
    labels_BL: Tensor
    index_B: Tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's output: scores [N, L] before the sigmoid, and gold labels [N, L] of the same documents and codes.

    `unseen` [N] counts gold codes outside the label set, as in `Encoded`. Only predictions made elsewhere have `outside_NF`,
    the scores of predicted codes outside the label set that are not gold (-inf beyond a document's number of them); a score
    of -inf in `scores_NL` then means that the document does not list the code.
    """

    ids: tuple[str, ...]
    scores_NL: FloatArray
    labels: csr_matrix
    unseen: IntArray
    outside_NF: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class LabelSet:
    """The names of the L codes, and the number of training documents with each: `train_counts` [L]."""

    codes: tuple[str, ...]
    train_counts: IntArray
