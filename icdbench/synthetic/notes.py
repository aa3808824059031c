"""The notes of the synthetic MIMIC-III tables: discharge summaries and addenda of admissions whose codes are drawn.

A case (see `cases.py`) becomes a discharge summary of about 1,500 words: most codes are named, in changing words and often
more than once, some only implied, some not at all, among diseases that are denied, past or a relative's, and much text that
mentions no code: laboratory values, daily course, medications, instructions.

`discharge_summary` and `addendum` write notes, `filler` single lines for other notes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

from icdbench.codes import icd9
from icdbench.synthetic.blanks import COINAGES, Blanks, coin_word, dashed
from icdbench.synthetic.cases import Case, category, codes_in_use
from icdbench.synthetic.dice import Dice
from icdbench.synthetic.language import BECOMES, capitalized, code_kind, excluded_by, icd9_title, paraphrase, table

SILENT, IMPLIED = 0.10, 0.15  # shares of codes that are not mentioned, or only by a sign or a drug
AGAIN = 0.45  # probability that a named code is named a second time, and then a third time
LISTED = 0.4  # probability that a named code is also in the list of diagnoses
MISSPELT = 0.04  # share of mentions and of sentences with a typing error
WIDTH = 78  # characters of a line
TOKENS, SPREAD = 1540, 0.47  # median length of a summary, and the standard deviation of its logarithm
SHORT = 0.006  # share of summaries of a few lines
# How text that mentions no code is distributed over the sections: groups of lines per thousand.
FILLING: Mapping[str, float] = {
    "labs": 190, "course": 330, "meds": 130, "exam": 60, "imaging": 90, "micro": 30, "instructions": 70, "followup": 25,
    "hpi": 90, "homemeds": 60, "social": 15,
}  # fmt: skip
# Sections of one line per item, and those of them whose items can be numbered.
NUMBERED = frozenset({"procedures", "pmh", "meds", "homemeds", "diagnoses", "followup"})
ITEMIZED = NUMBERED | {"labs", "exam", "imaging", "micro", "allergies"}


@dataclass(frozen=True)
class NoteLine:
    """A sentence of a section, or an item of its list, and where in it [begin, end) each code is mentioned."""

    section: str
    text: str
    spans: tuple[tuple[str, int, int], ...] = ()


@dataclass
class WrittenNote:
    """A text and the codes that it supports, each with the characters [begin, end) that do so."""

    text: str
    spans: list[tuple[str, int, int]]


@cache
def abbreviated() -> re.Pattern[str]:
    """Matches the words of titles that have abbreviations."""
    return re.compile(r"\b(" + "|".join(table("abbreviations")) + r")\b")


@cache
def ordinals() -> Mapping[str, int]:
    """The rank of each code in alphabetical order."""
    return {code: number for number, code in enumerate(sorted(codes_in_use().weights))}


def misspell(text: str, dice: Dice) -> str:
    """The text with a slip of the keys in one word, or with one word joined to the next; short words stay as they are."""
    words = text.split(" ")
    i = dice.number(0, len(words) - 1)
    word = words[i]
    if len(word) < 5 or not word.isalpha():
        return text
    at = dice.number(1, len(word) - 2)
    match dice.number(0, 4):
        case 0:
            words[i] = word[:at] + word[at + 1 :]
        case 1:
            words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 2:
            words[i] = word[:at] + word[at] + word[at:]
        case 3:
            words[i] = word[:at] + dice.pick("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]
        case _:
            words[i : i + 2] = ["".join(words[i : i + 2])]
    return " ".join(words)


def name_code(code: str, dice: Dice) -> str:
    """The code in a clinician's words."""
    parts = icd9_title(code).split(", ")
    phrase = paraphrase(", ".join(parts[: 2 if dice.luck(0.7) else None]), dice)
    if dice.luck(0.4):
        phrase = abbreviated().sub(lambda found: dice.pick(table("abbreviations")[found[0]]), phrase)
    return misspell(phrase, dice) if dice.luck(MISSPELT) else phrase


def fill(template: str, blanks: Blanks, code: str, phrase: str) -> NoteLine:
    """The line that a template gives with a phrase for `{x}` or `{X}`, which mentions the code."""
    section, _, text = template.partition(": ")
    before, mark, after = text.partition("{x}")
    if not mark:
        before, mark, after = text.partition("{X}")
        phrase = capitalized(phrase)
    first = before.format_map(blanks)
    span = (code, len(first), len(first) + len(phrase))
    return NoteLine(section, first + phrase + after.format_map(blanks), (span,))


