"""The benchmarks there are: those of `icdbench.benchmarks`, a file for each table or figure of a paper, and a user's own files.

`benchmarks/literature.py` holds what others report on the same data.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import runpy
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pydantic import ValidationError

import icdbench.benchmarks
from icdbench import datasets, metrics, registry
from icdbench.spec import Benchmark, DataSpec, Reported, SpecError, TrainSpec, first_of, nearest
from icdbench.types import SPLITS, RunRecord

ALL = "all"  # the tables of the paper
SIZES = ("vocabulary", "codes", *SPLITS, "codes per document")  # the metrics of a table of data sets
LOSSES = ("loss", "validation_loss", "dropped")  # what only a run's history has


def benchmarks() -> dict[str, Benchmark]:
    """Every table and figure of a paper in `icdbench.benchmarks`, by name. One file may hold several, a data set each."""
    names = [module.name for module in pkgutil.iter_modules(icdbench.benchmarks.__path__)]
    papers = [name for name in names if name.startswith(("table", "figure"))]  # beside them stand scripts
    modules = [importlib.import_module(f"icdbench.benchmarks.{name}") for name in papers]
    found = [each for module in modules for each in vars(module).values() if isinstance(each, Benchmark)]
    return {each.name: each for each in sorted(found, key=lambda each: each.name)}


def benchmark(name: str) -> Benchmark:
    """The table called `name`. Raises SpecError if there is none."""
    return _parts(name)[0]


def chosen(name: str) -> list[Benchmark]:
    """What a user means: `table3` (a part for each of its data sets), `table3-full`, `all`, or a file ending in .py.

    Raises SpecError.
    """
    if name == ALL:
        return [each for label, each in benchmarks().items() if label.startswith("table")]
    return _own(Path(name)) if name.endswith(".py") else _parts(name)


def _parts(name: str) -> list[Benchmark]:
    known = benchmarks()
    found = [each for label, each in known.items() if label == name or label.startswith(f"{name}-")]
    if not found:
        raise SpecError(f"no table '{name}'{nearest(name, {ALL, *known})}; one's own is a file ending in .py")
    return found


def literature() -> list[Reported]:
    """What others report, in the order of its file."""
    module = importlib.import_module("icdbench.benchmarks.literature")
    return [each for each in module.REPORTED if isinstance(each, Reported)]


def _own(path: Path) -> list[Benchmark]:
    """The benchmarks that a user's file defines, in its order, each checked. Raises SpecError of one line."""
    if not path.is_file():
        raise SpecError(f"no file '{path}'; a table of one's own is a Python file with a Benchmark (docs/tables.md)")
    try:
        names = runpy.run_path(str(path))
    except SyntaxError as error:
        raise SpecError(f"{path} line {error.lineno}: {error.msg}") from None
    except Exception as error:  # noqa: BLE001  whatever the code of a user's file raises
        lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path)]
        said = first_of(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        raise SpecError(f"{path} line {lines[-1] if lines else '?'}: {said}") from None
    packaged = list(benchmarks().values())
    found = [each for each in names.values() if isinstance(each, Benchmark) and each not in packaged]
    if not found:
        raise SpecError(f"{path} defines no Benchmark; docs/tables.md shows one")
    for each in found:
        try:
            _check(each)
        except SpecError as error:
            raise SpecError(f"{path}, '{each.name}': {error}") from None
    return found


def _check(benchmark: Benchmark) -> None:
    """Raises SpecError for a data set, system, metric or setting that does not exist, and for rows that do not fit."""
    if not systems_of(benchmark):
        raise SpecError("it compares nothing; name systems in models or published")
    for name in systems_of(benchmark) if benchmark.statistics else [benchmark.dataset]:
        datasets.source(name)
    for system in [] if benchmark.statistics else systems_of(benchmark):
        base, _, variant = system.partition("@")
        registry.entry(base).variant("" if variant == "tuned" else variant)  # which is found, not declared
    known = known_metrics(benchmark)
    for _, key in benchmark.metrics:
        if key not in known:
            raise SpecError(f"no metric '{key}'{nearest(key, known)}")
    for label, (_, cells) in benchmark.published.items():
        if len(cells) not in {0, len(benchmark.metrics)}:
            raise SpecError(f"row '{label}' has {len(cells)} figures for {len(benchmark.metrics)} metrics")
    for key, value in benchmark.overrides.items():
        target, _, name = key.partition(".")
        settings = {"data": DataSpec, "train": TrainSpec}.get(target) or registry.entry(target).config
        settings().override({name: value}, target)


def known_metrics(benchmark: Benchmark) -> tuple[str, ...]:
    """The metric keys that a benchmark may name."""
    if benchmark.statistics:
        return SIZES
    buckets = [
        f"{key}[{bucket}]" for key in ("f1_micro", "recall_micro", "f1_macro") for bucket in metrics.BUCKETS.values()
    ]
    return (*_evaluated(), *(LOSSES if benchmark.per_epoch else buckets))


@cache
def _evaluated() -> tuple[str, ...]:
    return tuple(metrics.evaluate([[0.9, 0.1], [0.2, 0.8]], [[1, 0], [0, 1]]))


def systems_of(benchmark: Benchmark) -> list[str]:
    """The systems that a benchmark compares, in its order."""
    return list(dict.fromkeys([*(system for system, _ in benchmark.published.values()), *benchmark.models]))


def stored_name(benchmark: Benchmark) -> str:
    """The name that a benchmark's data set has in records: that of one's own file lacks the folder. Raises SpecError."""
    return datasets.source(benchmark.dataset).name


def of_study(benchmark: Benchmark, records: Iterable[RunRecord]) -> list[RunRecord]:
    """The stored runs that were made as the benchmark makes them: those with all its overrides."""
    return [record for record in records if all(_has(record, *each) for each in benchmark.overrides.items())]


def _has(record: RunRecord, key: str, value: object) -> bool:
    """Whether a run has a setting. Those of other models say nothing of it."""
    target, _, name = key.partition(".")
    parts = {"train": record.spec.train.model_dump(), "data": record.spec.data.model_dump()}
    parts[record.spec.model] = record.spec.config
    return target not in parts or json.dumps(parts[target].get(name)) == json.dumps(value)


def has_figures(benchmark: Benchmark) -> bool:
    """Whether anything was published, rather than only drawn or compared."""
    return any(figures for _, figures in benchmark.published.values())
