"""The report: one HTML page of all stored runs, which opens from disk and needs no network.

Every number on it is a button that names the runs behind it and the command that makes them. Each set of comparable runs is
a section. Equal records give equal bytes. Jinja2 escapes all text; the page's content-security policy admits its own scripts
and styles by their hashes and nothing else. Observable Plot on d3 (ISC licence, inlined) draws the charts in the browser, so
that they suit the width and colours of the screen.

The main tables and the commands are HTML, for readers without scripts. All else is data that the scripts draw; the data and
the two libraries lie in the page compressed (gzip, base64), which makes it a quarter as large.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from icdbench.evaluation import measure
from icdbench.files import replacing
from icdbench.host import output
from icdbench.presentation import report_analyses, report_codes, report_tables
from icdbench.presentation.layouts import columns_for, side_by_side
from icdbench.presentation.notes import block_names, data_name
from icdbench.presentation.report_codes import NO_IDS, RawData
from icdbench.presentation.report_data import history_keys, section_data, table_data
from icdbench.presentation.report_tables import ReportedCell, ReportedSystem, ReportedTable, reported_system
from icdbench.records import RunRecord, comparable, store
from icdbench.settings import SpecError
from icdbench.types import SPLITS

if TYPE_CHECKING:  # it imports torch
    from icdbench.records import provenance

log = logging.getLogger("icdbench")

LIBRARIES = ("d3.min.js", "plot.umd.min.js")
SCRIPTS = ("report_tables.js", "report_codes.js", "report_charts.js", "report.js")
# What Plot 0.6.17 puts into every drawing of className "plot"; the page's policy must name it.
PLOT_STYLE = (
    ":where(.plot) {\n  --plot-background: white;\n  display: block;\n  height: auto;\n  height: intrinsic;\n"
    "  max-width: 100%;\n}\n:where(.plot text),\n:where(.plot tspan) {\n  white-space: pre;\n}"
)


class Section(NamedTuple):
    """What the page shows of one set of comparable runs. `data` is for its script; `lacking` says why ids that were asked for are missing."""

    id: str
    name: str
    facts: Sequence[str]
    notes: Sequence[str]
    highlights: Sequence[tuple[str, ReportedCell, str]]
    commands: Sequence[str]
    compared: Sequence[ReportedTable]
    curves: Sequence[tuple[str, str]]
    buckets: Sequence[ReportedTable]
    analyses: Sequence[ReportedTable]
    about_analyses: Sequence[str]
    times: ReportedTable
    systems: Sequence[ReportedSystem]
    lacking: str
    data: Mapping[str, Any]

    @property
    def tested(self) -> bool:
        """Whether any difference was tested."""
        return any(pair["tests"] for pair in self.data["pairs"])


def load(results: Iterable[Path]) -> tuple[list[RunRecord], list[store.Begun]]:
    """The finished runs of several results folders, by id, and the unfinished ones. Raises SpecError if one is no folder."""
    folders = list(results)
    begun: dict[str, store.Begun] = {}
    for folder in folders:
        if folder != Path("results") and not folder.is_dir():
            raise SpecError(f"--results '{folder}' is no folder")
        begun |= {run.id: run for run in store.begun(folder)}
    finished = measure.with_ceilings(store.load_records(*folders), folders)
    return finished, [begun[name] for name in sorted(begun.keys() - {record.id for record in finished})]


def save(out: Path, results: Sequence[Path], root: Path | None = None, *, document_ids: bool = False) -> None:
    """Write the page of all stored runs. Raises SpecError if there are none, if `out` cannot be a file, and as `page`.

    `root` is the folder of raw data, which has the ids of documents and titles of codes.
    """
    if out.is_dir():
        raise SpecError(f"--out '{out}' is a folder; name a file in it, such as '{out / 'report.html'}'")
    if not out.parent.is_dir():
        raise SpecError(f"--out '{out}': there is no folder '{out.parent}'")
    records, begun = load(results)
    if not records:
        places = ", ".join(f"'{folder}'" for folder in results)
        some = f" ({len(begun)} begun)" if begun else ""
        raise SpecError(
            f"no finished runs in {places}{some}; 'icdbench run' makes some, --results names another folder"
        )
    with replacing(out) as temporary:
        temporary.write_text(page(records, begun, results, raw=RawData(root, document_ids)), encoding="utf-8")


def page(
    records: Sequence[RunRecord],
    begun: Sequence[store.Begun] = (),
    results: Sequence[Path] = (),
    version: str = "",
    raw: RawData = NO_IDS,
) -> str:
    """The report as HTML. Differences are tested if the predictions are below `results` and the test split is not too large.

    With a `version` the page asks its server for a later version and updates itself. Raises SpecError if document ids are
    asked for and the raw data of no run are at hand.
    """
    found = comparable.blocks(records)
    named = zip(found, block_names(found), strict=True)
    sections = [_section(block, results, name, records, raw) for block, name in named]
    lacking = [f"no document ids of {section.name}: {section.lacking}" for section in sections if section.lacking]
    if sections and len(lacking) == len(sections):
        raise SpecError(f"--document-ids: {lacking[0]}")
    for line in lacking:
        log.warning("%s", line)
    style = asset("report.css")
    libraries, scripts = ([asset(name) for name in names] for names in (LIBRARIES, SCRIPTS))
    allowed = {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    allowed |= {
        "style-src": f"{hash_of(style)} {hash_of(PLOT_STYLE)}",
        "script-src": " ".join(map(hash_of, (*libraries, *scripts))),
    }
    allowed |= {"connect-src": "'self'"} if version else {}
    loader = PackageLoader("icdbench.presentation", "page")
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        sections=sections,
        begun=begun,
        version=version,
        policy="; ".join(f"{name} {sources}" for name, sources in allowed.items()),
        style=Markup(style),  # noqa: S704  our own files, here and below
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        libraries=list(map(_packed, libraries)),
        licence=Markup(asset("LICENSE")),  # noqa: S704
        data=_packed(json.dumps({section.id: section.data for section in sections}, separators=(",", ":"))),
    )


def _shown(shown: object) -> object:
    """Remove characters that reorder or hide the text around them."""
    return output.printable(shown) if type(shown) is str else shown


def asset(name: str) -> str:
    """The text of a file of page/."""
    return (files("icdbench.presentation") / "page" / name).read_text(encoding="utf-8")


def _packed(text: str) -> str:
    """A text as the page's script unpacks it: compressed, in letters that need no escapes."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def hash_of(text: str) -> str:
    """How a content-security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def commands(runs: Iterable[RunRecord]) -> list[str]:
    """The commands that make these runs: one for all systems that share seeds and changed settings."""
    runs = list(runs)
    scored = [_score_command(run, run.scored) for run in runs if run.scored]
    seeds: dict[tuple[str, tuple[str, ...], str], set[int]] = {}
    for run in (each for each in runs if not each.scored):
        changed = tuple(f"{key}={_typed(value)}" for key, value in sorted(run.changed.items()))
        seeds.setdefault((run.spec.dataset, changed, run.spec.system), set()).add(run.spec.seed)
    systems: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for (dataset, changed, system), numbers in seeds.items():
        listed = ",".join(map(str, sorted(numbers))) + "," * (len(numbers) == 1)  # 7 alone would be a count
        systems.setdefault((dataset, changed, listed), []).append(system)
    return scored + [
        shlex.join(
            ["icdbench", "run", "--models", ",".join(names), "--dataset", dataset, "--seeds", listed]
            + [word for setting in changed for word in ("--set", setting)]
        )
        for (dataset, changed, listed), names in systems.items()
    ]


def _score_command(run: RunRecord, source: provenance.ScoredFile) -> str:
    if source.kind == "runs":
        first, *others = source.file.split()
        withs = [word for other in others for word in ("--with", other)]
        return shlex.join(["icdbench", "blend", first, *withs, "--name", run.spec.system])
    words = ["icdbench", "score", source.file, "--dataset", run.spec.dataset, "--name", run.spec.system]
    words += ["--validation", source.validation] if source.validation else []
    words += ["--ranked"] if source.kind == "ranking" else []
    settings = [f"{key}={_typed(value)}" for key, value in sorted(run.changed.items())]
    return shlex.join(words + [word for setting in settings for word in ("--set", setting)])


def _typed(value: object) -> str:
    """A setting's value as --set takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(_typed, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _section(
    block: Sequence[RunRecord],
    results: Sequence[Path] = (),
    name: str = "",
    records: Sequence[RunRecord] = (),
    raw: RawData = NO_IDS,
) -> Section:
    """A section. Its systems are in the order of the comparison table everywhere; `name` is that of the data.

    `records` are all runs of the page, among which a learning curve may have more fractions of the same data.
    """
    data, identity = block[0].data, _identity(block[0])
    columns = columns_for(data.num_codes)
    grid, ranked = side_by_side(block, results=results)
    found = report_analyses.analysed(block, results)
    systems = [report_analyses.with_figures(reported_system(row), found) for row in ranked]
    analyses = list(report_analyses.analysis_tables(identity, systems, found))
    compared = [
        report_tables.main_table(f"{identity}-main", grid, systems, columns),
        *report_tables.every_metric(identity, systems),
    ]
    buckets = list(report_tables.by_frequency(identity, systems))
    times = report_tables.times(f"{identity}-times", systems)
    errors = report_codes.errors(systems, results, raw)
    documents = ", ".join(f"{data.documents[split]:,} {split}" for split in SPLITS)
    return Section(
        id=identity,
        name=name or data_name(block[0]),
        facts=[
            f"{documents} documents",
            f"{data.num_codes:,} codes",
            f"{len(systems)} systems, {len(block)} runs",
        ],
        notes=grid.notes,
        highlights=list(report_tables.highlights(systems, columns)),
        commands=commands(run for system in systems for run in system.runs),
        compared=compared,
        curves=history_keys(block),
        buckets=buckets,
        analyses=analyses,
        about_analyses=report_analyses.about(analyses, found),
        times=times,
        systems=systems,
        lacking=errors.lacking,
        data=section_data(systems, columns, results, commands)
        | {
            "tables": {each.id: table_data(each, systems) for each in (*compared, *buckets, *analyses, times)},
            "fractions": report_analyses.fraction_points(block, systems, records),
            "codes": errors.codes,
            "documents": errors.documents,
        },
    )


def _identity(record: RunRecord) -> str:
    """The same for all runs that may share a table, so that a page keeps the reader's choices when it refreshes."""
    content = json.dumps(comparable.task(record), sort_keys=True)
    return f"d{hashlib.sha256(content.encode()).hexdigest()[:8]}"
