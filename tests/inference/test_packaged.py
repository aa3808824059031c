"""The coder that comes with the package: what `predict`, `explain` and `serve` use where no model is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Call
from places import ROOT

from icdbench.inference import bundle
from icdbench.inference.predict import Predictor
from icdbench.records import store

NOTE = "A 63-year-old woman with arterial hypertension and diabetes mellitus. She denied fever. CT showed edema."
pytestmark = pytest.mark.slow


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note.txt"
    path.write_text(NOTE, encoding="utf-8")
    return path


def test_a_note_is_coded_at_once(icdbench: Call, note: Path, caplog: pytest.LogCaptureFixture) -> None:
    status, out, err = icdbench("predict", note, "--top", "3")
    assert status == 0, err
    assert "i10" in out.casefold()
    assert "CC BY 4.0" in caplog.text
    assert "--bundle FILE" in caplog.text


def test_its_evidence_is_shown(icdbench: Call, note: Path) -> None:
    status, out, err = icdbench("explain", note, "--code", "i10")
    assert status == 0, err
    assert "hypertension" in out


def test_it_is_a_committed_run_and_small() -> None:
    packaged = bundle.read(bundle.PACKAGED)
    assert bundle.PACKAGED.stat().st_size < 5_000_000
    record = store.load_record(ROOT / "results" / packaged.contents.run)
    assert record is not None
    assert record.spec.system == "stacked@affirmed"
    assert len(packaged.contents.codes) == record.data.num_codes == 1767
    notice = (bundle.PACKAGED.parent / "NOTICE.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in notice


def test_it_scores_any_text() -> None:
    predictor = Predictor(bundle.read(bundle.PACKAGED))
    found = predictor.scores(predictor.encode([NOTE, "", "血", "word " * 20_000]))
    assert found.shape == (4, 1767)
    assert np.isfinite(found).all()


DENIED = (
    "No {}.",
    "The patient denies {}.",
    "Without {}.",
    "Absence of {}.",
    "He has no fever, cough or {}.",
    "{} was negative.",
)
MENTIONS = {"r10.9": "abdominal pain", "r50.9": "fever", "i10": "arterial hypertension", "e11.9": "diabetes mellitus"}


def test_what_a_note_denies_is_not_coded() -> None:
    predictor = Predictor(bundle.read(bundle.PACKAGED))
    codes = bundle.read(bundle.PACKAGED).contents.codes
    for code, words in MENTIONS.items():
        notes = [f"The patient had {words}.", *(each.format(words) for each in DENIED), f"Family history of {words}."]
        found = predictor.scores(predictor.encode(notes))[:, codes.index(code)]
        assert found[0] > 0, code
        assert (found[1:] < 0).all(), (code, found)


AFFIRMED = ("No rash. {}.", "No rash; {}.", "no rash\n\n{}", "Denies cough. Reports {}.", "Rash: no. {}: yes.")


def test_what_another_sentence_denies_is_coded() -> None:
    packaged = bundle.read(bundle.PACKAGED)
    predictor = Predictor(packaged)
    for code, words in MENTIONS.items():
        found = predictor.scores(predictor.encode([each.format(words) for each in AFFIRMED]))
        assert (found[:, packaged.contents.codes.index(code)] > 0).all(), (code, found)
