"""Codes, titles and headings of ICD-10-CM, read from the package simple-icd-10-cm.

The package loads 97,000 codes when it is imported, so it is imported on first use.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import ModuleType


@lru_cache(maxsize=1)
def icd10cm() -> ModuleType:
    """The package simple_icd_10_cm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about how the package reads its own data
        return importlib.import_module("simple_icd_10_cm")


def version() -> str:
    """The version of the package."""
    return importlib.metadata.version("simple-icd-10-cm")


def nearest_listed(code: str) -> str | None:
    """The code as the package lists it, else its nearest listed ancestor, else None; case does not matter.

    Coders cut seven-character codes at the `X` placeholder (`w19.xxx`), so an unlisted code is first tried with an `A`
    (initial encounter) appended, and then shortened until an ancestor is found.
    """
    upper = code.upper()
    candidates = [upper, f"{upper}A", *(upper[:end].rstrip(".") for end in range(len(upper) - 1, 2, -1))]
    return next((name for name in candidates if icd10cm().is_category_or_subcategory(name)), None)


def is_listed(code: str) -> bool:
    """Whether the code is a listed diagnosis, perhaps cut at the `X` placeholder, or looks like a procedure."""
    upper = code.upper()
    procedure = re.fullmatch("[0-9A-HJ-NP-Z]{7}", upper) is not None
    return procedure or any(icd10cm().is_category_or_subcategory(name) for name in (upper, f"{upper}A"))


def icd10cm_codes() -> Sequence[str]:
    """Every diagnosis of three to seven characters, categories included, in the order of the list."""
    distinct = dict.fromkeys(icd10cm().get_all_codes())  # the package lists some twice
    return [name for name in distinct if icd10cm().is_category_or_subcategory(name)]


def icd10cm_terms(codes: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The inclusion terms of each code, or of its nearest listed ancestor; codes without any are left out."""
    found = {code: icd10cm().get_inclusion_term(name) for code in codes if (name := nearest_listed(code))}
    return {code: list(map(str, terms)) for code, terms in found.items() if terms}


def icd10cm_headings(names: Sequence[str]) -> Mapping[str, str]:
    """The titles of categories, blocks (`E08-E13`) and chapters (`4`); unknown names are left out."""
    return {name: str(icd10cm().get_description(name)) for name in names if icd10cm().is_valid_item(name)}


def icd10cm_titles(codes: Sequence[str]) -> Mapping[str, str]:
    """The title of each code, or of its nearest listed ancestor, whatever their case; unknown codes are left out."""
    return {code: str(icd10cm().get_description(name)) for code in codes if (name := nearest_listed(code))}
