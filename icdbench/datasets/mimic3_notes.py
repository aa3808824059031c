"""What the synthetic tables in MIMIC-III's form say: which codes an admission has, and the notes that tell of them.

An admission is first a case: a patient, a topic (why people come), and codes, drawn from the topic's frequent ones, from
what any patient may have, and from a long tail of the topic's chapters. Then it is a discharge summary: most codes are named,
in changing words and often more than once, some only implied, some not at all, among diseases that are denied, past or a
relative's, and much that stands for nothing: tables of laboratory values, daily course, medications, instructions.

The text is our own (see `icdbench.datasets.phrases`); only section names and laboratory abbreviations are what hospitals
use. Frequencies of codes were set by hand so that the result resembles published counts of MIMIC-III (Johnson et al. 2016,
https://doi.org/10.1038/sdata.2016.35; Mullenbach et al. 2018, https://aclanthology.org/N18-1100): about 11 diagnoses and 4
procedures per admission, about 9,000 codes of which half occur fewer than ten times, summaries of about 1,500 words.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache, partial
from itertools import accumulate

from icdbench.datasets import icd9
from icdbench.datasets.phrases import (
    BECOMES,
    COMMON_DRUGS,
    DRUGS,
    FILLER,
    HEADERS,
    PEOPLE,
    SAID,
    SIGNS,
    TRAITS,
    Dice,
    capital,
    chances,
    excluded,
    paraphrase,
    table,
)

# --- Which codes --------------------------------------------------------------------------------------------------------

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


# --- What is said -------------------------------------------------------------------------------------------------------

SILENT, IMPLIED = 0.10, 0.15  # how often a code is not mentioned, or only by a sign or a drug
AGAIN = 0.45  # how often a named code is named once more, and then once more
LISTED = 0.4  # how often a named code stands in the list of diagnoses too
MISSPELT = 0.04  # of mentions and of sentences
WIDTH = 78  # letters of a line
TOKENS, SPREAD = 1540, 0.47  # median length of a summary, and the standard deviation of its logarithm
SHORT = 0.006  # how often a summary is a few lines
COINED = 0.12  # of names, drugs and the like: made up, as brands and misspellings look to one who counts words

# Words of titles as they are often written.
ABBREVIATIONS = table("""
with = w/ | w | with
without = w/o | without
history = hx | history
chronic = chr | chronic
acute = ac | acute
fracture = fx | frx
infection = infxn | infection
disease = dz | disease
secondary = secondary | 2ary
bilateral = b/l | bilat
left = L | lt
right = R | rt
unspecified = NOS | unspec
abdominal = abd | abdominal
disorder = d/o | disorder
disorders = disorder | problems
status = status | s/p
syndrome = synd | syndrome
malignant = malig | malignant
hemorrhage = bleed | hemorrhage
insufficiency = insuff | insufficiency
complicating = in | complicating
complications = complications | compl
obstruction = blockage | obstruction
stenosis = narrowing | stenosis
repair = repair | repr
excision = removal | excision
lower = lower | low
intracranial = intracranial | IC
pulmonary = pulm | pulmonary
cardiac = cardiac | heart
renal = renal | kidney
hepatic = hepatic | liver
cerebral = cerebral | brain
""")
ABBREVIATED = re.compile(r"\b(" + "|".join(ABBREVIATIONS) + r")\b")
# Sentences of each status and kind beyond SAID; `cause` is an external cause.
MORE_SAID = table("""
stated acute = course: # {X}: {He} was seen by {service} and treated over {n} days. | course: {X} was noted on day {n} and followed by {service}.
  | hpi: Workup at [**Hospital{m} {k}**] showed {x}. | course: Team was concerned for {x}, later confirmed by {test}.
  | course: {X}, thought due to {finding}, got better with {drug}. | imaging: {test}: findings consistent with {x}.
  | course: # {X} - improved, {drug} stopped on [**{date}**]. | hpi: Pt sent in by {his} doctor for {x}.
stated chronic = pmh: {x} | pmh: {x} | pmh: {x}, followed by Dr. [**Last Name (STitle) {k}**] | pmh: {x} ([**{year}**])
  | course: # {X}: continued on {drug}. | course: # {X} - stable, home regimen unchanged. | hpi: Pt with known {x}, last seen in clinic {n} months ago.
stated status = pmh: {x} | pmh: {x} | social: {X} is noted in the record.
stated procedure = procedures: {x} | procedures: [**{date}**]: {x} | procedures: {x} on [**{date}**] | course: {He} went for {x} on [**{date}**] and did well.
  | course: S/p {x} on day {n}, with {finding} afterwards. | course: After {x} {he} was watched in the unit.
