"""Files of a run belong to it: those of another run in their place are refused by whoever reads them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from conftest import Call
from finished import once, write_notes

import icdbench.run as runner
from icdbench.presentation import plots
from icdbench.records import store
from icdbench.run import Request
from icdbench.settings import DataError
from icdbench.training import checkpointing

pytestmark = pytest.mark.slow

SETTINGS = {
    "caml": {"data.min_documents": 1, "train.max_epochs": 2, "caml.filters": 4},
    "lr": {"data.min_documents": 1},
}
SMALL = [word for name, value in SETTINGS["caml"].items() for word in ("--set", f"{name}={value}")]


def train(folder: Path) -> None:
    """Notes, two runs of caml, two of lr, and the cache."""
    folder.mkdir()
    notes = str(write_notes(folder / "notes.csv"))
    with mock.patch.dict(os.environ, ICDBENCH_CACHE=str(folder / "cache")):
        for model, changes in SETTINGS.items():
            request = Request([model], notes, seeds=(1, 2), changes=changes, results=folder / "results")
            for planned in runner.expand(request):
                runner.execute(planned, request)


@pytest.fixture
def two(session_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The folders of two seeds of caml; two of lr lie beside them."""
    shutil.copytree(once(session_folder / "two", train), tmp_path, dirs_exist_ok=True)
    one, other = sorted((tmp_path / "results" / "notes.csv" / "caml").iterdir())
    return one, other


