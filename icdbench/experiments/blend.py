"""Ensembles of stored runs: `icdbench blend RUN --with RUN` mixes their logits.

A logistic regression over all pairs of a document and a code has one weight for each run and an intercept. It is fitted on
the validation documents, on which no run was fitted (though neural models chose their best epoch by them). Test documents
are mixed with weights from all validation documents. For the figures and the threshold of the validation split, each fifth
of its documents is mixed with weights from the other four.

The result is a run of predictions without a model: it can be compared and shown in tables, but not bundled or served.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from icdbench import registry
from icdbench.evaluation import measure
from icdbench.records import RunRecord, comparable, provenance, store
from icdbench.settings import SpecError
from icdbench.spec import RunSpec
from icdbench.types import FloatArray, LabelSet, Predictions

VERSION = "blend-1"  # changes when the same runs would give other figures
FOLDS = 5
LARGEST_LOGIT = 10.0  # logits are clipped to ± this


class BlendMember(NamedTuple):
    """A finished run with its predictions."""

    record: RunRecord
    predictions: dict[str, Predictions]
    codes: LabelSet


class Blended(NamedTuple):
    """The stored run, the weight of each member and the intercept (fitted on all validation documents).

    `known`: the run was already stored, and nothing was written.
    """

    record: RunRecord
    weights: dict[str, float]
    known: bool = False


def blend(run: str, others: Sequence[str], results: Path = Path("results"), name: str = "") -> Blended:
    """Mix finished runs, given by ids or folders, and store the result as the system `name`. Raises SpecError, DataError."""
    members = [_load_member(each, results) for each in (run, *others)]
    first = members[0]
    for other in members[1:]:
        _check_compatible(first, other)
    if len({member.record.id for member in members}) < len(members):
        raise SpecError("a run is named twice; name each run once")
    systems = [member.record.spec.system for member in members]
    name = name or re.sub(r"[^\w.-]+", "-", "-with-".join([systems[0], "-".join(systems[1:])]))
    check_name(name)
    if name in systems:
        raise SpecError(f"--name '{name}' is the name of one of these runs; choose another")
    spec = _spec(name, members)
    logits = {
        split: np.stack([np.clip(each.predictions[split].scores_NL.astype(np.float64), -LARGEST_LOGIT, LARGEST_LOGIT) for each in members], axis=-1)
        for split in measure.MEASURED
    }  # fmt: skip
    gold_NL = first.predictions["validation"].labels.toarray()
    weights_M, intercept = _fit(logits["validation"], gold_NL)
    weights = dict(zip([*spec.config["runs"], "intercept"], [*weights_M.tolist(), intercept], strict=True))
    if (found := store.find(results, spec)) is not None:
        return Blended(found, weights, known=True)
    fold_N = np.random.default_rng(0).permutation(len(gold_NL)) % FOLDS
    mixed = {split: np.zeros(each.shape[:2], np.float32) for split, each in logits.items()}
    for fold in range(FOLDS):
        fitted = _fit(logits["validation"][fold_N != fold], gold_NL[fold_N != fold])
        mixed["validation"][fold_N == fold] = _mix(logits["validation"][fold_N == fold], *fitted)
    mixed["test"] = _mix(logits["test"], weights_M, intercept)
    predictions = {split: replace(first.predictions[split], scores_NL=scores) for split, scores in mixed.items()}
    source = provenance.ScoredFile(
        file=" ".join(spec.config["runs"]), sha256=spec.config["sha256"], kind="runs", validation="cross-fitted"
    )
    changed = {key: value for key, value in first.record.changed.items() if key.startswith("data.")}
    stored = store_predictions(spec, changed, first.record.data, source, predictions, first.codes, results)
    return Blended(stored, weights)


def check_name(name: str) -> None:
    """Raise SpecError unless this can name a system whose predictions no model of the suite made."""
    if not re.fullmatch(r"\w[\w.-]{0,79}", name):
        raise SpecError(
            f"--name '{name}': a system's name is of letters, digits, dots, - and _, at most 80; choose one with --name"
        )
    if name in {*registry.entries(), "all", "floors"}:
        raise SpecError(
            f"'{name}' is a model of icdbench; say what made these predictions with --name, as {name}-elsewhere"
        )


def _load_member(name: str, results: Path) -> BlendMember:
    folder = store.named(name, results)
    record = store.load_record(folder)
    if record is None:
        raise SpecError(f"run '{name}' is unfinished or damaged; the command that began it makes it whole")
    if record.scored:
        raise SpecError(
            f"run '{record.id}' was not made by a model: its predictions cannot be mixed; name runs of models"
        )
    found = BlendMember(record, store.load_predictions(folder, record), store.load_label_set(folder, record))
    if lacking := [split for split in measure.MEASURED if split not in found.predictions]:
        raise SpecError(f"run '{record.id}' has no predictions of the {lacking[0]} split; blend a run that has both")
    return found


def _check_compatible(first: BlendMember, other: BlendMember) -> None:
    """Raise SpecError unless both runs have the same documents and codes."""
    one, two = first.record, other.record
    problem = f"'{two.id}' cannot be mixed with '{one.id}'"
    if (one.spec.dataset, one.spec.fingerprint) != (two.spec.dataset, two.spec.fingerprint):
        raise SpecError(
            f"{problem}: one is of data set '{two.spec.dataset}', the other of '{one.spec.dataset}', or of other files"
        )
    if first.codes.codes != other.codes.codes:
        raise SpecError(
            f"{problem}: their codes differ ({len(other.codes.codes):,} and {len(first.codes.codes):,}); name runs with the same "
            "data.top_codes and data.label_set"
        )
    tasks = comparable.task(one), comparable.task(two)
    for name, value in tasks[0].items():
        if tasks[1].get(name) != value:
            raise SpecError(
                f"{problem}: {name} is {tasks[1].get(name)} there, {value} here; name runs that share a table"
            )
    for split in measure.MEASURED:
        labels = [each.predictions[split].labels.tocsr() for each in (first, other)]
        if labels[0].shape != labels[1].shape or (labels[0] != labels[1]).nnz:
            raise SpecError(f"{problem}: their {split} documents differ")


def _fit(logits_NLM: FloatArray, gold_NL: FloatArray) -> tuple[FloatArray, float]:
    """Fit a logistic regression on all pairs: weights [M] and intercept."""
    from sklearn.linear_model import LogisticRegression

    pairs_PM, gold_P = logits_NLM.reshape(-1, logits_NLM.shape[-1]), gold_NL.reshape(-1)
    if len(np.unique(gold_P)) < 2:
        raise SpecError("the validation documents have no code, or all codes: no weights can be learnt from them")
    solver = LogisticRegression(max_iter=1000).fit(pairs_PM, gold_P)
    return solver.coef_[0], float(solver.intercept_[0])


def _mix(logits_NLM: FloatArray, weights_M: FloatArray, intercept: float) -> FloatArray:
    mixed_NL: FloatArray = (np.einsum("nlm,m->nl", logits_NLM, weights_M) + intercept).astype(np.float32)
    return mixed_NL


def _spec(name: str, members: Sequence[BlendMember]) -> RunSpec:
    """The spec of the run, identified by the ids and the predictions of its members."""
    ids = [member.record.id for member in members]
    scores = [member.predictions[split].scores_NL for member in members for split in measure.MEASURED]
    content = hashlib.sha256(b"".join(np.ascontiguousarray(each, np.float32).tobytes() for each in scores))
    return members[0].record.spec.model_copy(
        update={
            "model": name, "variant": "", "config": {"runs": ids, "sha256": content.hexdigest()},
            "version": VERSION, "uses_trainer": False,
        }
    )  # fmt: skip


def store_predictions(
    spec: RunSpec,
    changed: Mapping[str, Any],
    data: provenance.DataFacts,
    source: provenance.ScoredFile,
    predictions: Mapping[str, Predictions],
    codes: LabelSet,
    results: Path,
) -> RunRecord:
    """Measure predictions that no model of the suite made, and store them as a run."""
    store.prepare(results)
    record = RunRecord(
        id=spec.id,
        spec=spec,
        changed=changed,
        **measure.measured(predictions, codes.train_counts, source.lacking),
        parameters=0,
        data=data,
        timing={"prepare": 0, "train": 0, "predict": 0},
        device="",
        versions=provenance.versions(),
        commit=provenance.commit(),
        scored=source,
        created=provenance.now(),
    )
    folder = store.folder(results, spec)
    with store.alone(folder):
        return store.save_run(folder, record, predictions, codes, {})
