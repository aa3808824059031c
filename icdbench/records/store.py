"""Runs on disk: everything below a results folder. Other packages enter by `store.NAME`; only this package writes there, except
for the trials and plots of icdbench.experiments.tune.

    results/<dataset>/<model>[@variant]/<seed>-<hash>/record.json          the finished run
                                                      predictions.npz      logits and gold labels of both splits, code names
                                                      model.safetensors    weights of the best epoch
                                                      explain.json         how far its explanations can be trusted
                                                      checkpoint.safetensors   only while the run is unfinished
                                                      checkpoint.previous.safetensors   likewise: the one before
                                                      lock                     likewise: held while a process works on it
    results/tuning/<dataset>/<model>.json          the best setting found, the variant `<model>@tuned`

Every file is written under a temporary name and renamed, so a run killed at any instant leaves only whole files. Nothing is
unpickled from disk. No file has note text, tokens or document ids.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import json
import logging
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from icdbench.files import digest, remove_abandoned, replacing, workspace
from icdbench.records.artifacts import (
    EXPLAINED,
    PREDICTIONS,
    RECORD,
    RUN,
    WEIGHTS,
    array_digest,
    check_numbers,
    load_explained,
    load_label_set,
    load_predictions,
    load_test_predictions,
    load_train_counts,
    load_weights,
    loaded,
    opened_predictions,
    read_stored,
    save_explained,
    save_predictions,
    save_weights,
    writing_tensors,
)
from icdbench.records.checkpoints import (
    CHECKPOINT,
    PREVIOUS,
    Begun,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
    standing,
)
from icdbench.records.record import SCHEMA, RunRecord
from icdbench.records.tuned import TUNED, TUNING, load_tuned, save_tuned, tuning_folder
from icdbench.settings import SpecError, closest
from icdbench.spec import LATER_FIELDS, RunSpec
from icdbench.types import LabelSet, Predictions

__all__ = [
    "CHECKPOINT", "EXPLAINED", "LOCK", "PREDICTIONS", "PREVIOUS", "RECORD", "RUN", "TUNED", "WEIGHTS", "Begun", "alone",
    "array_digest", "begun", "check_numbers", "find", "find_older", "folder", "load_checkpoint", "load_explained",
    "load_label_set", "load_predictions", "load_record", "load_records", "load_test_predictions", "load_train_counts", "load_tuned",
    "load_weights", "named", "opened_predictions", "prepare", "remove", "remove_checkpoints", "save_checkpoint", "save_explained",
    "save_predictions", "save_record", "save_run", "save_tuned", "set_aside", "sign", "tidy", "tuning_folder",
    "unfinished", "upgrade", "with_predictions", "write_record", "writing_tensors",
]  # fmt: skip

log = logging.getLogger("icdbench")

LOCK = "lock"
DIGEST = "digest"
OLDEST = 2  # oldest schema of records that is still read
LATER_DATA = {  # fields that were added to DataSpec since, with the values that earlier runs had in effect
    "fraction": 1.0, "fraction_seed": 0, "label_set": "train", "code_terms": False, "tokens": "words", "tokenizer": "",
    "spans": False, "synonyms": "", "train_on": "train", "vectors_per_seed": False,
}  # fmt: skip


def prepare(results: Path, data_sets: Iterable[str] = ()) -> None:
    """Create the results folder, and remove temporary files of killed processes.

    Raises SpecError if it cannot be written, or has a file where the runs of a data set go.
    """
    for name in data_sets:
        if (results / name).is_file():
            raise SpecError(
                f"results folder '{results}' has a file '{name}' where the runs on '{name}' go; name another folder with --results"
            )
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise SpecError(
            f"results folder '{results}' cannot be written: {error.strerror}; name another with --results"
        ) from None
    for each in (*results.glob(f"{TUNING}/*/"), *results.glob("*/*/*/")):
        remove_abandoned(each)


def folder(results: Path, run: RunSpec | RunRecord) -> Path:
    """The folder of a run, or of a new one with these settings."""
    return results / run.id


# --- Records -------------------------------------------------------------------------------------------------------------


def load_record(folder: Path) -> RunRecord | None:
    """The finished run in this folder; None if there is none, or its record is damaged (logged)."""
    return loaded(folder / RECORD, _checked)


def read_record(folder: Path) -> RunRecord:
    """The finished run in this folder. Raises DataError with the reason if its record is damaged."""
    return read_stored(folder / RECORD, _checked)


def _checked(stored: Mapping[str, Any]) -> RunRecord:
    """Parse a stored record. Raises ValueError and others if it is altered or invalid, or if its id does not fit its settings."""
    if stored.get(DIGEST) and stored[DIGEST] != _record_digest(stored):
        raise ValueError("its bytes were altered")
    spec = stored["spec"]
    system = f"{spec['model']}@{spec['variant']}" if spec["variant"] else spec["model"]
    expected = f"{spec['dataset']}/{system}/{spec['seed']}"
    if not re.fullmatch(re.escape(expected) + "-[0-9a-f]{8}", stored["id"]):
        raise ValueError(f"its id is {stored['id']}, but its settings are those of {expected}")
    return RunRecord.model_validate(upgrade(stored))


def upgrade(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a stored record to the current schema. Raises ValueError for a schema that this icdbench does not read.

    A field that is added to `DataSpec` or `TrainSpec` needs an entry in LATER_DATA or LATER_FIELDS with the value that was in
    effect in older runs; its default may change later.
    """
    record = {**stored, "spec": dict(stored["spec"]), "schema_version": SCHEMA}
    schema = stored.get("schema_version", 1)
    if type(schema) is not int or not OLDEST <= schema <= SCHEMA:
        other = "an older" if schema in range(OLDEST) else "a newer"
        raise ValueError(f"schema {schema}; this icdbench reads schemas {OLDEST} to {SCHEMA}, so use {other} one")
    spec = record["spec"]
    if schema < 3:  # where settings came from was part of the spec
        record |= {name: spec.pop(name) for name in ("changed", "adapted")}
    spec |= {"data": {**LATER_DATA, **spec["data"]}, "train": {**LATER_FIELDS, **spec["train"]}}
    return record