stated cause = hpi: Circumstances: {x}. | hpi: {He} came in after {x}. | course: The record gives {x} as the cause. | diagnoses: {x}
implied drug = course: {X} was continued as at home. | meds: {x} {dose} one tablet by mouth {often} | hpi: {He} takes {x} prescribed by {service}.
  | homemeds: {x} {dose} {often} | course: {Service} started {x} at {dose} with good effect.
negated acute = course: No sign of {x} on {test}. | hpi: Denies {x}. | imaging: {test}: no {x}. | exam: No {x}. | course: R/o {x}: negative.
negated chronic = pmh: no {x} | hpi: {He} denies {x}. | course: {Service} did not think that {he} has {x}.
negated procedure = course: {Service} saw no need for {x}. | course: Plans for {x} were given up.
negated cause = hpi: There was no {x}.
history acute = pmh: {x} [**{year}**], treated | pmh: {x} in the past
history procedure = pmh: s/p {x} | pmh: {x} in [**{year}**]
family = family: {Relative} had {x}. | family: {Relative} with {x} at age {k}. | family: Strong history of {x} ({relative}).
""")
# Sentences without any code; a line of FILLER counts too.
CHATTER = table("""
hpi = {He} was in {his} usual state of health until {n} days ago, when {he} noted {finding}. | {He} took {drug} without relief. | In the ED vitals were
  {temp}, {bp}, {k}, {sat}% on {oxygen}. | {He} had been seen at the {town} clinic {n} weeks before and was given {drug}. | Labs there were notable for {finding}.
  | {His} {relative} says that {he} has been {mood} since [**{date}**]. | Reports {finding} and {finding}, but no weight change. | Last {test} was in [**{month}**]
  at [**Hospital{m} {k}**]. | On arrival to the floor {he} appeared {mood}. | {He} moved to {town} from {town} in [**{year}**]. | {He} received {dose} of {drug} x{n}.
  | Review of systems otherwise negative, per {relative}. | {He} said "{finding} again" and asked for {his} {relative}.
social = Worked as a {job} in {town}. | Lives in {town} with {relative}. | Former {job}; {relative} is the health care proxy. | No tobacco since [**{year}**].
  | Three children, one in {town}. | Drinks {n} beers a week. | Retired {job}, walks with a {aid}. | Speaks {town} dialect, {relative} interprets.
allergies = {Drug} | {Drug} / {Drug} | No known allergies to drugs | {Drug} causes {finding} | Patient reports none recorded | {Brand} / {Drug} / {Drug}
exam = HEENT: {organ} normal, sclera anicteric | Neck: supple, JVP {n} cm, no bruits | Lungs: {side} base with {finding}, otherwise clear | CV: regular, {n}/6 murmur at the
  {side} border | Abd: soft, no {finding}, liver edge {n} cm | Ext: warm, {m}+ edema {side}, pulses {n}+ | Neuro: alert, {mood}, strength {n}/5 {side} | Skin: {finding} over the
  {side} {organ} | GEN: {mood}, in no distress | T {temp} BP {bp} HR {k} RR {n}{m} sat {sat}% {oxygen} | Wt {k}.{m}kg, {k}cm | Back: no tenderness, {finding} healed | Rectal: brown stool, tone normal
  | Lines: {size} {device} in the {side} arm, site clean | Psych: {mood}, insight fair
imaging = {test} [**{date}**]: {finding} of the {side} {organ}, measuring {size}, {change} compared with [**{date}**]. | {test}: The {organ} is {degree} enlarged. There is {degree} {finding} in the {side} {organ}.
  Recommend follow-up in {n} months. | {test} ([**Numeric Identifier {k}{big}**]): Limited by motion. Within these limits the {organ} and {organ} look {change}. | {test}: {device} in place with its tip in the {organ}.
  {Degree} {finding}, {change}. | {test}: EF {k}%. Left atrium {degree} dilated. Wall {size}. {Degree} regurgitation. Pressures of {k}mmHg.
micro = [**{date}**] {time} {organ} culture: {organism}, {k}k colonies. | [**{date}**] blood culture x{n}: no growth at {n} days. | [**{date}**] swab of {side} {organ}: rare {organism}; sensitive to {drug}.
  | [**{date}**] stool: negative for {organism}. | [**{date}**] sputum: {organism}, resistant to {drug} and {drug}.
