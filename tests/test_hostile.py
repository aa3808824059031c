"""Files that are none, too large, absurd or of other types: each is named in a line, and left out or refused; none is waited for."""

from __future__ import annotations

import io
import itertools
import json
import os
import resource
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call
from runs import UNSIGNED
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from targets import COMMITTED, TARGETS, attempt, make_bundle, make_predictions, make_record, make_weights

from icdbench import files
from icdbench.inference import bundle
from icdbench.records import store
from icdbench.records.record import RunRecord
from icdbench.settings import DataError

pytestmark = pytest.mark.slow

FAST = ("--set", "train.max_epochs=1", "--set", "caml.filters=4", "--set", "caml.embedding_size=4", "--device", "cpu")


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """A reader that waits fails its test."""

    def late(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def bomb(path: Path) -> None:
    """500 MB of zeros in 500 kB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("codes.npy", "w", force_zip64=True) as file,
    ):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (5 * 10**8,)})
        file.write(header.getvalue())
        zeros = bytes(1 << 24)
        for _ in range((5 * 10**8) >> 24):
            file.write(zeros)


def claim(path: Path) -> None:
    """Arrays that are said to have 10^12 numbers."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in (
            "codes",
            "train_counts",
            *(f"test.{each}" for each in ("score_bytes", "codes", "code_offsets", "unseen")),
        ):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)})
            archive.writestr(f"{name}.npy", header.getvalue())


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 10**9)


