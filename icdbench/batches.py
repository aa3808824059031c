"""Encoded documents -> padded batches: the one loader.

Training batches hold `batch_size` documents of similar length: a shuffled epoch is cut into pools, each pool sorted by
length and cut into batches, and the batches shuffled, so that little is padding and yet no two epochs have the same
batches. The order is a pure function of (seed, epoch): a resumed run skips to its place. Evaluation batches go by
length under a token budget.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from icdbench.types import Batch, Encoded, IntArray

POOL_BATCHES = 16
EVALUATION_TOKENS = 16_384


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
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end - start + 1) * lengths[order[end]] > tokens:
            batches.append(order[start:end])
            start = end
    return batches


def batches(
    encoded: Encoded, order: list[IntArray], num_codes: int, max_tokens: int, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """The documents of each entry of `order`, cut to max_tokens and padded to the longest of them."""
    lengths = encoded.lengths(max_tokens)
    for index_B in order:
        lengths_B = lengths[index_B]
        tokens_BT = np.zeros((len(index_B), lengths_B.max()), dtype=np.int64)
        labels_BL = np.zeros((len(index_B), num_codes), dtype=np.float32)
        for row, (document, length) in enumerate(zip(index_B, lengths_B, strict=True)):
            start = encoded.token_offsets[document]
            tokens_BT[row, :length] = encoded.tokens[start : start + length]
            labels_BL[row, encoded.codes[encoded.code_offsets[document] : encoded.code_offsets[document + 1]]] = 1
        arrays = (tokens_BT, lengths_B.astype(np.int64), labels_BL, index_B)
        yield Batch(*(torch.from_numpy(array).to(device, non_blocking=True) for array in arrays))
