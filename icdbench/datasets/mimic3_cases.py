"""Who is admitted in the synthetic tables in MIMIC-III's form: a patient, a topic (why people come), and codes.

An admission's codes are drawn from the topic's frequent ones, from what any patient may have, and from a long tail of the
topic's chapters. Frequencies were set by hand so that the result resembles published counts of MIMIC-III (Johnson et al. 2016,
https://doi.org/10.1038/sdata.2016.35; Mullenbach et al. 2018, https://aclanthology.org/N18-1100): about 11 diagnoses and 4
procedures per admission, about 9,000 codes of which half occur fewer than ten times.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from icdbench.datasets import icd9
from icdbench.datasets.phrases import (
    PEOPLE,
    TRAITS,
    Dice,
    chances,
    excluded,
    table,
)

DIAGNOSES, PROCEDURES = 7000, 2060  # codes that can occur; at MIMIC-III's size nearly all of them do
MOST_DIAGNOSES, MOST_PROCEDURES = 39, 40  # per admission, MIMIC-III's maxima
DIAGNOSIS_SCALE, PROCEDURE_SCALE = 3.55, 2.3  # of gamma distributions (shapes 3 and 2) of codes per admission
OFFSET, EXPONENT = 60.0, 1.2  # weight of the tail's code of rank r: (r + OFFSET) ** -EXPONENT
OWN_CHAPTERS = 0.75  # how often a code of the tail is of the topic's chapters
SAME_TOPIC = 0.6  # how often a patient comes back for the same topic

# Topic = weight | service | complaints | categories of diagnoses | first digits of procedures | frequent codes
TOPIC_TABLE = table("""
coronary = 13 | cardiology | chest pain, exertional angina, chest pressure at rest, an abnormal stress test | 410-414 420-429 440-442
  | 35-37 88-89 | 414.01 .85, 410.71 .30, 272.4 .35, 272.0 .20, 37.22 .55, 88.56 .50, 39.61 .38, 36.15 .34, 36.12 .14, 36.13 .12,
  88.53 .25, 00.66 .18, 36.07 .15, 411.1 .18, 412 .20, V45.81 .12, V45.82 .14, 410.41 .08, 410.11 .08, V17.3 .07, 997.1 .10
heart failure = 10 | cardiology | worsening shortness of breath, leg swelling, palpitations, weight gain | 391-398 402-404 415-429
  | 35-39 88-89 | 428.0 .70, 427.31 .40, 424.0 .22, 428.23 .14, 428.33 .14, 428.22 .08, 428.32 .08, 414.01 .30, 416.8 .18, 584.9 .25,
  425.4 .14, 427.1 .08, 424.1 .14, 39.61 .20, 35.21 .09, 35.22 .05, 37.23 .08, 88.72 .22, V45.02 .05, V45.01 .06, 397.0 .05
sepsis = 11 | medicine | fever and confusion, fever, low blood pressure, shaking chills | 001-041 110-118 480-486 510-513 590-599
  | 38 54 96 99 | 038.9 .55, 995.92 .55, 785.52 .42, 584.9 .40, 518.81 .40, 599.0 .32, 486 .25, 507.0 .15, 276.2 .22, 008.45 .10,
  96.72 .22, 96.04 .26, 041.49 .06, 041.11 .05, 041.12 .05, 038.42 .07, 038.11 .06, 995.91 .08, 584.5 .14, 00.17 .09
pneumonia = 9 | medicine | productive cough, cough and fever, wheezing, trouble breathing | 460-519 | 31-34 93 96
  | 486 .48, 491.21 .24, 496 .30, 518.81 .42, 507.0 .22, 511.9 .16, 482.41 .05, 96.71 .26, 96.04 .30, 96.72 .18, 33.24 .18, 93.90 .14,
  493.90 .06, 34.91 .12, 305.1 .15, V15.82 .20, 515 .05, V46.2 .05
liver = 6 | medicine | jaundice, a swollen belly, confusion and yellow eyes, vomiting of blood | 070-070 530-537 567-579 789-789
  | 42-45 50-54 | 571.2 .30, 571.5 .25, 572.2 .30, 789.59 .22, 456.21 .12, 572.3 .24, 070.54 .22, 54.91 .34, 287.5 .20, 286.9 .14,
  303.91 .12, 305.00 .08, 573.8 .06, 572.4 .08, 99.07 .16, 45.13 .18, 276.1 .22
