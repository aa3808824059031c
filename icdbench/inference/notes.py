"""Read notes to predict from: text files, folders of them, tables with a column of texts, standard input.

Text is UTF-8 or in the encoding that the user names. No note may be empty. Every error names the file and, in tables, the
line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from icdbench.data import datasets
from icdbench.settings import DataError, SpecError, nearest, shown

log = logging.getLogger("icdbench")

STDIN = "-"


def single(source: str, reading: datasets.OwnSettings) -> tuple[str, str]:
    """The name and text of a source with a single note. Raises SpecError if it has none or several, DataError as `every`, and
    for a note that cannot be read.
    """
    found: list[tuple[str, str]] = []
    for name, text in every([source], reading):
        if isinstance(text, DataError):
            raise text
        found.append((name, text))
    if len(found) != 1:
        raise SpecError(f"'{source}' has {len(found)} notes; name a file with a single one")
    return found[0]


def every(sources: Sequence[str], reading: datasets.OwnSettings) -> Iterator[tuple[str, str | DataError]]:
    """Iterate over the names and texts of notes. A folder stands for its .txt files, `-` for standard input as one note.

    `reading` says how tables are read, and the encoding of all files. A note that is empty or cannot be read has its error in
    place of a text, and the iteration goes on; a table that is damaged from some row on ends with one such note. Raises
    DataError at once for a source that does not exist, and when it is reached for a table whose first row cannot be read.
    """
    return _read([path for source in sources for path in _paths(source)], reading)


def _read(paths: Sequence[Path | None], reading: datasets.OwnSettings) -> Iterator[tuple[str, str | DataError]]:
    for path in paths:
        for name, text in datasets.notes(path, reading):
            empty = not isinstance(text, DataError) and not text.strip()
            yield name, DataError(f"{short_name(name)}: the note is empty") if empty else text


def short_name(name: str) -> str:
    """A note's name for a message: if it is a table's file and an id, the id is shortened."""
    path, colon, id_ = name.partition(": ")
    return f"{path}: {shown(id_)}" if colon else name


def _paths(source: str) -> Sequence[Path | None]:
    """The files that a source stands for; None for standard input."""
    path = Path(source)
    if not source:  # otherwise it would be the current folder
        raise SpecError("the name of a note is empty; name a file or a folder, or - for standard input")
    if source == STDIN:
        return [None]
    if path.is_dir():
        return _texts_in(path)
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(f"{path} does not exist{nearest(path.name, beside, most=5) if beside else ''}")
    return [path]


def _texts_in(folder: Path) -> Sequence[Path]:
    """The .txt files in a folder, whatever the case of the suffix. Other files are reported by kind, as names may be patients'."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    found = [entry for entry in entries if entry.suffix.lower() == ".txt" and entry.is_file()]
    if not found:
        raise DataError(f"folder {folder} has no .txt files; name files, or a table with a column of texts")
    if others := [entry for entry in entries if entry not in set(found)]:
        kinds = sorted({"folders" if entry.is_dir() else entry.suffix.lower() or "no suffix" for entry in others})
        log.warning(
            "folder %s: only .txt files are read; left out: %d others (%s)", folder, len(others), ", ".join(kinds)
        )
    return found
