"""LEAM and MSATT-KG against their equations written out by other means, and what is particular to them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from systems import NUM_CODES, TEXTS, neural, padded, small_task
from torch import Tensor, nn
from torch.nn import functional

from icdbench import registry
from icdbench.models.msatt_kg import neighbour_means
from icdbench.nn import BatchNorm
from icdbench.settings import SpecError

PARENTS = [2, 2, 7, 7, 7, 8, 9, 8, -1, -1]  # of conftest.small_task
LONG = TEXTS[3]


def same_convolution(channels_CT: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """TensorFlow's "SAME": each position alone, of an even kernel one more position after than before."""
    width, length = weight.shape[2], channels_CT.shape[1]
    back = (width - 1) // 2
    rows = []
    for t in range(length):
        total = bias.clone()
        for j in range(width):
            if 0 <= (at := t - back + j) < length:
                total += weight[:, :, j] @ channels_CT[:, at]
        rows.append(total)
    return torch.stack(rows, 1)


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[1], TEXTS[2], LONG])
def test_leam_computes_its_equations(text: list[int]) -> None:
    model = neural("leam").eval()
    weights = model.state_dict()
    assert set(weights) == {
        "embedding.weight",
        "C",
        "conv.weight",
        "conv.bias",
        "output.final.weight",
        "output.final.bias",
    }
    assert weights["conv.weight"].shape == (16, 16, 10)
    hidden_ET = same_convolution(
        weights["embedding.weight"][text].T, weights["conv.weight"], weights["conv.bias"]
    ).relu()
    for code in range(NUM_CODES):
        scores_T = weights["C"][code] @ hidden_ET
        z_E = hidden_ET @ (scores_T.exp() / scores_T.exp().sum())
        expected = weights["output.final.weight"][code] @ z_E + weights["output.final.bias"][code]
        torch.testing.assert_close(model(padded([text], width=70))[0, code], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[1], TEXTS[2], LONG])
@pytest.mark.parametrize("ngram", [5, 6, 55])
def test_leam_ngram_computes_its_equations(text: list[int], ngram: int) -> None:
    model = neural("leam@ngram", ngram=ngram).eval()
    weights = model.state_dict()
    words_TE = weights["embedding.weight"][text]
    cosine_LT = torch.tensor(
        [[float(c @ x / (c.norm() * x.norm())) for x in words_TE] for c in weights["C"]], dtype=torch.float32
    )
    best_T = same_convolution(cosine_LT, weights["conv.weight"], weights["conv.bias"]).relu().max(0).values
    beta_T = best_T.exp() / best_T.exp().sum()
    z_E = sum(weight * x for weight, x in zip(beta_T, words_TE, strict=True))
    hidden = (weights["hidden.weight"] @ z_E + weights["hidden.bias"]).relu()
    expected_L = weights["final.weight"] @ hidden + weights["final.bias"]
    torch.testing.assert_close(model(padded([text], width=70))[0], expected_L, rtol=1e-4, atol=1e-5)


def test_leam_ngram_classifies_its_codes_by_the_same_layers() -> None:
    model = neural("leam@ngram").eval()
    weights = model.state_dict()
    total = 0.0
    for k in range(NUM_CODES):
        hidden = (weights["hidden.weight"] @ weights["C"][k] + weights["hidden.bias"]).relu()
        chances = (weights["final.weight"] @ hidden + weights["final.bias"]).sigmoid()
        for code in range(NUM_CODES):
            total -= float((chances[code] if code == k else 1 - chances[code]).log())
    penalty = model.penalty(padded(TEXTS))  # type: ignore[operator]
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(total / NUM_CODES**2, rel=1e-4)
    penalty.backward()
    touched = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    assert touched == {"C", "hidden.weight", "hidden.bias", "final.weight", "final.bias"}
    assert neural("leam").penalty(padded(TEXTS)).item() == 0  # type: ignore[operator]


def test_leam_codes_start_as_mean_title_vectors() -> None:
    model: Any = neural("leam")
    for code in range(NUM_CODES - 1):
        expected = model.embedding.weight[[2 + 3 * code, 40 + code]].mean(0)
        torch.testing.assert_close(model.C[code], expected)


