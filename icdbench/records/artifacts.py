"""The files beside a run's record: predictions, weights, and the measures of its explanations.

Entered through icdbench.records.store. Predictions are in the order of the split, without document ids or words of notes.
Readers check that a file is undamaged and is the one that was stored with the record.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from icdbench.files import digest, npz, read_json, regular, replacing
from icdbench.records.record import Explained, RunRecord
from icdbench.settings import DataError
from icdbench.types import FloatArray, IntArray, LabelSet, Predictions

log = logging.getLogger("icdbench")

RECORD, PREDICTIONS, WEIGHTS, EXPLAINED = "record.json", "predictions.npz", "model.safetensors", "explain.json"
Parsed = TypeVar("Parsed")
RUN = "run"  # the key of the run's id in predictions, weights and checkpoints


def check_file(folder: Path, name: str, record: RunRecord) -> None:
    """Raises DataError if a file is missing or is not the one that was stored with the record."""
    path = folder / name
    if not path.is_file():
        raise DataError(f"{path} is missing; it goes with {RECORD}: copy it there, or move that away and run it again")
    if record.signed and digest(path) != record.files.get(name):
        raise DataError(
            f"{path} is not the file that was stored with run '{record.id}' (its SHA-256 differs); put the right one back, "
            "or run it again with --force"
        )


def _check_run(path: Path, run: object, record: RunRecord) -> None:
    """Raises DataError if a file names another run than the record's. It may name none only beside a signed record, which has
    the file's digest."""
    if run is None and not record.signed:
        raise DataError(f"{path} does not say that it belongs to run '{record.id}'; put the right file back")
    if run is not None and str(run) != record.id:
        raise DataError(f"{path} belongs to run '{run}', not to '{record.id}'; put the right file back")


