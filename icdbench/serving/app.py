"""The prediction page: paste a note, see its codes ranked, choose a code and see which words support it.

`page(predictors)` makes the Starlette application; `web.serving` serves it.

The server keeps nothing: no note, no answer, no session. The page holds the note in its form and sends it again with
every choice, in the body of a POST request and never in an address. One thread computes one answer at a time; other
requests wait. Requests are not logged, and an error is reported only by its type and its place in the code, because a
message or traceback could contain the note.

The HTML is rendered here by Jinja2, which escapes all text. htmx only avoids reloading the page: without scripts the
same forms work.
"""

from __future__ import annotations

import itertools
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from icdbench.inference import explain, predict
from icdbench.presentation import report
from icdbench.serving.answer import Answer, Model, answer
from icdbench.serving.explanation import templates
from icdbench.serving.form import NoteForm, Refused, read_form
from icdbench.settings import DataError, SpecError
from icdbench.synthetic import documents as synthetic

ASSETS = {
    "report.css": "text/css",
    "app.css": "text/css",
    "htmx.min.js": "text/javascript",
    "app.js": "text/javascript",
}
METHODS = {
    "attention": "what the model attends to",
    "label-attention": "what it attends to for this code",
    "self-attention": "what it attends to for every code",
    "pooling": "positions that max-pooling selects",
    "gradient": "how sensitive the probability is to each word",
    "integrated-gradients": "what each word contributes; slower",
    "occlusion": "how the probability drops without the word; slower",
    "coefficients": "what each word contributes",
    "random": "random weights, as a baseline",
}

log = logging.getLogger("icdbench")


def page(predictors: Sequence[predict.Predictor], *, alone: bool = True) -> Starlette:
    """Make the application for these models; `alone` says that only this machine can reach it.

    Raises SpecError if a run is named twice.
    """
    site = Site(predictors, alone=alone)
    return Starlette(
        routes=[
            Route("/", site.get, methods=["GET"]),
            Route("/", site.post, methods=["POST"]),
            Route("/{name}", _asset, methods=["GET"]),
        ]
    )


class Site:
    """The models and the thread that computes with them."""

    def __init__(self, predictors: Sequence[predict.Predictor], *, alone: bool) -> None:
        systems = [predictor.bundle.system for predictor in predictors]
        runs = [predictor.bundle.contents.run for predictor in predictors]
        labels = systems if len(set(systems)) == len(systems) else runs
        if len(set(labels)) < len(labels):
            raise SpecError(f"run '{next(run for run in runs if runs.count(run) > 1)}' is named twice")
        self.models = [
            Model(label, each, tuple(explain.methods(explain.Pass(each, "a"))))
            for label, each in zip(labels, predictors, strict=True)
        ]
        self.alone = alone
        self.one_at_a_time = CapacityLimiter(1)

    async def get(self, request: Request) -> Response:
        """Show the empty page or, for `?example=N`, the answer to a made-up note."""
        number = request.query_params.get("example", "")
        form = NoteForm(shown=tuple(range(len(self.models)))[:2])
        if not number:
            return self._render(form)
        if not (number.isascii() and number.isdecimal()):
            return self._render(form, "no such example", 404)
        note = synthetic.document_with_evidence(_test_document(int(number[-9:])))[0].text
        return await self._answer_page(NoteForm(note, shown=form.shown), int(number[-9:]))

    async def post(self, request: Request) -> Response:
        """Show the answer to the note in the form."""
        try:
            form = await read_form(request, len(self.models))
        except Refused as refusal:
            return self._render(NoteForm(), str(refusal), refusal.status, note_lost=True)
        return await self._answer_page(form)

    def answer(self, form: NoteForm) -> Answer:
        """Compute the answer to a form. Raises DataError and SpecError as `answer.answer`."""
        return answer([self.models[position] for position in form.shown], form)

    async def _answer_page(self, form: NoteForm, example: int | None = None) -> Response:
        try:
            found = await to_thread.run_sync(self.answer, form, limiter=self.one_at_a_time)
            return self._render(form, answer=found, example=example)
        except (SpecError, DataError) as error:
            return self._render(form, str(error), 400)
        except Exception as error:  # noqa: BLE001  its message and its traceback may contain the note
            where = f"{type(error).__name__} at {_file_and_line(error)}"
            log.error("a request failed: %s", where)  # noqa: TRY400
            return self._render(form, f"this note could not be processed ({where})", 500)

    def _render(
        self,
        form: NoteForm,
        problem: str = "",
        status: int = 200,
        *,
        answer: Answer | None = None,
        example: int | None = None,
        note_lost: bool = False,
    ) -> Response:
        shown = [self.models[position] for position in form.shown]
        html = (
            templates()
            .get_template("app.html")
            .render(
                models=self.models,
                shown=shown,
                form=form,
                problem=problem[:1].upper() + problem[1:],
                answer=answer,
                methods=dict.fromkeys(itertools.chain(*(model.methods for model in shown))),
                about=METHODS,
                alone=self.alone,
                next_example=0 if example is None else example + 1,
            )
        )
        # A note that could not be read here is still in the browser: replace only the message.
        headers = {"HX-Retarget": "#message", "HX-Reselect": "#message", "HX-Reswap": "outerHTML"}
        return HTMLResponse(html, status, headers if note_lost else None)


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        return Response("There is no such page.\n", 404, media_type="text/plain")
    return Response(report.asset(name), media_type=ASSETS[name])


def _test_document(number: int) -> int:
    """Return the index of a synthetic test document; numbers past the last start again at the first."""
    return synthetic.SPLIT_OF.index("test") + number % synthetic.SIZES["test"]


def _file_and_line(error: Exception) -> str:
    """Return where an error was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