def test_leam_ngram_refuses_what_cannot_be_held() -> None:
    task = dataclasses.replace(small_task(), num_codes=9000, descriptions=None, embeddings=None)
    with pytest.raises(
        SpecError, match=r"55 weights for each pair of codes.*9000 codes; use leam, or set data\.top_codes"
    ):
        registry.build("leam@ngram", task, embedding_size=4)
    assert isinstance(registry.build("leam", task, embedding_size=4), nn.Module)


def msatt(**overrides: Any) -> Any:
    """A model in evaluation mode whose norms have statistics and affine weights that show."""
    model: Any = neural("msatt-kg", **overrides)
    for norm in model.norms:
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.3, 1.5)
    return model.eval()


def graph(weights: dict[str, Tensor], layer: int, nodes_NE: Tensor) -> Tensor:
    """A graph convolution, node by node."""
    rows = []
    for node, parent in enumerate(PARENTS):
        total = weights[f"graph.{layer}.own.weight"] @ nodes_NE[node] + weights[f"graph.{layer}.own.bias"]
        if parent >= 0:
            total = total + weights[f"graph.{layer}.up.weight"] @ nodes_NE[parent]
        children = [child for child, its in enumerate(PARENTS) if its == node]
        if children:
            total = total + weights[f"graph.{layer}.down.weight"] @ (sum(nodes_NE[c] for c in children) / len(children))
        rows.append(total.relu())
    return torch.stack(rows)


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[1], TEXTS[2], LONG])
def test_msatt_kg_computes_its_equations(text: list[int]) -> None:
    model = msatt()
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    maps: list[Tensor] = []
    for scale in range(5):
        before_CT = torch.cat(maps) if maps else weights["embedding.weight"][text].T
        out_FT = same_convolution(before_CT, weights[f"convs.{scale}.weight"], weights[f"convs.{scale}.bias"])
        stats = [
            weights[f"norms.{scale}.{name}"][:, None] for name in ("running_mean", "running_var", "weight", "bias")
        ]
        maps.append(((out_FT - stats[0]) / (stats[1] + 1e-5).sqrt() * stats[2] + stats[3]).relu())
    assert maps[4].shape == (12, len(text))
    h_FT = torch.zeros_like(maps[0])
    for t in range(len(text)):
        shown_N = torch.stack([scale_FT[:, t].sum() for scale_FT in maps])
        inner = (weights["scale_attention.0.weight"] @ shown_N + weights["scale_attention.0.bias"]).relu()
        a_N = (weights["scale_attention.2.weight"] @ inner + weights["scale_attention.2.bias"]).softmax(0)
        h_FT[:, t] = sum(a * scale_FT[:, t] for a, scale_FT in zip(a_N, maps, strict=True))
    nodes_NE = graph(weights, 1, graph(weights, 0, weights["nodes"]))
    for code in range(NUM_CODES):
        g_F = weights["projection.weight"] @ nodes_NE[code] + weights["projection.bias"]
        m_F = h_FT @ (g_F @ h_FT).softmax(0)
        torch.testing.assert_close(
            model(padded([text], width=70))[0, code], g_F @ m_F + weights["bias"][code], rtol=1e-4, atol=1e-4
        )


def test_neighbour_means_are_means() -> None:
    up_NN, down_NN = (matrix.to_dense() for matrix in neighbour_means(np.array(PARENTS)))
    for node, parent in enumerate(PARENTS):
        assert up_NN[node].nonzero()[:, 0].tolist() == ([parent] if parent >= 0 else [])
        assert down_NN[node].nonzero()[:, 0].tolist() == [child for child, its in enumerate(PARENTS) if its == node]
    assert set(up_NN.sum(1).tolist()) == set(down_NN.sum(1).round(decimals=6).tolist()) == {0.0, 1.0}


def test_msatt_kg_nodes_start_as_mean_title_vectors_of_codes_and_headings() -> None:
    model: Any = neural("msatt-kg")
    assert len(model.nodes) == len(PARENTS)
    for node, words in {0: [2, 40], 5: [17, 45], 7: [50, 51]}.items():
        torch.testing.assert_close(model.nodes[node], model.embedding.weight[words].mean(0))
    assert (model.nodes.norm(dim=1) > 0).all()