def save_predictions(folder: Path, run: str, predictions: Mapping[str, Predictions], label_set: LabelSet) -> None:
    """Write the predictions, from which all figures follow. Scores are exact; their bytes are grouped by place, which compresses
    better."""
    arrays: dict[str, Any] = {
        RUN: np.array(run),
        "codes": np.array(label_set.codes),
        "train_counts": label_set.train_counts,
    }
    for split, predicted in predictions.items():
        scores_NL = np.ascontiguousarray(predicted.scores_NL, dtype="<f4")
        arrays[f"{split}.score_bytes"] = np.moveaxis(scores_NL.view(np.uint8).reshape(*scores_NL.shape, 4), -1, 0)
        arrays[f"{split}.codes"] = predicted.labels.indices.astype(np.int32)
        arrays[f"{split}.code_offsets"] = predicted.labels.indptr.astype(np.int64)
        arrays[f"{split}.unseen"] = predicted.unseen
        if predicted.outside_NF is not None:
            arrays[f"{split}.outside"] = predicted.outside_NF.astype("<f4")
    with replacing(folder / PREDICTIONS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


@contextlib.contextmanager
def opened_predictions(folder: Path, record: RunRecord) -> Iterator[Mapping[str, Any]]:
    """The arrays of the run's predictions by name. Raises DataError if the file is damaged, missing or another run's."""
    path = folder / PREDICTIONS
    check_file(folder, PREDICTIONS, record)
    try:
        with npz(path) as stored:
            _check_run(path, stored.get(RUN), record)
            yield stored
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  altered bytes make zipfile and numpy raise errors of a dozen kinds
        raise DataError(f"{path} is damaged ({error}); remove its folder and run it again") from None


def load_predictions(folder: Path, record: RunRecord) -> dict[str, Predictions]:
    """The run's predictions by split, without document ids. Raises DataError as `opened_predictions`."""
    with opened_predictions(folder, record) as stored:
        return {
            split: _unpacked(stored, split) for split in sorted({name.split(".")[0] for name in stored if "." in name})
        }


def load_test_predictions(folder: Path, record: RunRecord) -> Predictions:
    """The run's predictions of the test split, without reading those of validation. Raises as `load_predictions`."""
    with opened_predictions(folder, record) as stored:
        return _unpacked(stored, "test")


def _unpacked(stored: Mapping[str, Any], split: str) -> Predictions:
    from scipy.sparse import csr_matrix

    bytes_NL4 = np.moveaxis(stored[f"{split}.score_bytes"], 0, -1)
    scores_NL: FloatArray = np.ascontiguousarray(bytes_NL4).view("<f4")[..., 0]
    codes, offsets, unseen = (stored[f"{split}.{name}"] for name in ("codes", "code_offsets", "unseen"))
    labels = csr_matrix((np.ones(len(codes), np.uint8), codes, offsets), shape=scores_NL.shape)
    labels.check_format()  # an index beyond the last code would be read from foreign memory
    if scores_NL.ndim != 2 or np.isnan(scores_NL).any() or unseen.shape != scores_NL.shape[:1]:
        raise ValueError(f"its scores of the {split} split are not numbers, or not one of each document and code")
    outside_NF = stored.get(f"{split}.outside")
    if outside_NF is not None and (
        outside_NF.ndim != 2
        or len(outside_NF) != len(scores_NL)
        or outside_NF.dtype.kind != "f"
        or np.isnan(outside_NF).any()
    ):
        raise ValueError(f"its scores of the {split} split of codes outside the label set are not numbers")
    return Predictions((), scores_NL, labels, unseen, outside_NF)


def load_label_set(folder: Path, record: RunRecord) -> LabelSet:
    """The codes that the run predicts. Raises DataError as `opened_predictions`."""
    with opened_predictions(folder, record) as stored:
        codes, train_counts = stored["codes"], stored["train_counts"]
        if codes.ndim != 1 or train_counts.shape != codes.shape or train_counts.dtype.kind not in "iu":
            raise ValueError("it does not have one count of each code")
        return LabelSet(tuple(map(str, codes)), train_counts)


def load_train_counts(folder: Path, record: RunRecord) -> IntArray | None:
    """The number of training documents with each code [L]; None without predictions, or if they are damaged (logged)."""
    if not (folder / PREDICTIONS).is_file():
        return None
    try:
        return load_label_set(folder, record).train_counts
    except DataError as error:
        log.warning("%s", error)
        return None


def save_weights(folder: Path, run: str, weights: Mapping[str, Any]) -> None:
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    with writing_tensors(folder / WEIGHTS) as temporary:
        # One entry, because safetensors writes several in random order, and equal runs must have equal files.
        save_file(arrays, temporary, metadata={RUN: f"{run} {array_digest('', arrays)}"})


def load_weights(folder: Path, record: RunRecord) -> dict[str, FloatArray]:
    """The weights of a finished run by name.

    Raises DataError if they are missing or another run's; OSError, SafetensorError or ValueError if they are damaged.
    """
    check_file(folder, WEIGHTS, record)
    weights, header = read_tensors(folder / WEIGHTS, "np")
    run, _, expected = header.get(RUN, "").rpartition(" ")
    _check_run(folder / WEIGHTS, run or None, record)
    if expected and array_digest("", weights) != expected:
        raise ValueError("its bytes were altered")
    check_numbers(weights)
    return weights


def check_numbers(weights: Mapping[str, Any]) -> None:
    """Raises ValueError if a weight is NaN."""
    for name, values in weights.items():
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise ValueError(f"its weights '{name[:40]}' are not all numbers")


def read_tensors(path: Path, framework: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays of a safetensors file, and the texts in its header. Raises OSError as files.regular, and SafetensorError."""
    from safetensors import safe_open

    regular(path).close()
    with safe_open(path, framework=framework) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextlib.contextmanager
def writing_tensors(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Like files.replacing, for a safetensors file: the library's own error for a full disk becomes an OSError."""
    from safetensors import SafetensorError

    try:
        with replacing(path, private=private) as temporary:
            yield temporary
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from None


def array_digest(text: str, arrays: Mapping[str, Any]) -> str:
    """SHA-256 of a text and of the names, types, shapes and bytes of arrays."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        total.update(f"\0{name}\0{value.dtype.str}{np.shape(arrays[name])}\0".encode())
        total.update(value.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def save_explained(folder: Path, found: Explained) -> None:
    with replacing(folder / EXPLAINED) as temporary:
        temporary.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_explained(folder: Path, record: RunRecord) -> Explained | None:
    """The measures of the run's explanations since it was trained; None if there are none, or they are damaged (logged)."""
    found = loaded(folder / EXPLAINED, Explained.model_validate)
    if found is not None and found.run != record.id:
        log.warning("%s is left out: it belongs to run %s, not to %s", folder / EXPLAINED, found.run, record.id)
        return None
    return found if found is not None and found.trained == record.created else None


def loaded(path: Path, parse: Callable[[Any], Parsed]) -> Parsed | None:
    """A JSON file parsed by `parse`; None if there is none, or it is damaged (logged)."""
    try:
        return read_stored(path, parse) if os.path.lexists(path) else None  # `exists` is false for a loop of links
    except DataError as error:
        log.warning("%s is damaged or of another version and is left out (%s)", path, error)
        return None


def read_stored(path: Path, parse: Callable[[Any], Parsed]) -> Parsed:
    """A JSON file parsed by `parse`. Raises DataError with the reason if it is damaged."""
    try:
        return parse(read_json(path))
    except ValidationError as error:
        reason = f"{error.error_count()} fields wrong"
    except OSError as error:
        reason = error.strerror or repr(error)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = str(error)
    raise DataError(reason)
