"""A user's own data: one CSV, Parquet or JSON-lines file with columns id, text, codes (joined by `;`) and, optionally,
split (train, validation, test). Without split, documents are divided 80/10/10 by a seeded shuffle of their sorted ids, so
the order of the file does not matter. The data set's name is the
file's with its suffix, which no other data set has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from icdbench.datasets import Raw, Source
from icdbench.datasets.icd9 import icd9cm_titles
from icdbench.datasets.icd10 import icd10cm_titles
from icdbench.spec import DataError, DataSpec, SpecError, nearest
from icdbench.types import SPLITS, Document

SUFFIXES = (".csv", ".parquet", ".jsonl")
COLUMNS = ("id", "text", "codes")
SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "test": "test"}  # fmt: skip


def is_path(name: str) -> bool:
    """Whether a data set's name means a file."""
    return Path(name).suffix.lower() in SUFFIXES or "/" in name


def source(path: Path) -> Source:
    """The file as a data source. Raises SpecError for a suffix that cannot be read."""
    if path.suffix.lower() not in SUFFIXES:
        raise SpecError(f"own data must be one of {', '.join(SUFFIXES)}; '{path}' is not")
    return Source(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", path.name).strip("-."),
        about=f"own data, {path.name}",
        files=lambda _root, _data: [_existing(path)],
        read=lambda _root, data: read(path, data),
        titles=lambda codes, _root, data: titles(codes, data),
        check=lambda _root, data: check(path, data),
        fields=frozenset({"split_seed", "code_system"}),
    )


def read(path: Path, data: DataSpec) -> Raw:
    """Documents in file order. Raises DataError that names file, row and value."""
    frame = _frame(_existing(path))
    for column in COLUMNS:
        if column not in frame.columns:
            raise DataError(f"{path} has no column '{column}'{nearest(column, map(str, frame.columns))}")
    if frame.empty:
        raise DataError(f"{path} has no rows")
    for column in ("id", "text"):
        for row, value in enumerate(frame[column], start=1):
            if not value.strip():
                raise DataError(f"{path}, row {row}: '{column}' is empty")
    repeated = frame["id"][frame["id"].duplicated()]
    if len(repeated):
        raise DataError(f"{path}: id '{repeated.iloc[0]}' occurs more than once; ids must be unique")
    codes = [tuple(dict.fromkeys(code.strip() for code in cell.split(";") if code.strip())) for cell in frame["codes"]]
    if not any(codes):
        raise DataError(f"{path}: no row has a code; separate codes by ';' in column 'codes'")
    if "split" in frame.columns:
        splits = [_split(path, row, value) for row, value in enumerate(frame["split"], start=1)]
        facts = {"split": "as given in the file"}
    else:
        splits = _seeded_split(list(frame["id"]), data.split_seed)
        facts = {"split": f"80/10/10, seed {data.split_seed}"}
    rows = zip(frame["id"], frame["text"], codes, splits, strict=True)
    return Raw([Document(*row) for row in rows], facts=facts)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file")
    return path


def _frame(path: Path) -> pd.DataFrame:
    """Every cell as text: codes keep leading zeros, and words such as `null` stay words."""
    try:
        if path.suffix.lower() == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8")
        elif path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty") from None
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise DataError(f"{path} cannot be read as {path.suffix[1:]}: {reason}") from None
    return frame.fillna("").astype(str)


def _split(path: Path, row: int, value: str) -> str:
    name = SPLIT_NAMES.get(value.strip().lower())
    if name is None:
        raise DataError(f"{path}, row {row}: split '{value}'{nearest(value, SPLIT_NAMES)}")
    return name


def _seeded_split(ids: list[str], seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(ids))
    ranked = {name: int(position) for name, position in zip(sorted(ids), order, strict=True)}
    held = max(1, len(ids) // 10)
    return [SPLITS[1] if ranked[i] < held else SPLITS[2] if ranked[i] < 2 * held else SPLITS[0] for i in ids]


def titles(codes: Sequence[str], data: DataSpec) -> Mapping[str, str]:
    if data.code_system == "icd9cm":
        return icd9cm_titles(codes)
    return icd10cm_titles(codes) if data.code_system == "icd10cm" else {}


def check(path: Path, data: DataSpec) -> list[str]:
    """What is wrong with the file, if anything."""
    try:
        read(path, data)
    except DataError as error:
        return [str(error)]
    return []