course = On [**{date}**] {service} was called for {finding}; {test} was {change}. | {His} {drug} was changed to {dose} {often}. | Overnight {he} was {mood} and got {dose} {drug}. | By [**{month}**] {he} was {able} to walk {k}ft
  with a {aid}. | Nutrition: tolerated {k}cc/hr by tube, goal {k}. | {Test} on [**{date}**] showed {finding}, thought to be {change}. | A {size} {device} was placed at {time} by {service}. | {He} was transfused for Hct {k}.{m}.
  | Family meeting held with {relative} and Dr. [**First Name{n} (NamePattern{m}) {k}**] [**Last Name (NamePattern1) {big}**]. | {Service} advised {drug} {dose} {often} for {n} weeks. | FEN: electrolytes repleted, I/O {side} even at {volume}cc.
  | PPX: {drug}, bowel regimen. | Access: {device}. Code: full, confirmed with {relative}. | {He} was {able} to void after the catheter came out at {time}. | The {finding} was felt to be {degree} and needed no {test}.
  | {He} was transferred to the floor on day {n} in {mood} condition. | Pain was kept at {n}/10 with {drug} {dose}. | Cultures grew {organism} in {n} of {m} bottles, felt to be a contaminant. | Dr. {name} of {service} reviewed the {test}.
  | Case was discussed with {name} at {town}. | {He} asked about "{brand}" and was told to wait. | Followed by {name}/{name}.
instructions = You were admitted for {finding} and had {test}. | Please take {drug} {dose} {often} until you see Dr. [**Last Name (STitle) {k}**]. | Call if you have {finding}, {finding} or a temperature over {temp}F. | Do not drive while you take {brand}.
  | Keep the {side} {organ} dry for {n} days. | You may eat as before; drink {n} liters a day. | We stopped {drug} and started {brand}. | Weigh yourself each morning, call if you gain {n}lbs. | Your {device} must be flushed {often}. | No lifting over {k}lbs for {n} weeks.
followup = Dr. [**First Name8 (NamePattern2) {big}**] [**Last Name (NamePattern1) {k}**], [**{later}**] {time}, phone [**Telephone/Fax (1) {big}**] | {Service} clinic, {town}, [**{later}**] {time} | {test} in {n} weeks at [**Hospital{m} {k}**]
  | Please call {name} at [**Telephone/Fax (3) {big}**] | Provider: [**Name6 (MD) {big}**] {service} Date/Time:[**{later}**] {time}
meds = {Medication} {dose} {form} {often} | {Medication} {dose} {form} {often}. | {Medication} {dose} {form} {often} for {n} days.
  | {Medication} {dose} {form} {often} as needed for {finding}. | {Medication} {dose} {form} {often} until [**{later}**].
  | {Medication} {dose} {form} {often}, hold for SBP below {k}. | {Medication} {dose} {form} {often} #{k}, no refills.
  | {Medication} {dose} {form} {often} ({brand}).
homemeds = {Medication} {dose} {often} | {Medication} {dose} {form} {often} | {Medication} {often}
condition = Stable | Good, {mood} | Fair, {able} to walk with a {aid} | Mental status: {mood}. Walks with {aid}. | Afebrile, {mood}, {oxygen}
""")
# What stands in the braces. Capitalized names ({Drug}) capitalize.
SLOTS = table("""
form = tablet by mouth | PO | tab PO | capsule | capsule by mouth | IV | SC | solution by mouth | patch | puffs | drops
opening = This is a | Pt is a | The patient is a | Briefly, a | Ms./Mr. [**Known lastname **] is a | The pt. is a
came = who presents with | admitted for | transferred for | brought in with | here with | with
side = left | right | left | right | upper | lower | bilateral
organ = lung | liver | spleen | kidney | bladder | colon | groin | thigh | arm | forearm | shoulder | knee | ankle | chest wall | frontal lobe | parietal lobe | pelvis | sinus | orbit | thyroid | aorta | femoral vein | pancreas
  | gallbladder | neck | hip | wrist | heel | sacrum | abdomen
service = cardiology | neurology | nephrology | surgery | thoracic surgery | infectious disease | gastroenterology | hematology | oncology | psychiatry | social work | nutrition | physical therapy | pulmonary | endocrine
  | urology | vascular | orthopedics | dermatology | rheumatology | palliative care | speech therapy | plastics | pain service | wound care | geriatrics | hepatology
finding = fatigue | nausea | dizziness | a cough | swelling | redness | drainage | tenderness | a bruise | headache | itching | a rash | sweats | loose stools | poor sleep | thirst | cramps | numbness | stiffness | a hoarse voice
  | blurred vision | hiccups | opacity | asymmetry | a nodule | fluid | thickening | calcification | debris | motion artifact | a scar | low appetite | belching | ringing in the ears | a dry mouth | weak grip | guarding | crepitus
