"""The code hierarchy: the ancestors of each code, by system. Diagnoses and procedures have roots of their own.

A system is a function that gives a code's line: its own name in the system, then its ancestors, the nearest first, the
root last; nothing for a text that is no code of it. Codes may be written otherwise than the system writes them: in
lower case, cut at a placeholder, without the zeros they began with.

ICD-9-CM has no list of headings here: they are the prefixes of codes down to three characters (four of E codes, two of
procedures), and above them the sections and chapters of version 32, by their ranges. A section of a single heading adds
nothing to it and is left out. Headings of ICD-10-CM are those of the package simple-icd-10-cm; ICD-10-PCS has an axis
for each character, so that every prefix is a heading (`0BH----`).
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Mapping, Sequence

from icdbench.datasets import Tree
from icdbench.datasets.icd10 import icd10cm, listed

log = logging.getLogger("icdbench")

DIAGNOSES, PROCEDURES, OTHER = "(diagnoses)", "(procedures)", "(other codes)"  # the roots

# Chapters, and in brackets their sections of more than one heading.
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
# Chapters 00 and 17 are headings themselves.
PROCEDURE_RANGES = "01-05 06-07 08-16 18-20 21-29 30-34 35-39 40-41 42-54 55-59 60-64 65-71 72-75 76-84 85-86 87-99"

Line = Callable[[str], Sequence[str]]


def _spans(ranges: str) -> dict[str, tuple[str, ...]]:
    """The ranges that each heading is in, the narrowest first."""
    found: dict[str, tuple[str, ...]] = {}
    for chapter, sections in re.findall(r"(\S+-\S+)(?: \(([^)]*)\))?", ranges):
        for span in (chapter, *sections.split()):
            first, last = span.split("-")
            letter = first.rstrip("0123456789")
            for number in range(int(first[len(letter) :]), int(last[len(letter) :]) + 1):
                heading = f"{letter}{number:0{len(first) - len(letter)}}"
                found[heading] = (span, *found.get(heading, ()))
    return found


_DIAGNOSIS_SPANS = _spans(DIAGNOSIS_RANGES)
_PROCEDURE_SPANS = _spans(PROCEDURE_RANGES)


def icd9cm_line(code: str) -> Sequence[str]:
    """Of a dotted code: 250.01, 250.0, 250, 249-259, 240-279, root; 39.95, 39.9, 39, 35-39, root.

    A procedure without digits after its dot has lost zeros: `66.` is 00.66. Where more digits are left it may be a code
    as it stands (03.31 became `33.1`, which is another procedure), and is taken as that, as its title is.
    """
    code = code.upper()
    if re.fullmatch(r"\d{1,2}\.", code):
        code = f"00.{code[:-1]:0>2}"
    if re.fullmatch(r"(\d{3}|V\d{2}|E\d{3})(\.\d{1,2})?", code):
        spans, root = _DIAGNOSIS_SPANS, DIAGNOSES
    elif re.fullmatch(r"\d{2}(\.\d{1,2})?", code):
        spans, root = _PROCEDURE_SPANS, PROCEDURES
    else:
        return ()
    heading, _, digits = code.partition(".")
    if heading not in spans and root == DIAGNOSES:
        return ()  # no chapter has it
    longer = [f"{heading}.{digits[:end]}" for end in range(len(digits), 0, -1)]
    return (*longer, heading, *spans.get(heading, ()), root)


def icd10cm_line(code: str) -> Sequence[str]:
    """W19.XXXA, W19, W00-W19, chapter 20, root; a code that is not listed stands below its nearest listed prefix."""
    found = listed(code)
    if found is None:
        return ()
    name = found if "." in found or len(found) == 3 else f"{found[:3]}.{found[3:]}"
    own = (name,) if found in {code.upper(), f"{code.upper()}A"} else (code.upper(), name)
    # A section of a single heading has the heading's name.
    return (*dict.fromkeys((*own, *map(str, icd10cm().get_ancestors(found)))), DIAGNOSES)


def icd10pcs_line(code: str) -> Sequence[str]:
    """02HV33Z, 02HV33-, 02HV3--, …, 0------, root; codes may be cut to fewer characters."""
    code = code.upper()
    if not re.fullmatch("[0-9A-HJ-NP-Z]{1,7}", code):
        return ()
    return (*(code[:end].ljust(7, "-") for end in range(len(code), 0, -1)), PROCEDURES)


def icd10_line(code: str) -> Sequence[str]:
    """Diagnoses and procedures together: a procedure has seven characters and no dot."""
    return icd10pcs_line(code) if len(code) == 7 and "." not in code else icd10cm_line(code)


def grow(codes: Sequence[str], line: Line, titles: Callable[[Sequence[str]], Mapping[str, str]] = lambda _: {}) -> Tree:
    """The tree of the codes and all their ancestors; `titles` are asked for those of the ancestors.

    Codes that have no line are warned of and stand under a root of their own. An ancestor that is one of the codes is
    called as they call it.
    """
    lines = {code: line(code) for code in codes}
    called: dict[str, str] = {}
    for code, names in lines.items():
        if names:
            called.setdefault(names[0], code)
    parents: dict[str, str] = {}
    for code, names in lines.items():
        ancestors = [called.get(name, name) for name in names[1:]] or [OTHER]
        for child, parent in itertools.pairwise((code, *ancestors)):
            if child != parent:
                parents.setdefault(child, parent)
    strange = [code for code, names in lines.items() if not names]
    if strange:
        log.warning(
            "%d of %d codes are not of the data set's coding system, the first '%s'; in the hierarchy they stand apart",
            len(strange),
            len(codes),
            strange[0],
        )
    ancestors = [name for name in dict.fromkeys((*parents, *parents.values())) if name not in lines]
    return Tree(parents, titles(ancestors), len(strange))
