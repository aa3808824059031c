"""`demo`: synthetic discharge summaries, made on the spot, so that a fresh machine needs no file and no network.

A document is planned (which codes are gold, which are only talked about), each planned mention becomes a sentence, and the
sentences become sections. What makes it hard is what makes real notes hard: a gold code may be named by an abbreviation or
only implied by a finding or a drug, and the same words may be denied, belong to a relative, or lie in the past.

What is said, and how, stands in `icdbench.datasets.phrases`. `VERSION` must change when any document would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from icdbench.datasets import Raw, Source, hierarchy, icd9, register
from icdbench.datasets.phrases import (
    BECOMES,
    COMMON_DRUGS,
    DRUGS,
    FILLER,
    HEADERS,
    LISTS,
    ORDERS,
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
    title,
)
from icdbench.types import Document

VERSION = "1"
SEED = 1915
SIZES = {"train": 600, "validation": 120, "test": 160}
SPLIT_OF = tuple(split for split, size in SIZES.items() for _ in range(size))
MOST_CODES = 9
DISTRACTORS = 4, 7  # per document, as far as they do not contradict its codes
IMPLIED = 0.2  # how often a code that has signs is implied, not named


# --- What is the matter -------------------------------------------------------------------------------------------------

# Reasons for admission with the probability of each code that goes with them.
TOPICS = {
    complaint: chances(codes)
    for complaint, codes in table("""
worsening shortness of breath = 428.0 .60 | 428.22 .45 | 428.32 .80 | 401.9 .45 | 427.31 .45 | 414.01 .30 | 585.9 .25
  | 584.9 .25 | 511.9 .20 | 424.0 .15 | 88.72 .30 | V58.61 .15 | 276.8 .10
chest pain = 414.01 .90 | 410.71 .55 | 401.9 .55 | 272.4 .50 | 272.0 .25 | 37.22 .55 | 88.56 .40 | 36.07 .35 | 36.15 .20
  | 305.1 .25 | V15.82 .20 | 412 .15 | V17.3 .18 | V45.81 .15
fever and confusion = 038.9 .70 | 995.92 .55 | 785.52 .35 | 518.81 .35 | 584.9 .40 | 584.5 .25 | 599.0 .35 | 486 .35
  | 38.93 .45 | 96.71 .20 | 96.72 .50 | 96.04 .20 | 293.0 .12
weakness and poor oral intake = 250.00 .60 | 250.40 .70 | 403.90 .30 | 401.9 .60 | 272.4 .40 | 585.9 .35 | 584.9 .25
  | V58.67 .35 | 276.7 .20 | 276.51 .25 | 599.0 .20 | 278.00 .20
productive cough = 491.21 .50 | 496 .80 | 486 .45 | 518.81 .30 | 305.1 .30 | V15.82 .50 | 96.71 .15 | 96.04 .12
dark stools = 578.9 .85 | 285.1 .70 | 45.13 .60 | 99.04 .55 | V58.61 .25 | 530.81 .30
fatigue after missed treatments = 585.6 .90 | 39.95 .70 | 285.21 .45 | 276.7 .35 | 250.40 .35 | 403.90 .20
sudden weakness of one arm = 434.91 .85 | 401.9 .50 | 427.31 .35 | 272.4 .30 | 88.72 .30 | 345.90 .15
a swollen leg = 453.41 .80 | 415.19 .45 | V58.61 .80 | 401.9 .50 | V10.3 .20 | 174.9 .15
weight loss and cough = 162.9 .85 | 511.9 .50 | 486 .30 | 401.9 .50 | 285.9 .20 | V15.82 .40
""").items()
}
WEIGHTS = dict(zip(TOPICS, (18, 16, 14, 12, 11, 9, 6, 6, 4, 4), strict=True))
# What any patient may also have.
BACKGROUND = chances(
    table("""
any = 401.9 .28 | 272.4 .18 | 530.81 .16 | 250.00 .11 | 244.9 .12 | 427.31 .07 | 414.01 .11 | 311 .09 | 300.00 .06
  | 285.9 .06 | 599.0 .06 | 276.1 .07 | 496 .05 | 584.9 .05 | 305.1 .04 | 278.00 .03 | 345.90 .03 | V12.54 .04 | V10.3 .02
  | 412 .02 | 272.0 .02 | 293.0 .02 | V45.81 .02 | 424.0 .02 | V17.3 .02 | 276.8 .03
