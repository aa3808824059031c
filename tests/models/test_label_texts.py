"""Models that read what codes are called: their equations worked out for one document in numpy, and what training draws."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from equations import Array, arrays, both_ways, conv, lstm, sigmoid, softmax
from systems import NUM_CODES, learnable, names, padded, small_task
from torch import nn
from torch.nn import functional

from icdbench import registry
from icdbench.codes.hierarchy import build_tree, icd9cm_path
from icdbench.models.corelation import TransformerConv, categories, edge_types, mixed
from icdbench.nn import kernels
from icdbench.nn.label_texts import in_blocks, synonyms_of, tokens_of
from icdbench.settings import SpecError
from icdbench.training.objectives import loss
from icdbench.types import UNKNOWN, Hierarchy, Task

TEXTS = [[5, 9, 14, 33, 40], [8], [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31], [1, 1]]
SIZES: dict[str, Any] = {"embedding_size": 8, "hidden_size": 6, "filters": 7, "kernel_size": 4, "attention_size": 5}


def built(name: str, task: Task | None = None, **overrides: Any) -> Any:
    """A small model in evaluation mode, every weight but those of words random."""
    torch.manual_seed(3)
    fields = registry.entry(name.partition("@")[0]).config.model_fields
    sizes = {field: size for field, size in SIZES.items() if field in fields}
    model = registry.build(name, task or small_task(8), **{**sizes, **overrides})
    assert isinstance(model, nn.Module)
    for key, value in model.state_dict().items():
        if value.is_floating_point() and "embedding" not in key:
            value.normal_(std=0.4)
    return model.eval()


# --- DualLAAT ------------------------------------------------------------------------------------------------------------


def dual_laat(weights: dict[str, Array], text: list[int], titles: list[list[int]], heads: int) -> Array:
    """Logits [L] of one document by the equations in the model's docstring."""
    x_TE = weights["embedding.weight"][text]
    if "text.conv.weight" in weights:
        h_TK = np.tanh(conv(x_TE.T, weights["text.conv.weight"], weights["text.conv.bias"][:, None][:, 0])).T
    else:
        h_TK = both_ways(x_TE, weights, "text.lstm")
    keys_TA = np.tanh(h_TK @ weights["W_t.weight"].T)
    logits = []
    for title in titles:
        title_TE = weights["embedding.weight"][title or [UNKNOWN]]
        if "title.conv.weight" in weights:
            q = np.tanh(conv(title_TE.T, weights["title.conv.weight"], weights["title.conv.bias"])).max(1)
        else:
            ahead = lstm(title_TE, weights, "title.lstm.ahead")[-1]
            q = np.concatenate((ahead, lstm(title_TE[::-1], weights, "title.lstm.back")[-1]))
        query_A = np.tanh(weights["W_c.weight"] @ q)
        m = np.concatenate(
            [
                softmax(keys @ query) @ h_TK
                for query, keys in zip(np.split(query_A, heads), np.split(keys_TA, heads, axis=1), strict=True)
            ]
        )
        hidden = np.maximum(weights["scorer.hidden.weight"] @ m + weights["scorer.hidden.bias"], 0)
        logits.append(weights["scorer.output.weight"][0] @ hidden + weights["scorer.output.bias"][0])
    return np.array(logits)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("name", ["duallaat", "duallaat@cnn"])
def test_duallaat_computes_its_equations(name: str, heads: int) -> None:
    model = built(name, heads=heads)
    titles = [title.tolist() for title in small_task().descriptions or ()]
    for text in TEXTS:
        expected_L = dual_laat(arrays(model), text, titles, heads)
        found_L = model(padded([text], width=20))[0].detach().numpy()
        np.testing.assert_allclose(found_L, expected_L, rtol=1e-4, atol=1e-4)


def test_titles_are_cut_and_codes_without_one_have_an_unknown_word() -> None:
    model = built("duallaat", title_words=1)
    titles = [title.tolist()[:1] for title in small_task().descriptions or ()]
    found_L = model(padded([TEXTS[0]]))[0].detach().numpy()
    np.testing.assert_allclose(found_L, dual_laat(arrays(model), TEXTS[0], titles, 1), rtol=1e-4, atol=1e-4)
    entry = registry.entry("duallaat")
    assert entry.notices(model.config, small_task()) == ["duallaat: 1 of 7 codes have no title, and so the same score"]


