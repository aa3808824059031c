"""The options of a user's own data (`OwnSettings`) and of a file of predictions (`PredictionSettings`)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from icdbench.settings import Settings
from icdbench.spec import DataSpec, option

AUTO = "auto"  # the value of settings that are recognised from the file
COLUMN_ROLES = ("id", "text", "codes", "split", "group")  # what a column of own data can hold
PREDICTED_ROLES = ("id", "codes", "scores")  # what a column of a file of predictions can hold
BLANKS = {"space": " ", "tab": "\t", "newline": "\n"}  # by their names on the command line
NAMED_SEPARATORS = (*BLANKS, "list")  # list: cells such as ["401.9", "486"]
USUAL_NAMES = {"cp1252": "windows-1252", "cp1250": "windows-1250", "iso8859-1": "latin-1"}


def columns_by_role(text: str, roles: Sequence[str] = COLUMN_ROLES) -> dict[str, str]:
    """`text=TEXT,codes=ICD10` as {"text": "TEXT", "codes": "ICD10"}; names may have commas. Raises ValueError."""
    before, *parts = re.split(rf"(?:^|,)\s*({'|'.join(roles)})\s*=", text)
    if before.strip():
        example = "text" if "text" in roles else roles[0]
        raise ValueError(f"write it as {example}=NAME; a column can hold {', '.join(roles)}")
    named, names = parts[::2], [name.strip() for name in parts[1::2]]
    if twice := next((role for role in named if named.count(role) > 1), None):
        raise ValueError(f"two columns are named for {twice}")
    return dict(zip(named, names, strict=True))


def _sort_columns(text: str, roles: Sequence[str] = COLUMN_ROLES) -> str:
    """The columns in one order, so that equal requests are equal."""
    return ",".join(f"{role}={name}" for role, name in sorted(columns_by_role(text, roles).items()))


def _unique_encoding(name: str) -> str:
    """The one name that stands for all spellings of an encoding."""
    if name.strip().lower() == AUTO:
        return AUTO
    try:
        found = codecs.lookup(name.strip()).name
        "".encode(found)  # raises for codecs such as rot13, which are not encodings
    except (LookupError, UnicodeError):
        raise ValueError("no such encoding; known are latin-1, windows-1252, utf-16 and Python's others") from None
    return USUAL_NAMES.get(found, found)


def _check_separator(value: str) -> str:
    if value not in {AUTO, *NAMED_SEPARATORS} and any(map(str.isalnum, value)):
        raise ValueError(f"give the character itself, none (one code per cell), or {', '.join(NAMED_SEPARATORS)}")
    return value


EncodingName = Annotated[str, AfterValidator(_unique_encoding)]
Separator = Annotated[str, Field(min_length=1), AfterValidator(_check_separator)]


class PredictionSettings(Settings):
    """How a file of predictions is read: like own data, but with a column of scores."""

    columns: Annotated[str, AfterValidator(partial(_sort_columns, roles=PREDICTED_ROLES))] = ""
    encoding: EncodingName = AUTO
    code_separator: Separator | None = AUTO


class OwnSettings(DataSpec):
    split_seed: Annotated[int, Field(ge=0)] = option(
        0, "seed of the split of own data without a split column", task=True
    )
    code_system: Literal["none", "icd9cm", "icd10cm"] = option(
        "none", "where titles of own codes come from", task=False
    )
    columns: Annotated[str, AfterValidator(_sort_columns)] = option(
        "", "which columns of own data hold what, as text=NOTE,codes=ICD10; else recognised by their names", task=True
    )
    encoding: EncodingName = option(
        AUTO, "encoding of own data; auto: UTF-8, or what a byte-order mark says", task=True
    )
    code_separator: Separator | None = option(
        AUTO,
        "what joins the codes in a cell of own data: a character, space, tab, newline, list; none: a code per cell",
        task=True,
    )
    skip_bad: bool = option(False, "leave out rows of own data that cannot be read, and list them", task=True)