def completed(record: RunRecord) -> RunRecord:
    """The record with the fields that its model's settings and the options of its data set have gained since.

    Only for the same version of the model: an author who adds a field without a new version asserts that its default computes
    what was computed before.
    """
    from icdbench import registry
    from icdbench.data import datasets

    spec = record.spec
    defaults, data = registry.defaults(spec.model, spec.version), datasets.completed(spec.dataset, spec.data)
    if defaults.keys() <= spec.config.keys() and data == spec.data:
        return record
    changes = {"config": {**defaults, **spec.config}, "data": data}
    return record.model_copy(update={"spec": spec.model_copy(update=changes)})


def save_record(folder: Path, record: RunRecord) -> RunRecord:
    """Sign the record with its digest, write it and return it."""
    signed = record.model_copy(update={DIGEST: _record_digest(json.loads(record.as_json()))})
    write_record(folder, signed)
    return signed


def write_record(folder: Path, record: RunRecord) -> None:
    """Write the record unchanged: an unsigned one stays unsigned."""
    with replacing(folder / RECORD) as temporary:
        temporary.write_text(record.as_json(indent=1) + "\n", encoding="utf-8")


def _record_digest(stored: Mapping[str, Any]) -> str:
    """SHA-256 of a record's content without the digest itself, whatever the layout of its JSON."""
    content = {name: value for name, value in stored.items() if name != DIGEST}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def set_aside(folder: Path) -> None:
    """Rename a record that is about to be replaced, so that it is kept."""
    if (folder / RECORD).exists():
        names = itertools.chain(["record.old.json"], (f"record.old.{number}.json" for number in itertools.count(1)))
        (folder / RECORD).replace(next(folder / name for name in names if not (folder / name).exists()))


# --- Finding runs --------------------------------------------------------------------------------------------------------


def load_records(*results: Path, complete: bool = True) -> list[RunRecord]:
    """Every finished run below these results folders, sorted by id. Of equal runs the first counts; others are logged.

    Without `complete` the records are returned as stored, which does not load the models.
    """
    found: dict[str, RunRecord] = {}
    for folder in results:
        for stored in _records(folder, f"*/*/*/{RECORD}"):
            record = completed(stored) if complete else stored
            first = found.setdefault(json.dumps(record.spec.identity(), sort_keys=True), record)
            if first.metrics != record.metrics:
                log.warning("%s is left out: the same run with other figures was read before", folder / record.id)
    return sorted(found.values(), key=lambda record: record.id)


def _records(results: Path, pattern: str) -> Iterator[RunRecord]:
    """The finished runs whose record files match the pattern and are in the folder of their id."""
    for path in sorted(results.glob(pattern)):
        record = load_record(path.parent)
        if record is None:
            continue
        if path.parent.relative_to(results).as_posix() == record.id:
            yield record
        else:
            log.warning("%s is left out: it is the record of %s", path, record.id)


