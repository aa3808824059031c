"""Finished runs that tests share: trained once per session, whichever process of `pytest -n` comes first, and copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from filelock import FileLock

import icdbench.run as runner
from icdbench.inference import bundle
from icdbench.run import Request
from icdbench.synthetic import tables

SYSTEMS = ("caml", "jlan", "lr")
SETTINGS = {
    "caml.filters": 8,
    "data.code_system": "icd9cm",
    "data.embeddings": "random",
    "data.min_documents": 1,
    "train.max_epochs": 2,
}
NOTE = "The patient had edema, and the fever was treated.\n"
BUNDLE = "caml.icdbench"
TABLES = "tables"


def write_notes(path: Path, insulin: str = "0250") -> Path:
    """40 own documents with splits, whose codes are words of theirs; ICD-9-CM has no code 0250."""
    lines = ["id,text,codes,split"]
    for number in range(40):
        word, code = [("fever", "038.9"), ("edema", "428.0"), ("insulin", insulin)][number % 3]
        split = "train" if number < 20 else "validation" if number < 30 else "test"
        lines.append(f"{number},the {word} was treated,{code},{split}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def train(folder: Path) -> None:
    """`notes.csv`, `note.txt`, the runs of SYSTEMS below `results`, a bundle, synthetic tables, and the cache."""
    folder.mkdir()
    (folder / "note.txt").write_text(NOTE, encoding="utf-8")
    request = Request(
        SYSTEMS,
        str(write_notes(folder / "notes.csv", "250.00")),
        changes=SETTINGS,
        results=folder / "results",
        device="cpu",
    )
    with mock.patch.dict(os.environ, ICDBENCH_CACHE=str(folder / "cache")):
        for spec in runner.expand(request):
            runner.execute(spec, request)
        bundle.write(bundle.of_run(run_of(folder, "caml"), request.results), folder / BUNDLE)
    synthetic(folder / TABLES)


def synthetic(folder: Path) -> Path:
    """Synthetic MIMIC tables of 60 admissions."""
    tables.make(folder, admissions=60, seed=1, other_notes=1, workers=1)
    return folder


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills, in whichever process asks first."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            fresh = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            make(fresh)
            fresh.rename(folder)
    return folder


def run_of(folder: Path, system: str) -> str:
    """The id of a system's finished run."""
    (found,) = (folder / "results").glob(f"notes.csv/{system}/*")
    return found.relative_to(folder / "results").as_posix()
