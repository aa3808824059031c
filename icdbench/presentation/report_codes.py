"""The codes in the report: what each system does with every code, what it confuses, and, if asked for, with which documents.

Decisions are those on the test split at the tuned threshold, or at 0.5 where there is none. Two codes are confused in a
document that has the one, which is missed, and not the other, which is predicted. Shapes: N documents, L codes of a run,
C codes that are listed.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from icdbench.data import datasets
from icdbench.evaluation import analysis, measure
from icdbench.presentation.report_tables import ReportedSystem
from icdbench.records import RunRecord, store
from icdbench.settings import DataError, SpecError
from icdbench.types import IntArray

log = logging.getLogger("icdbench")

MOST_CELLS = 50_000_000  # test documents × codes of a run: above, reading its predictions takes longer than a page may
MOST_CODES, MOST_DOCUMENTS = 250, 1000  # those with the most errors
MOST_CONFUSED, FEWEST = 3, 2  # codes that a code is confused with, and in how many documents of a run at least


class RawData(NamedTuple):
    """Where the raw data are (none: ICDBENCH_DATA, else ./data), and whether the page may show ids of their documents."""

    root: Path | None = None
    document_ids: bool = False


NO_IDS = RawData()


class Errors(NamedTuple):
    """What the page's script draws of codes and of documents, and why there are no documents although they were asked for."""

    codes: Mapping[str, Any]
    documents: Mapping[str, Any]
    lacking: str = ""


class Decided(NamedTuple):
    """What a run decides on the test split: its codes, their training documents [L], gold and predicted codes [N, L], unseen ones [N]."""

    codes: tuple[str, ...]
    train_counts_L: IntArray
    gold: csr_matrix
    predicted: csr_matrix
    unseen_N: IntArray

    def columns(self, names: Sequence[str]) -> tuple[IntArray, IntArray]:
        """Gold and predicted cells of some codes, zeros and ones [N, C]; codes that the run does not have are never either."""
        place = {code: column for column, code in enumerate(self.codes)}
        found_C = np.array([place.get(name, -1) for name in names], np.int64)
        gold_NC, predicted_NC = (
            np.where(found_C < 0, 0, cells[:, found_C].toarray()) for cells in (self.gold, self.predicted)
        )
        return gold_NC, predicted_NC


def errors(systems: Sequence[ReportedSystem], results: Sequence[Path], raw: RawData) -> Errors:
    """The errors of comparable systems whose predictions are below `results`.

    Systems that have collapsed, whose predictions are damaged or not stored, or whose test split is too large have none.
    """
    decided = [_of_system(system, results) for system in systems]
    codes = _by_code(systems, decided, raw.root)
    if not raw.document_ids:
        return Errors(codes, {})
    first, record = next(
        ((each[0], system.runs[0]) for system, each in zip(systems, decided, strict=True) if each), (None, None)
    )
    if first is None or record is None:
        return Errors(codes, {}, "no predictions are stored, or the test split is too large")
    try:
        return Errors(codes, _by_document(document_ids(record, first, raw.root), decided))
    except (SpecError, DataError) as error:
        return Errors(codes, {}, str(error))


def _of_system(system: ReportedSystem, results: Sequence[Path]) -> list[Decided]:
    data, found = system.runs[0].data, []
    if system.collapsed or data.documents["test"] * data.num_codes > MOST_CELLS:
        return []
    for run in system.runs:
        folder = next((folder for folder in results if (folder / run.id / store.PREDICTIONS).is_file()), None)
        if folder is None:
            return []
        try:
            found.append(_of_run(folder / run.id, run.created))
        except DataError as error:
            log.warning("%s", error)
            return []
    return found


@functools.cache  # a page that is served is made again whenever a run ends
def _of_run(folder: Path, _created: str) -> Decided:
    record = store.load_record(folder)
    if record is None:
        raise DataError(f"{folder / store.RECORD} cannot be read any more")
    predictions, label_set = store.load_predictions(folder, record)["test"], store.load_label_set(folder, record)
    threshold = record.threshold.get("tuned", 0.5)
    predicted = csr_matrix(measure.scored(predictions).scores_NL > threshold, dtype=np.int32)
    gold = csr_matrix(predictions.labels, dtype=np.int32)
    return Decided(label_set.codes, label_set.train_counts, gold, predicted, predictions.unseen)


def _by_code(
    systems: Sequence[ReportedSystem], decided: Sequence[Sequence[Decided]], root: Path | None
) -> dict[str, Any]:
    """What the page shows of the codes with the most errors; nothing without predictions.

    By code its name, title, and training and test documents; by system and code true positives and predicted documents of
    each run, and the codes that it is most often confused with: their positions, each with its documents in all runs.
    """
    every = [each for of_system in decided for each in of_system]
    if not every:
        return {}
    names, others = _with_most_errors(decided)
    columns = [[each.columns(names) for each in of_system] for of_system in decided]
    counts = [dict(zip(each.codes, each.train_counts_L.tolist(), strict=True)) for each in every]
    gold_C = np.max([gold_NC.sum(0) for of_system in columns for gold_NC, _ in of_system], axis=0)
    titles = _titles(systems[0].runs[0], names, root)
    return {
        "names": names,
        "titles": [titles.get(name, "") for name in names],
        "train": [max(known.get(name, 0) for known in counts) for name in names],
        "gold": gold_C.tolist(),
        "others": others,
        "systems": [_system_data(each) if each else None for each in columns],
    }


