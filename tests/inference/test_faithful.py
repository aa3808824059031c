"""Explanations measured: figures by hand, a model whose reasons are known, every model, and stored evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Call
from corpora import Row
from runs import train
from systems import NUM_CODES, NUM_TOKENS, TEXT, predictor

import icdbench.inference.explain as explaining
from icdbench import registry
from icdbench.inference import faithfulness as faithful
from icdbench.inference.explain import Pass, methods
from icdbench.inference.faithfulness import Agreement, Measured, evaluate
from icdbench.inference.predict import Predictor
from icdbench.records import store
from icdbench.records.record import RunRecord
from icdbench.settings import DataError
from icdbench.training import score
from icdbench.types import UNKNOWN, Document


def planted(documents: int = 12) -> tuple[list[Document], dict[str, dict[str, list[tuple[int, int]]]]]:
    """Validation and test notes of forty words, in which word 2 + 3·l, once or twice, is the evidence of code l."""
    generator = np.random.default_rng(5)
    made, evidence = [], {}
    for number in range(documents):
        codes = generator.permutation(NUM_CODES)[:2]
        named = [*(2 + 3 * codes), 2 + 3 * codes[0]]
        words = [*named, *generator.integers(30, NUM_TOKENS, 40 - len(named))]
        text, spans = "", dict[str, list[tuple[int, int]]]()
        for word in generator.permutation(words):
            begin = len(text)
            text += f"w{word} "
            if word < 30:
                spans.setdefault(f"{(word - 2) // 3}.0", []).append((begin, len(text) - 1))
        id_, split = f"n{number}", "validation" if number % 2 else "test"
        made.append(Document(id_, text, tuple(f"{code}.0" for code in codes), split))
        evidence[id_] = spans
    return made, evidence


# --- Figures, by hand ----------------------------------------------------------------------------------------------------


def test_shares_are_of_the_weight_that_speaks_for_the_code() -> None:
    np.testing.assert_allclose(faithful.shares(np.array([3.0, -5, 1, 0])), [0.75, 0, 0.25, 0])
    np.testing.assert_array_equal(faithful.shares(np.array([-1.0, 0])), [0, 0])


def test_a_word_is_evidence_if_it_overlaps_a_span() -> None:
    words = [(0, 4), (5, 9), (10, 14), (15, 19)]
    np.testing.assert_array_equal(faithful.marks(words, [(5, 9)]), [False, True, False, False])
    np.testing.assert_array_equal(faithful.marks(words, [(3, 6), (16, 17)]), [True, True, False, True])
    np.testing.assert_array_equal(faithful.marks(words, [(4, 5), (9, 10), (19, 30)]), [False] * 4)


def agreement(note: int, shares: list[float], evidence: list[int]) -> Agreement:
    return Agreement(note, np.array(shares), np.array(evidence, np.bool_))


def test_the_boundary_is_that_of_the_best_f1_over_all_words() -> None:
    # F1 from 0.6: 2·1/(1 + 3); from 0.4: 2·2/(2 + 3); from 0.3, two words at once: 2·3/(4 + 3); from 0.1: 2·3/(6 + 3)
    pairs = [agreement(0, [0.6, 0.3, 0.1, 0], [1, 1, 0, 0]), agreement(1, [0.4, 0.3, 0.1, 0], [1, 0, 0, 0])]
    assert faithful.boundary(pairs) == 0.3
    assert faithful.boundary(pairs[1:]) == 0.4
    assert faithful.boundary([agreement(0, [0, 0], [1, 0])]) == 0


def test_figures_are_those_counted_by_hand() -> None:
    pairs = [
        agreement(0, [0.5, 0.3, 0.2, 0], [1, 0, 1, 0]),  # chosen: two words, one of them evidence; precision 1, 2/3
        agreement(1, [0.6, 0.4, 0, 0], [0, 1, 0, 0]),  # two chosen, one evidence; precision 1/2
        agreement(1, [0, 0, 0, 0], [0, 0, 0, 1]),  # nothing chosen, all words equal: precision 1/4
    ]
    measured = Measured(pairs, [(0, 0.4, 0.1), (1, 0.2, -0.1), (1, 0.3, 0.3)])
    weights_RN = np.array([[1.0, 1], [0, 1], [0, 0]])
    found = faithful.figures(measured, 0.25, weights_RN)
    for key, values in {
        "comprehensiveness": [0.9 / 3, 0.5 / 2],
        "sufficiency": [0.3 / 3, 0.2 / 2],
        "precision": [2 / 4, 1 / 2],
        "recall": [2 / 4, 1 / 2],
        "f1": [4 / 8, 2 / 4],
        "span_f1": [0.0, 0.0],
        "iou": [(1 / 3 + 1 / 2) / 3, 1 / 2 / 2],
        "auprc": [(5 / 6 + 1 / 2 + 1 / 4) / 3, (1 / 2 + 1 / 4) / 2],
        "hit@1": [1 / 3, 0],
    }.items():
        np.testing.assert_allclose(found[key][:2], values, atol=1e-12, err_msg=key)
        assert np.isnan(found[key][2])
    assert set(faithful.figures(measured, None, weights_RN)) == set(faithful.FAITHFULNESS)


def test_a_span_is_found_if_its_words_are_chosen_from_first_to_last() -> None:
    assert faithful.runs(np.array([1, 1, 0, 1, 0, 1], np.bool_)) == {(0, 2), (3, 4), (5, 6)}
    assert faithful.runs(np.zeros(3, np.bool_)) == set()
    # Chosen are words 0 and 1, and 3 to 5; of the spans 0 to 1 and 4 to 5 the first is found.
    pairs = [agreement(0, [0.2, 0.2, 0, 0.2, 0.2, 0.2], [1, 1, 0, 0, 1, 1])]
    found = faithful.figures(Measured(pairs, []), 0.2, np.ones((1, 1)))
    assert found["span_f1"][0] == 2 * 1 / (2 + 2)
    assert found["iou"][0] == 4 / 5


def test_words_are_taken_away_in_the_order_of_their_weights() -> None:
    """By hand for ten words: of 1, 5 and 10 % a single one, of 20 % two, of 50 % five."""
    model = predictor("lr")
    tokens_T = np.array([2, 40, 41, 42, 5, 44, 45, 46, 47, 2], np.int32)
    weights_T = np.array([9.0, 1, 0, -1, 8, 0, 0, 0, 0, 7])
    ((comprehensiveness, sufficiency),) = faithful.faithfulness(model, tokens_T, [(weights_T, 0)])

    def probability(kept: list[int]) -> float:
        row_T = np.where(np.isin(np.arange(10), kept), tokens_T, UNKNOWN)
        return float(score.probabilities(model.scores(model.documents([row_T])))[0, 0])

    order = [0, 4, 9, 1, 2, 5, 6, 7, 8, 3]
    counts = [1, 1, 1, 2, 5]
    whole = probability(order)
    assert comprehensiveness == pytest.approx(np.mean([whole - probability(order[k:]) for k in counts]))
    assert sufficiency == pytest.approx(np.mean([whole - probability(order[:k]) for k in counts]))


# --- Models --------------------------------------------------------------------------------------------------------------


def test_of_a_model_whose_reasons_are_known_the_right_words_are_found() -> None:
    """A linear model of notes in which a word is the reason: its coefficients are evidence and faithful, drawn ones are not."""
    documents, evidence = planted()
    found, counts = evaluate(predictor("lr"), documents, evidence)
    assert counts["test documents"] == counts["validation documents"] == 6
    assert counts["codes with evidence"] == 12
    exact, drawn = found["coefficients"].figures, found["random"].figures
    assert exact["hit@1"] == exact["auprc"] == exact["precision"] == 1
    assert exact["recall"] > 0.7  # a word that occurs twice has a smaller share
    assert drawn["auprc"] < 0.3
    assert drawn["f1"] < 0.3
    assert exact["comprehensiveness"] > drawn["comprehensiveness"] + 0.1
    assert exact["sufficiency"] < drawn["sufficiency"] - 0.1
    np.testing.assert_allclose(  # a linear model loses what the word adds
        list(found["occlusion"].figures.values()), list(exact.values()), atol=1e-5
    )
    for trusted in found.values():
        assert trusted.boundary is not None
        for key, (low, high) in trusted.intervals.items():
            assert low <= trusted.figures[key] <= high


@pytest.mark.slow
@pytest.mark.parametrize("system", [*registry.entries(), "lr@tfidf", "leam@ngram", "jlan@no-label-softmax"])
def test_every_method_of_every_model_is_measured(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "STEPS", 4)
    monkeypatch.setattr(explaining, "WINDOWS", 20)
    documents, evidence = planted(4)
    model = predictor(system)
    found, _ = evaluate(model, documents, evidence)
    assert list(found) == list(methods(Pass(model, TEXT)))
    for name, trusted in found.items():
        whole = {*faithful.FAITHFULNESS, *faithful.AGREEMENT}
        assert whole - {"precision"} <= set(trusted.figures) <= whole, name  # of no chosen word there is no precision
        assert all(-1 <= value <= 1 for value in trusted.figures.values()), name
    if system in {"lr", "cnn", "jlan", "jlan-released"}:  # which have all methods between them
        assert evaluate(model, documents, evidence) == (found, _)


@pytest.mark.slow
def test_without_evidence_only_faithfulness_is_measured() -> None:
    documents, evidence = planted(8)
    model = predictor("caml")
    found, counts = evaluate(model, documents, None)
    assert set(found["attention"].figures) == set(faithful.FAITHFULNESS)
    assert counts["codes with evidence"] == counts["validation documents"] == 0
    whole, _ = evaluate(model, documents, evidence)
    assert found["attention"].figures["sufficiency"] == whole["attention"].figures["sufficiency"]


def test_documents_are_drawn_by_the_seed_alone_and_are_readable_and_coded() -> None:
    documents, _ = planted(20)
    documents += [Document("empty", "71 500", ("1.0",), "test"), Document("other", "w2 w5", ("999",), "test")]
    names = [[each.id for each in faithful.drawn(documents, "test", ["1.0"], 30, seed)] for seed in (0, 1)]
    having = [each.id for each in documents if each.split == "test" and "1.0" in each.codes]
    assert names == [having, having]
    few = [
        [each.id for each in faithful.drawn(documents, "test", (f"{i}.0" for i in range(9)), 4, s)] for s in (0, 0, 1)
    ]
    assert few[0] == few[1] != few[2]
    _, counts = evaluate(predictor("lr"), documents, None, 30)
    assert counts["test documents"] == 10
    with pytest.raises(DataError, match="no test document of 'small' has words and a code that the model knows"):
        evaluate(predictor("lr"), documents[-2:], None)


def test_documents_whose_evidence_nobody_marked_are_not_drawn() -> None:
    documents, evidence = planted(20)
    few = {id_: of for number, (id_, of) in enumerate(evidence.items()) if number < 4}
    _, counts = evaluate(predictor("lr"), documents, few)
    assert (counts["test documents"], counts["validation documents"]) == (2, 2)


def test_evidence_that_the_model_does_not_read_counts_for_nothing() -> None:
    """Beyond the longest document, or of codes that the document does not have."""
    model = predictor("lr")
    contents = model.bundle.contents.model_copy(update={"max_tokens": 3})
    cut = Predictor(type(model.bundle)(contents, model.bundle.weights))
    notes = [Document(split, "w30 w31 w32 w2", ("0.0", "1.0"), split) for split in ("validation", "test")]
    beyond = {note.id: {"0.0": [(12, 14)], "1.0": [(0, 3)], "5.0": [(0, 3)]} for note in notes}
    assert evaluate(cut, notes, beyond)[1]["codes with evidence"] == 1
    assert evaluate(model, notes, beyond)[1]["codes with evidence"] == 2


# --- Stored runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICDBENCH_CACHE", str(folder / "cache"))
        record, _ = train(folder, "lr")
    return folder, record


@pytest.mark.slow
def test_the_command_measures_once_and_prints_what_is_stored(icdbench: Call, trained: tuple[Path, RunRecord]) -> None:
    folder, record = trained
    place = store.folder(folder / "results", record.spec)
    words = ("explain", "--evaluate", "--results", folder / "results")
    status, _, err = icdbench(*words)
    assert status == 2
    assert "has its explanations measured; name some with --run" in err
    asked = (*words, "--run", record.id, "--dataset", folder / "notes.csv", "--documents", 5)
    status, out, err = icdbench(*asked)
    assert (status, err) == (0, "")
    assert out.startswith("**Explanations on notes")
    assert "These data come without marked evidence" in out
    assert "AUPRC" not in out
    assert "| lr " in out
    assert "5 test documents (seed 0)" in out
    kept = json.loads((place / "explain.json").read_text(encoding="utf-8"))
    assert list(kept["methods"]) == ["coefficients", "occlusion", "random"]
    (place / "model.safetensors").rename(folder / "weights")
    assert icdbench(*asked) == icdbench(*words) == (0, out, "")
    status, _, err = icdbench(*asked[:-1], 6)
    assert status == 2
    assert "has no weights" in err
    (folder / "weights").rename(place / "model.safetensors")
    status, more, _ = icdbench(*asked[:-1], 6)
    assert (status, more != out) == (0, True)
    status, out, _ = icdbench(*words, "--format", "csv")
    assert out.splitlines()[0] == "table,system,method,comprehensiveness ↑,sufficiency ↓,notes"


def long_rows() -> list[Row]:
    """Documents of which a word says the code; those of validation and test have up to 1,500 words."""
    made = []
    for number in range(30):
        length = [65, 130, 131, 300, 1500][number % 5] if number >= 20 else 40
        code, word = [("038.9", "sepsis"), ("428.0", "edema"), ("250.00", "insulin")][number % 3]
        split = "train" if number < 20 else "validation" if number < 25 else "test"
        words = ["the", word, *(f"filler{place % 17}" for place in range(length - 2))]
        made.append({"id": str(number), "text": " ".join(words), "codes": code, "split": split})
    return made


@pytest.mark.slow
@pytest.mark.parametrize("system", ["caml", "cnn", "jlan"])
def test_explanations_of_long_notes_are_measured(
    icdbench: Call, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "STEPS", 4)
    monkeypatch.setattr(explaining, "WINDOWS", 20)
    record, _ = train(tmp_path, system, long_rows())
    words = ("explain", "--evaluate", "--run", record.id, "--documents", 5, "--dataset", tmp_path / "notes.csv")
    status, out, err = icdbench(*words)
    assert (status, err) == (0, "")
    assert "5 test documents" in out
    assert f"| {system} " in out


@pytest.mark.slow
def test_what_was_measured_of_another_training_is_measured_again(trained: tuple[Path, RunRecord]) -> None:
    folder, record = trained
    place = store.folder(folder / "results", record.spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICDBENCH_CACHE", str(folder / "cache"))
        request = faithful.Sampling(folder / "results", 2, dataset=str(folder / "notes.csv"))
        _, first = faithful.of_run(record.id, request)
        store.save_explained(place, first.model_copy(update={"trained": "long ago", "methods": {}}))
        assert faithful.of_run(record.id, request)[1].methods == first.methods


@pytest.mark.slow
def test_damaged_and_foreign_evaluations_are_named(
    trained: tuple[Path, RunRecord], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, record = trained
    assert store.load_explained(tmp_path, record) is None
    (tmp_path / "explain.json").write_text("{}", encoding="utf-8")
    assert store.load_explained(tmp_path, record) is None
    assert "explain.json is damaged" in caplog.text
    other = {"run": "other", "trained": "", "version": "1", "documents": 1, "seed": 0, "counts": {}, "methods": {}}
    (tmp_path / "explain.json").write_text(json.dumps({**other, "created": ""}), encoding="utf-8")
    assert store.load_explained(tmp_path, record) is None
    assert "it belongs to run other, not to" in caplog.text


def test_requests_that_make_no_sense_are_one_line(icdbench: Call) -> None:
    for words, said in (
        (("note.txt", "--evaluate"), "--evaluate measures every method of runs: leave out the note"),
        (("--evaluate", "--method", "random"), "--evaluate measures every method of runs: leave out the note"),
        (("--evaluate", "--format", "text"), "no format 'text'"),
        (("--evaluate", "--seed", 1), "name them with --run"),
        (("--evaluate", "--run", "demo/lr/1-00000000"), "no runs in 'results'"),
        ((), "name a note, or - for standard input"),
        (("note.txt", "--documents", 3), "belong to --evaluate"),
        (("note.txt", "--run", "a", "--run", "b"), "a note is explained by one run"),
    ):
        status, out, err = icdbench("explain", *words)
        assert (status, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1


def test_ctrl_c_is_a_line(icdbench: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(faithful, "of_run", stopped)
    status, out, err = icdbench("explain", "--evaluate", "--run", "demo/lr/1-00000000")
    assert (status, out, err) == (130, "", "icdbench: stopped; nothing half-written is kept\n")
