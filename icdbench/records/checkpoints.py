"""Checkpoints of an unfinished run: the last one and the one before it. Entered through icdbench.records.store."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from icdbench.files import parsed, regular
from icdbench.records.artifacts import RUN, array_digest, read_tensors, writing_tensors

log = logging.getLogger("icdbench")

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


class Begun(NamedTuple):
    """An unfinished run and what its checkpoint says: epochs done, the last and the best monitored value."""

    id: str
    epochs: int = 0
    value: float | None = None
    best: float | None = None
    best_epoch: int = 0


def standing(run: str, checkpoint: Path) -> Begun:
    """How far an unfinished run has come, from the header of its checkpoint; the file may be damaged, or vanish meanwhile."""
    from safetensors import SafetensorError, safe_open

    try:
        regular(checkpoint).close()  # a pipe would block
        with safe_open(checkpoint, framework="np") as file:
            state = parsed(file.metadata()["state"])["state"]
        values = [float(epoch["monitor"]) for epoch in state["history"]]
        best = None if state["best"] is None else float(state["best"])
        return Begun(run, len(values), values[-1] if values else None, best, int(state["best_epoch"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, OverflowError):
        return Begun(run)


def save_checkpoint(path: Path, tensors: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write tensors and, as JSON in the header, the rest of the state to one file. The previous checkpoint is kept beside it."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({RUN: _run_of(path), **state})
    with writing_tensors(path) as temporary:
        save_file(dict(tensors), temporary, metadata={"state": text, "digest": array_digest(text, tensors)})
        if path.exists():
            path.replace(path.with_name(PREVIOUS))


def load_checkpoint(path: Path, *, discard: bool = False) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Tensors and state of the last good checkpoint of this run; None if there is none.

    A damaged checkpoint, or one of another run, is logged. With `discard` it is removed, because the next one to be written
    would otherwise move it into the place of the good previous one.
    """
    for each in (path, path.with_name(PREVIOUS)):
        if not each.exists():
            continue
        try:
            return _checked(each)
        except OSError as error:  # not removed: a failing disk may work the next time
            log.warning("checkpoint %s cannot be read (%s)", each, error.strerror or error)
        except ValueError as error:
            log.warning("checkpoint %s is damaged or another run's (%s); the one before is taken, if any", each, error)
            if discard:
                each.unlink(missing_ok=True)
    return None


def remove_checkpoints(folder: Path) -> None:
    for name in (CHECKPOINT, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def _checked(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A checkpoint's tensors and state. Raises OSError; ValueError if it is damaged or another run's."""
    from safetensors import SafetensorError

    try:
        tensors, header = read_tensors(path, "pt")
        if array_digest(header["state"], tensors) != header["digest"]:
            raise ValueError("its bytes were altered")
        state = parsed(header["state"])
        if state[RUN] != _run_of(path):
            raise ValueError(f"it belongs to {state[RUN]}")
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None
    return tensors, state


def _run_of(checkpoint: Path) -> str:
    """The id of the run in whose folder a checkpoint lies: the names of the last three folders."""
    return "/".join(checkpoint.absolute().parent.parts[-3:])
