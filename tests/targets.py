"""What reads files, as targets of fuzzing: whole files to begin with, and what reading altered ones may at most raise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from codiesp import small as small_codiesp
from corpora import rows, write
from mimic import small
from places import ROOT
from runs import UNSIGNED
from safetensors.numpy import save_file
from scipy.sparse import csr_matrix

from icdbench import registry
from icdbench.data import datasets, encode
from icdbench.data.sources import codiesp_files
from icdbench.inference import bundle
from icdbench.presentation import catalog
from icdbench.records import store
from icdbench.settings import DataError, SpecError
from icdbench.spec import TrainSpec
from icdbench.training import checkpointing
from icdbench.training.accelerator import fabric
from icdbench.training.checkpointing import resume
from icdbench.training.objectives import optimizer_of
from icdbench.training.state import State
from icdbench.types import LabelSet, Predictions, Task, quiet

COMMITTED = ROOT / "results"
TABLE = {
    "name": "own",
    "title": "Mine",
    "dataset": "demo",
    "metrics": [["F1 micro", "f1_micro"]],
    "published": {"CAML": ["caml", ["53.2"]]},
}


@dataclass(frozen=True)
class Target:
    """`make(folder)` writes whole files and gives the one to alter; `read(path)` may raise DataError and SpecError alone."""

    make: Callable[[Path], Path]
    read: Callable[[Path], object]


def attempt(target: Target, path: Path) -> str:
    """What became of reading: the error's line, or nothing. Raises whatever a user would see as a crash."""
    try:
        target.read(path)
    except (DataError, SpecError) as error:
        line = str(error)
        assert line.strip()
        return line
    return ""


def prepare(name: str, root: Path, **changes: object) -> None:
    """All that reading the raw files of a data set involves, without the cache."""
    opened = datasets.open(name, root, changes)
    opened.files()
    encode._build(opened, quiet, "", "")


def mimic(table: str) -> Target:
    def make(folder: Path) -> Path:
        small().write(folder, packed=False)
        (path,) = folder.glob(f"{table}*")
        return path

    return Target(make, lambda path: prepare("mimic-full", path.parent, embeddings="random", min_documents=1))


def make_codiesp(folder: Path) -> Path:
    return small_codiesp(folder) / codiesp_files.FOLDER / "train" / "trainD.tsv"


def own(suffix: str) -> Target:
    return Target(
        lambda folder: write(folder / f"notes{suffix}", rows(12)), lambda path: prepare(str(path), path.parent)
    )


def make_record(folder: Path) -> Path:
    (folder / store.RECORD).write_bytes(min(COMMITTED.glob(f"*/*/*/{store.RECORD}")).read_bytes())
    return folder / store.RECORD


def make_tuned(folder: Path) -> Path:
    settings = {"model": {"filters": 4}, "train": {"learning_rate": 0.01}}
    return store.save_tuned(folder, {"model": "caml", "dataset": "demo", "fingerprint": "0" * 16, "settings": settings})


def make_table(folder: Path) -> Path:
    """The table's settings are a file of their own: altered Python would be run."""
    path = folder / "table.json"
    path.write_text(json.dumps(TABLE), encoding="utf-8")
    read = f"json.loads(Path({str(path)!r}).read_bytes())"
    code = f"import json\nfrom pathlib import Path\nfrom icdbench.spec import Benchmark\nOWN = Benchmark(**{read})\n"
    path.with_suffix(".py").write_text(code, encoding="utf-8")
    return path


def make_predictions(folder: Path) -> Path:
    labels = csr_matrix(np.eye(3, dtype=np.uint8))
    made = Predictions((), np.ones((3, 3), np.float32), labels, np.zeros(3, np.int32))
    store.save_predictions(
        folder, UNSIGNED.id, {"validation": made, "test": made}, LabelSet(("a", "b", "c"), np.arange(3))
    )
    return folder / store.PREDICTIONS


def tiny() -> torch.nn.Module:
    model = registry.build("caml", Task(5, 3), embedding_size=2, filters=2)
    assert isinstance(model, torch.nn.Module)
    return model


def make_checkpoint(folder: Path) -> Path:
    model = tiny()
    optimizer = optimizer_of(model, TrainSpec())
    path = folder / store.CHECKPOINT
    checkpoints = checkpointing.Checkpoints(path, model, optimizer, fabric("cpu"))
    checkpoints.stop_or_save(State(), model.state_dict(), 0.0, stop=False, at_once=True)
    return path


def read_checkpoint(path: Path) -> None:
    model = tiny()
    resume(path, model, optimizer_of(model, TrainSpec()), fabric("cpu"))


def make_weights(folder: Path) -> Path:
    weights = {name: value.numpy() for name, value in tiny().state_dict().items()}
    save_file(weights, folder / store.WEIGHTS, metadata={store.RUN: f"{UNSIGNED.id} {store.array_digest('', weights)}"})
    return folder / store.WEIGHTS


def read_weights(path: Path) -> None:
    """As those who read weights do, who tell their users of any error."""
    with bundle._naming_damaged(path):
        store.load_weights(path.parent, UNSIGNED)


def make_explained(folder: Path) -> Path:
    (folder / store.EXPLAINED).write_bytes(min(COMMITTED.glob(f"*/*/*/*/{store.EXPLAINED}")).read_bytes())
    return folder / store.EXPLAINED


def make_bundle(folder: Path) -> Path:
    model = tiny()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    contents = bundle.Contents(
        run="own/caml/1-00000000",
        dataset="own",
        fingerprint="",
        synthetic=True,
        icdbench="",
        created="",
        model="caml",
        variant="",
        version=registry.entry("caml").version,
        config={"embedding_size": 2, "filters": 2},
        words="not-numeric",
        max_tokens=10,
        threshold={"fixed": 0.5, "tuned": 0.5},
        tokens=("", "", "fever", "edema", "insulin"),
        codes=("a", "b", "c"),
        titles=("", "", ""),
        descriptions=((), (), ()),
        hierarchy=None,
    )
    bundle.write(bundle.Bundle(contents, weights), folder / "m.icdbench")
    return folder / "m.icdbench"


TARGETS = {
    **{f"mimic {table}": mimic(table) for table in ("NOTEEVENTS", "DIAGNOSES_ICD", "D_ICD_DIAGNOSES", "train_full")},
    "codiesp": Target(make_codiesp, lambda path: prepare("codiesp-d", path.parents[2], min_documents=1)),
    **{f"own{suffix}": own(suffix) for suffix in (".csv", ".jsonl", ".parquet")},
    "record": Target(make_record, lambda path: store.load_record(path.parent)),
    "tuned": Target(make_tuned, lambda path: store.load_tuned(path.parents[2], "demo", "caml", "demo", "0" * 16)),
    "table": Target(make_table, lambda path: catalog.chosen(str(path.with_suffix(".py")))),
    "predictions": Target(make_predictions, lambda path: store.load_predictions(path.parent, UNSIGNED)),
    "label set": Target(make_predictions, lambda path: store.load_label_set(path.parent, UNSIGNED)),
    "bundle": Target(make_bundle, bundle.read),
    "weights": Target(make_weights, read_weights),
    "explained": Target(make_explained, lambda path: store.load_explained(path.parent, UNSIGNED)),
    "checkpoint": Target(make_checkpoint, read_checkpoint),
}
