"""Finished runs for others: records and predictions, and nothing else of a results folder.

What is written is named here, array by array: a file of another origin that lies in a results folder stays behind.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from icdbench import datasets, store
from icdbench.files import replacing_folder
from icdbench.spec import DataError, SpecError
from icdbench.types import RunRecord

ARRAYS = re.compile(r"codes|train_counts|(validation|test)\.(scores|score_bytes|codes|code_offsets|unseen)")
README = """# Runs of icdbench

{runs} finished runs on {names}: settings, metrics, history, timing, versions ({record}) and, for {open}, the scores and gold
codes of each validation and test document in the order of the split ({predictions}). No note text, no words, no document
or patient ids, no weights.{kept}

To see them, beside your own:

    icdbench tables table5 --results {folder} --results results
    icdbench figures all --results {folder} --results results --out figures
"""


class Shared(NamedTuple):
    """What was written: the runs, and the data sets whose predictions stayed behind."""

    runs: int
    without: list[str]


def share(results: Sequence[Path], out: Path, *, predictions: bool = False) -> Shared:
    """Write the finished runs of these results folders to a new folder, with a README.

    Gold codes in the order of a published split are patient data: of data under an agreement, and of a user's own, predictions
    go along only with `predictions`. Raises SpecError if there are no runs or the folder is not empty, DataError if it cannot be
    written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SpecError(f"'{out}' is there already and not empty; name a new folder")
    records = store.load_records(*results)
    if not records:
        raise SpecError(f"no runs in {', '.join(map(repr, map(str, results)))}; --results names another folder")
    names = sorted({record.spec.dataset for record in records})
    whole = [name for name in names if predictions or _open(name)]
    without = [name for name in names if name not in whole]
    kept = f"\nPredictions on {', '.join(without)} are left out: they would show patients' codes." if without else ""
    text = README.format(
        runs=len(records),
        names=", ".join(names),
        record=store.RECORD,
        open=", ".join(whole) or "no data set",
        predictions=store.PREDICTIONS,
        kept=kept,
        folder=out.name,
    )
    try:
        with replacing_folder(out) as fresh:
            for record in records:
                _write(record, results, fresh, whole=record.spec.dataset in whole)
            (fresh / "README.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"'{out}' cannot be written: {error.strerror or error}; nothing was kept") from None
    return Shared(len(records), without)


def _open(dataset: str) -> bool:
    """Whether a data set is one of the suite's that no agreement covers."""
    known = datasets.scan()
    return dataset in known and not known[dataset].agreement


def _write(record: RunRecord, results: Sequence[Path], out: Path, *, whole: bool) -> None:
    folder = store.folder(out, record.spec)
    folder.mkdir(parents=True)
    (folder / store.RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    places = [store.folder(each, record.spec) / store.PREDICTIONS for each in results]
    source = next((place for place in places if place.is_file()), None)
    if whole and source is not None:
        try:
            with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files if ARRAYS.fullmatch(name)}
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{source} is damaged ({error}); remove its folder, or run it again") from None
        np.savez_compressed(folder / store.PREDICTIONS, **arrays)
