"""The page that `icdbench explain --html` writes: a note with its words weighted for a code and others above the threshold.

It looks like the prediction page, has no scripts and loads nothing: its content-security policy admits only its own style.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from icdbench.files import replacing
from icdbench.host import output
from icdbench.inference import explain, predict
from icdbench.presentation import report
from icdbench.serving.answer import evidence_of, percent

OTHERS = 5  # further codes above the threshold on a page


@functools.cache
def templates() -> Environment:
    """The templates of pages that show notes; they escape all text."""
    environment = report.templates()
    environment.filters |= {"printable": output.printable, "percent": percent}
    return environment


def explanations(
    predictor: predict.Predictor, text: str, code: str = "", method: str = "", others: int = OTHERS
) -> list[explain.Explanation]:
    """Explain the code asked for (by default the most probable one) and the likeliest others above the threshold.

    Raises SpecError and DataError as `explain.explain`.
    """
    forward = explain.Pass(predictor, text)
    first = explain.explained(forward, code, method)
    likely = forward.reading(others + 1, "tuned").codes
    more = [each.code for each in likely if each.above and each.code != first.code][:others]
    return [first, *(explain.explained(forward, each, method) for each in more)]


def written(found: explain.Explanation, text: str, fmt: str) -> str:
    """An explanation as a page (`html`) or in a format of `explain.written`."""
    return as_html([found], text, "note") if fmt == "html" else explain.written(found, text, fmt)


def as_html(found: Sequence[explain.Explanation], text: str, name: str) -> str:
    """A page with these explanations of one note, the first of them open."""
    codes = [predict.Code(each.code, each.title, each.probability, each.above) for each in found]
    panels = [evidence_of(each.code, code, each, text, complete=True) for each, code in zip(found, codes, strict=True)]
    weights = [
        [f"{each.weights[word]:+.4f}" for word in explain.telling(each, text, len(panel.strongest))]
        for each, panel in zip(found, panels, strict=True)
    ]
    style = report.asset("report.css") + report.asset("app.css")
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src {report.hash_of(style)}"
    template = templates().get_template("explain.html")
    own_style = Markup(style)  # noqa: S704  our own files
    return template.render(name=name, panels=panels, weights=weights, style=own_style, policy=policy)


def save(path: Path, page: str) -> None:
    """Write a page, readable only by its owner because it holds the note."""
    with replacing(path, private=True) as temporary:
        temporary.write_text(page, encoding="utf-8")
