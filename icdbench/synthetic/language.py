"""Clinical phrases for synthetic notes: the tables in `phrases/*.txt`, and paraphrases of code titles.

`table` reads a file when it is first asked for; importing this package reads none. The text is our own, and codes are
named by paraphrases of their ICD-9-CM titles. A change here or in `phrases/` changes the documents of every generator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

from icdbench.codes import icd9
from icdbench.synthetic.dice import Dice

SHORT_TITLE = 32  # letters; a part of a title below that length may also stand as it is
# A mention of a relative's disease or of the past can be a code of its own.
BECOMES: Mapping[tuple[str, str], str] = {
    ("410.71", "history"): "412",
    ("36.15", "history"): "V45.81",
    ("434.91", "history"): "V12.54",
    ("174.9", "history"): "V10.3",
    ("414.01", "family"): "V17.3",
    ("410.71", "family"): "V17.3",
}
COMMON_DRUGS = ("acetaminophen", "aspirin", "docusate", "heparin", "metoprolol", "multivitamin", "omeprazole", "senna")
MAN = {word: word for word in ("He", "he", "him", "His", "his", "man")}
WOMAN = {"He": "She", "he": "she", "him": "her", "His": "Her", "his": "her", "man": "woman"}
# Parts of titles that nobody writes.
QUALIFIERS = re.compile(
    r" *\([^)]*\)| *\[[^]]*\]|^(other and )?unspecified |,? (type ii or|organism|site|initial episode of care|not elsewhere"
    r" classified|not stated as uncontrolled|without mention of)\b[^,]*|, with .* stage i through .*|,? (or )?unspecified\b"
)


@cache
def table(name: str) -> Mapping[str, Sequence[str]]:
    """The items by key of `phrases/<name>.txt`: a line is `key = item | item`.

    A line that starts with a space continues the line above; one that starts with `#` is a comment.
    """
    path = files("icdbench.synthetic").joinpath("phrases", f"{name}.txt")
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    rows = (row.partition(" = ") for row in re.sub(r"\n +", " ", text.strip()).splitlines())
    return {key: tuple(items.split(" | ")) for key, _, items in rows}


def probabilities(items: Iterable[str]) -> dict[str, float]:
    """The probability of each code, from items such as `428.0 .6`."""
    return {code: float(chance) for code, chance in (item.split() for item in items)}


@cache
def background(generator: str) -> Mapping[str, float]:
    """The probability of each code that any patient of that generator (`demo` or `mimic`) may have."""
    return probabilities(table("background")[generator])


@cache
def topic_weights(name: str) -> Mapping[str, float]:
    """How frequent each topic of a table is: the first item of its row."""
    return {topic: float(weight) for topic, (weight, *_) in table(name).items()}


def excluded_by(code: str) -> set[str]:
    """The codes that no document has beside this one, and the code itself."""
    return {code}.union(*(group.split() for group in table("traits")["exclusive"] if code in group.split()))


def icd9_title(code: str) -> str:
    return icd9.titles()[icd9.PROCEDURE if icd9.is_procedure(code) else icd9.DIAGNOSIS][code]


def code_kind(code: str) -> str:
    """Which sentences fit the code: `acute` or `chronic` disease, `procedure`, `status` (no disease), external `cause`."""
    if icd9.is_procedure(code):
        return "procedure"
    if code[0] in "EV" or code in table("traits")["status"]:
        return "cause" if code[0] == "E" else "status"
    acute = code in table("traits")["acute"] or code < "140" or code >= "780" or "acute" in icd9_title(code).lower()
    return "acute" if acute else "chronic"


def capitalized(text: str) -> str:
    """The text with a capital first letter, its other letters unchanged."""
    return text[:1].upper() + text[1:]


@cache
def title_parts() -> re.Pattern[str]:
    """Matches the parts of titles that have synonyms, the longest first."""
    return re.compile("|".join(map(re.escape, sorted(table("synonyms"), key=len, reverse=True))))


def paraphrase(title: str, dice: Dice) -> str:
    """The title as a clinician might write it: no qualifiers, synonyms for its parts, what follows the comma last or first."""

    def synonym(part: re.Match[str]) -> str:
        return dice.pick([*table("synonyms")[part[0]], *[part[0]] * (len(part[0]) < SHORT_TITLE)])

    text = QUALIFIERS.sub("", title.lower()).strip(" ,")
    text = re.sub(r"malignant neoplasm of (?:bronchus and )?(\w+)", r"\1 cancer", text)
    text = title_parts().sub(synonym, text)
    head, _, rest = text.partition(", ")
    return f"{rest} {head}" if rest and dice.luck(0.5) else text
