"""Export finished runs for others (`share`): records and predictions, and nothing else of a results folder.

Only the arrays of ARRAYS are exported, so other files or arrays in a results folder are not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from icdbench.data import datasets, export
from icdbench.records import store
from icdbench.records.record import RunRecord
from icdbench.settings import SpecError

ARRAYS = re.compile(r"run|codes|train_counts|(validation|test)\.(score_bytes|codes|code_offsets|unseen|outside)")
README = """# Runs of icdbench

{runs} finished runs on {names}: settings, metrics, history, timing, versions ({record}) and, for {open}, the scores and gold
codes of each validation and test document in the order of the split ({predictions}). No note text, no words, no document
or patient ids, no weights.{kept}

To see them, beside your own:

    icdbench tables table5 --results {folder} --results results
    icdbench figures all --results {folder} --results results --out figures
"""


class Shared(NamedTuple):
    """What was exported: the number of runs, and the data sets without predictions."""

    runs: int
    without: list[str]


def share(results: Sequence[Path], out: Path, *, predictions: bool = False) -> Shared:
    """Write the finished runs of these results folders to a new folder, with a README.

    Gold codes in the order of a published split are patient data. Predictions on data under an agreement, and on a user's own
    data, are therefore written only with `predictions`. Raises SpecError if there are no runs or the folder is not empty,
    DataError if it cannot be written.
    """
    records = store.load_records(*results)
    if not records:
        raise SpecError(f"no runs in {', '.join(map(repr, map(str, results)))}; --results names another folder")
    names = sorted({record.spec.dataset for record in records})
    whole = [name for name in names if predictions or _may_be_published(name)]
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
    with export.new_folder(out) as fresh:
        for record in records:
            _write(record, results, fresh, whole=record.spec.dataset in whole)
        (fresh / "README.md").write_text(text, encoding="utf-8")
    return Shared(len(records), without)


def _may_be_published(dataset: str) -> bool:
    """Whether a data set is one of the suite's and under no data-use agreement."""
    known = datasets.scan()
    return dataset in known and not known[dataset].agreement


def _write(record: RunRecord, results: Sequence[Path], out: Path, *, whole: bool) -> None:
    folder = store.folder(out, record)
    folder.mkdir(parents=True)
    # The same run may be stored in several folders; each record has digests of the files beside it.
    found = [(place, stored) for each in results if (stored := store.load_record(place := store.folder(each, record)))]
    source, record = next((pair for pair in found if (pair[0] / store.PREDICTIONS).is_file()), (None, record))
    if whole and source is not None:
        with store.opened_predictions(source, record) as predictions:
            arrays = {name: predictions[name] for name in predictions if ARRAYS.fullmatch(name)}
        np.savez_compressed(folder / store.PREDICTIONS, **arrays)
    if record.signed:
        store.save_record(folder, store.sign(folder, record))
    else:
        store.write_record(folder, record)