def test_duallaat_scores_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    expected_BL = built("duallaat")(padded(TEXTS))
    monkeypatch.setattr("icdbench.models.duallaat.CODES", 2)
    monkeypatch.setattr("icdbench.nn.label_texts.BLOCK", 3)
    monkeypatch.setattr(kernels, "BLOCK_CELLS", 4)
    torch.testing.assert_close(built("duallaat")(padded(TEXTS)), expected_BL)


def test_training_draws_its_own_codes_and_others_up_to_the_label_space() -> None:
    model = built("duallaat", label_space=4).train()
    labels_BL = torch.zeros(2, NUM_CODES)
    labels_BL[0, 1], labels_BL[1, 5] = 1, 1
    drawn = [model.drawn(labels_BL).tolist() for _ in range(200)]
    assert all({1, 5} <= set(each) and len(set(each)) == 4 for each in drawn)
    assert set().union(*map(set, drawn)) == set(range(NUM_CODES))
    assert model.drawn(torch.ones(2, NUM_CODES)).tolist() == list(range(NUM_CODES))
    assert built("duallaat").train().drawn(labels_BL).tolist() == list(range(NUM_CODES))


def test_codes_that_are_not_drawn_have_neither_loss_nor_gradient() -> None:
    model = built("duallaat", label_space=3, dropout=0.0)
    batch = padded(TEXTS[:1])
    batch.labels_BL[0, 2] = 1
    full_L = model(batch)[0].detach()
    model.train()
    torch.manual_seed(5)
    drawn_C = model.drawn(batch.labels_BL)
    torch.manual_seed(5)
    logits_BL = model(batch)
    torch.testing.assert_close(logits_BL[0, drawn_C], full_L[drawn_C])
    expected = loss(full_L[None, drawn_C], batch.labels_BL[:, drawn_C]) * 3 / NUM_CODES
    torch.testing.assert_close(loss(logits_BL, batch.labels_BL).detach(), expected)
    loss(logits_BL, batch.labels_BL).backward()  # type: ignore[no-untyped-call]
    assert sum(float(each.grad.abs().sum()) for each in model.parameters()) > 0


def same_titles() -> Task:
    """Codes 0 and 3 have one title, and so have 1 and 4."""
    task = small_task(8)
    titles = list(task.descriptions or ())
    titles[3], titles[4] = titles[0], titles[1]
    return dataclasses.replace(task, descriptions=tuple(titles))


def test_a_code_with_the_title_of_a_gold_code_is_no_negative() -> None:
    labels_BL = torch.zeros(2, NUM_CODES)
    labels_BL[0, 0], labels_BL[1, 4] = 1, 1
    model = built("duallaat", same_titles(), label_space=5).train()
    assert all(not {1, 3} & set(model.drawn(labels_BL).tolist()) for _ in range(100))
    whole = built("duallaat", same_titles()).train()
    batch = padded(TEXTS[:2])
    batch.labels_BL.copy_(labels_BL)
    silent_BL = whole(batch) == -100
    assert silent_BL.nonzero().tolist() == [[0, 3], [1, 1]]


def test_titles_are_encoded_anew_after_training_and_for_other_weights() -> None:
    model, batch = built("duallaat"), padded(TEXTS)
    before = model(batch)
    with torch.no_grad():
        model.title.lstm.ahead.weight_ih_l0.mul_(-1)
    model.train()
    model.eval()
    after = model(batch)
    assert not torch.allclose(before, after)
    other = built("duallaat")
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(batch), after)
    other.load_state_dict(built("duallaat").state_dict())
    torch.testing.assert_close(other(batch), before)


def test_a_trained_model_scores_codes_it_was_not_trained_on() -> None:
    """Codes are what their titles say: a code with the title of another has its score, wherever it stands."""
    task, model = small_task(8), built("duallaat")
    titles = task.descriptions or ()
    fewer = dataclasses.replace(task, num_codes=3, descriptions=(titles[4], titles[0], titles[4]))
    other = registry.build("duallaat", fewer, **{field: SIZES[field] for field in SIZES})
    assert isinstance(other, nn.Module)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(padded(TEXTS)), model(padded(TEXTS))[:, [4, 0, 4]])


