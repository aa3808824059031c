"""The errors in the report, entered by `errors`: by code, by pairs of confused codes and, if asked for, by document.

Decisions are on the test split at the tuned threshold, or at 0.5 if there is none. Two codes are confused in a document if it
has the one, which is missed, and lacks the other, which is predicted. Shapes: N documents, L codes of a run, C listed codes.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from icdbench.data import datasets
from icdbench.evaluation import analysis, measure
from icdbench.presentation.notes import code_titles
from icdbench.presentation.report_tables import ReportedSystem
from icdbench.records import RunRecord, store
from icdbench.settings import DataError, SpecError
from icdbench.types import IntArray

log = logging.getLogger("icdbench")

MOST_CELLS = 50_000_000  # test documents × codes of a run; reading more predictions would take too long for a page
MOST_CODES, MOST_DOCUMENTS = 250, 1000  # listed, those with the most errors
MOST_CONFUSED, FEWEST = 3, 2  # confused codes listed for a code, and the fewest documents of a run in which they are


class RawData(NamedTuple):
    """The folder of raw data (None: ICDBENCH_DATA, else ./data), and whether the page may show document ids."""

    root: Path | None = None
    document_ids: bool = False


NO_IDS = RawData()


class Errors(NamedTuple):
    """Data for the page's script on codes and on documents; `lacking` says why documents that were asked for are missing."""

    codes: Mapping[str, Any]
    documents: Mapping[str, Any]
    lacking: str = ""


class Decided(NamedTuple):
    """A run's decisions on the test split: gold and predicted [N, L]; gold codes not in training are counted [N]."""

    codes: tuple[str, ...]
    train_counts_L: IntArray
    gold: csr_matrix
    predicted: csr_matrix
    unseen_N: IntArray

    def columns(self, names: Sequence[str]) -> tuple[IntArray, IntArray]:
        """Gold and predicted cells of some codes, zeros and ones [N, C]; zeros for codes that the run does not have."""
        column_of = {code: column for column, code in enumerate(self.codes)}
        found_C = np.array([column_of.get(name, -1) for name in names], np.int64)
        gold_NC, predicted_NC = (cells[:, found_C].toarray() * (found_C >= 0) for cells in (self.gold, self.predicted))
        return gold_NC, predicted_NC


def errors(systems: Sequence[ReportedSystem], results: Sequence[Path], raw: RawData) -> Errors:
    """The errors of comparable systems whose predictions are below `results`.

    Systems that have collapsed, whose predictions are damaged or missing, or whose test split is too large are left out.
    """
    decided = [_decided_runs(system, results) for system in systems]
    codes = _by_code(systems, decided, raw.root)
    if not raw.document_ids:
        return Errors(codes, {})
    shown = [(system.runs[0], each[0]) for system, each in zip(systems, decided, strict=True) if each]
    if not shown:
        return Errors(codes, {}, "no predictions are stored, or the test split is too large")
    try:
        return Errors(codes, _by_document(document_ids(*shown[0], raw.root), decided))
    except (SpecError, DataError) as error:
        return Errors(codes, {}, str(error))


def _decided_runs(system: ReportedSystem, results: Sequence[Path]) -> list[Decided]:
    data, found = system.runs[0].data, []
    if system.collapsed or data.documents["test"] * data.num_codes > MOST_CELLS:
        return []
    for run in system.runs:
        folder = store.with_predictions(results, run)
        if folder is None:
            return []
        try:
            found.append(_decided_run(folder, run.created))
        except DataError as error:
            log.warning("%s", error)
            return []
    return found


@functools.cache  # a served page is rendered again whenever a run ends
def _decided_run(folder: Path, _created: str) -> Decided:
    record = store.load_record(folder)
    if record is None:
        raise DataError(f"{folder / store.RECORD} cannot be read any more")
    predictions, label_set = store.load_test_predictions(folder, record), store.load_label_set(folder, record)
    threshold = record.threshold.get("tuned", 0.5)
    predicted = csr_matrix(measure.scored(predictions).scores_NL > threshold, dtype=np.int32)
    gold = csr_matrix(predictions.labels, dtype=np.int32)
    return Decided(label_set.codes, label_set.train_counts, gold, predicted, predictions.unseen)


def _by_code(
    systems: Sequence[ReportedSystem], decided: Sequence[Sequence[Decided]], root: Path | None
) -> dict[str, Any]:
    """Data on the codes with the most errors; empty without predictions.

    For each code: name, title, training and test documents. For each system and code: true positives and predicted documents
    of each run, and the most confused codes as a flat list of positions, each followed by its documents in all runs.
    """
    runs = [run for of_system in decided for run in of_system]
    if not runs:
        return {}
    names, others = _with_most_errors(runs)
    columns = [[run.columns(names) for run in of_system] for of_system in decided]
    counts = [dict(zip(run.codes, run.train_counts_L.tolist(), strict=True)) for run in runs]
    gold_C = np.max([gold_NC.sum(0) for of_system in columns for gold_NC, _ in of_system], axis=0)
    titles = code_titles(systems[0].runs[0], names, root)
    return {
        "names": names,
        "titles": [titles.get(name, "") for name in names],
        "train": [max(each.get(name, 0) for each in counts) for name in names],
        "gold": gold_C.tolist(),
        "others": others,
        "systems": [_codes_of_system(each) if each else None for each in columns],
    }


