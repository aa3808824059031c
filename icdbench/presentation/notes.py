"""The notes below tables: what the runs were made on, over which seeds and versions, and what limits a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from icdbench.data import datasets
from icdbench.presentation.cells import COLLAPSED, Column, SystemRow
from icdbench.records import RunRecord, comparable
from icdbench.settings import typed
from icdbench.types import SPLITS

if TYPE_CHECKING:  # it imports torch
    from icdbench.records import provenance

READING = ("read_as", "rows_merged", "rows_left_out", "missing_codes")  # facts about how a user's own file was read
NO_BETTER = 0.01  # of MAP, by which a system has to exceed popularity
BUDGET = ("max_epochs", "patience", "monitor", "objective")  # fields of TrainSpec that tuning does not search

KINDS = {  # how a file of predictions was read
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
    "left_out": "codes that data.top_codes leaves out (another task, left out)",
}


def data_name(record: RunRecord) -> str:
    """The data set with the settings that make it another task; for MIMIC always the protocol."""
    return _named(record, task_settings(record))


def short_name(record: RunRecord, *always: str) -> str:
    """The data set with those of these settings that the user changed, and with those of `always`."""
    settings = task_settings(record)
    return _named(record, {name: settings[name] for name in settings if f"data.{name}" in {*record.changed, *always}})


def task_settings(record: RunRecord) -> dict[str, Any]:
    """The settings that make the data another task, other than their defaults."""
    dataset = record.spec.dataset
    named = {"protocol"} & record.data.facts.keys()
    return {
        field: value
        for field, value in datasets.changes_task(dataset, record.spec.data).items()
        if field in named or value != datasets.default(dataset, field)
    }


def _named(record: RunRecord, settings: Mapping[str, Any]) -> str:
    name = record.spec.dataset + " (SYNTHETIC)" * record.data.synthetic
    return ", ".join([name, *(f"{field}={value}" for field, value in settings.items())])


def block_names(found: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The data of each block of comparable runs; where several have one name, the fingerprint tells them apart."""
    return told_apart([data_name(block[0]) for block in found], found)


