"""icdbench from Python: `import icdbench`, then run, results, evaluate, score, tune, ablate, explain, load, open_dataset.

The command line calls the same functions. Messages and progress go to stderr. Errors in a request or the data are SpecError
or DataError, both ValueErrors with a one-line message. docs/api.md has an example of each function.
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
from icdbench.files import replacing
from icdbench.inference import bundle, predict
from icdbench.presentation import catalog, tables
from icdbench.run import FLOOR, Request
from icdbench.settings import SpecError, given_names, given_settings, path_text, seed_list, typed
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
    """Some runs failed. `results` has the finished ones, which are stored."""

    def __init__(self, message: str, results: Results) -> None:
        super().__init__(message)
        self.results = results


def run(
    models: str | Path | Sequence[str | Path] | None = None,
    dataset: str | Path | None = None,
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
    """Train models on a data set, unless the runs are already stored; return the runs in the order requested.

    - `models`: names such as `jlan`, `jlan@no-joint` (a variant) or `all`, or your own files: `./mine.py`,
      `mine.py:name@variant`; by default jlan and caml. `floors` stands for the baselines that every model has to beat, with
      the first seed only.
    - `dataset`: a name, or the path of your own table; by default `demo`.
    - `benchmark`: a table (`table5`, `my_table.py`) that defines models and data sets.
    - `seeds`: a list, or a count: 3 for 1, 2, 3.
    - `settings`: maps `train.max_epochs`, `data.top_codes` or `jlan.dropout` to values, as --set does.
    - `data`: the folder of raw data (by default ICDBENCH_DATA, else ./data); `results`: the folder of records.
    - `device`: auto, cpu, cuda or mps. `force`: compute finished runs again.

    The whole request is checked before anything is trained. Raises SpecError, DataError; RunsFailedError once all runs have
    ended or failed; KeyboardInterrupt once an interrupted run has written its checkpoint: the same call continues it.

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
    models: str | Path | Sequence[str | Path] | None = None,
    dataset: str | Path | None = None,
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
    """The requests that `run` carries out, each with its table if there is one. Raises SpecError.

    With `floors` each request also has the baselines that every model has to beat.
    """
    names = None if models is None else given_names(models, "models")
    named = None if dataset is None else path_text(dataset, "dataset")
    baselines = (FLOOR,) if floors else ()
    request = Request(
        (*(names or MODELS), *baselines), "demo" if named is None else named, seed_list(seeds), given_settings(settings), _path(data), Path(results), device, force=force
    )  # fmt: skip
    if benchmark is None:
        return [(None, request)]
    parts = [each for each in catalog.chosen(benchmark) if named in {None, each.dataset} and each.dataset]
    if not parts:
        raise SpecError(f"'{benchmark}' has no table of systems" + (f" on '{named}'" if named else ""))
    return [
        (each, replace(request, models=(*(names or each.systems), *baselines), dataset=each.dataset, changes={**each.overrides, **request.changes}))
        for each in parts
    ]  # fmt: skip


def resolved(planned: Sequence[tuple[Benchmark | None, Request]]) -> list[Resolved]:
    """The settings of each system that would be run, and their origins. Raises SpecError, DataError."""
    with bars.preparing(Console(stderr=True)) as prepare:
        return [each for _, request in planned for each in runner.resolved(request, prepare)]


def carry_out(planned: Sequence[tuple[Benchmark | None, Request]], execution: Execution = LOCAL) -> Results:
    """Carry out all requests; a run that several of them have is run once. Raises as `run`."""
    execution = execution.checked()
    track = execution.track if launch.shows() else ()
    tracking.check(track)
    console = Console(stderr=True, quiet=not (execution.progress and launch.shows()))
    warned: set[str] = set()
    with bars.preparing(console) as prepare:
        located = [replace(request, models=[system for model in request.models for system in registry.systems(model)]) for _, request in planned]  # fmt: skip
        expanded = [runner.expand(request, prepare, warned) for request in located]
    # Other processes are started only after the whole request has been checked.
    devices, nodes = launch.join(located[0].device, execution.devices, execution.nodes)
    runs_by_id = {
        each.spec.id: (each, replace(request, devices=devices, nodes=nodes))
        for runs, request in zip(expanded, located, strict=True)
        for each in runs
    }
    cluster = launch.Cluster(execution.task_cpus, execution.task_gpus) if execution.launcher == "ray" else None
    records, failures = {}, []
    stored = launch.tell_stored(list(runs_by_id.values()), console)
    with bars.display(len(runs_by_id), console) as display, tracking.tracked(display, track) as shown:
        for name, outcome in launch.carry_out(list(runs_by_id.values()), execution.jobs, shown, cluster):
            if name not in stored:
                shown.finish(outcome, name)
            if isinstance(outcome, TrainingError):
                failures.append((f"{name}: {outcome}", outcome))
            else:
                records[name] = outcome
    found = [[records[each.spec.id] for each in runs if each.spec.id in records] for runs in expanded]
    finished = [
        Run(record, request.results / record.id)
        for name, (_, request) in runs_by_id.items()
        if (record := records.get(name)) is not None
    ]
    parts = [
        (benchmark, runs)
        for (benchmark, _), runs in zip(planned, found, strict=True)
        if runs or (benchmark is not None and not benchmark.study)
    ]
    ended = Results(finished, parts if any(benchmark for benchmark, _ in parts) else ())
    if failures and launch.shows():  # if another process ended with an error, the one that prints would be ended, too
        reasons = "; ".join(line for line, _ in failures)
        message = f"{len(failures)} of {len(runs_by_id)} runs failed: {reasons}"
        raise RunsFailedError(message, ended) from failures[0][1]
    return ended