def _with_most_errors(runs: Sequence[Decided]) -> tuple[list[str], int]:
    """The codes with the most errors in all runs, and the number of others that a document has or a run predicts."""
    errors: Counter[str] = Counter()
    for run in runs:
        either_L = np.asarray(run.gold.maximum(run.predicted).sum(0)).ravel()
        wrong_L = np.asarray(abs(run.gold - run.predicted).sum(0)).ravel()
        for code in np.flatnonzero(either_L):
            errors[run.codes[code]] += int(wrong_L[code])
    ranked = sorted(errors, key=lambda name: (-errors[name], name))
    return sorted(ranked[:MOST_CODES]), len(ranked[MOST_CODES:])


def _codes_of_system(runs: Sequence[tuple[IntArray, IntArray]]) -> dict[str, Any]:
    confused_CC = np.sum([(gold * (1 - predicted)).T @ (predicted * (1 - gold)) for gold, predicted in runs], axis=0)
    return {
        "tp": [(gold * predicted).sum(0).tolist() for gold, predicted in runs],
        "predicted": [predicted.sum(0).tolist() for _, predicted in runs],
        "instead": list(_largest_counts(confused_CC, FEWEST * len(runs))),
        "mistaken": list(_largest_counts(np.transpose(confused_CC), FEWEST * len(runs))),
    }


def _largest_counts(confused_CC: IntArray, fewest: int) -> Iterator[list[int]]:
    """For each row the positions of the largest counts, each followed by its count."""
    for counts_C in confused_CC:
        best = np.argsort(-counts_C, kind="stable")[:MOST_CONFUSED]
        yield [int(number) for code in best if counts_C[code] >= fewest for number in (code, counts_C[code])]


def document_ids(record: RunRecord, decided: Decided, root: Path | None) -> tuple[str, ...]:
    """The ids of the test documents, from the raw data. Raises SpecError, DataError if these are missing or others."""
    opened = datasets.open(record.spec.dataset, root, record.spec.data)
    notes = analysis.predicted_notes(
        opened, record, csr_matrix(decided.gold, dtype=np.uint8), analysis.Choice(root=root)
    )
    if notes is not None:
        return notes.ids
    opened.files()  # raises an error that names missing files
    raise DataError(f"the raw data in {opened.root} are not those that the runs were made on")


def _by_document(ids: Sequence[str], decided: Sequence[Sequence[Decided]]) -> dict[str, Any]:
    """Data on the documents with the most errors.

    For each document: id and number of gold codes. For each system and document: number of predicted codes in all runs, mean
    Jaccard coefficient, and missed and wrong codes as flat lists of positions in `names`, each followed by its runs.
    """
    names: dict[str, int] = {}
    found = [_documents_of_system(of_system, names) if of_system else None for of_system in decided]
    jaccard_N = np.mean([each["jaccard"] for each in found if each], axis=0)
    worst = np.argsort(jaccard_N, kind="stable")[:MOST_DOCUMENTS]
    first = next(of_system[0] for of_system in decided if of_system)
    gold_N = np.asarray(first.gold.sum(1)).ravel() + first.unseen_N
    return {
        "ids": [ids[document] for document in worst],
        "gold": gold_N[worst].tolist(),
        "others": len(ids) - len(worst),
        "names": list(names),
        "systems": [
            each and {key: [values[document] for document in worst] for key, values in each.items()} for each in found
        ],
    }


def _documents_of_system(runs: Sequence[Decided], names: dict[str, int]) -> dict[str, list[Any]]:
    """The data of a system on all documents; codes that are not among the `names` yet are added to them."""
    predicted_N, jaccards = np.zeros(len(runs[0].unseen_N), np.int64), []
    missed: list[Counter[int]] = [Counter() for _ in predicted_N]
    wrong: list[Counter[int]] = [Counter() for _ in predicted_N]
    for run in runs:
        predicted_N += np.asarray(run.predicted.sum(1)).ravel()
        both_N = np.asarray(run.gold.multiply(run.predicted).sum(1)).ravel()
        either_N = np.asarray(run.gold.maximum(run.predicted).sum(1)).ravel() + run.unseen_N
        jaccards.append(np.where(either_N, both_N / np.maximum(either_N, 1), 1.0))
        errors = csr_matrix(run.gold - run.predicted).tocoo()
        for document, code, kind in zip(errors.row.tolist(), errors.col.tolist(), errors.data.tolist(), strict=True):
            if kind:
                (missed if kind > 0 else wrong)[document][names.setdefault(run.codes[code], len(names))] += 1
    flat = {
        name: [[number for pair in sorted(each.items()) for number in pair] for each in lists]
        for name, lists in (("missed", missed), ("wrong", wrong))
    }
    return {"predicted": predicted_N.tolist(), "jaccard": np.mean(jaccards, axis=0).round(4).tolist(), **flat}
