"""Run records, predictions and checkpoints on disk. The only module that writes below a results folder, but for
the trials and plots of `icdbench.tune`.

    results/<dataset>/<model>[@variant]/<seed>-<hash>/record.json          the finished run
                                                      predictions.npz      logits and gold labels of both splits, code names
                                                      model.safetensors    weights of the best epoch
                                                      explain.json         how far its explanations can be trusted
                                                      checkpoint.safetensors   only while the run is unfinished
                                                      checkpoint.previous.safetensors   likewise; the one before
                                                      lock                     likewise; held while a process works on it
    results/tuning/<dataset>/<model>.json          the best setting found, the variant `<model>@tuned`

Every file is written beside its place and renamed, so that a run killed at any instant leaves whole files. Nothing is
unpickled from disk. Nothing here holds note text, tokens or document ids: predictions are in the order of the split.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from pydantic import ValidationError

from icdbench.files import remove_temporaries, replacing
from icdbench.spec import DataError, RunSpec, SpecError, Variant
from icdbench.types import SPLITS, Explained, FloatArray, IntArray, LabelSet, Predictions, RunRecord

log = logging.getLogger("icdbench")

RECORD, PREDICTIONS, WEIGHTS, EXPLAINED, CHECKPOINT, PREVIOUS, LOCK = (
    "record.json",
    "predictions.npz",
    "model.safetensors",
    "explain.json",
    "checkpoint.safetensors",
    "checkpoint.previous.safetensors",
    "lock",
)
DIGEST = "digest"  # in the header of weights and checkpoints
TUNING, TUNED = "tuning", "tuned"


def prepare(results: Path) -> None:
    """Make the results folder. Raises SpecError if it cannot be written to."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise SpecError(
            f"results folder '{results}' cannot be written: {error.strerror}; name another with --results"
        ) from None


def load_record(folder: Path) -> RunRecord | None:
    """The finished run in this folder; None if there is none. One that is damaged or foreign is warned of and counts as none."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
        record = RunRecord.model_validate_json(content)
        _check_inner(record)
        if record.digest not in {"", _record_digest(content)}:
            log.warning("%s is damaged (its bytes were altered) and is left out", path)
            return None
    except (ValidationError, OSError, KeyError, TypeError) as error:
        reason = f"{error.error_count()} fields wrong" if isinstance(error, ValidationError) else repr(error)
        log.warning("%s is damaged or of another version and is left out (%s)", path, reason)
        return None
    if record.id != record.spec.id:
        log.warning("%s is left out: it calls itself %s, its settings are those of %s", path, record.id, record.spec.id)
        return None
    return record


def _check_inner(record: RunRecord) -> None:
    """Raises KeyError for what every record has and tables read, below its typed fields."""
    needed = ("synthetic", "num_codes", "num_tokens", "unseen", "assignments")
    _ = [record.corpus[name] for name in needed], record.timing["train"]
    _ = [record.corpus["documents"][split] + 1 for split in SPLITS]
    _ = [record.metrics["test"][rule]["f1_micro"] for rule in ("fixed", "tuned")]
    _ = [figures["monitor"] + figures["epoch"] for figures in record.history]


def set_aside(folder: Path) -> None:
    """Keep a record that is not the run asked for, or damaged, beside the one that will take its place.

    What a killed process left half-written goes; call it where no other process works on the run.
    """
    for name in (RECORD, PREDICTIONS, WEIGHTS, CHECKPOINT):
        remove_temporaries(folder / name)
    path = folder / RECORD
    if path.exists():
        path.replace(folder / "record.old.json")


def load_records(*results: Path) -> list[RunRecord]:
    """Every finished run below these results folders, by id; of those in several folders the first, the others being named."""
    found: dict[str, RunRecord] = {}
    for folder in results:
        for path in sorted(folder.glob(f"*/*/*/{RECORD}")):
            record = load_record(path.parent)
            if record is None:
                continue
            if found.setdefault(record.id, record).metrics != record.metrics:
                log.warning("%s is left out: the same run with other figures was read before", path)
    return sorted(found.values(), key=lambda record: record.id)


def unfinished(results: Path) -> list[str]:
    """Ids of runs that have a checkpoint and no record."""
    folders = sorted({path.parent for name in (CHECKPOINT, PREVIOUS) for path in results.glob(f"*/*/*/{name}")})
    return [str(folder.relative_to(results)) for folder in folders if not (folder / RECORD).exists()]


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from a run until the block is left or its process ends, on whatever machine they are."""
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
    if (folder / RECORD).exists():  # whoever waits finds the finished run, so the lock has done its work
        path.unlink(missing_ok=True)


