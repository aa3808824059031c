"""The script that measures denoising where the wrong labels are known still runs."""

from __future__ import annotations

import runpy

import pytest
from corpora import prepared
from places import ROOT


@pytest.mark.slow
def test_what_is_left_out_is_counted() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "denoising.py"))
    trained = script["trained"]
    trained.__globals__.update(EPOCHS=1)
    found = trained(prepared("demo"), 0.2, 1, "bound .15")
    right, sibling, spurious = found.wrong
    assert right > sibling > 0
    assert spurious > 0
    assert found.omitted > 0
    assert len(found.epochs) == 1
    assert found.test["map"] > 0
