"""The baselines compute their equations, and with padding attended to what their published programs compute.

The first kind of test works one document out in numpy, step by step; the second states a program's forward pass anew over a
padded batch, in torch's own layers, with the model's weights put where the program has them.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from equations import Array, arrays, both_ways, conv, gru, sigmoid, softmax
from systems import NUM_CODES, learnable, padded, small_task
from torch import Tensor, nn
from torch.nn import functional

from icdbench import registry, train
from icdbench.nn import BatchNorm
from icdbench.records import store
from icdbench.settings import SpecError
from icdbench.spec import TrainSpec
from icdbench.training.accelerator import fabric, seed_everything
from icdbench.training.objectives import learning_rate, loss
from icdbench.types import Batch, IntArray

TEXTS = [[5, 9, 14, 33, 40], [8], [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31], [1, 1]]
SIZES: dict[str, dict[str, Any]] = {
    "bigru": {"hidden_size": 6},
    "dr-caml": {"filters": 6},
    "multirescnn": {"filters": 4, "kernel_sizes": (3, 9, 25)},
    "jlan-released": {"filters": 4, "kernel_sizes": (3, 9, 25), "attention_size": 5},
    "laat": {"hidden_size": 6, "attention_size": 5},
}


def built(name: str, **overrides: Any) -> Any:
    """A small model in evaluation mode, every parameter and running statistic random."""
    torch.manual_seed(3)
    model = registry.build(name, small_task(8), embedding_size=8, **{**SIZES[name.partition("@")[0]], **overrides})
    assert isinstance(model, nn.Module)
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point() and "embedding" not in key:
            value.normal_(std=0.4)
    return model.eval()


def six_filters(x_ET: Array, weights: dict[str, Array]) -> Array:
    """MultiResCNN's encoder over one document: [3F, T] for the three kernel sizes of SIZES."""

    def norm(x_FT: Array, prefix: str) -> Array:
        mean, variance, scale, shift = (
            weights[f"{prefix}.{part}"][:, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return np.asarray((x_FT - mean) / np.sqrt(variance + 1e-5) * scale + shift)

    outputs = []
    for at in range(3):
        own = f"encoder.channels.{at}."
        base = np.tanh(conv(x_ET, weights[own + "base.weight"], weights[own + "base.bias"]))
        inner = np.tanh(norm(conv(base, weights[own + "conv1.weight"]), own + "norm1"))
        left = norm(conv(inner, weights[own + "conv2.weight"]), own + "norm2")
        outputs.append(np.tanh(left + norm(conv(base, weights[own + "shortcut.weight"]), own + "shortcut_norm")))
    return np.concatenate(outputs)


def by_hand(name: str, weights: dict[str, Array], text: list[int]) -> Array:
    """Logits [L] of one document by the equations in the model's docstring."""
    x_TE = weights["embedding.weight"][text]
    if name == "bigru":
        document = np.concatenate((gru(x_TE, weights, "gru.ahead")[-1], gru(x_TE[::-1], weights, "gru.back")[-1]))
        return np.asarray(weights["output.weight"] @ document + weights["output.bias"])
    if name == "bigru@unidirectional":
        return np.asarray(weights["output.weight"] @ gru(x_TE, weights, "gru")[-1] + weights["output.bias"])
    if name == "dr-caml":
        hidden_TF = np.tanh(conv(x_TE.T, weights["conv.weight"], weights["conv.bias"])).T
        assert len(hidden_TF) == len(text) + 1
        codes_LF = softmax(weights["attention.U.weight"] @ hidden_TF.T) @ hidden_TF
    elif name == "multirescnn":
        hidden_TF = six_filters(x_TE.T, weights).T
        codes_LF = softmax(weights["attention.U.weight"] @ hidden_TF.T) @ hidden_TF
    elif name == "jlan-released":
        hidden_TF = six_filters(x_TE.T, weights).T
        label_LF = softmax(weights["label_attention.U.weight"] @ hidden_TF.T) @ hidden_TF
        scores_LT = weights["W2.weight"] @ np.tanh(weights["W1.weight"] @ hidden_TF.T + weights["W1.bias"][:, None])
        self_LF = softmax(scores_LT) @ hidden_TF
        alpha = sigmoid(label_LF @ weights["w1.weight"].T + weights["w1.bias"])
        beta = sigmoid(self_LF @ weights["w2.weight"].T + weights["w2.bias"])
        codes_LF = alpha / (alpha + beta) * label_LF + beta / (alpha + beta) * self_LF
    else:
        hidden_TF = both_ways(x_TE, weights, "lstm")
        scores_LT = weights["U.weight"] @ np.tanh(weights["W.weight"] @ hidden_TF.T)
        codes_LF = softmax(scores_LT) @ hidden_TF
    return np.asarray((weights["output.final.weight"] * codes_LF).sum(1) + weights["output.final.bias"])


@pytest.mark.parametrize("name", [*SIZES, "bigru@unidirectional"])
def test_equations_hold_for_every_document_of_a_padded_batch(name: str) -> None:
    model = built(name)
    logits_BL = model(padded(TEXTS, width=20))
    expected = np.stack([by_hand(name, arrays(model), text) for text in TEXTS])
    torch.testing.assert_close(logits_BL, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


def recurrent(kind: type[nn.GRU | nn.LSTM], model: nn.Module, prefix: str, width: int) -> Any:
    """Torch's bidirectional layer with the weights of ours."""
    layer = kind(8, width, bidirectional=True, batch_first=True)
    weights = model.state_dict()
    for key, value in layer.state_dict().items():
        side = "back" if key.endswith("_reverse") else "ahead"
        value.copy_(weights[f"{prefix}.{side}.{key.removesuffix('_reverse')}"])
    return layer


def attend_all(queries_LF: Tensor, hidden_BTF: Tensor, keys_BTK: Tensor | None = None) -> Tensor:
    """The programs' label attention: a softmax over all positions of the batch's width."""
    keys = hidden_BTF if keys_BTK is None else keys_BTK
    return functional.softmax(queries_LF.matmul(keys.transpose(1, 2)), dim=2).matmul(hidden_BTF)


def program_encoder(model: Any, embedded_BTE: Tensor, *, training: bool = False) -> Tensor:
    """MultiResCNN's published encoder: nothing is known of padding."""
    weights, outputs = model.state_dict(), []

    def norm(x: Tensor, prefix: str) -> Tensor:
        mean, variance = weights[f"{prefix}.running_mean"].clone(), weights[f"{prefix}.running_var"].clone()
        scale, shift = weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]
        return functional.batch_norm(x, mean, variance, scale, shift, training=training)

    for at, size in enumerate((3, 9, 25)):
        own = f"encoder.channels.{at}."
        x = embedded_BTE.transpose(1, 2)
        x = functional.conv1d(x, weights[own + "base.weight"], weights[own + "base.bias"], padding=size // 2).tanh()
        left = norm(functional.conv1d(x, weights[own + "conv1.weight"], padding=size // 2), own + "norm1").tanh()
        left = norm(functional.conv1d(left, weights[own + "conv2.weight"], padding=size // 2), own + "norm2")
        right = norm(functional.conv1d(x, weights[own + "shortcut.weight"]), own + "shortcut_norm")
        outputs.append((left + right).tanh().transpose(1, 2))
    return torch.cat(outputs, dim=2)


def program(name: str, model: Any, batch: Batch) -> Tensor:
    """Logits of a whole padded batch as the published program computes them."""
    weights = model.state_dict()
    embedded_BTE = functional.embedding(batch.tokens_BT, weights["embedding.weight"])
    if name == "bigru":
        _, last = recurrent(nn.GRU, model, "gru", 6)(embedded_BTE)
        document_BK = torch.cat((last[0], last[1]), 1)
        return functional.linear(document_BK, weights["output.weight"], weights["output.bias"])
    if name == "dr-caml":
        hidden = functional.conv1d(
            embedded_BTE.transpose(1, 2), weights["conv.weight"], weights["conv.bias"], padding=5
        )
        codes_BLF = attend_all(weights["attention.U.weight"], hidden.tanh().transpose(1, 2))
    elif name == "multirescnn":
        codes_BLF = attend_all(weights["attention.U.weight"], program_encoder(model, embedded_BTE))
    elif name == "jlan-released":
        hidden = program_encoder(model, embedded_BTE)
        m = attend_all(weights["label_attention.U.weight"], hidden)
        keys = functional.linear(hidden, weights["W1.weight"], weights["W1.bias"]).tanh()
        scores = functional.linear(keys, weights["W2.weight"], torch.randn(NUM_CODES))  # the bias that does nothing
        own = functional.softmax(scores, dim=1).transpose(1, 2).bmm(hidden)
        weight1 = functional.linear(m, weights["w1.weight"], weights["w1.bias"]).sigmoid()
        weight2 = functional.linear(own, weights["w2.weight"], weights["w2.bias"]).sigmoid()
        weight1 = weight1 / (weight1 + weight2)
        codes_BLF = weight1 * m + (1 - weight1) * own
    else:
        packed = nn.utils.rnn.pack_padded_sequence(
            embedded_BTE, batch.lengths_B, batch_first=True, enforce_sorted=False
        )
        hidden, _ = nn.utils.rnn.pad_packed_sequence(recurrent(nn.LSTM, model, "lstm", 6)(packed)[0], batch_first=True)
        codes_BLF = attend_all(weights["U.weight"], hidden, functional.linear(hidden, weights["W.weight"]).tanh())
    logits_BL: Tensor = weights["output.final.weight"].mul(codes_BLF).sum(2).add(weights["output.final.bias"])
    return logits_BL


@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_with_padding_attended_to_the_published_program_is_computed(name: str) -> None:
    model = built(name, attend_padding=True)
    batch = padded(TEXTS)
    torch.testing.assert_close(model(batch), program(name, model, batch), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(built(name)(batch), model(batch), atol=1e-3)


def test_batch_norm_in_training_knows_words_alone() -> None:
    """As if the documents' words stood in one row; the running statistics move in the same way."""
    ours, reference = BatchNorm(4), nn.BatchNorm1d(4)
    hidden_BTF = torch.randn(3, 6, 4) * 2 + 1
    mask_BT = torch.arange(6) < torch.tensor([6, 1, 3])[:, None]
    normed_BTF = ours(hidden_BTF, mask_BT)
    expected_NF = reference(torch.cat([row[:size] for row, size in zip(hidden_BTF, (6, 1, 3), strict=True)]))
    torch.testing.assert_close(normed_BTF[mask_BT], expected_NF)
    assert (normed_BTF[~mask_BT] == 0).all()
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_batch_norm_in_training_with_padding_attended_to_is_torchs() -> None:
    model = built("multirescnn", attend_padding=True, dropout=0.0)
    batch = padded(TEXTS)
    embedded_BTE = model.embedding(batch.tokens_BT)
    expected = program_encoder(model, embedded_BTE, training=True)
    model.train()
    everything_BT = torch.ones_like(batch.tokens_BT, dtype=torch.bool)
    torch.testing.assert_close(model.encoder(embedded_BTE, everything_BT), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["multirescnn", "jlan-released"])
def test_padding_changes_nothing_in_training_either(name: str) -> None:
    narrow, wide = (built(name, dropout=0.0).train() for _ in range(2))
    torch.testing.assert_close(wide(padded(TEXTS, width=40)), narrow(padded(TEXTS)), rtol=1e-5, atol=1e-5)
    for key, value in narrow.state_dict().items():
        torch.testing.assert_close(wide.state_dict()[key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["multirescnn", "jlan-released"])
def test_a_batch_of_one_word_can_be_trained_on(name: str) -> None:
    model = built(name).train()
    logits_BL = model(padded([[8]]))
    logits_BL.sum().backward()
    assert torch.isfinite(logits_BL).all()


def labelled(codes: list[list[int]]) -> Batch:
    batch = padded(TEXTS)
    for row, present in enumerate(codes):
        batch.labels_BL[row, present] = 1
    return batch


CODES = [[0, 3], [3, 6], [], [1, 2, 3]]  # the last code, 6, has no title


def long_titles() -> tuple[IntArray, ...]:
    """Titles of 1 to 11 words; the last code has none."""
    lengths = (1, 4, 11, 2, 7, 3)
    titles = [np.arange(5 + at, 5 + at + length, dtype=np.int32) for at, length in enumerate(lengths)]
    return (*titles, np.zeros(0, np.int32))


@pytest.mark.parametrize("attend_padding", [False, True])
def test_dr_caml_draws_output_weights_to_titles(attend_padding: bool) -> None:  # noqa: FBT001
    task = dataclasses.replace(small_task(8), descriptions=long_titles())
    torch.manual_seed(3)
    settings = {"embedding_size": 8, "filters": 6, "attend_padding": attend_padding, "description_weight": 0.7}
    model: Any = registry.build("dr-caml", task, **settings)
    model.title_conv.bias.data.normal_()
    weights = arrays(model)
    total = 0.0
    for present in CODES:
        titled = [code for code in present if len(long_titles()[code])]
        longest = max((len(long_titles()[code]) for code in titled), default=0)
        for code in titled:
            title = long_titles()[code].tolist()
            if attend_padding:  # as the program pads a document's titles
                title += [0] * (longest - len(title))
            x_ET = weights["title_embedding.weight"][title].T
            best_F = np.tanh(conv(x_ET, weights["title_conv.weight"], weights["title_conv.bias"])).max(1)
            b_F = weights["title_linear.weight"] @ best_F + weights["title_linear.bias"]
            total += 0.7 * ((weights["output.final.weight"][code] - b_F) ** 2).mean()
    assert model.penalty(labelled(CODES)).item() == pytest.approx(total / len(TEXTS), rel=1e-5)


def test_dr_caml_embeds_each_title_once_per_step() -> None:
    model = built("dr-caml")
    seen: list[int] = []
    model.title_conv.register_forward_hook(lambda _layer, given, _result: seen.append(len(given[0])))
    model.conv.register_forward_hook(lambda *_: seen.append(-1))
    model.penalty(labelled(CODES))
    assert seen == [4]  # codes 0, 1, 2, 3, and no second run over the documents


def test_dr_caml_without_a_titled_gold_code_has_no_penalty_but_a_gradient_everywhere() -> None:
    """Where gradients are averaged over processes, each must have all of them."""
    model = built("dr-caml")
    batch = labelled([[6], [], [6], []])
    penalty = model.penalty(batch)
    assert penalty == 0
    (loss(model(batch), batch.labels_BL) + penalty).backward()
    assert [key for key, value in model.named_parameters() if value.grad is None] == []


def test_dr_caml_weighs_the_penalty_as_published() -> None:
    few, many = small_task(8), small_task(8)
    many = dataclasses.replace(many, num_codes=51, descriptions=(*(few.descriptions or ()), *[np.array([2])] * 44))
    assert registry.build("dr-caml", few, embedding_size=8).description_weight == 10  # type: ignore[union-attr]
    assert registry.build("dr-caml", many, embedding_size=8).description_weight == 0.01  # type: ignore[union-attr]
    assert registry.build("dr-caml", few, embedding_size=8, description_weight=2.0).description_weight == 2  # type: ignore[union-attr]


def test_dr_caml_says_what_titles_it_lacks() -> None:
    entry = registry.entry("dr-caml")
    assert entry.notices(entry.config(), small_task(8)) == [
        "dr-caml: 1 of 7 codes have no title, so nothing regularises their weights"
    ]
    untitled = dataclasses.replace(small_task(8), descriptions=(np.zeros(0, np.int32),) * NUM_CODES)
    for task in (small_task(8, described=False), untitled):
        with pytest.raises(SpecError, match=r"needs the codes' titles"):
            registry.build("dr-caml", task, embedding_size=8)


def test_the_trainer_adds_a_models_penalty(tmp_path: Path) -> None:
    """In one step over all documents, the weights of the first and the loss reported for it."""
    documents = learnable(12)

    def trained(name: str) -> tuple[Any, float]:
        model = registry.build(name, small_task(8), embedding_size=8, filters=6, dropout=0.0)
        assert isinstance(model, nn.Module)
        state = train.fit(
            model,
            documents,
            documents,
            TrainSpec(max_epochs=1, batch_size=12),
            seed=1,
            on=fabric("cpu"),
            checkpoint=tmp_path / name / store.CHECKPOINT,
        )
        return model, state.history[0]["loss"]

    seed_everything(4)
    plain, plain_loss = trained("caml")
    seed_everything(4)
    drawn, drawn_loss = trained("dr-caml")
    seed_everything(4)
    before: Any = registry.build("dr-caml", small_task(8), embedding_size=8, filters=6, dropout=0.0)
    batch = padded([[2]] * 12)
    batch.labels_BL[:] = torch.from_numpy(documents.labels().toarray())
    assert drawn_loss == pytest.approx(plain_loss + before.penalty(batch).item(), rel=1e-5)
    assert not torch.equal(drawn.title_linear.weight, before.title_linear.weight)
    assert torch.equal(drawn.conv.weight, plain.conv.weight)  # which the penalty does not concern
    assert not torch.equal(drawn.output.final.weight, plain.output.final.weight)


@pytest.mark.parametrize(("name", "fixed"), [("laat", True), ("laat@fine-tuned", False)])
def test_laat_leaves_word_vectors_as_they_are(name: str, fixed: bool) -> None:  # noqa: FBT001
    model = built(name)
    before = model.embedding.weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    model(padded(TEXTS)).sum().backward()
    optimizer.step()
    assert torch.equal(model.embedding.weight, before) == fixed
    random = registry.build(name, dataclasses.replace(small_task(8), embeddings=None), embedding_size=8)
    assert random.embedding.weight.requires_grad  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["multirescnn", "jlan-released"])
def test_kernels_of_the_filters_are_odd_and_may_be_given_as_text(name: str) -> None:
    assert built(name, kernel_sizes="3, 5").config.kernel_sizes == (3, 5)
    for sizes, problem in (((3, 4), "odd kernel size"), ("3,x", "valid integer"), ((), "at least 1 item")):
        with pytest.raises(SpecError, match=problem):
            registry.build(name, small_task(8), kernel_sizes=sizes)


@pytest.mark.parametrize(("patience", "floor"), [(0, 0.0), (2, 0.0), (1, 4e-4)])
def test_learning_rate_falls_as_torchs_scheduler_lets_it(patience: int, floor: float) -> None:
    spec = TrainSpec(scheduler="plateau", plateau_factor=0.7, plateau_patience=patience, plateau_floor=floor)
    values = np.random.default_rng(2).random(15).round(2).cumsum() % 1
    values[5:8] = values[4] * np.array([1.00005, 1.00005, 1.0002])  # within and beyond what counts as better
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=spec.learning_rate)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.7, patience=patience, min_lr=floor
    )
    optimizer.step()
    for seen, value in enumerate(values, start=1):
        reference.step(value)
        assert learning_rate(spec, values[:seen].tolist()) == pytest.approx(optimizer.param_groups[0]["lr"])
    rates = [learning_rate(spec, values[:seen].tolist()) for seen in range(len(values) + 1)]
    assert all(after <= before for before, after in itertools.pairwise(rates))
    assert rates[-1] < rates[0] == spec.learning_rate
    assert learning_rate(TrainSpec(), values.tolist()) == spec.learning_rate


def test_a_learning_rate_below_the_floor_is_left_as_it_is() -> None:
    spec = TrainSpec(learning_rate=1e-5, scheduler="plateau", plateau_patience=0, plateau_floor=1e-4)
    assert learning_rate(spec, [1.0, 0.5, 0.4]) == 1e-5
