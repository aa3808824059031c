"""icdbench from Python: `import icdbench`, then run, results, evaluate, score, tune, ablate, explain, load, open_dataset.

The command line calls the same functions. Messages and progress go to stderr. What is wrong with a request or the data is
a SpecError or a DataError, both ValueErrors, of one line. docs/api.md shows each function at work.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import icdbench.run as runner
from icdbench import registry, views
from icdbench.data import datasets
from icdbench.experiments import Execution, launch, tracking
from icdbench.experiments import progress as bars
from icdbench.inference import bundle, predict
from icdbench.presentation import catalog, tables
from icdbench.run import FLOOR, Request
from icdbench.settings import SpecError
from icdbench.spec import Benchmark
from icdbench.training import TrainingError
from icdbench.views import Dataset, Results, Run, View

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

    from icdbench.experiments import scored as scoring
    from icdbench.experiments import tune as tuning
    from icdbench.inference import explain as explaining
    from icdbench.resolution import Resolved
    from icdbench.types import IntArray

__all__ = [
    "Dataset", "Execution", "Results", "Run", "RunsFailedError", "TrainingError", "View", "ablate", "evaluate", "explain", "load",
    "open_dataset", "results", "run", "score", "tune",
]  # fmt: skip

MODELS = Request().models  # unless a user names some


LOCAL = Execution()


class RunsFailedError(TrainingError):
    """Some runs could not be finished. `results` has those that could, which are stored."""

    def __init__(self, message: str, results: Results) -> None:
        super().__init__(message)
        self.results = results


def run(
    models: str | Sequence[str] | None = None,
    dataset: str | None = None,
    *,
    benchmark: str | None = None,
    seeds: int | Sequence[int] = 1,
    settings: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    results: str | Path = "results",
    device: str = "auto",
    force: bool = False,
    execution: Execution = LOCAL,
) -> Results:
    """Train models on a data set, or take the runs that are stored already; the runs in the order asked for.

    `models` are names such as `jlan`, `jlan@no-joint` (a variant), `all`, or files of your own: `./mine.py`,
    `mine.py:name@variant`; else jlan and caml. `floors` stands for the simple systems that every other has to beat, with
    the first seed alone. `dataset` is a name or the path of your own table; else `demo`. `benchmark`
    names a table (`table5`, `my_table.py`), which brings models and data sets with it. `seeds` is a list, or a count: 3 for
    1, 2, 3. `settings` maps `train.max_epochs`, `data.top_codes` or `jlan.dropout` to values, as --set does. `data` is the
    folder of raw data (else ICDBENCH_DATA, else ./data), `results` that of records, `device` auto, cpu, cuda or mps.
    `force` computes finished runs again.

    Nothing is trained before the whole request is known to be right. Raises SpecError, DataError; RunsFailedError once all
    runs have ended or failed; KeyboardInterrupt once a run that is stopped has written its checkpoint: the same call
    continues it.

    >>> runs = run("lr", "demo", settings={"data.top_codes": 5})
    >>> runs
    <1 run of lr on demo>
    >>> round(runs[0].metrics()["f1_micro"], 2) > 0.5
    True
    >>> runs[0].predictions()["probability"].shape  # test documents × codes
    (160, 5)
    """
    return carry_out(plan(
        models, dataset, benchmark=benchmark, seeds=seeds, settings=settings, data=data, results=results, device=device, force=force
    ), execution)  # fmt: skip


def plan(
    models: str | Sequence[str] | None = None,
    dataset: str | None = None,
    *,
    benchmark: str | None = None,
    seeds: int | Sequence[int] = 1,
    settings: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    results: str | Path = "results",
    device: str = "auto",
    force: bool = False,
    floors: bool = False,
) -> list[tuple[Benchmark | None, Request]]:
    """The requests that `run` carries out, each with the table that it was asked for. Raises SpecError.

    With `floors` each has the systems beside it that every other has to beat.
    """
    names = [models] if isinstance(models, str) else models
    beside = (FLOOR,) if floors else ()
    request = Request(
        (*(names or MODELS), *beside), dataset or "demo", seed_list(seeds), settings or {}, _path(data), Path(results), device, force=force
    )  # fmt: skip
    if benchmark is None:
        return [(None, request)]
    parts = [each for each in catalog.chosen(benchmark) if dataset in {None, each.dataset} and each.dataset]
    if not parts:
        raise SpecError(f"'{benchmark}' has no table of systems" + (f" on '{dataset}'" if dataset else ""))
    return [
        (each, replace(request, models=(*(names or each.systems), *beside), dataset=each.dataset, changes={**each.overrides, **request.changes}))
        for each in parts
    ]  # fmt: skip


def resolved(planned: Sequence[tuple[Benchmark | None, Request]]) -> list[Resolved]:
    """The settings of each system that would be run, and where each setting comes from. Raises SpecError, DataError."""
    with bars.preparing(Console(stderr=True)) as prepare:
        return [each for _, request in planned for each in runner.resolved(request, prepare)]


def carry_out(planned: Sequence[tuple[Benchmark | None, Request]], execution: Execution = LOCAL) -> Results:
    """The runs of all requests; what several ask for is run once. Raises as `run`."""
    execution.check()
    track = execution.track if launch.shows() else ()
    tracking.check(track)
    console = Console(stderr=True, quiet=not (execution.progress and launch.shows()))
    told: set[str] = set()
    with bars.preparing(console) as prepare:
        located = [replace(request, models=_located(request.models)) for _, request in planned]
        expanded = [runner.expand(request, prepare, told) for request in located]
    # Only now that all is known to be right are other processes started.
    devices, nodes = launch.join(located[0].device, execution.devices, execution.nodes)
    asked = {
        each.spec.id: (each, replace(request, devices=devices, nodes=nodes))
        for runs, request in zip(expanded, located, strict=True)
        for each in runs
    }
    cluster = launch.Cluster(execution.task_cpus, execution.task_gpus) if execution.launcher == "ray" else None
    records, failures = {}, []
    stored = launch.tell_stored(list(asked.values()), console)
    with bars.display(len(asked), console) as display, tracking.tracked(display, track) as shown:
        for name, outcome in launch.carry_out(list(asked.values()), execution.jobs, shown, cluster):
            if name not in stored:
                shown.finish(outcome, name)
            if isinstance(outcome, TrainingError):
                failures.append((f"{name}: {outcome}", outcome))
            else:
                records[name] = outcome
    found = [[records[each.spec.id] for each in runs if each.spec.id in records] for runs in expanded]
    finished = [
        Run(record, asked[name][1].results / record.id) for name in asked if (record := records.get(name)) is not None
    ]
    parts = [
        (benchmark, of)
        for (benchmark, _), of in zip(planned, found, strict=True)
        if of or (benchmark is not None and not benchmark.study)
    ]
    ended = Results(finished, parts if any(benchmark for benchmark, _ in parts) else ())
    if failures and launch.shows():  # a process that ended with an error would take along the one that prints
        reasons = "; ".join(line for line, _ in failures)
        message = f"{len(failures)} of {len(asked)} runs failed: {reasons}"
        raise RunsFailedError(message, ended) from failures[0][1]
    return ended


def _located(models: Sequence[str]) -> list[str]:
    """The systems, those of a user's files under names that hold in any process."""
    return [system for model in models for system in registry.systems(model)]


