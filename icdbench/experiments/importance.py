"""After tuning: how much each parameter matters, all trials as a table, and Optuna's plots of a study."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState

from icdbench.experiments import trials as kept
from icdbench.files import replacing

FEWEST, SURE = 2, 10  # complete trials per parameter: fewer than FEWEST give no importance, fewer than SURE a rough one

PLOTS = frozenset({"history", "parallel", "importance"})
# The kinds of files, and how they are saved.
KINDS: dict[str, dict[str, Any]] = {"svg": {"metadata": {"Date": None}}, "png": {"dpi": 150}}


def importance(counted: optuna.Study, searched: int) -> dict[str, float]:
    """The share of the value's variance that each parameter explains (fANOVA); empty if there are too few trials."""
    values = [trial.values[0] for trial in counted.trials if trial.state == TrialState.COMPLETE]
    if searched < 2 or len(values) < FEWEST * searched or len(set(values)) < 2:
        return {}
    return optuna.importance.get_param_importances(counted, evaluator=_fanova())


def _fanova() -> optuna.importance.BaseImportanceEvaluator:
    return optuna.importance.FanovaImportanceEvaluator(seed=0)


def write_trials(counted: optuna.Study, path: Path) -> None:
    """Write every trial to a CSV file beside the best setting: number, value, state, duration and setting."""
    columns = ("number", "value", "state", "duration", "params")
    with replacing(path.with_suffix(".trials.csv")) as temporary:
        counted.trials_dataframe(columns).to_csv(temporary, index=False)


def draw(counted: optuna.Study, monitor: str, path: Path, *, importance: bool) -> None:
    """Write Optuna's plots of the history, of settings (parallel coordinates) and of importance, each as PNG and SVG.

    Plots that this search does not have, but an earlier one had, are removed.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
    from optuna.visualization.matplotlib import (
        plot_optimization_history,
        plot_parallel_coordinate,
        plot_param_importances,
    )

    name = f"validation {monitor}"
    with mpl.rc_context({"svg.hashsalt": "icdbench"}), kept.experimental():  # equal figures are equal files
        warnings.filterwarnings("ignore", "Attempting to set identical low and high ylims")  # all trials have one value
        axes = {"history": plot_optimization_history(counted, target_name=name)}
        numbers = [int(tick) for tick in MaxNLocator(integer=True).tick_values(1, len(counted.trials))]
        shown = [number for number in numbers if 1 <= number <= len(counted.trials)]
        axes["history"].set_xticks([number - 1 for number in shown], map(str, shown))  # trials are numbered from 1
        if sum(trial.state == TrialState.COMPLETE for trial in counted.trials) > 1:
            axes["parallel"] = plot_parallel_coordinate(counted, target_name=name)
            _readable(axes["parallel"].figure, counted.best_trial)
        if importance:
            axes["importance"] = plot_param_importances(counted, _fanova(), target_name=name)
        for what in PLOTS.difference(axes):
            for kind in KINDS:
                path.with_suffix(f".{what}.{kind}").unlink(missing_ok=True)
        for what, each in axes.items():
            each.set_title("")
            each.set_title(path.stem, loc="left")
            figure = each.figure
            assert isinstance(figure, Figure)
            for kind, more in KINDS.items():
                with replacing(path.with_suffix(f".{what}.{kind}")) as temporary:
                    figure.savefig(temporary, format=kind, bbox_inches="tight", **more)
            plt.close(figure)


def _readable(figure: Any, trial: FrozenTrial) -> None:
    """Give each axis of parallel coordinates room, its parameter's name, and plain numbers, whole ones of whole numbers, as ticks."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    figure.set_figwidth(1.6 * len(figure.axes))
    for each in figure.axes:
        each.grid(visible=False)
        if each.get_yscale() == "log":
            each.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            each.yaxis.set_major_formatter("{x:g}")
            each.yaxis.set_minor_locator(NullLocator())
    names = sorted(trial.params)
    for each, name in zip(figure.axes[2:], names, strict=True):  # after the axes of the value and of the colours
        if isinstance(trial.distributions[name], IntDistribution) and each.get_yscale() != "log":
            each.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].set_xticks(range(len(names) + 1), ["validation", *names])
