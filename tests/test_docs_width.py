"""The documentation reads well in an editor: prose of at most 100 characters a line, and no wide table in the README."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

MOST_CHARACTERS, MOST_COLUMNS = 100, 8
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line of prose: no code, no table, nor the notes that a command prints under a table."""
    in_fence = under_table = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        in_fence ^= line.startswith("```")
        table = line.startswith("|")
        under_table = table or (under_table and (not line or line.startswith(("- ", "  "))))
        if not (in_fence or under_table or line.startswith(("```", "    "))):
            yield number, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_prose_are_short(page: Path) -> None:
    wide = [(number, line) for number, line in prose(page) if len(line) > MOST_CHARACTERS]
    assert [each for each in wide if not re.fullmatch(r"\s*\S+", each[1])] == []


def test_tables_of_the_readme_are_narrow() -> None:
    rows = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert rows
    assert max(line.count("|") - 1 for line in rows) <= MOST_COLUMNS
