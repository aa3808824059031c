"""MIMIC-IV with the splits of Nguyen et al. 2023, "Mimic-IV-ICD", https://arxiv.org/abs/2304.13998: all codes, and 50.

The tables are those of `icdbench.data.sources.mimic4`. The lists of admissions are in the authors' repository, which has no
licence and no checksums: put its folders `mimicdata/mimic4_icd9` and `mimicdata/mimic4_icd10` into the data folder, or clone
it there. This follows commit 247091e, whose notebooks print the counts below for version 2.2:

- An admission with a summary and with codes of the version is a document. Its codes are text, each once, rare ones
  included; the label set is that of all three splits, as in CAML's preparation of MIMIC-III.
- Words are CAML's: runs of word characters in lower case, without numeric ones; three training documents make a word known.
- The 50-code sets have lists and codes of their own; documents with none of the 50 codes are left out.

Codes of ICD-10 have dots here, but not in the published files. It is not known how the 50 codes were chosen (the notebooks
read a list, and their count is commented out), which vocabulary the 50-code models had (here that of their own training
documents), and where texts were cut (`data.max_tokens`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from icdbench.data.source import register
from icdbench.data.sources import mimic
from icdbench.data.sources import mimic_splits as splits
from icdbench.data.sources.mimic4 import Mimic4, Version
from icdbench.settings import DataError
from icdbench.types import SPLITS

REPOSITORY = "MIMIC-IV-ICD-data-processing"
LISTS = dict(zip(SPLITS, ("train", "dev", "test"), strict=True))


@dataclass(frozen=True)
class Nguyen(Mimic4):
    """Admissions in the published lists, with all codes or, if there is a published label set, with its codes."""

    download: str = ""
    pinned = False

    @property
    def label_set(self) -> frozenset[str] | None:
        return self.known.label_set if self.known else None

    def lists(self) -> dict[str, Path]:
        size = "full" if self.label_set is None else "50"
        return {split: self._list(f"{name}_{size}_hadm_ids.csv") for split, name in LISTS.items()}

    def _list(self, name: str) -> Path:
        folder = f"mimic4_icd{self.icd}"
        for place in (self.folders[0], self.root, self.root / "mimic4_splits", self.root / REPOSITORY):
            for path in (place / folder / name, place / "mimicdata" / folder / name):
                if path.is_file():
                    return path
        raise DataError(
            f"{folder}/{name} is not in '{self.root}'; put the folder mimicdata/{folder} of "
            f"https://github.com/thomasnguyen92/{REPOSITORY} there"
        )

    def split_of(self) -> dict[int, str]:
        return splits.admission_lists(self.lists())

    def kept_codes(self, codes: Mapping[int, Sequence[str]]) -> Collection[str]:
        return self.label_set or {code for listed in codes.values() for code in listed}


FIFTY_9 = frozenset(
    "244.9 250.00 272.0 272.4 274.9 276.1 276.2 276.51 278.00 285.1 285.9 287.5 300.00 305.1 311 327.23 338.29 357.2 38.93"
    " 38.97 401.9 403.90 412 414.00 414.01 427.31 427.89 428.0 428.32 486 493.90 496 530.81 564.00 584.9 585.6 585.9 599.0"
    " 600.00 733.00 96.6 V12.51 V12.54 V15.82 V45.81 V45.82 V49.86 V58.61 V58.66 V58.67".split()
)
FIFTY_10 = frozenset(
    "02HV33Z D62 D64.9 D69.6 E03.9 E11.22 E11.9 E66.9 E78.5 E87.1 E87.2 F17.210 F32.9 F41.9 G47.00 G47.33 G89.29 I10 I11.0"
    " I12.9 I13.0 I25.10 I25.2 I48.0 I48.91 J18.9 J44.9 J45.909 J96.01 K21.9 K59.00 M10.9 N17.9 N18.3 N18.9 N39.0 N40.0"
    " Y92.230 Y92.239 Y92.9 Z23 Z66 Z79.01 Z79.02 Z79.4 Z86.718 Z86.73 Z87.891 Z95.1 Z95.5".split()
)


_published = partial(mimic.Published, version="2.2")

# Documents and words of the full sets as the notebooks print them, and the lengths of the lists of the 50-code sets.
_SETS: Mapping[Version, tuple[str, mimic.Published, mimic.Published]] = {
    "9": (
        "ICD-9-CM",
        _published((188_533, 7_110, 13_709), vocabulary=102_926),
        _published((170_664, 6_406, 12_405), label_set=FIFTY_9),
    ),
    "10": (
        "ICD-10-CM and PCS",
        _published((110_442, 4_017, 7_851), vocabulary=69_972),
        _published((104_077, 3_805, 7_368), label_set=FIFTY_10),
    ),
}
for _icd, (_codes, _full, _fifty) in _SETS.items():
    _name = f"mimic4-icd{_icd}"
    register(Nguyen(f"{_name}-nguyen", f"MIMIC-IV, all {_codes} codes, Nguyen's splits", known=_full, icd=_icd))
    register(Nguyen(f"{_name}-nguyen50", f"MIMIC-IV, 50 {_codes} codes, Nguyen's splits", known=_fifty, icd=_icd))