test = CXR | CT chest | CT head | CT abdomen and pelvis | MRI brain | MRI spine | TTE | TEE | EKG | RUQ ultrasound | renal ultrasound | EEG | KUB | barium swallow | bone scan | PET | ABG | CTA | V/Q scan | duplex | HIDA | stress test | plain film
change = unchanged | stable | improved | slightly worse | new | resolved | not seen before | less marked | more prominent | normal | unremarkable | equivocal
degree = mild | moderate | trace | minimal | marked | small | slight | severe | borderline
mood = comfortable | tired | anxious | alert | drowsy | pleasant | confused at times | restless | calm | tearful | quiet | talkative | improved | weak | stable
able = able | unable | able | slowly able | just able
relative = mother | father | sister | brother | daughter | son | wife | husband | aunt | uncle | cousin | niece | nephew | grandmother | partner | friend | neighbor | grandson
job = teacher | carpenter | nurse | driver | cook | clerk | baker | welder | painter | engineer | librarian | mason | tailor | janitor | accountant | fisherman | machinist | secretary | musician | barber | plumber | printer
aid = cane | walker | rolling walker | crutch | wheelchair | brace | quad cane | gait belt
oxygen = room air | RA | 2L NC | 3L | 4L NC | 5L face mask | 40% FM | NRB | CPAP | 6L
often = daily | twice a day | [**Hospital1 **] | QD | BID | TID | QHS | every six hours | q8h | q4h prn | q12h | weekly | at bedtime | three times daily | every other day | prn | QID | q6h
""")
# Units of doses, which are one word with their number (250mg); drugs beyond COMMON_DRUGS, which stand for nothing, and
# other names; syllables of made-up words.
WORDS = table("""
units = mg | mg | mg | mcg | g | ml | cc | l | units | meq | mg/day | mcg/hr | mg/kg | ml/hr | gtt | tabs | puffs | x
name = Smith | Lee | Brown | Walsh | Costa | Nguyen | Cohen | Murphy | Silva | Khan | Rossi | Park | Jensen | Novak | Ortiz
  | Weber | Dubois | Patel | Kim | Olsen | Moreau | Haas | Lopez | Evans | Fischer
town = Ashford | Milton | Quincy | Salem | Dover | Newport | Lowell | Camden | Bristol | Chester | Concord | Hudson | Medway | Norwood | Sharon
  | Weston | Stowe | Auburn | Berlin | Canton | Easton | Foxboro | Groton | Holden
brand = lasix | coumadin | ativan | zofran | percocet | colace | lopressor | plavix | lipitor | nexium | protonix | tylenol | dilaudid | neurontin
  | zocor | prilosec | xanax | valium | keppra | dilantin | bactrim | levaquin | flagyl | lovenox | haldol | zoloft
organism = escherichia coli | klebsiella | pseudomonas | MRSA | MSSA | enterococcus | candida | yeast | proteus | serratia | enterobacter
  | acinetobacter | streptococci | coag negative staph | C. difficile | gram positive cocci | gram negative rods
device = PICC line | foley | chest tube | NG tube | arterial line | dialysis catheter | pacemaker | port | drain | hickman | stent | filter
  | G tube | tracheostomy | ETT | sheath | splint
drug = acyclovir | allopurinol | amiodarone | ampicillin | atenolol | baclofen | bisacodyl | bumetanide | buspirone | captopril | cefazolin | cefepime | clonidine | codeine | colchicine |
  cyclobenzaprine | dexamethasone | diazepam | diclofenac | diphenhydramine | doxycycline | enalapril | erythromycin | famotidine | fentanyl | ferrous | fluconazole | fluoxetine |
  folate | gabapentin | gentamicin | guaifenesin | haloperidol | hydralazine | hydrocodone | hydroxyzine | ibuprofen | isosorbide | ketorolac | lactulose | latanoprost | lidocaine |
  loperamide | loratadine | meclizine | megestrol | methadone | methylprednisolone | metoclopramide | metolazone | metronidazole | mirtazapine | montelukast | morphine | naproxen |
  niacin | nitroglycerin | nystatin | olanzapine | ondansetron | oxycodone | paroxetine | phenytoin | piperacillin | prochlorperazine | propranolol | quetiapine | quinapril | ranitidine |
  rifampin | risperidone | sertraline | sucralfate | sulfamethoxazole | tamsulosin | terazosin | thiamine | tobramycin | tramadol | trazodone | valsartan | vancomycin | verapamil | zolpidem
