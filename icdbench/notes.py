"""Notes to predict from: text files, folders of them, tables with a column of texts, standard input.

All text is UTF-8; a note must have some. Nothing is guessed at: every error names the file, and the line where there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from icdbench.datasets import own, read_text
from icdbench.spec import DataError, nearest

STDIN = "-"


def notes(sources: Sequence[str], column: str = "text") -> Iterator[tuple[str, str]]:
    """Name and text of each note, one at a time: a folder stands for its .txt files, `-` for standard input, one note.

    What does not exist is found out at once, before any note is read. Raises DataError.
    """
    return _read([path for source in sources for path in _paths(source)], column)


def _read(paths: Sequence[Path | None], column: str) -> Iterator[tuple[str, str]]:
    for path in paths:
        if path is None:
            yield STDIN, written(STDIN, _stdin())
        elif path.suffix.lower() in own.READERS:
            yield from ((name, written(name, text)) for name, text in own.texts(path, column))
        else:
            yield str(path), written(str(path), read_text(path))


def written(name: str, text: str) -> str:
    """The text, which must have something in it. Raises DataError that says which note is empty."""
    if not text.strip():
        raise DataError(f"{name}: the note is empty")
    return text


def _paths(source: str) -> Sequence[Path | None]:
    """The files that a source stands for; None for standard input."""
    path = Path(source)
    if source == STDIN:
        return [None]
    if path.is_dir():
        found = sorted(file for file in path.glob("*.txt") if not file.name.startswith("."))
        if not found:
            raise DataError(f"folder {path} has no .txt files; name files, or a table with a column of texts")
        return found
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(f"{path} does not exist{nearest(path.name, beside) if beside else ''}")
    return [path]


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not UTF-8 (byte {error.start}); convert it") from None
