"""The report: an HTML page about all stored runs that opens from disk and needs no network; entered by `save` and `page`.

Each set of comparable runs is a section. Every number is a button that shows the runs behind it and the command that makes
them. Equal records give equal bytes. Jinja2 escapes all text, and the content-security policy admits, by their hashes, only
the page's own scripts and styles. Observable Plot on d3 (ISC licence, inlined) draws the charts to fit the screen.

The main tables and the commands are HTML, for readers without scripts. Scripts draw the rest from data; data and libraries
are compressed (gzip, base64), which makes the page a quarter as large.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import logging
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from icdbench.evaluation import measure
from icdbench.files import replacing
from icdbench.host import output
from icdbench.presentation import report_analyses, report_codes, report_tables
from icdbench.presentation.layouts import Showing, columns_for, side_by_side
from icdbench.presentation.notes import block_names, data_name
from icdbench.presentation.report_codes import NO_IDS, RawData
from icdbench.presentation.report_data import history_keys, section_data, table_data
from icdbench.presentation.report_tables import ReportedCell, ReportedSystem, ReportedTable, reported_system
from icdbench.records import RunRecord, comparable, store
from icdbench.settings import SpecError, typed
from icdbench.types import SPLITS

if TYPE_CHECKING:  # it imports torch
    from icdbench.records import provenance

log = logging.getLogger("icdbench")

READING = {"columns": "--column", "encoding": "--encoding", "code_separator": "--code-separator"}  # of `icdbench score`
LIBRARIES = ("d3.min.js", "plot.umd.min.js")
SCRIPTS = ("report_tables.js", "report_codes.js", "report_charts.js", "report.js")
# What Plot 0.6.17 puts into every drawing of className "plot"; the page's policy must name it.
PLOT_STYLE = (
    ":where(.plot) {\n  --plot-background: white;\n  display: block;\n  height: auto;\n  height: intrinsic;\n"
    "  max-width: 100%;\n}\n:where(.plot text),\n:where(.plot tspan) {\n  white-space: pre;\n}"
)


class Section(NamedTuple):
    """The content of the page for one set of comparable runs; `data` is for scripts, `lacking` says why document ids are missing."""

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
        """Whether any difference between systems was tested."""
        return any(pair["tests"] for pair in self.data["pairs"])


def load(results: Iterable[Path]) -> tuple[list[RunRecord], list[store.Begun]]:
    """The finished and the unfinished runs of results folders, by id. Raises SpecError if a folder does not exist."""
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

    `root` is the folder of raw data, the source of document ids and code titles.
    """
    if out.is_dir():
        raise SpecError(f"--out '{out}' is a folder; name a file in it, such as '{out / 'report.html'}'")
    if not out.parent.is_dir():
        raise SpecError(f"--out '{out}': there is no folder '{out.parent}'")
    records, begun = load(results)
    if not records:
        folders = ", ".join(f"'{folder}'" for folder in results)
        unfinished = f" ({len(begun)} begun)" if begun else ""
        hint = "'icdbench run' makes some, --results names another folder"
        raise SpecError(f"no finished runs in {folders}{unfinished}; {hint}")
    with replacing(out) as temporary:
        temporary.write_text(page(records, begun, results, root=root, document_ids=document_ids), encoding="utf-8")


