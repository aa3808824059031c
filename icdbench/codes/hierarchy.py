"""Code hierarchies of ICD-9-CM, ICD-10-CM and ICD-10-PCS: `build_tree` returns the tree above a set of codes.

Each coding system has a function that returns a code's path: the code as the system spells it, then its ancestors up to
the root, or an empty path for an unknown code. Codes may be in lower case, cut at a placeholder, or without leading zeros.
Diagnoses and procedures have separate roots.

- ICD-9-CM: the prefixes of a code down to its category (three characters, E codes four, procedures two), then the section
  and chapter of version 32 whose ranges contain it. Sections of a single category are left out.
- ICD-10-CM: the headings of the package simple-icd-10-cm.
- ICD-10-PCS: every prefix (`0BH----`), since each character is an axis.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from icdbench.codes.icd10 import icd10cm, nearest_listed

DIAGNOSES, PROCEDURES, OTHER = "(diagnoses)", "(procedures)", "(other codes)"  # the roots

# Chapters, each followed by its sections of more than one category.
DIAGNOSIS_RANGES = """
001-139 (001-009 010-018 020-027 030-041 045-049 050-059 060-066 070-079 080-088 090-099 100-104 110-118 120-129 130-136
         137-139)
140-239 (140-149 150-159 160-165 170-176 179-189 190-199 200-209 210-229 230-234 235-238)
240-279 (240-246 249-259 260-269 270-279)
280-289
290-319 (290-294 295-299 300-316 317-319)
320-389 (320-327 330-337 340-349 350-359 360-379 380-389)
390-459 (390-392 393-398 401-405 410-414 415-417 420-429 430-438 440-449 451-459)
460-519 (460-466 470-478 480-488 490-496 500-508 510-519)
520-579 (520-529 530-539 540-543 550-553 555-558 560-569 570-579)
580-629 (580-589 590-599 600-608 610-612 614-616 617-629)
630-679 (630-639 640-649 650-659 660-669 670-677 678-679)
680-709 (680-686 690-698 700-709)
710-739 (710-719 720-724 725-729 730-739)
740-759
760-779 (760-763 764-779)
780-799 (780-789 790-796 797-799)
800-999 (800-804 805-809 810-819 820-829 830-839 840-848 850-854 860-869 870-879 880-887 890-897 900-904 905-909 910-919
         920-924 925-929 930-939 940-949 950-957 958-959 960-979 980-989 990-995 996-999)
V01-V91 (V01-V06 V07-V09 V10-V19 V20-V29 V30-V39 V40-V49 V50-V59 V60-V69 V70-V82 V83-V84)
E000-E999 (E001-E030 E800-E807 E810-E819 E820-E825 E826-E829 E830-E838 E840-E845 E846-E849 E850-E858 E860-E869 E870-E876
           E878-E879 E880-E888 E890-E899 E900-E909 E910-E915 E916-E928 E930-E949 E950-E959 E960-E969 E970-E979 E980-E989
           E990-E999)
