"""How the cells of a codes column hold codes: joined by a character, as a written list, or one code each.

That is decided for the column as a whole, from all of its cells, and only where they leave no doubt:

- cells such as `["401.9", "486"]`, `['I10']`, `{I10,E11.9}` are lists, if all cells are;
- `;` joins codes wherever it occurs;
- `|`, `,`, line breaks, tabs and blanks join codes if every part of every cell looks like a code (`401.9`, `E11.9`, `0DTJ4ZZ`);
- without any of these a cell is one code.

Titles have commas and blanks too (`Diabetes, type 2`): where that is one code or two cannot be told, the column is refused,
and the user says what joins codes with `data.code_separator`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from icdbench.data.sources.own_settings import AUTO, BLANKS
from icdbench.settings import SHOWN, DataError, shown

NAMES = {character: name for name, character in BLANKS.items()}
LONGEST = 300  # characters of a code; the longest title of ICD-10-CM has 228

# At least three letters, digits, dots and dashes, with a digit; or the seven places of ICD-10-PCS. The last character may be a
# mark: dagger and asterisk of ICD-10, `+` and `!` of ICD-10-GM. Digits alone are at least three: the `90` of `E11,90` is no
# code. Names of coding systems are none either.
CODE = re.compile(
    r"(?!(?i:icd))(?!\d{1,2}$)(?=[^\d]*\d)[A-Za-z0-9][A-Za-z0-9.-]{1,14}[A-Za-z0-9-][+*†!#]?|[A-HJ-NP-Z0-9]{7}",
    re.ASCII,
)
# What may stand between two codes; letters and dots may not, and a dash is part of many.
BETWEEN = re.compile(r"[\s,|;/\\&+:~^_]+")
ITEM = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,'\"\[\]{}()]+"
BRACKETED = re.compile(r"\[.*\]|\{.*\}|\(\s*['\"].*\)", re.DOTALL)
LIST = re.compile(rf"[\[{{(]\s*(?:(?:{ITEM})(?:\s*,\s*(?:{ITEM}))*\s*,?)?\s*[\]}})]", re.DOTALL)
NUMPY = re.compile(r"\[(?:\s*(?:\"[^\"\\]*\"|'[^'\\]*'))*\s*\]")  # ['I10' 'E11.9'], as pandas writes arrays
NO_VALUES = frozenset({"nan", "null", "none", "na", "n/a", "#n/a", "<na>", "nat", "nil", "missing", "-", "?"})


def recognised(cells: Mapping[str, str], chosen: str | None = AUTO) -> str | None:
    """What joins the codes of these cells: `list`, a character, or None if each is one code.

    `cells` are the different cells that are not empty, with where each stands first. `chosen` is data.code_separator.
    Raises DataError, without the file's name, if it cannot be told.
    """
    if chosen != AUTO:
        return BLANKS.get(chosen, chosen) if chosen else None
    if any(map(BRACKETED.fullmatch, cells)):
        _all_lists(cells)
        return "list"
    found = _separator(cells)
    for cell, where in cells.items():
        if joined := next(filter(_looks_joined, _parts(cell, found)), None):
            between = BETWEEN.findall(joined)[0]
            raise DataError(
                f"{where}: {preview(joined)} would be read as one code, but looks like several; if "
                f"{_shown(between)} joins codes, {_option(between)}; if this is one code, {_option(found)}"
            )
    return found


def _all_lists(cells: Mapping[str, str]) -> None:
    """Raises DataError if only some of the cells are written lists."""
    found = next(filter(BRACKETED.fullmatch, cells))
    if other := next((cell for cell in cells if not BRACKETED.fullmatch(cell)), None):
        raise DataError(
            f"{cells[other]}: codes {preview(other)} is not a list, as {preview(found)} ({cells[found]}) is; write all cells in "
            f"one way, or say how they are read: {_option('list')}, or {_option(';')}"
        )


def _separator(cells: Mapping[str, str]) -> str | None:
    if any(";" in cell for cell in cells):
        return ";"
    for separator in ("|", ",", "\n", "\t"):
        if joined := next((cell for cell in cells if separator in cell), None):
            _all_codes(cells, separator, joined)
            return separator
    blank = any(len(cell.split()) > 1 for cell in cells)
    return " " if blank and all(_is_code(part) for cell in cells for part in cell.split()) else None


def _all_codes(cells: Mapping[str, str], separator: str, joined: str) -> None:
    """Raises DataError unless all parts of all cells look like codes; `joined` is a cell with the separator."""
    for cell, where in cells.items():
        if odd := next((part for part in _parts(cell, separator) if not _is_code(part)), None):
            raise DataError(
                f"{cells[joined]}: codes {preview(joined)} may be one code or several, and {preview(odd)} ({where}) does not "
                f"look like a code; if {_shown(separator)} joins codes, {_option(separator)}; if each cell is one code, "
                f"{_option(None)}"
            )


def are_codes(cell: str) -> bool:
    """Whether a cell holds nothing but what looks like codes, however joined."""
    return all(map(CODE.fullmatch, BETWEEN.sub(" ", cell).split()))


def _is_code(part: str) -> bool:
    return bool(CODE.fullmatch(part)) or part.lower() in NO_VALUES


def _looks_joined(code: str) -> bool:
    """Whether what was read as one code looks like several."""
    parts = [part for part in BETWEEN.split(code) if part]
    return len(parts) > 1 and all(map(CODE.fullmatch, parts))


def _option(separator: str | None) -> str:
    """What to type for a separator."""
    value = "none" if separator is None else separator.strip() or NAMES.get(separator[:1], "space")
    return f"--set data.code_separator={value}" if value.isalpha() else f"--set data.code_separator='{value}'"


def _shown(separator: str) -> str:
    return repr(separator.strip()) if separator.strip() else f"a {NAMES.get(separator[:1], 'space')}"


def split(cell: str, separator: str | None) -> tuple[str, ...]:
    """The codes of a cell, each once. Raises ValueError for a list that is not written as one, and for what is too long."""
    codes = _parts(cell, separator)
    if longest := next((code for code in codes if len(code) > LONGEST), None):
        raise ValueError(f"a code of {len(longest):,} characters; is a text in the column of codes?")
    return codes


def elements(cell: str, separator: str | None) -> list[str]:
    """The codes of a cell in order, those that it repeats too. Raises ValueError if it is no list."""
    if separator == "list":
        parts: Iterable[str] = _listed(cell) if cell.strip() else ()
    elif separator is None:
        parts = [cell]
    else:
        parts = cell.split(None if separator == " " else separator)
    return [part.strip() for part in parts if part.strip()]


def _parts(cell: str, separator: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(elements(cell, separator)))


def _listed(cell: str) -> list[str]:
    """The elements of a list as JSON, Python, PostgreSQL or numpy write it; numbers as they are written."""
    try:
        found = json.loads(cell, parse_int=str, parse_float=str, parse_constant=str)
        if isinstance(found, list) and all(isinstance(item, str | None) for item in found):
            return [item or "" for item in found]
    except (ValueError, RecursionError):
        pass
    if not (LIST.fullmatch(cell.strip()) or NUMPY.fullmatch(cell.strip())):
        raise ValueError(f"'codes' {preview(cell)} is not a list of codes")
    return [
        re.sub(r"\\(.)", r"\1", item[1:-1]) if item[0] in "'\"" else item
        for item in re.findall(ITEM, cell.strip()[1:-1])
        if item != "None"
    ]


def named(separator: str | None) -> str:
    """How codes are written, as a person reads it."""
    if separator is None:
        return "one code per cell"
    return "codes in written lists" if separator == "list" else f"codes joined by {_shown(separator)}"


def preview(cell: str) -> str:
    """A cell of codes for a message; of what reads like a note in the wrong column only its length."""
    return (
        f"'{cell[:SHOWN]}{'…' if len(cell) > SHOWN else ''}'" if are_codes(cell) and cell.isprintable() else shown(cell)
    )
