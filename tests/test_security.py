"""What docs/security.md promises: nothing on disk is executed, nothing is written or read outside the folder it belongs to."""

from __future__ import annotations

import ast
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Call
from places import ROOT
from runs import UNSIGNED
from targets import make_predictions

from icdbench.data.sources import codiesp_files, own
from icdbench.data.sources import mimic_splits as splits
from icdbench.records import store
from icdbench.settings import DataError

pytestmark = pytest.mark.slow

SOURCES = sorted(
    {path.resolve() for folder in ("icdbench", "models", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")}
)
FAST = ("--set", "train.max_epochs=1", "--set", "caml.filters=4", "--set", "caml.embedding_size=4", "--device", "cpu")
UNPICKLE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "pandas.read_pickle"}


# --- Nothing on disk is executed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_unpickle(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & (UNPICKLE - {"joblib"})
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in UNPICKLE - {"joblib"}
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        called = ast.unparse(node.func)
        assert called not in {"torch.load", "joblib.load", "pd.read_pickle", "eval", "exec"}
        if called in {"np.load", "numpy.load"}:
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert given.get("allow_pickle") == "False"


class Hostile:
    """When it is unpickled, a file appears."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def as_pickle(hostile: Hostile) -> bytes:
    return pickle.dumps(hostile)


def as_checkpoint_of_torch(hostile: Hostile) -> bytes:
    content = io.BytesIO()
    torch.save(hostile, content)
    return content.getvalue()


def as_array_of_objects(hostile: Hostile) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([hostile], dtype=object), allow_pickle=True)
    return content.getvalue()


def as_archive_of_arrays(hostile: Hostile) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("codes", "train_counts", "test.score_bytes", "test.codes", "test.code_offsets", "test.unseen"):
            archive.writestr(f"{name}.npy", as_array_of_objects(hostile))
    return content.getvalue()


KINDS = [as_pickle, as_checkpoint_of_torch, as_array_of_objects, as_archive_of_arrays]


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_pickle_is_never_executed(
    kind: Callable[[Hostile], bytes], icdbench: Call, few_notes: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    hostile = kind(Hostile(mark))
    run = ("run", "--models", "caml", "--dataset", few_notes, *FAST)
    note, table = tmp_path / "note.txt", tmp_path / "notes.parquet"
    note.write_text("the fever was treated", encoding="utf-8")
    table.touch()
    assert icdbench(*run)[0] == 0
    (record,) = store.load_records(tmp_path / "results")
    assert icdbench("bundle", record.id, "--out", "m.icdbench")[0] == 0
    folder = tmp_path / "results" / record.id
    found = {"model": "caml", "dataset": "notes.csv", "fingerprint": record.spec.fingerprint, "settings": {}}
    tuned = store.save_tuned(tmp_path / "results", found)
    for name in (store.CHECKPOINT, store.PREVIOUS):
        (folder / name).touch()
    cache = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {".json", ".npy"} <= {path.suffix for path in cache}
    # What is planted, what must be gone for it to be read, and the commands that would read it.
    cases: list[tuple[list[Path], list[Path], list[tuple[object, ...]]]] = [
        ([folder / store.PREDICTIONS], [], [("runs", "--remeasure"), ("figures", "fig6")]),
        ([folder / store.WEIGHTS], [], [("predict", note, "--run", record.id)]),
        ([tmp_path / "m.icdbench"], [], [("predict", note, "--bundle", "m.icdbench")]),
        ([tuned], [], [(*run[:2], "caml@tuned", *run[3:])]),
        ([table], [], [("run", "--models", "lr", "--dataset", table)]),
        (cache, [folder / store.RECORD], [run]),
        ([folder / store.CHECKPOINT, folder / store.PREVIOUS], [folder / store.RECORD], [run]),
        ([folder / store.RECORD], [], [("runs",), ("report",), run]),
    ]
    for planted, gone, commands in cases:
        for path in planted:
            path.write_bytes(hostile)
        for path in gone:
            path.unlink()
        for words in commands:
            icdbench(*words)
            assert not mark.exists(), words


def test_the_hostile_files_are_hostile(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    pickle.loads(as_pickle(Hostile(mark)))  # noqa: S301
    assert mark.exists()
    mark.unlink()
    np.load(io.BytesIO(as_array_of_objects(Hostile(mark))), allow_pickle=True)
    assert mark.exists()


# --- Names stay in their folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["dataset", "model", "variant"])
@pytest.mark.parametrize("name", ["../../../escaped", "/escaped", "..", "a\\..\\b", "a/b"])
def test_a_record_cannot_name_a_folder_elsewhere(
    field: str, name: str, icdbench: Call, few_notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if (field, name) == ("variant", ".."):
        return  # caml@.. is a name like any other
    assert icdbench("run", "--models", "lr", "--dataset", few_notes)[0] == 0
    (record,) = store.load_records(tmp_path / "results")
    path = tmp_path / "results" / record.id / store.RECORD
    spec = record.spec.model_copy(update={field: name})
    path.write_text(record.model_copy(update={"spec": spec, "id": spec.id, "digest": ""}).as_json())
    assert store.load_records(tmp_path / "results") == []
    assert "is left out" in caplog.text
    assert icdbench("export", "out", "--results", "results")[0] == 2
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize("name", ["..csv", "...csv", ". .csv", "a..csv", "..%2f.csv", "-.csv", "é.csv"])
def test_an_own_file_names_a_folder_of_its_own(name: str) -> None:
    made = own.source(Path("somewhere") / name).name
    assert made not in {"", ".", ".."}
    assert Path(made).name == made


@pytest.mark.parametrize("name", ["../escaped", "/escaped/", ".."])
def test_no_data_set_or_run_of_another_folder_is_found(name: str, icdbench: Call, tmp_path: Path) -> None:
    for words in (
        ("run", "--dataset", name),
        ("run", "--models", name),
        ("data", "get", name),
        ("data", "clear", name),
    ):
        status, _, err = icdbench(*words)
        assert status == 2
        assert "Traceback" not in err
    assert not list(tmp_path.rglob("*escaped*"))


# --- Downloads -----------------------------------------------------------------------------------------------------------


def test_downloads_go_over_tls() -> None:
    for address in (codiesp_files.URL, splits.CAML, splits.EDIN):
        assert address.startswith("https://")


def test_an_altered_record_is_left_out(
    icdbench: Call, few_notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert icdbench("run", "--models", "lr", "--dataset", few_notes)[0] == 0
    (record,) = store.load_records(tmp_path / "results")
    path = tmp_path / "results" / record.id / store.RECORD
    content = json.loads(path.read_text())
    content["metrics"]["test"]["fixed"]["f1_micro"] = 0.99
    path.write_text(json.dumps(content))
    assert store.load_records(tmp_path / "results") == []
    assert "its bytes were altered" in caplog.text
    path.write_text(json.dumps(content | {"digest": ""}))  # as records were stored before they had one
    assert len(store.load_records(tmp_path / "results")) == 1


def test_altered_weights_are_refused(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    assert icdbench("run", "--models", "lr", "--dataset", few_notes)[0] == 0
    (path,) = (tmp_path / "results").rglob(store.WEIGHTS)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    note = tmp_path / "note.txt"
    note.write_text("the fever was treated", encoding="utf-8")
    (record,) = store.load_records(tmp_path / "results")
    status, out, err = icdbench("predict", note, "--run", record.id)
    assert (status, out) == (2, "")
    assert "model.safetensors is not the file that was stored with run" in err


@pytest.mark.parametrize("method", [12, 14, 99])  # bzip2 and lzma, which these bytes are not, and one that nobody has
def test_predictions_whose_compression_was_altered_are_refused(tmp_path: Path, method: int) -> None:
    path = make_predictions(tmp_path)
    content = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        for found in re.finditer(re.escape(signature), bytes(content)):
            content[found.start() + at] = method
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"predictions\.npz is damaged"):
        store.load_predictions(tmp_path, UNSIGNED)