def templates_for(status: str, code: str) -> list[str]:
    """The templates that mention a code in that status."""
    key = status if status == "family" else f"{status} {code_kind(code)}"
    return [*table("said").get(key, ()), *table("mimic_said").get(key, ())]


def mentions(code: str, dice: Dice, blanks: Blanks) -> list[NoteLine]:
    """Lines that name or imply the code; none for some codes."""
    if dice.luck(SILENT):
        return []
    signs, drugs, found = table("signs"), table("drugs"), list[NoteLine]()
    if dice.luck(IMPLIED):
        if code in signs:
            template = dice.pick(table("said")["implied"])
            found.append(fill(template, blanks, code, dice.pick(signs[code]).format_map(blanks)))
        elif code_kind(code) in {"acute", "chronic"}:  # a made-up drug that is given for nothing else
            drug = coin_word("drug", COINAGES["drug"] + ordinals()[code])
            found.append(fill(dice.pick(table("mimic_said")["implied drug"]), blanks, code, drug))
    while not found or (len(found) < 3 and dice.luck(AGAIN)):
        found.append(fill(dice.pick(templates_for("stated", code)), blanks, code, name_code(code, dice)))
    if dice.luck(LISTED) and not icd9.is_procedure(code):
        found.append(fill("diagnoses: {x}", blanks, code, name_code(code, dice)))
    if code in drugs and dice.luck(0.5):
        found.append(fill("meds: {x} {dose} {often}", blanks, code, dice.pick(drugs[code])))
    return found


def distractors(case: Case, dice: Dice, blanks: Blanks, size: int) -> list[NoteLine]:
    """At most `size` lines with codes that are denied, past or a relative's; none is of a true code's category."""
    taken = {category(code) for code in case.codes}.union(*map(excluded_by, case.codes))
    found = []
    for _ in range(size):
        procedure = dice.luck(0.15)
        own = dice.luck(0.7)
        pool = codes_in_use().by_topic[case.topic.name, procedure] if own else codes_in_use().all_codes[procedure]
        code = dice.weighted(case.topic.codes) if dice.luck(0.5) else pool.draw(dice)
        inherited = code_kind(code) in {"acute", "chronic"} and code < "780"  # injuries are not
        status = dice.pick(("negated", "negated", "history", *["family"] * inherited))
        templates = templates_for(status, code)
        # A past or a relative's disease can be a code of its own, which would then have to be gold.
        if templates and category(code) not in taken and code not in taken and (code, status) not in BECOMES:
            line = fill(dice.pick(templates), blanks, code, name_code(code, dice))
            found.append(NoteLine(line.section, line.text))
    return found


def panel(dice: Dice, blanks: Blanks) -> str:
    """A line of laboratory values; high ones have a star."""
    values = []
    for name, low, high, digits in map(str.split, dice.pick([*table("panels").values()])):
        share = dice.share()
        value = float(low) + share * (float(high) - float(low))
        values.append(f"{name}-{value:.{digits}f}{'*' * (share > 0.85)}")
    when = f"[**{blanks['date']}**] {dice.number(1, 12):02}:{dice.number(0, 59):02}{dice.pick('AP')}M"
    return f"{when} BLOOD {' '.join(values)}"


def filler(section: str, dice: Dice, blanks: Blanks) -> str:
    """A line for the section that mentions no code."""
    if section == "labs":
        return panel(dice, blanks)
    shared, more = table("filler"), table("mimic_filler")
    lines = shared[section] if section in shared and (section not in more or dice.luck(0.15)) else more[section]
    text = dice.pick(lines).format_map(blanks)
    return misspell(text, dice) if dice.luck(MISSPELT) else text