bleeding = 6 | medicine | dark stools, bright red blood per rectum, lightheadedness and black stools | 455-456 530-579 280-285
  | 42-48 99 | 578.9 .40, 285.1 .55, 45.13 .45, 99.04 .50, 562.12 .10, 532.40 .08, 531.40 .08, 45.16 .14, 45.23 .14, 44.43 .10,
  530.82 .05, 578.1 .10, 535.50 .06, 455.0 .06, E934.2 .05, V58.61 .14
stroke = 6 | neurology | sudden weakness of one arm, slurred speech, facial droop, trouble finding words | 320-349 430-438 780-784
  | 01-03 38 88 99 | 434.91 .40, 431 .30, 433.10 .10, 438.20 .04, 342.90 .12, 784.3 .12, 348.5 .14, 99.10 .08, 345.90 .08, 781.94 .05,
  V12.54 .10, 88.41 .16, 38.12 .07, 434.11 .14, 430 .10, 96.04 .14, 96.71 .10, 43.11 .05
trauma = 8 | trauma | a fall down the stairs, a motor vehicle crash, a fall from standing, an assault | 800-959 E800-E888 E900-E999
  | 76-86 01-04 93 | 805.4 .07, 807.09 .08, 852.20 .16, 860.0 .08, 861.21 .08, 873.0 .10, E888.9 .16, E885.9 .10, E812.0 .08, E880.9 .10,
  E849.0 .14, 808.2 .06, 01.31 .06, 86.59 .14, 851.80 .05, 802.8 .05, 820.21 .05, 79.35 .08, 99.04 .18, 801.26 .05, 518.51 .08, E849.5 .05
renal = 5 | medicine | fatigue after missed treatments, nausea and little urine, a clotted fistula | 580-599 250-276 403-404
  | 38-39 54-57 | 585.6 .60, 39.95 .60, 403.91 .55, 584.9 .20, 276.7 .30, 285.21 .36, 588.81 .12, 996.73 .10, V45.11 .14, 250.40 .22,
  996.62 .10, 585.9 .15, 38.95 .22, 583.81 .12, 275.3 .05, 458.21 .06
metabolic = 5 | medicine | weakness and poor oral intake, high blood sugar, confusion and thirst | 240-279 783-790 | 38 88 99
  | 250.00 .30, 250.13 .16, 250.60 .16, 250.12 .06, 276.51 .25, 276.1 .20, 276.8 .16, 276.2 .16, 357.2 .14, 536.3 .08, 250.40 .12, 337.1 .04,
  403.90 .20, 585.9 .25, V58.67 .30, 584.9 .35, 276.0 .16, 276.7 .12, 599.0 .18, 278.00 .08, 272.4 .20
cancer = 6 | oncology | weight loss and cough, weakness after chemotherapy, a new mass, pain in the back | 140-239 284-289 V10-V10
  | 30-34 40-54 99 | 197.0 .14, 198.5 .16, 162.9 .14, 197.7 .15, 198.3 .14, 511.9 .14, 284.19 .05, 288.00 .10, 202.80 .08, 196.2 .05,
  99.25 .12, 285.22 .08, 174.9 .05, 153.9 .05, 157.0 .05, 191.9 .05, 203.00 .05, V10.3 .08, V15.3 .06, V58.11 .04, 511.81 .05, 415.19 .08
abdominal surgery = 6 | surgery | belly pain, vomiting and no stool, a painful hernia, pain after meals | 540-579 997-998 151-159 | 42-54 45-46
  | 560.9 .14, 567.22 .05, 574.10 .05, 577.0 .18, 998.59 .10, 54.59 .12, 45.73 .05, 51.23 .06, 51.22 .05, 997.49 .14, 560.81 .08, 576.1 .06,
  574.51 .06, 51.85 .08, 51.87 .06, 562.11 .05, 553.21 .05, 569.83 .05, 998.2 .06, 99.15 .18, 96.71 .10, 54.11 .05, 46.39 .03, E878.2 .14, E878.8 .10
vascular = 4 | vascular surgery | leg pain at rest, a cold foot, a wound of the foot, an enlarged aorta | 440-459 707-707 785-785 | 38-39 84 88
  | 443.9 .25, 440.23 .10, 440.24 .10, 441.4 .18, 441.2 .08, 39.29 .12, 38.44 .07, 39.71 .08, 707.15 .06, 88.48 .16, 88.42 .14, 84.17 .05,
  730.07 .05, 444.22 .05, 414.01 .18, 305.1 .14, 39.50 .08, 39.90 .05, 440.21 .05, V15.82 .12
