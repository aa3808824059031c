"""Every registered model, and every variant of it: what any model must do, and what a few must compute."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.numpy import load, save
from sklearn.metrics import roc_auc_score
from systems import (
    BLIND,
    EVERY,
    FEW,
    LESS,
    LINEAR,
    NEURAL,
    NUM_CODES,
    TEXTS,
    encoded,
    fitted,
    learnable,
    neural,
    padded,
    small,
    small_task,
)
from torch import nn
from torch.nn import functional

from icdbench import registry
from icdbench.data.batches import Loader
from icdbench.nn import BiRNN, GateShares
from icdbench.settings import SpecError
from icdbench.spec import TrainSpec
from icdbench.training.objectives import loss
from icdbench.training.score import probabilities
from icdbench.types import Encoded


@pytest.mark.parametrize("name", NEURAL)
def test_logits_have_a_column_per_code_and_are_finite(name: str) -> None:
    logits_BL = neural(name)(padded(TEXTS))
    assert logits_BL.shape == (len(TEXTS), NUM_CODES)
    assert torch.isfinite(logits_BL).all()


@pytest.mark.parametrize("name", NEURAL)
def test_score_of_a_document_does_not_depend_on_its_batch(name: str) -> None:
    model = neural(name).eval()
    together = model(padded(TEXTS))
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(model(padded([text]))[0], together[row], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model(padded(TEXTS, width=90)), together, rtol=1e-5, atol=1e-5)
    order = [3, 0, 4, 2, 1]
    torch.testing.assert_close(model(padded([TEXTS[row] for row in order])), together[order], rtol=1e-5, atol=1e-5)


ATTENDING = [name for name, entry in registry.entries().items() if "attend_padding" in entry.config.model_fields]


def test_published_programs_that_let_padding_in_have_the_field() -> None:
    assert {"cnn", "bigru", "caml", "dr-caml", "multirescnn", "jlan-released", "laat"} <= set(ATTENDING)


@pytest.mark.parametrize("name", ATTENDING)
def test_attend_padding_lets_padding_in(name: str) -> None:
    blind, open_ = neural(name).eval(), neural(name, attend_padding=True).eval()
    batch = padded(TEXTS, width=90)
    assert not torch.allclose(blind(batch), open_(batch), atol=1e-4)
    narrow = padded(TEXTS)
    torch.testing.assert_close(open_(batch), open_(narrow), rtol=1e-5, atol=1e-5, msg="as far as the longest document")


@pytest.mark.parametrize("name", NEURAL)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = neural(name)
    batch = padded(TEXTS)
    batch.labels_BL.fill_(1)
    objective = loss(model(batch), batch.labels_BL)
    if hasattr(model, "penalty"):
        objective = objective + model.penalty(batch)  # type: ignore[operator]
    objective.backward()  # type: ignore[no-untyped-call]
    trained = {key: value.grad for key, value in model.named_parameters() if value.requires_grad}
    without = [key for key, gradient in trained.items() if gradient is None or not gradient.abs().sum() > 0]
    assert without == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURAL)
def test_eight_documents_can_be_overfitted(name: str) -> None:
    model = neural(name)
    documents = learnable(8, shortest=8, longest=12)
    batch = next(Loader(documents).batches([np.arange(8)]))
    pretrained = "encoder" in registry.entry(name.partition("@")[0]).needs
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2 if pretrained else 3e-2, fused=True)

    def evaluated() -> float:
        with torch.no_grad():
            return loss(model.eval()(batch), batch.labels_BL).item()

    for _ in range(300):
        objective = loss(model.train()(batch), batch.labels_BL)
        optimizer.zero_grad()
        objective.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if objective.item() < 0.05 and evaluated() < 0.05:
            break
    assert evaluated() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_linear_model_fits_and_its_scores_do_not_depend_on_other_documents(name: str) -> None:
    documents, model = FEW, fitted(name)
    scores_NL = model.scores(documents)
    labels_NL = documents.labels().toarray()
    assert scores_NL.shape == labels_NL.shape
    if name not in BLIND:
        assert roc_auc_score(labels_NL, scores_NL, average="macro") > 0.97
    np.testing.assert_allclose(model.scores(_first(documents, 3)), scores_NL[:3], rtol=1e-9, atol=1e-9)
    assert all(np.isfinite(value).all() for value in model.weights().values())


def _first(documents: Encoded, count: int) -> Encoded:
    tokens, codes = int(documents.token_offsets[count]), int(documents.code_offsets[count])
    return Encoded(
        documents.ids[:count],
        documents.tokens[:tokens],
        documents.token_offsets[: count + 1],
        documents.codes[:codes],
        documents.code_offsets[: count + 1],
        documents.unseen[:count],
        documents.num_codes,
        documents.max_tokens,
    )


@pytest.mark.parametrize("name", sorted(set(LINEAR) - BLIND - LESS))
def test_linear_model_of_one_word_documents(name: str) -> None:
    documents = encoded([[2 + number % 5] for number in range(20)], [[number % 5] for number in range(20)])
    model = small(name)
    model.fit(documents)
    assert (model.scores(documents).argmax(1) == np.arange(20) % 5).all()


@pytest.mark.slow
@pytest.mark.parametrize("text", [[3], [3, 4, 5]], ids=["one word", "three words"])
@pytest.mark.parametrize("name", sorted(set(LINEAR) - LESS))
def test_linear_model_of_documents_that_are_all_alike(name: str, text: list[int]) -> None:
    documents = encoded([text] * 12, [[0, 1], [0]] * 6)
    model = small(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(documents)
    scores_NL = model.scores(documents)
    assert np.isfinite(scores_NL).all()
    assert (scores_NL[:, 0] > scores_NL[:, 1]).all()


@pytest.mark.parametrize("name", LINEAR)
def test_linear_model_survives_constant_codes_and_unknown_words(name: str) -> None:
    documents = learnable(30, shortest=8)
    constant = Encoded(**{**vars(documents), "codes": documents.codes[:0], "code_offsets": documents.code_offsets * 0})
    model = small(name)
    model.fit(constant)
    strange = Encoded(**{**vars(documents), "tokens": np.ones_like(documents.tokens)})
    scores_NL = model.scores(strange)
    assert np.isfinite(scores_NL).all()
    assert (scores_NL < 0).all()


@pytest.mark.parametrize("name", NEURAL)
def test_weights_round_trip_through_safetensors(name: str) -> None:
    model = neural(name).eval()
    stored = load(save({key: value.numpy() for key, value in model.state_dict().items()}))
    torch.manual_seed(99)
    other = neural(
        name, **({"dropout": 0.5} if "dropout" in registry.entry(name.partition("@")[0]).config.model_fields else {})
    )
    other.load_state_dict({key: torch.from_numpy(value) for key, value in stored.items()})
    torch.testing.assert_close(other.eval()(padded(TEXTS)), model(padded(TEXTS)), rtol=0, atol=0)


NEED_NO_TITLES = [  # at their own sizes
    name
    for name in EVERY
    if name.partition("@")[0] in NEURAL and "titles" not in registry.entry(name.partition("@")[0]).needs
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NEED_NO_TITLES)
def test_works_without_word_vectors_and_titles(name: str) -> None:
    model = registry.build(name, small_task(described=False))
    assert isinstance(model, nn.Module)
    assert torch.isfinite(model(padded(TEXTS))).all()
    assert (model.embedding.weight[0] == 0).all()  # type: ignore[index, union-attr]


@pytest.mark.parametrize("entry", registry.entries().values(), ids=lambda entry: entry.name)
def test_documentation_names_the_paper_and_every_range_holds_its_default(entry: registry.Entry) -> None:
    if entry.paper == "baseline of this suite":
        assert "A baseline of this suite" in entry.about
    else:
        year = re.search(r"\d{4}", entry.paper)
        assert year is not None
        assert year[0] in entry.about
        assert "https://" in entry.about
    defaults = entry.config()
    for field, span in entry.config.ranges().items():
        value = getattr(defaults, field)
        assert value in span.choices if span.choices else span.low <= value <= span.high, field
    for variant in entry.variants.values():
        assert variant.about
        TrainSpec().override(variant.train, "train")


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(SpecError, match="no model 'camel'; did you mean 'caml'"):
        registry.build("camel", small_task())
    with pytest.raises(SpecError, match="no variant 'no-joined'; did you mean 'no-joint'"):
        registry.build("jlan@no-joined", small_task())
    with pytest.raises(SpecError, match="'caml' has no field 'drop_out'; did you mean 'dropout'"):
        registry.build("caml", small_task(), drop_out=0.1)
    with pytest.raises(SpecError, match=r"caml.dropout=7.*less than 1"):
        registry.build("caml", small_task(), dropout=7)
    with pytest.raises(SpecError, match="odd kernel size"):
        registry.build("jlan", small_task(), kernel_size=4)


def test_caml_computes_its_equations() -> None:
    model = neural("caml").eval()
    weights = model.state_dict()
    text = TEXTS[0]
    embedded_1ET = weights["embedding.weight"][text].T[None]
    hidden_FP = functional.conv1d(embedded_1ET, weights["conv.weight"], weights["conv.bias"], padding=5)[0].tanh()
    assert hidden_FP.shape[1] == len(text) + 1  # an even kernel gives one position more
    attention_LP = (weights["attention.U.weight"] @ hidden_FP).softmax(1)
    codes_LF = attention_LP @ hidden_FP.T
    expected_L = (weights["output.final.weight"] * codes_LF).sum(1) + weights["output.final.bias"]
    torch.testing.assert_close(model(padded([text], width=20))[0], expected_L)


def test_cnn_computes_its_equations_and_pads_short_documents_to_the_kernel() -> None:
    model = neural("cnn").eval()
    weights = model.state_dict()
    for text in ([5, 9, 14, 33, 40], [8]):
        embedded_ET = weights["embedding.weight"][text + [0] * max(0, 4 - len(text))].T
        hidden_FP = functional.conv1d(embedded_ET[None], weights["conv.weight"], weights["conv.bias"])[0].tanh()
        expected_L = weights["output.weight"] @ hidden_FP.amax(1) + weights["output.bias"]
        torch.testing.assert_close(model(padded([text], width=20))[0], expected_L)


@pytest.mark.parametrize(
    "variant",
    [
        "",
        "@no-label-softmax",
        "@label-linear",
        "@no-joint",
        "@label-only",
        "@self-only",
        "@concat",
        "@free-gates",
    ],
)
def test_jlan_computes_its_equations(variant: str) -> None:
    """Equations 1-13, 16, 17 written out for one document, with torch's own bidirectional LSTM."""
    model = neural(f"jlan{variant}").eval()
    config, weights = model.config, model.state_dict()
    text = TEXTS[0]
    x_1ET = weights["embedding.weight"][text].T[None]
    inner = functional.conv1d(x_1ET, weights["blocks.0.conv.weight"], weights["blocks.0.conv.bias"], padding=4).relu()
    x_1ET = (inner + x_1ET).relu()
    lstm = nn.LSTM(16, 16, bidirectional=True, batch_first=True)
    for key in lstm.state_dict():
        side = "back" if key.endswith("_reverse") else "ahead"
        lstm.state_dict()[key].copy_(weights[f"lstm.{side}.{key.removesuffix('_reverse')}"])
    h_TK = lstm(x_1ET.transpose(1, 2))[0][0].detach()
    parts = {}
    if config.attention != "label":  # type: ignore[union-attr]
        scores_LT = weights["self_attention.U.weight"] @ (weights["W1.weight"] @ h_TK.T).tanh()
        parts["self"] = scores_LT.softmax(1) @ h_TK
    if config.attention != "self":  # type: ignore[union-attr]
        halves = []
        for half_TH in (h_TK[:, :16], h_TK[:, 16:]):
            scores_LT = weights["C"] @ half_TH.T
            halves.append((scores_LT.softmax(1) if config.label_softmax else scores_LT) @ half_TH)  # type: ignore[union-attr]
        parts["label"] = torch.cat(halves, 1)
    if config.attention == "joint":  # type: ignore[union-attr]
        alpha = (parts["self"] @ weights["w3.weight"].T).sigmoid()
        beta = (parts["label"] @ weights["w4.weight"].T).sigmoid()
        total = alpha + beta if config.normalise_gates else 1.0  # type: ignore[union-attr]
        weighted = (alpha * parts["self"] / total, beta * parts["label"] / total)
        v_LK = torch.cat(weighted, 1) if config.splice == "concat" else sum(weighted)  # type: ignore[union-attr]
    else:
        v_LK = torch.stack(list(parts.values())).sum(0)
    if config.output == "mlp-sum":  # type: ignore[union-attr]
        hidden = (v_LK @ weights["hidden.weight"].T + weights["hidden.bias"]).relu()
        expected_L = (hidden @ weights["pooled.weight"].T + weights["pooled.bias"]).sum(1)
    else:
        expected_L = (v_LK * weights["output.final.weight"]).sum(1) + weights["output.final.bias"]
    torch.testing.assert_close(model(padded([text], width=20))[0], expected_L, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_codes", [7, 40])
def test_jlan_label_attention_is_the_same_in_either_order_of_products(num_codes: int) -> None:
    layer = neural("jlan@no-label-softmax").label_attention
    codes_LH, side_BTH, mask_BT = torch.randn(num_codes, 16), torch.randn(2, 9, 16), torch.ones(2, 9, dtype=torch.bool)
    direct = (codes_LH @ side_BTH.transpose(1, 2)) @ side_BTH
    torch.testing.assert_close(layer(codes_LH, side_BTH, side_BTH, mask_BT), direct, rtol=1e-4, atol=1e-4)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["jlan", "leam"])