def discharge_summary(case: Case, dice: Dice, day: date) -> WrittenNote:
    """The discharge summary of an admission that ended on that day."""
    blanks = Blanks(dice, case.person, day)
    brief = dice.luck(SHORT)
    target = 0 if brief else TOKENS * math.exp(SPREAD * normal(dice))
    lines = [line for code in case.codes for line in mentions(code, dice, blanks)]
    if brief:
        lines = lines[:: 1 + len(lines) // 8]
    else:
        lines += distractors(case, dice, blanks, dice.number(3, 6 + int(target) // 250))
        lines += filler_lines(("disposition", "condition", "allergies"), dice, blanks)
    words = sum(line.text.count(" ") + 3 for line in lines)
    while words < target:
        section = dice.weighted(FILLING)
        more = filler_lines([section] * dice.number(1, 4), dice, blanks)
        words += sum(line.text.count(" ") + 1 for line in more)
        lines += more
    sections = by_section(dice.shuffled(lines))
    age = f"{case.age}-year-old {case.person['man']}" if case.age else "newborn infant"
    complaint = dice.pick(case.topic.complaints)
    sections["complaint"] = [NoteLine("complaint", capitalized(complaint))]
    opening = NoteLine("hpi", f"{blanks['opening']} {age} {blanks['came']} {complaint}.")
    sections["hpi"] = [opening, *sections.get("hpi", [])]
    admitted, born = day - timedelta(dice.number(1, 14)), day - timedelta(365 * case.age + dice.number(0, 300))
    head = (
        f"Admission Date:  [**{dashed(admitted)}**]     Discharge Date:   [**{dashed(day)}**]\n\n"
        f"Date of Birth:  [**{dashed(born)}**]     Sex:   {'MF'[case.person['He'] == 'She']}\n\n"
        f"Service: {case.topic.service.upper()}\n\n"
    )
    by = f"{blanks['name']}, {blanks['service']}\nJob#: {dice.number(10000, 99999)} {initials(dice)}/{initials(dice)}"
    return render(head, sections, f"\n\nDictated by {by}\n", dice)


def addendum(case: Case, dice: Dice, day: date) -> WrittenNote:
    """A second, short summary of the same stay, which may name codes that the first one does not."""
    blanks = Blanks(dice, case.person, day)
    codes = dice.shuffled(case.codes)[: dice.number(0, 2)]
    lines = [line for code in codes for line in mentions(code, dice, blanks)]
    choices = ("course", "meds", "followup", "labs", "course", "instructions")
    lines += filler_lines((dice.pick(choices) for _ in range(dice.number(2, 12))), dice, blanks)
    head = (
        f"Name:  [**Known lastname {blanks['big']}**]     Unit No:  [**Numeric Identifier {blanks['big']}**]\n\n"
        f"Service: {case.topic.service.upper()}\n\nAddendum:\n"
    )
    return render(head, by_section(lines), "\n", dice)


def filler_lines(sections: Iterable[str], dice: Dice, blanks: Blanks) -> list[NoteLine]:
    """A line for each of the sections that mentions no code."""
    return [NoteLine(section, filler(section, dice, blanks)) for section in sections]


def by_section(lines: Iterable[NoteLine]) -> dict[str, list[NoteLine]]:
    sections: dict[str, list[NoteLine]] = {}
    for line in lines:
        sections.setdefault(line.section, []).append(line)
    return sections


def initials(dice: Dice) -> str:
    return "".join(dice.pick("abcdeghjlmrst") for _ in range(dice.number(2, 3)))


def normal(dice: Dice) -> float:
    """A number from the standard normal distribution (Box and Muller)."""
    return math.sqrt(-2 * math.log(1 - dice.share())) * math.cos(2 * math.pi * dice.share())


def render(head: str, sections: Mapping[str, Sequence[NoteLine]], signed: str, dice: Dice) -> WrittenNote:
    """The note: its sections with headers and in some order, its lines broken; spans count in the whole text."""
    upper, newline, mark = dice.luck(0.25), dice.luck(0.7), dice.pick(("{}. ", "- ", "", "{}) ", "# "))
    names = {**table("headers"), **table("mimic_headers")}
    parts, spans, at = [head], list[tuple[str, int, int]](), len(head)
    for section in dice.pick(table("layout")["mimic"]).split():
        if not (lines := sections.get(section)):
            continue
        name = dice.pick(names[section]) + ":"
        name = (name.upper() if upper else name) + ("\n" if newline or section in ITEMIZED else " ")
        parts.append(name)
        at += len(name)
        for number, line in enumerate(lines, 1):
            before = mark.format(number) if section in NUMBERED and newline else ""
            after = "\n" if section in ITEMIZED or number == len(lines) else "\n\n" if dice.luck(0.12) else " "
            spans += [(code, at + len(before) + begin, at + len(before) + end) for code, begin, end in line.spans]
            text = f"{before}{line.text}{after}"
            parts.append(text)
            at += len(text)
        parts.append("\n")
        at += 1
    parts.append(signed)
    return WrittenNote(break_lines("".join(parts)), spans)


def break_lines(text: str) -> str:
    """The text in lines of at most WIDTH letters; blanks become line breaks, so no letter changes its place."""
    lines = []
    for paragraph in text.split("\n"):
        rest = paragraph
        while len(rest) > WIDTH and (cut := rest.rfind(" ", 1, WIDTH + 1)) > 0:
            lines.append(rest[:cut])
            rest = rest[cut + 1 :]
        lines.append(rest)
    return "\n".join(lines)
