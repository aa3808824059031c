"""From a request to finished runs: expand it into RunSpecs, execute each that is not finished, resume what was begun."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import importlib.metadata
import logging
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from icdbench import bootstrap, datasets, encode, metrics, registry, store, train
from icdbench.datasets import Source
from icdbench.embeddings import training, word_vectors
from icdbench.registry import Entry
from icdbench.spec import DataError, DataSpec, RunSpec, Settings, SpecError, TrainSpec, UnsuitableError, nearest
from icdbench.train import Progress, TrainingError
from icdbench.types import Corpus, IntArray, LabelSet, Predictions, Report, RunRecord, Task, quiet

log = logging.getLogger("icdbench")

NOTES = {"changed", "adapted"}  # fields of RunSpec that only say where settings came from
ALL = "all"  # in a request, every registered model
MEASURED = ("validation", "test")
SMALL = 2000  # training documents below which a model's settings for small data hold


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


def expand(request: Request, prepare: Report = quiet) -> list[RunSpec]:
    """The request's runs: every model with every seed. Raises SpecError, DataError: nothing is trained before all is right.

    Of `all` models those that these data do not suit are left out with a warning.
    """
    origin = datasets.source(request.dataset)
    every = registry.entries() if ALL in request.models else {}
    names = list(dict.fromkeys(name for model in request.models for name in (every if model == ALL else [model])))
    if empty := next((name for name in names if name.endswith("@")), None):
        raise SpecError(
            f"'{empty}' names no variant after the @; leave the @ out, or see 'icdbench models {empty[:-1]}'"
        )
    found = {name: registry.entry(name.partition("@")[0]) for name in names}
    _check_targets(request.changes, [entry.name for entry in found.values()])
    load = functools.cache(lambda data: encode.corpus(origin, datasets.data_root(request.root), data, prepare))
    on = train.fabric(request.device)
    specs = []
    for name, entry in found.items():
        try:
            spec = _spec(origin, entry, name.partition("@")[2], request, load, on)
        except UnsuitableError as error:
            if name in request.models:
                raise
            log.warning("%s; it is left out", error)
        else:
            specs += [spec.model_copy(update={"seed": seed}) for seed in dict.fromkeys(request.seeds)]
    store.prepare(request.results)
    return specs


def _check_targets(changes: Mapping[str, Any], chosen: Sequence[str]) -> None:
    known = {"data", "train", *chosen}
    for key in changes:
        target, dot, name = key.partition(".")
        if "@" in target:
            raise SpecError(
                f"--set {key}: settings hold for a model and all its variants; write {target.partition('@')[0]}.…"
            )
        if not dot or not name:
            raise SpecError(f"--set {key}: write it as train.FIELD=VALUE, data.FIELD=VALUE or MODEL.FIELD=VALUE")
        if target not in known:
            raise SpecError(
                f"--set {key}: '{target}' is neither data, train nor a chosen model{nearest(target, known)}"
            )


def _spec(
    origin: Source,
    entry: Entry,
    variant_name: str,
    request: Request,
    load: Callable[[DataSpec], Corpus],
    on: Fabric,
) -> RunSpec:
    """Defaults of the suite, then of the model, then of the data set, then the variant's, then the user's.

    On a small training split the model's `small` settings come between its own and those of the data set.
    """
    stored = variant_name == store.TUNED  # the one variant that is found, not declared
    where = request.results, origin.name, entry.name, request.dataset
    variant = store.load_tuned(*where) if stored else entry.variant(variant_name)
    default_data = datasets.data_spec(origin, {**entry.data, **variant.data})
    data = datasets.data_spec(origin, {**entry.data, **variant.data, **_asked(request, "data")})
    default_config = entry.config().override(variant.model, entry.name)
    config = default_config.override(_asked(request, entry.name), entry.name)
    corpus = load(data)
    entry.check(corpus)
    few = len(corpus.splits["train"]) < SMALL
    small = {name: value for name, value in entry.small.items() if few and name not in variant.train}
    declared = {**entry.train, **small, **origin.train, **variant.train}
    default_train = TrainSpec().override(declared, "train")
    trained = default_train.override(_asked(request, "train"), "train")
    if trained.monitor not in {"auto", *train.MONITORS}:
        raise SpecError(
            f"train.monitor='{trained.monitor}' is no metric to stop by{nearest(trained.monitor, train.MONITORS)}"
        )
    return RunSpec(
        dataset=origin.name,
        fingerprint=corpus.fingerprint,
        model=entry.name,
        variant=variant_name,
        data=data,
        train=trained.override({"precision": train.resolved(trained.precision, on)}, "train"),
        version=entry.version,
        config=config.model_dump(mode="json"),
        changed={
            **_changed("data", default_data, data),
            **_changed("train", default_train, trained),
            **_changed(entry.name, default_config, config),
        },
        adapted={f"train.{name}": value for name, value in small.items() if getattr(trained, name) == value},
    )


def _asked(request: Request, target: str) -> dict[str, Any]:
    """The user's changes to one target, by field."""
    prefix = f"{target}."
    return {key.removeprefix(prefix): value for key, value in request.changes.items() if key.startswith(prefix)}


