"""What was made fast computes what it did: against torch's own layers, and against textbook implementations of all models."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from systems import NEURAL, NUM_CODES, SMALL, padded, small_task
from torch import Tensor, nn

from icdbench import registry
from icdbench.benchmarks.speed.plain import PLAIN, load, plain_name
from icdbench.nn import BiRNN, kernels
from icdbench.nn.kernels import convolve, dropout, linear, product
from icdbench.types import Batch

pytestmark = pytest.mark.slow

# By channels side by side, by spectra, by spectra of many features, by torch's own.
SIZES = [(6, 4, 3), (6, 4, 10), (6, 4, 13), (4, 6, 25), (130, 7, 10), (7, 130, 25), (130, 7, 3)]


@pytest.mark.parametrize("tokens", [1, 30, 300])
@pytest.mark.parametrize(("width", "filters", "kernel"), SIZES)
def test_convolution_and_its_gradients_are_torchs(width: int, filters: int, kernel: int, tokens: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv1d(width, filters, kernel, padding=kernel // 2, bias=width == 6)
    hidden_BTE = torch.randn(3, tokens, width, requires_grad=True)
    found_BPF, wanted_BPF = convolve(layer, hidden_BTE), layer(hidden_BTE.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(found_BPF, wanted_BPF, rtol=1e-5, atol=1e-5)
    upstream_BPF, trained = torch.randn_like(wanted_BPF), (hidden_BTE, *layer.parameters())
    wanted = torch.autograd.grad(wanted_BPF, trained, upstream_BPF)
    found = torch.autograd.grad(found_BPF, trained, upstream_BPF)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def laid_out(matrix_MN: Tensor, way: str) -> Tensor:
    """The same numbers, in another order in memory."""
    M, N = matrix_MN.shape
    ways = {
        "rows": matrix_MN,
        "columns": matrix_MN.T.contiguous().T,
        "gaps": torch.cat((matrix_MN, matrix_MN), 1)[:, :N],
        "repeated": matrix_MN[:, :1].expand(M, N),
    }
    return ways[way]


@pytest.mark.parametrize("one", ["rows", "columns", "gaps", "repeated"])
@pytest.mark.parametrize("other", ["rows", "columns", "gaps", "repeated"])
def test_products_are_torchs_however_they_lie_in_memory(one: str, other: str) -> None:
    torch.manual_seed(0)
    rows, columns = laid_out(torch.randn(5, 7), one), laid_out(torch.randn(3, 7), other)
    torch.testing.assert_close(product(rows, columns), rows @ columns.T)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("fixed", [True, False])
def test_linear_layers_and_their_gradients_are_torchs(
    *, bias: bool, fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "SMALL", 0)
    torch.manual_seed(0)
    layer, hidden = nn.Linear(6, 5, bias=bias), torch.randn(2, 3, 6, requires_grad=not fixed)
    found, wanted = linear(hidden, layer.weight, layer.bias), layer(hidden)
    torch.testing.assert_close(found, wanted)
    trained = [*layer.parameters()] + [hidden] * (not fixed)
    upstream = torch.randn_like(wanted)
    torch.testing.assert_close(
        torch.autograd.grad(found, trained, upstream), torch.autograd.grad(wanted, trained, upstream)
    )


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(1)
    hidden = torch.ones(1000, 201, requires_grad=True)
    found = dropout(hidden, rate)
    kept = found != 0
    assert 1 - kept.double().mean().item() == pytest.approx(rate, abs=0.005)
    assert (kept.double().mean(0) - (1 - rate)).abs().max() < 0.08  # no unit is favoured
    if rate < 1:
        torch.testing.assert_close(found[kept], torch.full_like(found[kept], 1 / (1 - rate)), rtol=1e-4, atol=0)
    (gradient,) = torch.autograd.grad(found, hidden, 2 * torch.ones_like(found))
    torch.testing.assert_close(gradient, 2 * found)
    torch.manual_seed(1)
    assert torch.equal(dropout(hidden, rate), found)
    if 0 < rate < 1:
        assert not torch.equal(dropout(hidden, rate), found)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_gradients_of_both_directions_are_torchs_on_packed_sequences(kind: type[nn.LSTM | nn.GRU]) -> None:
    torch.manual_seed(0)
    ours, reference = BiRNN(kind, 6, 5), kind(6, 5, bidirectional=True, batch_first=True)
    load(reference, ours.state_dict())
    lengths_B, hidden_BTF = torch.tensor([9, 1, 4, 7]), torch.randn(4, 9, 6, requires_grad=True)
    packed = nn.utils.rnn.pack_padded_sequence(hidden_BTF, lengths_B, batch_first=True, enforce_sorted=False)
    wanted, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)
    found = torch.cat(ours(hidden_BTF, lengths_B), 2)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    upstream = torch.randn_like(wanted)
    by_input = [torch.autograd.grad(each, hidden_BTF, upstream, retain_graph=True) for each in (found, wanted)]
    torch.testing.assert_close(*by_input, rtol=1e-5, atol=1e-6)
    _same_gradients(ours, reference, found, wanted, upstream)


def _same_gradients(ours: nn.Module, plain: nn.Module, found: Tensor, wanted: Tensor, upstream: Tensor) -> None:
    trained = [(plain_name(name), value) for name, value in ours.named_parameters() if value.requires_grad]
    theirs = dict(plain.named_parameters())
    by_ours = torch.autograd.grad(found, [value for _, value in trained], upstream)
    by_theirs = torch.autograd.grad(wanted, [theirs[name] for name, _ in trained], upstream)
    for (name, _), one, other in zip(trained, by_ours, by_theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5), name


TEXTS = [[2 + (7 * place + 11 * row) % 57 for place in range(70)] for row in range(3)]


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("name", [name for name in NEURAL if "@" not in name])
def test_the_textbooks_model_has_the_same_logits_and_gradients(
    name: str, *, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:  # by the ways that are taken for large inputs
        monkeypatch.setattr(kernels, "SMALL", 0)
        monkeypatch.setattr(kernels, "BLOCK_CELLS", 100)
    given = small_task(16)
    titles = tuple(np.array([2 + 3 * code, 40 + code], np.int32) for code in range(NUM_CODES))  # of equal length
    given = dataclasses.replace(given, descriptions=titles)
    fields = registry.entry(name).config.model_fields
    sizes = {key: value for key, value in {**SMALL, "dropout": 0.0}.items() if key in fields}
    ours = registry.build(name, given, **sizes)
    assert isinstance(ours, nn.Module)
    plain = PLAIN[name](ours.config, given)
    load(plain, ours.state_dict())
    batch = padded(TEXTS)
    batch.labels_BL[:, ::2] = 1
    found, wanted = (_scores(model, batch) for model in (ours, plain))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    _same_gradients(ours, plain, found, wanted, torch.randn_like(wanted))
    found, wanted = (_scores(model.eval(), batch) for model in (ours, plain))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def _scores(model: nn.Module, batch: Batch) -> Tensor:
    """Logits and, where a model has one, its penalty."""
    logits_BL: Tensor = model(batch)
    penalty = getattr(model, "penalty", lambda _: torch.zeros(()))(batch)
    return torch.cat((logits_BL.flatten(), penalty[None]))
