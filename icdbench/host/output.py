"""Make text from data safe to show on a terminal, in a CSV file or on a page.

Characters that are not printable can move the cursor, colour or clear a terminal (C0 and C1 controls, ESC), or reorder
and hide the text around them (bidirectional overrides, zero-width characters, line separators).
"""

from __future__ import annotations

import csv
import functools
import io
import json
import logging
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, TextIO

LONGEST = 4000  # characters of a message


def printable(text: str) -> str:
    """Replace unusual spaces by blanks and other unprintable characters by `�`; keep line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else " " if char.isspace() else "�" for char in text)


def one_line(text: str) -> str:
    """Make text printable on a single line, so that a name in a message cannot start a new line."""
    return " ".join(printable(text).split())


def message(text: str) -> str:
    """Make a message printable on one line of at most LONGEST characters; a wrong value may have megabytes."""
    shown = one_line(text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def json_line(value: Any) -> str:
    """Return JSON on one line with unprintable characters escaped, so that nothing is lost."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


class Formatter(logging.Formatter):
    """Formats log messages for the user, each as one printable line."""

    def __init__(self) -> None:
        super().__init__("icdbench: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return message(super().format(record))


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current sys.stderr, which a live display replaces while it runs to keep messages apart from it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        self.setStream(sys.stderr)
        super().emit(record)


def log_to_stderr(level: int) -> None:
    """Show log messages of this level and above on stderr."""
    handler = StderrHandler()
    handler.setFormatter(Formatter())
    logging.basicConfig(level=level, handlers=[handler])


FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")  # start of a cell that a spreadsheet may evaluate
NUMERAL = r"[+-]?(?:\d++(?:,\d{3})*+(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"
# A number, with or without its interval.
FIGURE = re.compile(rf"[+-]|{NUMERAL}(?:[ %†±](?: to |[\d.,+\-−–±%†\[\]() ])*+)?")


def csv_row(cells: Iterable[object]) -> str:
    """Return a row of CSV with its line end. It reads back unchanged: cells with any kind of line break are quoted."""
    row = io.StringIO()
    csv.writer(row, lineterminator="\r\n").writerow(cells)  # with \n as line end a lone \r would not be quoted
    return row.getvalue().removesuffix("\r\n") + "\n"


def csv_cell(text: str) -> str:
    """Return a cell for a CSV opened in a spreadsheet; an apostrophe in front keeps it from being evaluated.

    Numbers, with or without intervals, stay unchanged.
    """
    return f"'{text}" if FORMULA.match(text) and not FIGURE.fullmatch(text) else text


def refilled(text: str, width: int) -> str:
    """Rewrap paragraphs and list items to `width` columns.

    Lines indented by four spaces, such as equations, keep their breaks. If one is too wide, the remark at its end moves to
    lines of its own.
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        wraps = blocks and blocks[-1][0].strip() and not blocks[-1][0].startswith("    ")
        if wraps and line.strip() and not line.startswith(("    ", "- ")):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return "\n".join(_wrapped_block(" ".join(block), width) for block in blocks)


def fitted(text: str) -> str:
    """Rewrap text to the width of the terminal; unchanged if stdout is not a terminal."""
    return refilled(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text


def _wrapped_block(block: str, width: int) -> str:
    fill = functools.partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    if not block.startswith("    "):
        return fill(" ".join(block.split()), subsequent_indent="  " if block.startswith("- ") else "")
    remark = re.fullmatch(r"(.*\S) {2,}(\S.*)", block)
    if len(block) <= width or remark is None:
        return block
    return f"{remark[1]}\n{fill(remark[2], initial_indent=8 * ' ', subsequent_indent=8 * ' ')}"
