"""The coding systems that a data set can name: ICD9CM, ICD10, ICD10CM and ICD10PCS, each with titles and hierarchy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icdbench.codes import hierarchy, icd9, icd10

Terms = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]  # from codes to their other names, if any
Titles = Callable[[Sequence[str]], Mapping[str, str]]  # from codes or headings to their titles, if any


def no_names(_codes: Sequence[str]) -> Mapping[str, Any]:
    """The titles or terms of a system that has none."""
    return {}


@dataclass(frozen=True)
class CodingSystem:
    """A coding system: a code's path in its hierarchy (icdbench.codes.hierarchy), and the titles of codes and headings.

    `listed` tells whether the published list has a code, and `version` which list that is. `codes` gives every code that
    may be assigned (None: not known), and `terms` the names that the list gives a code beside its title.
    """

    name: str
    path: hierarchy.CodePath
    titles: Titles = no_names
    headings: Titles = no_names
    listed: Callable[[str], bool] | None = None
    version: Callable[[], str] | None = None
    codes: Callable[[], Sequence[str]] | None = None
    terms: Terms = no_names

    def tree(self, codes: Sequence[str]) -> hierarchy.Tree:
        """The hierarchy above the codes."""
        return hierarchy.build_tree(codes, self.path, self.headings)


ICD9CM = CodingSystem(
    "ICD-9-CM", hierarchy.icd9cm_path, icd9.icd9cm_titles, no_names, icd9.listed, icd9.titles_digest, icd9.icd9cm_codes
)
ICD10 = CodingSystem(  # diagnoses and procedures; `codes` are diagnoses alone
    "ICD-10",
    hierarchy.icd10_path,
    icd10.icd10cm_titles,
    icd10.icd10cm_headings,
    icd10.is_listed,
    icd10.version,
    icd10.icd10cm_codes,
    icd10.icd10cm_terms,
)
ICD10CM = replace(ICD10, name="ICD-10-CM", path=hierarchy.icd10cm_path)
ICD10PCS = CodingSystem("ICD-10-PCS", hierarchy.icd10pcs_path)
