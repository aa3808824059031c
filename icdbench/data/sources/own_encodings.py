"""The encoding of a user's own file: UTF-8, what a byte-order mark says, or what the user says.

`encoding_of` checks the whole file before a row is read. It does not guess: a file that is not UTF-8 is refused, with its
likely encoding and what to type.
"""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from icdbench.data.sources.own_settings import AUTO
from icdbench.settings import DataError

CHUNK = 1 << 20  # bytes
HEAD = 4096  # bytes that show whether a file is UTF-16 without a byte-order mark
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UTF8 = "utf-8-sig"
BAD_BYTES = re.compile("[\udc80-\udcff]+")  # as `surrogateescape` decodes bytes that are not UTF-8


@dataclass(frozen=True)
class Encoding:
    """A codec's name, how it treats bytes that it cannot decode, and what was recognised."""

    name: str
    errors: str = "strict"
    about: tuple[str, ...] = ()


@dataclass
class _Counts:
    """What is found in a file when it is decoded as UTF-8."""

    line: int = 0  # the first with bad bytes
    characters: int = 0  # beyond ASCII
    bad: int = 0  # bytes that are not UTF-8
    runs: int = 0  # of bad bytes
    controls: int = 0  # bad bytes from 0x80 to 0x9F, which are letters in windows-1252 and controls in latin-1


def decoded(name: str, content: bytes, chosen: str) -> str:
    """The text of `content`, all of which must be in one encoding. Raises DataError, which begins with `name`."""
    found = encoding_of(name, io.BytesIO(content), chosen)
    text = content.decode(found.name, found.errors)  # line ends are not changed, as spans count characters
    if found.errors != "strict":
        line = next(number for number, part in enumerate(text.split("\n"), start=1) if BAD_BYTES.search(part))
        raise DataError(f"{name}, line {line} is not UTF-8, though other lines are; is the file damaged?")
    return text


def encoding_of(path: Path | str, file: BinaryIO, chosen: str) -> Encoding:
    """The file's encoding; `chosen` is data.encoding. The file is read from its beginning, and rewound.

    Raises DataError if the file is not in the chosen encoding, or with `auto` not in UTF-8 or that of its byte-order mark.
    """
    head = file.read(HEAD)
    by_mark = next((name for mark, name in MARKS if head.startswith(mark)), "")
    name = by_mark or UTF8 if chosen in {AUTO, "utf-8", "utf-8-sig"} else chosen
    try:
        if name == UTF8:
            return _check_utf8(path, file, head)
        _check_other(path, file, name, by_mark)
    finally:
        file.seek(0)
    return Encoding(name, about=(name,))


def _check_utf8(path: Path | str, file: BinaryIO, head: bytes) -> Encoding:
    """UTF-8, with damaged rows escaped if there are some. Raises DataError for another encoding."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) // 4 and min(even, odd) < len(head) // 16:
        name = "utf-16-le" if odd > even else "utf-16-be"
        raise DataError(f"{path}, line 1 is not UTF-8: the file is probably UTF-16; read it with --encoding {name}")
    if _decodes(file, UTF8):
        return Encoding(UTF8)
    if b"\0" in head:
        raise DataError(f"{path} is not UTF-8, and it has NUL bytes: it is not text, or UTF-16 (--encoding utf-16-le)")
    counts = _counts(file)
    if counts.characters > counts.bad:  # UTF-8 with some damaged rows, which are reported one by one
        return Encoding(UTF8, "surrogateescape")
    advice = "the file is probably windows-1252: read it with --encoding windows-1252 (windows-1250 if it is from Central Europe)"
    if counts.bad > 2 * counts.runs:  # letters beside each other, so they are not the accented ones of Latin script
        advice = "name its encoding, such as --encoding windows-1251 (Cyrillic), gb18030 or shift_jis"
    raise DataError(f"{path}, line {counts.line} is not UTF-8; {advice}")


def _check_other(path: Path | str, file: BinaryIO, name: str, by_mark: str) -> None:
    """Raises DataError if the file is not in the encoding `name`, or is UTF-8 after all."""
    if not _decodes(file, name):
        raise DataError(
            f"{path} is not {name}{f', but {by_mark}' if by_mark else ''}; name another encoding, such as cp850 (DOS) or "
            "mac-roman, or leave --encoding out"
        )
    if name.startswith("utf"):
        return
    counts = _counts(file)
    if counts.characters and not counts.bad:
        raise DataError(f"{path} is UTF-8, not {name}; leave --encoding out")
    if name == "latin-1" and counts.controls:
        raise DataError(
            f"{path} has bytes that are not characters in latin-1; use --encoding windows-1252, its extension"
        )


def _decodes(file: BinaryIO, name: str) -> bool:
    file.seek(0)
    try:
        for _ in codecs.iterdecode(iter(partial(file.read, CHUNK), b""), name):
            pass
    except UnicodeError:
        return False
    return True


def _counts(file: BinaryIO) -> _Counts:
    file.seek(0)
    counts = _Counts()
    for number, line in enumerate(file, start=1):
        if line.isascii():
            continue
        text = line.decode("utf-8", "surrogateescape")
        runs = BAD_BYTES.findall(text)
        bad = "".join(runs)
        counts.line = counts.line or (number if bad else 0)
        counts.characters += sum(character > "\x7f" for character in text) - len(bad)
        counts.bad += len(bad)
        counts.runs += len(runs)
        counts.controls += sum(byte <= "\udc9f" for byte in bad)
    return counts