def save_run(
    folder: Path,
    record: RunRecord,
    predictions: Mapping[str, Predictions],
    label_set: LabelSet,
    weights: Mapping[str, Any],
) -> None:
    """Write a finished run. The record comes last: where it is, the rest is. Then the checkpoint goes."""
    from safetensors.numpy import save_file

    save_predictions(folder, predictions, label_set)
    with replacing(folder / WEIGHTS) as temporary, _saving(folder / WEIGHTS):
        arrays = {name: np.ascontiguousarray(value) for name, value in weights.items()}
        save_file(arrays, temporary, metadata={DIGEST: array_digest("", arrays)})
    save_record(folder, record)
    remove_checkpoints(folder)


def remove_checkpoints(folder: Path) -> None:
    """A finished run needs none. They are still there if it was killed after its record was written."""
    for name in (CHECKPOINT, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def load_weights(folder: Path) -> dict[str, FloatArray]:
    """The weights of a finished run, by name. Raises OSError, and SafetensorError or ValueError if they are damaged."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="np") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # Runs stored before weights had a digest are without.
        if array_digest("", weights) != (file.metadata() or {}).get(DIGEST, array_digest("", weights)):
            raise ValueError("its bytes were altered")
    return weights


def save_record(folder: Path, record: RunRecord) -> None:
    """Write the record alone, with its digest."""
    signed = record.model_copy(update={"digest": _record_digest(record.model_dump_json())})
    with replacing(folder / RECORD) as temporary:
        temporary.write_text(signed.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _record_digest(text: str | bytes) -> str:
    """SHA-256 of a record's content but for the digest itself, whatever its layout."""
    content = json.loads(text)
    content.pop("digest", None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def save_explained(folder: Path, found: Explained) -> None:
    """Write what was measured of the run's explanations."""
    with replacing(folder / EXPLAINED) as temporary:
        temporary.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_explained(folder: Path, run: str) -> Explained | None:
    """What was measured of the run's explanations; None if nothing was. A damaged file is warned of and counts as nothing."""
    path = folder / EXPLAINED
    try:
        found = Explained.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        reason = f"{error.error_count()} fields wrong" if isinstance(error, ValidationError) else repr(error)
        log.warning("%s is damaged or of another version and is left out (%s)", path, reason)
        return None
    if found.run != run:
        log.warning("%s is left out: it is of %s, not of %s", path, found.run, run)
        return None
    return found


def save_predictions(folder: Path, predictions: Mapping[str, Predictions], label_set: LabelSet) -> None:
    """All that figures follow from. Scores are kept to the bit: first bytes together, then second bytes, which packs better."""
    arrays: dict[str, Any] = {"codes": np.array(label_set.codes), "train_counts": label_set.train_counts}
    for split, predicted in predictions.items():
        scores_NL = np.ascontiguousarray(predicted.scores_NL, dtype="<f4")
        arrays[f"{split}.score_bytes"] = np.moveaxis(scores_NL.view(np.uint8).reshape(*scores_NL.shape, 4), -1, 0)
        arrays[f"{split}.codes"] = predicted.labels.indices.astype(np.int32)
        arrays[f"{split}.code_offsets"] = predicted.labels.indptr.astype(np.int64)
        arrays[f"{split}.unseen"] = predicted.unseen
    with replacing(folder / PREDICTIONS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_predictions(folder: Path) -> dict[str, Predictions]:
    """The stored predictions by split, without ids. Raises DataError if the file is damaged or absent."""
    from scipy.sparse import csr_matrix

    with _opened(folder) as stored:
        result = {}
        for split in sorted({name.split(".")[0] for name in stored if "." in name}):
            scores_NL: FloatArray
            if f"{split}.scores" in stored:  # as runs were stored before their codes were
                scores_NL = stored[f"{split}.scores"]
            else:
                bytes_NL4 = np.moveaxis(stored[f"{split}.score_bytes"], 0, -1)
                scores_NL = np.ascontiguousarray(bytes_NL4).view("<f4")[..., 0]
            codes, offsets = stored[f"{split}.codes"], stored[f"{split}.code_offsets"]
            labels = csr_matrix((np.ones(len(codes), np.uint8), codes, offsets), shape=scores_NL.shape)
            result[split] = Predictions((), scores_NL, labels, stored[f"{split}.unseen"])
    return result


def load_label_set(folder: Path) -> LabelSet | None:
    """The codes that the stored predictions are of; None if they were stored without. Raises DataError as `load_predictions`."""
    with _opened(folder) as stored:
        if "codes" not in stored:
            return None
        return LabelSet(tuple(map(str, stored["codes"])), stored["train_counts"])


def load_train_counts(folder: Path) -> IntArray | None:
    """How many training documents have each code [L]; None where it is not stored. A damaged file is warned of."""
    if not (folder / PREDICTIONS).is_file():
        return None
    try:
        label_set = load_label_set(folder)
    except DataError as error:
        log.warning("%s", error)
        return None
    return None if label_set is None else label_set.train_counts


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The arrays of the predictions by name."""
    path = folder / PREDICTIONS
    if not path.is_file():
        raise DataError(f"{path} is missing; without it figures of this run can only be read, not computed")
    try:
        with (
            path.open("rb") as file,
            np.load(file, allow_pickle=False) as stored,
        ):  # np.load alone leaves a cut file open
            yield stored
    except Exception as error:  # noqa: BLE001  altered bytes make zipfile and numpy raise errors of a dozen kinds
        raise DataError(f"{path} is damaged ({error}); remove its folder and run it again") from None


def tuning_folder(results: Path, dataset: str) -> Path:
    """Where the tuning of a data set's models lives."""
    return results / TUNING / dataset


def save_tuned(results: Path, found: Mapping[str, Any]) -> Path:
    """Write the outcome of tuning; `found` has dataset, model, settings (by `model` and `train`) and what is worth knowing."""
    path = tuning_folder(results, found["dataset"]) / f"{found['model']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def load_tuned(results: Path, dataset: str, model: str, asked: str) -> Variant:
    """The variant `<model>@tuned` of a data set. Raises SpecError if it was never made or its file is damaged.

    `asked` is how the user named the data set: by a path if it is their own.
    """
    path = tuning_folder(results, dataset) / f"{model}.json"
    makes = f"'icdbench tune {model} --dataset {asked} --results {results}' makes it"
    if not path.exists():
        raise SpecError(f"no tuned setting of '{model}' for '{dataset}' ({path} is missing); {makes}")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        whose, settings = (stored["model"], stored["dataset"]), stored["settings"]
        variant = Variant(name=TUNED, model=settings["model"], train=settings["train"])
    except (ValueError, KeyError, TypeError, OSError) as error:  # pydantic's is a ValueError
        reason = f"no '{error.args[0]}'" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise SpecError(f"{path} is damaged ({reason}); remove it, and {makes} anew") from None
    if whose != (model, dataset):
        raise SpecError(f"{path} is of '{whose[0]}' for '{whose[1]}'; remove it, and {makes} anew")
    return variant


def save_checkpoint(path: Path, tensors: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """One file for all: tensors, and the rest as JSON in its header. The checkpoint before this one is kept beside it."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(state)
    with replacing(path) as temporary, _saving(path):
        save_file(dict(tensors), temporary, metadata={"state": text, DIGEST: array_digest(text, tensors)})
        if path.exists():
            path.replace(path.with_name(PREVIOUS))


def load_checkpoint(path: Path, *, discard: bool = False) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Tensors and state of the last good checkpoint; None if there is none. One that is damaged is warned of.

    Whoever goes on to write checkpoints lets it `discard` damaged ones, lest the next one push it into the place of the good
    one before.
    """
    for each in (path, path.with_name(PREVIOUS)):
        if not each.exists():
            continue
        try:
            return _checkpoint(each)
        except OSError as error:  # a failing disk may answer the next time
            log.warning("checkpoint %s cannot be read (%s)", each, error.strerror or error)
        except ValueError as error:
            log.warning("checkpoint %s is damaged (%s); the one before is taken, if any", each, error)
            if discard:
                each.unlink(missing_ok=True)
    return None


def _checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Raises OSError, and ValueError if any bit that counts is not as it was saved."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if array_digest(metadata["state"], tensors) != metadata[DIGEST]:
            raise ValueError("its bytes were altered")
        return tensors, json.loads(metadata["state"])
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None


def array_digest(text: str, arrays: Mapping[str, Any]) -> str:
    """SHA-256 of a text and of arrays: their names, types, shapes and bytes."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        total.update(f"\0{name}\0{value.dtype.str}{np.shape(arrays[name])}\0".encode())
        total.update(value.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


@contextlib.contextmanager
def _saving(path: Path) -> Iterator[None]:
    """safetensors reports a full disk as an error of its own."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from None


def folder(results: Path, spec: RunSpec) -> Path:
    """Where a run lives."""
    return results / spec.id
