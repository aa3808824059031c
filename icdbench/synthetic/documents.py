"""The documents of the data set `demo`: synthetic discharge summaries, made on the spot.

A document is planned (which codes are gold, which are only mentioned), each planned mention becomes a sentence, and the
sentences become sections. It is hard for the reasons that real notes are: a gold code may be named by an abbreviation or
only implied by a finding or a drug, and the same words may be denied, belong to a relative, or lie in the past.

`documents` returns all of them, `document_with_evidence` one of them. `VERSION` must change when any document would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

from icdbench.codes import icd9
from icdbench.synthetic.dice import Dice
from icdbench.synthetic.language import (
    BECOMES,
    COMMON_DRUGS,
    MAN,
    WOMAN,
    background,
    capitalized,
    code_kind,
    excluded_by,
    icd9_title,
    paraphrase,
    probabilities,
    table,
    topic_weights,
)
from icdbench.types import Document

VERSION = "1"
SEED = 1915
SIZES = {"train": 600, "validation": 120, "test": 160}
SPLIT_OF = tuple(split for split, size in SIZES.items() for _ in range(size))
MOST_CODES = 9
DISTRACTORS = 4, 7  # per document; those that contradict its codes are left out
IMPLIED = 0.2  # probability that a code with signs is implied instead of named
BREAST_CANCER = frozenset({"174.9", "V10.3"})  # only women have it here
LISTS = frozenset({"procedures", "pmh", "meds", "diagnoses"})  # sections of items; the others have sentences


@cache
def topics() -> Mapping[str, Mapping[str, float]]:
    """By reason for admission, the probability of each code that goes with it."""
    return {complaint: probabilities(codes) for complaint, (_, *codes) in table("demo_topics").items()}


@dataclass(frozen=True)
class Mention:
    """A code, the status in which it is mentioned, and the phrase that mentions it (the evidence).

    A `stated` code, or one `implied` by a finding or a drug, holds for the patient now; `negated`, `family` and `history`
    codes do not.
    """

    code: str
    status: str
    phrase: str

    @property
    def gold(self) -> str | None:
        """The code that the mention justifies, if any."""
        return self.code if self.status in {"stated", "implied"} else BECOMES.get((self.code, self.status))


@dataclass(frozen=True)
class Sentence:
    """A sentence of a section, or an item of its list, and what it mentions."""

    section: str
    text: str
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True)
class DocumentPlan:
    """The content of a document: the complaint, the words for the patient, and all mentions."""

    complaint: str
    person: Mapping[str, str]
    mentions: tuple[Mention, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """The gold codes, sorted."""
        return tuple(sorted({mention.gold for mention in self.mentions if mention.gold}))


def draw_codes(dice: Dice, complaint: str) -> list[str]:
    """Two or more gold codes that go with the complaint, or that any patient may have."""
    codes: list[str] = []
    for code, chance in chain(topics()[complaint].items(), background("demo").items()):
        if dice.luck(chance) and len(codes) < MOST_CODES and not excluded_by(code) & set(codes):
            codes.append(code)
    return codes if len(codes) > 1 else draw_codes(dice, complaint)


def draw_distractor(dice: Dice, complaint: str) -> tuple[str, str]:
    """A code, often one that would go with the complaint, and a status in which the patient does not have it now."""
    code = dice.weighted(topics()[complaint if dice.luck(0.6) else dice.weighted(topic_weights("demo_topics"))])
    traits = (("family", "inherited"), ("history", "past"))
    return code, dice.pick(["negated", *(status for status, trait in traits if code in table("traits")[trait])])


def draw_statuses(dice: Dice, complaint: str) -> list[tuple[str, str]]:
    """The codes to mention, each with its status: the gold ones first, then the distractors."""
    codes = draw_codes(dice, complaint)
    found = []
    for code in codes:
        ways = [
            way for way, gold in BECOMES.items() if gold == code and not (excluded_by(way[0]) - {code}) & set(codes)
        ]
        status = "implied" if code in table("signs") and dice.luck(IMPLIED) else "stated"
        found.append(dice.pick(ways) if ways and dice.luck(0.8) else (code, status))
    taken = set[str]().union(*(excluded_by(code) for code in (*codes, *dict(found))))
    for _ in range(dice.number(*DISTRACTORS)):
        code, status = draw_distractor(dice, complaint)
        involved = excluded_by(code) | excluded_by(BECOMES.get((code, status), code))
        if not involved & taken and code not in table("traits")["status"]:
            found.append((code, status))
            taken |= involved
    return found


def make_plan(dice: Dice) -> DocumentPlan:
    """Draw the complaint, the gold codes, and the mentions that justify no code."""
    complaint = dice.weighted(topic_weights("demo_topics"))
    statuses = draw_statuses(dice, complaint)
    woman = any(code in BREAST_CANCER and status != "family" for code, status in statuses) or dice.luck(0.5)
    person = WOMAN if woman else MAN
    mentions = []
    for code, status in statuses:
        phrase = dice.pick(table("signs")[code]) if status == "implied" else paraphrase(icd9_title(code), dice)
        mentions.append(Mention(code, status, fill(phrase, person, dice)))
    return DocumentPlan(complaint, person, tuple(mentions))


def fill(template: str, words: Mapping[str, str], dice: Dice) -> str:
    """The template with its words, and digits for `n` and `m`."""
    return template.format_map({**words, "n": dice.number(2, 8), "m": dice.number(1, 9)})


def write(plan: DocumentPlan, dice: Dice) -> list[Sentence]:
    """The sentences of a document: each mention in one, some again in the lists, and sentences that mention no code."""
    said = table("said")

    def say(template: str, *mentions: Mention, **words: str) -> Sentence:
        for name, mention in zip("xy", mentions, strict=False):
            words |= {name: mention.phrase, name.upper(): capitalized(mention.phrase)}
        section, _, text = template.partition(": ")
        return Sentence(section, fill(text, {**plan.person, **words}, dice), mentions)

    def mentions_of(status: str, kind: str) -> list[Mention]:
        return [mention for mention in mentions if mention.status == status and code_kind(mention.code) == kind]

    mentions = dice.shuffled(plan.mentions)
    known = mentions_of("stated", "chronic")[: dice.number(0, 2)]
    history = " with " * bool(known) + " and ".join(mention.phrase for mention in known)
    words = {"age": str(dice.number(41, 89)), "background": history, "complaint": plan.complaint}
    opening = [Sentence("complaint", capitalized(plan.complaint)), say(dice.pick(said["opening"]), *known, **words)]

    pairs = zip(mentions_of("negated", "acute"), mentions_of("stated", "acute"), strict=False)
    contrasts = [pair for pair in pairs if dice.luck(0.5)]
    rest = [say(dice.pick(said["contrast"]), *pair) for pair in contrasts]
    single = [mention for mention in mentions if mention not in {*known, *chain(*contrasts)}]
    rest += [
        say(dice.pick(said.get(each.status) or said[f"{each.status} {code_kind(each.code)}"]), each) for each in single
    ]
    complete = {"course"} | {sentence.section for sentence in rest} & {"family"}
    rest += [say(template) for template in draw_filler(dice, complete)]
    return opening + dice.shuffled(rest + list_items(plan, dice))


def draw_filler(dice: Dice, complete: set[str]) -> list[str]:
    """Templates that mention no code: one for most sections that are not complete, and some for the hospital course."""
    filler = table("filler")
    found = [
        f"{section}: {dice.pick(texts)}"
        for section, texts in filler.items()
        if section not in complete and dice.luck(0.7)
    ]
    return found + [f"course: {text}" for text in filler["course"] if dice.luck(0.3)]


def list_items(plan: DocumentPlan, dice: Dice) -> list[Sentence]:
    """Medications and discharge diagnoses; neither list is complete, and common drugs justify no code."""
    drugs, items = table("drugs"), list[Sentence]()
    if dice.luck(0.7):
        taken = [(code, dice.pick(drugs[code])) for code in plan.codes if code in drugs and dice.luck(0.6)]
        items += [Sentence("meds", drug, (Mention(code, "implied", drug),)) for code, drug in taken]
        items += [Sentence("meds", dice.pick(COMMON_DRUGS)) for _ in range(dice.number(0, 3))]
    if dice.luck(0.4):
        named = [each.code for each in plan.mentions if each.status == "stated" and not icd9.is_procedure(each.code)]
        again = [Mention(code, "stated", paraphrase(icd9_title(code), dice)) for code in dice.shuffled(named)[:2]]
        items += [Sentence("diagnoses", mention.phrase, (mention,)) for mention in again]
    return items


def render(sentences: Sequence[Sentence], dice: Dice) -> tuple[str, dict[tuple[str, str], int]]:
    """The document, section by section, and where in it each sentence begins, by its section and text."""
    upper, newline, numbered = dice.luck(0.3), dice.luck(0.5), dice.luck(0.3)
    document, begins = "", dict[tuple[str, str], int]()
    for section in dice.pick(table("layout")["demo"]).split():
        texts = list(dict.fromkeys(sentence.text for sentence in sentences if sentence.section == section))
        header = dice.pick(table("headers")[section]) + ":"
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
            begins[section, text] = len(document)
            document += capitalized(text) if listed and (numbered or not i) else text
        document += "." * (listed and not numbered)
    return document + "\n", begins


def evidence_spans(text: str, begin: int, mentions: Sequence[Mention]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each gold code and the characters of its phrase, in a sentence that begins at `begin`; phrases never overlap."""
    left = text.lower()
    for mention in sorted(mentions, key=lambda mention: -len(mention.phrase)):
        match = re.search(rf"(?<!\w){re.escape(mention.phrase.lower())}(?!\w)", left)
        assert match, mention
        left = left[: match.start()] + "\0" * len(match[0]) + left[match.end() :]
        if mention.gold:
            yield mention.gold, (begin + match.start(), begin + match.end())


def document_with_evidence(number: int) -> tuple[Document, Mapping[str, Sequence[tuple[int, int]]]]:
    """The document of that number, which depends on nothing else, and the spans that mention each of its codes."""
    dice = Dice(SEED, number)
    plan = make_plan(dice)
    sentences = write(plan, dice)
    text, begins = render(sentences, dice)
    evidence: dict[str, list[tuple[int, int]]] = {}
    for sentence in sentences:
        begin = begins[sentence.section, sentence.text]
        for code, span in evidence_spans(sentence.text, begin, sentence.mentions):
            evidence.setdefault(code, []).append(span)
    return Document(f"demo-{number:04}", text, plan.codes, SPLIT_OF[number]), evidence


def documents() -> list[Document]:
    """The data set."""
    return [document_with_evidence(number)[0] for number in range(len(SPLIT_OF))]
