"""Layers that models share.

Shapes in names: B documents, T tokens (padded), P positions of a convolution's output, E embedding width, F filters or
feature width, H recurrent width per direction, L codes. `logits_BL` are scores before the sigmoid.

Every layer ignores padding: a document's output does not depend on the length of its batch. The lengths that the caller passes
decide what counts as padding; with those of `lengths(batch, attend_padding=True)` nothing does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from icdbench.nn import kernels
from icdbench.nn.kernels import convolve
from icdbench.types import PADDING, Batch, IntArray, Task


def mask(lengths_B: Tensor, size: int) -> Tensor:
    """True where a position belongs to its document [B, size]."""
    return torch.arange(size, device=lengths_B.device) < lengths_B[:, None]


def lengths(batch: Batch, *, attend_padding: bool) -> Tensor:
    """The length of each document [B], or with `attend_padding` that of the longest document for all."""
    return batch.lengths_B.max().expand_as(batch.lengths_B) if attend_padding else batch.lengths_B


class Linear(nn.Linear):
    """torch's layer, computed by the fastest kernel."""

    def forward(self, hidden_XK: Tensor) -> Tensor:
        """[..., K] to [..., N]."""
        return kernels.linear(hidden_XK, self.weight, self.bias)


class Dropout(nn.Dropout):
    """torch's layer, computed by the fastest kernel."""

    def forward(self, hidden_X: Tensor) -> Tensor:
        """Any shape."""
        return kernels.dropout(hidden_X, self.p) if self.training else hidden_X


def embedding(task: Task, width: int) -> nn.Embedding:
    """The word embedding [V, E], initialised from the task's vectors if it has any; row 0, padding, stays zero."""
    layer = nn.Embedding(task.num_tokens, width, padding_idx=PADDING)
    if task.embeddings is not None:
        assert task.embeddings.shape == (task.num_tokens, width), (task.embeddings.shape, width)
        layer.weight.data.copy_(torch.from_numpy(task.embeddings))
    return layer


def description_means(task: Task, vectors_VE: Tensor) -> Tensor:
    """The mean word vector of each code's title [L, E].

    A code without a title gets a random vector of the others' mean length: with equal (zero) vectors such codes could not be
    distinguished by later layers.
    """
    no_words: IntArray = np.zeros(0, np.int32)
    titles = task.descriptions or (no_words,) * task.num_codes
    means_LE = torch.randn(task.num_codes, vectors_VE.shape[1])
    means_LE /= means_LE.norm(dim=1, keepdim=True)
    titled = [code for code, words in enumerate(titles) if len(words)]
    for code in titled:
        means_LE[code] = vectors_VE[torch.tensor(titles[code].tolist())].mean(0)
    if titled and len(titled) < task.num_codes:
        untitled = torch.ones(task.num_codes, dtype=torch.bool)
        untitled[titled] = False
        means_LE[untitled] *= means_LE[titled].norm(dim=1).mean()
    return means_LE


def untitled_notices(titles: Sequence[IntArray]) -> list[str]:
    """A notice for models whose vectors start from titles, if no title has a word."""
    titled = any(len(title) for title in titles)
    return [] if titled else ["these data have no titles of codes: vectors that should start from them start at random"]


class LabelwiseLinear(nn.Module):
    """`logit_l = <v_l, m_l> + b_l`, with a vector v_l of its own for each code."""

    def __init__(self, width: int, num_codes: int) -> None:
        super().__init__()
        self.final = nn.Linear(width, num_codes)
        nn.init.xavier_uniform_(self.final.weight)

    def forward(self, codes_BLF: Tensor) -> Tensor:
        """logits_BL."""
        return (codes_BLF * self.final.weight).sum(-1) + self.final.bias