READERS: dict[str, tuple[tuple[str, ...], str]] = {
    "compare": (("compare", "caml", "lr", "--dataset", "notes.csv", "--resamples", "100"), store.PREDICTIONS),
    "remeasure": (("runs", "--remeasure"), store.PREDICTIONS),
    "export": (("export", "shared", "--with-predictions"), store.PREDICTIONS),
    "predict": (("predict", "note.txt", "--run", "RUN"), store.WEIGHTS),
    "bundle": (("bundle", "RUN", "--out", "m.icdbench"), store.WEIGHTS),
    "explain": (("explain", "note.txt", "--run", "RUN"), store.WEIGHTS),
}


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("reader", READERS)
def test_the_file_of_another_run_is_refused(
    reader: str,
    signed: bool,  # noqa: FBT001
    icdbench: Call,
    two: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    words, name = READERS[reader]
    one, other = two
    if not signed:
        for folder in two:
            record = store.load_record(folder)
            assert record is not None
            store.write_record(folder, record.model_copy(update={"digest": "", "files": {}}))
    before = (one / store.RECORD).read_bytes()
    (tmp_path / "note.txt").write_text("the fever was treated")
    words = tuple(word.replace("RUN", one.relative_to(tmp_path / "results").as_posix()) for word in words)
    status, _, err = icdbench(*words)
    assert status == 0, err
    shutil.rmtree(tmp_path / "shared", ignore_errors=True)
    if not signed:
        (one / store.RECORD).write_bytes(before)  # measuring again has signed it
    shutil.copy(other / name, one / name)
    status, out, err = icdbench(*words)
    assert status == (1 if reader == "remeasure" else 2)
    assert err.count("\n") == 1
    assert str(one.relative_to(tmp_path) / name) in err
    assert ("is not the file that was stored with run" if signed else "belongs to run") in err
    assert (one / store.RECORD).read_bytes() == before, "no record is written anew from another run's predictions"
    assert reader == "remeasure" or not out
    assert not (tmp_path / "shared").exists()


def test_predictions_that_name_no_run_are_read_only_beside_a_signed_record(two: tuple[Path, Path]) -> None:
    folder, record = two[0], store.load_record(two[0])
    assert record is not None
    with store.opened_predictions(folder, record) as stored:
        arrays = {name: stored[name] for name in stored if name != store.RUN}
    np.savez_compressed(folder / store.PREDICTIONS, **arrays)
    assert store.load_predictions(folder, store.sign(folder, record)).keys() == {"validation", "test"}
    with pytest.raises(DataError, match=f"does not say that it belongs to run '{record.id}'"):
        store.load_predictions(folder, record.model_copy(update={"digest": "", "files": {}}))


def test_figures_and_report_leave_out_the_predictions_of_another_run(
    icdbench: Call, two: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = two
    shutil.copy(other / store.PREDICTIONS, one / store.PREDICTIONS)
    assert icdbench("report")[0] == 0
    assert "is not the file that was stored with run" in caplog.text
    caplog.clear()
    assert icdbench("figures", "figure2", "--out", "figures")[0] == 0
    assert "is not the file that was stored with run" in caplog.text


def test_a_record_in_the_folder_of_another_run_is_left_out(
    two: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = two
    shutil.copy(other / store.RECORD, one / store.RECORD)
    records = store.load_records(tmp_path / "results")
    assert [record.spec.seed for record in records if record.spec.model == "caml"] == [2]
    assert f"it is the record of {other.relative_to(tmp_path / 'results')}" in caplog.text


@pytest.mark.parametrize(
    "change",
    [("id",), ("spec", "seed"), ("spec", "model"), ("spec", "train", "patience"), ("parameters",), ("created",)],
)
def test_an_edited_record_is_left_out_and_one_without_a_digest_is_marked(
    change: tuple[str, ...], icdbench: Call, two: tuple[Path, Path], tmp_path: Path
) -> None:
    path = two[0] / store.RECORD
    content = json.loads(path.read_bytes())
    place = content
    for name in change[:-1]:
        place = place[name]
    place[change[-1]] = 77 if isinstance(place[change[-1]], int) else "2026"
    path.write_text(json.dumps(content))
    assert len(store.load_records(tmp_path / "results")) == 3
    path.write_text(json.dumps(content | {"digest": ""}))
    status, out, _ = icdbench("runs")
    assert status == 0
    assert out.count("(unsigned)") == (change in {("spec", "train", "patience"), ("parameters",), ("created",)})


def test_a_checkpoint_of_other_settings_is_not_continued(
    few_notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"data.min_documents": 1, "train.max_epochs": 3, "caml.filters": 4}

    def stopped(rate: float) -> tuple[Request, Path]:
        request = Request(
            ["caml"], str(few_notes), changes={**changes, "train.learning_rate": rate}, results=tmp_path / "results"
        )
        (planned,) = runner.expand(request)
        with monkeypatch.context() as patch:
            patch.setattr(checkpointing, "CHECKPOINT_SHARE", 1.0)
            patch.setattr(store, "save_run", lambda *_: (_ for _ in ()).throw(OSError))
            with pytest.raises(OSError):  # noqa: PT011
                runner.execute(planned, request)
        return request, store.folder(request.results, planned.spec) / store.CHECKPOINT

    (request, one), (_, other) = stopped(0.01), stopped(0.1)
    assert one.exists()
    for name in (store.CHECKPOINT, store.PREVIOUS):
        shutil.copy(other.with_name(name), one.with_name(name))
    (planned,) = runner.expand(request)
    record = runner.execute(planned, request)
    assert f"another run's (it belongs to {other.parent.relative_to(tmp_path / 'results')})" in caplog.text
    fresh = runner.execute(
        planned, Request(["caml"], str(few_notes), changes=request.changes, results=tmp_path / "fresh")
    )
    assert record.metrics == fresh.metrics


def test_measured_explanations_of_another_run_or_an_earlier_one_are_left_out(
    icdbench: Call, two: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = two
    status, _, err = icdbench("explain", "--evaluate", "--run", other.relative_to(other.parents[2]), "--documents", "3")
    assert (status, err.count("Traceback")) == (0, 0)
    records = [store.load_record(folder) for folder in two]
    assert records[0] is not None
    assert records[1] is not None
    assert store.load_explained(other, records[1]) is not None
    assert store.load_explained(other, records[1].model_copy(update={"created": "later"})) is None
    shutil.copy(other / store.EXPLAINED, one / store.EXPLAINED)
    assert store.load_explained(one, records[0]) is None
    assert f"it belongs to run {records[1].id}" in caplog.text


@pytest.mark.usefixtures("two")
def test_a_swap_that_changes_the_sign_of_a_difference_is_refused(icdbench: Call, tmp_path: Path) -> None:
    """Whole models exchanged, seed by seed: each file is whole, and of the right shape."""
    for path in sorted((tmp_path / "results" / "notes.csv").glob(f"*/*/{store.PREDICTIONS}")):
        path.rename(path.with_suffix(".was"))
    for mine, theirs in (("caml", "lr"), ("lr", "caml")):
        for seed in (1, 2):
            (to,), (of,) = ((tmp_path / "results" / "notes.csv" / name).glob(f"{seed}-*") for name in (mine, theirs))
            shutil.copy((of / store.PREDICTIONS).with_suffix(".was"), to / store.PREDICTIONS)
    status, out, err = icdbench("compare", "caml", "lr", "--dataset", "notes.csv", "--resamples", "100")
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_unsigned_runs_are_marked_wherever_they_are_shown(
    icdbench: Call, two: tuple[Path, Path], tmp_path: Path
) -> None:
    words = ("run", "--models", "caml", "--dataset", "notes.csv", "--seeds", "2", *SMALL)
    record = store.load_record(two[1])
    assert record is not None
    store.write_record(two[1], record.model_copy(update={"digest": "", "files": {}}))
    compared = ("compare", "caml", "lr", "--dataset", "notes.csv", "--resamples", "100")
    for shown in (words, ("tables", "table5"), ("runs",), compared):
        status, out, err = icdbench(*shown)
        assert status == 0, err
        assert "nsigned" in out, shown
    assert "Unsigned: caml, seed 2: " in icdbench(*words)[1]
    assert icdbench("report")[0] == 0
    assert "Unsigned: caml, seed 2" in (tmp_path / "report.html").read_text(encoding="utf-8")
    records = store.load_records(tmp_path / "results")
    assert plots.data_title(records).endswith("(1 of 4 runs unsigned)")
    assert icdbench("runs", "--remeasure")[0] == 0
    assert "nsigned" not in icdbench(*words)[1]


def test_a_run_in_two_folders_is_exported_and_drawn_from_the_one_with_predictions(
    icdbench: Call, two: tuple[Path, Path], tmp_path: Path
) -> None:
    assert len(two) == 2
    assert icdbench("export", "bare")[0] == 0  # own data: without predictions
    for order in (("bare", "results"), ("results", "bare")):
        shutil.rmtree(tmp_path / "shared", ignore_errors=True)
        folders = [word for name in order for word in ("--results", name)]
        status, _, err = icdbench("export", "shared", *folders, "--with-predictions")
        assert status == 0, err
        assert len(list((tmp_path / "shared").rglob(store.PREDICTIONS))) == 4
        assert len(store.load_records(tmp_path / "shared")) == 4
        status, _, err = icdbench("figures", "fig2", *folders, "--out", "drawn")
        assert status == 0, err
