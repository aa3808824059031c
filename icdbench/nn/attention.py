"""Attention layers, and inspection of layers for explanations, by forward hooks.

An `Inspectable` layer shows, given the inputs and outputs of a forward pass, the weights of its positions for a code, and which
words its positions stand for. `watched(model)` collects what all layers of a model show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from icdbench.nn import kernels

Item = TypeVar("Item")


class Positions(NamedTuple):
    """Which words the positions of a layer stand for: position p for the `kernel` words from word p + `offset` on.

    The stride is 1. Words outside the document are ignored.
    """

    offset: int = 0
    kernel: int = 1


WORDS = Positions()  # position p stands for word p


def middle(kernel_size: int, before: int) -> Positions:
    """The middle words of each position of a convolution with `before` zeros before the first word.

    One word for an odd kernel, two for an even one. `Positions(-before, kernel_size)` are all words of a position.
    """
    return Positions((kernel_size - 1) // 2 - before, 2 - kernel_size % 2)


class Shown(NamedTuple):
    """What a layer shows of a forward pass: for a code's index, the weights of its positions [B, P], or a number [B, 1]."""

    name: str
    of_code: Callable[[int], Tensor]
    positions: Positions = WORDS


class Inspectable(nn.Module):
    """A layer that can be inspected after a forward pass."""

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:
        """What the layer shows of a pass with these inputs and this output. It is computed only when `of_code` is called.

        Explanations use the names `label` and `self` for kinds of attention, `pooling`, and `alpha` and `beta` for the
        shares of self- and label attention. With positions `WORDS` there must be as many weights as the batch has tokens.
        """
        raise NotImplementedError


@contextlib.contextmanager
def collecting(
    model: nn.Module, kinds: tuple[type[nn.Module], ...], read: Callable[[Any, tuple[Any, ...], Any], Iterable[Item]]
) -> Iterator[list[Item]]:
    """Collects `read(layer, inputs, output)` of the model's layers of some kinds, in each forward pass in the block."""
    collected: list[Item] = []
    handles = [
        layer.register_forward_hook(lambda *layer_and_values: collected.extend(read(*layer_and_values)))
        for layer in model.modules()
        if isinstance(layer, kinds)
    ]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()


def watched(model: nn.Module) -> AbstractContextManager[list[Shown]]:
    """Collects what the layers of a model show of its forward passes in the block, in the order of computation."""
    return collecting(model, (Inspectable,), lambda layer, inputs, output: layer.shown(inputs, output))


class Attention(Inspectable):
    """`softmax(queries · keysᵀ) · values` over the positions of each document, without parameters.

    Large arrays of weights [B, L, P] are never stored. `kind` is the name under which they are shown, label or self;
    `positions` says which words the P positions stand for.
    """

    def __init__(self, kind: str = "label", positions: Positions = WORDS) -> None:
        super().__init__()
        self.kind, self.positions = kind, positions

    def forward(self, queries_LF: Tensor, keys_BPF: Tensor, values_BPH: Tensor, mask_BP: Tensor | None) -> Tensor:
        """[B, L, H]; positions outside mask_BP get no weight (None: all are attended)."""
        return kernels.attention(queries_LF, keys_BPF, values_BPH, mask_BP)

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """Recompute the weights of one code."""
        queries_LF, keys_BPF, _, mask_BP = inputs
        yield Shown(self.kind, weights_by_code(queries_LF, keys_BPF, mask_BP), self.positions)


def attention_weights(query_F: Tensor, keys_BPF: Tensor, mask_BP: Tensor | None) -> Tensor:
    """The weights of `Attention` for one code [B, P]."""
    scores_BP = keys_BPF @ query_F
    weights_BP: Tensor = (scores_BP if mask_BP is None else scores_BP.masked_fill(~mask_BP, -torch.inf)).softmax(1)
    return weights_BP


def weights_by_code(queries_LF: Tensor, keys_BPF: Tensor, mask_BP: Tensor | None) -> Callable[[int], Tensor]:
    """A function of a code's index that computes its `attention_weights`."""
    return lambda code: attention_weights(queries_LF[code], keys_BPF, mask_BP)


class LabelAttention(nn.Module):
    """Attention with a query for each code: `α_l = softmax over positions of u_lᵀ k`, `m_l = Σ α_l v`. U [L, F] has no bias."""

    def __init__(self, width: int, num_codes: int, kind: str = "label", positions: Positions = WORDS) -> None:
        super().__init__()
        self.U = nn.Linear(width, num_codes, bias=False)
        nn.init.xavier_uniform_(self.U.weight)
        self.attend = Attention(kind, positions)

    def forward(self, keys_BPF: Tensor, values_BPH: Tensor, mask_BP: Tensor | None) -> Tensor:
        """Code representations [B, L, H]; positions outside mask_BP get no weight (None: all are attended)."""
        attended_BLH: Tensor = self.attend(self.U.weight, keys_BPF, values_BPH, mask_BP)
        return attended_BLH


class WordWeights(Inspectable):
    """Softmax over the words of each document, shown as attention that is the same for every code."""

    def forward(self, scores_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Weights [B, T], zero outside the mask."""
        return scores_BT.masked_fill(~mask_BT, -torch.inf).softmax(-1)

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """The same weights for every code."""
        yield Shown("label", lambda _code: output)


class GateShares(Inspectable):
    """σ(one) and σ(other), each divided by their sum, computed as the softmax of their logs, which is never 0/0.

    `names` are the names under which the two are shown. Without `normalise` they are not divided.
    """

    def __init__(self, names: tuple[str, str] = ("alpha", "beta"), *, normalise: bool = True) -> None:
        super().__init__()
        self.names = names
        self.normalise = normalise

    def forward(self, one_BL1: Tensor, other_BL1: Tensor) -> tuple[Tensor, Tensor]:
        """Both shares [B, L, 1]."""
        if not self.normalise:
            return one_BL1.sigmoid(), other_BL1.sigmoid()
        shares_BL2 = functional.logsigmoid(torch.cat((one_BL1, other_BL1), dim=2)).softmax(2)
        return shares_BL2[..., :1], shares_BL2[..., 1:]

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """Show both shares of a code."""
        one_BL1, other_BL1 = output
        yield Shown(self.names[0], lambda code: one_BL1[:, code])
        yield Shown(self.names[1], lambda code: other_BL1[:, code])
