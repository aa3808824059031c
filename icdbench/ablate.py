"""The studies of a model: which runs each asks for, and the table or figure they end in.

A study is a file of `icdbench.benchmarks`: systems, what is set for them, metrics, published values. A model that no paper
studies is compared with all its variants.
"""

from __future__ import annotations

from dataclasses import replace

from icdbench import catalog, registry
from icdbench.run import Request
from icdbench.spec import Benchmark, SpecError, nearest

ALL = "all"


def plan(request: Request, model: str, study: str = ALL) -> list[tuple[Benchmark | None, Request]]:
    """Each study of the model with the request for its runs; None is the comparison with all variants. Raises SpecError."""
    if "@" in model:
        raise SpecError(f"'{model}' is a variant; ablate takes a model, such as '{model.partition('@')[0]}'")
    entry = registry.entry(model)
    known = studies(model)
    if not known:
        if study != ALL:
            raise SpecError(f"model '{model}' has no study '{study}'; leave --study out to compare all its variants")
        if not entry.variants:
            raise SpecError(f"model '{model}' has no variants to compare; see 'icdbench models'")
        return [(None, replace(request, models=[model, *(f"{model}@{name}" for name in entry.variants)]))]
    if study not in {ALL, *known}:
        raise SpecError(f"model '{model}' has no study '{study}'{nearest(study, {ALL, *known})}")
    chosen = known.values() if study == ALL else [known[study]]
    return [(shown, _asked(request, shown)) for shown in (_for_data(each, request.dataset) for each in chosen)]


def studies(model: str) -> dict[str, list[Benchmark]]:
    """The benchmarks of each study that has the model's systems, by the study's name."""
    found: dict[str, list[Benchmark]] = {}
    for benchmark in catalog.benchmarks().values():
        if benchmark.study and {system.partition("@")[0] for system in catalog.systems_of(benchmark)} == {model}:
            found.setdefault(benchmark.study, []).append(benchmark)
    return found


def _for_data(panels: list[Benchmark], dataset: str) -> Benchmark:
    """The study's table for this data set, else its first."""
    return next((panel for panel in panels if panel.dataset == dataset), panels[0])


def _asked(request: Request, study: Benchmark) -> Request:
    """The study's own overrides come before what the user sets."""
    return replace(request, models=catalog.systems_of(study), changes={**study.overrides, **request.changes})
