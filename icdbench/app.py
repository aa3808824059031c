"""A page to try trained models: paste a note, see its codes ranked, choose one and see which words speak for it.

The server keeps nothing: no note, no answer, no session. A page holds its note in its own form and sends it again with
every choice, in a request's body (never in an address), and the answer is all that is made of it. One thread computes,
one request after the other; the others wait. Requests and errors are not logged: an error is reported by its type and
place in the code alone.

Pages are made here (Jinja2, all text escaped); htmx, which stands beside them, only saves reloading them: without scripts
the same forms do the same.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

import numpy as np
from anyio import CapacityLimiter, to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from icdbench import explain
from icdbench.datasets import synthetic
from icdbench.predict import SHOWN, THRESHOLDS, Code, Predictor, Reading
from icdbench.spec import DataError, SpecError, nearest

LARGEST = 2_000_000  # bytes of a note
LARGEST_BODY = 3 * LARGEST + 10_000  # a form writes a byte as up to three
STRONGEST = 8  # words that are listed beside a note
LEVELS = 9  # shades of a word's weight
ASSETS = {
    "report.css": "text/css",
    "app.css": "text/css",
    "htmx.min.js": "text/javascript",
    "app.js": "text/javascript",
}

METHODS = {
    "attention": "where the model looked",
    "label-attention": "where it looked for this code",
    "self-attention": "where it looked for any code",
    "pooling": "which places decided",
    "gradient": "which words the probability reacts to",
    "integrated-gradients": "what each word adds; takes longer",
    "occlusion": "what is lost without the word; takes longer",
    "coefficients": "what each word adds",
    "random": "drawn, to compare with",
}

log = logging.getLogger("icdbench")


class Refused(Exception):  # noqa: N818  an answer, not a fault
    """What was sent cannot be read, so there is no note to show again."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Model(NamedTuple):
    """A loaded model, its name on the page, and how it can be explained, its first choice first."""

    label: str
    predictor: Predictor
    methods: tuple[str, ...]

    @property
    def name(self) -> str:
        """With the data that it was trained on."""
        return f"{self.label} ({self.predictor.bundle.contents.dataset})"


@dataclass(frozen=True)
class Asked:
    """What a form asks for. Without a code the most probable is explained; `chosen` gives way if no model has it."""

    note: str = ""
    code: str = ""
    chosen: str = ""
    method: str = ""
    threshold: str = "tuned"
    shown: tuple[int, ...] = (0,)


class Row(NamedTuple):
    """A code, and what each model shown says of it; None where it has no such code."""

    code: str
    title: str
    cells: tuple[Code | None, ...]


class Piece(NamedTuple):
    """A piece of the note with its shade, -LEVELS to LEVELS, and its place among the strongest words."""

    text: str
    shade: int
    place: int | None


class Evidence(NamedTuple):
    """The note as one model weighs it for the chosen code, or why it cannot."""

    label: str
    code: Code | None
    method: str
    shares: str
    signed: bool
    strongest: tuple[str, ...]
    pieces: tuple[Piece, ...]
    unread: str
    problem: str


class Answer(NamedTuple):
    """All that is shown of a note."""

    code: str
    title: str
    facts: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    evidence: tuple[Evidence, ...]


def page(predictors: Sequence[Predictor], *, alone: bool = True) -> Starlette:
    """The page over these models; `alone`: nobody beyond this machine reaches it."""
    site = Site(predictors, alone=alone)
    return Starlette(
        routes=[
            Route("/", site.ask, methods=["GET"]),
            Route("/", site.tell, methods=["POST"]),
            Route("/{name}", _asset, methods=["GET"]),
        ]
    )