def _data_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings of a data set by field, given with or without `data.` before it. Raises SpecError."""
    found = {key.removeprefix("data."): value for key, value in given_settings(settings).items()}
    if other := next((key for key in found if "." in key), None):
        raise SpecError(f"{other}: only data.FIELD has a meaning here")
    return found


def _path(given: str | Path | None, what: str = "data") -> Path | None:
    return None if given is None else Path(path_text(given, what))


def results(*folders: str | Path) -> Results:
    """The finished runs stored below results folders (by default `results`), sorted by id.

    If a run is in several folders, the first counts. Raises SpecError for a folder that does not exist.

    >>> made = run("lr", "demo", settings={"data.top_codes": 5})
    >>> found = results("results").frame()
    >>> found.query("metric == 'f1_micro' and split == 'test' and rule == 'fixed'")["system"].tolist()
    ['lr']
    """
    paths = [Path(folder) for folder in folders or ("results",)]
    if missing := next((path for path in paths if not path.is_dir()), None):
        raise SpecError(f"'{missing}' is no folder of results; icdbench.run makes one")
    return views.stored(*paths)


def evaluate(
    scores: ArrayLike | pd.DataFrame | Sequence[Sequence[str]],
    labels: ArrayLike | pd.DataFrame | Sequence[Sequence[str]],
    threshold: float = 0.5,
    *,
    unseen: ArrayLike | None = None,
    train_counts: IntArray | None = None,
) -> dict[str, float]:
    """Compute the suite's metrics, as fractions in [0, 1], with the keys that docs/metrics.md defines.

    - `scores` [N documents, L codes]: probabilities, or any numbers on the scale of `threshold` (0 for logits), as an array,
      a scipy sparse matrix or a DataFrame.
    - `labels` [N, L]: 0 and 1, in the same forms; two DataFrames are aligned by index and columns. With a DataFrame of scores
      that has a column for each code, labels may also be lists of codes, one per document; gold codes without a column
      count as missed.
    - If both are lists of codes, predicted and gold, only figures of sets are returned, as nothing is ranked.
    - `unseen` [N]: the number of each document's gold codes outside the columns. `train_counts` [L]: training documents with
      each code; adds figures by frequency.

    Raises SpecError for shapes, rows or columns that do not match, and for labels other than 0 and 1.

    >>> round(evaluate([[0.9, 0.2], [0.4, 0.7]], [[1, 0], [1, 1]])["f1_micro"], 3)
    0.8
    >>> round(evaluate([["I10"], ["E11", "I10"]], [["I10"], ["E11"]])["precision_micro"], 3)
    0.667
    """
    from icdbench.evaluation import scoring

    return scoring.evaluate(scores, labels, threshold, unseen=unseen, train_counts=train_counts)


def score(
    file: str | Path, dataset: str | Path = "demo", *, name: str = "", split: str = "test", validation: str | Path | None = None,
    ranked: bool = False, settings: Mapping[str, Any] | None = None, reading: Mapping[str, Any] | None = None,
    data: str | Path | None = None, results: str | Path = "results",
) -> View[scoring.ScoredPredictions]:  # fmt: skip
    """Score predictions that were made elsewhere: a file with columns id, codes and optionally scores (docs/api.md).

    Predictions for the test split are stored as a run of the system `name` (by default the file's name). `settings` are those
    of the data set (`data.top_codes`), `reading` those of the file: `columns` ("id=NAME"), `encoding`, `code_separator`.
    Raises SpecError, DataError.
    """
    from icdbench.experiments import scored as scoring

    held = _path(validation, "validation")
    path, named = Path(path_text(file, "file")), path_text(dataset, "dataset")
    request = scoring.FileRequest(path, named, name, split, held, ranked, _data_settings(settings), reading or {}, _path(data), Path(results))  # fmt: skip
    with bars.preparing(Console(stderr=True)) as report:
        found = scoring.score(request, report)
    return View(found, lambda fmt: tables.scored_file(found, [request.results], fmt))


def tune(
    model: str | Path,
    dataset: str | Path = "demo",
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
    """Search the tuning ranges of a model for the best validation metric; `run(f"{model}@tuned")` then uses the result.

    `trials` is the total number: the same call continues an interrupted search. `storage` is a database URL for several
    workers, by default SQLite in the results folder. Fields in `settings` are not searched. Raises SpecError, DataError,
    KeyboardInterrupt, and TrainingError if no trial completes.
    """
    from icdbench.experiments import tune as tuning

    model, dataset = path_text(model, "model"), path_text(dataset, "dataset")
    request = Request([model], dataset, (1,), given_settings(settings), _path(data), Path(results), device)
    console = Console(stderr=True, quiet=not progress)
    with bars.preparing(console) as prepare, bars.tuning(console) as show:
        number = seed if isinstance(seed, int) else seed_list([seed])[0]  # numpy's as Python's
        found = tuning.tune(request, trials, storage, number, show, prepare)
    words = ["icdbench", "run", "--models", f"{model},{model}@tuned", "--dataset", dataset]
    words += ["--seeds", "3"] if found.by_epochs else []
    # Settings that both need to be comparable.
    words += [word for name, value in request.changes.items() for word in ("--set", f"{name}={typed(value)}")]
    words += ["--data", str(data)] if data else []
    words += ["--results", str(results)] if Path(results) != Path("results") else []
    command = shlex.join(words)
    with replacing(found.path.with_suffix(".html")) as temporary:
        temporary.write_text(tables.tuning_page(found, command), encoding="utf-8")
    return View(found, lambda fmt: tables.tuned(found, command, fmt))


def ablate(
    model: str | Path,
    dataset: str | Path = "demo",
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
    """Run the studies of a model's paper (for jlan: attention, joint, denoise, t-loss, blocks), or compare all its variants.

    The other arguments and errors are those of `run`. `table()` of the results returns the tables of the studies.
    """
    from icdbench.experiments import ablate as studies

    model, dataset = path_text(model, "model"), path_text(dataset, "dataset")
    request = Request([model], dataset, seed_list(seeds), given_settings(settings), _path(data), Path(results), device, force=force)  # fmt: skip
    return carry_out(studies.plan(request, catalog.studies(model), study), execution)


def load(
    trained: str | Path | Run,
    device: str = "cpu",
    *,
    models: str | Sequence[str] = (),
    results: str | Path = "results",
    data: str | Path | None = None,
    dataset: str | Path | None = None,
) -> predict.Predictor:
    """Load a trained model for new notes: from a bundle's file or folder, a run's id or folder, or a `Run`.

    `load(run).predict(texts, top=5)` returns for each text its codes, the most probable first: code, title, probability, and
    whether that is above the threshold. `models` are the Python files with the code of your own models. A run's words come
    from the cache. If they are no longer there, they are read from its data set, in the folder `data` or in your own file
    `dataset`. Raises SpecError, DataError.
    """
    registry.load_files([models] if isinstance(models, str) else models)
    if trained == "":
        raise SpecError("the model has an empty name; 'icdbench runs' lists runs")
    name = trained.folder if isinstance(trained, Run) else Path(path_text(trained, "the model"))
    if bundle.is_folder(name) or (not name.is_dir() and (name.is_file() or name.suffix or isinstance(trained, Path))):
        return predict.Predictor(bundle.read(name), device)
    with bars.preparing(Console(stderr=True)) as report:
        found = bundle.of_run(
            str(name), Path(results), _path(data), None if dataset is None else path_text(dataset, "dataset"), report
        )
    return predict.Predictor(found, device)


def explain(
    trained: str | Path | Run | predict.Predictor, text: str, code: str = "", method: str = ""
) -> View[explaining.Explanation]:
    """The words of a note that speak for a code, by default the most probable one; the default method is the model's first.

    `data` has the code's probability and, for each word, its position in the text and its weight. docs/predict.md describes
    the methods. Raises SpecError for an unknown code or method, DataError for a text without words.
    """
    from icdbench.serving import explanation

    predictor = trained if isinstance(trained, predict.Predictor) else load(trained)
    if not isinstance(text, str):
        raise SpecError(f"the text is no str but {type(text).__name__}")
    (found,) = explanation.explanations(predictor, text, code, method, others=0)
    return View(found, lambda fmt: explanation.written(found, text, fmt))


def open_dataset(
    name: str | Path, data: str | Path | None = None, settings: Mapping[str, Any] | None = None
) -> Dataset:
    """A data set as DataFrames: `documents`, `splits`, `codes`. `settings` maps fields such as `data.top_codes` to values.

    Raises SpecError, DataError.

    >>> notes = open_dataset("demo")
    >>> notes.splits["documents"].to_dict()
    {'train': 600, 'validation': 120, 'test': 160}
    """
    return Dataset(datasets.open(path_text(name, "dataset"), _path(data), _data_settings(settings)))
