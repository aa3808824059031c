"""Predictions that were made elsewhere, by an LLM, an agent or another library: a table like own data, without texts.

Columns are id; codes, as in own data or one code a row; and, optionally, scores: a number for each code, in a list or
separated by `;`, `,`, `|` or blanks. If no row has more than one code, the file is in long form: the rows of an id are one
document. Otherwise only the first row of an id counts. The order of codes is kept.
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

BETWEEN = re.compile(r"[\s;,|]+")  # what may separate two scores


@dataclass(frozen=True)
class PredictedCodes:
    """The predictions of a file by document id: codes in the file's order, repeated ones too, and their scores, if any.

    `repeated` counts the rows that were left out because they repeat an id.
    """

    path: Path
    sha256: str
    codes: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, tuple[float, ...]] | None
    repeated: int


class _PredictedRow(NamedTuple):
    where: str
    id: str
    codes: str | tuple[str, ...]
    scores: tuple[float, ...]


def read(path: Path, reading: PredictionSettings) -> PredictedCodes:
    """The predictions of a file. Raises DataError, which names file, line and value, or what is missing."""
    if not path.is_file():
        raise DataError(
            f"{path} is not a file of predictions; give CSV, JSON lines or Parquet with columns id and codes"
        )
    content = digest(path)
    roles = Roles(columns_by_role(reading.columns, PREDICTED_ROLES), ("id", "codes"), PREDICTED_ROLES)
    rows = []
    with opened(path, reading.encoding, roles) as table:
        for row in table.rows:
            try:
                rows.append(_predicted_row(row, table.columns))
            except BadRowError as error:
                raise DataError(f"{path}, {row.where}: {error}") from None
        scored = "scores" in table.columns
    if not rows:
        raise DataError(f"{path} has no rows")
    split_codes = _split_codes(path, rows, reading.code_separator)
    long_form = all(len(codes) <= 1 for codes in split_codes)
    codes_by_id: dict[str, tuple[str, ...]] = {}
    scores_by_id: dict[str, tuple[float, ...]] = {}
    repeated = 0
    for predicted, codes in zip(rows, split_codes, strict=True):
        if scored and len(codes) != len(predicted.scores):
            raise DataError(
                f"{path}, {predicted.where}: {len(codes)} codes and {len(predicted.scores)} scores; there must be one score "
                "for each code"
            )
        if predicted.id in codes_by_id and not long_form:
            repeated += 1
            continue
        codes_by_id[predicted.id] = (*codes_by_id.get(predicted.id, ()), *codes)
        scores_by_id[predicted.id] = (*scores_by_id.get(predicted.id, ()), *predicted.scores)
    return PredictedCodes(path, content, codes_by_id, scores_by_id if scored else None, repeated)


def _predicted_row(row: Row, columns: Mapping[str, str]) -> _PredictedRow:
    """The cells of a row. Raises BadRowError."""
    id_ = cell_of(row, columns, "id").strip()
    if not id_:
        raise BadRowError(f"'{columns['id']}' is empty")
    return _PredictedRow(row.where, id_, codes_of(row, columns), _scores(row, columns) if "scores" in columns else ())


def _scores(row: Row, columns: Mapping[str, str]) -> tuple[float, ...]:
    cell = row.cells.get(columns["scores"])
    if isinstance(cell, str):
        parts: list[object] = [part for part in BETWEEN.split(cell.strip().strip("[](){}")) if part]
    else:
        parts = cell if isinstance(cell, list) else [] if cell is None else [cell]
    return tuple(_number(part, columns["scores"]) for part in parts)


def _number(part: object, name: str) -> float:
    try:
        number = math.nan if isinstance(part, bool) else float(part)  # type: ignore[arg-type]  # others raise
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadRowError(f"'{name}' {shown(part)} is not a finite number")
    return number


def _split_codes(path: Path, rows: list[_PredictedRow], chosen: str | None) -> list[list[str]]:
    """The codes of each row; `chosen` is the code_separator of the settings. Raises DataError."""
    try:
        separator = own_codes.find_separator(((row.codes, row.where) for row in rows), chosen)
    except DataError as error:
        raise DataError(f"{path}, {str(error).replace('--set data.code_separator=', '--code-separator ')}") from None
    found = []
    for row in rows:
        try:
            found.append(own_codes.split(row.codes, separator))
        except ValueError as error:
            raise DataError(f"{path}, {row.where}: {error}") from None
    return found
