"""A short pass of tests/faults/faults.py: the longer one's figures are in docs/reliability.md."""

from __future__ import annotations

from pathlib import Path

import forked
import pytest

pytestmark = pytest.mark.slow


def test_faults_are_survived(tmp_path: Path) -> None:
    status, out, err = forked.script("faults.py", tmp_path, "--kills", 7, "--damages", 1, "--few", 1)
    assert status == 0, out + err
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()[2:]]
    assert len(rows) >= 20
    for kind, injected, survived, lost, note in rows:
        assert (int(injected) > 0) != note.startswith("not tried"), kind
        assert (survived, lost) == (injected, "0")
