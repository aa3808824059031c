"""The benchmarks: those of `icdbench.benchmarks`, a file for each table or figure of a paper, and users' own files.

`benchmarks/literature.py` holds what others report on the same data.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable
from pathlib import Path

import icdbench.benchmarks
from icdbench import registry
from icdbench.data import datasets
from icdbench.evaluation import metrics
from icdbench.plugins import loading
from icdbench.records import RunRecord
from icdbench.settings import SpecError, nearest
from icdbench.spec import Benchmark, Reported, TrainSpec
from icdbench.types import SPLITS

ALL = "all"  # the tables of the paper
SIZES = ("vocabulary", "codes", *SPLITS, "codes per document")  # the metrics of a table of data sets
LOSSES = ("loss", "validation_loss", "dropped")  # what only a run's history has


def benchmarks() -> dict[str, Benchmark]:
    """Every table and figure in `icdbench.benchmarks`, by name; a file may define one for each of several data sets."""
    names = [module.name for module in pkgutil.iter_modules(icdbench.benchmarks.__path__)]
    declaring = [name for name in names if name.startswith(("table", "figure"))]  # the others are scripts
    modules = [importlib.import_module(f"icdbench.benchmarks.{name}") for name in declaring]
    found = [each for module in modules for each in vars(module).values() if isinstance(each, Benchmark)]
    return {each.name: each for each in sorted(found, key=lambda each: each.name)}


def chosen(name: str) -> list[Benchmark]:
    """The benchmarks that a user names: `table3` (a part for each data set), `table3-full`, `all`, or a file ending in .py.

    Raises SpecError.
    """
    if name == ALL:
        return [each for label, each in benchmarks().items() if label.startswith("table")]
    if name.endswith(".py"):
        return _from_file(Path(name))
    known = benchmarks()
    found = [each for label, each in known.items() if label == name or label.startswith(f"{name}-")]
    if not found:
        raise SpecError(f"no table '{name}'{nearest(name, {ALL, *known})}; name one of your own by its .py file")
    return found


def literature() -> list[Reported]:
    """What others report, in the order of the file."""
    module = importlib.import_module("icdbench.benchmarks.literature")
    return [each for each in module.REPORTED if isinstance(each, Reported)]


def _from_file(path: Path) -> list[Benchmark]:
    """The benchmarks that a user's file defines, in its order, each checked. Raises SpecError."""
    if not path.is_file():
        raise SpecError(f"no file '{path}'; a table of your own is a Python file with a Benchmark (docs/tables.md)")
    packaged = list(benchmarks().values())
    defined = vars(loading.import_file(path)).values()
    found = []
    for each in [each for each in defined if isinstance(each, Benchmark) and each not in packaged]:
        try:
            models = each.models if each.statistics else tuple(map(registry.stored_name, each.models))
            found.append(each.model_copy(update={"models": models}))
            _check(found[-1])
        except SpecError as error:
            raise SpecError(f"{path}, '{each.name}': {error}") from None
    if not found:
        raise SpecError(f"{path} defines no Benchmark; docs/tables.md shows one")
    return found


def _check(benchmark: Benchmark) -> None:
    """Raises SpecError for an unknown data set, system, metric or setting, and for rows with too few or too many figures."""
    over_data = benchmark.plot == "ranks"  # on all data sets that have runs
    if not (benchmark.systems or over_data):
        raise SpecError("it compares nothing; name systems in models or published")
    for name in benchmark.systems if benchmark.statistics else [benchmark.dataset] * (not over_data):
        datasets.source(name)
    for system in [] if benchmark.statistics else benchmark.systems:
        base, variant = registry.split(system)
        registry.entry(base).variant("" if variant == "tuned" else variant)  # tuning adds it; it is not declared
    known = known_metrics(benchmark)
    for _, key in benchmark.metrics:
        if key not in known:
            raise SpecError(f"no metric '{key}'{nearest(key, known)}")
    for label, (_, cells) in benchmark.published.items():
        if len(cells) not in {0, len(benchmark.metrics)}:
            raise SpecError(f"row '{label}' has {len(cells)} figures for {len(benchmark.metrics)} metrics")
    for key, value in benchmark.overrides.items():
        target, _, name = key.partition(".")
        if target == "data":
            datasets.source(benchmark.dataset).settings({name: value})
        else:
            settings = TrainSpec if target == "train" else registry.entry(target).config
            settings().override({name: value}, target)


def known_metrics(benchmark: Benchmark) -> tuple[str, ...]:
    """The metric keys that a benchmark may name."""
    if benchmark.statistics:
        return SIZES
    evaluated = metrics.evaluate([[0.9, 0.1], [0.2, 0.8]], [[1, 0], [0, 1]])
    bucketed = ("f1_micro", "recall_micro", "f1_macro")
    buckets = [f"{key}[{bucket}]" for key in bucketed for bucket in metrics.BUCKETS.values()]
    return (*evaluated, *(LOSSES if benchmark.per_epoch else buckets))


def stored_name(benchmark: Benchmark) -> str:
    """The name of a benchmark's data set in records: for a user's own file, the file's name. Raises SpecError."""
    return datasets.source(benchmark.dataset).name


def of_study(benchmark: Benchmark, records: Iterable[RunRecord]) -> list[RunRecord]:
    """The stored runs that have all the benchmark's overrides."""
    return [record for record in records if all(_has_setting(record, *each) for each in benchmark.overrides.items())]


def _has_setting(record: RunRecord, key: str, value: object) -> bool:
    """Whether a run has a setting, or the setting has no effect on it (such as another model's)."""
    target, _, name = key.partition(".")
    settings = record.spec.parts.get(target, {})
    return name not in settings or json.dumps(settings[name]) == json.dumps(value)


def has_figures(benchmark: Benchmark) -> bool:
    """Whether the benchmark has published figures."""
    return any(figures for _, figures in benchmark.published.values())


def studies(model: str) -> dict[str, list[Benchmark]]:
    """The benchmarks of each study of this model, by the study's name."""
    found: dict[str, list[Benchmark]] = {}
    for benchmark in benchmarks().values():
        if benchmark.study and {system.partition("@")[0] for system in benchmark.systems} == {model}:
            found.setdefault(benchmark.study, []).append(benchmark)
    return found