def find(results: Path, spec: RunSpec) -> RunRecord | None:
    """The finished run of these settings, whatever its id."""
    return next((each for each in _of_seed(results, spec) if each.spec.identity() == spec.identity()), None)


def find_older(results: Path, spec: RunSpec) -> RunRecord | None:
    """A finished run of these settings by another version of the model's code, which may have other fields."""
    for found in _of_seed(results, spec):
        old, new = found.spec.config, spec.config
        same_config = all(old[name] == new[name] for name in old.keys() & new.keys())
        same = found.spec.identity("version", "config") == spec.identity("version", "config")
        if same_config and same and found.spec.version != spec.version:
            return found
    return None


def _of_seed(results: Path, spec: RunSpec) -> Iterator[RunRecord]:
    """The finished runs of the same data set, system and seed."""
    folder = f"{glob.escape(spec.dataset)}/{glob.escape(spec.system)}"
    return map(completed, _records(results, f"{folder}/{spec.seed}-*/{RECORD}"))


def unfinished(results: Path) -> list[str]:
    """Ids of runs that have a checkpoint and no record."""
    folders = sorted({path.parent for name in (CHECKPOINT, PREVIOUS) for path in results.glob(f"*/*/*/{name}")})
    return [str(folder.relative_to(results)) for folder in folders if not (folder / RECORD).exists()]


def begun(results: Path) -> list[Begun]:
    """The unfinished runs and their progress."""
    return [standing(name, results / name / CHECKPOINT) for name in unfinished(results)]


def named(name: str, results: Path) -> Path:
    """The folder of a run, finished or not, by its id or its folder. Raises SpecError."""
    if not name:
        raise SpecError("the name of the run is empty; 'icdbench runs' lists them")
    for candidate in (results / name, Path(name)):
        if any((candidate / file).is_file() for file in (RECORD, CHECKPOINT, PREVIOUS)):
            return candidate
    known = [path.parent.relative_to(results).as_posix() for path in results.glob(f"*/*/*/{RECORD}")]
    known += unfinished(results)
    if not known:
        raise SpecError(f"no runs in '{results}'; 'icdbench run' makes some, --results names another folder")
    like = next((each for each in sorted(known) if name in each), None) or closest(name, known)
    hint = f"did you mean '{like}'? " if like else ""
    there = f" --results {results}" if results != Path("results") else ""
    raise SpecError(f"no run '{name}' in '{results}'; {hint}'icdbench runs{there}' lists all {len(known)}")


def with_predictions(results: Sequence[Path], run: RunSpec | RunRecord) -> Path | None:
    """The run's folder below the first of these results folders in which its predictions are stored."""
    folders = (folder(each, run) for each in results)
    return next((found for found in folders if (found / PREDICTIONS).is_file()), None)


def remove(folder: Path) -> None:
    """Remove a run's folder, all or nothing. Raises SpecError while a process works on the run."""
    try:
        with FileLock(folder / LOCK, timeout=0), workspace(folder.parent) as temporary:
            folder.replace(temporary / folder.name)
    except Timeout:
        raise SpecError(f"a process is working on '{folder}'; stop it before the run is deleted") from None


# --- Finishing a run -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes, on any machine, from working on a run until the block ends or this process does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another process is working on %s; waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
    if (folder / RECORD).exists():  # a process that waited finds the finished run and needs no lock
        path.unlink(missing_ok=True)


def save_run(
    folder: Path,
    record: RunRecord,
    predictions: Mapping[str, Predictions],
    label_set: LabelSet,
    weights: Mapping[str, Any],
) -> RunRecord:
    """Write a finished run and return its signed record, which is written last; then remove its checkpoints."""
    save_predictions(folder, record.id, predictions, label_set)
    if not record.scored:
        save_weights(folder, record.id, weights)
    signed = save_record(folder, sign(folder, record))
    remove_checkpoints(folder)
    return signed


def sign(folder: Path, record: RunRecord) -> RunRecord:
    """The record with the SHA-256 of the files beside it, by which readers recognise them."""
    files = {name: digest(folder / name) for name in (PREDICTIONS, WEIGHTS) if (folder / name).exists()}
    return record.model_copy(update={"files": files})


def tidy(folder: Path) -> None:
    """Remove checkpoints and lock of a finished run; they remain if its process was killed after it wrote the record."""
    remove_checkpoints(folder)
    path = folder / LOCK
    if path.exists():
        with contextlib.suppress(OSError, Timeout), FileLock(path, timeout=0):  # held: a process is about to end
            path.unlink(missing_ok=True)