class Site:
    def __init__(self, predictors: Sequence[Predictor], *, alone: bool) -> None:
        systems = [predictor.bundle.system for predictor in predictors]
        runs = [predictor.bundle.contents.run for predictor in predictors]
        labels = systems if len(set(systems)) == len(systems) else runs
        if len(set(labels)) < len(labels):
            raise SpecError(f"run '{next(run for run in runs if runs.count(run) > 1)}' is named twice")
        self.models = [
            Model(label, each, tuple(explain.methods(each, each.encode(["a"]))))
            for label, each in zip(labels, predictors, strict=True)
        ]
        self.alone = alone
        self.one_at_a_time = CapacityLimiter(1)

    async def ask(self, request: Request) -> Response:
        """The empty page, or one with a made-up note."""
        number = request.query_params.get("example", "")
        asked = Asked(shown=tuple(range(len(self.models)))[:2])
        if not number:
            return self._page(asked)
        if not (number.isascii() and number.isdecimal() and len(number) < 9):
            return self._page(asked, "no such example", 404)
        note = synthetic.made(_example(int(number)))[0].text
        return await self._answered(Asked(note, shown=asked.shown), int(number))

    async def tell(self, request: Request) -> Response:
        """The codes and the evidence of the note in the form."""
        try:
            asked = await self._asked(request)
        except Refused as refusal:
            return self._page(Asked(), str(refusal), refusal.status, lost=True)
        return await self._answered(asked)

    async def _answered(self, asked: Asked, example: int | None = None) -> Response:
        try:
            answer = await to_thread.run_sync(self.answer, asked, limiter=self.one_at_a_time)
            return self._page(asked, answer=answer, example=example)
        except (SpecError, DataError) as error:
            return self._page(asked, str(error), 400)
        except Exception as error:  # noqa: BLE001  its message and its traceback may hold the note
            place = _place(error)
            log.error("a request failed: %s at %s", type(error).__name__, place)  # noqa: TRY400
            return self._page(asked, f"this note could not be read ({type(error).__name__} at {place})", 500)

    async def _asked(self, request: Request) -> Asked:
        if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
            raise Refused(415, "this page takes its own form alone")
        body = await _body(request)
        try:
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=20))
        except UnicodeDecodeError:
            raise Refused(400, "the note is not UTF-8; convert it") from None
        except ValueError:
            raise Refused(400, "this page takes its own form alone") from None
        note = fields.get("note", "").replace("\r\n", "\n")
        if len(note.encode()) > LARGEST:
            raise Refused(413, _too_large())
        pressed = fields.get("code")
        known = {str(place): place for place in range(len(self.models))}
        shown = dict.fromkeys(known[name] for key in ("model", "beside") if (name := fields.get(key, "")) in known)
        return Asked(
            note,
            pressed or fields.get("typed", "").strip(),
            fields.get("chosen", "") if pressed is None else "",
            fields.get("method", ""),
            fields.get("threshold", "tuned"),
            tuple(shown) or (0,),
        )

    def answer(self, asked: Asked) -> Answer:
        """Raises DataError for a note without words, SpecError for what no form of this page asks."""
        models = [self.models[place] for place in asked.shown]
        if not asked.note.strip():
            raise DataError("the note is empty; paste one, or try an example")
        if asked.threshold not in THRESHOLDS:
            raise SpecError(f"no threshold '{asked.threshold}'{nearest(asked.threshold, THRESHOLDS)}")
        (*readings,) = (_reading(model.predictor, asked) for model in models)
        groups = _groups(models, readings, asked.threshold)
        code = _found(asked.code, models) or _found(asked.chosen, models, strict=True) or groups[0][1][0].code
        titles = (dict(zip(m.predictor.codes, m.predictor.bundle.contents.titles, strict=True)) for m in models)
        title = next((each[code] for each in titles if code in each), "")
        evidence = tuple(map(functools.partial(_evidence, asked, code), models, readings))
        return Answer(code, title, tuple(map(_facts, models, readings)), groups, evidence)

    def _page(
        self,
        asked: Asked,
        problem: str = "",
        status: int = 200,
        *,
        answer: Answer | None = None,
        example: int | None = None,
        lost: bool = False,
    ) -> Response:
        shown = [self.models[place] for place in asked.shown]
        html = _template().render(
            models=self.models,
            shown=shown,
            asked=asked,
            problem=problem[:1].upper() + problem[1:],
            answer=answer,
            methods=dict.fromkeys(itertools.chain(*(model.methods for model in shown))),
            about=METHODS,
            alone=self.alone,
            example=0 if example is None else example + 1,
        )
        # The browser has still got what could not be read here, so only the message is taken in.
        partly = {"HX-Retarget": "#message", "HX-Reselect": "#message", "HX-Reswap": "outerHTML"} if lost else None
        return HTMLResponse(html, status, partly)


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        return Response("There is no such page.\n", 404, media_type="text/plain")
    return Response(_bytes(name), media_type=ASSETS[name])