def test_code_vectors_without_titles_are_warned_of(name: str) -> None:
    entry = registry.entry(name)
    assert entry.notices(entry.config(), small_task()) == []
    (notice,) = entry.notices(entry.config(), small_task(described=False))
    assert notice.startswith(f"{name}: these data have no titles")


def test_jlan_code_matrix_starts_as_mean_title_vectors() -> None:
    model = neural("jlan")
    vectors = model.embedding.weight  # type: ignore[union-attr]
    for code in range(NUM_CODES - 1):
        torch.testing.assert_close(model.C[code], vectors[[2 + 3 * code, 40 + code]].mean(0))  # type: ignore[index]
    assert model.C[NUM_CODES - 1].norm() > 0  # type: ignore[index]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_birnn_equals_torch_on_packed_sequences(kind: type[nn.LSTM | nn.GRU]) -> None:
    ours, reference = BiRNN(kind, 6, 5), kind(6, 5, bidirectional=True, batch_first=True)
    for key, value in reference.state_dict().items():
        side = ours.back if key.endswith("_reverse") else ours.ahead
        side.state_dict()[key.removesuffix("_reverse")].copy_(value)
    hidden_BTF, lengths_B = torch.randn(4, 9, 6), torch.tensor([9, 1, 4, 7])
    packed = nn.utils.rnn.pack_padded_sequence(hidden_BTF, lengths_B, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)
    torch.testing.assert_close(torch.cat(ours(hidden_BTF, lengths_B), 2), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURAL)
