"""Which runs may share a table (`blocks`), and which may be averaged (`by_version`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from icdbench.data import datasets
from icdbench.records.record import RunRecord

# Fields of DataFacts that must be equal, too: another version of icdbench may read other documents with the same settings.
SIZES = ("num_codes", "documents", "assignments", "unseen", "synthetic")

VERSION = re.compile(r"\d+\.\d+(?=\.\d)")

# Metrics that count gold codes outside the label set as missed. They can be compared between runs on the same documents that
# predict the codes of training and runs that predict a whole code system. Other metrics are means over the label set.
OVER_LABEL_SETS = ("f1_micro", "precision_micro", "recall_micro", "jaccard_micro", "exact_match", "r_precision")
RANKINGS_OVER_LABEL_SETS = ("p@", "r@", "map")  # prefixes of keys


def over_label_sets(key: str) -> bool:
    """Whether a metric can be compared between runs with different label sets."""
    return key in OVER_LABEL_SETS or key.startswith(RANKINGS_OVER_LABEL_SETS)


def training_codes(record: RunRecord) -> int | None:
    """The number of training codes, for a run that predicts a whole code system; None for any other run."""
    found: int | None = record.data.facts.get("training_codes")
    return found


def task(record: RunRecord, *, any_label_set: bool = False) -> dict[str, Any]:
    """What must be equal for two runs to be comparable (raw data, documents, codes), by the names used in messages.

    With `any_label_set` a run that predicts a whole code system has the same task as runs that predict the codes of training;
    then only the metrics of `over_label_sets` can be compared. Marked words of training documents (`data.spans`) do not
    change the task, so their files are not part of the fingerprint here.
    """
    spec = record.spec
    raw = record.data.facts.get("fingerprint_without_spans", spec.fingerprint)
    settings = {f"data.{name}": value for name, value in datasets.changes_task(spec.dataset, spec.data).items()}
    sizes = {name: getattr(record.data, name) for name in SIZES}
    if any_label_set and training_codes(record):
        settings["data.label_set"] = "train"
        sizes |= {"num_codes": training_codes(record), "unseen": record.data.facts["unseen_in_training"]}
    return {"data set": spec.dataset, "fingerprint of the raw data": raw, **settings, **sizes}


def blocks(records: Iterable[RunRecord], *, any_label_set: bool = False) -> list[list[RunRecord]]:
    """Groups of runs with equal `task`, which may share a table, each sorted by id; a run that is given twice counts once.

    Runs that learned from marked words come last in their group, and with `any_label_set` those on a whole code system.
    """
    blocks: dict[str, list[RunRecord]] = {}
    for record in {record.id: record for record in sorted(records, key=lambda each: (each.id, each.created))}.values():
        key = json.dumps(task(record, any_label_set=any_label_set), sort_keys=True)
        blocks.setdefault(key, []).append(record)
    return [
        sorted(block, key=lambda each: (bool(training_codes(each)), each.spec.data.spans)) for block in blocks.values()
    ]


def beyond_training(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs on a whole code system among comparable ones, if others are on the codes of training; else none."""
    found = [record for record in records if training_codes(record)]
    return [] if len(found) == len(records) else found


APART = ("icdbench", "torch")  # runs of different minor versions of these are not averaged
# Minor versions of icdbench that compute the same, with their label.
SAME_NUMBERS = dict.fromkeys(("0.1", "0.2"), "0.1–0.2")


def made_by(record: RunRecord) -> dict[str, str]:
    """The versions, beside its settings, on which a run's figures depend: those of programs and of the model's code."""
    return {
        "icdbench": record.versions.get("icdbench", ""),
        "torch": record.versions.get("torch", ""),
        f"{record.spec.model}'s code": record.code,
    }


def minor(version: str) -> str:
    """The minor version, such as `2.13` of `2.13.0+cpu`; a text that is no version is returned unchanged."""
    match = VERSION.match(version)
    return match[0] if match else version


def apart(record: RunRecord) -> dict[str, str]:
    """The minor versions of `APART` that made the run: runs in which they differ are not averaged."""
    found = {name: minor(made_by(record)[name]) for name in APART}
    return {**found, "icdbench": SAME_NUMBERS.get(found["icdbench"], found["icdbench"])}


def by_version(runs: Sequence[RunRecord], *, exact: bool = True) -> dict[str, list[RunRecord]]:
    """The runs grouped by the versions in which they differ, such as `torch 2.13.0`, or without `exact` `torch 2.13`."""
    made = [made_by(run) if exact else apart(run) for run in runs]
    names = list(dict.fromkeys(name for each in made for name in each))
    differing = [name for name in names if len({each[name] for each in made if name in each}) > 1]
    groups: dict[str, list[RunRecord]] = {}
    for run, each in zip(runs, made, strict=True):
        parts = [f"{name} {each[name] or '?'}" for name in differing if name in each]
        groups.setdefault(", ".join(parts), []).append(run)
    return groups


def about_unsigned(runs: Iterable[RunRecord]) -> list[str]:
    """A note that names the unsigned runs; empty if all are signed."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        if not run.signed:
            found.setdefault(run.spec.system, []).append(run)
    which = "; ".join(f"{system}, {seed_list(unsigned)}" for system, unsigned in found.items())
    why = "a change to their records or files would not be seen; 'icdbench runs --remeasure' signs them"
    return [f"Unsigned: {which}: {why}."] if found else []


def seed_list(runs: Iterable[RunRecord]) -> str:
    """The seeds of the runs, such as `seeds 1, 2, 3`."""
    each = sorted(run.spec.seed for run in runs)
    return ("seed " if len(each) == 1 else "seeds ") + ", ".join(map(str, each))
