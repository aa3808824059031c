"""Layers that weigh words, and what can be read of them: explanations come from forward hooks, not from the models.

A layer that is worth looking into is an `Inspectable`: after a forward pass it gives, from what went in and came out, the
weights of its positions for a code, and says which words its positions stand for. `watched(model)` collects that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from icdbench.nn import kernels


class Positions(NamedTuple):
    """Which words the positions of a layer stand for: position p for the `kernel` words from word p + `offset` on.

    The stride is 1. Words of position p outside the document do not count.
    """

    offset: int = 0
    kernel: int = 1


WORDS = Positions()  # position p stands for word p


def middle(kernel_size: int, before: int) -> Positions:
    """The words in the middle of what each position of a convolution reads, which has `before` zeros before the first word.

    One word for an odd kernel, two for an even one. `Positions(-before, kernel_size)` are all the words that it reads.
    """
    return Positions((kernel_size - 1) // 2 - before, 2 - kernel_size % 2)


class Shown(NamedTuple):
    """What a layer did in one forward pass: for a code's index, the weights of its positions [B, P], or a number [B, 1]."""

    name: str
    of_code: Callable[[int], Tensor]
    positions: Positions = WORDS


class Inspectable(nn.Module):
    """A layer that can say what it did in a forward pass."""

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:
        """What is to be seen of a pass with these inputs and this output. Nothing is computed before `of_code` is called.

        Names that explanations know: `label` and `self` for kinds of attention, `pooling`; `alpha` and `beta` for the
        shares of self- and label attention. Weights of positions `WORDS` must be as many as the batch is wide.
        """
        raise NotImplementedError


@contextlib.contextmanager
def watched(model: nn.Module) -> Iterator[list[Shown]]:
    """Collects what the layers of a model show of its forward passes in the block, in the order in which they compute."""
    collected: list[Shown] = []
    handles = [
        layer.register_forward_hook(lambda layer, inputs, output: collected.extend(layer.shown(inputs, output)))
        for layer in model.modules()
        if isinstance(layer, Inspectable)
    ]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()


class Attention(Inspectable):
    """`softmax(queries · keysᵀ) · values` over the positions of each document, without parameters of its own.

    The weights [B, L, P] are never kept where they are many. `kind` is the name under which they are shown, label or self;
    `positions` says which words the P positions stand for.
    """

    def __init__(self, kind: str = "label", positions: Positions = WORDS) -> None:
        super().__init__()
        self.kind, self.positions = kind, positions

    def forward(self, queries_LF: Tensor, keys_BPF: Tensor, values_BPH: Tensor, mask_BP: Tensor | None) -> Tensor:
        """[B, L, H]; positions outside mask_BP get no weight (none: all are attended)."""
        return kernels.attention(queries_LF, keys_BPF, values_BPH, mask_BP)

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """The weights of one code, made again."""
        queries_LF, keys_BPF, _, mask_BP = inputs
        yield Shown(self.kind, lambda code: attention_weights(queries_LF[code], keys_BPF, mask_BP), self.positions)


def attention_weights(query_F: Tensor, keys_BPF: Tensor, mask_BP: Tensor | None) -> Tensor:
    """What `Attention` multiplies the values of one code with: [B, P]."""
    scores_BP = keys_BPF @ query_F
    weights_BP: Tensor = (scores_BP if mask_BP is None else scores_BP.masked_fill(~mask_BP, -torch.inf)).softmax(1)
    return weights_BP


class LabelAttention(nn.Module):
    """Attention with a query per code: `α_l = softmax over positions of u_lᵀ k`, `m_l = Σ α_l v`. U [L, F] has no bias."""

    def __init__(self, width: int, num_codes: int, kind: str = "label", positions: Positions = WORDS) -> None:
        super().__init__()
        self.U = nn.Linear(width, num_codes, bias=False)
        nn.init.xavier_uniform_(self.U.weight)
        self.attend = Attention(kind, positions)

    def forward(self, keys_BPF: Tensor, values_BPH: Tensor, mask_BP: Tensor | None) -> Tensor:
        """Code representations [B, L, H]; positions outside mask_BP get no weight (none: all are attended)."""
        attended_BLH: Tensor = self.attend(self.U.weight, keys_BPF, values_BPH, mask_BP)
        return attended_BLH


class WordWeights(Inspectable):
    """Softmax over the words of each document, shown as attention that is the same for every code."""

    def forward(self, scores_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """[B, T], zero outside the mask."""
        return scores_BT.masked_fill(~mask_BT, -torch.inf).softmax(-1)

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """The weights, whatever the code."""
        yield Shown("label", lambda _code: output)


class GateShares(Inspectable):
    """σ(one) and σ(other), each divided by their sum: the softmax of their logs, which never is 0/0.

    `names` are those under which the two are shown. Without `normalise` they are not divided.
    """

    def __init__(self, names: tuple[str, str] = ("alpha", "beta"), *, normalise: bool = True) -> None:
        super().__init__()
        self.names = names
        self.normalise = normalise

    def forward(self, one_BL1: Tensor, other_BL1: Tensor) -> tuple[Tensor, Tensor]:
        """[B, L, 1] each."""
        if not self.normalise:
            return one_BL1.sigmoid(), other_BL1.sigmoid()
        shares_BL2 = functional.logsigmoid(torch.cat((one_BL1, other_BL1), dim=2)).softmax(2)
        return shares_BL2[..., :1], shares_BL2[..., 1:]

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """Both shares of a code."""
        one_BL1, other_BL1 = output
        yield Shown(self.names[0], lambda code: one_BL1[:, code])
        yield Shown(self.names[1], lambda code: other_BL1[:, code])
