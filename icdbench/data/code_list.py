"""A user's own list of codes to score: a CSV or TSV file with columns code and title, or one code a line.

The title of a code without one is that of the code system that lists most of the codes that the model was trained on.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from icdbench.codes import CodingSystem, systems
from icdbench.data.source import LONGEST_CODE, read_text
from icdbench.settings import DataError, nearest, shown
from icdbench.types import composed

SYSTEMS: Mapping[str, CodingSystem] = {"ICD-10-CM": systems.ICD10CM, "ICD-9-CM": systems.ICD9CM}
COLUMNS = ("code", "title")


def read(path: Path, trained: Sequence[str]) -> dict[str, str]:
    """Each code of a list with its title, in the order of the list; `trained` are the model's own codes.

    Raises DataError that names the line: for a code that is given twice, is too long to be one, or has no title.
    """
    if not path.is_file():
        raise DataError(f"{path} is no file of codes; give a CSV file with columns code and title, or one code a line")
    lines = rows(path)
    at = _columns(path, [cell.strip().casefold() for cell in lines[0][1]] if lines else [])
    given: dict[str, tuple[int, str]] = {}
    for number, row in lines[at["header"] :]:
        code = composed(row[at["code"]].strip()) if at["code"] < len(row) else ""
        title = row[at["title"]].strip() if 0 <= at["title"] < len(row) else ""
        if not code or len(code) > LONGEST_CODE:
            raise DataError(
                f"{path}, line {number}: {shown(code)} is no code; a code has 1 to {LONGEST_CODE} characters"
            )
        if code in given:
            raise DataError(
                f"{path}, line {number}: code {shown(code)} is in line {given[code][0]} already; list it once"
            )
        given[code] = number, title
    if not given:
        raise DataError(f"{path} has no codes; give a CSV file with columns code and title, or one code a line")
    return _titled(path, given, trained)


def rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a CSV or TSV file that are not empty, with their last lines. Raises DataError."""
    text = read_text(path)
    first = text.partition("\n")[0]
    delimiter = next((each for each in "\t;" if each in first), ",")
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; a title with a quote is quoted in CSV") from None


def _columns(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Where codes and titles stand, -1 for nowhere, and how many lines the header has."""
    if "code" in names:
        return {"code": names.index("code"), "title": names.index("title") if "title" in names else -1, "header": 1}
    if len(names) > 1:
        alike = [name for name in names if name.startswith("cod") and len(name) <= len("description")]
        said = nearest("code", alike) if alike else ""  # other names may be text of a file that is no list
        raise DataError(f"{path}, line 1: no column 'code'{said}; expected a header with {' and '.join(COLUMNS)}")
    return {"code": 0, "title": -1, "header": 0}


def system_of(codes: Sequence[str]) -> str:
    """The code system that lists most of the codes, such as `ICD-10-CM`; nothing if none lists any."""
    counts = {name: len(system.titles(codes)) for name, system in SYSTEMS.items()}
    return max(counts, key=lambda name: counts[name]) if any(counts.values()) else ""


def _titled(path: Path, given: Mapping[str, tuple[int, str]], trained: Sequence[str]) -> dict[str, str]:
    """The codes with titles, those that the list lacks by the code system."""
    without = [code for code, (_, title) in given.items() if not title]
    if not without:
        return {code: title for code, (_, title) in given.items()}
    name = system_of(trained) or next(iter(SYSTEMS))
    found = SYSTEMS[name].titles(without)
    if missing := next((code for code in without if code not in found), None):
        raise DataError(
            f"{path}, line {given[missing][0]}: code {shown(missing)} has no title, and {name} lists none for it; "
            "give titles in a column title"
        )
    return {code: title or found[code] for code, (_, title) in given.items()}
