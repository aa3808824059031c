"""The notes below tables: the data, seeds and versions of the runs, and what limits their comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from icdbench.data import datasets
from icdbench.presentation.cells import COLLAPSED, Column, SystemRow, numbered
from icdbench.records import RunRecord, comparable
from icdbench.settings import DataError, SpecError, typed
from icdbench.types import SPLITS

if TYPE_CHECKING:  # it imports torch
    from icdbench.records import provenance

READING = ("read_as", "rows_merged", "rows_left_out", "missing_codes")  # facts about how a user's own file was read
NO_BETTER = 0.01  # MAP by which a system has to exceed popularity
BUDGET = ("max_epochs", "patience", "monitor", "objective")  # fields of TrainSpec that tuning leaves as they are
KINDS = {  # how the file of predictions was read
    "probabilities": "codes with probabilities, predicted above 0.5; a code that is not listed has 0",
    "logits": "codes with scores, not all in [0, 1], so read as logits: predicted above 0; a code that is not listed is last",
    "ranking": "codes in order, all of them predicted; AUC needs scores and is left out",
    "codes": "codes alone, all of them predicted; what needs scores or a ranking is left out",
}
COUNTED = {  # what did not fit the data set, and the rule for it
    "missing": "documents without a row (nothing is predicted)",
    "elsewhere": "ids of other splits (left out)",
    "unknown": "ids that the data set does not have (left out)",
    "repeated": "rows that repeat an id (the first counts)",
    "respelled": "codes spelled otherwise than in the data, in dots or case (read as the data's)",
    "doubled": "codes listed twice for a document (the first counts)",
    "outside": "codes outside the label set (false positives)",
    "unseen": "correct codes that training never shows (missed, as for every system)",
    "left_out": "codes that are not among the data.top_codes (another task, left out)",
}


def data_name(record: RunRecord) -> str:
    """The data set's name with the settings that make it another task; for MIMIC always with the protocol."""
    return _name_with_settings(record, task_settings(record))


def short_name(record: RunRecord, *always: str) -> str:
    """The data set's name with those task settings that the user changed or that `always` lists."""
    settings = task_settings(record)
    return _name_with_settings(
        record, {name: settings[name] for name in settings if f"data.{name}" in {*record.changed, *always}}
    )


def task_settings(record: RunRecord) -> dict[str, Any]:
    """The settings that make the data another task, if they are not the defaults; the protocol always."""
    dataset = record.spec.dataset
    always = {"protocol"} & record.data.facts.keys()
    return {
        field: value
        for field, value in datasets.changes_task(dataset, record.spec.data).items()
        if field in always or value != datasets.default(dataset, field)
    }


def _name_with_settings(record: RunRecord, settings: Mapping[str, Any]) -> str:
    return ", ".join([marked_name(record), *(f"{field}={value}" for field, value in settings.items())])


def marked_name(record: RunRecord) -> str:
    """The data set's name, marked if it is synthetic."""
    return record.spec.dataset + " (SYNTHETIC)" * record.data.synthetic


def code_titles(run: RunRecord, codes: Sequence[str], root: Path | None = None) -> Mapping[str, str]:
    """Titles of codes from the run's data set; none if its files are missing."""
    try:
        return datasets.open(run.spec.dataset, root, run.spec.data).titles(codes)
    except (SpecError, DataError, OSError):
        return {}