def _changed(where: str, default: Settings, chosen: Settings) -> dict[str, Any]:
    values = chosen.model_dump(mode="json")
    return {f"{where}.{name}": values[name] for name in values if getattr(default, name) != getattr(chosen, name)}


def task(corpus: Corpus, data: DataSpec, width: int | None, prepare: Report = quiet) -> Task:
    """What a model may know of the corpus; word vectors of the model's width, unless it has none or wants none."""
    vectors = word_vectors(corpus, data, width, prepare) if width and data.embeddings == "word2vec" else None
    words, codes = corpus.vocabulary.tokens, corpus.vocabulary.codes
    return Task(len(words), len(codes), vectors, corpus.descriptions, corpus.hierarchy)


def parameters(system: str, dataset: str, root: Path | None, prepare: Report = quiet) -> int | None:
    """How many numbers a model learns on a data set; none for one that is fitted whole, whose size the documents decide."""
    origin, entry = datasets.source(dataset), registry.entry(system.partition("@")[0])
    data = datasets.data_spec(origin, {**entry.data, **entry.variant(system.partition("@")[2]).data})
    corpus = encode.corpus(origin, datasets.data_root(root), data, prepare)
    given = task(corpus, data.override({"embeddings": "random"}, "data"), None)
    model = registry.build(system, given)
    return sum(value.numel() for value in model.parameters()) if isinstance(model, nn.Module) else None


def execute(
    spec: RunSpec, request: Request, report: Callable[[Progress], None] = lambda _: None, prepare: Report = quiet
) -> RunRecord:
    """The finished run, computed unless it is stored already. Raises DataError, SpecError, TrainingError, KeyboardInterrupt."""
    folder = store.folder(request.results, spec)
    on = train.fabric(request.device, spec.train.precision, request.devices, request.nodes)
    with contextlib.nullcontext() if on.global_rank else store.alone(folder):
        on.barrier()  # of several processes that compute one run the first holds its lock, and alone writes
        if (finished := store.load_record(folder)) is not None:
            if finished.spec.model_dump(exclude=NOTES) == spec.model_dump(exclude=NOTES):
                store.remove_checkpoints(folder)
                return finished
            log.warning("%s holds a run of other settings under the same id; it is kept as record.old.json", folder)
        on.barrier()
        if not on.global_rank:
            store.set_aside(folder)
        record = _computed(spec, request, folder, on, report, prepare)
        on.barrier()
        return record


def _computed(
    spec: RunSpec, request: Request, folder: Path, on: Fabric, report: Callable[[Progress], None], prepare: Report
) -> RunRecord:
    begun = time.monotonic()
    corpus = encode.corpus(datasets.source(request.dataset), datasets.data_root(request.root), spec.data, prepare)
    if corpus.fingerprint != spec.fingerprint:
        raise DataError(f"the raw files of '{spec.dataset}' changed since this command began; run it again")
    train.seed_everything(spec.seed)
    width = spec.config.get("embedding_size")
    given = task(corpus, spec.data, width, prepare)
    about = describe(corpus)
    if width and given.embeddings is not None:
        about["word_vectors"] = training(corpus, spec.data, width)
    model = registry.build(spec.model, given, **spec.config)
    prepared = time.monotonic()
    if isinstance(model, nn.Module):
        with enough_memory():
            state = train.fit(
                model,
                corpus.splits["train"],
                corpus.splits["validation"],
                spec.train,
                max_tokens=spec.data.max_tokens,
                num_codes=given.num_codes,
                seed=spec.seed,
                on=on,
                checkpoint=folder / store.CHECKPOINT,
                report=report,
            )
        history, seconds = state.history, state.seconds
        weights = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
        parameters = sum(value.numel() for value in model.parameters())
    else:
        model.fit(corpus.splits["train"], spec.data.max_tokens)
        history, seconds = [], time.monotonic() - prepared
        weights = dict(model.weights())
        parameters = sum(value.size for value in weights.values())
    fitted = time.monotonic()
    predictions = {split: _predict(model, corpus, split, spec, on) for split in MEASURED}
    timing = {"prepare": prepared - begun, "train": seconds, "predict": time.monotonic() - fitted}
    if history:
        timing["documents_per_second"] = len(corpus.splits["train"]) * len(history) / max(seconds, 1e-9)
    train_counts = corpus.splits["train"].labels(given.num_codes).sum(0).A1
    record = _record(spec, about, measured(predictions, train_counts), history, parameters, timing, on)
    if not on.global_rank:
        store.save_run(folder, record, predictions, LabelSet(corpus.vocabulary.codes, train_counts), weights)
    return record


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turns torch's errors about memory into a TrainingError, so that the other runs of a grid go on."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if train.out_of_memory(error):
            raise TrainingError("not enough memory; a smaller train.batch_size or data.max_tokens needs less") from None
        raise


