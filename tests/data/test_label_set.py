"""`data.label_set=system`: every code of the code system can be predicted; and `phrases@titles`, which does so by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import codiesp
import finished
import numpy as np
import pytest
from conftest import Call
from corpora import prepared, same

import icdbench.run as runner
from icdbench.codes import icd9
from icdbench.data import datasets, encode
from icdbench.inference import bundle
from icdbench.inference.explain import explain
from icdbench.inference.predict import Predictor
from icdbench.records import comparable, store
from icdbench.records.record import RunRecord
from icdbench.run import Request
from icdbench.settings import DataError, SpecError, UnsuitableError
from icdbench.spec import DataSpec
from icdbench.types import Names

OWN: dict[str, Any] = {"code_system": "icd9cm", "min_documents": 1}


def titled(number: int) -> list[tuple[str, str]]:
    """So many codes whose titles are of two words, no title twice."""
    by_title = {title: code for code, title in icd9.titles()[icd9.DIAGNOSIS].items() if len(title.split()) == 2}
    plain = [(code, title) for title, code in by_title.items() if title.replace(" ", "").isalpha()]
    return sorted(plain)[:number]


def write(path: Path, spelled: str = "{}") -> Path:
    """40 documents, each of which alone has the code that its text names by its title: validation and test have new codes."""
    lines = ["id,text,codes,split"]
    for number, (code, title) in enumerate(titled(40)):
        split = "train" if number < 24 else "validation" if number < 30 else "test"
        lines.append(f"{number},the {title.lower()} was treated,{spelled.format(code)},{split}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write(tmp_path / "notes.csv")


# --- The label set -------------------------------------------------------------------------------------------------------


def test_the_codes_of_training_come_first_and_those_of_the_system_follow(notes: Path) -> None:
    usual, whole = (prepared(notes, **OWN, label_set=which) for which in ("train", "system"))
    assert whole.vocabulary.codes[:24] == usual.vocabulary.codes
    assert set(whole.vocabulary.codes) == set(icd9.icd9cm_codes())
    assert [int(usual.splits[split].unseen.sum()) for split in ("train", "validation", "test")] == [0, 6, 10]
    assert [int(whole.splits[split].unseen.sum()) for split in ("train", "validation", "test")] == [0, 0, 0]
    assert whole.facts["training_codes"] == 24
    assert whole.facts["unseen_in_training"] == {"train": 0, "validation": 6, "test": 10}
    assert whole.titles[-1]


def test_codes_are_spelled_as_those_of_training(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text(write(path).read_text().replace(".", ""))
    codes = prepared(path, **OWN, label_set="system").vocabulary.codes
    assert not any("." in code for code in codes)
    assert {"4280", "V103"} <= set(codes)


def test_nothing_changes_by_default_and_nothing_beside_the_most_frequent_codes(notes: Path) -> None:
    assert {"label_set", "code_terms"} <= DataSpec().unchosen
    opened = datasets.open(str(notes), None, OWN)
    assert encode._key(opened, "") == encode._key(datasets.open(str(notes), None, {**OWN, "label_set": "train"}), "")
    frequent = {**OWN, "top_codes": 3}
    assert "label_set" in DataSpec(top_codes=3, label_set="system").idle(word_vectors=True)
    assert "label_set" not in DataSpec(label_set="system").idle(word_vectors=True)
    assert same(prepared(notes, **frequent), prepared(notes, **frequent, label_set="system"))


def test_a_system_whose_codes_are_not_known_is_told_in_a_line(few_notes: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SpecError,
        match=r": the coding system of 'notes\.csv' is not known; leave it at train, or set data\.code_system$",
    ):
        prepared(few_notes, label_set="system")
    with pytest.raises(
        SpecError, match=r": 'codiesp-p' is coded in ICD-10-PCS, whose codes are not known; leave it at train$"
    ):
        prepared("codiesp-p", codiesp.small(tmp_path / "codiesp"), label_set="system", min_documents=1)


@pytest.mark.slow
def test_codiesp_has_diagnoses_of_all_levels_as_it_spells_them(tmp_path: Path) -> None:
    root = codiesp.small(tmp_path)
    found = prepared("codiesp-d", root, label_set="system", code_terms=True, min_documents=1)
    codes = found.vocabulary.codes
    assert codes[:4] == prepared("codiesp-d", root, min_documents=1).vocabulary.codes
    assert len(codes) == len(set(codes)) > 98_000
    assert {"n18", "n18.9", "w19.xxx", "w19.xxxa", "s00.33x"} <= set(codes)
    assert found.names is not None
    assert found.names.is_term.sum() > 10_000
    again = prepared("codiesp-d", root, label_set="system", code_terms=True, min_documents=1)
    assert same(found, again)
    assert again.names is not None
    for name in Names.__dataclass_fields__:
        assert np.array_equal(getattr(found.names, name), getattr(again.names, name))
    categories = prepared("codiesp-d3", root, label_set="system", min_documents=1).vocabulary.codes
    assert {len(code) for code in categories} == {3}


def test_words_of_names_are_known_whatever_the_documents(notes: Path) -> None:
    usual, named = (prepared(notes, **{**OWN, "min_documents": 10}, code_terms=terms) for terms in (False, True))
    assert usual.names is None
    assert named.names is not None
    assert set(usual.vocabulary.tokens) < set(named.vocabulary.tokens)
    words = {word for _, title in titled(24) for word in title.lower().split()}
    assert words <= set(named.vocabulary.tokens)
    assert not words <= set(usual.vocabulary.tokens)


# --- phrases@titles ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> Request:
    folder, changes = tmp_path_factory.mktemp("titles"), {"data.code_system": "icd9cm", "data.min_documents": 1}
    notes = write(folder / "notes.csv")
    return Request(["phrases@titles", "phrases"], str(notes), changes=changes, results=folder / "results", device="cpu")


@pytest.fixture(scope="module")
def runs(request_: Request) -> dict[str, RunRecord]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICDBENCH_CACHE", str(request_.results.with_name("cache")))
        made = [runner.execute(planned, request_) for planned in runner.expand(request_)]
    return {record.spec.system: record for record in made}


@pytest.fixture
def _their_cache(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICDBENCH_CACHE", str(request_.results.with_name("cache")))


@pytest.mark.slow
@pytest.mark.usefixtures("_their_cache")
def test_codes_without_training_documents_are_predicted_and_explained(
    runs: dict[str, RunRecord], request_: Request
) -> None:
    titles, phrases = runs["phrases@titles"], runs["phrases"]
    assert phrases.metrics["test"]["tuned"]["recall_micro"] == 0
    assert titles.metrics["test"]["tuned"]["f1_micro"] > 0.9
    assert titles.metrics["test"]["tuned"]["recall_micro[0]"] > 0.9
    assert titles.data.num_codes == len(icd9.icd9cm_codes())
    trained = bundle.of_run(titles.id, request_.results)
    path = request_.results / "one.icdbench"
    bundle.write(trained, path)
    code, title = titled(40)[35]
    text = f"she had {title.upper()}"
    for predictor in (Predictor(trained), Predictor(bundle.read(path))):
        (best, *_) = predictor.predict([text], 1)[0]
        assert (best.code, best.title, best.above) == (code, title, True)
        found = explain(predictor, text, code)
        weights = {text[start:end]: weight for (start, end), weight in zip(found.spans, found.weights, strict=True)}
        assert [weights["she"], weights["had"]] == [0, 0]
        assert min(weights[word] for word in title.upper().split()) > 1


@pytest.mark.slow
def test_both_stand_in_one_table_without_what_does_not_compare(
    runs: dict[str, RunRecord], request_: Request, icdbench: Call
) -> None:
    assert len(comparable.blocks(runs.values())) == 2
    (block,) = comparable.blocks(runs.values(), any_label_set=True)
    assert [record.spec.system for record in block] == ["phrases", "phrases@titles"]
    status, out, _ = icdbench("tables", "--results", request_.results)
    assert status == 0
    (line,) = [line for line in out.splitlines() if line.startswith("| phrases@titles")]
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    assert cells[:3] == [""] * 3
    assert "" not in cells[3:8]
    assert f"- phrases@titles: any of the {len(icd9.icd9cm_codes()):,} codes" in out
    assert "not tested" not in out.lower()
    alone = store.load_records(request_.results)
    assert not comparable.beyond_training([record for record in alone if record.spec.system == "phrases@titles"])
    status, _, err = icdbench(
        "compare", "phrases", "phrases@titles", "--dataset", request_.dataset, "--results", request_.results
    )
    assert status == 2
    assert "data.label_set" in err


def test_what_the_names_need_is_told_in_a_line(notes: Path, tmp_path: Path) -> None:
    asked = Request(
        ["phrases"],
        str(notes),
        changes={"phrases.names": True, "data.code_system": "icd9cm"},
        results=tmp_path / "results",
    )
    with pytest.raises(SpecError, match=r"set data\.code_terms=true, too$"):
        runner.execute(runner.expand(asked)[0], asked)
    few = finished.write_notes(tmp_path / "few.csv")
    without = {"data.label_set": "train", "data.min_documents": 1}
    with pytest.raises(UnsuitableError, match="phrases@titles needs the codes' titles, and these data have none"):
        runner.expand(Request(["phrases@titles"], str(few), changes=without, results=tmp_path / "results"))


def test_an_unknown_label_set_is_refused() -> None:
    with pytest.raises((SpecError, DataError), match=r"data\.label_set='all'"):
        DataSpec().override({"label_set": "all"}, "data")
