"""Names of gold codes as texts beside the documents, by hand and in training; gradients that are clipped."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Call
from corpora import prepared, write
from corpora import rows as corpus_rows
from systems import NUM_CODES, TEXTS, learnable, names, neural, padded, small_task
from torch import nn

import icdbench.run as runner
from icdbench import registry, train
from icdbench.nn import LabelwiseLinear
from icdbench.records import store
from icdbench.run import Request
from icdbench.settings import SpecError
from icdbench.spec import TrainSpec
from icdbench.training import TrainingError
from icdbench.training.accelerator import fabric, seed_everything
from icdbench.training.guidance import Guide, code_vectors, distance, guide_for
from icdbench.training.losses import divergence, each_loss
from icdbench.training.objectives import Objective, objective_for, objective_of, optimizer_of
from icdbench.training.state import State
from icdbench.types import Batch, Encoded


def titled(documents: int = 12, seed: int = 0) -> Encoded:
    """Documents whose codes have titles of two words each, 2 + 3·l and 40 + l, but for the last."""
    return replace(learnable(documents, seed), descriptions=small_task().descriptions)


def coded(*codes: list[int]) -> Batch:
    """The first of TEXTS with these codes."""
    batch = padded(TEXTS[: len(codes)])
    for row, of in enumerate(codes):
        batch.labels_BL[row, of] = 1
    return batch


def guide(**settings: Any) -> Guide:
    found = guide_for(TrainSpec().override({"guidance": 1.0, **settings}, "train"), titled())
    assert found is not None
    return found


def rows(batch: Batch) -> list[list[int]]:
    return [row[:length].tolist() for row, length in zip(batch.tokens_BT, batch.lengths_B, strict=True)]


# --- Texts ---------------------------------------------------------------------------------------------------------------


def test_a_text_holds_the_titles_of_the_gold_codes_in_any_order() -> None:
    torch.manual_seed(0)
    batch = coded([1, 3], [2])
    drawn = [guide().texts(batch) for _ in range(20)]
    orders = {tuple(rows(each)[0]) for each in drawn}
    assert orders == {(5, 41, 11, 43), (11, 43, 5, 41)}
    assert all(rows(each)[1] == [8, 42] for each in drawn)
    assert torch.equal(drawn[0].labels_BL, batch.labels_BL)


def test_without_a_name_a_document_is_its_own_guidance() -> None:
    assert rows(guide().texts(coded([], [NUM_CODES - 1]))) == TEXTS[:2]


def test_other_names_are_drawn_too_and_long_texts_cut() -> None:
    terms = names([[50, 51], [52]], [0, 0])
    documents = replace(titled(), names=replace(terms, is_term=np.ones(2, np.int32)))
    found = guide_for(TrainSpec(guidance=1), documents)
    assert found is not None
    torch.manual_seed(0)
    assert {tuple(rows(found.texts(coded([0])))[0]) for _ in range(60)} == {(2, 40), (50, 51), (52,)}
    assert [len(row) for row in rows(replace(found, most=3).texts(coded([1, 2, 3], [4])))] == [3, 2]


def test_data_without_titles_are_refused_in_one_line() -> None:
    assert guide_for(TrainSpec(), learnable(5)) is None
    with pytest.raises(SpecError, match=r"train\.guidance=1 reads names of codes, and these data have none"):
        objective_for(TrainSpec(guidance=1), learnable(5))


# --- The objective, by hand ----------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_equation() -> None:
    """Two documents, two readings each, then twice what guides them; w = 0.5, α = 0.7."""
    drawn = 2 * torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([[1, 0, 1], [0, 1, 0]]).repeat(4, 1).double()
    objective = Objective("bce", r_drop=0.7, guide=replace(guide(), weight=0.5))
    own, guided = drawn[:4], drawn[4:]
    expected = each_loss(own, labels[:4]).mean() + 0.7 * divergence(own[:2], own[2:])
    expected += 0.5 * (each_loss(guided, labels[4:]).mean() + 0.7 * divergence(guided[:2], guided[2:]))
    torch.testing.assert_close(objective(drawn, labels), expected)


def test_the_distance_is_one_less_the_cosine_over_gold_codes() -> None:
    """One document with codes 0 and 1: its vectors are (1, 0) and (0, 2), those of its guidance (1, 1) and (0, -1)."""
    vectors = torch.tensor([[[1.0, 0], [0, 2], [5, 5]], [[1, 1], [0, -1], [-5, 5]]])
    labels = torch.tensor([[1, 1, 0], [1, 1, 0]])
    found = distance([torch.zeros(2, 7), vectors], labels)
    assert found.item() == pytest.approx(((1 - 1 / math.sqrt(2)) + 2) / 2)
    assert distance([vectors], torch.zeros(2, 3)) == 0
    with pytest.raises(TrainingError, match="has no vector of a note for each code"):
        distance([torch.zeros(2, 7)], labels)


@pytest.mark.parametrize("name", ["caml", "laat", "plm-icd@cross", "msatt-kg", "jlan"])
def test_vectors_of_codes_are_those_that_the_output_layer_reads(name: str) -> None:
    model, batch = neural(name, dropout=0.0).eval(), coded([0, 1], [2])
    with code_vectors(model) as collected:
        logits_BL = model(batch)
    last = [each for each in collected if each.shape[:2] == logits_BL.shape][-1]
    layers = [layer for layer in model.modules() if isinstance(layer, LabelwiseLinear)]
    if layers:
        torch.testing.assert_close(layers[-1](last), logits_BL)


@pytest.mark.parametrize("count", [0, 2])
def test_guides_are_read_beside_documents_and_no_pair_of_theirs_is_dropped(count: int) -> None:
    model = neural("caml").eval()
    module = fabric("cpu").setup(model)
    batch = coded([0, 1], [2])
    objective = Objective("truncated", guide=guide(guidance_similarity=0.3))
    guides = guide().texts(batch)
    torch.manual_seed(4)
    both = objective.repeated(batch)
    assert both.tokens_BT.shape[0] == 4
    torch.manual_seed(4)
    found = objective_of(module, batch, objective, count)
    with code_vectors(model) as collected:
        model(both)
    expected = Objective("truncated")(model(batch), batch.labels_BL, count)
    expected += each_loss(model(replace_tokens(both)), guides.labels_BL).mean()
    expected += 0.3 * distance(collected, both.labels_BL)
    torch.testing.assert_close(found, expected)


def replace_tokens(both: Batch) -> Batch:
    """The second half of a batch."""
    return Batch(*(value.chunk(2)[1] for value in vars(both).values()))


# --- In training ---------------------------------------------------------------------------------------------------------


def fitted(path: Path, model: str = "caml", **settings: Any) -> tuple[nn.Module, State]:
    seed_everything(1)
    built = registry.build(model, small_task(16), embedding_size=16, filters=8, dropout=0.3)
    spec = TrainSpec().override({"learning_rate": 0.01, "monitor": "map", "patience": 99, **settings}, "train")
    checkpoint = path / store.CHECKPOINT
    state = train.fit(built, titled(40), titled(20, 1), spec, seed=3, on=fabric("cpu"), checkpoint=checkpoint)
    assert isinstance(built, nn.Module)
    return built, state


def test_a_guided_run_that_is_continued_has_the_same_bits(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"guidance": 1.0, "guidance_similarity": 0.5, "r_drop": 1.0, "clip_norm": 0.5}
    whole, _ = fitted(tmp_path / "whole", max_epochs=4, **settings)
    fitted(tmp_path / "parts", max_epochs=2, **settings)
    parts, state = fitted(tmp_path / "parts", max_epochs=4, **settings)
    assert len(state.history) == 4
    weights = parts.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in whole.state_dict().items())


def test_a_model_without_vectors_of_codes_is_told_so(tmp_path: Path) -> None:
    fitted(tmp_path / "one", "cnn", max_epochs=1, guidance=1.0)
    with pytest.raises(TrainingError, match=r"train\.guidance_similarity"):
        fitted(tmp_path / "other", "cnn", max_epochs=1, guidance=1.0, guidance_similarity=1.0)


@pytest.mark.slow
def test_it_is_told_so_before_anything_is_trained(icdbench: Call) -> None:
    changes = ("--set", "train.guidance=1", "--set", "train.guidance_similarity=1")
    status, out, err = icdbench("run", "--models", "lr,cnn", "--dataset", "demo", *changes)
    assert (status, out) == (2, "")
    assert "cnn: train.guidance_similarity: this model has no vector of a note for each code; leave it at 0" in err
    assert not Path("results").exists()


@pytest.mark.slow
def test_of_all_models_those_that_cannot_have_it_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    changes = {
        "train.guidance": 1.0,
        "train.guidance_similarity": 1.0,
        "data.max_tokens": 20,
        "data.embeddings": "random",
    }
    found = runner.resolved(Request(models=("all",), dataset="demo", changes=changes))
    systems = {each.spec.system for each in found}
    assert {"caml", "jlan", "lr"} <= systems
    assert "cnn" not in systems
    assert "cnn: train.guidance_similarity: this model has no vector of a note for each code" in caplog.text


def test_data_without_names_are_refused_before_anything_is_trained(few_notes: Path, icdbench: Call) -> None:
    words = ("--dataset", few_notes.name, "--set", "train.guidance=1", "--set", "data.embeddings=random")
    status, _, err = icdbench("run", "--models", "cnn", *words)
    assert (status, err.count("\n")) == (2, 1)
    assert "train.guidance=1 reads names of codes, and these data have none; leave it at 0, or for own data set" in err
    assert not list((few_notes.parent / "results").rglob("*.safetensors"))
    assert icdbench("run", "--models", "lr", *words)[0] == 0, "where nothing is trained it has no effect"


def test_the_similarity_has_an_effect_beside_guidance_alone() -> None:
    assert "guidance_similarity" in TrainSpec(guidance_similarity=1).idle()
    assert "guidance_similarity" not in TrainSpec(guidance=1).idle()
    assert {"guidance", "clip_norm"} <= TrainSpec().unchosen
    assert not {"guidance", "guidance_similarity", "clip_norm"} & TrainSpec(guidance=1, clip_norm=1).unchosen


def test_training_documents_of_a_corpus_know_the_names_of_its_codes(tmp_path: Path) -> None:
    path = write(tmp_path / "notes.csv", [{**row, "codes": "401.9;428.0"} for row in corpus_rows(30)])
    for _ in ("made", "from the cache"):
        corpus = prepared(path, min_documents=1, code_system="icd9cm", code_terms=True)
        assert corpus.splits["train"].descriptions is corpus.descriptions
        assert corpus.splits["train"].names is corpus.names is not None
        assert guide_for(TrainSpec(guidance=1), corpus.splits["train"]) is not None
        assert corpus.splits["test"].descriptions is None


@pytest.mark.parametrize(("most", "expected"), [(0.0, [3, 4]), (10.0, [3, 4]), (1.0, [0.6, 0.8])])
def test_gradients_of_a_larger_norm_are_scaled_down_to_it(most: float, expected: list[float]) -> None:
    layer = nn.Linear(2, 1, bias=False)
    optimizer = optimizer_of(layer, TrainSpec(clip_norm=most))
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    optimizer.step()
    assert layer.weight.grad.tolist()[0] == pytest.approx(expected, rel=1e-5)