def _predict(model: registry.Model, corpus: Corpus, split: str, spec: RunSpec, on: Fabric) -> Predictions:
    encoded, num_codes = corpus.splits[split], len(corpus.vocabulary.codes)
    if isinstance(model, nn.Module):
        return train.predict(model, encoded, spec.data.max_tokens, num_codes, on)
    scores_NL = model.scores(encoded, spec.data.max_tokens).astype(
        np.float32
    )  # as stored, so that figures can be redone
    return Predictions(encoded.ids, scores_NL, encoded.labels(num_codes), encoded.unseen)


def _record(
    spec: RunSpec,
    about: dict[str, Any],
    figures: Mapping[str, Any],
    history: list[dict[str, float]],
    parameters: int,
    timing: Mapping[str, float],
    on: Fabric,
) -> RunRecord:
    return RunRecord(
        id=spec.id,
        spec=spec,
        **figures,
        history=history,
        parameters=parameters,
        corpus=about,
        timing={name: round(value, 3) for name, value in timing.items()},
        device=f"{on.world_size} × {_device_name(on.device)}" if on.world_size > 1 else _device_name(on.device),
        versions=versions(),
        commit=_commit(),
        created=_now(),
    )


def measured(predictions: Mapping[str, Predictions], train_counts: IntArray) -> dict[str, Any]:
    """The fields of a record that follow from the predictions; the tuned threshold comes from validation alone."""
    scores = {split: train.probabilities(predicted.scores_NL) for split, predicted in predictions.items()}
    held, test = predictions["validation"], predictions["test"]
    threshold = {
        "fixed": 0.5,
        "tuned": metrics.tune_threshold(scores["validation"], held.labels, unseen=held.unseen),
    }
    given = {
        split: metrics.scored(scores[split], predicted.labels, predicted.unseen, train_counts)
        for split, predicted in predictions.items()
    }
    collapsed = {rule: metrics.collapse(scores["test"], at) for rule, at in threshold.items()}
    floor = metrics.ranking(metrics.popularity(train_counts, len(test.scores_NL)), test.labels, unseen=test.unseen)
    ranking = ("p@5", "p@8", "p@15", "r@5", "r@8", "r@15", "map")
    return {
        "metrics": {split: metrics.evaluate_rules(each, threshold) for split, each in given.items()},
        "threshold": threshold,
        "intervals": bootstrap.intervals(given["test"], threshold),
        "collapse": {rule: name for rule, name in collapsed.items() if name},
        "popularity": {key: floor[key] for key in ranking if key in floor},
    }


def remeasure(folder: Path, record: RunRecord) -> RunRecord:
    """The stored run with its figures computed again from its predictions; stored anew if any differs.

    Raises DataError where they are damaged, not of this run, or were stored without the codes' training frequency.
    """
    predictions, label_set = store.load_predictions(folder), store.load_label_set(folder)
    if label_set is None:
        raise DataError(
            f"{folder / store.PREDICTIONS} holds no training frequencies; remove its folder and run it again"
        )
    shapes = {split: predicted.scores_NL.shape for split, predicted in predictions.items()}
    documents, L = record.corpus["documents"], record.corpus["num_codes"]
    if shapes != {split: (documents[split], L) for split in MEASURED}:
        raise DataError(f"{folder / store.PREDICTIONS} is of other documents or codes than its record; run it again")
    in_order = {split: predictions[split] for split in MEASURED}
    again = record.model_copy(update=measured(in_order, label_set.train_counts))
    if again == record:
        return record
    again = again.model_copy(update={"remeasured": _now()})
    store.save_record(folder, again)
    return again


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def describe(corpus: Corpus) -> dict[str, Any]:
    """What a table must say about the data: sizes, the gold codes no model can know, facts of the source."""
    splits = corpus.splits
    return {
        "name": corpus.name,
        "synthetic": corpus.synthetic,
        "fingerprint": corpus.fingerprint,
        "documents": {split: len(encoded) for split, encoded in splits.items()},
        "num_codes": len(corpus.vocabulary.codes),
        "num_tokens": len(corpus.vocabulary.tokens),
        "assignments": {split: len(encoded.codes) + int(encoded.unseen.sum()) for split, encoded in splits.items()},
        "unseen": {split: int(encoded.unseen.sum()) for split, encoded in splits.items()},
        "facts": dict(corpus.facts),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' * (threads > 1)}, {platform.machine()}"


def versions() -> dict[str, str]:
    names = ("icdbench", "torch", "lightning-fabric", "numpy", "scipy", "scikit-learn", "gensim")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _commit() -> str:
    """The commit of the icdbench that ran, with `+` if files differ from it; empty outside a git checkout."""
    place = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", place, *words], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607

    try:
        if git("ls-files", "--error-unmatch", "run.py") != "run.py":
            return ""
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
