"""The page that `icdbench explain --html` writes: a note with its words weighted for a code, and for others above the threshold.

It has the look of the prediction page, loads nothing and runs nothing: its policy admits its style by hash alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from icdbench.files import replacing
from icdbench.host import output
from icdbench.inference import explain, predict
from icdbench.presentation import report
from icdbench.serving.answer import evidence_of, percent

OTHERS = 5  # codes above the threshold that a page shows beside the one asked for


def templates() -> Environment:
    """The templates of pages that show notes; all text is escaped."""
    environment = Environment(
        loader=PackageLoader("icdbench.presentation", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": output.printable, "percent": percent}
    return environment


def explanations(
    predictor: predict.Predictor, text: str, code: str = "", method: str = "", others: int = OTHERS
) -> list[explain.Explanation]:
    """The code asked for, else the most probable one, and the likeliest others above the threshold.

    Raises SpecError and DataError as `explain.explain`.
    """
    forward = explain.Pass(predictor, text)
    first = explain.explained(forward, code, method)
    likely = forward.reading(others + 1, "tuned").codes
    more = [each.code for each in likely if each.above and each.code != first.code][:others]
    return [first, *(explain.explained(forward, each, method) for each in more)]


def written(found: explain.Explanation, text: str, fmt: str) -> str:
    """An explanation as a page (`html`), or as `explain.written` gives it."""
    return as_html([found], text, "note") if fmt == "html" else explain.written(found, text, fmt)


def as_html(found: Sequence[explain.Explanation], text: str, name: str) -> str:
    """The page of these explanations of one note, the first of them open."""
    codes = [predict.Code(each.code, each.title, each.probability, each.above) for each in found]
    panels = [evidence_of(each.code, code, each, text, complete=True) for each, code in zip(found, codes, strict=True)]
    weights = [
        [f"{each.weights[place]:+.4f}" for place in explain.telling(each, text, len(panel.strongest))]
        for each, panel in zip(found, panels, strict=True)
    ]
    style = report.asset("report.css") + report.asset("app.css")
    return (
        templates()
        .get_template("explain.html")
        .render(
            name=name,
            panels=panels,
            weights=weights,
            style=Markup(style),  # noqa: S704  our own files
            policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src {report.hash_of(style)}",
        )
    )


def save(path: Path, page: str) -> None:
    """The page holds the note, so it is readable by its owner alone."""
    with replacing(path, private=True) as temporary:
        temporary.write_text(page, encoding="utf-8")
