"""Encoded documents as padded batches: the one loader, and the orders in which documents come.

Training batches hold `batch_size` documents of similar length: a shuffled epoch is cut into pools, each pool sorted by
length and cut into batches, and the batches shuffled. So little is padding, and yet no two epochs have the same batches.
The order is a pure function of (seed, epoch): a resumed run skips to where it was. Evaluation batches are sorted by length
and kept below a number of tokens. Widths are rounded up, by a 32nd at most, so that few occur: oneDNN compiles kernels for
each width, and keeps them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from icdbench.types import Batch, Encoded, IntArray

POOL_BATCHES = 16  # twice as many cost CAML three points of P@5 on 500 documents: batches were too much alike
DIGITS = 6  # significant ones of a width, in binary
EVALUATION_TOKENS = 16_384
MOST_OF_MEMORY = 0.25  # of what is free on a GPU may be taken by a loader's words


def training_order(lengths: IntArray, batch_size: int, seed: int, epoch: int) -> list[IntArray]:
    """The epoch's batches as arrays of document positions; every document once."""
    generator = np.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(lengths))
    pool = POOL_BATCHES * batch_size
    batches: list[IntArray] = []
    for start in range(0, len(shuffled), pool):
        members = shuffled[start : start + pool]
        members = members[np.argsort(lengths[members], kind="stable")]
        batches += [members[first : first + batch_size] for first in range(0, len(members), batch_size)]
    return [batches[position] for position in generator.permutation(len(batches))]


def evaluation_order(lengths: IntArray, tokens: int = EVALUATION_TOKENS) -> list[IntArray]:
    """All documents by length, in batches of at most `tokens` padded tokens (at least one document each)."""
    batches: list[IntArray] = []
    order = np.argsort(lengths, kind="stable")
    width_N = widths(lengths[order])
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end - start + 1) * width_N[end] > tokens:
            batches.append(order[start:end])
            start = end
    return batches


def widths(lengths_X: IntArray) -> IntArray:
    """The widths of batches whose longest documents have these lengths: rounded up, so that few occur."""
    _, digits_X = np.frexp(lengths_X)
    step_X = 2 ** np.maximum(digits_X - DIGITS, 0)
    widths_X: IntArray = -(-lengths_X // step_X) * step_X
    return widths_X


class Loader:
    """Batches of documents on a device. It owns the words that it moved there: they go when it goes."""

    def __init__(self, encoded: Encoded, device: torch.device | str = "cpu") -> None:
        self.encoded, self.device = encoded, torch.device(device)

    def batches(self, order: list[IntArray]) -> Iterator[Batch]:
        """The documents of each entry of `order`, padded to about the longest of them.

        A batch is made on the device, from words that were moved there once: no step waits for text.
        """
        encoded, words_N = self.encoded, self._words_N
        lengths, counts = encoded.lengths, np.diff(encoded.code_offsets)
        for index_B in order:
            row_K = np.repeat(np.arange(len(index_B)), counts[index_B])  # K pairs of a document and a code
            before_K = np.repeat(np.cumsum(counts[index_B]) - counts[index_B], counts[index_B])
            code_K = encoded.codes[encoded.code_offsets[index_B][row_K] + np.arange(len(row_K)) - before_K]
            arrays = index_B, encoded.token_offsets[index_B], lengths[index_B], row_K, code_K
            document_B, start_B, length_B, at_K, label_K = (
                torch.from_numpy(array.astype(np.int64)).to(words_N.device, non_blocking=True) for array in arrays
            )
            width = min(int(widths(lengths[index_B].max())), encoded.max_tokens)
            position_T = torch.arange(width, device=words_N.device)
            word_BT = (start_B[:, None] + position_T).clamp_(max=len(words_N) - 1)
            tokens_BT = words_N[word_BT].long() * (position_T < length_B[:, None])
            labels_BL = torch.zeros(len(index_B), encoded.num_codes, device=words_N.device)
            labels_BL[at_K, label_K] = 1
            yield Batch(*(each.to(self.device) for each in (tokens_BT, length_B, labels_BL, document_B)))

    @cached_property
    def _words_N(self) -> Tensor:
        """The words of all documents on the device; left in main memory if they would take too much of the device's."""
        with warnings.catch_warnings():  # the cache is a memory map that must not be written to, and is not
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            words_N = torch.from_numpy(self.encoded.tokens)
        free = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else math.inf
        return words_N.to(self.device) if words_N.nbytes < MOST_OF_MEMORY * free else words_N
