"""Where a run comes from (data, programs, machine, commit, time), and the `record` made from that."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from icdbench import registry
from icdbench.data import describe as corpora
from icdbench.data import word_vectors
from icdbench.records.record import DataFacts, Epoch, RunRecord, ScoredFile, Timing
from icdbench.spec import Planned
from icdbench.types import Corpus

__all__ = ["DataFacts", "ScoredFile", "commit", "describe", "device_name", "now", "record", "versions"]


def now() -> str:
    """The time in UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def describe(corpus: Corpus, vectors: Mapping[str, float], own: Path | None = None) -> DataFacts:
    """The facts of the data for a record. `vectors` says how the word vectors were trained, if there are any; `own` is the user's
    own file of them."""
    sizes = corpora.sizes(corpus)
    return DataFacts(
        name=corpus.name,
        synthetic=corpus.synthetic,
        fingerprint=corpus.fingerprint,
        documents=sizes.documents,
        num_codes=sizes.codes,
        num_tokens=len(corpus.vocabulary.tokens),
        assignments=sizes.gold,
        unseen=sizes.unseen,
        facts=dict(corpus.facts),
        notices=[*corpus.notices, *word_vectors.coverage(vectors, own)],
        word_vectors=dict(vectors),
    )


def record(
    planned: Planned,
    data: DataFacts,
    measured: Mapping[str, Any],
    history: Iterable[Mapping[str, float]],
    parameters: int,
    timing: Mapping[str, float],
    device: torch.device,
    devices: int,
) -> RunRecord:
    """The record of a run that has just ended. `measured` has the fields that follow from its predictions."""
    entry = registry.entry(planned.spec.model)
    return RunRecord(
        id=planned.spec.id,
        spec=planned.spec,
        changed=dict(planned.changed),
        adapted=dict(planned.adapted),
        study=entry.study if planned.adapted else None,
        **measured,
        history=[Epoch.model_validate(epoch) for epoch in history],
        parameters=parameters,
        data=data,
        timing=Timing.model_validate({name: round(value, 3) for name, value in timing.items()}),
        device=f"{devices} × {device_name(device)}" if devices > 1 else device_name(device),
        versions=versions(),
        commit=commit(),
        code=entry.code,
        code_source=entry.source,
        created=now(),
    )


def device_name(device: torch.device) -> str:
    """The GPU's name, or the number of torch's threads and the kind of CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' * (threads > 1)}, {platform.machine()}"


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that affect what is computed."""
    names = ("icdbench", "torch", "lightning-fabric", "numpy", "scipy", "scikit-learn", "gensim")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def commit() -> str:
    """The commit of this icdbench, with `+` if there are changed files or new code; empty outside a git checkout."""
    package = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", package, *words], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607

    try:
        if git("ls-files", "--error-unmatch", "run.py") != "run.py":
            return ""
        # Of untracked files only those in folders of code count, not results.
        code_folders = [str(each.resolve()) for each in (package, *map(Path, registry.folders()))]
        added = git("ls-files", "--others", "--exclude-standard", "--", *code_folders)
        dirty = git("status", "--porcelain", "-uno") or added
        return git("rev-parse", "--short=10", "HEAD") + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
