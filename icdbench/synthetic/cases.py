"""The admissions of the synthetic MIMIC-III tables: `draw_case` draws a patient, a topic (the reason for admission) and codes.

An admission's codes are the topic's frequent ones, codes that any patient may have, and a long tail from the topic's
chapters. Frequencies were set by hand to resemble published counts of MIMIC-III (Johnson et al. 2016,
https://doi.org/10.1038/sdata.2016.35; Mullenbach et al. 2018, https://aclanthology.org/N18-1100): about 11 diagnoses and 4
procedures per admission, about 9,000 codes of which half occur fewer than ten times.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from icdbench.codes import icd9
from icdbench.synthetic.dice import Dice
from icdbench.synthetic.language import MAN, WOMAN, background, excluded_by, probabilities, table, topic_weights

DIAGNOSES, PROCEDURES = 7000, 2060  # codes that can occur; at MIMIC-III's size nearly all of them do
MOST_DIAGNOSES, MOST_PROCEDURES = 39, 40  # per admission, MIMIC-III's maxima
DIAGNOSIS_SCALE, PROCEDURE_SCALE = 3.55, 2.3  # of gamma distributions (shapes 3 and 2) of codes per admission
OFFSET, EXPONENT = 60.0, 1.2  # weight of the tail's code of rank r: (r + OFFSET) ** -EXPONENT
FROM_OWN_CHAPTERS = 0.75  # share of the tail's codes that are of the topic's chapters
SAME_TOPIC = 0.6  # probability that a patient comes back for the same topic
# Codes that can always occur: this diagnosis and this procedure have the same digits.
ALWAYS = ("44.39", "443.9")
ONLY_WOMEN = ("614-629", "630-676", "V22-V28", "65-75")  # categories of diagnoses, first digits of procedures
ONLY_MEN = ("600-608", "60-64")


@dataclass(frozen=True)
class Topic:
    """A reason for admission: the codes that go with it often, and the ranges that the others are drawn from."""

    name: str
    service: str
    complaints: tuple[str, ...]
    diagnoses: tuple[str, ...]  # ranges of categories, `410-414`
    procedures: tuple[str, ...]  # ranges of first digits
    codes: Mapping[str, float]  # with their probabilities


@cache
def topics() -> Mapping[str, Topic]:
    return {
        name: Topic(
            name,
            service,
            tuple(complaints.split(", ")),
            tuple(diagnoses.split()),
            tuple(procedures.split()),
            probabilities(codes.split(", ")),
        )
        for name, (_, service, complaints, diagnoses, procedures, codes) in table("mimic_topics").items()
    }


def category(code: str) -> str:
    """The first three digits, after the E of an external cause; codes of one category are easily confused.

    427.31 and 427.32 are in 427, 36.15 and 36.12 in 36.1.
    """
    return code[:4] if icd9.is_procedure(code) or code.startswith("E") else code[:3]


def in_ranges(code: str, ranges: Iterable[str]) -> bool:
    """Whether the code's category (a procedure's first two digits) lies in one of the ranges, written `410-414`."""
    head = code.partition(".")[0]
    ends = (bounds.split("-") for bounds in ranges)
    return any(len(low) == len(head) and low <= head <= (high or [low])[-1] for low, *high in ends)


class CodePool:
    """Codes to draw from, by their weights."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.codes, self.marks = tuple(weights), tuple(accumulate(weights.values()))

    def draw(self, dice: Dice) -> str:
        return self.codes[min(bisect(self.marks, dice.share() * self.marks[-1]), len(self.codes) - 1)]


@dataclass(frozen=True)
class CodesInUse:
    """The codes that occur, the same for every seed: the weight of each in the long tail, and pools to draw from."""

    weights: Mapping[str, float]
    all_codes: Mapping[bool, CodePool]  # by is_procedure
    by_topic: Mapping[tuple[str, bool], CodePool]  # by topic and is_procedure
    categories: Mapping[str, tuple[str, ...]]  # the codes of each category


