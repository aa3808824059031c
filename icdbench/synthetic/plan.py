"""The plan of synthetic MIMIC-III tables: who is admitted when, which notes are written (`make_plan`), and the splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from icdbench.codes import icd9
from icdbench.settings import SpecError
from icdbench.synthetic.dice import Dice, random_stream

# MIMIC-III v1.4 (https://doi.org/10.13026/C2XW26): admissions, and those of them with a discharge summary.
ALL_ADMISSIONS, WITH_SUMMARY = 58_976, 52_726
# CAML's lists (Mullenbach et al. 2018, https://github.com/jamesmullenbach/caml-mimic): ids per split, of WITH_SUMMARY.
FULL = {"train": 47_723, "dev": 1_631, "test": 3_372}
TOP_50 = {"train": 8_066, "dev": 1_573, "test": 1_729}
FEWEST = 20  # admissions; fewer cannot fill six lists
ADDENDUM, ADDENDUM_FIRST = 0.10, 0.03  # admissions with an addendum, and with one before the report
TWIN = 0.01  # admissions with the same report twice
RETURNS = 0.21  # admissions of a patient who was there before: 46,520 patients have the 58,976 admissions
SEED_LIMIT = 2**31
# Random streams: what is drawn from one never changes what another gives.
PATIENT, CASE, TEXT, ROWS, NOISE, ORDER, PLAN, NOTES, SPLITS = range(9)


@dataclass(frozen=True)
class TablesSpec:
    """The arguments of the generator, which decide every byte of the tables."""

    admissions: int  # with a discharge summary
    seed: int
    label_noise: float  # share of labels that are wrong
    other_notes: int  # per admission, on average

    def check(self) -> None:
        """Raise SpecError for settings that no tables can have."""
        if self.admissions < FEWEST:
            raise SpecError(f"admissions = {self.admissions}: at least {FEWEST} are needed to fill the lists of ids")
        if not 0 <= self.label_noise < 1:
            raise SpecError(f"label noise = {self.label_noise}: give a share of labels from 0 to below 1, such as 0.1")
        if self.other_notes < 0:
            raise SpecError(f"other notes = {self.other_notes}: give 0 or more per admission; MIMIC-III has 38")
        if not 0 <= self.seed < SEED_LIMIT:
            raise SpecError(f"seed = {self.seed}: give a whole number from 0 to {SEED_LIMIT - 1}")


@dataclass(frozen=True)
class Plan:
    """Arrays by number of admission, those without a summary included."""

    hadm: NDArray[np.int64]
    patient: NDArray[np.int64]  # number of the patient's first admission
    subject: NDArray[np.int64]
    summary: NDArray[np.bool_]
    addendum: NDArray[np.int64]  # 0 none, 1 after the report, 2 before it
    twin: NDArray[np.bool_]  # whether the report is written twice
    day: NDArray[np.int64]  # proleptic ordinal of discharge
    first_row: NDArray[np.int64]  # ROW_ID of the admission's first note, or of the next admission's if it has none

    def __len__(self) -> int:
        return len(self.hadm)


@lru_cache(maxsize=1)
def make_plan(spec: TablesSpec) -> Plan:
    """The plan. Admissions without a summary are spread evenly, so admission i is the same however many there are."""
    lacking = ALL_ADMISSIONS - WITH_SUMMARY
    likely = range(spec.admissions, spec.admissions * 5 // 4 + 2)
    total = max(n for n in likely if n - n * lacking // ALL_ADMISSIONS == spec.admissions)
    # Drawn row by row: a larger total leaves the first ones as they are.
    returns, kind, twins, first_day, later = random_stream(spec.seed, PLAN).random((total, 5)).T
    number = np.arange(total)
    summary = (number + 1) * lacking // ALL_ADMISSIONS == number * lacking // ALL_ADMISSIONS
    patient = number.copy()
    for i in range(1, total):
        if returns[i] < RETURNS:
            patient[i] = patient[int(returns[i] / RETURNS * i)]
    ids = max(100_000, 2 ** total.bit_length())  # at MIMIC-III's size 100,000 to 199,999, as there
    addendum = np.where(summary, np.where(kind < ADDENDUM_FIRST, 2, np.where(kind < ADDENDUM, 1, 0)), 0)
    twin = summary & (twins < TWIN)
    rows = summary.astype(np.int64) + (addendum > 0) + twin
    start = date(2100, 1, 1).toordinal()
    return Plan(
        hadm=100_000 + _permutation(ids, spec.seed, PLAN, 3)[:total],
        patient=patient,
        subject=1 + _permutation(ids, spec.seed, PLAN, 4)[patient],
        summary=summary,
        addendum=addendum,
        twin=twin,
        day=start + (first_day[patient] * 100 * 365).astype(np.int64) + (later * 1_500).astype(np.int64),
        first_row=1 + np.cumsum(rows) - rows,
    )


def _permutation(size: int, *seed: int) -> NDArray[np.int64]:
    """The numbers below `size` in random order."""
    return np.argsort(random_stream(*seed).random(size), kind="stable")


def draw_lists(plan: Plan, labels: Sequence[Sequence[str]], spec: TablesSpec) -> dict[str, list[int]]:
    """HADM_IDs by list, in CAML's proportions; a patient's admissions are in one split, and none of the six is empty."""
    with_summary = np.flatnonzero(plan.summary).tolist()
    by_id = sorted(with_summary, key=lambda i: (plan.subject[i], plan.hadm[i]))
    counts = Counter(code for i in by_id for code in sorted(labels[i], key=icd9.is_procedure))
    top = {code for code, _ in counts.most_common(50)}  # of equally frequent ones those that come first, as CAML counts
    frequent = {i for i in with_summary if top & set(labels[i])}
    patients: dict[int, list[int]] = {}
    for i in with_summary:
        patients.setdefault(int(plan.patient[i]), []).append(i)
    dice = Dice(spec.seed, SPLITS)
    waiting = dice.shuffled(patients.values())
    split: dict[str, list[int]] = {}
    for name in ("test", "dev"):
        # The first patient has a label of the 50, else a short list could be without any.
        first = next((patient for patient in waiting if frequent & set(patient)), waiting[0])
        waiting.remove(first)
        split[name], waiting = _fill_split(first, waiting, _scaled(FULL[name], spec))
    split["train"] = [i for patient in waiting for i in patient]
    found = {f"{name}_full": split[name] for name in FULL}
    for name, size in TOP_50.items():
        found[f"{name}_50"] = dice.shuffled([i for i in split[name] if i in frequent])[: _scaled(size, spec)]
    return {name: [int(plan.hadm[i]) for i in numbers] for name, numbers in found.items()}


def _scaled(size: int, spec: TablesSpec) -> int:
    """A size of MIMIC-III in proportion to the number of admissions, at least 1."""
    return max(1, round(size * spec.admissions / WITH_SUMMARY))


def _fill_split(first: list[int], patients: list[list[int]], size: int) -> tuple[list[int], list[list[int]]]:
    """The admissions of the first patient and of those that fit into the size, and the patients that do not."""
    taken, rest = list(first), []
    for patient in patients:
        if len(taken) + len(patient) <= size:
            taken += patient
        else:
            rest.append(patient)
    return taken, rest
