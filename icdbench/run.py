"""The flow of one run: a request becomes planned runs, and each that is not finished is executed, or resumed.

Called as a function, `icdbench.run(...)`, this module is `icdbench.api.run`, which has the documentation of its arguments.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

ALL = "all"  # in a request, every registered model
FLOOR = "floors"  # in a request, the systems that every other has to beat, with the first seed alone


@dataclass(frozen=True)
class Request:
    """What a user asked for. `changes` maps `jlan.dropout`, `train.max_epochs`, `data.language` to values (text is parsed)."""

    models: Sequence[str] = ("jlan", "caml")
    dataset: str = "demo"
    seeds: Sequence[int] = (1,)
    changes: Mapping[str, Any] = field(default_factory=dict)
    root: Path | None = None
    results: Path = Path("results")
    device: str = "auto"
    devices: int = 1  # of this machine for one run, and how many such machines
    nodes: int = 1
    force: bool = False  # compute finished runs again


def expand(request: Request, prepare: Report = quiet, told: set[str] | None = None) -> list[Planned]:
    """The request's runs: every system with every seed. Raises SpecError, DataError: nothing is trained before all is right.

    What a user should know beforehand is logged as a warning, except for what was `told` before.
    """
    told = set() if told is None else told
    found = resolved(request, prepare)
    for line in _notices(request, found):
        if line not in told:
            log.warning("%s", line)
            told.add(line)
    store.prepare(request.results)
    seeds = dict.fromkeys(request.seeds)
    alone = set(FLOORS) - set(request.models) if FLOOR in request.models else set()
    return [
        each.planned.with_seed(seed)
        for each in found
        for seed in (list(seeds)[:1] if each.spec.system in alone else seeds)
    ]


def resolved(request: Request, prepare: Report = quiet) -> list[Resolved]:
    """The settings of each system that the request names. Raises SpecError, DataError.

    Of `all` models and the floors those that the data or settings do not suit are left out with a warning.
    """
    origin = datasets.source(request.dataset)
    groups = {ALL: registry.entries() if ALL in request.models else {}, FLOOR: FLOORS}
    named = {model: registry.systems(model) for model in request.models if model not in groups}
    names = dict.fromkeys(name for model in request.models for name in {**groups, **named}[model])
    if empty := next((name for name in names if name.endswith("@")), None):
        raise SpecError(
            f"'{empty}' names no variant after the @; leave the @ out, or see 'icdbench models {empty[:-1]}'"
        )
    entries = {name: registry.entry(registry.split(name)[0]) for name in names}
    resolution.check_changes(request.changes, [entry.name for entry in entries.values()])
    load = functools.cache(lambda data: origin.at(datasets.data_root(request.root), data).corpus(prepare))
    on = accelerator.fabric(request.device)
    found = []
    for name, entry in entries.items():
        variant = _variant(request, entry, registry.split(name)[1])
        try:
            each = resolution.resolve(origin, entry, variant, request.changes, load, on)
            memory.check_settings(each.spec, task(each.corpus, each.spec.data, None))
            found.append(each)
        except UnsuitableError as error:
            if any(name in systems for systems in named.values()):
                raise
            log.warning("%s; it is left out", error)
    return found


def _variant(request: Request, entry: registry.Entry, name: str) -> Variant:
    """The variant by its name; `tuned` is the one that is found, not declared, and holds for the data it was found on."""
    if name != store.TUNED:
        return entry.variant(name)
    changes = resolution.changes_of(request.changes, "data")
    opened = datasets.open(request.dataset, request.root, {**entry.data, **changes})
    return store.load_tuned(request.results, opened.name, entry.name, request.dataset, opened.fingerprint())


def _notices(request: Request, found: Sequence[Resolved]) -> list[str]:
    """What is wrong with the data, what models miss in them, and which settings are not what a user may expect; a line each."""
    lines = [f"{each.corpus.name}: {notice}" for each in found for notice in each.corpus.notices]
    for each in found:
        entry, given = registry.entry(each.spec.model), task(each.corpus, each.spec.data, None)
        lines += entry.notices(entry.config().override(each.spec.config, entry.name), given)
        width, own = each.spec.config.get("embedding_size"), word_vectors.own_file(request.changes)
        lines += word_vectors.notices(each.corpus, each.spec.data, width, entry.name, own)
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
    """What a model may know of the corpus; word vectors of the model's width, unless it has none or wants none."""
    wanted = width and data.embeddings != "random"
    vectors = word_vectors.word_vectors(corpus, data, width, prepare, own, seed) if width and wanted else None
    words, codes = corpus.vocabulary.tokens, corpus.vocabulary.codes
    return Task(len(words), len(codes), vectors, corpus.descriptions, corpus.hierarchy, corpus.names, codes, words)


def parameters(system: str, dataset: str, root: Path | None, prepare: Report = quiet) -> int | None:
    """How many numbers a model learns on a data set; none for one that is fitted whole, whose size the documents decide."""
    base, variant = registry.split(system)
    entry = registry.entry(base)
    if not entry.uses_trainer:
        return None
    opened = datasets.open(dataset, root, {**entry.data, **entry.variant(variant).data})
    corpus = opened.corpus(prepare)
    small = entry.small_by_target[entry.name] if len(corpus.splits["train"]) < resolution.SMALL else {}
    settings = {**small, **entry.variant(variant).model}
    return score.num_parameters(registry.build(base, task(corpus, opened.data, None), **settings))


