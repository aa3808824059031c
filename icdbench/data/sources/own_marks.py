"""Words that people marked for codes, in BRAT's standoff format (brat.nlplab.org/standoff.html), `note.ann` beside `note.txt`:

    T1	Evidence 3 11;20 24	abdominal pain
    N1	Reference T1 ICD-10-CM:R10.9	Unspecified abdominal pain

A mark is a text-bound annotation, in several fragments if it has gaps, and its code is the one that it refers to. Files that
people made in BRAT may instead have the code as first word of the annotation's note, or as its type. Numbers count
characters of the text, line ends included. As fragments have no line breaks, `written` cuts a span at its line breaks, and
`read` joins the parts again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from icdbench.data.source import read_text
from icdbench.settings import DataError, shown
from icdbench.types import composed

Span = tuple[int, int]
Spans = Mapping[str, Sequence[Sequence[Span]]]  # the marks of a document by code, and the spans of each

TYPE = "Evidence"
MARK = re.compile(r"(T\S+)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t(.*)")
REFERENCE = re.compile(r"N\S+\tReference (T\S+) [^\s:]+:(\S+)(?:\t.*)?")
NOTE = re.compile(r"#\S+\tAnnotatorNotes (T\S+)\t\s*(\S+).*")
BREAK = re.compile(r"\s*\n\s*")


def written(text: str, marks: Spans, titles: Mapping[str, str], system: str) -> str:
    """The content of the .ann file for a text."""
    rows = [
        (code, fragments)
        for code, code_marks in marks.items()
        for mark in code_marks
        if (fragments := [fragment for span in mark for fragment in _cut_at_breaks(text, span)])
    ]
    lines = []
    for number, (code, fragments) in enumerate(rows, start=1):
        positions = ";".join(f"{start} {end}" for start, end in fragments)
        reference = f"{system or 'code'}:{quote(code)}"
        lines.append(f"T{number}\t{TYPE} {positions}\t{_words_at(text, fragments)}\n")
        lines.append(f"N{number}\tReference T{number} {reference}\t{' '.join(titles.get(code, '').split())}\n")
    return "".join(lines)


def paths(folder: Path, name: str) -> list[Path]:
    """The .txt and the .ann file of a document; characters of its id that no file name may have are quoted."""
    return [folder / f"{quote(name, safe=' ,+=@()')}{suffix}" for suffix in (".txt", ".ann")]


def files(folder: Path) -> dict[str, Path]:
    """The .ann files in a folder and below it, by document id. Raises DataError if a document has two."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.ann")):
        if (name := composed(unquote(path.stem))) in found:
            raise DataError(f"{found[name]} and {path} belong to the same document; keep one of them")
        found[name] = path
    return found


def read(path: Path, text: str) -> dict[str, list[list[Span]]]:
    """The marks in an .ann file by code. Raises DataError, which names file and line, also for an .ann file of another text."""
    marks: dict[str, tuple[int, str, list[Span]]] = {}
    codes: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if reference := REFERENCE.fullmatch(line.rstrip("\r")):
            codes[reference[1]] = unquote(reference[2])
        elif note := NOTE.fullmatch(line.rstrip("\r")):
            codes.setdefault(note[1], note[2])
        elif line.startswith("T"):
            name, kind, spans = _mark(line.rstrip("\r"), text, f"{path}, line {number}")
            marks[name] = number, kind, spans
    found: dict[str, list[list[Span]]] = {}
    for name, (number, kind, spans) in marks.items():
        code = codes.get(name, "" if kind == TYPE else unquote(kind))
        if not code:
            raise DataError(f"{path}, line {number}: {name} has no code; give it one as first word of its note in BRAT")
        found.setdefault(composed(code), []).append(spans)
    return found


def _mark(line: str, text: str, where: str) -> tuple[str, str, list[Span]]:
    parts = MARK.fullmatch(line)
    if parts is None:
        raise DataError(f"{where}: {shown(line.partition(chr(9))[0])} is not written as 'T1<tab>TYPE 3 11<tab>words'")
    name, kind, positions, words = parts.groups()
    spans = [(int(start), int(end)) for start, end in (each.split() for each in positions.split(";"))]
    if any(start >= end for start, end in spans) or _words_at(text, spans) != re.sub(r"\s", " ", words):
        raise DataError(
            f"{where}: the words of {name} are not those at {positions} of the note; is it of another text?"
        )
    return name, kind, list(_join_at_breaks(text, spans))


def _words_at(text: str, spans: Sequence[Span]) -> str:
    return re.sub(r"\s", " ", " ".join(text[start:end] for start, end in spans))


def _cut_at_breaks(text: str, span: Span) -> list[Span]:
    """The parts of a span between line breaks."""
    start, end = span
    edges = [start, *(edge for found in BREAK.finditer(text, start, end) for edge in found.span()), end]
    return [(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True) if first < last]


def _join_at_breaks(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """The spans, with those joined that have only a line break between them."""
    last, *others = spans
    for start, end in others:
        if BREAK.fullmatch(text, last[1], start):
            last = last[0], end
        else:
            yield last
            last = start, end
    yield last
