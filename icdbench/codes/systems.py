"""Coding systems as data sets use them: what codes and headings are called, and where they stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from icdbench.codes import hierarchy, icd9, icd10

Titles = Callable[[Sequence[str]], Mapping[str, str]]  # those of some names, without what has none


def no_titles(_names: Sequence[str]) -> Mapping[str, str]:
    """The titles of a system whose titles are not known."""
    return {}


@dataclass(frozen=True)
class CodingSystem:
    """A coding system: a code's path in its hierarchy (icdbench.codes.hierarchy), titles of codes and of headings above them.

    `listed` says whether the published list has a code, `version` which list that is.
    """

    path: hierarchy.CodePath
    titles: Titles = no_titles
    headings: Titles = no_titles
    listed: Callable[[str], bool] | None = None
    version: Callable[[], str] | None = None

    def tree(self, codes: Sequence[str]) -> hierarchy.Tree:
        """The hierarchy above the codes."""
        return hierarchy.build_tree(codes, self.path, self.headings)


ICD9CM = CodingSystem(hierarchy.icd9cm_path, icd9.icd9cm_titles, no_titles, icd9.listed, icd9.titles_digest)
ICD10 = CodingSystem(  # diagnoses and procedures
    hierarchy.icd10_path, icd10.icd10cm_titles, icd10.icd10cm_headings, icd10.is_listed, icd10.version
)
ICD10CM = replace(ICD10, path=hierarchy.icd10cm_path)
ICD10PCS = CodingSystem(hierarchy.icd10pcs_path)
