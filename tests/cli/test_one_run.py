"""`show`, `delete`, `run --config`; and what `run` says of names that it does not know and of runs that are stored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import Call
from filelock import FileLock
from finished import SYSTEMS, run_of

from icdbench import views
from icdbench.records import store
from icdbench.settings import SpecError
from icdbench.spec import TrainSpec

pytestmark = [pytest.mark.slow, pytest.mark.counted]


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_show_prints_figures_and_where_settings_come_from(finished: Path, icdbench: Call) -> None:
    status, out, _ = icdbench("show", run_of(finished, "caml"))
    record = store.read_record(finished / "results" / run_of(finished, "caml"))
    assert status == 0
    low, high = record.intervals["fixed"]["f1_micro"]
    f1 = record.metrics["test"]["fixed"]["f1_micro"]
    assert f"{100 * f1:.1f} ({100 * low:.1f} to {100 * high:.1f})" in out
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()]
    assert ["caml.filters", "8", "user"] in cells
    assert ["caml.kernel_size", "6", "small data (16 trials on codiesp-d50)"] in cells
    assert ["train.optimizer", "adam", "default"] in cells
    assert views.stored(finished / "results")[0].show().data.id.startswith("notes.csv/")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_record_prints_a_file_that_asks_for_the_same_run(system: str, finished: Path, icdbench: Call) -> None:
    _, text, _ = icdbench("show", run_of(finished, system), "--config")
    (finished / "again.yaml").write_text(text, encoding="utf-8")
    before = files(finished / "results")
    status, out, err = icdbench("run", "--config", "again.yaml", "--device", "cpu")
    assert status == 0, err
    assert f"| {system} " in out
    assert "1 of 1 runs: already stored, not computed" in err
    assert files(finished / "results") == before


def test_what_is_typed_stands_against_the_file(finished: Path, icdbench: Call) -> None:
    Path("few.yaml").write_text(yaml.safe_dump({"models": ["lr", "caml"], "dataset": "notes.csv", "seeds": 3}))
    status, out, err = icdbench("run", "--config", "few.yaml", "--models", "lr", "--seeds", "7,", "--device", "cpu")
    assert status == 0, err
    assert [run.record.spec.seed for run in views.stored(finished / "results") if run.record.spec.seed == 7] == [7]
    assert "caml" not in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modls: lr\njob: 2\n", "no options 'modls' (did you mean 'models'?), 'job' (did you mean 'jobs'?)"),
        ("- lr\n", "expected options of 'icdbench run'"),
        ("models: [lr\n", "cannot be read as YAML"),
        ("models: {lr: 1}\n", "'models' is one value or a list, such as 'models: [a, b]'"),
        ("models: lr\nset: data.fraction=0\n", "data.fraction='0'"),  # a repeated option: once, or as a list
        ("models: lr\nset: [data.top_codes=2, data.fraction=0]\n", "data.fraction='0'"),
        (None, "cannot be read as YAML: No such file"),
    ],
)
def test_a_file_that_is_no_request_is_refused_in_a_line(
    text: str | None, said: str, icdbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("wrong.yaml").write_text(text)
    status, out, err = icdbench("run", "--config", "wrong.yaml")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.parametrize("words", [("show",), ("delete",), ("predict", "note.txt", "--run")])
def test_an_unknown_run_is_answered_by_the_nearest_and_how_to_list_all(
    words: tuple[str, ...], finished: Path, icdbench: Call
) -> None:
    jlan = run_of(finished, "jlan")
    for asked, like in (("jlan", jlan), (jlan.replace("jlan", "jaln"), jlan), ("zzz", "")):
        hint = f"did you mean '{like}'? " if like else ""
        status, out, err = icdbench(*words, asked)
        assert (status, out) == (2, "")
        assert err.endswith(f"no run '{asked}' in 'results'; {hint}'icdbench runs' lists all 3\n")


def test_all_wrong_names_are_said_at_once(icdbench: Call) -> None:
    _, _, err = icdbench("run", "--models", "camll,lr,JLAN")
    assert "no models 'camll' (did you mean 'caml'?), 'JLAN' (did you mean 'jlan'?)" in err
    _, _, err = icdbench("run", "--models", "lr", "--set", "max_epoch=5")
    assert "did you mean 'train.max_epochs'?" in err
    with pytest.raises(SpecError, match=r"no fields 'max_epoch' \(did you mean 'max_epochs'\?\), 'Patience'"):
        TrainSpec().override({"max_epoch": 5, "Patience": 4}, "train")


def test_none_is_a_choice_where_it_is_listed() -> None:
    """The command line hands `none` over as None."""
    assert TrainSpec().override({"scheduler": None}, "train").scheduler == "none"


def test_delete_asks_and_removes_a_run_whole(finished: Path, icdbench: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    run, results = run_of(finished, "caml"), finished / "results"
    before = files(results)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: (_ for _ in ()).throw(__import__("typer").Abort))
    assert icdbench("delete", run)[0] == 1
    assert icdbench("delete", run, run + "x", "--yes")[0] == 2  # a wrong name: nothing is deleted
    assert files(results) == before
    status, out, _ = icdbench("delete", run, "--yes")
    assert (status, out) == (0, f"deleted results/{run}\n")
    assert files(results) == {path for path in before if not path.as_posix().startswith(run)}


@pytest.mark.parametrize("name", [".", "results", "results/notes.csv", ""])
def test_a_folder_of_runs_is_not_deleted_as_one(finished: Path, icdbench: Call, name: str) -> None:
    """Though a record was copied to the wrong place."""
    results = finished / "results"
    record = results / run_of(finished, "lr") / store.RECORD
    for place in (results, *(path for path in results.iterdir() if path.is_dir())):
        shutil.copy(record, place)
    before = files(results)
    status, out, err = icdbench("delete", name, "--yes")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert ("the name of the run is empty" if not name else "has other runs in it") in err
    assert files(results) == before


def test_a_run_that_is_worked_on_is_not_deleted(finished: Path, icdbench: Call) -> None:
    place = finished / "results" / run_of(finished, "lr")
    before = files(place)
    with FileLock(place / store.LOCK):
        status, _, err = icdbench("delete", run_of(finished, "lr"), "--yes")
    assert status == 2
    assert "a process is working on" in err
    assert before <= files(place)


def test_a_deletion_that_fails_leaves_all(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = finished / "results" / run_of(finished, "lr")
    before = files(place)

    def fails(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(PermissionError):
        store.remove(place)
    assert before <= files(place)
