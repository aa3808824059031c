"""Titles and other names of codes as padded tokens (`tokens_of`, `synonyms_of`), and their encoding in blocks (`in_blocks`).

`NameReader` is a BiLSTM that reads both documents and names. Shapes in names: N texts, W words of the longest, L codes, K texts
of a code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from icdbench.nn.layers import BiRNN, Dropout, embedding, mask
from icdbench.types import PADDING, UNKNOWN, Batch, Encoded, IntArray, Task

BLOCK = 512  # texts that are encoded at a time


def categories_of(codes: Sequence[str]) -> list[str]:
    """The category of each code as it is spelled: the part before its dot, else its first three characters."""
    return [code.partition(".")[0] if "." in code else code[:3] for code in codes]


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


class NameReader(nn.Module):
    """A BiLSTM that reads documents and, as other documents, the names of codes: the base of models without weights of a code.

    `config` has embedding_size, hidden_size, layers, dropout, synonyms (K) and title_words (W). What a model computes of all
    names is computed anew in each training step, but for evaluation only once, without a gradient, until the model is trained
    again or its weights change.
    """

    title_tokens_LKW: Tensor

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        self.dropout = Dropout(config.dropout)
        widths = [config.embedding_size] + [2 * config.hidden_size] * (config.layers - 1)
        self.lstms = nn.ModuleList(BiRNN(nn.LSTM, width_in, config.hidden_size) for width_in in widths)
        # Stored with the weights, because bundles have only titles, not other names.
        self.register_buffer("title_tokens_LKW", synonyms_of(task, config.synonyms, config.title_words))
        self._evaluated: tuple[Tensor, ...] | None = None
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> NameReader:  # noqa: FBT001, FBT002
        """Set the mode, as for every module, and forget what was computed of the names."""
        self._evaluated = None
        super().train(mode)
        return self

    def of_names(self, compute: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `compute` returns, in evaluation computed once."""
        if self.training:
            return compute()
        if self._evaluated is None or self._evaluated[0].device != self.title_tokens_LKW.device:
            with torch.no_grad():
                self._evaluated = compute()
        return self._evaluated

    def read(self, batch: Batch) -> Tensor:
        """The states of documents [B, T, 2H]."""
        return self._encoded(self.dropout(self.embedding(batch.tokens_BT)), batch.lengths_B)

    def read_names(self, tokens_LKW: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of the distinct names, maxima over words [N, 2H], and the place of each name among them [L, K]."""
        tokens_NW, lengths_N, place_X = distinct(tokens_LKW.flatten(0, 1))
        return in_blocks(self._encode_names, tokens_NW, lengths_N, keep=False), place_X.view(tokens_LKW.shape[:2])

    def _encoded(self, hidden_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        for lstm in self.lstms:
            hidden_BTE = self.dropout(torch.cat(lstm(hidden_BTE, lengths_B), dim=2))
        return hidden_BTE

    def _encode_names(self, tokens_NW: Tensor, lengths_N: Tensor) -> Tensor:
        # Not by the embedding layer, on whose output explanations place hooks for the document's words.
        embedded_NWE = self.dropout(functional.embedding(tokens_NW, self.embedding.weight, PADDING))
        hidden_NWH = self._encoded(embedded_NWE, lengths_N)
        return hidden_NWH.masked_fill(~mask(lengths_N, hidden_NWH.shape[1])[:, :, None], -torch.inf).amax(1)


def _forget(model: nn.Module, _keys: object) -> None:
    assert isinstance(model, NameReader)
    model._evaluated = None  # noqa: SLF001  the hook of this class
