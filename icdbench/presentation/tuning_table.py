"""Tables of tuning: all trials, the parameters found and their gain on validation (`tuned`); what is left to do (`cost`).

`tuning_page` has the tables and Optuna's plots: an HTML page that opens from disk, without scripts.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import TYPE_CHECKING

from markupsafe import Markup

from icdbench.presentation.formats import LEFT, Cell, Grid, Value, duration, is_best, plain, write
from icdbench.presentation.headings import heading
from icdbench.settings import typed

if TYPE_CHECKING:  # Optuna and torch are slow to import
    from icdbench.experiments import tune

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}  # Optuna's, in the order of the table
PLOTS = {
    "history": "Trials in their order",
    "parallel": "Settings of all trials",
    "importance": "Importance of parameters",
}


def tuned(found: tune.Outcome, command: str, fmt: str = "md") -> str:
    """A row for each trial; one for each parameter, with the gain, and the command that compares the result with the start.

    Raises SpecError for an unknown format.
    """
    return write([_trials(found), _summary(found, command)], fmt)


def tuning_page(found: tune.Outcome, command: str) -> str:
    """The tables, and those of the plots that lie beside the best setting."""
    from icdbench.presentation import report

    style = report.asset("report.css")
    files = {title: found.path.with_suffix(f".{name}.svg") for name, title in PLOTS.items()}
    templates = report.templates(report.printable_text)
    templates.filters["plain"], templates.tests["best"] = plain, is_best
    return templates.get_template("tune.html").render(
        summary=_summary(found, command),
        trials=_trials(found),
        plots={title: base64.b64encode(path.read_bytes()).decode() for title, path in files.items() if path.is_file()},
        left=LEFT,
        style=Markup(style),  # noqa: S704  our own file
        policy=f"default-src 'none'; img-src data:; base-uri 'none'; style-src {report.hash_of(style)}",
    )


def _summary(found: tune.Outcome, command: str) -> Grid:
    """A row for each parameter; below them the gain, the budget, and the command that compares the result with the start."""
    rows = []
    for each in found.parameters:
        share = "" if each.importance is None else Cell(100 * each.importance)
        rows.append([each.name, _setting_text(each.start), _setting_text(each.best), str(each.range), share])
    notes = [*_notes_on_gain(found), _note_on_budget(found)]
    if found.fixed:
        notes.append(f"Held fixed, and part of the tuned setting: {_settings_text(found.fixed)}.")
    if found.adapted:
        small = "settings for small training sets in place of the published ones"
        notes.append(f"The start has {small}: {_settings_text(found.adapted)}.")
    notes += [_note_on_importance(found), *(f"Failed: {failure}." for failure in found.failures[:5])]
    about = f"Stored in {found.path}; {found.path.with_suffix('.html')} shows this with plots."
    notes.append(f"{about} The same command with a larger --trials goes on.")
    if found.first is None or found.value > found.first:
        notes += [f"To compare it with the start on test documents{_same_budget_words(found)}:", command]
    header = ["parameter", "start", "best value", "range", "importance"]
    title = f"Tuning of {found.spec.model} on {found.spec.dataset}"
    return Grid(title, header, rows, notes)


def _trials(found: tune.Outcome) -> Grid:
    """The complete trials, the best first, then the others; the most important parameters first, by their short names."""
    ranked = sorted(found.parameters, key=lambda each: -(each.importance or 0))
    start = {each.name: each.start for each in ranked}
    rows: list[list[Value]] = []
    for trial in sorted(found.trials, key=lambda each: ([*STATES].index(each.state.name), -(each.value or 0))):
        number, state = trial.number + 1, STATES[trial.state.name] + ", start" * (trial.params == start)
        value = "" if trial.value is None else Cell(100 * trial.value, best=number == found.trial)
        rows.append([number, value, state, *(_setting_text(trial.params.get(name, "")) for name in start)])
    short = [name.partition(".")[2].replace("_", " ") for name in start]
    pruned = "; that of a pruned trial is of its last epoch" if found.counts["pruned"] else ""
    notes = [f"{heading(found.monitor)} on validation, percent{pruned}."]
    title = f"Trials of {found.spec.model} on {found.spec.dataset}, the best first"
    return Grid(title, ["trial", "validation", "state", *short], rows, notes)


def _note_on_budget(found: tune.Outcome) -> str:
    trials = ", ".join(f"{number} {name}" for name, number in found.counts.items())
    train = found.spec.train
    epochs = f"; each at most {train.max_epochs} epochs, patience {train.patience}" if found.by_epochs else ""
    return f"Budget: {sum(found.counts.values())} trials ({trials}){epochs}; seed {found.seed}."


def _same_budget_words(found: tune.Outcome) -> str:
    if not found.by_epochs:
        return ""
    return f", both with at most {found.spec.train.max_epochs} epochs and patience {found.spec.train.patience}"


def _notes_on_gain(found: tune.Outcome) -> list[str]:
    """The gain on validation, and whether it exceeds what seeds alone make."""
    best = f"Validation {heading(found.monitor)}: {100 * found.value:.1f} in trial {found.trial}"
    if found.first is None:
        reason = "its trial did not finish, or one of its values is outside the ranges"
        return [f"{best}. The start has no value to compare with: {reason}."]
    gain = 100 * (found.value - found.first)
    if gain <= 0:
        start = f"the start ({100 * found.first:.1f} {found.monitor} on validation)"
        same = f"'{found.spec.model}@tuned' is no improvement on '{found.spec.model}'"
        return [f"Nothing better than {start} was found: {same}."]
    shown = Cell(100 * found.value).shown - Cell(100 * found.first).shown  # so that readers can check it
    notes = [f"{best}, {100 * found.first:.1f} at the start: gain {shown:.1f}."]
    if not found.by_epochs:  # the model has no seed
        return [*notes, "The best of several trials is partly luck."]
    if len(found.seeds) < 2:
        unknown = "no two seeds of the start are stored, so how far the seed alone moves the figure is not known"
        return [*notes, f"The best of several trials is partly luck; {unknown}."]
    spread = 100 * stdev(found.seeds)
    within = "within twice that, so chance may explain it" if gain <= 2 * spread else "more than twice that"
    stored = f"standard deviation of {len(found.seeds)} stored runs"
    return [*notes, f"The seed alone moves the start's figure by ± {spread:.1f} ({stored}); the gain is {within}."]


def _note_on_importance(found: tune.Outcome) -> str:
    """What importance means and how reliable it is."""
    from icdbench.experiments import importance

    complete, searched = found.counts["complete"], len(found.parameters)
    if searched == 1:
        return "Importance: not estimated; a single parameter is searched."
    trials = f"{complete} complete trial{'s' * (complete != 1)} of {searched} parameter{'s' * (searched != 1)}"
    fewest, reliable = importance.FEWEST * searched, importance.SURE * searched
    if not any(each.importance is not None for each in found.parameters):
        reason = "all gave the same value" if complete >= fewest else f"{fewest} are needed"
        return f"Importance: not estimated from {trials}; {reason}."
    rough = "" if complete >= reliable else f"; a rough estimate, reliable from about {reliable}"
    explained = "percent of the variance between trials that the parameter explains (fANOVA)"
    return f"Importance: {explained}, from {trials}{rough}."


def _setting_text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else typed(value)


def _settings_text(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={_setting_text(value)}" for name, value in settings.items())


def cost(budgets: Sequence[tune.Budget]) -> str:
    """What is left to do of each study, and of all together, as a Markdown table."""
    rows: list[list[Value]] = [
        [each.model, each.parameters, each.done, each.left, "?" if each.cost is None else duration(each.cost)]
        for each in budgets
    ]
    total = duration(sum(each.cost or 0 for each in budgets)) + " + ?" * any(each.cost is None for each in budgets)
    rows.append(["all", "", sum(each.done for each in budgets), sum(each.left for each in budgets), total])
    header = ["model", "parameters searched", "trials done", "left", "time left"]
    note = "Time left: estimated from the study's trials, else from stored runs of the start; ?: there are neither."
    return write([Grid("What is left to tune", header, rows, [note])], "md")