def _with_most_errors(decided: Sequence[Sequence[Decided]]) -> tuple[list[str], int]:
    """The codes with the most errors in all runs, and the number of others that a document has or a run predicts."""
    errors: dict[str, int] = {}
    for each in (run for of_system in decided for run in of_system):
        either_L = np.asarray(each.gold.maximum(each.predicted).sum(0)).ravel()
        wrong_L = np.asarray(abs(each.gold - each.predicted).sum(0)).ravel()
        for code in np.flatnonzero(either_L):
            errors[each.codes[code]] = errors.get(each.codes[code], 0) + int(wrong_L[code])
    ranked = sorted(errors, key=lambda name: (-errors[name], name))
    return sorted(ranked[:MOST_CODES]), len(ranked[MOST_CODES:])


def _titles(record: RunRecord, names: Sequence[str], root: Path | None) -> Mapping[str, str]:
    try:
        return datasets.open(record.spec.dataset, root, record.spec.data).titles(names)
    except (SpecError, DataError):
        return {}


def _system_data(runs: Sequence[tuple[IntArray, IntArray]]) -> dict[str, Any]:
    confused_CC = np.sum([(gold * (1 - predicted)).T @ (predicted * (1 - gold)) for gold, predicted in runs], axis=0)
    return {
        "tp": [(gold * predicted).sum(0).tolist() for gold, predicted in runs],
        "predicted": [predicted.sum(0).tolist() for _, predicted in runs],
        "instead": list(_most(confused_CC, FEWEST * len(runs))),
        "mistaken": list(_most(np.transpose(confused_CC), FEWEST * len(runs))),
    }


def _most(confused_CC: IntArray, fewest: int) -> Iterator[list[int]]:
    """Of each row the positions of the largest counts, each with its count."""
    for counts_C in confused_CC:
        best = np.argsort(-counts_C, kind="stable")[:MOST_CONFUSED]
        yield [int(number) for code in best if counts_C[code] >= fewest for number in (code, counts_C[code])]


def document_ids(record: RunRecord, decided: Decided, root: Path | None) -> tuple[str, ...]:
    """The ids of the test documents, from the data set. Raises SpecError, DataError where it is not at hand or another."""
    opened = datasets.open(record.spec.dataset, root, record.spec.data)
    notes = analysis.predicted_notes(
        opened, record, csr_matrix(decided.gold, dtype=np.uint8), analysis.Choice(root=root)
    )
    if notes is not None:
        return notes.ids
    opened.files()  # which says what is missing
    raise DataError(f"the raw data in {opened.root} are not those that the runs were made on")


def _by_document(ids: Sequence[str], decided: Sequence[Sequence[Decided]]) -> dict[str, Any]:
    """What the page shows of the documents with the most errors, by id.

    By document its gold codes; by system and document its predicted codes in all runs, the mean Jaccard coefficient, and the
    missed and wrong codes: positions among `names`, each with the number of its runs.
    """
    names: dict[str, int] = {}
    found = [_of_documents(of_system, names) if of_system else None for of_system in decided]
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


def _of_documents(runs: Sequence[Decided], names: dict[str, int]) -> dict[str, list[Any]]:
    """The lists of a system over all documents; codes that have no position yet get one."""
    predicted_N, jaccards = np.zeros(len(runs[0].unseen_N), np.int64), []
    missed: list[dict[int, int]] = [{} for _ in predicted_N]
    wrong: list[dict[int, int]] = [{} for _ in predicted_N]
    for run in runs:
        predicted_N += np.asarray(run.predicted.sum(1)).ravel()
        both_N = np.asarray(run.gold.multiply(run.predicted).sum(1)).ravel()
        either_N = np.asarray(run.gold.maximum(run.predicted).sum(1)).ravel() + run.unseen_N
        jaccards.append(np.where(either_N, both_N / np.maximum(either_N, 1), 1.0))
        errors = csr_matrix(run.gold - run.predicted).tocoo()
        for document, code, kind in zip(errors.row.tolist(), errors.col.tolist(), errors.data.tolist(), strict=True):
            if kind:
                own = (missed if kind > 0 else wrong)[document]
                position = names.setdefault(run.codes[code], len(names))
                own[position] = own.get(position, 0) + 1
    flat = {
        name: [[number for pair in sorted(each.items()) for number in pair] for each in lists]
        for name, lists in (("missed", missed), ("wrong", wrong))
    }
    return {"predicted": predicted_N.tolist(), "jaccard": np.mean(jaccards, axis=0).round(4).tolist(), **flat}
