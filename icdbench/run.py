"""The flow of a run: `expand` turns a request into planned runs; `execute` returns a stored run, resumes it or trains it.

The module can be called: `icdbench.run(...)` is `icdbench.api.run`, where the arguments are documented.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icdbench import CallableModule, registry, resolution, train
from icdbench.data import batches, datasets, word_vectors
from icdbench.evaluation import measure
from icdbench.models import FLOORS
from icdbench.plugins import loading
from icdbench.records import RunRecord, provenance, store
from icdbench.resolution import Resolved
from icdbench.settings import DataError, SpecError, UnsuitableError
from icdbench.spec import DataSpec, Planned, RunSpec, Variant
from icdbench.training import Progress, TrainingError, accelerator, memory, score
from icdbench.types import Corpus, LabelSet, Report, Task, quiet

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger("icdbench")

ALL = "all"  # as a model of a request: every registered model
FLOOR = "floors"  # as a model of a request: the baselines that every model has to beat, with the first seed only


@dataclass(frozen=True)
class Request:
    """What a user asked for. `changes` maps names such as `jlan.dropout` or `data.language` to values; text is parsed."""

    models: Sequence[str] = ("jlan", "caml")
    dataset: str = "demo"
    seeds: Sequence[int] = (1,)
    changes: Mapping[str, Any] = field(default_factory=dict)
    root: Path | None = None
    results: Path = Path("results")
    device: str = "auto"
    devices: int = 1  # per run and machine
    nodes: int = 1  # machines per run
    force: bool = False  # compute finished runs again


def expand(request: Request, prepare: Report = quiet, warned: set[str] | None = None) -> list[Planned]:
    """The request's runs: every system with every seed. Raises SpecError or DataError before anything is trained.

    Notices about the data and settings are logged as warnings, except for those in `warned`, to which they are added.
    """
    warned = set() if warned is None else warned
    found = resolved(request, prepare)
    for line in _notices(request, found):
        if line not in warned:
            log.warning("%s", line)
            warned.add(line)
    store.prepare(request.results, {each.spec.dataset for each in found})
    seeds = list(dict.fromkeys(request.seeds))
    one_seed = set(FLOORS) - set(request.models) if FLOOR in request.models else set()
    return [
        each.planned.with_seed(seed)
        for each in found
        for seed in (seeds[:1] if each.spec.system in one_seed else seeds)
    ]


def resolved(request: Request, prepare: Report = quiet) -> list[Resolved]:
    """The settings of each system that the request names. Raises SpecError, DataError.

    Models of `all` and `floors` that do not suit the data or settings are left out with a warning.
    """
    source = datasets.source(request.dataset)
    groups = {ALL: registry.entries() if ALL in request.models else {}, FLOOR: FLOORS}
    named = {model: registry.systems(model) for model in request.models if model not in groups}
    names = dict.fromkeys(name for model in request.models for name in {**groups, **named}[model])
    if empty := next((name for name in names if name.endswith("@")), None):
        raise SpecError(
            f"'{empty}' names no variant after the @; leave the @ out, or see 'icdbench models {empty[:-1]}'"
        )
    entries = {name: registry.entry(registry.split(name)[0]) for name in names}
    resolution.check_changes(request.changes, [entry.name for entry in entries.values()])
    load = functools.cache(lambda data: source.at(datasets.data_root(request.root), data).corpus(prepare))
    device = accelerator.torch_device(request.device)
    found = []
    for name, entry in entries.items():
        variant = _find_variant(request, entry, registry.split(name)[1])
        try:
            each = resolution.resolve(source, entry, variant, request.changes, load, device)
            memory.check_settings(each.spec, task(each.corpus, each.spec.data, None))
            found.append(each)
        except UnsuitableError as error:
            if any(name in systems for systems in named.values()):
                raise
            log.warning("%s; it is left out", error)
    return found


def _find_variant(request: Request, entry: registry.Entry, name: str) -> Variant:
    """The declared variant of this name; `tuned` is read from the results, where tuning on the same data stored it."""
    if name != store.TUNED:
        return entry.variant(name)
    changes = resolution.changes_of(request.changes, "data")
    opened = datasets.open(request.dataset, request.root, {**entry.data, **changes})
    return store.load_tuned(request.results, opened.name, entry.name, request.dataset, opened.fingerprint())


def _notices(request: Request, found: Sequence[Resolved]) -> list[str]:
    """One line for each problem of the data, for what models lack in them, and for unexpected or unused settings."""
    lines = [f"{each.corpus.name}: {notice}" for each in found for notice in each.corpus.notices]
    for each in found:
        entry = registry.entry(each.spec.model)
        config = entry.config().override(each.spec.config, entry.name)
        lines += entry.notices(config, task(each.corpus, each.spec.data, None))
        width, own_file = each.spec.config.get("embedding_size"), word_vectors.own_file(request.changes)
        lines += word_vectors.notices(each.corpus, each.spec.data, width, entry.name, own_file)
    if small := {each.spec.system: each.planned.adapted for each in found if each.planned.adapted}:
        settings = "; ".join(
            f"{system} {', '.join(f'{name}={value}' for name, value in values.items())}"
            for system, values in small.items()
        )
        lines.append(
            f"{len(found[0].corpus.splits['train']):,} training documents, fewer than {resolution.SMALL:,}: settings for small "
            f"data in place of the published ones ({settings}); MODEL@published has those"
        )
    for key, value in request.changes.items():
        if found and all(key in each.unused for each in found):
            systems = ", ".join(each.spec.system for each in found)
            lines.append(f"--set {key}={value} has no effect on {systems} and is left out")
    return lines


def task(
    corpus: Corpus, data: DataSpec, width: int | None, prepare: Report = quiet, own: Path | None = None, seed: int = 1
) -> Task:
    """What a model may know of the corpus. Word vectors have the model's `width`, and may come from a file of one's `own`."""
    initialised = width and data.embeddings != "random"
    vectors = word_vectors.word_vectors(corpus, data, width, prepare, own, seed) if width and initialised else None
    words, codes = corpus.vocabulary.tokens, corpus.vocabulary.codes
    return Task(len(words), len(codes), vectors, corpus.descriptions, corpus.hierarchy, corpus.names, codes, words)


def execute(
    planned: Planned, request: Request, report: Callable[[Progress], None] = lambda _: None, prepare: Report = quiet
) -> RunRecord:
    """The finished run, computed unless it is stored already. Raises DataError, SpecError, TrainingError, KeyboardInterrupt."""
    spec = planned.spec
    registry.load_files(request.models)  # the run may have been planned in another process
    distributed = (
        request.devices * request.nodes > 1
    )  # then all processes must look at the same time, behind the barrier
    if not (distributed or request.force) and (finished := store.find(request.results, spec)) is not None:
        store.tidy(store.folder(request.results, finished))
        return finished
    folder = store.folder(request.results, spec)
    on = accelerator.processes(spec, request.device, request.devices, request.nodes)
    with contextlib.nullcontext() if on.global_rank else store.alone(folder):
        on.barrier()  # only the first process of a run holds its lock and writes
        if not request.force and (finished := store.find(request.results, spec)) is not None:
            store.remove_checkpoints(store.folder(request.results, finished))
            return finished
        on.barrier()
        if not on.global_rank:
            _set_aside_replaced(spec, request)
        with _locating_user_errors(spec):
            record = _train_and_store(planned, request, folder, on, report, prepare)
        on.barrier()
        return record


@contextlib.contextmanager
def _locating_user_errors(spec: RunSpec) -> Iterator[None]:
    """Turns an error in the code of a user's own model into a TrainingError that names file and line."""
    try:
        yield
    except (TrainingError, SpecError, DataError, OSError):
        raise
    except Exception as error:
        path = registry.entry(spec.model).path
        if path is None or not loading.is_from(error, path):
            raise
        raise TrainingError(loading.where_and_why(error, path)) from error


