"""ICD-9-CM: where the dot goes, and the packaged titles of version 32 (icd9cm_v32.md says where they come from)."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType

DIAGNOSIS, PROCEDURE = "diagnosis", "procedure"


def dotted(code: str, kind: str) -> str:
    """The code with its dot: diagnosis `0389` is `038.9`, `E9160` is `E916.0`, `486` stays; procedure `0331` is `03.31`.

    Procedures always have one: `66`, which was `0066` before it was read as a number, becomes `66.`, as in CAML's files.
    """
    if kind == PROCEDURE:
        return f"{code[:2]}.{code[2:]}"
    head = 4 if code.startswith("E") else 3
    return f"{code[:head]}.{code[head:]}" if len(code) > head else code


def titles_path() -> Path:
    """The packaged file of titles."""
    with as_file(files("icdbench.datasets") / "icd9cm_v32.tsv.gz") as path:
        return path


@lru_cache(maxsize=1)
def titles() -> Mapping[str, Mapping[str, str]]:
    """Long titles by dotted code, apart for `titles()["diagnosis"]` and `titles()["procedure"]`; not to be changed.

    The same digits can be both (`0010` is diagnosis 001.0, cholera, and procedure 00.10), dotted codes never are.
    """
    found: dict[str, dict[str, str]] = {DIAGNOSIS: {}, PROCEDURE: {}}
    for line in gzip.decompress(titles_path().read_bytes()).decode().splitlines():
        kind, code, title = line.split("\t")
        found[DIAGNOSIS if kind == "D" else PROCEDURE][code] = title
    return MappingProxyType({kind: MappingProxyType(of) for kind, of in found.items()})


def icd9cm_titles(codes: Sequence[str]) -> Mapping[str, str]:
    """The title of each dotted code, diagnosis or procedure; unknown codes are left out."""
    known = titles()
    return {code: of[code] for code in codes for of in known.values() if code in of}
