"""Codes in the cells of a column: `find_separator` tells how the column joins codes, `elements` splits a cell.

The separator is decided for the whole column, from all cells, and only if they leave no doubt:

- cells such as `["401.9", "486"]`, `['I10']`, `{I10,E11.9}` are lists, if all cells are;
- `;` separates codes wherever it occurs;
- `|`, `,`, line breaks, tabs and blanks separate codes if every part of every cell looks like a code (`401.9`, `0DTJ4ZZ`);
- without any of these each cell is one code.

Titles have commas and blanks too (`Diabetes, type 2`). Where that may be one code or two, the column is refused, and the
user names the separator with `data.code_separator`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from icdbench.data.sources.own_settings import AUTO, BLANKS
from icdbench.settings import SHOWN, DataError, shown

NAMES = {character: name for name, character in BLANKS.items()}
LONGEST = 300  # characters of a code; the longest title of ICD-10-CM has 228

# At least three letters, digits, dots and dashes, with a digit; or the seven characters of ICD-10-PCS. The last character may
# be a mark: dagger and asterisk of ICD-10, `+` and `!` of ICD-10-GM. Fewer than three digits alone are not a code (the `90` of
# `E11,90`), and neither are the names of coding systems.
CODE = re.compile(
    r"(?!(?i:icd))(?!\d{1,2}$)(?=[^\d]*\d)[A-Za-z0-9][A-Za-z0-9.-]{1,14}[A-Za-z0-9-][+*†!#]?|[A-HJ-NP-Z0-9]{7}",
    re.ASCII,
)
# What may separate two codes; letters and dots may not, and a dash is part of many codes.
BETWEEN = re.compile(r"[\s,|;/\\&+:~^_]+")
ITEM = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,'\"\[\]{}()]+"
BRACKETED = re.compile(r"\[.*\]|\{.*\}|\(\s*['\"].*\)", re.DOTALL)
LIST = re.compile(rf"[\[{{(]\s*(?:(?:{ITEM})(?:\s*,\s*(?:{ITEM}))*\s*,?)?\s*[\]}})]", re.DOTALL)
NUMPY = re.compile(r"\[(?:\s*(?:\"[^\"\\]*\"|'[^'\\]*'))*\s*\]")  # ['I10' 'E11.9'], as pandas writes arrays
NO_VALUES = frozenset({"nan", "null", "none", "na", "n/a", "#n/a", "<na>", "nat", "nil", "missing", "-", "?"})


def find_separator(rows: Iterable[tuple[str | Sequence[str], str]], chosen: str | None) -> str | None:
    """What separates the codes in the cells of a column: `list`, a character, or None if each cell is one code.

    `rows` are cells with their places; lists and empty cells do not count. `chosen` is data.code_separator. Raises
    DataError, without the file's name, if the cells leave a doubt.
    """
    if chosen != AUTO:
        return BLANKS.get(chosen, chosen) if chosen else None
    cells: dict[str, str] = {}  # with the place at which each occurs first
    for cell, where in rows:
        if isinstance(cell, str) and cell:
            cells.setdefault(cell, where)
    if any(map(BRACKETED.fullmatch, cells)):
        _check_lists(cells)
        return "list"
    found = _separator(cells)
    for cell, where in cells.items():
        if joined := next(filter(_looks_joined, elements(cell, found)), None):
            between = BETWEEN.findall(joined)[0]
            raise DataError(
                f"{where}: {preview(joined)} would be read as one code, but looks like several; if "
                f"{_shown(between)} joins codes, {_option(between)}; if this is one code, {_option(found)}"
            )
    return found


def _check_lists(cells: Mapping[str, str]) -> None:
    """Raises DataError if only some of the cells are written lists."""
    found = next(filter(BRACKETED.fullmatch, cells))
    if other := next((cell for cell in cells if not BRACKETED.fullmatch(cell)), None):
        raise DataError(
            f"{cells[other]}: codes {preview(other)} is not a list, but {preview(found)} ({cells[found]}) is; write all cells "
            f"in one way, or say how they are read: {_option('list')}, or {_option(';')}"
        )


def _separator(cells: Mapping[str, str]) -> str | None:
    if any(";" in cell for cell in cells):
        return ";"
    for separator in ("|", ",", "\n", "\t"):
        if joined := next((cell for cell in cells if separator in cell), None):
            _check_codes(cells, separator, joined)
            return separator
    blank = any(len(cell.split()) > 1 for cell in cells)
    return " " if blank and all(_is_code(part) for cell in cells for part in cell.split()) else None


def _check_codes(cells: Mapping[str, str], separator: str, joined: str) -> None:
    """Raises DataError unless all parts of all cells look like codes; `joined` is a cell with the separator."""
    for cell, where in cells.items():
        if odd := next((part for part in elements(cell, separator) if not _is_code(part)), None):
            raise DataError(
                f"{cells[joined]}: codes {preview(joined)} may be one code or several, and {preview(odd)} ({where}) does not "
                f"look like a code; if {_shown(separator)} joins codes, {_option(separator)}; if each cell is one code, "
                f"{_option(None)}"
            )


def are_codes(cell: str) -> bool:
    """Whether all parts of a cell look like codes, whatever separates them."""
    return all(map(CODE.fullmatch, BETWEEN.sub(" ", cell).split()))


def _is_code(part: str) -> bool:
    return bool(CODE.fullmatch(part)) or part.lower() in NO_VALUES


def _looks_joined(code: str) -> bool:
    parts = [part for part in BETWEEN.split(code) if part]
    return len(parts) > 1 and all(map(CODE.fullmatch, parts))


def _option(separator: str | None) -> str:
    """The option that names a separator, as typed."""
    value = "none" if separator is None else separator.strip() or NAMES.get(separator[:1], "space")
    return f"--set data.code_separator={value}" if value.isalpha() else f"--set data.code_separator='{value}'"


def _shown(separator: str) -> str:
    return repr(separator.strip()) if separator.strip() else f"a {NAMES.get(separator[:1], 'space')}"


def split(cell: str | Sequence[str], separator: str | None) -> list[str]:
    """The codes of a cell in order, repeated ones too. Raises ValueError if the cell should be a list but is not one, and
    for a code that is too long.
    """
    codes = elements(cell, separator) if isinstance(cell, str) else list(cell)
    if longest := next((code for code in codes if len(code) > LONGEST), None):
        raise ValueError(f"a code of {len(longest):,} characters; is a text in the column of codes?")
    return codes


def elements(cell: str, separator: str | None) -> list[str]:
    """As `split`, whatever the lengths of the codes."""
    if separator == "list":
        parts: Iterable[str] = _list_elements(cell) if cell.strip() else ()
    elif separator is None:
        parts = [cell]
    else:
        parts = cell.split(None if separator == " " else separator)
    return [part.strip() for part in parts if part.strip()]


def _list_elements(cell: str) -> list[str]:
    """The elements of a list as JSON, Python, PostgreSQL or numpy write it; numbers stay as written."""
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


def describe(separator: str | None) -> str:
    """How codes are separated, in words."""
    if separator is None:
        return "one code per cell"
    return "codes in written lists" if separator == "list" else f"codes joined by {_shown(separator)}"


def preview(cell: str) -> str:
    """A cell of codes for a message; only its length if it may be a note in the wrong column."""
    return (
        f"'{cell[:SHOWN]}{'…' if len(cell) > SHOWN else ''}'" if are_codes(cell) and cell.isprintable() else shown(cell)
    )
