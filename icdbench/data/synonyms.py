"""A user's own names of codes (`data.synonyms`): a CSV or TSV file with columns code and synonym, one name a line.

`by_content` reads the file, `of_codes` returns the names of a data set's codes. A run stores the file's content as
`synonyms-…` and a hash, never its path; the content is kept in the cache, so the file is not needed again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icdbench.data import code_list
from icdbench.data.cache import keep_text, kept_text
from icdbench.data.quality import respelled
from icdbench.data.source import LONGEST_CODE
from icdbench.settings import DataError, SpecError, shown
from icdbench.types import composed

COLUMNS = ("code", "synonym")
BY_CONTENT = re.compile("synonyms-[0-9a-f]{16}")
LONGEST = 500  # characters of a synonym

Synonyms = Mapping[str, Sequence[str]]  # of each code, each once, in the order of the file


def by_content(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of data settings, with a file of synonyms replaced by the name of its content. Raises SpecError, DataError."""
    given = str(changes.get("synonyms") or "")
    if not given or BY_CONTENT.fullmatch(given):
        return dict(changes)
    path = Path(given).expanduser()
    if not path.is_file():
        raise SpecError(f"data.synonyms='{given}' is not a file; give a CSV file with columns {' and '.join(COLUMNS)}")
    return {**changes, "synonyms": keep_text("synonyms", json.dumps(_read(path)))}


def of_codes(name: str, codes: Sequence[str]) -> tuple[Synonyms, list[str]]:
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


def _read(path: Path) -> dict[str, list[str]]:
    """The synonyms of each code. Raises DataError, which names the line."""
    rows = code_list.rows(path)
    header = [cell.strip().casefold() for cell in rows[0][1]] if rows else []
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