def block_names(found: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The name of each block's data; names that several blocks share end in the fingerprint."""
    return told_apart([data_name(block[0]) for block in found], found)


def told_apart(names: Sequence[str], found: Sequence[Sequence[RunRecord]]) -> list[str]:
    """Names of blocks of runs; those that several blocks share end in the fingerprint of the data."""
    return [
        name if names.count(name) == 1 else f"{name} [{block[0].spec.fingerprint[:8]}]"
        for name, block in zip(names, found, strict=True)
    ]


def about_data(records: Sequence[RunRecord]) -> list[str]:
    """Notes on the data of comparable runs, on how codes that are not in training limit F1, and on faults of the data."""
    spec, data = records[0].spec, records[0].data
    documents = ", ".join(f"{data.documents[split]:,} {split}" for split in SPLITS)
    size = f"documents {documents}; L = {data.num_codes:,} codes; fingerprint {spec.fingerprint}"
    notes = [f"Data: {data_name(records[0])}; {size}."]
    if moved := data.facts.get("validation_documents_in_training"):
        alone = "epochs and threshold are those of the same runs on the training documents alone"
        notes.append(f"Of the training documents {moved:,} are those of validation: {alone}.")
    if facts := [f"{name.replace('_', ' ')}: {data.facts[name]}" for name in READING if name in data.facts]:
        notes.append(f"Own file; {'; '.join(facts)}.")
    if unseen := data.unseen["test"]:
        gold = data.assignments["test"]
        recall = (gold - unseen) / gold
        most = math.ceil(round(20000 * recall / (1 + recall), 6)) / 100  # at precision 1; rounded up, as it is a bound
        share = f"{unseen:,} of {gold:,} gold assignments ({100 * unseen / gold:.1f} %)"
        bound = f"they count as missed, so micro-F1 cannot exceed {most:.2f}"
        notes.append(f"{share} are codes that training never shows; {bound}.")
    notices = dict.fromkeys(notice for record in records for notice in record.data.notices)
    notes += [*about_label_sets(records), *about_spans(records)]
    return notes + [f"About the data: {notice}." for notice in notices]


def about_label_sets(records: Sequence[RunRecord]) -> list[str]:
    """Which runs can predict codes of a whole code system beside those of training, and which figures are comparable."""
    if not (beyond := comparable.beyond_training(records)):
        return []
    systems = ", ".join(dict.fromkeys(record.spec.system for record in beyond))
    note = (
        f"{systems}: any of the {beyond[0].data.num_codes:,} codes of the code system can be predicted (data.label_set=system). "
        "Micro figures, P@k, R@k and MAP are comparable, as codes that a system cannot predict count as missed; means over "
        "codes, and AUC, are not and are left out. Bounds stated here are those of the codes of training."
    )
    return [note]


def about_spans(records: Sequence[RunRecord]) -> list[str]:
    """Which runs were trained with marked words beside the codes of documents."""
    systems = dict.fromkeys(record.spec.system for record in records if record.spec.data.spans)
    trained = "trained with the words that annotators marked for each code (data.spans), which other rows did not use"
    return [f"(spans): {trained}: {', '.join(systems)}."] if systems else []


def about_ceilings(records: Sequence[RunRecord], columns: Sequence[Column]) -> list[str]:
    """The highest values of ranking metrics that any system can reach, given the gold codes of the test split."""
    most = records[0].ceilings
    bounded = [
        (name, key) for name, _, key in columns if key in most and (most[key] < 1 or key.startswith(("p@", "r@")))
    ]
    bounds = [f"{name} {100 * most[key]:.1f}" for name, key in bounded]  # rounded as the figures in the table are
    if not bounds:
        return []
    which = " of the codes of training" if comparable.beyond_training(records) else ""
    listed = ", ".join(bounds)
    return [f"Ceilings, given the gold codes of the test documents: {listed}; no ranking{which} can exceed them."]


def about_seeds(systems: Sequence[SystemRow]) -> str:
    """Whether figures are means or single runs, and over which seeds."""
    by_seeds: dict[str, list[str]] = {}
    for system in systems:
        by_seeds.setdefault(comparable.seed_list(system.runs), []).append(system.label)
    parts = [f"{seeds}: {', '.join(labels)}" for seeds, labels in by_seeds.items()]
    which = "; ".join(parts if len(parts) > 1 else by_seeds)
    several = any(len(system.runs) > 1 for system in systems)
    return f"mean ± sample standard deviation over seeds ({which})" if several else f"one run each ({which})"


def about_small(systems: Sequence[SystemRow]) -> list[str]:
    """Which systems have settings for small training sets instead of the published ones, and which search found them."""
    adapted = []
    for system in systems:
        run = system.runs[0]
        if run.adapted:
            found_by = f" ({run.study})" if run.study else ""
            values = ", ".join(f"{name}={typed(value)}" for name, value in run.adapted.items())
            adapted.append(f"{system.label}{found_by} {values}")
    return (
        [f"Settings for small training sets in place of the published ones: {'; '.join(adapted)}."] if adapted else []
    )


def about_scored(runs: Iterable[RunRecord]) -> list[str]:
    """Which runs were scored from files, and how."""
    return [f"{run.spec.system}: {about_file(run.scored)}" for run in runs if run.scored]


def about_file(source: provenance.ScoredFile) -> str:
    """Which file was scored, how it was read, and what did not fit the data set, with the rule for it."""
    tuned = f"threshold tuned on {source.validation}" if source.validation else "no tuned threshold"
    counted = [
        f"{split}: {'; '.join(f'{COUNTED[key]}: {count:,}' for key, count in counts.items() if key in COUNTED)}."
        for split, counts in source.counts.items()
        if counts
    ]
    if source.kind == "runs":
        first, *others = source.file.split()
        return f"{first} mixed with {', '.join(others)} by weights from the validation documents."
    read = f"scored from a file, {source.file} (SHA-256 {source.sha256[:12]}): {KINDS[source.kind]}; {tuned}."
    return " ".join([read, *counted])


def about_origin(systems: Sequence[SystemRow]) -> list[str]:
    """The settings of numbered systems; which runs were scored, averaged over versions, separated by version, or are unsigned."""
    notes = [*numbered(systems), *about_scored(run for system in systems for run in system.runs)]
    for system in systems:
        groups = comparable.by_version(system.runs)
        if len(groups) > 1:
            which = "; ".join(f"{made} ({comparable.seed_list(runs)})" for made, runs in groups.items())
            notes.append(f"{system.label} is averaged over runs of different versions: {which}.")
    settings = {(system.system, system.runs[0].spec.setting) for system in systems}
    if len(settings) < len(systems):
        notes.append("Runs of different minor versions are in rows of their own; --mix-versions averages them.")
    return notes + comparable.about_unsigned([run for system in systems for run in system.runs])


def no_better_than_popularity(runs: Sequence[RunRecord]) -> str:
    """A remark if a system, given by its runs, ranks codes no better than their frequency does; else empty."""
    figures = [(run.metrics["test"].get("fixed", {}).get("map"), run.popularity.get("map")) for run in runs]
    pairs = [(own, floor) for own, floor in figures if own is not None and floor is not None]
    if not pairs or any(run.collapse for run in runs):  # collapsed runs have a note of their own
        return ""
    own, floor = (fmean(values) for values in zip(*pairs, strict=True))
    if own > floor + NO_BETTER:
        return ""
    return f"is at the level of popularity: MAP {100 * own:.1f}, popularity {100 * floor:.1f}"


def about_collapse(systems: Sequence[SystemRow]) -> list[str]:
    """Which runs have collapsed, and how, and which systems are no better than popularity."""
    collapsed: dict[tuple[str, str, str], list[RunRecord]] = {}
    for system in systems:
        for run in system.runs:
            for rule, what in sorted(run.collapse.items()):
                collapsed.setdefault((system.label, rule, what), []).append(run)
    notes = [
        f"{COLLAPSED} {label}, {comparable.seed_list(runs)}: {what} ({rule})"
        for (label, rule, what), runs in collapsed.items()
    ]
    remarks = [(system.label, no_better_than_popularity(system.runs)) for system in systems]
    return notes + [f"{label} {remark}." for label, remark in remarks if remark]


def about_tuned(systems: Sequence[SystemRow]) -> list[str]:
    """Tuned systems that were trained with another budget than the untuned system of the same table."""
    notes = []
    for system in (each for each in systems if each.runs[0].spec.variant == "tuned"):
        tuned = system.runs[0].spec
        for each in (each for each in systems if each.system == tuned.model):
            budgets = {name: [getattr(spec.train, name) for spec in (tuned, each.runs[0].spec)] for name in BUDGET}
            different = [f"{name} {one} and {other}" for name, (one, other) in budgets.items() if one != other]
            if different:
                notes.append(f"{system.label} and {each.label} do not compare like with like: {', '.join(different)}.")
    return notes