def _set_aside_replaced(spec: RunSpec, request: Request) -> None:
    """Set aside the stored run that is replaced; warn if a run by an older version of the model's code exists."""
    found = store.find(request.results, spec)
    for run in (spec, found or spec):
        store.set_aside(store.folder(request.results, run))
    if found is None and (older := store.find_older(request.results, spec)) is not None:
        name = registry.entry(spec.model).file
        log.warning("%s is a stored run of an older version of %s; computing anew", older.id, name)


def _train_and_store(
    planned: Planned, request: Request, folder: Path, on: Fabric, report: Callable[[Progress], None], prepare: Report
) -> RunRecord:
    """Train the model and score validation and test documents; the first process of the run stores the results.

    A run that also learns from validation documents takes its epochs and threshold from the same run without them.
    """
    without = resolution.without_validation(planned)
    chosen = None if without is None else execute(without, replace(request, force=False), report, prepare)
    spec, began = planned.spec, time.monotonic()
    corpus = _unchanged_corpus(spec, request, prepare)
    own_file = word_vectors.own_file(request.changes)
    model, vectors = build(planned, corpus, on, prepare, own_file)
    prepared = time.monotonic()
    with memory.enough_memory():
        state = train.fit(
            model,
            corpus.splits["train"],
            corpus.splits["validation"],
            spec.train if chosen is None else resolution.with_epochs_of(chosen, spec.train),
            seed=spec.seed,
            on=on,
            checkpoint=folder / store.CHECKPOINT,
            report=report,
        )
    trained = time.monotonic()
    predictions = {
        split: score.predictions(model, batches.Loader(corpus.splits[split], on.device), on)
        for split in measure.MEASURED
        if len(corpus.splits[split])
    }
    timing = {"prepare": prepared - began, "train": state.seconds, "predict": time.monotonic() - trained}
    if state.history:
        timing["documents_per_second"] = len(corpus.splits["train"]) * len(state.history) / max(state.seconds, 1e-9)
    train_counts = corpus.splits["train"].labels().sum(0).A1
    record = provenance.record(
        planned,
        provenance.describe(corpus, vectors, own_file),
        measure.measured(predictions, train_counts, tuned=chosen.threshold["tuned"] if chosen else None)
        | {"notes": memory.notes(model, state) + ([f"epochs and threshold of {chosen.id}"] if chosen else [])},
        state.history,
        score.num_parameters(model),
        timing,
        on.device,
        on.world_size,
    )
    if on.global_rank:
        return record
    label_set = LabelSet(corpus.vocabulary.codes, train_counts)
    return store.save_run(folder, record, predictions, label_set, score.weights(model))


