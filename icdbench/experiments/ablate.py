"""Plan the ablation studies of a model: which runs each needs, and the table or figure that shows them. Entered by `plan`.

A study is a file of `icdbench.benchmarks`: systems, their settings, metrics, published values. A model without a study is
compared with all its variants that predict the same codes and learn from the same training data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from icdbench import registry
from icdbench.run import Request
from icdbench.settings import SpecError, nearest
from icdbench.spec import Benchmark

ALL = "all"


def plan(
    request: Request, studies: Mapping[str, Sequence[Benchmark]], study: str = ALL
) -> list[tuple[Benchmark | None, Request]]:
    """The chosen studies of the request's model, each with the request for its runs. Raises SpecError.

    `studies` maps the name of each study to its tables, one per data set (`presentation.catalog.studies`). If it is empty,
    the plan is one comparison with all variants on the same data, without a table (None).
    """
    (model,) = request.models
    base, variant = registry.split(model)
    if variant:
        raise SpecError(f"'{model}' is a variant; ablate takes a model, such as '{base}'")
    entry = registry.entry(model)
    if not studies:
        if study != ALL:
            raise SpecError(f"model '{model}' has no study '{study}'; leave --study out to compare all its variants")
        same = [name for name, each in entry.variants.items() if not {"label_set", "spans"} & each.data.keys()]
        if not same:
            codes = " of the same codes" if entry.variants else ""
            raise SpecError(f"model '{model}' has no variants{codes} to compare; see 'icdbench models'")
        return [(None, replace(request, models=[model, *(f"{model}@{name}" for name in same)]))]
    if study not in {ALL, *studies}:
        raise SpecError(f"model '{model}' has no study '{study}'{nearest(study, {ALL, *studies})}")
    planned: list[tuple[Benchmark | None, Request]] = []
    for name in studies if study == ALL else [study]:
        table = next((each for each in studies[name] if each.dataset == request.dataset), studies[name][0])
        changes = {**table.overrides, **request.changes}  # what the user sets comes last
        planned.append((table, replace(request, models=table.systems, changes=changes)))
    return planned