clots = 3 | medicine | a swollen leg, a swollen and painful calf, pain on deep breaths | 415-417 451-459 286-289 | 38-39 88 | 453.41 .40,
  415.19 .48, V58.61 .38, 453.89 .12, 38.7 .22, 289.81 .05, V12.51 .16, 453.40 .18, V10.3 .05, 416.2 .03, 88.43 .05
spine and joints = 4 | orthopedics | a painful hip, back pain, a broken hip, weak legs | 710-739 820-829 996-996 | 77-84 03 | 715.35 .08,
  721.1 .05, 722.10 .04, 724.02 .10, 733.00 .16, 820.21 .12, 820.09 .08, 81.52 .08, 81.51 .06, 81.08 .08, 81.62 .08, 03.09 .10, 715.90 .10,
  E885.9 .10, 737.30 .05, 84.51 .08, 714.0 .05, 996.47 .03, 79.35 .08, 730.08 .05, 285.1 .22, 714.0 .06, 730.28 .05, 324.1 .03
overdose = 4 | medicine | being found down, an overdose, confusion after drinking, a seizure | 290-319 960-989 E850-E869 E950-E959 | 94 96
  | 291.81 .16, 303.90 .10, 303.01 .10, 305.00 .16, 965.4 .05, 969.4 .08, 967.8 .02, E950.3 .08, E950.0 .06, 296.20 .10, 311 .20, 305.60 .08, 94.62 .12,
  780.39 .16, 300.9 .10, 96.04 .26, 96.71 .26, 304.01 .04, 295.70 .03, 296.80 .08, 070.54 .08, 518.81 .20, V62.84 .06, 780.97 .10
newborn = 12 | neonatology | prematurity, transition after birth, low birth weight, fast breathing after birth | 740-779 V29-V39 | 93 96 99
  | V30.00 .50, V30.01 .38, V05.3 .68, V29.0 .62, 99.55 .62, 774.2 .36, 765.18 .14, 765.17 .10, 765.19 .08, 765.28 .12, 765.27 .10, 770.89 .10,
  770.6 .12, 769 .16, 64.0 .24, 770.81 .14, 99.83 .28, 779.31 .08, 96.04 .12, 93.90 .16, 96.71 .10, 99.15 .14, 38.92 .10, 747.0 .10, 766.1 .04, V31.01 .10,
  775.6 .06, 776.6 .04, V50.2 .05, 767.19 .02, 777.8 .01
obstetric = 1 | obstetrics | high blood pressure in pregnancy, bleeding after birth, fever after birth | 630-676 V22-V28 | 66-75 99
  | 642.51 .12, 666.12 .20, 285.1 .30, 74.1 .22, 648.22 .12, 99.04 .30, 68.49 .04, V27.0 .40, 674.54 .04
nerves = 3 | neurology | repeated seizures, double vision, numb legs, headache and stiff neck | 320-389 780-780 | 01-05 88-89 93
  | 345.90 .20, 345.3 .14, 340 .08, 358.00 .05, 357.0 .05, 320.9 .04, 03.31 .34, 348.39 .08, 780.39 .12, 349.82 .10, 332.0 .10, 294.8 .08, 331.0 .08, 331.4 .08, 02.34 .05
skin and limbs = 2 | medicine | a red hot leg, a draining wound, a rash | 680-709 035-035 728-730 | 86 83 | 682.6 .40, 682.3 .08, 707.03 .14, 707.05 .08, 86.22 .18, 86.04 .10,
  041.11 .12, 041.12 .10, 695.9 .02, 278.01 .10, 457.1 .05, 459.81 .06, 728.86 .05, 693.0 .06, V09.0 .08
""")
# What any adult may have besides. Procedures, and what TRAITS calls acute, come with an admission, the rest with a patient.
BACKGROUND = chances(
    table("""
