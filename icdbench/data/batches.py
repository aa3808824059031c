"""Padded batches of encoded documents: `Loader` makes them, in the order of `training_order` or `evaluation_order`.

Training batches hold `batch_size` documents of similar length: a shuffled epoch is cut into pools, each pool is sorted by
length and cut into batches, and the batches are shuffled. This leaves little padding, yet no two epochs have the same
batches. The order depends on (seed, epoch) alone, so a resumed run can skip to where it stopped. Evaluation batches are
sorted by length and limited to a number of tokens. Widths are rounded up, by 1/32 at most, so that few different ones
occur: oneDNN compiles kernels for each width and keeps them.
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

POOL_BATCHES = 16  # 32 cost CAML three points of P@5 on 500 documents, as the batches became too similar
DIGITS = 6  # significant binary digits of a width
EVALUATION_TOKENS = 16_384
MOST_OF_MEMORY = 0.25  # share of a GPU's free memory that a loader's tokens may take


def training_order(lengths: IntArray, batch_size: int, seed: int, epoch: int) -> list[IntArray]:
    """The epoch's batches as arrays of document positions; every document occurs once."""
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
    """All documents by length, in batches of at most `tokens` padded tokens and at least one document."""
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
    """The widths of batches whose longest documents have these lengths: rounded up to DIGITS binary digits."""
    _, digits_X = np.frexp(lengths_X)
    step_X = 2 ** np.maximum(digits_X - DIGITS, 0)
    widths_X: IntArray = -(-lengths_X // step_X) * step_X
    return widths_X


class Loader:
    """Batches of documents on a device. The loader owns the tokens that it moved there: they are freed with it."""

    def __init__(self, encoded: Encoded, device: torch.device | str = "cpu") -> None:
        self.encoded, self.device = encoded, torch.device(device)

    def batches(self, order: list[IntArray]) -> Iterator[Batch]:
        """A batch for each entry of `order`, an array of document positions; padded to about its longest document.

        Batches are assembled on the device, from tokens that were moved there once, so no step waits for a copy.
        """
        encoded, tokens_N = self.encoded, self._tokens_N
        lengths, counts = encoded.lengths, np.diff(encoded.code_offsets)
        for index_B in order:
            # The K labels of the batch, as pairs of a row of the batch and a code.
            row_K = np.repeat(np.arange(len(index_B)), counts[index_B])
            before_K = np.repeat(np.cumsum(counts[index_B]) - counts[index_B], counts[index_B])
            code_K = encoded.codes[encoded.code_offsets[index_B][row_K] + np.arange(len(row_K)) - before_K]
            arrays = index_B, encoded.token_offsets[index_B], lengths[index_B], row_K, code_K
            document_B, start_B, length_B, row_of_K, label_K = (
                torch.from_numpy(array.astype(np.int64)).to(tokens_N.device, non_blocking=True) for array in arrays
            )
            width = min(int(widths(lengths[index_B].max())), encoded.max_tokens)
            position_T = torch.arange(width, device=tokens_N.device)
            position_BT = (start_B[:, None] + position_T).clamp_(max=len(tokens_N) - 1)
            tokens_BT = tokens_N[position_BT].long() * (position_T < length_B[:, None])
            labels_BL = torch.zeros(len(index_B), encoded.num_codes, device=tokens_N.device)
            labels_BL[row_of_K, label_K] = 1
            yield Batch(*(each.to(self.device) for each in (tokens_BT, length_B, labels_BL, document_B)))

    @cached_property
    def _tokens_N(self) -> Tensor:
        """The tokens of all documents, on the device unless they would take too much of its memory."""
        with warnings.catch_warnings():  # the cache is a read-only memory map, and nothing here writes to it
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            tokens_N = torch.from_numpy(self.encoded.tokens)
        free = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else math.inf
        return tokens_N.to(self.device) if tokens_N.nbytes < MOST_OF_MEMORY * free else tokens_N