"""
# Chapters; 00 and 17 are chapters of a single category.
PROCEDURE_RANGES = "01-05 06-07 08-16 18-20 21-29 30-34 35-39 40-41 42-54 55-59 60-64 65-71 72-75 76-84 85-86 87-99"

CodePath = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Tree:
    """A code hierarchy: the parent of each code and ancestor (roots have none), and the titles of ancestors.

    `outside` lists the codes that the coding system does not have.
    """

    parents: Mapping[str, str]
    titles: Mapping[str, str] = field(default_factory=dict)
    outside: Sequence[str] = ()


def _ranges_by_heading(ranges: str) -> dict[str, tuple[str, ...]]:
    """The ranges that contain each heading, narrowest first."""
    found: dict[str, tuple[str, ...]] = {}
    for chapter, sections in re.findall(r"(\S+-\S+)(?: \(([^)]*)\))?", ranges):
        for span in (chapter, *sections.split()):
            first, last = span.split("-")
            letter = first.rstrip("0123456789")
            for number in range(int(first[len(letter) :]), int(last[len(letter) :]) + 1):
                heading = f"{letter}{number:0{len(first) - len(letter)}}"
                found[heading] = (span, *found.get(heading, ()))
    return found


_DIAGNOSIS_RANGES_BY_HEADING = _ranges_by_heading(DIAGNOSIS_RANGES)
_PROCEDURE_RANGES_BY_HEADING = _ranges_by_heading(PROCEDURE_RANGES)


def icd9cm_path(code: str) -> Sequence[str]:
    """The path of a dotted code: 250.01, 250.0, 250, 249-259, 240-279, root; or 39.95, 39.9, 39, 35-39, root.

    A procedure that ends in its dot has lost its leading zeros: `66.` is read as 00.66. Other procedures are read as
    written, although some may have lost a zero too (03.31 became `33.1`, which is another procedure).
    """
    code = code.upper()
    if re.fullmatch(r"\d{1,2}\.", code):
        code = f"00.{code[:-1]:0>2}"
    if re.fullmatch(r"(\d{3}|V\d{2}|E\d{3})(\.\d{1,2})?", code):
        ranges, root = _DIAGNOSIS_RANGES_BY_HEADING, DIAGNOSES
    elif re.fullmatch(r"\d{2}(\.\d{1,2})?", code):
        ranges, root = _PROCEDURE_RANGES_BY_HEADING, PROCEDURES
    else:
        return ()
    heading, _, digits = code.partition(".")
    if heading not in ranges and root == DIAGNOSES:
        return ()  # in no chapter
    prefixes = [f"{heading}.{digits[:end]}" for end in range(len(digits), 0, -1)]
    return (*prefixes, heading, *ranges.get(heading, ()), root)


def icd10cm_path(code: str) -> Sequence[str]:
    """The path W19.XXXA, W19, W00-W19, chapter 20, root; an unlisted code is placed below its longest listed prefix."""
    found = nearest_listed(code)
    if found is None:
        return ()
    name = found if "." in found or len(found) == 3 else f"{found[:3]}.{found[3:]}"
    is_listed = found in {code.upper(), f"{code.upper()}A"}
    path = [*([] if is_listed else [code.upper()]), name, *map(str, icd10cm().get_ancestors(found))]
    return (*dict.fromkeys(path), DIAGNOSES)  # a section of a single heading has the heading's name


def icd10pcs_path(code: str) -> Sequence[str]:
    """The path 02HV33Z, 02HV33-, 02HV3--, …, 0------, root; codes may have fewer characters."""
    code = code.upper()
    if not re.fullmatch("[0-9A-HJ-NP-Z]{1,7}", code):
        return ()
    return (*(code[:end].ljust(7, "-") for end in range(len(code), 0, -1)), PROCEDURES)


def icd10_path(code: str) -> Sequence[str]:
    """The path of a diagnosis or procedure; a procedure has seven characters and no dot."""
    return icd10pcs_path(code) if len(code) == 7 and "." not in code else icd10cm_path(code)


def build_tree(
    codes: Sequence[str], path: CodePath, titles: Callable[[Sequence[str]], Mapping[str, str]] = lambda _: {}
) -> Tree:
    """The tree of the codes and all their ancestors; `titles` returns the titles of the ancestors.

    Codes without a path are placed below the root OTHER. An ancestor that is one of the codes keeps the code's spelling.
    """
    paths = {code: path(code) for code in codes}
    spelling: dict[str, str] = {}
    for code, names in paths.items():
        if names:
            spelling.setdefault(names[0], code)
    parents: dict[str, str] = {}
    for code, names in paths.items():
        ancestors = [spelling.get(name, name) for name in names[1:]] or [OTHER]
        for child, parent in itertools.pairwise((code, *ancestors)):
            if child != parent:
                parents.setdefault(child, parent)
    outside = [code for code, names in paths.items() if not names]
    ancestors = [name for name in dict.fromkeys((*parents, *parents.values())) if name not in paths]
    return Tree(parents, titles(ancestors), outside)
