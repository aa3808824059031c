"""Texts -> the subwords of a pretrained encoder, by its tokenizer.json, which the tokenizers library reads.

Raw texts are read whole and without special tokens; models cut them. The vocabulary is the tokeniser's, in the order of its
numbers, except that padding and the unknown token come first, as in every vocabulary here. Text that reads like the
tokeniser's padding ("[PAD]") becomes an unknown token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from icdbench.data.tokens import Ragged, in_chunks
from icdbench.settings import DataError, SpecError
from icdbench.types import UNKNOWN, IntArray, Report, quiet

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHUNK = 1 << 20  # characters that are split at once; their tokens take about a hundred times as many bytes
EXTRA = "pip install 'icdbench[plm]'"

_PADDING, _UNKNOWN = ("[PAD]", "<pad>"), ("[UNK]", "<unk>")  # as tokenisers spell them
_SURROGATE = re.compile("[\ud800-\udfff]")  # halves of surrogate pairs, which are not characters


class Subwords:
    """A tokeniser: `tokens` is its vocabulary in the suite's order, `ids` [V] its own number of each token, -1 for none.

    `text` is the content of its tokenizer.json. Raises DataError if it is not one, SpecError if the library is missing.
    """

    def __init__(self, text: str) -> None:
        self._tokenizer = _tokenizer(text)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise DataError("the tokeniser has no vocabulary")
        padding = next((vocabulary[each] for each in _PADDING if each in vocabulary), -1)
        unknown = next((vocabulary[each] for each in _unknown_names(text) if each in vocabulary), -1)
        by_id = {number: token for token, number in vocabulary.items()}
        others = sorted(by_id.keys() - {padding, unknown})
        self.ids: IntArray = np.array([padding, unknown, *others], np.int64)
        self.tokens = ("<padding>", "<unknown>", *(by_id[number] for number in others))

    @cached_property
    def _positions(self) -> IntArray:
        """The position in `tokens` of each of the tokeniser's numbers."""
        positions = np.full(int(self.ids.max()) + 1, UNKNOWN, np.int32)
        positions[self.ids[UNKNOWN + 1 :]] = np.arange(UNKNOWN + 1, len(self.ids))
        return positions

    @property
    def words(self) -> Sequence[str]:
        """All tokens, by the numbers that `read` gives."""
        return self.tokens

    def read(self, texts: Sequence[str], report: Report = quiet) -> Ragged:
        """The positions in `tokens` of each text's subwords."""
        rows: list[IntArray] = []
        for chunk in in_chunks(texts, CHUNK):
            found = self._tokenizer.encode_batch_fast(
                [_without_halves(text) for text in chunk], add_special_tokens=False
            )
            rows += [self._positions[np.array(each.ids, np.int64)] for each in found]
            report("subwords", len(rows), len(texts))
        return Ragged.of(rows)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The characters of each subword, without blanks around it: its first character, and one past its last."""
        found = self._tokenizer.encode(_without_halves(text), add_special_tokens=False)
        return [_without_blanks(text, *span) for span in found.offsets]


def _tokenizer(text: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise SpecError(f"data.tokens=subwords: the tokenizers library is missing; {EXTRA}") from None
    try:
        found = Tokenizer.from_str(text)
    except Exception as error:  # noqa: BLE001  the library raises no subclass
        raise DataError(f"the tokeniser cannot be read ({' '.join(str(error).split())[:120]})") from None
    found.no_truncation()  # which the encoder's last use may have set
    found.no_padding()
    return found


def _unknown_names(text: str) -> Iterator[str]:
    """The possible names of the unknown token, first those that the tokenizer.json gives by name or, as sentencepiece, number."""
    model: Mapping[str, Any] = json.loads(text).get("model", {})
    if isinstance(name := model.get("unk_token"), str):
        yield name
    if isinstance(number := model.get("unk_id"), int) and number < len(model.get("vocab", ())):
        yield model["vocab"][number][0]
    yield from _UNKNOWN


def _without_halves(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _without_blanks(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end].strip()
    first = start + text[start:end].find(inner) if inner else start
    return (first, first + len(inner)) if inner else (start, end)