def test_texts_of_codes_are_encoded_in_their_own_order() -> None:
    texts = [np.array(row, np.int32) for row in ([3, 4, 5], [], [7], [8, 9], [2] * 9)]
    tokens_NW, lengths_N = tokens_of(texts, 4)
    assert tokens_NW.tolist() == [[3, 4, 5, 0], [UNKNOWN, 0, 0, 0], [7, 0, 0, 0], [8, 9, 0, 0], [2, 2, 2, 2]]
    assert lengths_N.tolist() == [3, 1, 1, 2, 4]
    sums_N = in_blocks(lambda tokens_CW, lengths_C: tokens_CW.sum(1) + 100 * lengths_C, tokens_NW, lengths_N)
    assert sums_N.tolist() == [312, 101, 107, 217, 408]


@pytest.mark.slow
def test_learnable_documents_are_learnt_from_few_drawn_codes() -> None:
    """Negatives drawn at random, four codes a batch, are enough to rank all of them."""
    model = built("duallaat", label_space=4).train()
    batch = padded(
        [
            row.tolist()
            for row in np.split(learnable(8, shortest=8).tokens, learnable(8, shortest=8).token_offsets[1:-1])
        ]
    )
    batch.labels_BL.copy_(torch.from_numpy(learnable(8, shortest=8).labels().toarray()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss(model(batch), batch.labels_BL).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss(model.eval()(batch), batch.labels_BL).item() < 0.2


# --- JointLAAT -----------------------------------------------------------------------------------------------------------

JOINT = ("428.0", "428.1", "E916.0", "E916.1", "I10", "I109", "401.9")
PARENTS = [0, 0, 1, 1, 2, 2, 3]


def joint_laat(weights: dict[str, Array], text: list[int]) -> tuple[Array, Array]:
    """Logits of the codes [L] and of the parents [N] of one document by the equations in the model's docstring."""
    h_TK = both_ways(weights["embedding.weight"][text], weights, "lstm")

    def attended(prefix: str) -> Array:
        scores_LT = weights[f"{prefix}U.weight"] @ np.tanh(weights[f"{prefix}W.weight"] @ h_TK.T)
        return np.asarray(softmax(scores_LT) @ h_TK)

    parents_N = (weights["parents.output.final.weight"] * attended("parents.")).sum(1)
    parents_N += weights["parents.output.final.bias"]
    s = sigmoid(weights["parents.P.weight"] @ sigmoid(parents_N))
    v_LK = np.concatenate((weights["output.final.weight"], weights["parents.V.weight"]), axis=1)
    m_LK = np.concatenate((attended(""), np.tile(s, (NUM_CODES, 1))), axis=1)
    return (v_LK * m_LK).sum(1) + weights["output.final.bias"], parents_N


def joint_task() -> Task:
    return dataclasses.replace(small_task(8), codes=JOINT)


def test_jointlaat_computes_its_equations() -> None:
    model = built("laat@joint", joint_task(), projection_size=3)
    assert model.parents.parent_L.tolist() == PARENTS
    for text in TEXTS:
        expected_L, _ = joint_laat(arrays(model), text)
        found_L = model(padded([text], width=20))[0].detach().numpy()
        np.testing.assert_allclose(found_L, expected_L, rtol=1e-4, atol=1e-4)


def test_jointlaats_loss_is_the_sum_of_both_levels() -> None:
    model = built("laat@joint", joint_task(), projection_size=3, dropout=0.0).train()
    batch = padded(TEXTS)
    for document, codes in enumerate(([0, 1, 4], [6], [], [3])):
        batch.labels_BL[document, codes] = 1
    expected = 0.0
    gold_BN = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]])
    for text, labels_L, gold_N in zip(TEXTS, batch.labels_BL.numpy(), gold_BN.numpy(), strict=True):
        for logits, labels in zip(joint_laat(arrays(model), text), (labels_L, gold_N), strict=True):
            p = sigmoid(logits)
            expected -= (labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean() / len(TEXTS)
    value = loss(model(batch), batch.labels_BL) + model.penalty(batch)
    assert value.item() == pytest.approx(expected, rel=1e-4)
    value.backward()
    assert model.parents.U.weight.grad.abs().sum() > 0


def test_parents_need_the_codes() -> None:
    with pytest.raises(SpecError, match="needs the codes as the data spell them"):
        built("laat@joint", dataclasses.replace(small_task(8), codes=()))


def test_laat_without_parents_has_no_penalty() -> None:
    batch = padded(TEXTS)
    assert built("laat").penalty(batch).item() == 0


# --- MSMN ----------------------------------------------------------------------------------------------------------------

OTHER_NAMES = {1: [[8, 9], [31]], 4: [[20, 21, 22, 23], [50], [51], [52]], 6: [[7]]}  # by code; code 6 has no title


def named_task() -> Task:
    """Some codes have other names beside their titles, which the task lists among readings of the titles."""
    task = small_task(8)
    titles = [title.tolist() for title in task.descriptions or ()]
    bags = [(code, False, title) for code, title in enumerate(titles) if title]
    bags += [(code, True, name) for code, others in OTHER_NAMES.items() for name in [*others, others[0]]]
    bags.sort()
    listed = names([bag for _, _, bag in bags], [code for code, _, _ in bags])
    other = np.array([is_other for _, is_other, _ in bags], np.int32)
    return dataclasses.replace(task, names=dataclasses.replace(listed, is_term=other))


def names_by_hand(each: int) -> list[list[list[int]]]:
    """The names of each code, `each` of them."""
    titles = [title.tolist() for title in small_task().descriptions or ()]
    known = [[*([title] if title else []), *OTHER_NAMES.get(code, [])] for code, title in enumerate(titles)]
    return [[row[number % len(row)] for number in range(each)] for row in known]


def msmn(weights: dict[str, Array], text: list[int], each: int) -> Array:
    """Logits [L] of one document by the equations in the model's docstring."""

    def encoded(tokens: list[int]) -> Array:
        hidden = weights["embedding.weight"][tokens]
        for layer in range(2 if "lstms.1.ahead.weight_ih_l0" in weights else 1):
            hidden = both_ways(hidden, weights, f"lstms.{layer}")
        return hidden

    h_TK = encoded(text)
    keys = np.split(np.tanh(h_TK @ weights["W.weight"].T), each, axis=1)
    logits = []
    for synonyms in names_by_hand(each):
        q_KH = np.stack([encoded(name).max(0) for name in synonyms])
        heads = [softmax(key @ (weights["U.weight"] @ q)) @ h_TK for q, key in zip(q_KH, keys, strict=True)]
        m, q = np.max(heads, axis=0), q_KH.max(0)
        w = weights["weight.weight"] @ q + weights["weight.bias"]
        logits.append(w @ m + weights["bias.weight"][0] @ q + weights["bias.bias"][0])
    return np.array(logits)


@pytest.mark.parametrize("settings", [{"synonyms": 1}, {"synonyms": 3}, {"synonyms": 2, "layers": 2}], ids=str)
def test_msmn_computes_its_equations(settings: dict[str, int]) -> None:
    model = built("msmn", named_task(), **settings)
    for text in TEXTS:
        expected_L = msmn(arrays(model), text, settings["synonyms"])
        found_L = model(padded([text], width=20))[0].detach().numpy()
        np.testing.assert_allclose(found_L, expected_L, rtol=1e-4, atol=1e-4)


def test_names_of_a_code_are_its_title_and_then_the_others_each_once() -> None:
    tokens_LKW = synonyms_of(named_task(), 4, 3)
    expected = [[name[:3] for name in row] for row in names_by_hand(4)]
    assert [[[word for word in name if word] for name in row] for row in tokens_LKW.tolist()] == expected
    without = dataclasses.replace(named_task(), names=None)
    assert synonyms_of(without, 2, 3)[6].tolist() == [[UNKNOWN, 0, 0]] * 2
    assert synonyms_of(without, 2, 3)[1].tolist() == [[5, 41, 0]] * 2


def test_msmn_has_the_same_scores_and_gradients_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed again for the gradient is computed as it was, with the same units dropped out."""
    batch = padded(TEXTS)
    batch.labels_BL[:, ::2] = 1
    found = []
    for codes, texts in ((512, 512), (2, 3)):
        monkeypatch.setattr("icdbench.models.msmn.CODES", codes)
        monkeypatch.setattr("icdbench.nn.label_texts.BLOCK", texts)
        model = built("msmn", named_task(), synonyms=3, dropout=0.0).train()
        logits_BL = model(batch)
        loss(logits_BL, batch.labels_BL).backward()  # type: ignore[no-untyped-call]
        found.append([logits_BL, *(each.grad for each in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_msmns_names_are_stored_with_its_weights() -> None:
    model = built("msmn", named_task())
    other = built("msmn", dataclasses.replace(named_task(), names=None))
    before = other(padded(TEXTS))
    assert not torch.allclose(before, model(padded(TEXTS)))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(padded(TEXTS)), model(padded(TEXTS)))


# --- CoRelation ----------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"head_size": 3, "edge_size": 4, "synonyms": 3}
CATEGORY = [0, 0, 1, 1, 1, 2, 3]  # the nodes above the codes in conftest.small_task: 2, 7, 8 and 9
EDGES = [  # steps to them; code 6 stands in a tree of its own, and code 2 is a category
    [1, 2, 3, 10],
    [1, 2, 3, 10],
    [0, 1, 2, 10],
    [2, 1, 2, 10],
    [2, 1, 2, 10],
    [3, 2, 1, 10],
    [10, 10, 10, 1],
]


def linear(weights: dict[str, Array], name: str, x: Array) -> Array:
    return np.asarray(x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0))


def corelation(weights: dict[str, Array], text: list[int]) -> Array:
    """Probabilities [L] of one document by the equations in the model's docstring."""
    h_TK = both_ways(weights["embedding.weight"][text], weights, "lstms.0")
    keys_TA, values_TD = linear(weights, "K", h_TK), linear(weights, "V", h_TK)
    codes, biases = [], []
    for synonyms in names_by_hand(3):
        q_KH = np.stack([both_ways(weights["embedding.weight"][name], weights, "lstms.0").max(0) for name in synonyms])
        scores_KT = linear(weights, "Q", q_KH) @ keys_TA.T / np.sqrt(3)
        m, q = (softmax(scores_KT) @ values_TD).max(0), q_KH.mean(0)
        codes.append(m * linear(weights, "weight", q))
        biases.append(linear(weights, "bias", q)[0])
    c_LD, b_L = np.stack(codes), np.array(biases)
    g_ND = np.stack([c_LD[np.array(CATEGORY) == category].mean(0) for category in range(4)])
    edges_RD = linear(weights, "relations.edge", weights["relations.types"])
    r_LD = linear(weights, "relations.root", c_LD)
    for code, row in enumerate(EDGES):
        keys, values = (linear(weights, f"relations.{name}", g_ND) + edges_RD[row] for name in "KV")
        query, width = linear(weights, "relations.Q", c_LD[code]), len(r_LD[0]) // 2
        for head in (slice(width), slice(width, None)):
            r_LD[code, head] += softmax(keys[:, head] @ query[head] / np.sqrt(width)) @ values[:, head]
    second_L = linear(weights, "related", np.maximum(r_LD, 0))[:, 0] + b_L
    s_L = sigmoid(linear(weights, "share.2", np.maximum(linear(weights, "share.0", c_LD), 0))[:, 0])
    return np.asarray((1 - s_L) * sigmoid(c_LD.sum(1) + b_L) + s_L * sigmoid(second_L))


def test_corelation_computes_its_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icdbench.models.corelation.CODES", 3)
    model = built("corelation", named_task(), **SMALL)
    for text in TEXTS:
        found_L = model(padded([text], width=20))[0].sigmoid().detach().numpy()
        np.testing.assert_allclose(found_L, corelation(arrays(model), text), rtol=1e-4, atol=1e-5)


def test_a_transformer_convolution_worked_out_by_hand() -> None:
    """x = (1, 2) hears of (1, 0) over an edge 0 and of (0, 1) over an edge 1; each head has one of the two numbers."""
    layer = TransformerConv(2, types=2, edge_size=1)
    with torch.no_grad():
        for each in (layer.Q, layer.K, layer.V, layer.root):
            each.weight.copy_(torch.eye(2))
        layer.Q.bias.zero_()
        layer.root.bias.copy_(torch.tensor([10.0, 20.0]))
        layer.types.copy_(torch.tensor([[0.0], [1.0]]))
        layer.edge.weight.fill_(1)
    found = layer(torch.tensor([[[1.0, 2.0]]]), torch.eye(2)[None], torch.tensor([[0, 1]]))
    # First head: scores 1 · (1 + 0) and 1 · (0 + 1), values 1 and 1. Second: scores 2 · 0 and 2 · 2, values 0 and 2.
    share = math.exp(4) / (math.exp(0) + math.exp(4))
    torch.testing.assert_close(found, torch.tensor([[[1 + 10 + 1, 2 + 20 + 2 * share]]]))


def test_categories_are_nodes_of_the_tree_spelled_as_codes_begin() -> None:
    tree = build_tree(["250.01", "250.1", "401", "428.0", "39.95", "zz.9"], icd9cm_path)
    task = dataclasses.replace(small_task(8), num_codes=6, codes=("250.01", "250.1", "401", "428.0", "39.95", "zz.9"))
    names = list(dict.fromkeys((*task.codes, *tree.parents, *tree.parents.values())))
    parents = np.array([names.index(tree.parents[name]) if name in tree.parents else -1 for name in names])
    nodes_N, category_L = categories(task, Hierarchy(parents, tuple(names[6:]), ()))
    assert [names[nodes_N[at]] for at in category_L] == ["250", "250", "401", "428", "39", "(other codes)"]
    types_LN = edge_types(parents, 6, nodes_N)
    found = {names[node]: types_LN[0, at].item() for at, node in enumerate(nodes_N)}
    # 250.01, 250.0, 250; then 249-259, 240-279, (diagnoses), 390-459, 401-405 or 420-429, and the category.
    assert found == {"250": 2, "401": 8, "428": 8, "39": 10, "(other codes)": 10}


def test_each_step_has_the_most_frequent_codes_and_draws_others() -> None:
    model = built("corelation", frequent_codes=2, sampled_codes=3, dropout=0.0, **SMALL).train()
    batch = padded(TEXTS)
    batch.labels_BL[:, 4], batch.labels_BL[1:, 6], batch.labels_BL[0, 0] = 1, 1, 1
    model(batch)
    assert model.seen_L.tolist() == [1, 0, 0, 0, 4, 0, 3]
    drawn = [model.drawn().tolist() for _ in range(100)]
    assert all({4, 6} <= set(each) and len(set(each)) == 5 and each == sorted(each) for each in drawn)
    assert set().union(*map(set, drawn)) == set(range(NUM_CODES))
    assert model.eval().drawn().tolist() == list(range(NUM_CODES))


def test_codes_that_a_step_does_not_draw_have_no_loss() -> None:
    model = built("corelation", frequent_codes=2, sampled_codes=3, dropout=0.0, **SMALL).train()
    batch = padded(TEXTS)
    batch.labels_BL[:, ::2] = 1
    logits_BL = model(batch)
    silent_L = (logits_BL.abs() == 100).all(0)
    assert silent_L.sum() == 2
    each = functional.binary_cross_entropy_with_logits(logits_BL, batch.labels_BL, reduction="none")
    assert each[:, silent_L].max() < 1e-40
    value = each.sum() + model.penalty(batch)
    value.backward()
    assert all(each.grad is not None for each in model.parameters())


def test_corelations_penalty_is_the_mean_share_of_the_relations() -> None:
    shares = {}
    for penalty in (None, 0.5):
        model = built("corelation", share_penalty=penalty, dropout=0.0, **SMALL).train()
        with torch.no_grad():
            model.share[2].weight.zero_()
            model.share[2].bias.zero_()
        model(padded(TEXTS))
        shares[penalty] = model.penalty(padded(TEXTS)).item()
    assert shares == pytest.approx({None: 0.001 / 2, 0.5: 0.25})
    assert model.eval().penalty(padded(TEXTS)).item() == 0


def test_a_mixture_of_certain_scores_stays_finite_and_in_order() -> None:
    one = torch.tensor([-300.0, -20.0, 0.0, 20.0, 300.0], requires_grad=True)
    found = mixed(one, one + 1, torch.tensor(0.0))
    assert (found.diff() > 0).all()
    assert (found > one).all()
    assert (found < one + 1).all()
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert one.grad is not None
    torch.testing.assert_close(one.grad, torch.ones(5), rtol=0.1, atol=0)
