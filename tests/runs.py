"""Runs that tests share: records of given figures, stored runs of drawn predictions, the committed ones, trained ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import encoders
import numpy as np
from corpora import Row, write
from places import ROOT
from scipy.sparse import csr_matrix
from systems import SMALL

import icdbench.run as runner
from icdbench import registry
from icdbench.evaluation import compare
from icdbench.evaluation.measure import measured
from icdbench.presentation import tables
from icdbench.records import store
from icdbench.records.record import DataFacts, Epoch, RunRecord, Timing
from icdbench.spec import Benchmark, DataSpec, Reported, RunSpec, StoredDataSpec, TrainSpec
from icdbench.types import LabelSet, Predictions

Settings = Mapping[str, Any]
# With these CAML is sure of nothing after an epoch.
UNSURE = {"train.learning_rate": 3e-3, "train.batch_size": 16, "caml.kernel_size": 10, "caml.dropout": 0.2}
FAST = ("--set", "train.max_epochs=2", "--set", "data.embeddings=random")
NOTHING_SIGNED: dict[str, Any] = {"id": "own/caml/1-00000000", "created": "", "digest": ""}
UNSIGNED = RunRecord.model_construct(**NOTHING_SIGNED)

# --- Records -------------------------------------------------------------------------------------------------------------

RECORDS = [record for record in store.load_records(ROOT / "results") if record.spec.dataset == "codiesp-d50"]


def keep(records: list[RunRecord], results: Path) -> None:
    """Store the records alone, signed if they are."""
    for record in records:
        (store.save_record if record.signed else store.write_record)(results / record.id, record)


def printed_table(
    benchmark: Benchmark, records: Sequence[RunRecord], fmt: str = "md", reported: Sequence[Reported] = ()
) -> str:
    """The table of one benchmark."""
    return tables.printed([(benchmark, records)], fmt, reported)


def compared_pair(results: Path, names: tuple[str, str], dataset: str, **options: Any) -> compare.Comparison:
    """The first system compared with the second."""
    return compare.against(results, names[::-1], dataset, **options)[0]


def record(
    model: str = "jlan",
    seed: int = 1,
    value: float = 0.6,
    *,
    dataset: str = "codiesp-d50",
    variant: str = "",
    fingerprint: str = "0123456789abcdef",
    changed: dict[str, Any] | None = None,
    num_codes: int = 50,
    unseen: int = 0,
    synthetic: bool = False,
    collapse: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
    **figures: float | None,
) -> RunRecord:
    """A finished run, all of whose figures are `value` but those given (with `_` for `@`; None: not measured)."""
    changed = changed or {}
    part = {
        where: {key.partition(".")[2]: given for key, given in changed.items() if key.startswith(where)}
        for where in ("data", "train")
    }
    spec = RunSpec(
        dataset=dataset,
        fingerprint=fingerprint,
        model=model,
        variant=variant,
        seed=seed,
        data=StoredDataSpec.model_validate(part["data"]),
        train=TrainSpec.model_validate(part["train"]),
        config=config or {},
    )
    keys = ("auc_macro", "auc_micro", "f1_macro_harmonic", "f1_micro", "p@5", "r@5", "p@8", "p@15", "map")
    measured = {key: figures.get(key.replace("@", "_"), value) for key in keys}
    fixed = {key: number for key, number in measured.items() if number is not None}
    return RunRecord(
        id=spec.id,
        spec=spec,
        changed=changed,
        metrics={"test": {"fixed": fixed, "tuned": fixed | {"f1_micro": value + 0.01}}},
        threshold={"fixed": 0.5, "tuned": 0.25},
        collapse=collapse or {},
        popularity={"p@5": 0.185, "r@5": 0.1, "map": 0.2, "f1_micro": 0.9},
        ceilings={"p@5": 0.56239, "r@5": 0.8561, "p@8": 0.4, "p@15": 0.21, "map": 1.0},
        history=[Epoch(epoch=epoch, loss=0.3, monitor=seen) for epoch, seen in ((1, 0.1), (2, 0.4), (3, 0.4))],
        parameters=1,
        data=DataFacts(
            name=dataset,
            synthetic=synthetic,
            fingerprint=fingerprint,
            documents={"train": 1500, "validation": 250, "test": 240},
            num_codes=num_codes,
            num_tokens=9,
            unseen={"train": 0, "validation": 0, "test": unseen},
            assignments={"train": 9999, "validation": 2000, "test": 2842},
        ),
        timing=Timing(prepare=1.0, train=90.0, predict=1.0),
        device="cpu",
        versions={},
    )


# --- Stored runs of drawn predictions ----------------------------------------------------------------------------------

N, L = 40, 8
COUNTS = np.array([0, 5, 5, 30, 30, 90, 300, 900])
LABEL_SET = LabelSet(("0250", "038.9", "401.9", "428.0", "276.1", "585.9", "V58.61", "no-code"), COUNTS)


def predictions(seed: int, labels: np.ndarray[Any, Any], skill: float, shift: float = 0) -> Predictions:
    """Logits, many of them tied, that know the labels as well as `skill` says."""
    noise = np.random.default_rng(seed).standard_normal(labels.shape)
    scores_NL = np.round(noise + skill * (2.0 * labels - 1) + shift, 1).astype(np.float32)
    return Predictions((), scores_NL, csr_matrix(labels), np.arange(len(labels)) % 2)


def stored(
    results: Path,
    model: str,
    seed: int = 1,
    skill: float = 0.5,
    *,
    changed: dict[str, Any] | None = None,
    label_set: LabelSet | None = LABEL_SET,
    gold: int = 0,
    shift: float = 0,
    **spec: Any,
) -> Path:
    """A finished run whose test labels are drawn with seed `gold`; its folder."""
    generator = np.random.default_rng(gold)
    split = {name: (generator.random((N, L)) < 0.3).astype(np.uint8) for name in ("validation", "test")}
    made = {name: predictions(seed + hash_of(model), labels, skill, shift) for name, labels in split.items()}
    given = {"dataset": "demo", "fingerprint": "0123456789abcdef", "data": DataSpec(), "version": "1"} | spec
    full = RunSpec(model=model, seed=seed, train=TrainSpec(), config={}, **given)
    record = RunRecord(
        id=full.id,
        spec=full,
        changed=changed or {},
        **measured(made, COUNTS),
        parameters=1,
        data=DataFacts(
            name=full.dataset,
            synthetic=True,
            fingerprint=full.fingerprint,
            documents={"train": 9, "validation": N, "test": N},
            num_codes=L,
            num_tokens=9,
            unseen={"train": 0, "validation": 0, "test": 20},
            assignments={"train": 99, "validation": 99, "test": 99},
        ),
        timing=Timing(prepare=1.0, train=1.0, predict=1.0),
        device="cpu",
        versions={},
    )
    folder = store.folder(results, full)
    store.save_run(folder, record, made, label_set or LABEL_SET, {"w": np.zeros(1)})
    return folder


def hash_of(model: str) -> int:
    return sum(map(ord, model))


# --- Trained runs ------------------------------------------------------------------------------------------------------

WORDS = {"038.9": "sepsis fever", "428.0": "heart failure edema", "250.00": "diabetes insulin"}


def rows() -> list[Row]:
    """60 documents of different lengths, some with words that no other has; the test split is the last ten."""
    generator = np.random.default_rng(0)
    made = []
    for number in range(60):
        codes = [code for code in WORDS if generator.random() < 0.5] or ["038.9"]
        filler = generator.choice(["walked", "slept", "ate", f"only{number}"], int(generator.integers(1, 40)))
        text = " ".join(["The patient, 71,", *(WORDS[code] for code in codes), *filler, "and went HOME."])
        split = "train" if number < 40 else "validation" if number < 50 else "test"
        made.append({"id": str(number), "text": text, "codes": ";".join(codes), "split": split})
    return made


TEXTS = [row["text"] for row in rows() if row["split"] == "test"]


def train(
    folder: Path, system: str = "caml", documents: Sequence[Row] = (), changes: Settings | None = None
) -> tuple[RunRecord, Path]:
    """A run of one epoch; its record and its folder."""
    base = system.partition("@")[0]
    path = write(folder / "notes.csv", documents or rows())
    sizes = {name: size for name, size in SMALL.items() if name in registry.entry(base).config.model_fields}
    settings: dict[str, Any] = {f"{base}.{name}": size for name, size in sizes.items()}
    settings |= {"train.max_epochs": 1, "data.embeddings": "random", "data.code_system": "icd9cm"}
    settings |= encoders.settings(base, registry.entry(base).needs)
    settings |= {**(UNSURE if base == "caml" else {}), **(changes or {})}
    request = runner.Request([system], str(path), changes=settings, results=folder / "results", device="cpu")
    (planned,) = runner.expand(request)
    return runner.execute(planned, request), store.folder(request.results, planned.spec)
