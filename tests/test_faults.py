"""A short pass of tests/faults/faults.py: the longer one's figures are in docs/reliability.md."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from places import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "tests" / "faults" / "faults.py"


def test_faults_are_survived() -> None:
    words = [sys.executable, str(SCRIPT), "--kills", "7", "--damages", "1", "--few", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:]]
    assert len(rows) >= 20
    for kind, injected, survived, lost, note in rows:
        assert (int(injected) > 0) != note.startswith("not tried"), kind
        assert (survived, lost) == (injected, "0")