onsets = b | br | c | ch | cr | d | dr | f | fl | g | gr | h | j | k | kl | l | m | n | p | pr | qu | r | s | sch | sl | st | t | tr | v | w | wr | y | z
vowels = a | e | i | o | u | ee | ou
middles = b | d | g | l | ll | lm | ln | m | nd | nn | nt | r | rd | rk | rn | rr | s | ss | st | t | tt | v | x | z | ck
""")
# Laboratory panels: name, lowest, highest and decimals of each value.
PANELS = [
    [
        (name, float(low), float(high), int(digits))
        for name, low, high, digits in (item.split() for item in panel.split(", "))
    ]
    for panel in (
        "WBC 3 19 1, RBC 2.6 5.2 2, Hgb 7.5 15 1, Hct 23 44 1, MCV 78 101 0, MCH 25 34 1, MCHC 31 36 1, RDW 12 19 1, Plt 60 480 0",
        "Glucose 68 260 0, UreaN 6 80 0, Creat 0.4 5.2 1, Na 126 149 0, K 3 5.9 1, Cl 92 114 0, HCO3 16 34 0, AnGap 7 20 0",
        "PT 11 26 1, PTT 22 80 1, INR 0.9 3.8 1",
        "ALT 8 240 0, AST 9 260 0, AlkPhos 35 320 0, TotBili 0.2 5.5 1, Lipase 8 150 0, Amylase 20 190 0",
        "Calcium 7.2 10.6 1, Phos 1.8 6.2 1, Mg 1.4 2.8 1, Albumin 2 4.6 1",
        "Neuts 38 93 1, Bands 0 12 0, Lymphs 3 46 1, Monos 1 12 1, Eos 0 6 1, Baso 0 2 1",
        "CK 20 900 0, CKMB 2 44 0, cTropnT 0.01 2.4 2, proBNP 120 9800 0",
        "pO2 48 260 0, pCO2 28 68 0, pH 7.18 7.55 2, calTCO2 18 38 0, Base -8 9 0, Lactate 0.7 6.4 1",
        "Color Yellow Yellow 0".replace("Yellow Yellow", "1 4")
        + ", SpGr 1 1.03 3, pH 5 8.5 1, UrobiL 0.2 4 1, RBC 0 90 0, WBC 0 80 0, Epi 0 9 0",
    )
]
# How made-up names, places, drugs, organisms and devices end; MIMIC-III's vocabulary too is mostly words of such rarity.
ENDINGS = table("""
name = son | man | ski | ez | ini | er | berg | ley | ov | ard | ein | aw
town = ton | ville | field | ford | ham | burg | wood | mont | dale | bury
drug = avir | olol | pril | statin | mab | azole | cillin | idine | azepam | oxin | amide | one | ine | erol
brand = ax | ex | il | or | ia | um | ix | ol
organism = ella | coccus | bacter | monas | ium | ia
device = port | stent | cath | flex | lok | vac
""")
COINAGES = {"name": 40_000, "town": 25_000, "drug": 30_000, "brand": 25_000, "organism": 20_000, "device": 20_000}
# Where the text that stands for nothing goes: groups of lines per thousand.
FILLING = {
    "labs": 190, "course": 330, "meds": 130, "exam": 60, "imaging": 90, "micro": 30, "instructions": 70, "followup": 25,
    "hpi": 90, "homemeds": 60, "social": 15,
}  # fmt: skip
MORE_HEADERS = table("""
allergies = Allergies | Allergies/Reactions | Drug allergies
imaging = Imaging | Studies | Radiology
micro = Microbiology | Micro
homemeds = Medications on Admission | Home Medications | Meds at home
instructions = Discharge Instructions | Instructions
followup = Followup Instructions | Follow-up | Appointments
condition = Discharge Condition | Condition on Discharge
disposition = Discharge Disposition | Disposition
""")
ALL_HEADERS = HEADERS | MORE_HEADERS
SECTION_ORDERS = [
    "allergies complaint procedures hpi pmh social family exam labs micro imaging course homemeds meds disposition diagnoses condition instructions followup",
    "allergies complaint hpi pmh homemeds social family exam labs imaging micro course procedures diagnoses condition disposition meds instructions followup",
    "complaint diagnoses procedures hpi pmh allergies homemeds social family exam labs micro imaging course meds condition disposition followup instructions",
    "hpi pmh homemeds allergies family social procedures exam labs imaging course condition disposition diagnoses meds followup",
]
LINES = {
    "procedures",
    "pmh",
    "meds",
    "homemeds",
    "diagnoses",
    "followup",
    "labs",
    "exam",
    "imaging",
    "micro",
    "allergies",
}
NUMBERED = {"procedures", "pmh", "meds", "homemeds", "diagnoses", "followup"}


@dataclass(frozen=True)
class Line:
    """A sentence, or an item of a list, and where in it (from, to) each code is mentioned."""

    text: str
    spans: tuple[tuple[str, int, int], ...] = ()


@dataclass
class Note:
    """A text and the codes that it supports, each with the characters [begin, end) that do so."""

    text: str
    spans: list[tuple[str, int, int]]


def coined(kind: str, number: int) -> str:
    """The made-up word of that number; different numbers below a kind's COINAGES give different words."""
    sizes = (
        len(WORDS["onsets"]),
        len(WORDS["vowels"]),
        len(WORDS["middles"]),
        len(WORDS["vowels"]),
        len(ENDINGS[kind]),
    )
    rest, parts = number * 7919 % math.prod(sizes), []  # a prime: neighbours differ in every syllable
    for size in sizes:
        rest, part = divmod(rest, size)
        parts.append(part)
    onset, first, middle, second, ending = parts
    return f"{WORDS['onsets'][onset]}{WORDS['vowels'][first]}{WORDS['middles'][middle]}{WORDS['vowels'][second] * (second < 4)}{ENDINGS[kind][ending]}"


