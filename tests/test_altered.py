"""A short pass of tests/faults/altered.py: the longer one's figures are in docs/reliability.md."""

from __future__ import annotations

from pathlib import Path

import forked
import pytest

pytestmark = pytest.mark.slow


def test_altered_files_are_refused_or_read_as_before(tmp_path: Path) -> None:
    _, out, err = forked.script("altered.py", tmp_path, "--records", 51, "--bundles", 12, "--cache", 11)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()[2:]]
    assert len(rows) >= 35, err
    for file, kind, tried, tracebacks, wrong, hangs, leftovers in rows:
        assert int(tried) > 0
        assert (tracebacks, hangs, leftovers) == ("0", "0", "0"), (file, kind, err)
        assert wrong == "0", (file, kind, err)