""")["any"]
)


@dataclass(frozen=True)
class Mention:
    """A code, the sense in which it is mentioned, and the words that mention it (the evidence).

    `stated` and `implied` (by a finding or a drug) are of the patient now; `negated`, `family` and `history` are not.
    """

    code: str
    status: str
    phrase: str

    @property
    def gold(self) -> str | None:
        """The code that the mention justifies, if any."""
        return self.code if self.status in {"stated", "implied"} else BECOMES.get((self.code, self.status))

    @property
    def kind(self) -> str:
        """What can be said of it: `acute` or `chronic` disease, `procedure`, or `status`, a fact of the past or for life."""
        if re.match(r"\d\d\.", self.code):
            return "procedure"
        return next((kind for kind in ("acute", "status") if self.code in TRAITS[kind]), "chronic")


@dataclass(frozen=True)
class Sentence:
    """A sentence of a section, or an item of its list, and what it mentions."""

    section: str
    text: str
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a document has to say: why the patient came, words for the patient, all that is to be mentioned."""

    complaint: str
    person: Mapping[str, str]
    mentions: tuple[Mention, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """The gold codes, sorted."""
        return tuple(sorted({mention.gold for mention in self.mentions if mention.gold}))


def draw_codes(dice: Dice, complaint: str) -> list[str]:
    """Two gold codes or more that go with the complaint, or that any patient may have."""
    codes: list[str] = []
    for code, chance in (*TOPICS[complaint].items(), *BACKGROUND.items()):
        if dice.luck(chance) and len(codes) < MOST_CODES and not excluded(code) & set(codes):
            codes.append(code)
    return codes if len(codes) > 1 else draw_codes(dice, complaint)


def draw_distractor(dice: Dice, complaint: str) -> tuple[str, str]:
    """A code, often one that would go with the complaint, and a sense in which it is not the patient's present state."""
    code = dice.weighted(TOPICS[complaint if dice.luck(0.6) else dice.weighted(WEIGHTS)])
    other = [sense for sense, trait in (("family", "inherited"), ("history", "past")) if code in TRAITS[trait]]
    return code, dice.pick(["negated", *other])


def make_plan(dice: Dice) -> Plan:
    """Draw the complaint, the gold codes, and what is mentioned without being so."""
    complaint = dice.weighted(WEIGHTS)
    codes = draw_codes(dice, complaint)
    senses = []
    for code in codes:
        ways = [way for way, gold in BECOMES.items() if gold == code and not (excluded(way[0]) - {code}) & set(codes)]
        status = "implied" if SIGNS.get(code) and dice.luck(IMPLIED) else "stated"
        senses.append(dice.pick(ways) if ways and dice.luck(0.8) else (code, status))
    taken = set[str]().union(*(excluded(code) for code in (*codes, *dict(senses))))
    for _ in range(dice.number(*DISTRACTORS)):
        code, status = draw_distractor(dice, complaint)
        involved = excluded(code) | excluded(BECOMES.get((code, status), code))
        if not involved & taken and code not in TRAITS["status"]:
            senses.append((code, status))
            taken |= involved
    breast = any(code in {"174.9", "V10.3"} and status != "family" for code, status in senses)
    person = PEOPLE[breast or dice.luck(0.5)]
    mentions = []
    for code, status in senses:
        words = dice.pick(SIGNS[code]) if status == "implied" else paraphrase(title(code), dice)
        mentions.append(Mention(code, status, dice.fill(words, person)))
    return Plan(complaint, person, tuple(mentions))


def write(plan: Plan, dice: Dice) -> list[Sentence]:
    """The plan as sentences: each mention in one, some again in the lists, and sentences that say nothing of codes."""

    def say(template: str, *mentions: Mention, **words: str) -> Sentence:
        for name, mention in zip("xy", mentions, strict=False):
            words |= {name: mention.phrase, name.upper(): capital(mention.phrase)}
        section, _, text = template.partition(": ")
        return Sentence(section, dice.fill(text, {**plan.person, **words}), mentions)

    def those(status: str, kind: str) -> list[Mention]:
        return [mention for mention in mentions if mention.status == status and mention.kind == kind]

    mentions = dice.shuffled(plan.mentions)
    known = those("stated", "chronic")[: dice.number(0, 2)]
    background = " with " * bool(known) + " and ".join(mention.phrase for mention in known)
    words = {"age": str(dice.number(41, 89)), "background": background, "complaint": plan.complaint}
    first = [Sentence("complaint", capital(plan.complaint)), say(dice.pick(SAID["opening"]), *known, **words)]

    pairs = [pair for pair in zip(those("negated", "acute"), those("stated", "acute"), strict=False) if dice.luck(0.5)]
    rest = [say(dice.pick(SAID["contrast"]), *pair) for pair in pairs]
    single = [mention for mention in mentions if mention not in {*known, *chain(*pairs)}]
    rest += [say(dice.pick(SAID.get(m.status) or SAID[f"{m.status} {m.kind}"]), m) for m in single]
    told = {"course"} | {sentence.section for sentence in rest} & {"family"}
    filler = [
        f"{section}: {dice.pick(texts)}" for section, texts in FILLER.items() if section not in told and dice.luck(0.7)
    ]
    filler += [f"course: {text}" for text in FILLER["course"] if dice.luck(0.3)]
    rest += [say(text) for text in filler]
    return first + dice.shuffled(rest + lists(plan, dice))


def lists(plan: Plan, dice: Dice) -> list[Sentence]:
    """Medications and discharge diagnoses; neither list is complete, and common drugs stand for nothing."""
    items = []
    if dice.luck(0.7):
        drugs = [(code, dice.pick(DRUGS[code])) for code in plan.codes if code in DRUGS and dice.luck(0.6)]
        items += [Sentence("meds", drug, (Mention(code, "implied", drug),)) for code, drug in drugs]
        items += [Sentence("meds", dice.pick(COMMON_DRUGS)) for _ in range(dice.number(0, 3))]
    if dice.luck(0.4):
        named = [m.code for m in plan.mentions if m.status == "stated" and m.kind != "procedure"]
        again = [Mention(code, "stated", paraphrase(title(code), dice)) for code in dice.shuffled(named)[:2]]
        items += [Sentence("diagnoses", mention.phrase, (mention,)) for mention in again]
    return items


def render(sentences: Sequence[Sentence], dice: Dice) -> tuple[str, dict[tuple[str, str], int]]:
    """The sentences as a document, section by section, and the character at which each begins, by its section and text."""
    upper, newline, numbered = dice.luck(0.3), dice.luck(0.5), dice.luck(0.3)
    document, places = "", dict[tuple[str, str], int]()
    for section in dice.pick(ORDERS).split():
        texts = list(dict.fromkeys(sentence.text for sentence in sentences if sentence.section == section))
        header = dice.pick(HEADERS[section]) + ":"
        if not texts:
            continue
        listed = section in LISTS
        document += "\n\n" * bool(document) + (header.upper() if upper else header)
        document += "\n" if newline or numbered else " "
        for i, text in enumerate(texts):
            if listed and numbered:
                document += "\n" * (i > 0) + f"{i + 1}. "
            elif i:
                document += "; " if listed else " "
            places[section, text] = len(document)
            document += capital(text) if listed and (numbered or not i) else text
        document += "." * (listed and not numbered)
    return document + "\n", places


def spans(text: str, begin: int, mentions: Sequence[Mention]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Gold codes and the characters of their phrases in a sentence that begins there; no character serves two phrases."""
    left = text.lower()
    for mention in sorted(mentions, key=lambda mention: -len(mention.phrase)):
        match = re.search(rf"(?<!\w){re.escape(mention.phrase.lower())}(?!\w)", left)
        assert match, mention
        left = left[: match.start()] + "\0" * len(match[0]) + left[match.end() :]
        if mention.gold:
            yield mention.gold, (begin + match.start(), begin + match.end())


def made(number: int) -> tuple[Document, Mapping[str, Sequence[tuple[int, int]]]]:
    """A document of the data set, which depends on nothing but its number, and its evidence."""
    dice = Dice(SEED, number)
    plan = make_plan(dice)
    sentences = write(plan, dice)
    text, places = render(sentences, dice)
    found: dict[str, list[tuple[int, int]]] = {}
    for sentence in sentences:
        for code, span in spans(sentence.text, places[sentence.section, sentence.text], sentence.mentions):
            found.setdefault(code, []).append(span)
    return Document(f"demo-{number:04}", text, plan.codes, SPLIT_OF[number]), found


def documents() -> list[Document]:
    """The data set."""
    return [made(number)[0] for number in range(len(SPLIT_OF))]


register(
    Source(
        name="demo",
        about="synthetic discharge summaries with ICD-9-CM codes, made on the spot: to try things out, not for results",
        files=lambda *_: [icd9.titles_path()],
        read=lambda *_: Raw(documents(), facts={"synthetic": f"generator version {VERSION}, seed {SEED}"}),
        titles=lambda codes, *_: icd9.icd9cm_titles(codes),
        tree=lambda codes, *_: hierarchy.grow(codes, hierarchy.icd9cm_line),
        evidence=lambda *_: {document.id: found for document, found in map(made, range(len(SPLIT_OF)))},
        check=lambda *_: [],
        data={"top_codes": 50},
        train={"max_epochs": 20, "patience": 8},
        version=VERSION,
        synthetic=True,
    )
)
