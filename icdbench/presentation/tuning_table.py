"""What tuning found, as a table: the parameters, what they gained on validation, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import TYPE_CHECKING

from icdbench.presentation.formats import Cell, Grid, Value, duration, write

if TYPE_CHECKING:  # Optuna and torch are slow to import
    from icdbench.experiments import tune


def tuned(found: tune.Outcome, command: str, fmt: str = "md") -> str:
    """A row for each parameter; below it the budget, the gain, and the command that compares the result with the start.

    Raises SpecError for an unknown format.
    """
    rows = []
    for each in found.parameters:
        share = "" if each.importance is None else Cell(100 * each.importance)
        rows.append([each.name, _setting(each.start), _setting(each.best), str(each.range), share])
    notes = [_budget(found), *_gain(found)]
    if found.fixed:
        notes.append(f"Held fixed, and part of the tuned setting: {_listed(found.fixed)}.")
    if found.adapted:
        notes.append(
            f"The start has settings for small training sets in place of the published ones: {_listed(found.adapted)}."
        )
    notes += [_about_importance(found), *(f"Failed: {failure}." for failure in found.failures[:5])]
    notes.append(f"Stored in {found.path}. The same command with a larger --trials goes on.")
    if found.first is None or found.value > found.first:
        notes += [f"To compare it with the start on test documents{_same_budget(found)}:", command]
    header = ["parameter", "start", "best value", "range", "importance"]
    title = f"Tuning of {found.spec.model} on {found.spec.dataset}"
    return write([Grid(title, header, rows, notes)], fmt)


def _budget(found: tune.Outcome) -> str:
    trials = ", ".join(f"{number} {name}" for name, number in found.counts.items())
    each = ""
    if found.by_epochs:
        trained = found.spec.train
        each = f"; each at most {trained.max_epochs} epochs, patience {trained.patience}"
    return f"Budget: {sum(found.counts.values())} trials ({trials}){each}; seed {found.seed}."


def _same_budget(found: tune.Outcome) -> str:
    if not found.by_epochs:
        return ""
    return f", both with at most {found.spec.train.max_epochs} epochs and patience {found.spec.train.patience}"


def _gain(found: tune.Outcome) -> list[str]:
    """The gain on validation, and whether it is more than seeds alone would make."""
    best = f"Validation {found.monitor}: {100 * found.value:.1f} in trial {found.trial}"
    if found.first is None:
        failed = "its trial did not finish, or a value of it lies outside the ranges"
        return [f"{best}. The start has no value to compare with: {failed}."]
    gain = 100 * (found.value - found.first)
    if gain <= 0:
        same = f"'{found.spec.model}@tuned' is no improvement on '{found.spec.model}'"
        return [
            f"Nothing better than the start ({100 * found.first:.1f} {found.monitor} on validation) was found: {same}."
        ]
    notes = [f"{best}, {100 * found.first:.1f} at the start: gain {gain:.1f}."]
    if not found.by_epochs:  # no seed enters
        return [*notes, "The best of several trials is partly luck."]
    if len(found.seeds) < 2:
        unknown = "no two seeds of the start are stored, so how far the seed alone moves the figure is not known"
        return [*notes, f"The best of several trials is partly luck; {unknown}."]
    spread = 100 * stdev(found.seeds)
    within = "within twice that, so chance may explain it" if gain <= 2 * spread else "more than twice that"
    stored = f"standard deviation of {len(found.seeds)} stored runs"
    return [*notes, f"The seed alone moves the start's figure by ± {spread:.1f} ({stored}); the gain is {within}."]


def _about_importance(found: tune.Outcome) -> str:
    """What importance means, and how reliable it is."""
    from icdbench.experiments import importance

    complete, searched = found.counts["complete"], len(found.parameters)
    if searched == 1:
        return "Importance: not estimated; a single parameter is searched."
    of = f"{complete} complete trial{'s' * (complete != 1)} of {searched} parameter{'s' * (searched != 1)}"
    if not any(each.importance is not None for each in found.parameters):
        reason = (
            "all gave the same value"
            if complete >= importance.FEWEST * searched
            else f"{importance.FEWEST * searched} are needed"
        )
        return f"Importance: not estimated from {of}; {reason}."
    sure = (
        ""
        if complete >= importance.SURE * searched
        else f"; a rough estimate, reliable from about {importance.SURE * searched}"
    )
    return f"Importance: percent of the variance between trials that the parameter explains (fANOVA), from {of}{sure}."


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _listed(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={_setting(value)}" for name, value in settings.items())


def cost(budgets: Sequence[tune.Budget]) -> str:
    """What is left of each study, and of all together, as a Markdown table."""
    rows: list[list[Value]] = [
        [each.model, each.parameters, each.done, each.left, "?" if each.cost is None else duration(each.cost)]
        for each in budgets
    ]
    known = duration(sum(each.cost or 0 for each in budgets))
    more = " + ?" if any(each.cost is None for each in budgets) else ""
    rows.append(["all", "", sum(each.done for each in budgets), sum(each.left for each in budgets), known + more])
    header = ["model", "parameters searched", "trials done", "left", "time left"]
    note = "Time left: by the mean time of the study's trials, else of stored runs of the start; ?: there are neither."
    return write([Grid("What is left to tune", header, rows, [note])], "md")
