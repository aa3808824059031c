"""benchmarks/studies/blends.py: validation figures of mixes of stored runs, with nothing written beside the runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from places import ROOT

from icdbench.experiments import blend
from icdbench.records import store


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("blends", ROOT / "benchmarks" / "studies" / "blends.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_mix_has_the_validation_figures_that_icdbench_blend_stores(study: ModuleType, tmp_path: Path) -> None:
    results = ROOT / "results"
    before = sorted(results.rglob("*"))
    alone, mixed = study.figures(results, "codiesp-d50", "stacked@titles", [["phrases", "lr@l1"]])
    assert sorted(results.rglob("*")) == before
    assert [alone[0], mixed[0]] == ["nothing", "phrases, lr@l1"]
    first = next((results / "codiesp-d50" / "stacked@titles").glob("1-*"))
    record = store.load_record(first)
    assert record
    assert alone[1] == pytest.approx(100 * record.metrics["validation"]["fixed"]["f1_micro"])
    assert alone[3] == pytest.approx(100 * record.metrics["validation"]["fixed"]["map"])
    for system in ("stacked@titles", "phrases", "lr@l1"):
        (tmp_path / "codiesp-d50").mkdir(exist_ok=True)
        (tmp_path / "codiesp-d50" / system).symlink_to(results / "codiesp-d50" / system)
    names = [f"codiesp-d50/{system}/{folder.name}" for system in ("phrases", "lr@l1") for folder in sorted((results / "codiesp-d50" / system).glob("*-*"))]  # fmt: skip
    stored = blend.blend(f"codiesp-d50/stacked@titles/{first.name}", names, tmp_path, "by-hand").record
    assert mixed[1:] == pytest.approx([100 * stored.metrics["validation"][rule][key] for rule, key in (("fixed", "f1_micro"), ("tuned", "f1_micro"), ("fixed", "map"))])  # fmt: skip


def test_a_system_without_runs_is_named(study: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no run of 'nothing'"):
        study.figures(ROOT / "results", "codiesp-d50", "nothing", [])
