"""bf16-mixed on a CPU: products of 16 bits, all else in 32; where there are no instructions for them, an error."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import TEXTS as NOTES
from runs import train as run
from systems import NEURAL, TEXTS, learnable, neural, padded
from torch import Tensor, nn

import icdbench as package
from icdbench import train
from icdbench.data.batches import Loader
from icdbench.inference import bundle
from icdbench.nn import BiRNN, kernels
from icdbench.records import store
from icdbench.settings import SpecError
from icdbench.spec import TrainSpec
from icdbench.training import accelerator, score
from icdbench.training.state import Progress
from icdbench.types import Batch

MIXED = {"train.precision": "bf16-mixed"}
ROUNDED = 2**-8  # a number of 16 bits is off by at most so much of itself


@pytest.fixture
def _able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with instructions for bf16, as far as icdbench can tell; torch computes the same without."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)


def mixed() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def gradients(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits in training and the gradient of each parameter, for the same units dropped out."""
    torch.manual_seed(1)
    logits_BL = model.train()(batch)
    loss = logits_BL.float().square().sum()
    found = torch.autograd.grad(
        loss, [each for each in model.parameters() if each.requires_grad], materialize_grads=True
    )
    return logits_BL.detach(), dict(
        zip((name for name, each in model.named_parameters() if each.requires_grad), found, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURAL)
def test_logits_and_gradients_are_those_of_32_bits_up_to_rounding(name: str) -> None:
    model, batch = neural(name, **{"dropout": 0.0} if name.startswith("plm-icd") else {}), padded(TEXTS * 8)
    expected_BL, wanted = gradients(model, batch)
    with mixed():
        logits_BL, found = gradients(model, batch)
    assert logits_BL.dtype == torch.float32
    assert (logits_BL != logits_BL.bfloat16()).float().mean() > 0.9, "logits of 16 bits tie"
    assert (logits_BL - expected_BL).norm() < 8 * ROUNDED * expected_BL.norm()
    whole = torch.cat([each.flatten() for each in wanted.values()]).norm()
    for parameter, gradient in found.items():
        assert gradient.dtype == torch.float32
        assert (gradient - wanted[parameter]).norm() < 0.1 * wanted[parameter].norm() + ROUNDED * whole, parameter


WIDE, LONG = 48, 90
LAYERS: dict[str, nn.Module] = {
    "linear": nn.Linear(WIDE, 40),
    "linear, few columns": nn.Linear(WIDE, 1),
    **{f"convolution of {size}": nn.Conv1d(WIDE, 20, size, padding=size // 2) for size in (1, 3, 10, 25)},
    **{kind.__name__: BiRNN(kind, WIDE, 20) for kind in (nn.LSTM, nn.GRU)},
    **{f"attention to {width}": nn.Linear(width, 30, bias=False) for width in (13, 31, WIDE)},
}


def computed(layer: Any, hidden_BTF: Tensor) -> Tensor:
    """What a layer gives; the weights of a linear layer without bias are the queries of attention to values 31 wide."""
    if isinstance(layer, nn.Conv1d):
        return kernels.convolve(layer, hidden_BTF)
    lengths_B = torch.tensor([LONG, 7])
    if isinstance(layer, BiRNN):
        return torch.cat(layer(hidden_BTF, lengths_B), 2)
    if layer.bias is not None:
        return kernels.linear(hidden_BTF, layer.weight, layer.bias)
    keys_BTF, mask_BT = hidden_BTF[..., : layer.in_features], torch.arange(LONG) < lengths_B[:, None]
    return kernels.attention(layer.weight, keys_BTF, hidden_BTF[..., :31], mask_BT)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_their_gradients_are_those_of_32_bits_up_to_rounding(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]
    hidden_BTF = torch.randn(2, LONG, WIDE, requires_grad=True)
    trained = [hidden_BTF, *layer.parameters()]
    found: list[tuple[Tensor, ...]] = []
    for block in (torch.autocast("cpu", enabled=False), mixed()):
        with block:
            output = computed(layer, hidden_BTF)
        upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
        found.append((output, *torch.autograd.grad(output, trained, upstream)))
    for wide, low in zip(*found, strict=True):
        assert low.dtype == torch.float32
        assert low.shape == wide.shape
        assert (low - wide).norm() < 4 * ROUNDED * wide.norm()


def test_sums_are_of_32_bits() -> None:
    """Ones that are added up in 16 bits stop at 256."""
    ones_BTF = torch.ones(2, 4096, 32, requires_grad=True)
    layer = nn.Conv1d(32, 32, 3, padding=1, bias=False)
    nn.init.ones_(layer.weight)
    with mixed():
        summed_BF32 = kernels.linear(ones_BTF.transpose(1, 2), torch.ones(32, 4096), None)
        attended_BLF = kernels.attention(torch.ones(40, 32), ones_BTF, ones_BTF, None)
        convolved_BTF = kernels.convolve(layer, ones_BTF)
    assert (summed_BF32 == 4096).all()
    torch.testing.assert_close(attended_BLF, torch.ones_like(attended_BLF), atol=ROUNDED, rtol=0)
    (by_weight_FEK,) = torch.autograd.grad(convolved_BTF.sum(), [layer.weight])
    torch.testing.assert_close(by_weight_FEK[:, :, 1], torch.full((32, 32), 2.0 * 4096), atol=0, rtol=ROUNDED)


@pytest.mark.parametrize("amx", [False, True])
def test_attention_of_many_codes_has_32_bits_on_processors_without_amx(
    *, amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There torch's fused attention takes up to twice as long in 16 bits (results/speed/bfloat16.md)."""
    monkeypatch.setattr(kernels, "BLOCK_CELLS", 30 * LONG - 1)
    monkeypatch.setattr(kernels, "_AMX", amx)
    torch.manual_seed(0)
    keys_BPF, queries_LF = torch.randn(2, LONG, WIDE), torch.randn(31, WIDE)
    with mixed():
        many_BLF = kernels.attention(queries_LF, keys_BPF, keys_BPF, None)
        few_BLF = kernels.attention(queries_LF[:29], keys_BPF, keys_BPF, None)
    assert torch.equal(many_BLF, kernels.attention(queries_LF, keys_BPF, keys_BPF, None)) is not amx
    assert not torch.equal(few_BLF, kernels.attention(queries_LF[:29], keys_BPF, keys_BPF, None))


class Own(nn.Module):
    """A model whose last layer is torch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.output, self.seen = nn.Embedding(60, 16), nn.Linear(16, 7), list[torch.dtype]()

    def forward(self, batch: Batch) -> Tensor:
        logits_BL: Tensor = self.output(self.embedding(batch.tokens_BT).mean(1))
        self.seen.append(logits_BL.dtype)
        return logits_BL


@pytest.mark.usefixtures("_able")
def test_scores_are_of_32_bits_even_of_a_model_whose_logits_are_not() -> None:
    documents, on = Loader(learnable(80)), accelerator.fabric("cpu", "bf16-mixed")
    model = Own()
    np.testing.assert_array_equal(score.scores(model, documents, on), score.scores(model, documents))
    assert model.seen.count(torch.bfloat16) == 1
    caml = neural("caml")
    low, wide = score.scores(caml, documents, on), score.scores(caml, documents)
    assert (low != wide).mean() > 0.9
    np.testing.assert_array_equal(low, score.scores(caml, documents, precision="bf16-mixed"))


@pytest.mark.parametrize("capabilities", [None, dict])
def test_a_processor_without_instructions_is_refused_in_one_line(
    capabilities: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", capabilities, raising=False)
    assert accelerator.resolved("auto", torch.device("cpu")) == "32-true"
    with pytest.raises(
        SpecError, match=r"train\.precision=bf16-mixed: this processor has no .*; use 32-true$"
    ) as caught:
        run(tmp_path, changes=MIXED)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("_able")
def test_a_run_keeps_its_precision_and_predicts_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, folder = run(tmp_path, changes=MIXED)
    assert record.spec.train.precision == record.changed["train.precision"] == "bf16-mixed"
    expected_NL = store.load_predictions(folder, record)["test"].scores_NL
    path = tmp_path / "model.icdbench"
    bundle.write(bundle.of_run(record.id, tmp_path / "results"), path)
    model = package.load(path)
    np.testing.assert_array_equal(model.scores(model.encode(NOTES)), expected_NL)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    elsewhere = package.load(path)
    wide_NL = elsewhere.scores(elsewhere.encode(NOTES))
    assert (wide_NL != expected_NL).any()
    np.testing.assert_allclose(wide_NL, expected_NL, atol=0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("_able")
def test_stopped_and_resumed_equals_the_straight_run_in_bf16(tmp_path: Path) -> None:
    spec = TrainSpec().override({"learning_rate": 0.01, "max_epochs": 2, "monitor": "f1_micro", "precision": "bf16-mixed"}, "train")  # fmt: skip
    ended = []
    for stop_at in (0, 3):
        steps = itertools.count(1)

        def interrupt(step: Progress, steps: itertools.count[int] = steps, at: int = stop_at) -> None:
            if not step.ended and next(steps) == at:
                os.kill(os.getpid(), signal.SIGINT)

        for report in (interrupt, lambda _: None):
            accelerator.seed_everything(1)
            model, path = neural("caml", dropout=0.3), tmp_path / f"{stop_at}" / store.CHECKPOINT
            given = {"seed": 3, "on": accelerator.fabric("cpu", spec.precision), "checkpoint": path}
            try:
                train.fit(model, learnable(70), learnable(30, seed=1), spec, report=report, **given)  # type: ignore[arg-type]
            except KeyboardInterrupt:
                continue
        ended.append(model.state_dict())
    for name, value in ended[0].items():
        assert value.dtype != torch.bfloat16
        assert torch.equal(value, ended[1][name]), name
