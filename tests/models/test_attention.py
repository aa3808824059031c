"""Label attention: the same numbers by every path, and weights that are never kept."""

from __future__ import annotations

import pytest
import torch
from systems import NEURAL, NUM_CODES, neural, padded
from torch import Tensor

from icdbench.nn import Attention, kernels
from icdbench.nn import layers as nn

WIDTHS = [(6, 6), (6, 10), (10, 6)]  # of keys and of values


def plain(queries_LF: Tensor, keys_BPF: Tensor, values_BPH: Tensor, mask_BP: Tensor | None) -> Tensor:
    scores_BLP = queries_LF @ keys_BPF.transpose(1, 2)
    if mask_BP is not None:
        scores_BLP = scores_BLP.masked_fill(~mask_BP[:, None], -torch.inf)
    return scores_BLP.softmax(2) @ values_BPH


def inputs(width: int, value_width: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    shapes = (7, width), (3, 9, width), (3, 9, value_width)
    queries, keys, values = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return queries, keys, values


MASKS = [None, nn.mask(torch.tensor([9, 1, 4]), 9), nn.mask(torch.tensor([9, 1, 4]), 9).flip(1)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cells", [1, 20, 1 << 20])
@pytest.mark.parametrize("mask", MASKS, ids=["all", "first", "last"])
@pytest.mark.parametrize(("width", "value_width"), WIDTHS)
def test_attention_and_its_gradients_are_those_of_the_equation(
    width: int, value_width: int, mask: Tensor | None, cells: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "BLOCK_CELLS", cells)
    given = inputs(width, value_width, dtype)
    upstream = torch.randn(3, 7, value_width, dtype=dtype)
    wanted = plain(*given, mask)
    gradients = torch.autograd.grad(wanted, given, upstream)
    found = Attention()(*given, mask)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, given, upstream), gradients)


def test_keys_that_are_the_values_get_both_gradients() -> None:
    queries, keys, _ = inputs(6, 6)
    wanted = torch.autograd.grad(plain(queries, keys, keys, None).square().sum(), (queries, keys))
    torch.testing.assert_close(
        torch.autograd.grad(Attention()(queries, keys, keys, None).square().sum(), (queries, keys)), wanted
    )


NEED_THEM = {
    "leam@ngram",
    "jlan@no-label-softmax",
}  # a convolution over them; no softmax, so with many codes no weights


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NEURAL if name not in NEED_THEM])
def test_no_model_keeps_a_weight_for_each_code_and_token(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK_CELLS", 1000)
    batch, kept = padded([[2 + place % 40 for place in range(1500)]] * 2), []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        neural(name)(batch)
    assert not [shape for shape in kept if len(shape) >= 3 and NUM_CODES in shape and max(shape) >= 1500]
