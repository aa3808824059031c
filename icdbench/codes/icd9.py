"""ICD-9-CM: dotted codes, and the packaged titles of version 32 (icd9cm_v32.md gives their origin)."""

from __future__ import annotations

import bisect
import gzip
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType

from icdbench.files import digest

DIAGNOSIS, PROCEDURE = "diagnosis", "procedure"


def dotted(code: str, kind: str) -> str:
    """The code with its dot: diagnosis `0389` becomes `038.9`, `E9160` becomes `E916.0`, `486` stays; procedure `0331`
    becomes `03.31`.

    A procedure always has a dot: `66`, left of `0066` when it is read as a number, becomes `66.` as in CAML's files.
    """
    if kind == PROCEDURE:
        return f"{code[:2]}.{code[2:]}"
    head = 4 if code.startswith("E") else 3
    return f"{code[:head]}.{code[head:]}" if len(code) > head else code


def is_procedure(code: str) -> bool:
    """Whether a dotted code is a procedure: only procedures have two digits before the dot."""
    return code[2:3] == "."


def titles_path() -> Path:
    """The packaged file of titles."""
    with as_file(files("icdbench.codes") / "icd9cm_v32.tsv.gz") as path:
        return path


@lru_cache(maxsize=1)
def titles_digest() -> str:
    """SHA-256 of the packaged file of titles."""
    return digest(titles_path())


@lru_cache(maxsize=1)
def titles() -> Mapping[str, Mapping[str, str]]:
    """Long titles by kind (`diagnosis` or `procedure`) and dotted code, read-only.

    Digits without a dot can be ambiguous (`0010` is diagnosis 001.0, cholera, and procedure 00.10); dotted codes are not.
    """
    found: dict[str, dict[str, str]] = {DIAGNOSIS: {}, PROCEDURE: {}}
    for line in gzip.decompress(titles_path().read_bytes()).decode().splitlines():
        kind, code, title = line.split("\t")
        found[DIAGNOSIS if kind == "D" else PROCEDURE][code] = title
    return MappingProxyType({kind: MappingProxyType(by_code) for kind, by_code in found.items()})


def icd9cm_codes() -> Sequence[str]:
    """Every dotted code that version 32 has a title for, diagnoses before procedures."""
    return [code for by_code in titles().values() for code in by_code]


@lru_cache(maxsize=1)
def _sorted_codes() -> Sequence[str]:
    return sorted(icd9cm_codes())


def listed(code: str) -> bool:
    """Whether version 32 has the dotted code, or a code that starts with it; case does not matter."""
    codes = _sorted_codes()
    index = bisect.bisect_left(codes, code.upper())
    return index < len(codes) and codes[index].startswith(code.upper()) and bool(code)


def icd9cm_titles(codes: Sequence[str]) -> Mapping[str, str]:
    """The title of each dotted code, diagnosis or procedure; unknown codes are left out."""
    return {code: by_code[code] for code in codes for by_code in titles().values() if code in by_code}