def page(
    records: Sequence[RunRecord],
    begun: Sequence[store.Begun] = (),
    results: Sequence[Path] = (),
    version: str = "",
    root: Path | None = None,
    *,
    document_ids: bool = False,
) -> str:
    """The report as HTML. Differences are tested if the predictions are below `results` and the test split is not too large.

    A page with a `version` asks its server for later versions and updates itself. Raises SpecError if document ids are asked
    for and no run's raw data are available.
    """
    found = comparable.blocks(records)
    named = zip(found, block_names(found), strict=True)
    raw = RawData(root, document_ids)
    sections = [_section(block, results, name, records, raw) for block, name in named]
    lacking = [f"no document ids of {section.name}: {section.lacking}" for section in sections if section.lacking]
    if sections and len(lacking) == len(sections):
        raise SpecError(f"--document-ids: {lacking[0]}")
    for line in lacking:
        log.warning("%s", line)
    style = asset("report.css")
    libraries, scripts = ([asset(name) for name in names] for names in (LIBRARIES, SCRIPTS))
    allowed = {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    allowed["style-src"] = f"{hash_of(style)} {hash_of(PLOT_STYLE)}"
    allowed["script-src"] = " ".join(map(hash_of, (*libraries, *scripts)))
    allowed |= {"connect-src": "'self'"} if version else {}
    return (
        templates(printable_text)
        .get_template("report.html")
        .render(
            sections=sections,
            begun=begun,
            version=version,
            policy="; ".join(f"{name} {sources}" for name, sources in allowed.items()),
            style=Markup(style),  # noqa: S704  our own files, here and below
            scripts=[Markup(script) for script in scripts],  # noqa: S704
            libraries=list(map(_compressed, libraries)),
            licence=Markup(asset("LICENSE")),  # noqa: S704
            data=_compressed(json.dumps({section.id: section.data for section in sections}, separators=(",", ":"))),
        )
    )


def templates(finalize: Callable[[object], object] | None = None) -> Environment:
    """The templates of page/, which escape all text; `finalize` is applied to every value first."""
    loader = PackageLoader("icdbench.presentation", "page")
    return Environment(
        loader=loader,
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def printable_text(value: object) -> object:
    """Remove characters that reorder or hide the text around them."""
    return output.printable(value) if type(value) is str else value


@functools.cache
def asset(name: str) -> str:
    """The text of a file in page/."""
    return (files("icdbench.presentation") / "page" / name).read_text(encoding="utf-8")


def _compressed(text: str) -> str:
    """Compress a text for the page's script, in letters that need no escapes."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def hash_of(text: str) -> str:
    """The hash by which a content-security policy admits an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def commands(runs: Iterable[RunRecord]) -> list[str]:
    """The commands that make these runs: one for all systems that share seeds and changed settings."""
    lines: list[str] = []
    seeds: dict[tuple[str, tuple[str, ...], str], set[int]] = {}
    for run in runs:
        if run.scored:
            lines.append(_score_command(run, run.scored))
        else:
            seeds.setdefault((run.spec.dataset, _set_options(run), run.spec.system), set()).add(run.spec.seed)
    systems: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for (dataset, options, system), numbers in seeds.items():
        listed = ",".join(map(str, sorted(numbers))) + "," * (len(numbers) == 1)  # 7 alone would be a count
        systems.setdefault((dataset, options, listed), []).append(system)
    for (dataset, options, listed), names in systems.items():
        words = ["icdbench", "run", "--models", ",".join(names), "--dataset", dataset, "--seeds", listed]
        lines.append(shlex.join([*words, *options]))
    return lines


def _score_command(run: RunRecord, source: provenance.ScoredFile) -> str:
    if source.kind == "runs":
        first, *others = source.file.split()
        options = [word for other in others for word in ("--with", other)]
        return shlex.join(["icdbench", "blend", first, *options, "--name", run.spec.system])
    words = ["icdbench", "score", source.file, "--dataset", run.spec.dataset, "--name", run.spec.system]
    words += ["--validation", source.validation] if source.validation else []
    words += ["--ranked"] if source.kind == "ranking" else []
    reading = run.spec.config.get("reading", {})
    words += [word for name, option in READING.items() if name in reading for word in (option, typed(reading[name]))]
    return shlex.join([*words, *_set_options(run)])


def _set_options(run: RunRecord) -> tuple[str, ...]:
    return tuple(word for key, value in sorted(run.changed.items()) for word in ("--set", f"{key}={typed(value)}"))


def _section(
    block: Sequence[RunRecord],
    results: Sequence[Path] = (),
    name: str = "",
    records: Sequence[RunRecord] = (),
    raw: RawData = NO_IDS,
) -> Section:
    """The section of a set of comparable runs; all its tables have the systems in the order of the comparison table.

    `name` is that of the data. `records` are all runs of the page: some may be on other fractions of the same data.
    """
    data, identity = block[0].data, _section_id(block[0])
    columns = columns_for(data.num_codes)
    grid, ranked = side_by_side(block, Showing(results))
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
        facts=[f"{documents} documents", f"{data.num_codes:,} codes", f"{len(systems)} systems, {len(block)} runs"],
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


def _section_id(record: RunRecord) -> str:
    """An id that depends only on the task, so that a page keeps the reader's choices when it refreshes."""
    content = json.dumps(comparable.task(record), sort_keys=True)
    return f"d{hashlib.sha256(content.encode()).hexdigest()[:8]}"
