"""Predictions that were made elsewhere, by an LLM, an agent or another library: a table as own data are, without texts.

Columns: id; codes, as in own data, or one code a row; and, optionally, scores, as many numbers as there are codes, in a list
or joined by `;`, `,`, `|` or blanks. A file whose rows have one code each, and several rows an id, is in long form: the rows
of an id are one document. Elsewhere an id that is repeated counts once, by its first row. The order of codes is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from icdbench.data.sources import own_codes
from icdbench.data.sources.own_columns import Roles
from icdbench.data.sources.own_notes import BadRowError, cell_of, codes_of
from icdbench.data.sources.own_settings import PREDICTED_ROLES, PredictionSettings, columns_by_role
from icdbench.data.sources.own_tables import Row, opened
from icdbench.files import digest
from icdbench.settings import DataError, shown

BETWEEN = re.compile(r"[\s;,|]+")  # what may stand between two scores


@dataclass(frozen=True)
class PredictedCodes:
    """The predictions of a file by document id: codes in its order, repeated ones too, and their scores, if it has any.

    `repeated` counts the rows that repeat an id, and are left out.
    """

    path: Path
    sha256: str
    codes: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, tuple[float, ...]] | None
    repeated: int


class _Predicted(NamedTuple):
    where: str
    id: str
    codes: str | tuple[str, ...]
    scores: tuple[float, ...]


def read(path: Path, reading: PredictionSettings) -> PredictedCodes:
    """The predictions of a file. Raises DataError that names file, line and value, or what is missing."""
    if not path.is_file():
        raise DataError(
            f"{path} is no file of predictions; CSV, JSON lines or Parquet with columns id and codes is read"
        )
    content = digest(path)
    roles = Roles(columns_by_role(reading.columns, PREDICTED_ROLES), ("id", "codes"), PREDICTED_ROLES)
    rows = []
    with opened(path, reading.encoding, roles) as table:
        for row in table.rows:
            try:
                rows.append(_predicted(row, table.columns))
            except BadRowError as error:
                raise DataError(f"{path}, {row.where}: {error}") from None
        scored = "scores" in table.columns
    if not rows:
        raise DataError(f"{path} has no rows")
    return _by_document(path, content, rows, reading, scored=scored)


def _by_document(
    path: Path, content: str, rows: list[_Predicted], reading: PredictionSettings, *, scored: bool
) -> PredictedCodes:
    listed = [_split(path, row, separator) for separator in [_separator(path, rows, reading)] for row in rows]
    long = all(len(codes) <= 1 for codes in listed)
    codes_of_id: dict[str, tuple[str, ...]] = {}
    scores: dict[str, tuple[float, ...]] = {}
    repeated = 0
    for row, codes in zip(rows, listed, strict=True):
        if scored and len(codes) != len(row.scores):
            raise DataError(
                f"{path}, {row.where}: {len(codes)} codes and {len(row.scores)} scores; there must be one score for each code"
            )
        if row.id in codes_of_id and not long:
            repeated += 1
            continue
        codes_of_id[row.id] = (*codes_of_id.get(row.id, ()), *codes)
        scores[row.id] = (*scores.get(row.id, ()), *row.scores)
    return PredictedCodes(path, content, codes_of_id, scores if scored else None, repeated)


def _predicted(row: Row, columns: Mapping[str, str]) -> _Predicted:
    id_ = cell_of(row, columns, "id").strip()
    if not id_:
        raise BadRowError(f"'{columns['id']}' is empty")
    given = row.cells.get(columns["codes"])
    codes: str | tuple[str, ...]
    if isinstance(given, list):
        codes_of(row, columns)  # raises for what is no code
        codes = tuple(code.strip() for code in given if isinstance(code, str) and code.strip())
    else:
        codes = codes_of(row, columns)
    return _Predicted(row.where, id_, codes, _scores(row, columns) if "scores" in columns else ())


def _scores(row: Row, columns: Mapping[str, str]) -> tuple[float, ...]:
    given = row.cells.get(columns["scores"])
    if isinstance(given, str):
        parts: list[object] = [part for part in BETWEEN.split(given.strip().strip("[](){}")) if part]
    else:
        parts = given if isinstance(given, list) else [] if given is None else [given]
    return tuple(_number(part, columns["scores"]) for part in parts)


def _number(part: object, name: str) -> float:
    try:
        number = math.nan if isinstance(part, bool) else float(part)  # type: ignore[arg-type]  # what is none raises
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadRowError(f"'{name}' {shown(part)} is not a finite number")
    return number


def _separator(path: Path, rows: list[_Predicted], reading: PredictionSettings) -> str | None:
    """What joins the codes of the file. Raises DataError if it cannot be told."""
    cells: dict[str, str] = {}
    for row in rows:
        if isinstance(row.codes, str) and row.codes:
            cells.setdefault(row.codes, row.where)
    try:
        return own_codes.recognised(cells, reading.code_separator)
    except DataError as error:
        raise DataError(f"{path}, {str(error).replace('--set data.code_separator=', '--code-separator ')}") from None


def _split(path: Path, row: _Predicted, separator: str | None) -> tuple[str, ...]:
    try:
        codes = row.codes if isinstance(row.codes, tuple) else own_codes.elements(row.codes, separator)
    except ValueError as error:
        raise DataError(f"{path}, {row.where}: {error}") from None
    if long := next((code for code in codes if len(code) > own_codes.LONGEST), None):
        raise DataError(f"{path}, {row.where}: a code of {len(long):,} characters; are the columns right?")
    return tuple(codes)