@functools.cache
def _bytes(name: str) -> bytes:
    return (files("icdbench") / "page" / name).read_bytes()


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("icdbench", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": _printable, "percent": _percent}
    return environment.get_template("app.html")


async def _body(request: Request) -> bytes:
    """What was sent, in memory. More than fits is read and dropped: a browser shows no answer before it has sent all."""
    kept, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= LARGEST_BODY:
            kept += chunk
    if size > LARGEST_BODY:
        raise Refused(413, _too_large())
    return bytes(kept)


def _too_large() -> str:
    return f"the note is larger than {LARGEST / 1e6:.0f} MB; paste a part of it, or use 'icdbench predict'"


def _example(number: int) -> int:
    """Synthetic documents of the test split, one after the other."""
    return synthetic.SPLIT_OF.index("test") + number % synthetic.SIZES["test"]


def _place(error: Exception) -> str:
    """File and line where an error arose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


# --- What is shown of a note ---------------------------------------------------------------------------------------------


def _reading(predictor: Predictor, asked: Asked) -> Reading:
    (reading,) = predictor.stream([asked.note], len(predictor.codes), asked.threshold)
    return reading


def _groups(
    models: Sequence[Model], readings: Sequence[Reading], threshold: str
) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    """Codes by which models put them above their threshold, those of most models first; each group by probability.

    Shown are a model's codes above the threshold, and at least SHOWN.
    """
    said = [{code.code: code for code in reading.codes} for reading in readings]
    listed = dict.fromkeys(
        code.code for reading in readings for rank, code in enumerate(reading.codes) if rank < SHOWN or code.above
    )
    groups: dict[tuple[bool, ...], list[Row]] = {}
    for name in listed:
        cells = tuple(each.get(name) for each in said)
        title = next(cell.title for cell in cells if cell)
        above = tuple(bool(cell and cell.above) for cell in cells)
        groups.setdefault(above, []).append(Row(name, title, cells))
    order = sorted(groups, key=lambda above: (-sum(above), [not each for each in above]))
    return tuple((_heading(models, above, threshold), tuple(sorted(groups[above], key=_rank))) for above in order)


def _rank(row: Row) -> float:
    """By the mean over the models that have the code."""
    return -float(np.mean([cell.probability for cell in row.cells if cell]))


def _heading(models: Sequence[Model], above: Sequence[bool], threshold: str) -> str:
    if len(models) == 1:
        at = _percent(models[0].predictor.bundle.contents.threshold[threshold])
        return f"Above the threshold of {at}" if above[0] else f"Below the threshold of {at}"
    if all(above) or not any(above):
        return "Above both thresholds" if all(above) else "Below both thresholds"
    return f"Above the threshold of {models[above.index(True)].label} alone"


def _found(code: str, models: Sequence[Model], *, strict: bool = False) -> str:
    """The code as the models write it; if they do not, as it was typed, or nothing if `strict`."""
    known = (own for model in models if (own := model.predictor.own(code)))
    return next(known, "" if strict else code)


def _facts(model: Model, reading: Reading) -> str:
    cut = "" if reading.read == reading.tokens else f", the first {reading.read:,} of them read"
    known = f"{reading.unknown:,} unknown to {model.label}" if reading.unknown else f"all known to {model.label}"
    return f"{reading.tokens:,} words{cut}, {known}"


def _evidence(asked: Asked, code: str, model: Model, reading: Reading) -> Evidence:
    said = next((each for each in reading.codes if each.code == code), None)
    try:
        found = explain.explain(model.predictor, asked.note, code, asked.method)
    except SpecError as error:  # the other model may have the code, or the method
        problem, _, _ = str(error).partition(" (known: ")
        return Evidence(model.label, said, asked.method, "", False, (), (), "", problem)
    parts = [(text, round(LEVELS * strength)) for text, strength in explain.pieces(found, asked.note)]
    weighty = (place for place in 2 * np.argsort(-np.abs(found.weights), kind="stable") + 1 if parts[place][1])
    strongest = {place: rank for rank, place in enumerate(itertools.islice(weighty, STRONGEST))}
    *pieces, rest = (Piece(text, shade, strongest.get(place)) for place, (text, shade) in enumerate(parts))
    complete = reading.read == reading.tokens
    return Evidence(
        model.label,
        said,
        found.method,
        ", ".join(f"{name} {value:.2f}" for name, value in found.shares.items()),
        bool((found.weights < 0).any()),
        tuple(parts[place][0] for place in strongest),
        (*pieces, rest) if complete else tuple(pieces),
        "" if complete else rest.text,
        "",
    )


def _printable(text: str) -> str:
    """Text without the characters that reorder or hide what stands around them."""
    return "".join(char if char.isprintable() or char in "\n\t" else " " if char.isspace() else "�" for char in text)


def _percent(probability: float) -> str:
    """99.6 % is not certain, and 0.4 % not nothing."""
    return "<1 %" if probability < 0.01 else ">99 %" if probability > 0.99 else f"{100 * probability:.0f} %"