def replaced(write: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        write(path)

    return replace


ODD: dict[str, Callable[[Path], None]] = {
    "a pipe": replaced(os.mkfifo),
    "a device": replaced(lambda path: path.symlink_to("/dev/zero")),
    "a folder": replaced(Path.mkdir),
    "a loop": replaced(lambda path: path.symlink_to(path.name)),
    "nothing": replaced(Path.touch),
    "10 GB": sparse,
    "deep JSON": lambda path: path.write_text("[" * 100_000),  # type: ignore[dict-item]
    "deep objects": lambda path: path.write_text('{"a":' * 100_000),  # type: ignore[dict-item]
    "a long number": lambda path: path.write_text("9" * 100_000),  # type: ignore[dict-item]
    "an array that is claimed": claim,
}
STORED = ["record", "tuned", "predictions", "label set", "bundle", "weights", "explained", "checkpoint", "own.csv", "own.jsonl", "own.parquet", "codiesp"]  # fmt: skip


# Own files may be as large as they are, and a link to nothing is no record and no checkpoint.
FINE = {(name, "10 GB") for name in STORED if name.startswith("own")} | {("record", "a loop"), ("checkpoint", "a loop")}


@pytest.mark.parametrize(("name", "kind"), [pair for pair in itertools.product(STORED, ODD) if pair not in FINE])
def test_what_is_no_file_is_named_or_left_out(
    name: str, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = TARGETS[name].make(tmp_path)
    ODD[kind](path)
    said = attempt(TARGETS[name], path) or caplog.text
    assert said
    assert "Traceback" not in said


def test_an_archive_of_too_many_bytes_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_ARRAYS", 10**8)
    path = make_predictions(tmp_path)
    bomb(path)
    assert path.stat().st_size < 10**6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="bytes, more than"):
        store.load_label_set(tmp_path, UNSIGNED)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


# --- Records -------------------------------------------------------------------------------------------------------------


def numbers(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The places of all numbers that tables read."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, (*place, key))
    elif isinstance(value, list):
        yield from numbers(value[0], (*place, "0"))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place


CONTENT = json.loads(min(COMMITTED.glob(f"codiesp-d50/*/*/{store.RECORD}")).read_bytes())
KINDS = [place for place in numbers(CONTENT) if place[0] != "spec" and place[:2] not in {("corpus", "facts"), ("corpus", "word_vectors")}]  # fmt: skip
PLACES = list({place[:1] + place[-1:]: place for place in KINDS}.values())
WRONG = ["NaN", "Infinity", "-Infinity", "1e400", '"0.5"', '"<b>"', "true", "null", "[]", "{}", "1" + "0" * 400]


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_a_record_holds_finite_numbers_alone(
    place: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_record(tmp_path)
    for wrong in WRONG:
        content = json.loads(json.dumps(CONTENT | {"digest": ""}))
        inner: Any = content
        for key in place[:-1]:
            inner = inner[int(key) if isinstance(inner, list) else key]
        inner[int(place[-1]) if isinstance(inner, list) else place[-1]] = "HERE"
        path.write_text(json.dumps(content).replace('"HERE"', wrong), encoding="utf-8")
        caplog.clear()
        assert store.load_record(tmp_path) is None, wrong
        (message,) = caplog.messages
        assert str(path) in message
        assert "\n" not in message


def test_the_committed_records_are_records() -> None:
    for path in COMMITTED.glob(f"**/{store.RECORD}"):
        RunRecord.model_validate(store.upgrade(json.loads(path.read_bytes())))


# --- Weights, predictions ------------------------------------------------------------------------------------------------


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = make_weights(tmp_path)
    weights = load_file(path)
    name = min(weights)
    weights[name].flat[0] = np.nan
    save_file(weights, path, metadata={store.RUN: f"{UNSIGNED.id} {store.array_digest('', weights)}"})
    with pytest.raises(ValueError, match="not all numbers"):
        store.load_weights(tmp_path, UNSIGNED)
    whole = make_bundle(tmp_path)
    with safe_open(whole, framework="np") as file:
        header = dict(file.metadata())
    header["sha256"] = store.array_digest(header["icdbench"], weights)
    save_file(weights, whole, header)
    with pytest.raises(DataError, match="not all numbers"):
        bundle.read(whole)


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 0},
        {"max_tokens": True},
        {"max_tokens": "10"},
        {"threshold": {"fixed": "0.5", "tuned": 0.5}},
        {"threshold": {"fixed": 0.5}},
        {"tokens": []},
        {"codes": []},
        {"titles": ["x"]},
        {"descriptions": [[99], [], []]},
        {"descriptions": [[-1], [], []]},
        {"hierarchy": {"parents": [99], "ancestors": [], "descriptions": []}},
        {"hierarchy": {"parents": [3, 3, 3, 9], "ancestors": ["a"], "descriptions": [[]]}},
        {"config": {"embedding_size": 2, "filters": 10**9}},
        {"config": {"embedding_size": 10**30, "filters": 2}},
        {"config": {"embedding_size": "2; DROP"}},
        {"config": {"no_such_field": 1}},
        {"model": "no-such-model"},
    ],
)  # fmt: skip
def test_a_bundle_that_contradicts_itself_is_refused(change: dict[str, Any], tmp_path: Path, icdbench: Call) -> None:
    path = make_bundle(tmp_path)
    weights = load_file(path)
    with safe_open(path, framework="np") as file:
        header = dict(file.metadata())
    text = json.dumps(json.loads(header["icdbench"]) | change)
    save_file(weights, path, {**header, "icdbench": text, "sha256": store.array_digest(text, weights)})
    (tmp_path / "note.txt").write_text("fever")
    status, out, err = icdbench("predict", "note.txt", "--bundle", path)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("test.codes", np.full(3, 2**31 - 1, np.int32)),
        ("test.codes", np.array([-1, 0, 1], np.int32)),
        ("test.code_offsets", np.array([0, 3, 1, 3])),
        ("test.code_offsets", np.array([0, 1, 2, 2**40])),
        ("test.unseen", np.zeros(9, np.int32)),
        ("test.score_bytes", np.full((4, 3, 3), 255, np.uint8)),  # NaN
        ("test.score_bytes", np.zeros((4, 0, 3), np.uint8)),
        ("test.score_bytes", np.zeros(4, np.uint8)),
    ],
)
def test_predictions_that_contradict_themselves_are_refused(
    name: str, value: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    path = make_predictions(tmp_path)
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    np.savez_compressed(path, **{**arrays, name: value})
    with pytest.raises(DataError, match="is damaged"):
        store.load_predictions(tmp_path, UNSIGNED)


# --- Commands ------------------------------------------------------------------------------------------------------------


def test_commands_pass_over_or_refuse_pipes(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    """In the place of every file below results and in the cache, and of each that is named."""
    run = ("run", "--models", "caml", "--dataset", few_notes, *FAST)
    assert icdbench(*run)[0] == 0
    (record,) = store.load_records(tmp_path / "results")
    assert icdbench("bundle", record.id, "--out", "m.icdbench")[0] == 0
    note = tmp_path / "note.txt"
    note.write_text("the fever", encoding="utf-8")
    shutil.copytree(tmp_path / "results", tmp_path / "whole")
    commands: list[tuple[object, ...]] = [
        ("runs",), ("runs", "--remeasure"), ("report",), ("export", "out"), ("predict", note, "--run", record.id), run,
    ]  # fmt: skip
    for name in (store.RECORD, store.PREDICTIONS, store.WEIGHTS, store.CHECKPOINT, store.EXPLAINED):
        shutil.rmtree(tmp_path / "results")
        shutil.copytree(tmp_path / "whole", tmp_path / "results")
        path = tmp_path / "results" / record.id / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        for words in commands:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            status, _, err = icdbench(*words)
            assert status in {0, 1, 2}, (name, words, err)
            assert "Traceback" not in err
    shutil.rmtree(tmp_path / "results")
    for path in [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]:
        path.unlink()
        os.mkfifo(path)
    assert icdbench(*run)[0] == 0
    for named in (few_notes, note, tmp_path / "m.icdbench"):
        named.unlink()
        os.mkfifo(named)
    for words in (
        run,
        ("data", "check", few_notes),
        ("predict", note, "--run", record.id),
        ("predict", few_notes, "--bundle", "m.icdbench"),
    ):
        status, out, err = icdbench(*words)
        assert "pipe" in err + out, words
        assert err.count("\n") <= 1


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    for kind in ("a pipe", "a device", "a folder", "a loop"):
        path = tmp_path / kind
        path.touch()
        ODD[kind](path)
        with pytest.raises(OSError, match=r"."):
            files.regular(path)
    whole = tmp_path / "whole"
    whole.write_bytes(b"12345")
    with files.regular(whole, 5) as file:
        assert file.read() == b"12345"
    with pytest.raises(OSError, match="5 bytes exceed the limit of 4"):
        files.regular(whole, 4)