def told_apart(names: Sequence[str], found: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The names of blocks of runs; those that several share end in the fingerprint of their data."""
    return [
        name if names.count(name) == 1 else f"{name} [{block[0].spec.fingerprint[:8]}]"
        for name, block in zip(names, found, strict=True)
    ]


def about_data(records: Sequence[RunRecord]) -> list[str]:
    """The data of comparable runs, the bound that codes unseen in training put on F1, and what is wrong with the data."""
    spec, data = records[0].spec, records[0].data
    documents = ", ".join(f"{data.documents[split]:,} {split}" for split in SPLITS)
    size = f"documents {documents}; L = {data.num_codes:,} codes; fingerprint {spec.fingerprint}"
    notes = [f"Data: {data_name(records[0])}; {size}."]
    if said := [f"{name.replace('_', ' ')}: {data.facts[name]}" for name in READING if name in data.facts]:
        notes.append(f"Own file; {'; '.join(said)}.")
    if unseen := data.unseen["test"]:
        gold = data.assignments["test"]
        recall = (gold - unseen) / gold
        most = math.ceil(round(20000 * recall / (1 + recall), 6)) / 100  # at precision 1; rounded up, as it is a bound
        share = f"{unseen:,} of {gold:,} gold assignments ({100 * unseen / gold:.1f} %)"
        notes.append(
            f"{share} are codes that training never shows; they count as missed, so micro-F1 cannot exceed {most:.2f}."
        )
    notices = dict.fromkeys(notice for record in records for notice in record.data.notices)
    return [
        *notes,
        *about_label_sets(records),
        *about_spans(records),
        *(f"About the data: {notice}." for notice in notices),
    ]


def about_label_sets(records: Sequence[RunRecord]) -> list[str]:
    """Which of comparable runs predict codes of a whole code system beside those of training, and what compares."""
    if not (beyond := comparable.beyond_training(records)):
        return []
    systems = ", ".join(dict.fromkeys(record.spec.system for record in beyond))
    what = (
        f"{systems}: any of the {beyond[0].data.num_codes:,} codes of the code system can be predicted (data.label_set=system). "
        "Micro figures, P@k, R@k and MAP compare, as codes that a system cannot predict count as missed; figures that are means "
        "over codes, and AUC, do not and are left out. Bounds stated here are those of the codes of training."
    )
    return [what]


def about_spans(records: Sequence[RunRecord]) -> list[str]:
    """Which runs learned from more than the codes of training documents."""
    systems = dict.fromkeys(record.spec.system for record in records if record.spec.data.spans)
    said = (
        "(spans): trained with the words that people marked for each code (data.spans), which other rows have not seen"
    )
    return [f"{said}: {', '.join(systems)}."] if systems else []


def about_ceilings(records: Sequence[RunRecord], columns: Sequence[Column]) -> list[str]:
    """The most that any system can reach in the columns of ranking metrics, given the gold codes of the test split."""
    most = records[0].ceilings
    bounds = [
        f"{name} {100 * most[key]:.1f}"  # rounded as the figures above it are
        for name, _, key in columns
        if key in most and (most[key] < 1 or key.startswith(("p@", "r@")))
    ]
    if not bounds:
        return []
    which = " of the codes of training" if comparable.beyond_training(records) else ""
    given = "Ceilings, given the gold codes of the test documents"
    return [f"{given}: {', '.join(bounds)}; no ranking{which} can exceed them."]


def about_seeds(systems: Sequence[SystemRow]) -> str:
    """What a number is: a mean over which seeds, or a single run."""
    by_seeds: dict[str, list[str]] = {}
    for system in systems:
        by_seeds.setdefault(comparable.seed_list(system.runs), []).append(system.label)
    which = "; ".join(f"{seeds}: {', '.join(labels)}" for seeds, labels in by_seeds.items())
    which = next(iter(by_seeds)) if len(by_seeds) == 1 else which
    several = any(len(system.runs) > 1 for system in systems)
    return f"mean ± sample standard deviation over seeds ({which})" if several else f"one run each ({which})"


def about_small(systems: Sequence[SystemRow]) -> list[str]:
    """Which systems have settings for small training sets instead of the published ones, and which search found them."""
    each = []
    for system in systems:
        run = system.runs[0]
        if run.adapted:
            found_by = f" ({run.study})" if run.study else ""
            values = ", ".join(f"{name}={typed(value)}" for name, value in run.adapted.items())
            each.append(f"{system.label}{found_by} {values}")
    return [f"Settings for small training sets in place of the published ones: {'; '.join(each)}."] if each else []


def about_scored(runs: Iterable[RunRecord]) -> list[str]:
    """Of runs that were scored from files: which, how they were read, and what did not fit, with the rule for it."""
    return [f"{run.spec.system}: {about_file(run.scored)}" for run in runs if run.scored]


def about_file(source: provenance.ScoredFile) -> str:
    """Which file was scored, how it was read, and what did not fit, with the rule for each."""
    tuned = f"threshold tuned on {source.validation}" if source.validation else "no tuned threshold"
    counted = [
        f"{split}: {'; '.join(f'{COUNTED[key]}: {count:,}' for key, count in counts.items() if key in COUNTED)}."
        for split, counts in source.counts.items()
        if counts
    ]
    if source.kind == "runs":
        first, *others = source.file.split()
        return f"{first} mixed with {', '.join(others)} by weights from the validation documents."
    said = f"scored from a file, {source.file} (SHA-256 {source.sha256[:12]}): {KINDS[source.kind]}; {tuned}."
    return " ".join([said, *counted])


def about_origin(systems: Sequence[SystemRow]) -> list[str]:
    """Which runs were scored from files, which means are over different versions, whether versions have rows of their own,
    which runs are unsigned."""
    notes = about_scored(run for system in systems for run in system.runs)
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
    """Say so if a system, given by its runs, ranks the codes no better than their frequency does; else nothing."""
    figures = [(run.metrics["test"].get("fixed", {}).get("map"), run.popularity.get("map")) for run in runs]
    known = [(own, floor) for own, floor in figures if own is not None and floor is not None]
    if not known or any(run.collapse for run in runs):  # which is said by itself
        return ""
    own, floor = (fmean(values) for values in zip(*known, strict=True))
    if own > floor + NO_BETTER:
        return ""
    return f"is at the level of popularity: MAP {100 * own:.1f}, popularity {100 * floor:.1f}"


def about_collapse(systems: Sequence[SystemRow]) -> list[str]:
    """Which runs are degenerate, and in what, and which systems are no better than popularity."""
    found: dict[tuple[str, str, str], list[RunRecord]] = {}
    for system in systems:
        for run in system.runs:
            for rule, what in sorted(run.collapse.items()):
                found.setdefault((system.label, rule, what), []).append(run)
    level = [(system.label, no_better_than_popularity(system.runs)) for system in systems]
    return [
        *(
            f"{COLLAPSED} {label}, {comparable.seed_list(runs)}: {what} ({rule})"
            for (label, rule, what), runs in found.items()
        ),
        *(f"{label} {said}." for label, said in level if said),
    ]


def about_tuned(systems: Sequence[SystemRow]) -> list[str]:
    """Tuned systems that were trained with another budget than the untuned system in the same table."""
    notes = []
    for system in (each for each in systems if each.runs[0].spec.variant == "tuned"):
        tuned = system.runs[0].spec
        for each in (each for each in systems if each.system == tuned.model):
            ours, theirs = ({name: getattr(spec.train, name) for name in BUDGET} for spec in (tuned, each.runs[0].spec))
            unlike = [f"{name} {ours[name]} and {theirs[name]}" for name in BUDGET if ours[name] != theirs[name]]
            if unlike:
                notes.append(f"{system.label} and {each.label} do not compare like with like: {', '.join(unlike)}.")
    return notes
