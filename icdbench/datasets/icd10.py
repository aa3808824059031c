"""Titles of ICD-10-CM codes, from the package simple-icd-10-cm (imported only when asked for: it loads 97,000 codes)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence


def icd10cm_titles(codes: Sequence[str]) -> Mapping[str, str]:
    """The title of each code, in either case; codes unknown even by an ancestor are left out.

    Coders cut seventh-character codes at the `X` placeholder (`w19.xxx`), so a code that is not listed is tried with
    the initial-encounter `A` appended, then shortened until an ancestor is found.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how the package reads its own data
        import simple_icd_10_cm as icd10

    found = {}
    for code in codes:
        upper = code.upper()
        candidates = [upper, f"{upper}A", *(upper[:end].rstrip(".") for end in range(len(upper) - 1, 2, -1))]
        listed = next((name for name in candidates if icd10.is_category_or_subcategory(name)), None)
        if listed is not None:
            found[code] = str(icd10.get_description(listed))
    return found
