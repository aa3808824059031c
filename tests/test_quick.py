"""`pytest -m quick` runs some of every package, and what it leaves out is still there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import QUICK
from places import ROOT

TESTS = ROOT / "tests"


@pytest.mark.parametrize("package", sorted({path.parent.name for path in TESTS.glob("*/test_*.py")}))
def test_every_package_has_quick_tests(package: str) -> None:
    assert any(Path(file).parent.name == package for file in QUICK)


def test_what_is_left_out_exists() -> None:
    for file, left_out in QUICK.items():
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert left_out <= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, file
