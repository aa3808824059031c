"""Published splits of MIMIC: where the lists of admissions come from, and how they are found, fetched and read.

CAML's lists of MIMIC-III (Mullenbach et al. 2018, MIT licence) have a HADM_ID per line; those of Edin et al. 2023
(Apache-2.0) are Feather files with columns `_id` and `split`. They have ids only, no notes and no codes. CAML's file of
code titles is fetched with its lists.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from icdbench.data.source import DOWNLOADS, fetch, readable
from icdbench.files import MOST_TEXT, digest, regular, replacing
from icdbench.settings import DataError, shown

log = logging.getLogger("icdbench")

CAML = "https://raw.githubusercontent.com/jamesmullenbach/caml-mimic/44a47455070d3d5c6ee69fb5305e32caec104960/"
EDIN = "https://raw.githubusercontent.com/JoakimEdin/medical-coding-reproducibility/c0e1d4261f73ea36deae0392c7fe3bf1486ab981/"
TITLES = "ICD9_descriptions"
# Path below the source's address, SHA-256.
FILES = {
    "train_full_hadm_ids.csv": (CAML + "mimicdata/mimic3/", "abc4601d2cb798c7f26d35a4aa38b84b0050af03e102e455ab70651d654cb964"),
    "dev_full_hadm_ids.csv": (CAML + "mimicdata/mimic3/", "5bc77377a675b17631844f6253ecec5c0b2b39c294aebe34aebbd2c733d8efb4"),
    "test_full_hadm_ids.csv": (CAML + "mimicdata/mimic3/", "2861293b9057a3aa20b21b397590e4f148aceebdaa705622acf748ccb1b7216c"),
    "train_50_hadm_ids.csv": (CAML + "mimicdata/mimic3/", "aee261aa45a2d89368e4da275c6c0a601b8bfc2c22e3af915d89adbc068716d2"),
    "dev_50_hadm_ids.csv": (CAML + "mimicdata/mimic3/", "bcd69c3be3f4d8a7d29252ac8b5b99f197875b639ab12cf3ab324ee11612ea9e"),
    "test_50_hadm_ids.csv": (CAML + "mimicdata/mimic3/", "cc3d3c22cbf0c68b62508712d4fc27baf5a5cb9705c1c8f8b6fc1618332c49b2"),
    TITLES: (CAML + "mimicdata/", "588b627be87b1a20cf19df31d564d50404d540080d0bb45443126b44ffa66bd3"),
    "mimiciii_clean_splits.feather": (EDIN + "files/data/mimiciii_clean/", "deedf0fe76f80470ca85e71ff10fc2f9de70d28644d4143f5ccf6db635333b9e"),
    "mimiciv_icd9_split.feather": (EDIN + "files/data/mimiciv_icd9/", "b60d01628b76aa8874cb52bb06aa07f9d18ed03a441cbf0884e9b748300ab4bf"),
    "mimiciv_icd10_split.feather": (EDIN + "files/data/mimiciv_icd10/", "f913edf80c41f52c0865c2c802ab65d0d7b24fdfc03307564d2808bb9a672b61"),
}  # fmt: skip
FETCHED = {  # by the name that `icdbench data get` takes: the folder below the data root, and the files
    "mimic3-splits": ("mimic3_splits", [name for name, (address, _) in FILES.items() if address.startswith(CAML)]),
    "mimic-clean-splits": ("mimic3_splits", ["mimiciii_clean_splits.feather"]),
    "mimic4-splits": ("mimic4_splits", ["mimiciv_icd9_split.feather", "mimiciv_icd10_split.feather"]),
}
LONGEST_ID = 18  # digits of a HADM_ID
SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}  # of the Feather files


def find(name: str, folder: Path, root: Path) -> Path | None:
    """A file of splits or titles, beside the tables or below the data root, where it may have been fetched or cloned."""
    for place in (folder, root, root / "mimic3_splits", root / "mimic4_splits", root / "caml-mimic"):
        for subfolder in ("", "mimicdata/mimic3", "mimicdata"):
            if (path := place / subfolder / name).is_file():
                return path
    return None


def required(name: str, folder: Path, root: Path) -> Path:
    """As `find`, but raises DataError, which says how to get the file."""
    if found := find(name, folder, root):
        return found
    what = next(what for what, (_, names) in FETCHED.items() if name in names)
    raise DataError(
        f"{name} is neither beside the tables in {folder} nor in '{root}'; fetch it with 'icdbench data get {what} --data {root}'"
    )


def altered(path: Path) -> bool:
    """Whether a file differs from the published one of the same name."""
    with readable(path):
        return digest(path) != FILES[path.name][1]


def admission_lists(paths: Mapping[str, Path]) -> dict[int, str]:
    """The split of each HADM_ID, from a list for each split. Raises DataError for other content, and for repeated ids."""
    found: dict[int, str] = {}
    for split, path in paths.items():
        with readable(path), regular(path, MOST_TEXT) as file:
            lines = file.read().decode("utf-8-sig", errors="replace").splitlines()
        entries = [(entry.removesuffix(".0"), line.strip()) for line in lines for entry in line.split()]
        for number, (entry, line) in enumerate(entries, start=1):
            if not (entry.isascii() and entry.isdigit() and len(entry) <= LONGEST_ID):
                raise DataError(
                    f"{path}, entry {number}: {shown(line)} is not a HADM_ID; one per line, without header, is expected"
                )
            admission = int(entry)
            if admission in found:
                where = "twice" if found[admission] == split else f"also in {paths[found[admission]].name}"
                raise DataError(f"{path}: admission {admission} is listed {where}; splits must not overlap")
            found[admission] = split
        if not entries:
            raise DataError(f"{path} is empty; fetch it again")
    return found


def titles(path: Path | None) -> dict[str, str]:
    """CAML's titles of codes and headings, none without a file. The file's ranges `240-279.99` are named `240-279`."""
    if path is None:
        return {}
    with readable(path), regular(path, MOST_TEXT) as file:
        rows = [line.partition("\t") for line in file.read().decode(errors="replace").splitlines()]
    return {re.sub(r"(-\w+)\.9+$", r"\1", code): title.strip() for code, _, title in reversed(rows)}


def feather(path: Path) -> dict[int, str]:
    """The split of each HADM_ID from a Feather file of Edin et al. Raises DataError."""
    import pyarrow as pa
    from pyarrow import feather

    try:
        with readable(path):
            regular(path).close()  # a pipe would be waited for
            table = feather.read_table(path, columns=["_id", "split"], memory_map=False)
        admissions, names = table["_id"].cast(pa.int64()).to_pylist(), table["split"].cast(pa.string()).to_pylist()
    except pa.ArrowException:  # its message may show a cell
        raise DataError(
            f"{path} is not a Feather file with columns _id and split, whole numbers and text; fetch it again"
        ) from None
    if not admissions:
        raise DataError(f"{path} has no rows; fetch it again")
    found: dict[int, str] = {}
    for admission, name in zip(admissions, names, strict=True):
        if admission is None:
            raise DataError(f"{path}: a row has no _id; fetch it again")
        if name not in SPLIT_NAMES:
            raise DataError(f"{path}: admission {admission} is in split {shown(name)}, not in train, val or test")
        if admission in found:
            raise DataError(f"{path}: admission {admission} is listed twice; splits must not overlap")
        found[admission] = SPLIT_NAMES[name]
    return found


def get(what: str, root: Path) -> str:
    """Download the lists that are missing and verify all checksums; return a line that says so. Raises DataError."""
    subfolder, names = FETCHED[what]
    folder = root / subfolder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            address, checksum = FILES[name]
            target = folder / name
            if not target.exists():
                with replacing(target) as fresh:
                    fresh.unlink()
                    fetch(address + name, fresh, checksum, f"put {name} into {folder} by hand")
            elif altered(target):
                raise DataError(f"{target} differs from the published file; move it away and fetch again")
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror or error}; name a folder of your own with --data, and put a link to "
            "the read-only tables into it"
        ) from None
    return f"{', '.join(names)} in {folder}; all checksums agree"


DOWNLOADS.update({what: partial(get, what) for what in FETCHED})