def test_msatt_kg_codes_hear_of_their_neighbours_alone() -> None:
    """Two layers: a change reaches parents, children, grandparents and siblings, and not the other tree."""
    model = msatt()
    before = model._codes()
    with torch.no_grad():
        model.nodes[0] += 1
    moved = {code for code in range(NUM_CODES) if not torch.equal(before[code], model._codes()[code])}
    assert moved <= {0, 1, 2}
    assert {0, 2} <= moved


def test_batch_norm_in_training_sees_tokens_and_no_padding() -> None:
    narrow, wide, plain = BatchNorm(3), BatchNorm(3), nn.BatchNorm1d(3)
    hidden_BTF = torch.randn(2, 6, 3) * 3 + 1
    mask_BT = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]], dtype=torch.bool)
    expected_XF = plain(torch.cat((hidden_BTF[0], hidden_BTF[1, :2])))
    normed_BTF = narrow(hidden_BTF, mask_BT)
    torch.testing.assert_close(torch.cat((normed_BTF[0], normed_BTF[1, :2])), expected_XF)
    assert (normed_BTF[1, 2:] == 0).all()
    wide(functional.pad(hidden_BTF, (0, 0, 0, 9), value=7.0), functional.pad(mask_BT, (0, 9)))
    for norm in (narrow, wide):
        torch.testing.assert_close(norm.running_mean, plain.running_mean)
        torch.testing.assert_close(norm.running_var, plain.running_var)


def test_msatt_kg_without_its_graph_projects_each_code_vector_alone() -> None:
    model = msatt(graph=False)
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    assert not [name for name in weights if name.startswith("graph")]
    assert len(weights["nodes"]) == small_task().num_codes
    expected_LF = weights["nodes"] @ weights["projection.weight"].T + weights["projection.bias"]
    torch.testing.assert_close(model._codes(), expected_LF)


def test_msatt_kg_without_titles_starts_all_nodes_at_random() -> None:
    models: list[Any] = [neural("msatt-kg", titles=titles) for titles in (True, False)]
    titled, untitled = (model.nodes.detach() for model in models)
    assert titled.shape == untitled.shape
    assert not (titled == untitled).all(1).any()
    torch.testing.assert_close(untitled.norm(dim=1), torch.ones(len(untitled)))


def test_msatt_kg_in_training_is_blind_to_padding_and_survives_a_single_token() -> None:
    logits = [neural("msatt-kg", dropout=0.0)(padded(TEXTS, width=width)) for width in (48, 80)]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-5)
    model = neural("msatt-kg")
    logits_1L = model(padded([[1]]))
    assert torch.isfinite(logits_1L).all()
    assert model.norms[0].num_batches_tracked == 0  # type: ignore[index, union-attr]


@pytest.mark.parametrize("name", ["leam", "leam@ngram", "msatt-kg"])
def test_logits_in_bf16_stay_near_those_in_fp32(name: str) -> None:
    model = neural(name).eval()
    expected = model(padded(TEXTS))
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    low = fabric.setup(model)
    torch.testing.assert_close(low(padded(TEXTS)).float(), expected, rtol=0.1, atol=0.1)
    fabric.backward(low(padded(TEXTS)).float().sum())
    assert all(value.grad is not None for value in model.parameters())


def test_msatt_kg_without_a_hierarchy_says_what_to_do() -> None:
    with pytest.raises(SpecError, match=r"msatt-kg needs the codes' hierarchy.*data\.code_system") as caught:
        registry.build("msatt-kg", dataclasses.replace(small_task(), hierarchy=None))
    assert "\n" not in str(caught.value)
    with pytest.raises(SpecError, match="odd kernel size"):
        registry.build("msatt-kg", small_task(), kernel_size=4)


def test_graph_is_not_stored_with_the_weights() -> None:
    assert not [name for name in neural("msatt-kg").state_dict() if name.endswith("_NN")]