any = 401.9 .48 | 427.31 .17 | 428.0 .15 | 272.4 .17 | 530.81 .14 | 250.00 .18 | 414.01 .13 | 244.9 .10 | 272.0 .07 | 496 .08
  | 285.9 .11 | 311 .07 | 403.90 .07 | 585.9 .07 | V58.61 .07 | V15.82 .05 | 305.1 .05 | 412 .04 | 424.0 .03 | 285.29 .03 | 274.9 .04
  | V58.67 .05 | V45.81 .05 | 300.00 .04 | 278.00 .03 | 600.00 .04 | 733.00 .04 | 493.90 .05 | 327.23 .04 | V12.54 .03 | V10.46 .03
  | 443.9 .03 | 294.8 .03 | 345.90 .02 | 070.54 .02 | 365.9 .02 | 357.2 .02 | V10.3 .02 | V45.01 .03 | 715.90 .02 | 296.80 .01 | 042 .01
  | 584.9 .13 | 518.81 .09 | 599.0 .10 | 285.1 .06 | 276.2 .07 | 276.1 .06 | 276.8 .05 | 287.5 .07 | 511.9 .04 | 276.7 .03 | 276.0 .04
  | 458.9 .04 | 507.0 .04 | 486 .04 | 276.51 .04 | 780.39 .02 | 293.0 .05 | 458.29 .05 | 427.89 .05 | 518.0 .05 | 788.20 .03 | 707.03 .03
  | 780.60 .02 | 427.5 .02 | 564.00 .02 | V49.86 .02 | V66.7 .02 | 785.51 .02 | 998.11 .02 | 038.9 .02 | 995.92 .02 | 512.1 .03 | 263.9 .02
  | 38.93 .28 | 96.04 .13 | 96.71 .11 | 96.72 .09 | 96.6 .17 | 99.04 .11 | 38.91 .10 | 99.15 .06 | 45.13 .03 | 33.24 .03 | 88.72 .07
  | 89.64 .04 | 99.05 .03 | 99.07 .03 | 31.1 .04 | 43.11 .03 | 39.95 .03 | 34.04 .05 | 96.56 .03 | 34.91 .02 | 99.29 .02 | 37.61 .02
""")["any"]
)
# Both are in the vocabulary of any synthetic hospital: diagnosis 443.9 and procedure 44.39 have the same digits.
ALWAYS = ("44.39", "443.9")
WOMEN = ("614-629", "630-676", "V22-V28", "65-75")  # categories of diagnoses, first digits of procedures
MEN = ("600-608", "60-64")


@dataclass(frozen=True)
class Topic:
    """A reason for admission: what goes with it often (code and probability), and from where the rest is drawn."""

    name: str
    weight: float
    service: str
    complaints: tuple[str, ...]
    diagnoses: tuple[str, ...]
    procedures: tuple[str, ...]
    codes: Mapping[str, float]


TOPICS = {
    name: Topic(
        name,
        float(weight),
        service,
        tuple(complaints.split(", ")),
        tuple(diagnoses.split()),
        tuple(procedures.split()),
        chances(" ".join(codes.split()).split(", ")),
    )
    for name, (weight, service, complaints, diagnoses, procedures, codes) in TOPIC_TABLE.items()
}
WEIGHTS = {name: topic.weight for name, topic in TOPICS.items()}


def is_procedure(code: str) -> bool:
    """Of a dotted code: only procedures have two digits before the dot."""
    return code[2:3] == "."


def category(code: str) -> str:
    """The first three digits, after the E of an external cause: subtypes of it are easily confused.

    427.31 and 427.32 are of 427, 36.15 and 36.12 of 36.1.
    """
    return code[:4] if is_procedure(code) or code.startswith("E") else code[:3]


def within(code: str, ranges: Iterable[str]) -> bool:
    """Whether the code's category (a procedure's first two digits) lies in one of the ranges, written `410-414`."""
    head = code.partition(".")[0]
    ends = (bounds.split("-") for bounds in ranges)
    return any(len(low) == len(head) and low <= head <= (high or [low])[-1] for low, *high in ends)


@dataclass(frozen=True)
class Tail:
    """Codes with cumulative weights, to draw from."""

    codes: tuple[str, ...]
    marks: tuple[float, ...]

    def draw(self, dice: Dice) -> str:
        return self.codes[min(bisect(self.marks, dice.share() * self.marks[-1]), len(self.codes) - 1)]


def weighted(weights: Mapping[str, float]) -> Tail:
    return Tail(tuple(weights), tuple(accumulate(weights.values())))


@dataclass(frozen=True)
class World:
    """The codes in use, the same for every seed: each one's weight in the tail, and the tails to draw from."""

    weights: Mapping[str, float]
    everything: Mapping[bool, Tail]  # by is_procedure
    own: Mapping[tuple[str, bool], Tail]  # by topic and is_procedure
    siblings: Mapping[str, tuple[str, ...]]  # the codes of each category


