"""A short pass of tests/faults/altered.py: the longer one's figures are in docs/reliability.md."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from places import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "tests" / "faults" / "altered.py"


def test_altered_files_are_refused_or_read_as_before() -> None:
    words = [sys.executable, str(SCRIPT), "--records", "51", "--bundles", "12", "--cache", "11"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:]]
    assert len(rows) >= 35, done.stderr
    for file, kind, tried, tracebacks, wrong, hangs, leftovers in rows:
        assert int(tried) > 0
        assert (tracebacks, hangs, leftovers) == ("0", "0", "0"), (file, kind, done.stderr)
        assert wrong == "0", (file, kind, done.stderr)
