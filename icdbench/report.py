"""The report: stored runs in, out one HTML page that opens from disk without a network and shows nothing but what they hold.

Every figure on it is a button that names the runs behind it and the command that makes them. Runs that may not share a table
are sections of their own. The same records give the same bytes. Jinja2 escapes all text, and the page's policy admits its own
scripts and styles by their hashes and nothing from elsewhere. Charts are drawn in the browser by Observable Plot on d3 (ISC
licence, inlined), anew for the width and the colours of the screen, and answer to the pointer: a phone shows legible figures,
which pictures made here would not.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import logging
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from icdbench import bootstrap, metrics, store, train
from icdbench.files import replacing
from icdbench.formats import Best, Grid
from icdbench.metrics import BUCKETS
from icdbench.spec import DataError, SpecError
from icdbench.systems import Column, blocks, bold, data_name, mean_cell, percent, systems_in
from icdbench.tables import columns_for, compared, difference
from icdbench.types import SPLITS, FloatArray, RunRecord

log = logging.getLogger("icdbench")

SCRIPTS = ("d3.min.js", "plot.umd.min.js", "report.js")
# What Plot 0.6.17 puts into every drawing of className "plot"; the page's policy must name it.
PLOT_STYLE = (
    ":where(.plot) {\n  --plot-background: white;\n  display: block;\n  height: auto;\n  height: intrinsic;\n"
    "  max-width: 100%;\n}\n:where(.plot text),\n:where(.plot tspan) {\n  white-space: pre;\n}"
)
BUCKET = re.compile(r"(\w+)\[(.+)\]")  # f1_micro[1-10]
RULES = {"fixed": "threshold 0.5", "tuned": "tuned threshold"}
LARGEST = (
    2_000_000  # test documents × codes: above, `icdbench compare` tests two systems in less time than a page may take
)
SIGNIFICANT = 0.05
COUNTS = {"auc_labels"}  # metrics that are no fractions
NAMES = {
    "f1_micro": "F1 micro",
    "f1_macro": "F1 macro (mean of codes)",
    "f1_macro_harmonic": "F1 macro (harmonic)",
    "recall_micro": "recall micro",
    "auc_macro": "AUC macro",
    "auc_micro": "AUC micro",
    "map": "MAP",
    "loss": "training loss",
    "drop_rate": "share of positive pairs dropped",
}


class Cell(NamedTuple):
    """What a table shows, what it sorts by, and the key and systems of a figure that runs stand behind."""

    text: str
    order: float | str | None = None
    key: str = ""
    systems: tuple[int, ...] = ()


class Table(NamedTuple):
    """A table of a section; where there are several, the reader chooses one by its name."""

    id: str
    name: str
    header: Sequence[str]
    rows: Sequence[tuple[Cell, Sequence[Cell]]]

    @property
    def spread(self) -> set[int]:
        """The columns with deviations, where a figure without one leaves the room for it."""
        return {place for _, cells in self.rows for place, cell in enumerate(cells) if " ± " in cell.text}


class System(NamedTuple):
    """Runs that differ in the seed alone, with what was measured of each, flat, by the keys that cells have."""

    label: str
    runs: Sequence[RunRecord]
    figures: Sequence[Mapping[str, float]]

    @property
    def versions(self) -> list[str]:
        """Of the programs that made the runs, a text for each set of them."""
        return list(dict.fromkeys(map(_versions, self.runs)))

    @property
    def collapsed(self) -> bool:
        return any(run.collapse for run in self.runs)

    def mean(self, key: str) -> float | None:
        """Over all seeds; none if one of them lacks the figure."""
        known = [figures[key] for figures in self.figures if key in figures]
        return fmean(known) if len(known) == len(self.runs) else None


class Section(NamedTuple):
    """All that the page says about runs that may share a table. `data` is what its script draws and lists."""

    id: str
    name: str
    facts: Sequence[str]
    notes: Sequence[str]
    highlights: Sequence[tuple[str, Cell, str]]
    commands: Sequence[str]
    compared: Sequence[Table]
    curves: Sequence[tuple[str, str]]
    buckets: Sequence[Table]
    times: Table
    systems: Sequence[System]
    data: Mapping[str, Any]

    @property
    def tested(self) -> bool:
        """Whether any difference is."""
        return any(text for pair in self.data["pairs"] for row in pair["tests"] for text in row)


class Begun(NamedTuple):
    """A run without a record, and what its checkpoint says: epochs done, the monitored metric last and at best."""

    id: str
    epochs: int = 0
    value: float | None = None
    best: float | None = None
    best_epoch: int = 0


def load(results: Iterable[Path]) -> tuple[list[RunRecord], list[Begun]]:
    """The finished runs of several results folders, by id, and those that were begun. Raises SpecError for no folder."""
    finished: dict[str, RunRecord] = {}
    begun: dict[str, Begun] = {}
    for folder in results:
        if folder != Path("results") and not folder.is_dir():
            raise SpecError(f"--results '{folder}' is no folder")
        finished |= {record.id: record for record in store.load_records(folder)}
        begun |= {name: _standing(name, folder / name / store.CHECKPOINT) for name in store.unfinished(folder)}
    return [finished[name] for name in sorted(finished)], [begun[name] for name in sorted(begun.keys() - finished)]


def _standing(name: str, checkpoint: Path) -> Begun:
    """From the checkpoint's header alone, which may vanish meanwhile: then nothing is known."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, framework="np") as file:
            state = json.loads(file.metadata()["state"])["state"]
        values = [epoch["monitor"] for epoch in state["history"]]
        return Begun(name, len(values), values[-1] if values else None, state["best"], state["best_epoch"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return Begun(name)


def save(out: Path, results: Sequence[Path]) -> None:
    """Write the page of all stored runs. Raises SpecError if there are none, or `out` can be no file."""
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
        temporary.write_text(page(records, begun, results), encoding="utf-8")


def page(
    records: Sequence[RunRecord], begun: Sequence[Begun] = (), results: Sequence[Path] = (), version: str = ""
) -> str:
    """The report. Differences are tested where predictions are found below `results`, on test splits up to LARGEST.

    With a `version` it asks the server that it came from for a later one, and takes that in.
    """
    sections = [_section(block, results) for block in blocks(records)]
    style, scripts = _asset("report.css"), [_asset(name) for name in SCRIPTS]
    allowed = {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    allowed |= {"style-src": f"{_hash(style)} {_hash(PLOT_STYLE)}", "script-src": " ".join(map(_hash, scripts))}
    allowed |= {"connect-src": "'self'"} if version else {}
    loader = PackageLoader("icdbench", "page")
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=_printable,
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
        licence=Markup(_asset("LICENSE")),  # noqa: S704
        data={section.id: section.data for section in sections},
        is_best=lambda text: isinstance(text, Best),
        commands=commands,
    )


def _printable(shown: object) -> object:
    """Text without the characters that reorder or hide what stands around them."""
    return "".join(char if char.isprintable() else " " for char in shown) if type(shown) is str else shown


def _asset(name: str) -> str:
    return (files("icdbench") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """How a content-security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def commands(runs: Iterable[RunRecord]) -> list[str]:
    """The commands that make these runs: one for all systems that share seeds and changed settings."""
    seeds: dict[tuple[str, tuple[str, ...], str], set[int]] = {}
    for spec in (run.spec for run in runs):
        changed = tuple(f"{key}={_typed(value)}" for key, value in sorted(spec.changed.items()))
        seeds.setdefault((spec.dataset, changed, spec.system), set()).add(spec.seed)
    systems: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for (dataset, changed, system), numbers in seeds.items():
        listed = ",".join(map(str, sorted(numbers))) + "," * (len(numbers) == 1)  # 7 alone would be a count
        systems.setdefault((dataset, changed, listed), []).append(system)
    return [
        shlex.join(
            ["icdbench", "run", "--models", ",".join(names), "--dataset", dataset, "--seeds", listed]
            + [word for setting in changed for word in ("--set", setting)]
        )
        for (dataset, changed, listed), names in systems.items()
    ]


def _typed(value: object) -> str:
    """A setting's value as --set takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(_typed, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _section(block: Sequence[RunRecord], results: Sequence[Path] = ()) -> Section:
    """Systems are in the order of the comparison table, here and in all that follows."""
    corpus, identity = block[0].corpus, _identity(block[0])
    columns = columns_for(corpus["num_codes"])
    grid = compared(block, "Own runs")
    runs = {system.label: system.runs for system in systems_in(block, [])}
    labels = [label for label in (row[0].removesuffix(" †") for row in grid.rows) if label in runs]
    systems = [System(label, runs[label], [_figures(run) for run in runs[label]]) for label in labels]
    documents = ", ".join(f"{corpus['documents'][split]:,} {split}" for split in SPLITS)
    return Section(
        id=identity,
        name=data_name(block[0]),
        facts=[
            f"{documents} documents",
            f"{corpus['num_codes']:,} codes",
            f"{len(systems)} systems, {len(block)} runs",
        ],
        notes=grid.notes,
        highlights=list(_highlights(systems, columns)),
        commands=commands(run for system in systems for run in system.runs),
        compared=[_main(f"{identity}-main", grid, systems, columns), *_every(identity, systems)],
        curves=_history_keys(block),
        buckets=list(_buckets(identity, systems)),
        times=_times(f"{identity}-times", systems),
        systems=systems,
        data=_data(systems, columns, results),
    )


def _identity(record: RunRecord) -> str:
    """Names a section as long as its runs may share a table, so that a page that refreshes keeps the reader's choices."""
    corpus = [record.corpus[field] for field in ("synthetic", "num_codes", "documents", "unseen", "assignments")]
    content = json.dumps([data_name(record), record.spec.fingerprint, *corpus], sort_keys=True)
    return f"d{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _figures(run: RunRecord) -> dict[str, float]:
    figures = {
        f"{split} {rule} {key}": value
        for split, rules in run.metrics.items()
        for rule, measured in rules.items()
        for key, value in measured.items()
    }
    figures |= {f"popularity {key}": value for key, value in run.popularity.items()}
    figures |= {f"timing {key}": value for key, value in run.timing.items()}
    figures["parameters"] = run.parameters
    if run.history:
        figures["best epoch"] = max(run.history, key=lambda epoch: epoch["monitor"])["epoch"]
        figures["epochs"] = len(run.history)
        figures["seconds per epoch"] = run.timing["train"] / len(run.history)
    return figures


def _highlights(systems: Sequence[System], columns: Sequence[Column]) -> Iterator[tuple[str, Cell, str]]:
    """The best ranking, F1 and AUC that are no collapse, and what all training took."""
    for wanted in ("P@", "F1 micro tuned", "AUC macro"):
        heading, rule, key = next(column for column in columns if column[0].startswith(wanted))
        cells = [_measured(system, index, "test", rule, key) for index, system in enumerate(systems)]
        sound = [(cell.order, cell) for cell in cells if isinstance(cell.order, float) and "†" not in cell.text]
        if sound:
            _, best = max(sound, key=lambda pair: pair[0])
            yield f"Best {heading}", best, systems[best.systems[0]].label
    seconds = sum(run.timing["train"] for system in systems for run in system.runs)
    devices = sorted({run.device for system in systems for run in system.runs})
    taken = Cell(_duration(seconds), seconds, "timing train", tuple(range(len(systems))))
    yield "Training of all runs", taken, "; ".join(devices)


def _measured(system: System, index: int, split: str, rule: str, key: str) -> Cell:
    """A metric: mean ± deviation as the tables print it. Records know of collapse on the test split alone."""
    where = f"{split} {rule} {key}"
    order = system.mean(where)
    if order is None:
        return Cell("")
    values = [figures[where] for figures in system.figures]
    text = mean_cell(system.runs, rule, key) if split == "test" else percent(values)
    return Cell(f"{order:g}" if key in COUNTS else text, order, where, (index,))


def _main(identity: str, grid: Grid, systems: Sequence[System], columns: Sequence[Column]) -> Table:
    """The comparison as `icdbench run` prints it, its figures tied to their runs."""
    keys = {heading: f"test {rule} {key}" for heading, rule, key in columns}
    keys |= {"epochs": "best epoch", "train time": "timing train"}
    places = {system.label: index for index, system in enumerate(systems)}
    rows = []
    for label, *texts in grid.rows:
        index = places.get(label.removesuffix(" †"))
        cells = []
        for heading, text in zip(grid.header[1:], texts, strict=True):
            key = keys.get(heading, "") if text else ""
            if key and index is None:  # the floor, which every run of the block holds
                key = f"popularity {key.rpartition(' ')[2]}"
            order = systems[index or 0].mean(key) if key else float(text) if text.isdecimal() else None
            cells.append(Cell(text, order, key, (index or 0,) if key else ()))
        rows.append((Cell(label, label.casefold()), cells))
    return Table(identity, "Main figures, test split", grid.header, rows)


def _every(identity: str, systems: Sequence[System]) -> Iterator[Table]:
    """Every metric under its own name, a table for each split and threshold."""
    for split in ("test", "validation"):
        for rule, about in RULES.items():
            keys = [key for key in _keys(systems, split, rule) if not BUCKET.fullmatch(key)]
            yield _metrics(
                f"{identity}-{split}-{rule}", f"All metrics, {split} split, {about}", systems, split, rule, keys
            )


def _buckets(identity: str, systems: Sequence[System]) -> Iterator[Table]:
    """Metrics by how often a code occurs in training, a table for each metric and threshold."""
    for rule, about in RULES.items():
        found = [match for match in map(BUCKET.fullmatch, _keys(systems, "test", rule)) if match]
        for metric in dict.fromkeys(match[1] for match in found):
            known = {match[2]: match[0] for match in found if match[1] == metric}
            keys = {bucket: known[bucket] for bucket in BUCKETS.values() if bucket in known}
            name = f"{NAMES.get(metric, metric)}, {about}"
            table = _metrics(f"{identity}-{metric}-{rule}", name, systems, "test", rule, list(keys.values()))
            yield table._replace(header=["system", *(bucket.replace("-", "–") for bucket in keys)])


def _keys(systems: Sequence[System], split: str, rule: str) -> list[str]:
    runs = (run for system in systems for run in system.runs)
    return list(dict.fromkeys(key for run in runs for key in run.metrics.get(split, {}).get(rule, {})))


def _metrics(identity: str, name: str, systems: Sequence[System], split: str, rule: str, keys: Sequence[str]) -> Table:
    rows = [[_measured(system, index, split, rule, key) for key in keys] for index, system in enumerate(systems)]
    texts = bold([[cell.text for cell in row] for row in rows])
    cells = [
        [cell._replace(text=text) for cell, text in zip(*row, strict=True)] for row in zip(rows, texts, strict=True)
    ]
    return Table(identity, name, ["system", *keys], list(zip(map(_label, systems), cells, strict=True)))


def _label(system: System) -> Cell:
    return Cell(system.label + " †" * system.collapsed, system.label.casefold())


def _pairs(systems: Sequence[System], columns: Sequence[Column], results: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The differences of every two systems, for each main metric; the one that ranks systems comes first.

    Beside each what the paired bootstrap of `icdbench compare` says of it, and whether its p-value is below .05.
    """
    drawn = [_drawn(system, results) for system in systems]
    for heading, rule, key in sorted(columns, key=lambda column: not column[0].startswith("P@")):
        cells = [_measured(system, index, "test", rule, key) for index, system in enumerate(systems)]
        rows = [[_less(one, other) for other in cells] for one in cells]
        values = [each.get(rule, {}).get(key) for each in drawn]
        tests = [[_tested(one, other) if one is not other else ("", False) for other in values] for one in values]
        texts, sure = ([[test[part] for test in row] for row in tests] for part in (0, 1))
        yield {"name": heading, "key": f"test {rule} {key}", "rows": rows, "tests": texts, "sure": sure}


def _less(one: Cell, other: Cell) -> str:
    """One system's mean less the other's, of the figures as shown, so that a reader's subtraction agrees."""
    return "" if one.systems == other.systems else difference(one.text, other.text).replace("-", "−")


def _drawn(system: System, results: Sequence[Path]) -> dict[str, bootstrap.Figures]:
    """The system's figures in each resample of the test documents by rule; nothing where a run's predictions are missing."""
    runs = []
    for run in system.runs:
        folder = next((folder for folder in results if (folder / run.id / store.PREDICTIONS).is_file()), None)
        if folder is None or run.corpus["documents"]["test"] * run.corpus["num_codes"] > LARGEST:
            return {}
        try:
            runs.append(_resampled(folder / run.id, run.created, *sorted(run.threshold.items())))
        except DataError as error:
            log.warning("%s", error)
            return {}
    return {rule: bootstrap.mean([run[rule] for run in runs]) for rule in runs[0]}


@functools.cache  # a page that is served is made again whenever a run ends
def _resampled(folder: Path, _created: str, *thresholds: tuple[str, float]) -> dict[str, bootstrap.Figures]:
    predicted = store.load_predictions(folder)["test"]
    given = metrics.scored(train.probabilities(predicted.scores_NL), predicted.labels, predicted.unseen)
    return bootstrap.resampled(given, dict(thresholds), bootstrap.weights(len(predicted.scores_NL)))


def _tested(one_R: FloatArray | None, other_R: FloatArray | None) -> tuple[str, bool]:
    """Interval and p-value of a difference in words, and whether it is below .05."""
    if one_R is None or other_R is None:
        return "", False
    low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in bootstrap.interval(one_R - other_R))
    p = bootstrap.p_value(one_R - other_R)
    return f"95 % from {low} to {high}, p = {p:.3f}", bool(p < SIGNIFICANT)


def _times(identity: str, systems: Sequence[System]) -> Table:
    """What the runs took, means over seeds; what else a record's timing holds follows under its own name."""
    shown: dict[str, tuple[str, Callable[[float], str]]] = {
        "parameters": ("parameters", lambda value: f"{value:,.0f}"),
        "timing train": ("training, each run", _duration),
        "epochs": ("epochs", lambda value: f"{value:.1f}"),
        "seconds per epoch": ("per epoch", _duration),
        "timing documents_per_second": ("documents per second", lambda value: f"{value:,.1f}"),
        "timing prepare": ("preparing data", _duration),
        "timing predict": ("predicting validation and test", _duration),
    }
    others = dict.fromkeys(key for system in systems for run in system.runs for key in run.timing)
    shown |= {
        f"timing {key}": (key.replace("_", " "), "{:,.4g}".format) for key in others if f"timing {key}" not in shown
    }
    rows = []
    for index, system in enumerate(systems):
        means = {key: system.mean(key) for key in shown}
        cells = [
            Cell("") if mean is None else Cell(shown[key][1](mean), mean, key, (index,)) for key, mean in means.items()
        ]
        total = sum(run.timing["train"] for run in system.runs)
        cells.append(Cell(_duration(total), total, "timing train", (index,)))
        cells.append(Cell("; ".join(sorted({run.device for run in system.runs}))))
        rows.append((_label(system), cells))
    header = ["system", *(heading for heading, _ in shown.values()), "training, all seeds", "device"]
    return Table(identity, "Time and size", header, rows)


def _duration(seconds: float) -> str:
    size, unit = (3600, "h") if seconds >= 3600 else (60, "min") if seconds >= 60 else (1, "s")
    return f"{seconds / size:.1f} {unit}"


def _history_keys(block: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """What can be drawn by epoch, the metrics on validation first."""
    present = dict.fromkeys(key for run in block for epoch in run.history for key, value in epoch.items() if value)
    keys = [key for key in present if key not in {"epoch", "monitor", "seconds"}]
    names = {key: NAMES.get(key, key.replace("p@", "P@").replace("r@", "R@")) for key in keys}
    training = [key for key in keys if key in {"loss", "drop_rate"}]
    found = [(key, f"{names[key]}, validation") for key in keys if key not in training]
    return found + [(key, names[key]) for key in training]


def _data(systems: Sequence[System], columns: Sequence[Column], results: Sequence[Path]) -> dict[str, Any]:
    """What the script needs: each run's figures in the order of `keys`, its history by column, its origin."""
    keys = list(dict.fromkeys(key for system in systems for figures in system.figures for key in figures))
    return {
        "keys": [[key, *_about(key)] for key in keys],
        "columns": [[heading, f"test {rule} {key}"] for heading, rule, key in columns],
        "pairs": list(_pairs(systems, columns, results)) if len(systems) > 1 else [],
        "systems": [{"label": system.label, "commands": commands(system.runs)} for system in systems],
        "runs": [
            {
                "system": index,
                "id": run.id,
                "seed": run.spec.seed,
                "date": run.created,
                "commit": run.commit,
                "device": run.device,
                "versions": _versions(run),
                "figures": [None if figures.get(key) is None else _short(figures[key]) for key in keys],
                "history": {
                    key: [None if key not in epoch else _short(epoch[key]) for epoch in run.history]
                    for key in dict.fromkeys(key for epoch in run.history for key in epoch)
                },
            }
            for index, system in enumerate(systems)
            for run, figures in zip(system.runs, system.figures, strict=True)
        ],
    }


def _versions(run: RunRecord) -> str:
    return ", ".join(f"{name} {number}" for name, number in run.versions.items())


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _about(key: str) -> tuple[str, str]:
    """How a figure is written, and what it is, in words."""
    split, _, rest = key.partition(" ")
    rule, _, metric = rest.partition(" ")
    if metric:
        return "number" if metric in COUNTS else "percent", f"{metric}, {split} split, {RULES.get(rule, rule)}"
    if split == "popularity":
        return "percent", f"{rest} of ranking codes by their training frequency, test split"
    if split == "timing" and rest in {"train", "prepare", "predict"}:
        return "seconds", {"train": "training", "prepare": "preparing data", "predict": "predicting"}[rest]
    return ("seconds" if key == "seconds per epoch" else "number"), rest.replace("_", " ") if split == "timing" else key
