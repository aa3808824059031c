"""Short texts that stand for codes, such as their titles: as tokens, and encoded a block at a time.

Shapes in names: N texts, W words of the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from icdbench.types import UNKNOWN, IntArray

BLOCK = 512  # texts that are encoded at a time


def tokens_of(texts: Sequence[IntArray], most: int) -> tuple[Tensor, Tensor]:
    """The first `most` tokens of each text, padded: [N, W], and how many they are: [N].

    A text without words is a single unknown word, as a document without words is.
    """
    rows = [text[:most] if len(text) else np.array([UNKNOWN]) for text in texts]
    lengths_N = torch.tensor([len(row) for row in rows], dtype=torch.long)
    tokens_NW = torch.zeros(len(rows), int(lengths_N.max()), dtype=torch.long)
    for at, row in enumerate(rows):
        tokens_NW[at, : len(row)] = torch.tensor(row.tolist())
    return tokens_NW, lengths_N


def groups_of(tokens_NW: Tensor) -> Tensor:
    """A number for each text, equal for texts of equal tokens: [N]."""
    groups_N: Tensor = torch.unique(tokens_NW, dim=0, return_inverse=True)[1]
    return groups_N


def in_blocks(encode: Callable[[Tensor, Tensor], Tensor], tokens_NW: Tensor, lengths_N: Tensor) -> Tensor:
    """What `encode(tokens, lengths)` gives for all texts: [N, …], the texts of a block being of similar length.

    A block is cut to its own longest text, so that little is computed for padding.
    """
    order_N = lengths_N.argsort(stable=True)
    blocks = [
        encode(tokens_NW[rows, : int(lengths_N[rows[-1]])], lengths_N[rows]) for rows in torch.split(order_N, BLOCK)
    ]
    return torch.cat(blocks)[order_N.argsort()]
