"""A user's list of codes to score: a CSV or TSV file with columns code and title, or with one code a line.

Titles that the file does not give are taken from the code system that lists most of the codes of the model's training.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from icdbench.codes import CodingSystem, systems
from icdbench.data.source import LONGEST_CODE, read_text
from icdbench.settings import DataError, nearest, shown
from icdbench.types import composed

SYSTEMS: Mapping[str, CodingSystem] = {"ICD-10-CM": systems.ICD10CM, "ICD-9-CM": systems.ICD9CM}
EXPECTED = "give a CSV file with columns code and title, or one code a line"


def read(path: Path, trained: Sequence[str]) -> dict[str, str]:
    """The codes of a list with their titles, in the order of the list; `trained` are the codes that the model knows.

    Raises DataError, which names the line, for a code that is listed twice, is too long, or has no title.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file of codes; {EXPECTED}")
    lines = rows(path)
    header = [cell.strip().casefold() for cell in lines[0][1]] if lines else []
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


def rows(path: Path) -> list[tuple[int, list[str]]]:
    """The non-empty rows of a CSV or TSV file, each with the number of its last line. Raises DataError."""
    text = read_text(path)
    first_line = text.partition("\n")[0]
    delimiter = next((each for each in "\t;" if each in first_line), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; a title with a quote is quoted in CSV") from None


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