@cache
def codes_in_use() -> CodesInUse:
    """The frequent codes of the topics and the background, and a random part of all others."""
    frequent = {code for topic in topics().values() for code in topic.codes} | set(background("mimic"))
    dice, weights = Dice(2014), dict[str, float]()
    for kind, size in ((icd9.DIAGNOSIS, DIAGNOSES), (icd9.PROCEDURE, PROCEDURES)):
        known = icd9.titles()[kind]
        head = [code for code in known if code in frequent or code in ALWAYS]
        others = [code for code in dice.shuffled(known) if code not in set(head)]
        for rank, code in enumerate([*dice.shuffled(head), *others[: size - len(head)]]):
            weights[code] = (rank + OFFSET) ** -EXPONENT
    kinds = {
        kind: {code: weights[code] for code in weights if icd9.is_procedure(code) == kind} for kind in (False, True)
    }
    by_topic = {
        (topic.name, kind): CodePool({code: weight for code, weight in own.items() if in_ranges(code, ranges)})
        for topic in topics().values()
        for (kind, own), ranges in zip(kinds.items(), (topic.diagnoses, topic.procedures), strict=True)
    }
    categories: dict[str, tuple[str, ...]] = {}
    for code in weights:
        categories[category(code)] = (*categories.get(category(code), ()), code)
    return CodesInUse(weights, {kind: CodePool(own) for kind, own in kinds.items()}, by_topic, categories)


@dataclass(frozen=True)
class Case:
    """An admission before anything is written; its true codes have the most important ones first."""

    topic: Topic
    person: Mapping[str, str]  # pronouns
    age: int  # years
    diagnoses: tuple[str, ...]
    procedures: tuple[str, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        return self.diagnoses + self.procedures


def draw_case(patient: Dice, dice: Dice) -> Case:
    """A case; `patient` draws what stays the same over a patient's admissions, `dice` the rest."""
    woman, age = patient.luck(0.44), patient.number(19, 88)
    usual = topics()[patient.weighted(topic_weights("mimic_topics"))]
    chronic = {code for code, chance in background("mimic").items() if patient.luck(chance)}
    stays = usual.name == "newborn" or dice.luck(SAME_TOPIC)
    topic = usual if stays else topics()[dice.weighted(topic_weights("mimic_topics"))]
    if topic.name == "newborn":
        topic = usual
    if topic.name == "obstetric":
        woman, age = True, 19 + age % 24
    impossible = ONLY_MEN if woman else ONLY_WOMEN
    sizes = {
        False: min(1 + int(_gamma(dice, 3) * DIAGNOSIS_SCALE), MOST_DIAGNOSES),
        True: min(int(_gamma(dice, 2) * PROCEDURE_SCALE), MOST_PROCEDURES),
    }
    chosen: dict[bool, list[str]] = {False: [], True: []}
    taken: set[str] = set()

    def fits(code: str) -> bool:
        return not excluded_by(code) & taken and not in_ranges(code, impossible)

    for code in _likely_codes(topic, chronic, dice):
        kind = icd9.is_procedure(code)
        if len(chosen[kind]) < sizes[kind] and fits(code):
            chosen[kind].append(code)
            taken.add(code)
    for kind, codes in chosen.items():
        pools = codes_in_use().all_codes[kind], codes_in_use().by_topic[topic.name, kind]
        categories = {category(code) for code in codes}  # diagnoses of the tail are each of another category
        for _ in range(2 * (sizes[kind] - len(codes))):  # not every draw fits
            code = pools[dice.luck(FROM_OWN_CHAPTERS)].draw(dice)
            same = code in codes or (not kind and category(code) in categories)
            if len(codes) < sizes[kind] and not same and fits(code):
                codes.append(code)
                categories.add(category(code))
    years = 0 if topic.name == "newborn" else age
    return Case(topic, WOMAN if woman else MAN, years, tuple(chosen[False]), tuple(chosen[True]))


def _gamma(dice: Dice, shape: int) -> float:
    """A number from the gamma distribution with a whole shape and scale 1."""
    return -math.log(math.prod(1 - dice.share() for _ in range(shape)))


def _likely_codes(topic: Topic, chronic: set[str], dice: Dice) -> list[str]:
    """The topic's frequent codes that this admission has, then those of the background."""
    codes = dice.shuffled(code for code, chance in topic.codes.items() if dice.luck(chance))
    if topic.name == "newborn":
        return codes
    acute = table("traits")["acute"]
    shared = [
        code
        for code, chance in background("mimic").items()
        if (dice.luck(chance) if icd9.is_procedure(code) or code in acute else code in chronic)
    ]
    return codes + dice.shuffled(shared)


def draw_sibling(code: str, dice: Dice, taken: Iterable[str]) -> str | None:
    """Another code of the category that is not taken, frequent ones more likely; None if there is none."""
    known = codes_in_use()
    others = {c: known.weights[c] for c in known.categories[category(code)] if c != code and c not in taken}
    return CodePool(others).draw(dice) if others else None