class Blanks(dict[str, str]):
    """The words of one document for the braces of templates: the patient's, or drawn anew each time."""

    def __init__(self, dice: Dice, person: Mapping[str, str], day: date) -> None:
        super().__init__(person)
        self.dice, self.day = dice, day

    def __missing__(self, name: str) -> str:
        if name in SLOTS:
            return self.dice.pick(SLOTS[name])
        return DRAWN[name](self) if name in DRAWN else capital(self[name.lower()])

    def number(self, low: int, high: int) -> str:
        return str(self.dice.number(low, high))

    def called(self, kind: str) -> str:
        """A name of that kind, some made up by Zipf's law: the n-th most frequent with a probability proportional to 1/n."""
        if not self.dice.luck(COINED):
            return self.dice.pick(WORDS[kind])
        word = coined(kind, int(COINAGES[kind] ** self.dice.share()) - 1)
        return word.capitalize() if kind in {"name", "town"} else word

    def dose(self) -> str:
        usual = self.dice.luck(0.6)
        amount = self.dice.pick((5, 10, 20, 25, 40, 50, 100, 250, 500)) if usual else 5 * self.dice.number(1, 199)
        return f"{amount}{self.dice.pick(WORDS['units'])}"


# What stands in the braces of a template, but for SLOTS and the patient's words.
DRAWN: dict[str, Callable[[Blanks], str]] = {
    "n": lambda of: of.number(2, 8),
    "m": lambda of: of.number(1, 9),
    "k": lambda of: of.number(10, 99),
    "big": lambda of: of.number(100, 9999),
    "volume": lambda of: str(50 * of.dice.number(2, 90)),
    "date": lambda of: dashed(of.day - timedelta(of.dice.number(0, 9))),
    "later": lambda of: dashed(of.day + timedelta(of.dice.number(2, 60))),
    "month": lambda of: f"{of.day.year - of.dice.number(0, 3)}-{of.number(1, 12)}",
    "year": lambda of: str(of.day.year - of.dice.number(1, 20)),
    "time": lambda of: f"{of.number(1, 12)}:{of.dice.number(0, 59):02}{of.dice.pick('AP')}M",
    "bp": lambda of: f"{of.number(88, 180)}/{of.number(42, 99)}",
    "sat": lambda of: of.number(86, 100),
    "temp": lambda of: f"{of.number(96, 102)}.{of.number(0, 9)}",
    "dose": Blanks.dose,
    "medication": lambda of: of.dice.pick(COMMON_DRUGS) if of.dice.luck(0.4) else of["drug"],
    "size": lambda of: f"{of.number(1, 30)}x{of.number(1, 40)}{of.dice.pick(('mm', 'cm', 'Fr', ''))}",
    **{kind: partial(Blanks.called, kind=kind) for kind in COINAGES},
}


def kind(code: str) -> str:
    """What can be said of it: `acute` or `chronic` disease, `procedure`, `status` (no disease), external `cause`."""
    if is_procedure(code):
        return "procedure"
    if code[0] in "EV" or code in TRAITS["status"]:
        return "cause" if code[0] == "E" else "status"
    sudden = code in TRAITS["acute"] or code < "140" or code >= "780" or "acute" in known_title(code).lower()
    return "acute" if sudden else "chronic"


def known_title(code: str) -> str:
    return icd9.titles()[icd9.PROCEDURE if is_procedure(code) else icd9.DIAGNOSIS][code]


