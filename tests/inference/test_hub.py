"""A trained run as a folder for Hugging Face; its card as huggingface_hub reads it. tests/inference/test_predict.py loads
one of every model."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Call
from finished import run_of
from huggingface_hub import ModelCard
from safetensors.numpy import load_file

from icdbench.inference import bundle, hub
from icdbench.records import RunRecord, store
from icdbench.settings import DataError, SpecError

pytestmark = pytest.mark.slow


@pytest.fixture
def record(finished: Path) -> RunRecord:
    return store.read_record(finished / "results" / run_of(finished, "caml"))


def of(record: RunRecord, dataset: str, **data: str) -> RunRecord:
    """The record as if the run were of another data set."""
    spec = record.spec
    changed = spec.model_copy(update={"dataset": dataset, "data": spec.data.model_copy(update=data)})
    return record.model_copy(update={"spec": changed})


def test_the_folder_predicts_what_the_run_does(record: RunRecord, finished: Path, icdbench: Call) -> None:
    status, out, err = icdbench("bundle", record.id, "--to", "hf", "made")
    assert status == 0, err
    assert record.id in out
    assert "words of the training notes" in err
    assert {path.name for path in (finished / "made").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    by_run = icdbench("predict", "note.txt", "--run", record.id, "--format", "jsonl")
    assert by_run[0] == 0
    assert icdbench("predict", "note.txt", "--bundle", "made", "--format", "jsonl") == by_run
    made = bundle.read(finished / "made")
    assert load_file(finished / "made" / "model.safetensors").keys() == made.weights.keys()


def test_the_card_says_what_a_hub_asks(record: RunRecord, finished: Path) -> None:
    made = bundle.of_run(record.id, finished / "results")
    hub.write(made, of(record, "codiesp-d50"), finished / "made", public=True)
    card = ModelCard.load(finished / "made" / "README.md")
    assert (card.data.library_name, card.data.license, card.data["private"]) == ("icdbench", "cc-by-4.0", False)
    assert hub.PRIVATE not in card.data.tags
    figures = {(each.metric_name, each.metric_value) for each in card.data.eval_results}
    assert ("f1_micro, threshold tuned on validation", round(record.metrics["test"]["tuned"]["f1_micro"], 6)) in figures
    assert "https://doi.org/10.5281/zenodo.3837305" in card.text
    assert "| caml.filters" in card.text


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("mimic-full", "MIMIC's data-use agreement covers"),
        ("mdace-icd10", "MIMIC's data-use agreement covers"),
        ("notes.csv", "whose terms icdbench does not know"),
    ],
)
def test_weights_that_may_not_be_published_are_not_marked_public(
    dataset: str, said: str, record: RunRecord, finished: Path
) -> None:
    made = bundle.of_run(record.id, finished / "results")
    with pytest.raises(SpecError, match=said):
        hub.write(made, of(record, dataset), finished / "made", public=True)
    assert not (finished / "made").exists()
    hub.write(made, of(record, dataset), finished / "made")
    card = ModelCard.load(finished / "made" / "README.md")
    assert (card.data.license, card.data["private"]) == ("other", True)
    assert hub.PRIVATE in card.data.tags
    assert f"**Do not publish this folder**: the weights of '{record.id}' are learnt from notes" in card.text


def test_weights_that_began_with_vectors_of_ones_own_are_not_marked_public(record: RunRecord, finished: Path) -> None:
    made = bundle.of_run(record.id, finished / "results")
    begun = of(record, "codiesp-d50", embeddings="file-0123456789abcdef")
    with pytest.raises(SpecError, match="word vectors, synonyms or an encoder whose terms"):
        hub.write(made, begun, finished / "made", public=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "hf", "made", "--public"), "--public: the weights of"),
        (("--to", "hg", "made"), "no format 'hg'; did you mean 'hf'?"),
        (("--to", "hf", "results"), "'results' is there already and not empty"),
        ((), "say where to write: --out FILE"),
        (("--out", "made", "--to", "hf", "made"), "say where to write: --out FILE"),
        (("--out", "made", "--public"), "--public belongs to --to hf"),
    ],
)
def test_a_wrong_request_is_one_line(
    words: tuple[str, ...], said: str, record: RunRecord, finished: Path, icdbench: Call
) -> None:
    status, out, err = icdbench("bundle", record.id, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (finished / "made").exists()


def test_a_changed_configuration_is_refused(record: RunRecord, finished: Path) -> None:
    hub.write(bundle.of_run(record.id, finished / "results"), record, finished / "made")
    path = finished / "made" / "config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"max_tokens": 2500', '"max_tokens": 250'), encoding="utf-8"
    )
    with pytest.raises(DataError, match="its bytes were altered"):
        bundle.read(finished / "made")
    path.unlink()
    assert not bundle.is_folder(finished / "made")
