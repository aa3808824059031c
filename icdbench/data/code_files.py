"""A user's own files about codes, CSV or TSV: a list of codes to score (`code_list`), and more names of codes (`data.synonyms`).

A list has columns code and title, or one code a line. Titles that it does not give are taken from the code system that lists
most of the codes of the model's training.

Synonyms have columns code and synonym, one name a line. `synonyms_by_content` reads them, `synonyms_of` returns the names of a
data set's codes. A run stores the file's content as `synonyms-…` and a hash, never its path; the content is kept in the cache,
so the file is not needed again.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icdbench.codes import CodingSystem, systems
from icdbench.data.cache import keep_text, kept_text
from icdbench.data.quality import respelled
from icdbench.data.source import LONGEST_CODE, read_text
from icdbench.settings import DataError, SpecError, nearest, shown
from icdbench.types import composed

SYSTEMS: Mapping[str, CodingSystem] = {"ICD-10-CM": systems.ICD10CM, "ICD-9-CM": systems.ICD9CM}
EXPECTED = "give a CSV file with columns code and title, or one code a line"
COLUMNS = ("code", "synonym")
BY_CONTENT = re.compile("synonyms-[0-9a-f]{16}")
LONGEST = 500  # characters of a synonym

Synonyms = Mapping[str, Sequence[str]]  # of each code, each once, in the order of the file


def code_list(path: Path, trained: Sequence[str]) -> dict[str, str]:
    """The codes of a list with their titles, in the order of the list; `trained` are the codes that the model knows.

    Raises DataError, which names the line, for a code that is listed twice, is too long, or has no title.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file of codes; {EXPECTED}")
    header, lines = _table(path)
    has_header = _is_header(path, header)
    code_column = header.index("code") if has_header else 0
    title_column = header.index("title") if has_header and "title" in header else sys.maxsize
    listed: dict[str, tuple[int, str]] = {}
    for number, row in lines[has_header:]:
        code = composed(row[code_column].strip()) if code_column < len(row) else ""
        title = row[title_column].strip() if title_column < len(row) else ""
        if not code or len(code) > LONGEST_CODE:
            raise DataError(
                f"{path}, line {number}: {shown(code)} is not a code; a code has 1 to {LONGEST_CODE} characters"
            )
        if code in listed:
            raise DataError(
                f"{path}, line {number}: code {shown(code)} is already in line {listed[code][0]}; list it once"
            )
        listed[code] = number, title
    if not listed:
        raise DataError(f"{path} has no codes; {EXPECTED}")
    return _fill_titles(path, listed, trained)


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The first row in lower case, and all that are not empty, each with the number of its last line. Raises DataError."""
    text = read_text(path)
    first_line = text.partition("\n")[0]
    delimiter = next((each for each in "\t;" if each in first_line), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; a title with a quote is quoted in CSV") from None
    return [cell.strip().casefold() for cell in rows[0][1]] if rows else [], rows


def _is_header(path: Path, names: Sequence[str]) -> bool:
    """Whether line 1 names the columns. Raises DataError if it has several cells but none is 'code'."""
    if "code" not in names and len(names) > 1:
        alike = [name for name in names if name.startswith("cod") and len(name) <= len("description")]
        hint = nearest("code", alike) if alike else ""  # other names may be text of a file that is not a list
        raise DataError(f"{path}, line 1: no column 'code'{hint}; expected a header with code and title")
    return "code" in names


def system_of(codes: Sequence[str]) -> str:
    """The name of the code system that lists most of the codes, such as `ICD-10-CM`; empty if none lists any."""
    counts = {name: len(system.titles(codes)) for name, system in SYSTEMS.items()}
    return max(counts, key=lambda name: counts[name]) if any(counts.values()) else ""


def _fill_titles(path: Path, listed: Mapping[str, tuple[int, str]], trained: Sequence[str]) -> dict[str, str]:
    """The title of each code, from the code system where the list has none. Raises DataError if that has none either."""
    titles = {code: title for code, (_, title) in listed.items()}
    untitled = [code for code, title in titles.items() if not title]
    if untitled:
        name = system_of(trained) or next(iter(SYSTEMS))
        titles |= SYSTEMS[name].titles(untitled)
        if missing := next((code for code in untitled if not titles[code]), None):
            raise DataError(
                f"{path}, line {listed[missing][0]}: code {shown(missing)} has no title, and {name} lists none for it; "
                "give titles in a column title"
            )
    return titles


def synonyms_by_content(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of data settings, with a file of synonyms replaced by the name of its content. Raises SpecError, DataError."""
    given = str(changes.get("synonyms") or "")
    if not given or BY_CONTENT.fullmatch(given):
        return dict(changes)
    path = Path(given).expanduser()
    if not path.is_file():
        raise SpecError(f"data.synonyms='{given}' is not a file; give a CSV file with columns {' and '.join(COLUMNS)}")
    return {**changes, "synonyms": keep_text("synonyms", json.dumps(_read_synonyms(path)))}


def synonyms_of(name: str, codes: Sequence[str]) -> tuple[Synonyms, list[str]]:
    """The synonyms of a data set's codes, and a notice if the file has synonyms of other codes.

    Codes that differ only in dots or case are the same code. Raises SpecError if the cache has lost the file, DataError if
    the file has none of the data set's codes.
    """
    if not name:
        return {}, []
    text = kept_text("synonyms", name)
    if text is None:
        raise SpecError(f"{name} is no longer in the cache; name the file of synonyms again with data.synonyms")
    synonyms: Synonyms = json.loads(text)
    spelling = {code: code for code in set(codes) & synonyms.keys()} | respelled(synonyms, codes)
    found: dict[str, list[str]] = {}
    for code, names in synonyms.items():
        if code in spelling:
            found.setdefault(spelling[code], []).extend(names)
    if not found:
        raise DataError(
            f"data.synonyms: none of its {len(synonyms):,} codes, such as {shown(next(iter(synonyms)))}, is among the "
            f"{len(codes):,} codes that can be predicted, such as {shown(codes[0])}; give synonyms of these"
        )
    ignored = len(synonyms) - len(spelling)
    notice = f"data.synonyms: {ignored:,} of its {len(synonyms):,} codes are ignored, as they cannot be predicted"
    return found, [notice] if ignored else []


def _read_synonyms(path: Path) -> dict[str, list[str]]:
    """The synonyms of each code. Raises DataError, which names the line."""
    header, rows = _table(path)
    if missing := [column for column in COLUMNS if column not in header]:
        raise DataError(
            f"{path}, line 1: no column {' and no column '.join(map(repr, missing))}; expected a header with "
            f"{' and '.join(COLUMNS)}, then a synonym a line"
        )
    at_code, at_synonym = map(header.index, COLUMNS)
    found: dict[str, dict[str, None]] = {}
    for number, row in rows[1:]:
        cells = [row[at].strip() if at < len(row) else "" for at in (at_code, at_synonym)]
        for column, cell, most in zip(COLUMNS, cells, (LONGEST_CODE, LONGEST), strict=True):
            if not 0 < len(cell) <= most:
                raise DataError(
                    f"{path}, line {number}: {shown(cell)} is not a {column}; a {column} has 1 to {most} characters"
                )
        found.setdefault(composed(cells[0]), {})[composed(cells[1])] = None
    if not found:
        raise DataError(f"{path} has no synonyms; give a code and a synonym a line")
    return {code: list(names) for code, names in found.items()}
