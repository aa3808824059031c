"""The equations of a model's docstring, as it has them, in MathML: `h_p = tanh(Conv1d(x))   [F, P]   a remark`.

A name is one letter; what follows `_` is its index, a letter each, or a word. Longer words are functions if a bracket follows,
else text. Browsers draw MathML without a script.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator

PART = re.compile(r"[A-Za-z]{2,}\d?[a-z]*(?:[-’'][a-z]+)*|[A-Za-zα-ω]|\d[\d,.–]*\d|\s+|.")
AFTER = re.compile(r"(?P<number>(?<=[A-Za-z])\d+)|_\{(?P<group>[^}]*)\}|_(?P<index>[A-Za-zα-ω\d]+)|(?P<power>['ᵀ²])")
POWERS = {"ᵀ": "<mi>T</mi>", "²": "<mn>2</mn>"}
PRIME = '<mo lspace="0" rspace="0">′</mo>'
BRACKETS = dict(zip("()[]<>⌊⌋", "()[]⟨⟩⌊⌋", strict=True))
OPERATORS = {**{each: each for each in "=+/·∘×←≤∈;,:…"}, "-": "−", "Σ": "∑"}
GAP = '<mspace width="0.2em"></mspace>'


def typeset(about: str) -> str:
    """A docstring with its blocks of equations as tables; other blocks, such as commands, are left."""
    parts = re.split(r"((?:^ {4}.*\n?)+)", about, flags=re.MULTILINE)
    return "".join(table(part) if part.startswith("    ") and " = " in part else part for part in parts)


def table(block: str) -> str:
    """A row for each equation: the equation, and what is beside it."""
    rows = []
    for line in block.rstrip("\n").splitlines():
        equation, *beside = re.split(r" {2,}", line.strip())
        inset = ' class="inset"' if line.startswith(" " * 8) else ""
        whole = "".join(
            f"<mtext>{run.replace(' ', '&nbsp;')}</mtext>" if words else run for words, run in runs(equation)
        )
        remark = "&emsp;".join(map(sentence, beside))
        rows.append(f"<tr><td{inset}><math>{whole}</math></td><td>{remark}</td></tr>")
    return f'\n<table class="equations" tabindex="0">{"".join(rows)}</table>\n\n'


def sentence(text: str) -> str:
    """Text with formulas in it, which may break between words."""
    return "".join(run if words else f"<math>{run}</math>" for words, run in runs(text))


def runs(text: str) -> Iterator[tuple[bool, str]]:
    """The text and the formulas by turns, and which it is."""
    for words, found in itertools.groupby(pieces(text), key=lambda piece: piece[0]):
        yield words, "".join(each for _, each in found)


def pieces(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a formula, and whether each is text."""
    at, worded, operator, root = 0, False, True, False
    while at < len(text):
        part, follows = (found := PART.match(text, at))[0], text[found.end() :]
        at = found.end()
        if part.isspace():
            between = follows[:1] not in OPERATORS or follows[0] == "Σ"
            if worded or is_word(*next_part(follows)):
                yield True, " "
            elif between and not operator:
                yield False, GAP
            continue
        if is_word(part, follows) or (worded and part in ".,:;"):
            worded = True
            yield True, html.escape(part, quote=False)
            continue
        worded, operator = False, part in OPERATORS and part != "Σ"
        if part == "√":
            root = True
            continue
        base, at = scripted(part, text, at)
        yield False, f"<msqrt>{base}</msqrt>" if root else base
        root = False


def next_part(text: str) -> tuple[str, str]:
    """The first part of a text, and the rest."""
    found = PART.match(text)
    return (found[0], text[found.end() :]) if found else ("", "")


def is_word(part: str, follows: str) -> bool:
    """Whether a part is text: a word that no bracket, index or prime follows, or the article."""
    if part == "a":
        return bool(re.match(r" [a-z]{2}", follows))
    if part == '"':
        return True
    return len(part) > 1 and part[0].isalpha() and follows[:1] not in {"(", "_", "'"}


def scripted(part: str, text: str, at: int) -> tuple[str, int]:
    """A part with its index and power; where the text goes on."""
    base, index, power = atom(part), "", ""
    while found := AFTER.match(text, at):
        at = found.end()
        if found["power"] == "'":
            base = f"<mrow>{base}{PRIME}</mrow>"
        elif found["power"]:
            power += POWERS[found["power"]]
        elif found["index"] and len(found["index"]) > 3 and found["index"].isalpha():
            index += f"<mtext>{found['index']}</mtext>"
        else:
            inner = found["group"] or " ".join(found["index"] or found["number"])
            index += "".join(each for _, each in pieces(inner) if each != GAP)
    scripts = "".join(f"<mrow>{each}</mrow>" for each in (index, power) if each)
    kind = "munder" if part == "Σ" else f"m{'sub' if index else ''}{'sup' if power else ''}"
    return (f"<{kind}>{base}{scripts}</{kind}>" if scripts else base), at


def atom(part: str) -> str:
    """A name, a number, a bracket or an operator."""
    if part in BRACKETS:
        return f'<mo stretchy="false">{BRACKETS[part]}</mo>'
    if part in OPERATORS:
        return f"<mo>{OPERATORS[part]}</mo>"
    kind = "mn" if part[0].isdigit() else "mi" if part[0].isalpha() else "mtext"
    return f"<{kind}>{html.escape(part, quote=False)}</{kind}>"