@lru_cache(maxsize=1)
def world() -> World:
    """The frequent codes of the tables above and a random part of all others."""
    frequent = {code for topic in TOPICS.values() for code in topic.codes} | set(BACKGROUND)
    dice, weights = Dice(2014), dict[str, float]()
    for kind, size in ((icd9.DIAGNOSIS, DIAGNOSES), (icd9.PROCEDURE, PROCEDURES)):
        known = icd9.titles()[kind]
        head = [code for code in known if code in frequent or code in ALWAYS]
        others = [code for code in dice.shuffled(known) if code not in set(head)]
        for rank, code in enumerate([*dice.shuffled(head), *others[: size - len(head)]]):
            weights[code] = (rank + OFFSET) ** -EXPONENT
    own = {
        (topic.name, procedure): weighted(
            {
                code: weight
                for code, weight in weights.items()
                if is_procedure(code) == procedure and within(code, topic.procedures if procedure else topic.diagnoses)
            }
        )
        for topic in TOPICS.values()
        for procedure in (False, True)
    }
    siblings: dict[str, list[str]] = {}
    for code in weights:
        siblings.setdefault(category(code), []).append(code)
    return World(
        weights,
        {kind: weighted({c: w for c, w in weights.items() if is_procedure(c) == kind}) for kind in (False, True)},
        own,
        {name: tuple(codes) for name, codes in siblings.items()},
    )


@dataclass(frozen=True)
class Case:
    """An admission before anything is written: the true codes, the most important ones first; `person` are pronouns."""

    topic: Topic
    person: Mapping[str, str]
    age: int  # years
    diagnoses: tuple[str, ...]
    procedures: tuple[str, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        return self.diagnoses + self.procedures


def draw_case(patient: Dice, dice: Dice) -> Case:
    """The patient's dice give what stays the same from admission to admission, the other dice the rest."""
    woman, age, usual = patient.luck(0.44), patient.number(19, 88), TOPICS[patient.weighted(WEIGHTS)]
    chronic = {code for code, chance in BACKGROUND.items() if patient.luck(chance)}
    topic = usual if usual.name == "newborn" or dice.luck(SAME_TOPIC) else TOPICS[dice.weighted(WEIGHTS)]
    if topic.name == "newborn" and usual.name != "newborn":
        topic = usual
    if topic.name == "obstetric":
        woman, age = True, 19 + age % 24
    foreign = MEN if woman else WOMEN
    most = {
        False: min(
            1 + int(-math.log((1 - dice.share()) * (1 - dice.share()) * (1 - dice.share())) * DIAGNOSIS_SCALE),
            MOST_DIAGNOSES,
        ),
        True: min(int(-math.log((1 - dice.share()) * (1 - dice.share())) * PROCEDURE_SCALE), MOST_PROCEDURES),
    }
    candidates = dice.shuffled(code for code, chance in topic.codes.items() if dice.luck(chance))
    if topic.name != "newborn":
        background = [
            code
            for code, chance in BACKGROUND.items()
            if (dice.luck(chance) if is_procedure(code) or code in TRAITS["acute"] else code in chronic)
        ]
        candidates += dice.shuffled(background)
    chosen: dict[bool, list[str]] = {False: [], True: []}
    taken: set[str] = set()
    for code in candidates:
        kind = is_procedure(code)
        if len(chosen[kind]) < most[kind] and not excluded(code) & taken and not within(code, foreign):
            chosen[kind].append(code)
            taken.add(code)
    for procedure, size in most.items():
        found = chosen[procedure]
        categories = {category(code) for code in found}
        for _ in range(2 * (size - len(found))):  # not every draw fits
            tail = world().own[topic.name, procedure] if dice.luck(OWN_CHAPTERS) else world().everything[procedure]
            code = tail.draw(dice)
            same = code in found or (not procedure and category(code) in categories)
            if len(found) < size and not same and not excluded(code) & taken and not within(code, foreign):
                found.append(code)
                categories.add(category(code))
    years = 0 if topic.name == "newborn" else age
    return Case(topic, PEOPLE[woman], years, tuple(chosen[False]), tuple(chosen[True]))


def sibling(code: str, dice: Dice, taken: Iterable[str]) -> str | None:
    """Another subtype of the code's category, a frequent one more likely, that is not taken; None if there is none."""
    others = {c: world().weights[c] for c in world().siblings[category(code)] if c != code and c not in taken}
    return weighted(others).draw(dice) if others else None
