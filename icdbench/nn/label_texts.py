"""Titles and other names of codes as padded tokens (`tokens_of`, `synonyms_of`), and their encoding in blocks (`in_blocks`).

Shapes in names: N texts, W words of the longest, L codes, K texts of a code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from icdbench.types import PADDING, UNKNOWN, Encoded, IntArray, Task

BLOCK = 512  # texts that are encoded at a time


def tokens_of(texts: Sequence[IntArray], most: int) -> tuple[Tensor, Tensor]:
    """The first `most` tokens of each text, padded [N, W], and their number [N].

    A text without words becomes a single unknown word, like a document without words.
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


def synonyms_of(task: Task | Encoded, each: int, most: int) -> Tensor:
    """For each code `each` texts of at most `most` tokens, padded [L, K, W]: its title, then its other names, repeated in turn.

    Other names are the distinct ones of `task.names`. Each of their normal forms is written as its first word in the
    vocabulary, in which words of the training documents come first.
    """
    tokens_LKW = torch.zeros(task.num_codes, each, most, dtype=torch.int32)
    titles = task.descriptions or (np.zeros(0, np.int32),) * task.num_codes
    for code, (title, others) in enumerate(zip(titles, _other_names(task), strict=True)):
        known = dict.fromkeys(tuple(name[:most].tolist()) for name in (title, *others))
        named = [name for name in known if name] or [(UNKNOWN,)]
        for number, name in enumerate(itertools.islice(itertools.cycle(named), each)):
            tokens_LKW[code, number, : len(name)] = torch.tensor(name, dtype=torch.int32)
    return tokens_LKW


def _other_names(task: Task | Encoded) -> list[list[IntArray]]:
    """The other names of each code as tokens."""
    found: list[list[IntArray]] = [[] for _ in range(task.num_codes)]
    if task.names is None:
        return found
    names, forms_V = task.names, task.names.form_of_token
    token_of_form = np.full(int(forms_V.max(initial=-1)) + 1, UNKNOWN, np.int32)
    tokens = np.flatnonzero(forms_V >= 0)[::-1]  # in reverse, so that the first token of each form is kept
    token_of_form[forms_V[tokens]] = tokens
    for number in np.flatnonzero(names.is_term):
        forms = names.forms[names.offsets[number] : names.offsets[number + 1]]
        found[names.codes[number]].append(token_of_form[forms])
    return found


def distinct(tokens_XW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The distinct texts [N, W], their numbers of tokens [N], and the index of each text among them [X]."""
    tokens_NW, place_X = torch.unique(tokens_XW, dim=0, return_inverse=True)
    return tokens_NW.long(), (tokens_NW != PADDING).sum(1), place_X


def in_blocks(
    encode: Callable[[Tensor, Tensor], Tensor], tokens_NW: Tensor, lengths_N: Tensor, *, keep: bool = True
) -> Tensor:
    """The output of `encode(tokens, lengths)` for all texts [N, …], in blocks of texts of similar length.

    A block is cut to its longest text, so that little padding is computed. Without `keep` the activations of a block are not
    stored but recomputed for the gradient.
    """
    order_N = lengths_N.argsort(stable=True)
    blocks = []
    for rows in torch.split(order_N, BLOCK):
        block = tokens_NW[rows, : int(lengths_N[rows[-1]])], lengths_N[rows]
        if keep or not torch.is_grad_enabled():
            blocks.append(encode(*block))
        else:
            blocks.append(checkpoint(encode, *block, use_reentrant=False))
    return torch.cat(blocks)[order_N.argsort()]
