"""The roles of the columns of a user's own file: recognised by name if that leaves no doubt, else named by the user.

Case, blanks and punctuation of a name do not matter: `Note ID`, `note_id` and `NoteID` are the same. Messages show a
file's column names only if one of them is known, since the first line of a file without a header may be a note.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icdbench.data.sources.own_settings import COLUMN_ROLES
from icdbench.settings import DataError, nearest

# Other names for each role, folded. Names that could mean something else are left out.
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
NAME = re.compile(r"(?=.{1,40}$)\w[\w.()/#-]*( [\w.()/#-]+){0,2}")  # names of columns, rather than notes


def folded(name: str) -> str:
    """A column's name without case, blanks and punctuation."""
    return "".join(character for character in unicodedata.normalize("NFKC", name).casefold() if character.isalnum())


@dataclass(frozen=True)
class Roles:
    """The roles that are read (`wanted`), those that a file must have (`needed`), and the columns that the user names.

    `chosen` has the user's column by role, "" for a role that no column has.
    """

    chosen: Mapping[str, str]
    needed: Sequence[str]
    wanted: Sequence[str]

    def columns(self, names: Sequence[str], where: str = "") -> dict[str, str]:
        """The column for each of the wanted roles that the file has.

        Raises DataError, which begins with `where`, if a needed column is missing, or several columns fit a role.
        """
        found = {role: self._column(role, names, where) for role in self.wanted}
        for role in self.needed:
            if not found[role]:
                hint = nearest_shown(role, names, self.chosen)
                raise DataError(f"{where}no column '{role}'{hint}; say which it is with --column {role}=NAME")
        return {role: name for role, name in found.items() if name is not None}

    def _column(self, role: str, names: Sequence[str], where: str) -> str | None:
        if name := self.chosen.get(role):
            candidates = _matching(names, name)
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
    """Whether one of the names is recognised, or is one that the user names."""
    is_chosen = any(_matching(names, name) for name in chosen.values() if name)
    return is_chosen or any(_recognised(role, names) for role in COLUMN_ROLES)


def _matching(names: Sequence[str], chosen: str) -> list[str]:
    exact = [name for name in names if name == chosen]
    return exact or [name for name in names if name.strip() == chosen.strip() or folded(name) == folded(chosen) != ""]


def _recognised(role: str, names: Sequence[str]) -> list[str]:
    """The names that may mean a role, by the strictest rule that any of them meets."""
    return (
        [name for name in names if name == role]
        or [name for name in names if folded(name) == role]
        or [name for name in names if folded(name) in SYNONYMS[role]]
    )


def _ambiguous(role: str, candidates: Sequence[str]) -> str:
    if len(set(candidates)) == 1:
        return f"column '{candidates[0]}' occurs {len(candidates)} times"
    listed = ", ".join(f"'{name}'" for name in candidates)
    none = f", or --column {role}= for none" if role not in {"text", "codes"} else ""
    return f"columns {listed} could each be '{role}'; choose with --column {role}='{candidates[0]}'{none}"


def nearest_shown(name: str, names: Sequence[str], chosen: Mapping[str, str]) -> str:
    """`; did you mean 'text'? (known: …)`; empty if the names may be words of a note."""
    shown = [each.strip() for each in names if each.strip()]
    return nearest(name, shown) if known(names, chosen) and all(map(NAME.fullmatch, shown)) else ""
