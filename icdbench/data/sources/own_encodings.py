"""How the text of a user's own file is encoded: UTF-8, what a byte-order mark says, or what the user says.

The whole file is looked at before a row is read. Nothing is guessed: another encoding than UTF-8 is refused, with the
encoding that is likely and what to type.
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
HEAD = 4096  # bytes in which UTF-16 without a byte-order mark is seen
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UTF8 = "utf-8-sig"
HALVES = re.compile("[\udc80-\udcff]+")  # which stand for bytes that are no text


@dataclass(frozen=True)
class Encoding:
    """A codec's name, its way with bytes that it cannot read, and what was recognised."""

    name: str
    errors: str = "strict"
    about: tuple[str, ...] = ()


@dataclass
class _Counts:
    """What a file has when it is read as UTF-8: characters beyond ASCII, and bytes that are no text, alone or in runs."""

    line: int = 0  # the first with such bytes
    characters: int = 0
    bad: int = 0
    runs: int = 0
    controls: int = 0  # bytes of 0x80 to 0x9F, which windows-1252 has letters for and latin-1 has not


def decoded(name: str, content: bytes, chosen: str) -> str:
    """The text of `content`, all of which must be in one encoding. Raises DataError that begins with `name`."""
    found = encoding_of(name, io.BytesIO(content), chosen)
    text = content.decode(found.name, found.errors)  # line ends as they are: characters are counted
    if found.errors != "strict":
        line = next(number for number, part in enumerate(text.split("\n"), start=1) if HALVES.search(part))
        raise DataError(f"{name}, line {line} is not UTF-8, though other lines are; is the file damaged?")
    return text


def encoding_of(path: Path | str, file: BinaryIO, chosen: str) -> Encoding:
    """The file's encoding; `chosen` is data.encoding. The file is read from its beginning, and left there.

    Raises DataError if it is not UTF-8 (and `chosen` does not say what else it is), or not what `chosen` says.
    """
    head = file.read(HEAD)
    marked = next((name for mark, name in MARKS if head.startswith(mark)), "")
    name = marked or UTF8 if chosen in {AUTO, "utf-8", "utf-8-sig"} else chosen
    try:
        if name == UTF8:
            return _utf8(path, file, head)
        _check(path, file, name, marked)
    finally:
        file.seek(0)
    return Encoding(name, about=(name,))


def _utf8(path: Path | str, file: BinaryIO, head: bytes) -> Encoding:
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) // 4 and min(even, odd) < len(head) // 16:
        name = "utf-16-le" if odd > even else "utf-16-be"
        raise DataError(f"{path}, line 1 is not UTF-8: the file is probably UTF-16; read it with --encoding {name}")
    if _decodes(file, UTF8):
        return Encoding(UTF8)
    counts = _counts(file)
    if counts.characters > counts.bad:  # UTF-8 with some damaged rows, which are told one by one
        return Encoding(UTF8, "surrogateescape")
    raise DataError(f"{path}, line {counts.line} is not UTF-8; {_advice(counts)}")


def _advice(counts: _Counts) -> str:
    if counts.bad > 2 * counts.runs:  # letters beside each other: not those of Latin script
        return "say its encoding, such as --encoding windows-1251 (Cyrillic), gb18030 or shift_jis"
    return "the file is probably windows-1252: read it with --encoding windows-1252 (windows-1250 if it is from Central Europe)"


def _check(path: Path | str, file: BinaryIO, name: str, marked: str) -> None:
    """Raises DataError if the file cannot be what the user says, or is UTF-8 after all."""
    if not _decodes(file, name):
        raise DataError(
            f"{path} is not {name}{f', but {marked}' if marked else ''}; say another, such as cp850 (DOS) or mac-roman, or leave --encoding out"
        )
    if name.startswith("utf"):
        return
    counts = _counts(file)
    if counts.characters and not counts.bad:
        raise DataError(f"{path} is UTF-8, not {name}; leave --encoding out")
    if name == "latin-1" and counts.controls:
        raise DataError(
            f"{path} has bytes that stand for nothing in latin-1; say --encoding windows-1252, its extension"
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
        runs = HALVES.findall(text)
        bad = "".join(runs)
        counts.line = counts.line or (number if bad else 0)
        counts.characters += sum(character > "\x7f" for character in text) - len(bad)
        counts.bad += len(bad)
        counts.runs += len(runs)
        counts.controls += sum(half <= "\udc9f" for half in bad)
    return counts