def _unchanged_corpus(spec: RunSpec, request: Request, prepare: Report) -> Corpus:
    """The run's data. Raises DataError if they, or the model's file, have changed since the run was planned."""
    entry = registry.entry(spec.model)
    if entry.version != spec.version:
        raise DataError(f"{entry.file} changed since this command began; run it again")
    corpus = datasets.open(request.dataset, request.root, spec.data).corpus(prepare)
    if corpus.fingerprint != spec.fingerprint:
        raise DataError(f"the raw files of '{spec.dataset}' changed since this command began; run it again")
    return corpus


def build(
    planned: Planned, corpus: Corpus, on: Fabric, prepare: Report, own_file: Path | None
) -> tuple[registry.Model, dict[str, Any]]:
    """The untrained model, and how its word vectors were trained. Raises TrainingError if it does not fit into memory."""
    spec, on_cpu = planned.spec, on.device.type == "cpu"
    memory.check(spec, task(corpus, spec.data, None), on_cpu=on_cpu, changed=planned.changed)
    accelerator.seed_everything(spec.seed)
    width = spec.config.get("embedding_size")
    with memory.enough_memory():
        full_task = task(corpus, spec.data, width, prepare, own_file, spec.seed)
    initialised = width and full_task.embeddings is not None
    vectors = word_vectors.training(corpus, spec.data, width, spec.seed) if width and initialised else {}
    return memory.build(spec, full_task, on_cpu=on_cpu, changed=planned.changed), vectors


# Makes `icdbench.run` both this module and the function icdbench.api.run.
sys.modules[__name__].__class__ = CallableModule