def execute(
    planned: Planned, request: Request, report: Callable[[Progress], None] = lambda _: None, prepare: Report = quiet
) -> RunRecord:
    """The finished run, computed unless it is stored already. Raises DataError, SpecError, TrainingError, KeyboardInterrupt."""
    spec = planned.spec
    registry.load_files(request.models)  # which another process may have planned
    together = request.devices * request.nodes > 1  # then all processes must look at the same time, behind the barrier
    if not together and (finished := _stored(spec, request)) is not None:
        store.tidy(store.folder(request.results, finished))
        return finished
    folder = store.folder(request.results, spec)
    on = accelerator.fabric(request.device, spec.train.precision, request.devices, request.nodes)
    with contextlib.nullcontext() if on.global_rank else store.alone(folder):
        on.barrier()  # of several processes that compute one run the first holds its lock, and alone writes
        if (finished := _stored(spec, request)) is not None:
            store.remove_checkpoints(store.folder(request.results, finished))
            return finished
        on.barrier()
        if not on.global_rank:
            _make_room(spec, request)
        with _users_errors(spec):
            record = _computed(planned, request, folder, on, report, prepare)
        on.barrier()
        return record


@contextlib.contextmanager
def _users_errors(spec: RunSpec) -> Iterator[None]:
    """Turns what the code of a user's own model raises into a TrainingError that names file and line."""
    try:
        yield
    except (TrainingError, SpecError, DataError, OSError):
        raise
    except Exception as error:
        path = registry.entry(spec.model).path
        if path is None or not loading.is_from(error, path):
            raise
        raise TrainingError(loading.where_and_why(error, path)) from error


def _stored(spec: RunSpec, request: Request) -> RunRecord | None:
    """The finished run, if it is stored and not to be computed again."""
    return None if request.force else store.find(request.results, spec)


def _make_room(spec: RunSpec, request: Request) -> None:
    """Set aside what the new run replaces, and say so of a run that an older version of the model's code made."""
    found = store.find(request.results, spec)
    for run in (spec, found or spec):
        store.set_aside(store.folder(request.results, run))
    if found is None and (older := store.find_older(request.results, spec)) is not None:
        name = registry.entry(spec.model).file
        log.warning("%s is a stored run of an older version of %s; computing anew", older.id, name)


def _computed(
    planned: Planned, request: Request, folder: Path, on: Fabric, report: Callable[[Progress], None], prepare: Report
) -> RunRecord:
    """Train the model, score validation and test documents, and store what came out (the first of several processes)."""
    spec, began = planned.spec, time.monotonic()
    corpus = _unchanged_corpus(spec, request, prepare)
    own = word_vectors.own_file(request.changes)
    model, vectors = _build(planned, corpus, on, prepare, own)
    prepared = time.monotonic()
    with memory.enough_memory():
        state = train.fit(
            model,
            corpus.splits["train"],
            corpus.splits["validation"],
            spec.train,
            seed=spec.seed,
            on=on,
            checkpoint=folder / store.CHECKPOINT,
            report=report,
        )
    trained = time.monotonic()
    predictions = {
        split: score.predictions(model, batches.Loader(corpus.splits[split], on.device), on)
        for split in measure.MEASURED
    }
    timing = {"prepare": prepared - began, "train": state.seconds, "predict": time.monotonic() - trained}
    if state.history:
        timing["documents_per_second"] = len(corpus.splits["train"]) * len(state.history) / max(state.seconds, 1e-9)
    train_counts = corpus.splits["train"].labels().sum(0).A1
    record = provenance.record(
        planned,
        provenance.describe(corpus, vectors, own),
        {**measure.measured(predictions, train_counts), "notes": memory.notes(model, state)},
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
    """The run's data. Raises DataError if they, or the model's file, are no longer what the run was planned with."""
    entry = registry.entry(spec.model)
    if entry.version != spec.version:
        raise DataError(f"{entry.file} changed since this command began; run it again")
    corpus = datasets.open(request.dataset, request.root, spec.data).corpus(prepare)
    if corpus.fingerprint != spec.fingerprint:
        raise DataError(f"the raw files of '{spec.dataset}' changed since this command began; run it again")
    return corpus


def _build(
    planned: Planned, corpus: Corpus, on: Fabric, prepare: Report, own: Path | None
) -> tuple[registry.Model, dict[str, Any]]:
    """The model as it starts, and how its word vectors were made. Raises TrainingError if it does not fit into memory."""
    spec, on_cpu = planned.spec, on.device.type == "cpu"
    memory.check(spec, task(corpus, spec.data, None), on_cpu=on_cpu, changed=planned.changed)
    accelerator.seed_everything(spec.seed)
    width = spec.config.get("embedding_size")
    with memory.enough_memory():
        given = task(corpus, spec.data, width, prepare, own, spec.seed)
    trained = width and given.embeddings is not None
    vectors = word_vectors.training(corpus, spec.data, width, spec.seed) if width and trained else {}
    model = memory.build(spec, given, on_cpu=on_cpu, changed=planned.changed)
    return model, vectors


# `icdbench.run(...)` is icdbench.api.run, and this module is icdbench.run
sys.modules[__name__].__class__ = CallableModule
