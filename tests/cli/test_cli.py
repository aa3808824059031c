"""The command line from end to end, as a user types it, and what it says to bad input."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import encoders
import pytest
from conftest import Call
from corpora import prepared
from mimic import small
from runs import FAST
from waiting import until

import icdbench.run as runner
from icdbench import registry
from icdbench.evaluation import metrics
from icdbench.presentation import formats
from icdbench.records import store
from icdbench.settings import SpecError
from icdbench.spec import TrainSpec
from icdbench.training import objectives
from icdbench.training.score import probabilities


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rum",), "Did you mean 'run'?"),
        (("run", "--job", "2"), "--jobs"),
        (("run", "--jobs", "two"), "--jobs"),
        (("run", "--models"), "icdbench run --help"),
        (("ablate",), "icdbench ablate --help"),
        (("data", "mak"), "icdbench data --help"),
    ],
)
def test_a_command_that_cannot_be_read_is_refused_in_a_line(icdbench: Call, words: Sequence[str], said: str) -> None:
    status, out, err = icdbench(*words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("icdbench: ")
    assert said in err


def test_ctrl_c_before_a_command_handles_it_is_told(icdbench: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("icdbench.api.plan", stop)
    assert icdbench("run", "--dataset", "demo") == (130, "", "icdbench: stopped\n")


def test_ctrl_c_while_modules_are_imported_prints_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    made = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from icdbench.__main__ import main; main()",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.returncode, made.stdout, made.stderr) == (130, "", "")


@pytest.mark.parametrize("words", [("run",), ("tables", "table5"), ("runs",), ("data", "describe", "demo")])
def test_a_folder_without_a_name_is_refused(icdbench: Call, words: Sequence[str]) -> None:
    option = "--data" if words[0] == "data" else "--results"
    status, out, err = icdbench(*words, option, "")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "the name of the folder is empty" in err


@pytest.mark.parametrize("words", [(), ("data",)])
def test_no_command_shows_the_commands(icdbench: Call, words: Sequence[str]) -> None:
    status, out, err = icdbench(*words)
    assert (status, out) == (2, "")
    assert "Commands:" in err


@pytest.mark.slow
def test_run_compares_models_and_everything_is_stored(icdbench: Call, notes: Path, tmp_path: Path) -> None:
    words = ("run", "--models", "caml,lr", "--dataset", notes, "--seeds", "2", "--device", "cpu")
    status, out, err = icdbench(*words, *FAST, "--set", "caml.filters=8")
    assert status == 0, err
    assert "notes.csv" in out
    assert "| popularity (floor)" in out
    assert "caml.filters=8" in out
    assert "epoch" not in out.replace("epochs", "")  # progress is for stderr
    assert "epoch 2/2" in err
    records = store.load_records(tmp_path / "results")
    assert [record.spec.system for record in records] == ["caml", "caml", "lr", "lr"]
    for record in records:
        folder = tmp_path / "results" / record.id
        assert folder.name.startswith(f"{record.spec.seed}-")
        assert {path.name for path in folder.iterdir()} == {"record.json", "predictions.npz", "model.safetensors"}
        plain = json.loads((folder / "record.json").read_text())
        assert plain["id"] == record.id
        assert {"model", "variant", "dataset", "seed"} <= plain["spec"].keys()
        assert plain["metrics"]["test"]["fixed"]["p@5"] > 0
        assert plain["corpus"]["fingerprint"] == plain["spec"]["fingerprint"]
        assert plain["versions"]["torch"]
        assert plain["timing"]["train"] > 0
        for split, predicted in store.load_predictions(folder, record).items():
            again = metrics.evaluate(probabilities(predicted.scores_NL), predicted.labels, unseen=predicted.unseen)
            stored = record.metrics[split]["fixed"]
            assert again == {key: stored[key] for key in again}
    assert "patient" not in "".join(path.read_text(errors="ignore") for path in tmp_path.glob("results/**/*.json"))

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/**/*.json")}
    status, again_out, _ = icdbench(*words, *FAST, "--set", "caml.filters=8")
    assert (status, again_out) == (0, out)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/**/*.json")}

    status, out, _ = icdbench("runs")
    assert status == 0
    assert all(record.id in out for record in records)
    status, out, _ = icdbench("tables")
    assert status == 0
    assert "Other data" in out
    assert "notes.csv" in out


@pytest.mark.slow
def test_changed_data_never_reuse_a_run(icdbench: Call, notes: Path, tmp_path: Path) -> None:
    assert icdbench("run", "--models", "lr", "--dataset", notes)[0] == 0
    notes.write_text(notes.read_text(encoding="utf-8").replace("went home", "was discharged"), encoding="utf-8")
    status, out, _ = icdbench("run", "--models", "lr", "--dataset", notes)
    assert status == 0
    assert len(store.load_records(tmp_path / "results")) == 2
    assert out.count("| lr ") == 1


@pytest.mark.parametrize("fmt", formats.FORMATS)
def test_tables_without_any_run_print_the_published_figures(icdbench: Call, fmt: str) -> None:
    status, out, err = icdbench("tables", "--format", fmt)
    assert (status, err) == (0, "")
    assert "66.5" in out


@pytest.mark.slow
def test_every_model_is_listed_and_described(icdbench: Call) -> None:
    status, out, _ = icdbench("models")
    assert status == 0
    for name, entry in registry.entries().items():
        assert f"\n{name} " in out
        status, about, _ = icdbench("models", name)
        assert status == 0
        assert all(field in about for field in entry.config.model_fields)
        spec = TrainSpec().override(entry.train, "train")
        effective = TrainSpec.model_fields.keys() - spec.idle() if entry.uses_trainer else set()
        listed = about.partition("\ntrain. ")[2]
        shown = {field for field in TrainSpec.model_fields if re.search(rf"^{field}\b", listed, re.MULTILINE)}
        assert shown == effective
        assert all(f"{name}@{variant}" in about for variant in entry.variants)
    assert icdbench("models", "jlan@no-joint")[0] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cache")
def test_data_commands(icdbench: Call, notes: Path) -> None:
    status, out, _ = icdbench("data", "list")
    assert status == 0
    assert "demo" in out
    assert "absent" in out
    assert icdbench("data", "check", "demo")[0] == 0
    status, out, _ = icdbench("data", "check", "codiesp-d")
    assert status == 2
    assert "data get codiesp" in out
    status, out, _ = icdbench("data", "describe", notes)
    assert status == 0
    assert "Statistics of notes.csv" in out
    assert "40" in out
    status, out, _ = icdbench("data", "describe", "demo")
    assert "SYNTHETIC" in out


BAD = [
    (("run", "--models", "camel"), "no model 'camel'; did you mean 'caml'"),
    (("run", "--models", "jlan@nojoint"), "no variant 'nojoint'; did you mean 'no-joint'"),
    (("run", "--models", ","), "names no model"),
    (("run", "--models", "jlan@"), "names no variant after the @"),
    (("run", "--set", "jlan@no-joint.dropout=0.3"), "write jlan."),
    (("run", "--set", "train.patience=3", "--set", "train.patience=4"), "is given twice"),
    (("models", "jlan@nojoint"), "no variant 'nojoint'"),
    (("tables", "--results", "absent"), "--results 'absent' is no folder"),
    (("run", "--dataset", "codiesp-d500"), "no data set 'codiesp-d500'; did you mean 'codiesp-d50'"),
    (("run", "--dataset", "codiesp-d50"), "CodiEsp is not in 'data'"),
    (("run", "--dataset", "absent.csv"), "absent.csv does not exist"),
    (("run", "--dataset", "notes.docx"), "no data set 'notes.docx'"),
    (("run", "--seeds", "many"), "--seeds many: give a count"),
    (("run", "--seeds", "0"), "--seeds 0"),
    (("run", "--seeds", "1,-2"), "--seeds 1,-2"),
    (("run", "--set", "train.max_epoch=3"), "'train' has no field 'max_epoch'; did you mean 'max_epochs'"),
    (("run", "--set", "train.max_epochs=many"), "train.max_epochs='many'"),
    (("run", "--set", "train.max_epochs=0"), "train.max_epochs='0': input should be greater than or equal to 1"),
    (("run", "--set", "train.learning_rate=nan"), "train.learning_rate"),
    (("run", "--set", "train.monitor=p@6"), "train.monitor='p@6' is no metric to stop by; did you mean 'p@"),
    (("run", "--set", "lr.C=3"), "'lr' is neither data, train nor a chosen model"),
    (("run", "--set", "dropout=0.3"), "--set dropout"),
    (("run", "--set", "jlan.dropout"), "write it as"),
    (("run", "--set", "data.language=es"), "data.language has no meaning for data set 'demo'"),
    (("run", "--set", "data.top_codes=5000"), "data.top_codes=5000"),
    (("run", "--device", "gpu"), "no device 'gpu'"),
    (("run", "--format", "pdf"), "no format 'pdf'"),
    (("tables", "table50"), "no table 'table50'; did you mean 'table5'"),
    (("tables", "--format", "xml"), "no format 'xml'"),
    (("models", "jlann"), "no model 'jlann'; did you mean 'jlan'"),
    (("runs",), "no runs in 'results'"),
    (("data", "describe", "nothing"), "no data set 'nothing'"),
    (("data", "get", "codiespp"), "no download 'codiespp'; did you mean 'codiesp"),
    (("data", "get", "demo"), "there is no download of 'demo'"),
    (("data", "check", "demo", "--set", "train.patience=1"), "only data.FIELD=VALUE"),
]


@pytest.mark.usefixtures("shared_cache")
@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_requests_get_one_line_and_status_2(icdbench: Call, words: tuple[str, ...], message: str) -> None:
    status, out, err = icdbench(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("results").exists() or not list(Path("results").rglob("*.json"))


def test_results_folder_that_cannot_be_written(icdbench: Call, notes: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    status, out, err = icdbench("run", "--models", "lr", "--dataset", notes, "--results", blocked / "results")
    assert (status, out) == (2, "")
    assert "cannot be written" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.slow
def test_damaged_record_is_named_and_its_run_done_again(icdbench: Call, notes: Path, tmp_path: Path) -> None:
    assert icdbench("run", "--models", "lr", "--dataset", notes)[0] == 0
    (path,) = tmp_path.glob("results/**/record.json")
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    assert icdbench("run", "--models", "lr", "--dataset", notes)[0] == 0
    ours, theirs = json.loads(path.read_text()), json.loads(whole)
    assert ours["metrics"] == theirs["metrics"]


@pytest.mark.slow
def test_a_run_of_other_settings_under_the_same_id_is_set_aside(icdbench: Call, notes: Path, tmp_path: Path) -> None:
    assert icdbench("run", "--models", "lr", "--dataset", notes)[0] == 0
    (path,) = tmp_path.glob("results/**/record.json")
    record = json.loads(path.read_text())
    record["spec"]["config"]["C"] = 99.0
    path.write_text(json.dumps(record))
    assert icdbench("run", "--models", "lr", "--dataset", notes)[0] == 0
    assert json.loads(path.read_text())["spec"]["config"]["C"] == 1.0
    assert json.loads(path.with_name("record.old.json").read_text())["spec"]["config"]["C"] == 99.0


@pytest.mark.slow
def test_record_without_its_inner_parts_is_left_out(icdbench: Call, notes: Path, tmp_path: Path) -> None:
    assert icdbench("run", "--models", "lr", "--dataset", notes)[0] == 0
    (path,) = tmp_path.glob("results/**/record.json")
    whole = json.loads(path.read_text())
    for part in ("corpus", "metrics", "timing"):
        path.write_text(json.dumps({**whole, part: {}}))
        status, out, _ = icdbench("tables")
        assert (status, "notes.csv" in out) == (0, False)


@pytest.mark.slow
def test_a_run_killed_between_its_record_and_its_checkpoints_loses_these_the_next_time(
    icdbench: Call, notes: Path, tmp_path: Path
) -> None:
    command = ("run", "--models", "cnn", "--dataset", notes, *FAST)
    assert icdbench(*command)[0] == 0
    (path,) = tmp_path.glob("results/**/record.json")
    content = path.read_bytes()
    for name in (store.CHECKPOINT, store.PREVIOUS):
        path.with_name(name).write_bytes(b"left by a killed process")
    assert icdbench(*command)[0] == 0
    assert {each.name for each in path.parent.iterdir()} == {store.RECORD, store.PREDICTIONS, store.WEIGHTS}
    assert path.read_bytes() == content


@pytest.mark.slow
def test_full_disk_is_one_line(icdbench: Call, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "record.json")

    monkeypatch.setattr(store, "save_run", full)
    status, out, err = icdbench("run", "--models", "lr", "--dataset", notes)
    assert (status, out) == (2, "")
    assert err.strip().splitlines()[-1] == "icdbench: record.json: No space left on device; what was finished is kept"


@pytest.mark.slow
def test_a_model_that_diverges_is_reported_and_the_others_are_finished(
    icdbench: Call, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "loss", lambda logits_BL, *_: logits_BL.sum() * float("nan"))
    status, out, err = icdbench("run", "--models", "cnn,lr", "--dataset", notes, *FAST)
    assert status == 1
    assert "| lr " in out
    assert "1 of 2 runs failed: notes.csv/cnn/1-" in err
    assert "the loss is nan in epoch 1, step 1" in err


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_continues_to_the_same_bytes(icdbench: Call, notes: Path, tmp_path: Path) -> None:
    words = ["run", "--models", "caml", "--dataset", str(notes), "--device", "cpu", "--set", "caml.filters=8"]
    words += ["--set", "train.max_epochs=60", "--set", "train.patience=60", "--results"]
    status, expected, err = icdbench(*words, "straight")
    assert status == 0, err
    stopped = subprocess.Popen(
        [sys.executable, "-m", "icdbench", *words, "stopped"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: list(tmp_path.glob("stopped/**/checkpoint.safetensors")), stopped)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate()
    assert (stopped.returncode, out) == (130, "")
    assert err.strip().splitlines()[-1] == "icdbench: stopped; the same command continues where it was"
    assert not list(tmp_path.glob("stopped/**/record.json"))
    status, resumed, err = icdbench(*words, "stopped")
    assert status == 0, err
    one, other = (
        json.loads(next(tmp_path.glob(f"{name}/**/record.json")).read_text()) for name in ("straight", "stopped")
    )
    assert one["metrics"] == other["metrics"]
    assert one["threshold"] == other["threshold"]
    weights = [next(tmp_path.glob(f"{name}/**/model.safetensors")).read_bytes() for name in ("straight", "stopped")]
    assert weights[0] == weights[1]
    assert _figures(resumed) == _figures(expected)


def _figures(table: str) -> list[str]:
    """The metrics of caml's row, without the training time."""
    return next(line for line in table.splitlines() if line.startswith("| caml")).split("|")[2:9]