def seed_list(seeds: int | Sequence[int]) -> Sequence[int]:
    """A count as the seeds from 1 on; a list as it is. Raises SpecError."""
    found = range(1, seeds + 1) if isinstance(seeds, int) else seeds
    if not found or any(not 0 <= seed < 2**31 for seed in found):
        raise SpecError(f"seeds={seeds}: give a count such as 3, or a list of numbers from 0 up such as [1, 2, 3]")
    return list(found)


def _of_data(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings of a data set by field, with or without `data.` before it. Raises SpecError."""
    found = {key.removeprefix("data."): value for key, value in (settings or {}).items()}
    if other := next((key for key in found if "." in key), None):
        raise SpecError(f"{other}: only data.FIELD has a meaning here")
    return found


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def results(*folders: str | Path) -> Results:
    """The finished runs that are stored below results folders, by id; without a folder those of `results`.

    Of the same run in several folders the first counts. Raises SpecError for a folder that does not exist.

    >>> made = run("lr", "demo", settings={"data.top_codes": 5})
    >>> found = results("results").frame()
    >>> found.query("metric == 'f1_micro' and split == 'test' and rule == 'fixed'")["system"].tolist()
    ['lr']
    """
    places = [Path(folder) for folder in folders or ("results",)]
    if missing := next((place for place in places if not place.is_dir()), None):
        raise SpecError(f"'{missing}' is no folder of results; icdbench.run makes one")
    return views.stored(*places)


def evaluate(
    scores: ArrayLike | pd.DataFrame | Sequence[Sequence[str]],
    labels: ArrayLike | pd.DataFrame | Sequence[Sequence[str]],
    threshold: float = 0.5,
    *,
    unseen: ArrayLike | None = None,
    train_counts: IntArray | None = None,
) -> dict[str, float]:
    """The suite's metrics alone, as fractions in [0, 1], by the keys that docs/metrics.md defines.

    `scores` [N documents, L codes]: probabilities, or any numbers on the scale of `threshold` (0 for logits); an array, a
    scipy sparse matrix or a DataFrame. `labels` [N, L]: 0 and 1, in the same forms. Two DataFrames are aligned by index and
    columns. Labels may also be given as lists of codes, one list a document, beside a DataFrame of scores with a column for
    each code; gold codes without a column count as missed. If both are lists of codes, predicted and gold, the figures are
    those of sets alone: nothing is ranked. `unseen` [N] counts each document's gold codes outside the columns;
    `train_counts` [L], training documents of each code, adds figures by frequency.

    Raises SpecError for shapes, rows or columns that do not fit, and for labels other than 0 and 1.

    >>> round(evaluate([[0.9, 0.2], [0.4, 0.7]], [[1, 0], [1, 1]])["f1_micro"], 3)
    0.8
    >>> round(evaluate([["I10"], ["E11", "I10"]], [["I10"], ["E11"]])["precision_micro"], 3)
    0.667
    """
    from icdbench.evaluation import scoring

    return scoring.evaluate(scores, labels, threshold, unseen=unseen, train_counts=train_counts)


def score(
    file: str | Path, dataset: str = "demo", *, name: str = "", split: str = "test", validation: str | Path | None = None,
    ranked: bool = False, settings: Mapping[str, Any] | None = None, reading: Mapping[str, Any] | None = None,
    data: str | Path | None = None, results: str | Path = "results",
) -> View[scoring.ScoredPredictions]:  # fmt: skip
    """Score predictions that were made elsewhere: a file with columns id, codes and, if there are any, scores (docs/api.md).

    Those of the test split are stored as a run of the system `name` (else the file's). `settings` are of the data set
    (`data.top_codes`), `reading` of the file: `columns` ("id=NAME"), `encoding`, `code_separator`. Raises SpecError, DataError.
    """
    from icdbench.experiments import scored as scoring

    held = _path(validation)
    asked = scoring.FileRequest(Path(file), dataset, name, split, held, ranked, _of_data(settings), reading or {}, _path(data), Path(results))  # fmt: skip
    with bars.preparing(Console(stderr=True)) as report:
        found = scoring.score(asked, report)
    return View(found, lambda fmt: tables.scored_file(found, [asked.results], fmt))


def tune(
    model: str,
    dataset: str = "demo",
    *,
    trials: int = 50,
    settings: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    results: str | Path = "results",
    device: str = "auto",
    storage: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> View[tuning.Outcome]:
    """Search the tuning ranges of a model for the best validation metric; `run(f"{model}@tuned")` then uses what was found.

    `trials` in all: the same call continues up to that number. `storage` is a database URL for many workers; else SQLite in
    the results folder. What `settings` sets is not searched. Raises SpecError, DataError, TrainingError if no trial ends;
    KeyboardInterrupt.
    """
    from icdbench.experiments import tune as tuning

    request = Request([model], dataset, (1,), settings or {}, _path(data), Path(results), device)
    console = Console(stderr=True, quiet=not progress)
    with bars.preparing(console) as prepare, bars.tuning(console) as show:
        found = tuning.tune(request, trials, storage, seed, show, prepare)
    words = ["icdbench", "run", "--models", f"{model},{model}@tuned", "--dataset", dataset]
    words += ["--seeds", "3"] if found.by_epochs else []
    # What both must have to be comparable.
    words += [word for name, value in request.changes.items() for word in ("--set", f"{name}={value}")]
    words += ["--data", str(data)] if data else []
    words += ["--results", str(results)] if Path(results) != Path("results") else []
    return View(found, lambda fmt: tables.tuned(found, shlex.join(words), fmt))


def ablate(
    model: str,
    dataset: str = "demo",
    *,
    study: str = "all",
    seeds: int | Sequence[int] = 1,
    settings: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    results: str | Path = "results",
    device: str = "auto",
    force: bool = False,
    execution: Execution = LOCAL,
) -> Results:
    """Run the studies of a model's paper (of jlan: attention, joint, denoise, t-loss, blocks), or compare all its variants.

    The other arguments and errors are those of `run`. `table()` of the results gives the tables of the studies.
    """
    from icdbench.experiments import ablate as studies

    request = Request([model], dataset, seed_list(seeds), settings or {}, _path(data), Path(results), device, force=force)  # fmt: skip
    return carry_out(studies.plan(request, catalog.studies(model), study), execution)


def load(
    trained: str | Path | Run,
    device: str = "cpu",
    *,
    models: str | Sequence[str] = (),
    results: str | Path = "results",
    data: str | Path | None = None,
    dataset: str | None = None,
) -> predict.Predictor:
    """A trained model, ready for new notes: from a bundle's file or folder, a run's id or folder, or a `Run`.

    `load(run).predict(texts, top=5)` gives for each text its codes, the most probable first: code, title, probability, and
    whether that is above the threshold. `models` are the Python files with the code of models of your own. A run's words
    come from the cache; if it has lost them, from its data set, which `data` (its folder) or `dataset` (your own file) says
    where to find. Raises SpecError, DataError.
    """
    registry.load_files([models] if isinstance(models, str) else models)
    name = trained.folder if isinstance(trained, Run) else Path(trained)
    if bundle.is_folder(name) or (not name.is_dir() and (name.is_file() or name.suffix or isinstance(trained, Path))):
        return predict.Predictor(bundle.read(name), device)
    with bars.preparing(Console(stderr=True)) as report:
        found = bundle.of_run(str(name), Path(results), _path(data), dataset, report)
    return predict.Predictor(found, device)


def explain(
    trained: str | Path | Run | predict.Predictor, text: str, code: str = "", method: str = ""
) -> View[explaining.Explanation]:
    """The words of a note that speak for a code: without one the most probable, without a method the model's first.

    `data` has the code's probability, and for each word its characters in the text and its weight. docs/predict.md has the
    methods. Raises SpecError for an unknown code or method, DataError for a text without words.
    """
    from icdbench.serving import explanation

    predictor = trained if isinstance(trained, predict.Predictor) else load(trained)
    (found,) = explanation.explanations(predictor, text, code, method, others=0)
    return View(found, lambda fmt: explanation.written(found, text, fmt))


def open_dataset(name: str, data: str | Path | None = None, settings: Mapping[str, Any] | None = None) -> Dataset:
    """A data set as DataFrames: `documents`, `splits`, `codes`. `settings` maps fields such as `data.top_codes` to values.

    Raises SpecError, DataError.

    >>> notes = open_dataset("demo")
    >>> notes.splits["documents"].to_dict()
    {'train': 600, 'validation': 120, 'test': 160}
    """
    return Dataset(datasets.open(name, _path(data), _of_data(settings)))
