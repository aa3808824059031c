"""benchmarks/studies/first_epochs.py: whether today's code computes the first epoch of a stored run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from places import ROOT

import icdbench

pytestmark = pytest.mark.slow


def test_the_same_code_computes_the_same_bits(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("first_epochs", ROOT / "benchmarks" / "studies" / "first_epochs.py")
    assert spec
    assert spec.loader
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    (run,) = icdbench.run(
        "cnn", "demo", seeds=[3], settings={"train.max_epochs": 1}, results=tmp_path / "results", device="cpu"
    )
    (epoch,) = run.record.history
    for factor, verdict in ((1, "same bits"), (1 + 1e-7, "rounding"), (1.01, "other numbers")):
        altered = epoch.model_copy(update={"loss": epoch.loss * factor})
        record = run.record.model_copy(update={"changed": {}, "history": [altered]})
        ((system, seed, _, then, now, *_, found),) = study.compared([record], None, str(tmp_path / "again"))
        assert (system, seed, found) == ("cnn", "3", verdict)
        assert (then, now) == (f"{altered.loss:.6f}", f"{epoch.loss:.6f}")
    assert list(study.compared([run.record], None, str(tmp_path))) == []  # its settings are not the defaults
    linear = run.record.spec.model_copy(
        update={"train": run.record.spec.train.model_copy(update={"scheduler": "linear"})}
    )
    unchanged = run.record.model_copy(update={"changed": {}, "spec": linear})
    assert list(study.compared([unchanged], None, str(tmp_path))) == []
