"""ICD-10-CM: titles and headings by the package simple-icd-10-cm, which is imported when asked for: it loads 97,000 codes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import ModuleType


@lru_cache(maxsize=1)
def icd10cm() -> ModuleType:
    """The package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how it reads its own data
        import simple_icd_10_cm
    module: ModuleType = simple_icd_10_cm
    return module


def listed(code: str) -> str | None:
    """The code as the package lists it, in either case, else its nearest listed ancestor, else none.

    Coders cut seventh-character codes at the `X` placeholder (`w19.xxx`), so a code that is not listed is tried with
    the initial-encounter `A` appended, then shortened until an ancestor is found.
    """
    upper = code.upper()
    candidates = [upper, f"{upper}A", *(upper[:end].rstrip(".") for end in range(len(upper) - 1, 2, -1))]
    return next((name for name in candidates if icd10cm().is_category_or_subcategory(name)), None)


def icd10cm_headings(names: Sequence[str]) -> Mapping[str, str]:
    """The titles of categories, blocks (`E08-E13`) and chapters (`4`); other names are left out."""
    return {name: str(icd10cm().get_description(name)) for name in names if icd10cm().is_valid_item(name)}


def icd10cm_titles(codes: Sequence[str]) -> Mapping[str, str]:
    """The title of each code, in either case; codes unknown even by an ancestor are left out."""
    found = {code: listed(code) for code in codes}
    return {code: str(icd10cm().get_description(name)) for code, name in found.items() if name is not None}