def test_logits_in_bf16_stay_near_those_in_fp32(name: str) -> None:
    model = neural(name).eval()
    expected = model(padded(TEXTS))
    low = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed").setup(model)
    torch.testing.assert_close(low(padded(TEXTS)).float(), expected, rtol=0.1, atol=0.1)


def test_probabilities_of_large_logits_stay_distinct() -> None:
    values = probabilities(np.array([[20.0, 21.0, -800.0]], np.float32))[0]
    assert values[0] < values[1] < 1
    assert values[2] == 0


def test_shares_of_gates_are_their_sigmoids_by_their_sum() -> None:
    one_BL1, other_BL1 = 4 * torch.randn(3, 5, 1), 4 * torch.randn(3, 5, 1)
    alpha_BL1, beta_BL1 = GateShares()(one_BL1, other_BL1)
    expected_BL1 = one_BL1.sigmoid() / (one_BL1.sigmoid() + other_BL1.sigmoid())
    torch.testing.assert_close(alpha_BL1, expected_BL1)
    torch.testing.assert_close(alpha_BL1 + beta_BL1, torch.ones(3, 5, 1))


@pytest.mark.parametrize("system", ["jlan", "jlan-released"])
def test_gates_that_underflow_leave_a_score_and_a_gradient(system: str) -> None:
    """σ(-200) is 0 in 32 bits; the share of each of two such gates is a half, not 0/0."""
    model = neural(system)
    for name in ("w3", "w4") if system == "jlan" else ("w1", "w2"):
        gate = nn.Linear(getattr(model, name).in_features, 1)
        nn.init.zeros_(gate.weight)
        nn.init.constant_(gate.bias, -200)
        setattr(model, name, gate)
    logits_BL = model(padded(TEXTS))
    logits_BL.sum().backward()
    assert logits_BL.isfinite().all()
    assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())
