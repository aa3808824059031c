"""The benchmarks there are: those of `icdbench.benchmarks`, a file for each table or figure of a paper."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable

import icdbench.benchmarks
from icdbench.spec import Benchmark, SpecError, nearest
from icdbench.types import RunRecord


def benchmarks() -> dict[str, Benchmark]:
    """Every table and figure of a paper in `icdbench.benchmarks`, by name. One file may hold several, a data set each."""
    names = [module.name for module in pkgutil.iter_modules(icdbench.benchmarks.__path__)]
    papers = [name for name in names if name.startswith(("table", "figure"))]  # beside them stand scripts
    modules = [importlib.import_module(f"icdbench.benchmarks.{name}") for name in papers]
    found = [each for module in modules for each in vars(module).values() if isinstance(each, Benchmark)]
    return {each.name: each for each in found}


def benchmark(name: str) -> Benchmark:
    """The table called `name`. Raises SpecError if there is none."""
    known = benchmarks()
    if name not in known:
        raise SpecError(f"no table '{name}'{nearest(name, known)}")
    return known[name]


def systems_of(benchmark: Benchmark) -> list[str]:
    """The systems that a benchmark compares, in its order."""
    return [system for system, _ in benchmark.published.values()]


def of_study(benchmark: Benchmark, records: Iterable[RunRecord]) -> list[RunRecord]:
    """The stored runs that were made as the study makes them: those with all its overrides."""
    return [record for record in records if all(_has(record, *each) for each in benchmark.overrides.items())]


def _has(record: RunRecord, key: str, value: object) -> bool:
    target, _, name = key.partition(".")
    settings = {"train": record.spec.train.model_dump(), "data": record.spec.data.model_dump()}
    return bool(settings.get(target, record.spec.config).get(name) == value)


def has_figures(benchmark: Benchmark) -> bool:
    return any(figures for _, figures in benchmark.published.values())