@pytest.mark.slow
def test_all_means_every_registered_model(notes: Path) -> None:
    changes = {"data.code_system": "icd9cm"}
    for name, entry in registry.entries().items():
        changes |= encoders.settings(name, entry.needs)
    planned = runner.expand(runner.Request(["all", "lr@tfidf"], str(notes), changes=changes))
    assert [each.spec.system for each in planned] == [*registry.entries(), "lr@tfidf"]


@pytest.mark.slow
def test_of_all_models_those_that_the_data_do_not_suit_are_left_out(
    notes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planned = runner.expand(runner.Request(["all"], str(notes)))
    needing = {name for name, entry in registry.entries().items() if entry.needs}
    assert {"dr-caml", "msatt-kg", "plm-icd"} <= needing
    assert {each.spec.system for each in planned} == registry.entries().keys() - needing
    assert all(any(name in message and "left out" in message for message in caplog.messages) for name in needing)
    for name in needing:
        with pytest.raises(SpecError, match=f"{name} needs (the codes'|a pretrained encoder)"):
            runner.expand(runner.Request(["caml", name], str(notes)))


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cache")
def test_parameters_are_counted_for_a_data_set(icdbench: Call) -> None:
    words, codes = len(prepared("demo").vocabulary.tokens), len(prepared("demo").vocabulary.codes)
    small = registry.entry("caml").small  # demo has few documents
    kernel, filters = small["kernel_size"], small["filters"]
    status, out, _ = icdbench("models", "caml", "--dataset", "demo")
    assert status == 0
    expected = 100 * words + kernel * 100 * filters + filters + 2 * filters * codes + codes
    assert f"Parameters on demo: {expected:,}\n" in out
    assert "features" in icdbench("models", "lr", "--dataset", "demo")[1]
    assert "Parameters" not in icdbench("models", "caml")[1]
    assert icdbench("models", "caml", "--dataset", "dmo")[0] == 2


# --- MIMIC's schema ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_synthetic_tables_from_making_to_clearing(icdbench: Call) -> None:
    """What a user does with a new MIMIC, on tables that the suite makes itself."""
    status, _, err = icdbench("data", "make", "synth", "--admissions", 60, "--other-notes", 1, "--seed", 3)
    assert (status, err) == (0, "")
    status, out, _ = icdbench("data", "list", "--data", "synth")
    assert re.search(r"synth-full +\d+ found", out)
    assert re.search(r"mimic-full +absent", out)
    status, out, _ = icdbench("data", "describe", "synth-full", "--data", "synth", "--set", "data.protocol=corrected")
    assert status == 0
    assert "protocol: corrected" in out
    assert "Codes by their frequency in training" in out
    assert icdbench("data", "check", "synth50", "--data", "synth")[:2] == (0, "synth50: complete and as expected\n")
    status, out, err = icdbench("data", "export", "synth50", "--data", "synth", "--out", "plain")
    assert (status, out.splitlines()[-1], err) == (0, "plain/vocabulary.txt", "")
    status, out, _ = icdbench("run", "--models", "lr", "--dataset", "synth50", "--data", "synth", *FAST)
    assert status == 0
    assert "SYNTHETIC" in out
    assert icdbench("data", "clear", "synth50")[1].startswith("1 entry, ")
    assert icdbench("data", "clear")[1].startswith("1 entry, ")


def test_mistakes_with_tables(icdbench: Call, tmp_path: Path) -> None:
    small().write(tmp_path / "raw")
    for words, said in (
        (("data", "check", "mimic-fill"), "did you mean 'mimic-full'?"),
        (("data", "describe", "mimic50", "--data", "nowhere"), "data folder 'nowhere' does not exist"),
        (("data", "describe", "synth50", "--data", "raw"), "were not made by 'icdbench data make'"),
        (("data", "describe", "mimic50", "--data", "raw", "--set", "data.protocol=papre"), "data.protocol='papre'"),
        (("data", "describe", "demo", "--set", "data.protocol=paper"), "data.protocol has no meaning"),
        (("data", "make", "raw"), "raw"),
        (("data", "make", "new", "--admissions", 2), "20"),
        (("data", "export", "mimic50", "--data", "raw", "--out", "raw"), "is there already"),
        (("data", "export", "mimic50", "--data", "raw", "--out", "new", "--format", "cvs"), "did you mean 'csv'?"),
        (("data", "clear", "mimic5"), "did you mean 'mimic50'?"),
        (("data", "get", "mimic-splits"), "did you mean 'mimic4-splits'?"),
    ):
        status, out, err = icdbench(*words)
        assert (status, out) == (2, ""), words
        assert said in err
        assert err.count("\n") == 1
    status, out, err = icdbench("data", "check", "mimic-full", "--data", "raw")
    assert (status, err) == (2, "")
    assert "train documents: 3, published 47,723" in out
    status, _, err = icdbench("data", "export", "mimic-full", "--data", "raw", "--out", "new")
    assert (status, err) == (
        0,
        "These files hold the notes: MIMIC's data-use agreement covers them as it covers the raw data.\n",
    )


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cache")
@pytest.mark.parametrize("entry", [entry for entry in registry.entries().values() if entry.small], ids=lambda e: e.name)
def test_settings_for_small_data_hold_there_and_the_published_ones_are_a_variant(entry: registry.Entry) -> None:
    usual = {**TrainSpec().override(entry.train, "train").model_dump(), **entry.config().model_dump(mode="json")}
    encoder = encoders.settings(entry.name, entry.needs)
    request = runner.Request([entry.name, f"{entry.name}@published"], "demo", changes=encoder)
    adapted, published = ({**each.spec.train.model_dump(), **each.spec.config} for each in runner.expand(request))
    changed = {field for field, value in adapted.items() if value != published[field]}
    assert changed == set(entry.small)
    assert all(published[field] == usual[field] for field in changed)


@pytest.mark.slow
def test_floors_run_beside_what_is_asked_for_with_one_seed(
    icdbench: Call, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ICDBENCH_FLOORS")
    words = ("run", "--models", "lr", "--dataset", notes, "--seeds", "2", "--set", "data.min_documents=1")
    status, out, _ = icdbench(*words)
    assert status == 0
    assert "| lr@l1 (floor)" in out
    assert "| keywords (floor)" in out
    stored = [(record.spec.system, record.spec.seed) for record in store.load_records(tmp_path / "results")]
    assert sorted(stored) == [("keywords", 1), ("lr", 1), ("lr", 2), ("lr@l1", 1)]
    assert icdbench(*words, "--no-floors")[0] == 0
    status, out, _ = icdbench(
        "run", "--models", "keywords", "--dataset", notes, "--seeds", "2", "--set", "data.min_documents=1"
    )
    assert "| keywords (floor)" in out
    stored = [(record.spec.system, record.spec.seed) for record in store.load_records(tmp_path / "results")]
    assert ("keywords", 2) in stored


@pytest.mark.parametrize("words", [(), ("run",), ("data", "check")], ids=" ".join)
def test_help_has_a_short_form(icdbench: Call, words: tuple[str, ...]) -> None:
    assert icdbench(*words, "-h") == icdbench(*words, "--help")
