"""Words that people marked for codes as BRAT's standoff annotation, `note.ann` beside `note.txt` (brat.nlplab.org/standoff.html):

    T1	Evidence 3 11;20 24	abdominal pain
    N1	Reference T1 ICD-10-CM:R10.9	Unspecified abdominal pain

A mark is a text-bound annotation, in several fragments if it has gaps; its code is the one that it refers to. What people
wrote in BRAT may have the code as first word of the annotation's note instead, or as its type. Numbers count characters of
the text with its line ends. Fragments have no line breaks, so a span is cut at its own and joined again when it is read.
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
Spans = Mapping[str, Sequence[Sequence[Span]]]  # of a document: by code, the spans of each mark

TYPE = "Evidence"
MARK = re.compile(r"(T\S+)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t(.*)")
REFERENCE = re.compile(r"N\S+\tReference (T\S+) [^\s:]+:(\S+)(?:\t.*)?")
NOTE = re.compile(r"#\S+\tAnnotatorNotes (T\S+)\t\s*(\S+).*")
BREAK = re.compile(r"\s*\n\s*")


def written(text: str, marks: Spans, titles: Mapping[str, str], system: str) -> str:
    """The content of a text's .ann file."""
    rows = [
        (code, fragments)
        for code, marked in marks.items()
        for mark in marked
        if (fragments := [fragment for span in mark for fragment in _cut(text, span)])
    ]
    lines = []
    for number, (code, cut) in enumerate(rows, start=1):
        places = ";".join(f"{start} {end}" for start, end in cut)
        refers = f"{system or 'code'}:{quote(code)}"
        lines.append(f"T{number}\t{TYPE} {places}\t{_covered(text, cut)}\n")
        lines.append(f"N{number}\tReference T{number} {refers}\t{' '.join(titles.get(code, '').split())}\n")
    return "".join(lines)


def places(folder: Path, name: str) -> list[Path]:
    """The .txt and the .ann file of a document by its id, whatever characters it has."""
    return [folder / f"{quote(name, safe=' ,+=@()')}{suffix}" for suffix in (".txt", ".ann")]


def files(folder: Path) -> dict[str, Path]:
    """The .ann files in a folder and below it, by document id. Raises DataError if two are of one document."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.ann")):
        if (name := composed(unquote(path.stem))) in found:
            raise DataError(f"{found[name]} and {path} are of one document; keep one of them")
        found[name] = path
    return found


def read(path: Path, text: str) -> dict[str, list[list[Span]]]:
    """The marks of an .ann file of this text. Raises DataError that names file and line, for words of another text, too."""
    marked: dict[str, tuple[int, str, list[Span]]] = {}
    codes: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if refers := REFERENCE.fullmatch(line.rstrip("\r")):
            codes[refers[1]] = unquote(refers[2])
        elif note := NOTE.fullmatch(line.rstrip("\r")):
            codes.setdefault(note[1], note[2])
        elif line.startswith("T"):
            name, kind, spans = _mark(line.rstrip("\r"), text, f"{path}, line {number}")
            marked[name] = number, kind, spans
    found: dict[str, list[list[Span]]] = {}
    for name, (number, kind, spans) in marked.items():
        code = codes.get(name, "" if kind == TYPE else unquote(kind))
        if not code:
            raise DataError(f"{path}, line {number}: {name} has no code; give it one as first word of its note in BRAT")
        found.setdefault(composed(code), []).append(spans)
    return found


def _mark(line: str, text: str, where: str) -> tuple[str, str, list[Span]]:
    parts = MARK.fullmatch(line)
    if parts is None:
        raise DataError(f"{where}: {shown(line.partition(chr(9))[0])} is not written as 'T1<tab>TYPE 3 11<tab>words'")
    name, kind, places, covered = parts.groups()
    spans = [(int(start), int(end)) for start, end in (place.split() for place in places.split(";"))]
    if any(start >= end for start, end in spans) or _covered(text, spans) != re.sub(r"\s", " ", covered):
        raise DataError(f"{where}: the words of {name} are not those at {places} of the note; is it of another text?")
    return name, kind, list(_joined(text, spans))


def _covered(text: str, spans: Sequence[Span]) -> str:
    return re.sub(r"\s", " ", " ".join(text[start:end] for start, end in spans))


def _cut(text: str, span: Span) -> list[Span]:
    """The parts of a span between its line breaks."""
    start, end = span
    edges = [start, *(edge for found in BREAK.finditer(text, start, end) for edge in found.span()), end]
    return [(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True) if first < last]


def _joined(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """The spans; those with nothing but a line break between them as one."""
    begun, *others = spans
    for start, end in others:
        if BREAK.fullmatch(text, begun[1], start):
            begun = begun[0], end
        else:
            yield begun
            begun = start, end
    yield begun
