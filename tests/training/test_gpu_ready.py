"""What a GPU needs of the models, seen without one: tensors without numbers go through a step, so nothing reads a number."""

from __future__ import annotations

import copy

import pytest
import torch
from systems import NEURAL, TEXTS, neural, padded
from torch import Tensor
from torch.nn import functional

from icdbench.nn import BatchNorm
from icdbench.training.objectives import loss
from icdbench.types import Batch

# Whose codes or names of a batch are chosen by what is in it, which the processor must know; an encoder of another library;
# products with sparse matrices, which tensors without numbers do not have.
NOT_SEEN = ("corelation", "duallaat", "msmn", "plm-icd", "msatt-kg")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NEURAL if not name.startswith(NOT_SEEN)])
def test_a_step_reads_no_number_and_attention_takes_fused_kernels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attend, calls = functional.scaled_dot_product_attention, list[tuple[Tensor, ...]]()

    def seen(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *, scale: float) -> Tensor:
        calls.append((queries, keys, values, mask))
        return attend(queries, keys, values, mask, scale=scale)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", seen)
    model = neural(name).train().to("meta")
    batch = Batch(*(value.to("meta") for value in vars(padded(TEXTS)).values()))
    loss(model(batch), batch.labels_BL).backward()  # type: ignore[no-untyped-call]
    for queries, keys, values, mask in calls:
        assert {each.ndim for each in (queries, keys, values, mask)} == {4}
        (width,) = {each.shape[3] for each in (queries, keys, values)}
        assert width % 8 == 0
        assert all(each.stride(3) == 1 for each in (queries, keys, values))
        assert mask.dtype == torch.bool
        assert mask.shape[1:3] == (1, 1), "a mask for each code would take as much memory as the weights"


@pytest.mark.parametrize("inside", [[9, 4, 1], [1, 0, 0], [9, 9, 9]])
def test_batch_norm_that_does_not_wait_is_the_same(inside: list[int]) -> None:
    torch.manual_seed(0)
    norm = BatchNorm(5).train()
    other, mask_BT = copy.deepcopy(norm), torch.arange(9) < torch.tensor(inside)[:, None]
    hidden_BTF = torch.randn(3, 9, 5, requires_grad=True)
    given_BTF = hidden_BTF * mask_BT[:, :, None]
    found = []
    for each, normed_BTF in (
        (norm, norm(given_BTF, mask_BT)),
        (other, other._without_waiting(given_BTF, mask_BT[:, :, None])),
    ):
        upstream_BTF = torch.linspace(-1, 2, 135).view(3, 9, 5).sin()
        by = torch.autograd.grad(normed_BTF, [hidden_BTF, *each.parameters()], upstream_BTF, retain_graph=True)
        found.append([normed_BTF, *by, *each.buffers()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
