"""Which column of a user's own file holds what: by its name where that leaves no doubt, else as the user says.

A name counts whatever its case, blanks and punctuation: `Note ID`, `note_id` and `NoteID` are the same. A file's names are
shown in a message only if one of them is known, since the first line of a file without a header may be a note.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icdbench.data.sources.own_settings import COLUMN_ROLES
from icdbench.settings import DataError, nearest

# Other names of each column, folded. A name that could mean something else is left out: the user names it then.
SYNONYMS: Mapping[str, frozenset[str]] = {
    "id": frozenset(
        "noteid docid documentid recordid reportid caseid rowid hadmid admissionid encounterid visitid uid".split()
    ),
    "text": frozenset(
        "note notetext fulltext rawtext documenttext reporttext clinicaltext clinicalnote dischargesummary".split()
    ),
    "codes": frozenset(
        "code label labels icd icdcode icdcodes icd9 icd9code icd9codes icd9cm icd10 icd10code icd10codes icd10cm icd10gm "
        "icd10cmcode icd10cmcodes icd9cmcode icd9cmcodes diagnosiscode diagnosiscodes".split()
    ),
    "split": frozenset({"datasplit"}),
    "scores": frozenset("score prob probs probability probabilities confidence confidences logit logits".split()),
    "group": frozenset("groupid patient patientid subject subjectid person personid mrn".split()),
}
NAME = re.compile(r"(?=.{1,40}$)\w[\w.()/#-]*( [\w.()/#-]+){0,2}")  # what may be the name of a column, and is no note


def folded(name: str) -> str:
    """A column's name without case, blanks and punctuation."""
    return "".join(character for character in unicodedata.normalize("NFKC", name).casefold() if character.isalnum())


@dataclass(frozen=True)
class Roles:
    """Which roles of columns are read, and which of them a file must have. `chosen` is what the user says of them by role:
    a column's name, or "" if there is no such column."""

    chosen: Mapping[str, str]
    needed: Sequence[str]
    wanted: Sequence[str]

    def columns(self, names: Sequence[str], where: str = "") -> dict[str, str]:
        """The column's name for each of the wanted roles that the file has.

        Raises DataError, which begins with `where`, for a needed column that is missing and for one that could be any of
        several.
        """
        found = {role: self._column(role, names, where) for role in self.wanted}
        for role in self.needed:
            if not found[role]:
                said = nearest_shown(role, names, self.chosen)
                raise DataError(f"{where}no column '{role}'{said}; say which it is with --column {role}=NAME")
        return {role: name for role, name in found.items() if name is not None}

    def _column(self, role: str, names: Sequence[str], where: str) -> str | None:
        if name := self.chosen.get(role):
            candidates = _named(names, name)
            if not candidates:
                raise DataError(f"{where}no column '{name}'{nearest_shown(name, names, self.chosen)}")
        elif role in self.chosen:
            return None
        else:
            candidates = _recognised(role, [name for name in names if name not in self.chosen.values()])
        if len(candidates) > 1:
            raise DataError(where + _ambiguous(role, candidates))
        return candidates[0] if candidates else None


def known(names: Sequence[str], chosen: Mapping[str, str]) -> bool:
    """Whether one of the names is that of a column that is read here, or one that the user names."""
    said = any(_named(names, name) for name in chosen.values() if name)
    return said or any(_recognised(role, names) for role in COLUMN_ROLES)


def _named(names: Sequence[str], asked: str) -> list[str]:
    exact = [name for name in names if name == asked]
    return exact or [name for name in names if name.strip() == asked.strip() or folded(name) == folded(asked) != ""]


def _recognised(role: str, names: Sequence[str]) -> list[str]:
    """The names that may mean a role, by the strictest rule that any of them meets."""
    for same in (
        [name for name in names if name == role],
        [name for name in names if folded(name) == role],
        [name for name in names if folded(name) in SYNONYMS[role]],
    ):
        if same:
            return same
    return []


def _ambiguous(role: str, candidates: Sequence[str]) -> str:
    if len(set(candidates)) == 1:
        return f"column '{candidates[0]}' occurs {len(candidates)} times"
    listed = ", ".join(f"'{name}'" for name in candidates)
    none = f", or --column {role}= for none" if role not in {"text", "codes"} else ""
    return f"columns {listed} could each be '{role}'; choose with --column {role}='{candidates[0]}'{none}"


def nearest_shown(asked: str, names: Sequence[str], chosen: Mapping[str, str]) -> str:
    """`; did you mean 'text'? (known: …)`, if the names are surely names."""
    shown = [name.strip() for name in names if name.strip()]
    return nearest(asked, shown) if known(names, chosen) and all(map(NAME.fullmatch, shown)) else ""