def misspelt(text: str, dice: Dice) -> str:
    """One word of it with a slip of the keys, or grown together with the next."""
    words = text.split(" ")
    i = dice.number(0, len(words) - 1)
    word = words[i]
    if len(word) < 5 or not word.isalpha():
        return text
    at = dice.number(1, len(word) - 2)
    match dice.number(0, 4):
        case 0:
            word = word[:at] + word[at + 1 :]
        case 1:
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 2:
            word = word[:at] + word[at] + word[at:]
        case 3:
            word = word[:at] + dice.pick("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]
        case _:
            return " ".join(words[:i]) + " " * (i > 0) + word + " ".join(words[i + 1 :])
    words[i] = word
    return " ".join(words)


def spoken(code: str, dice: Dice) -> str:
    """The code in a clinician's words."""
    parts = known_title(code).split(", ")
    phrase = paraphrase(", ".join(parts[: 2 if dice.luck(0.7) else None]), dice)
    if dice.luck(0.4):
        phrase = ABBREVIATED.sub(lambda found: dice.pick(ABBREVIATIONS[found[0]]), phrase)
    return misspelt(phrase, dice) if dice.luck(MISSPELT) else phrase


def said(template: str, blanks: Blanks, code: str = "", phrase: str = "") -> tuple[str, Line]:
    """The section, and the line that the template gives with the phrase for `{x}` or `{X}`; the phrase mentions the code."""
    section, _, text = template.partition(": ")
    before, mark, after = text.partition("{x}")
    if not mark:
        before, mark, after = text.partition("{X}")
        phrase = capital(phrase)
    first = before.format_map(blanks)
    span = ((code, len(first), len(first) + len(phrase)),) if code else ()
    return section, Line(first + phrase + after.format_map(blanks), span)


def sayings(status: str, code: str) -> list[str]:
    """The templates for a code in that status."""
    key = status if status == "family" else f"{status} {kind(code)}"
    return [*SAID.get(key, ()), *MORE_SAID.get(key, ())]


def mentions(code: str, dice: Dice, blanks: Blanks) -> list[tuple[str, Line]]:
    """Lines that name or imply the code; none for some codes."""
    if dice.luck(SILENT):
        return []
    found = []
    if dice.luck(IMPLIED):
        if code in SIGNS:
            found = [said(dice.pick(SAID["implied"]), blanks, code, dice.pick(SIGNS[code]).format_map(blanks))]
        elif kind(code) in {"acute", "chronic"}:  # its own drug, which nothing else is treated with
            drug = coined("drug", COINAGES["drug"] + ordinals()[code])
            found = [said(dice.pick(MORE_SAID["implied drug"]), blanks, code, drug)]
    while not found or (len(found) < 3 and dice.luck(AGAIN)):
        found.append(said(dice.pick(sayings("stated", code)), blanks, code, spoken(code, dice)))
    if dice.luck(LISTED) and not is_procedure(code):
        found.append(said("diagnoses: {x}", blanks, code, spoken(code, dice)))
    if code in DRUGS and dice.luck(0.5):
        found.append(said("meds: {x} {dose} {often}", blanks, code, dice.pick(DRUGS[code])))
    return found


@lru_cache(maxsize=1)
def ordinals() -> Mapping[str, int]:
    return {code: number for number, code in enumerate(sorted(world().weights))}


def distractors(case: Case, dice: Dice, blanks: Blanks, size: int) -> list[tuple[str, Line]]:
    """Lines that name codes without being so: denied, past, a relative's. None of a true code's category."""
    taken = {category(code) for code in case.codes}.union(*map(excluded, case.codes))
    found = []
    for _ in range(size):
        procedure = dice.luck(0.15)
        tail = world().own[case.topic.name, procedure] if dice.luck(0.7) else world().everything[procedure]
        code = dice.weighted(case.topic.codes) if dice.luck(0.5) else tail.draw(dice)
        inherited = kind(code) in {"acute", "chronic"} and code < "780"  # no injury is
        status = dice.pick(("negated", "negated", "history", *["family"] * inherited))
        templates = sayings(status, code)
        # A past or a relative's disease can be a code of its own, which would then have to be gold.
        if templates and category(code) not in taken and code not in taken and (code, status) not in BECOMES:
            section, line = said(dice.pick(templates), blanks, code, spoken(code, dice))
            found.append((section, Line(line.text)))
    return found


def panel(dice: Dice, blanks: Blanks) -> str:
    """A line of a table of laboratory values."""
    values = []
    for name, low, high, digits in dice.pick(PANELS):
        share = dice.share()
        values.append(f"{name}-{low + share * (high - low):.{digits}f}{'*' * (share > 0.85)}")
    return (
        f"[**{blanks['date']}**] {dice.number(1, 12):02}:{dice.number(0, 59):02}{dice.pick('AP')}M BLOOD "
        + " ".join(values)
    )


def filler(section: str, dice: Dice, blanks: Blanks) -> str:
    """A line of that section that stands for no code."""
    if section == "labs":
        return panel(dice, blanks)
    lines = FILLER[section] if section in FILLER and (section not in CHATTER or dice.luck(0.15)) else CHATTER[section]
    text = dice.pick(lines).format_map(blanks)
    return misspelt(text, dice) if dice.luck(MISSPELT) else text


def write(case: Case, dice: Dice, day: date) -> Note:
    """The discharge summary of an admission that ended on that day."""
    blanks = Blanks(dice, case.person, day)
    brief = dice.luck(SHORT)
    target = 0 if brief else TOKENS * math.exp(SPREAD * normal(dice))
    lines = [line for code in case.codes for line in mentions(code, dice, blanks)]
    if brief:
        lines = lines[:: 1 + len(lines) // 8]
    else:
        lines += distractors(case, dice, blanks, dice.number(3, 6 + int(target) // 250))
        lines += [
            (section, Line(filler(section, dice, blanks))) for section in ("disposition", "condition", "allergies")
        ]
    words = sum(line.text.count(" ") + 3 for _, line in lines)
    while words < target:
        section = dice.weighted(FILLING)
        for _ in range(dice.number(1, 4)):
            text = filler(section, dice, blanks)
            words += text.count(" ") + 1
            lines.append((section, Line(text)))
    sections = arranged(dice.shuffled(lines))
    age = f"{case.age}-year-old {case.person['man']}" if case.age else "newborn infant"
    complaint = dice.pick(case.topic.complaints)
    sections["complaint"] = [Line(capital(complaint))]
    sections["hpi"] = [Line(f"{blanks['opening']} {age} {blanks['came']} {complaint}."), *sections.get("hpi", [])]
    admitted, born = day - timedelta(dice.number(1, 14)), day - timedelta(365 * case.age + dice.number(0, 300))
    head = (
        f"Admission Date:  [**{dashed(admitted)}**]     Discharge Date:   [**{dashed(day)}**]\n\n"
        f"Date of Birth:  [**{dashed(born)}**]     Sex:   {'MF'[case.person['He'] == 'She']}\n\n"
        f"Service: {case.topic.service.upper()}\n\n"
    )
    by = f"{blanks['name']}, {blanks['service']}\nJob#: {dice.number(10000, 99999)} {initials(dice)}/{initials(dice)}"
    return rendered(head, sections, f"\n\nDictated by {by}\n", dice)


def arranged(lines: Iterable[tuple[str, Line]]) -> dict[str, list[Line]]:
    """The lines by section."""
    sections: dict[str, list[Line]] = {}
    for section, line in lines:
        sections.setdefault(section, []).append(line)
    return sections


def dashed(day: date) -> str:
    return f"{day.year}-{day.month}-{day.day}"


def initials(dice: Dice) -> str:
    return "".join(dice.pick("abcdeghjlmrst") for _ in range(dice.number(2, 3)))


def normal(dice: Dice) -> float:
    """A number from the standard normal distribution (Box and Muller)."""
    return math.sqrt(-2 * math.log(1 - dice.share())) * math.cos(2 * math.pi * dice.share())


def addendum(case: Case, dice: Dice, day: date) -> Note:
    """A second, short summary of the same stay, which may name codes that the first one does not."""
    blanks = Blanks(dice, case.person, day)
    codes = dice.shuffled(case.codes)[: dice.number(0, 2)]
    lines = [line for code in codes for line in mentions(code, dice, blanks)]
    for _ in range(dice.number(2, 12)):
        section = dice.pick(("course", "meds", "followup", "labs", "course", "instructions"))
        lines.append((section, Line(filler(section, dice, blanks))))
    head = (
        f"Name:  [**Known lastname {blanks['big']}**]     Unit No:  [**Numeric Identifier {blanks['big']}**]\n\n"
        f"Service: {case.topic.service.upper()}\n\nAddendum:\n"
    )
    return rendered(head, arranged(lines), "\n", dice)


def rendered(head: str, sections: Mapping[str, Sequence[Line]], signed: str, dice: Dice) -> Note:
    """The sections with their names and in some order, lines broken; spans are those of the whole text."""
    upper, newline, mark = dice.luck(0.25), dice.luck(0.7), dice.pick(("{}. ", "- ", "", "{}) ", "# "))
    parts, spans = [head], []
    at = len(head)
    for section in dice.pick(SECTION_ORDERS).split():
        if not (lines := sections.get(section)):
            continue
        name = dice.pick(ALL_HEADERS[section]) + ":"
        name = (name.upper() if upper else name) + ("\n" if newline or section in LINES else " ")
        parts.append(name)
        at += len(name)
        for number, line in enumerate(lines, 1):
            before = mark.format(number) if section in NUMBERED and newline else ""
            after = "\n" if section in LINES or number == len(lines) else "\n\n" if dice.luck(0.12) else " "
            spans += [(code, at + len(before) + begin, at + len(before) + end) for code, begin, end in line.spans]
            text = f"{before}{line.text}{after}"
            parts.append(text)
            at += len(text)
        parts.append("\n")
        at += 1
    parts.append(signed)
    return Note(broken("".join(parts)), spans)


def broken(text: str) -> str:
    """The text in lines of at most WIDTH letters. A blank becomes a line break, so no letter changes its place."""
    lines = []
    for paragraph in text.split("\n"):
        rest = paragraph
        while len(rest) > WIDTH and (cut := rest.rfind(" ", 1, WIDTH + 1)) > 0:
            lines.append(rest[:cut])
            rest = rest[cut + 1 :]
        lines.append(rest)
    return "\n".join(lines)