class ResidualConv(nn.Module):
    """`ReLU(F(x) + h(x))`: F a convolution of odd kernel ("same" padding) and ReLU, h the identity or a 1×1 convolution."""

    def __init__(self, width_in: int, width_out: int, kernel_size: int) -> None:
        super().__init__()
        assert kernel_size % 2 == 1, kernel_size
        self.conv = nn.Conv1d(width_in, width_out, kernel_size, padding=kernel_size // 2)
        self.shortcut = nn.Identity() if width_in == width_out else nn.Conv1d(width_in, width_out, 1)

    def forward(self, hidden_BTF: Tensor, mask_BT: Tensor) -> Tensor:
        """[B, T, F] to [B, T, F'], zero outside the mask as its input must be."""
        passed_BTF = hidden_BTF if isinstance(self.shortcut, nn.Identity) else convolve(self.shortcut, hidden_BTF)
        mapped_BTF = convolve(self.conv, hidden_BTF).relu() + passed_BTF
        return mapped_BTF.relu() * mask_BT[:, :, None]


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over the positions inside a mask: in training, padding enters neither the statistics nor the output."""

    def forward(self, hidden_BTF: Tensor, mask_BT: Tensor) -> Tensor:  # type: ignore[override]
        """[B, T, F] to [B, T, F], zero outside the mask."""
        hidden_XF = hidden_BTF.flatten(0, 1)
        if not self.training:
            normed_BTF: Tensor = super().forward(hidden_XF).view_as(hidden_BTF) * mask_BT[:, :, None]
            return normed_BTF
        if hidden_BTF.device.type != "cpu":
            return self._without_waiting(hidden_BTF, mask_BT[:, :, None])
        inside_N = mask_BT.flatten().nonzero()[:, 0]
        whole = len(inside_N) == len(hidden_XF)
        inside_NF = hidden_XF if whole else hidden_XF.index_select(0, inside_N)
        if len(inside_NF) > 1:
            inside_NF = super().forward(inside_NF)
        else:  # the variance of one position is undefined, so it is normalised as in evaluation
            inside_NF = functional.batch_norm(
                inside_NF, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        normed_XF = inside_NF if whole else torch.zeros_like(hidden_XF).index_copy(0, inside_N, inside_NF)
        return normed_XF.view_as(hidden_BTF)

    def _without_waiting(self, hidden_BTF: Tensor, mask_BT1: Tensor) -> Tensor:
        """The same by sums over all positions, so that a GPU need not wait for the number of positions inside."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        size, wide_BTF = mask_BT1.sum(), hidden_BTF.float()
        mean_F = (wide_BTF * mask_BT1).sum((0, 1)) / size
        variance_F = ((wide_BTF - mean_F).square() * mask_BT1).sum((0, 1)) / size
        several = size > 1
        with torch.no_grad():
            rate = self.momentum * several
            self.running_mean.lerp_(mean_F, rate)
            self.running_var.lerp_(variance_F * (size / (size - 1).clamp(min=1)), rate)
            self.num_batches_tracked += several
        mean_F = torch.where(several, mean_F, self.running_mean)
        variance_F = torch.where(several, variance_F, self.running_var)
        normed_BTF = (wide_BTF - mean_F) * (variance_F + self.eps).rsqrt() * self.weight + self.bias
        return (normed_BTF * mask_BT1).to(hidden_BTF.dtype)


class MultiFilterEncoder(nn.Module):
    """MultiResCNN's encoder: for each kernel size a convolution and a residual block, side by side.

        x = tanh(Conv(e))                                          [T, E]
        h = tanh(BN(Conv(tanh(BN(Conv(x))))) + BN(Conv_1(x)))      [T, F]   the inner convolutions have no bias

    All kernels are odd ("same" padding). The outputs are concatenated: F · len(kernel_sizes) features.
    """

    def __init__(self, width: int, filters: int, kernel_sizes: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.channels = nn.ModuleList(_FilterChannel(width, filters, size, dropout) for size in kernel_sizes)

    def forward(self, embedded_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        """[B, T, E], zero outside the mask, to [B, T, F'], undefined outside it."""
        return torch.cat([channel(embedded_BTE, mask_BT) for channel in self.channels], dim=2)


class _FilterChannel(nn.Module):
    def __init__(self, width: int, filters: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        assert kernel_size % 2 == 1, kernel_size
        same = kernel_size // 2
        self.base = nn.Conv1d(width, width, kernel_size, padding=same)
        nn.init.xavier_uniform_(self.base.weight)
        self.conv1 = nn.Conv1d(width, filters, kernel_size, padding=same, bias=False)
        self.norm1 = BatchNorm(filters)
        self.conv2 = nn.Conv1d(filters, filters, kernel_size, padding=same, bias=False)
        self.norm2 = BatchNorm(filters)
        self.shortcut = nn.Conv1d(width, filters, 1, bias=False)
        self.shortcut_norm = BatchNorm(filters)
        self.dropout = Dropout(dropout)

    def forward(self, embedded_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        # Beyond a document's end a convolution must read zeros, as it does beyond the end of a batch.
        base_BTE = convolve(self.base, embedded_BTE).tanh() * mask_BT[:, :, None]
        inner_BTF = self.norm1(convolve(self.conv1, base_BTE), mask_BT).tanh()
        mapped_BTF = self.norm2(convolve(self.conv2, inner_BTF), mask_BT)
        passed_BTF = self.shortcut_norm(convolve(self.shortcut, base_BTE), mask_BT)
        result_BTF: Tensor = self.dropout((mapped_BTF + passed_BTF).tanh())
        return result_BTF


class BiRNN(nn.Module):
    """A bidirectional LSTM or GRU equal to torch's on packed sequences, but computed on plain batches, which is far faster.

    The second direction runs over each sequence reversed within its own length, so padding always follows text.
    """

    def __init__(self, kind: type[nn.LSTM | nn.GRU], width_in: int, width: int) -> None:
        super().__init__()
        self.ahead = kind(width_in, width, batch_first=True)
        self.back = kind(width_in, width, batch_first=True)

    def forward(self, hidden_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Forward and backward states [B, T, H], zero at padding."""
        order_BT1 = reversal(lengths_B, hidden_BTF.shape[1])[:, :, None]
        reversed_BTF = hidden_BTF.gather(1, order_BT1.expand_as(hidden_BTF))
        ahead_BTH, back_BTH = kernels.recur((self.ahead, self.back), (hidden_BTF, reversed_BTF))
        back_BTH = back_BTH.gather(1, order_BT1.expand_as(back_BTH))
        mask_BT1 = mask(lengths_B, hidden_BTF.shape[1])[:, :, None]
        return ahead_BTH * mask_BT1, back_BTH * mask_BT1


def reversal(lengths_B: Tensor, size: int) -> Tensor:
    """Indices [B, size] that reverse each sequence within its own length and leave padding in place."""
    positions_1T = torch.arange(size, device=lengths_B.device)[None]
    lengths_B1 = lengths_B[:, None]
    return torch.where(positions_1T < lengths_B1, lengths_B1 - 1 - positions_1T, positions_1T)
