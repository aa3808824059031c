"""`pytest -m quick` runs some of every package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from places import ROOT

TESTS = ROOT / "tests"
MARK = "pytest.mark.slow"


def quick(path: Path) -> list[str]:
    """The tests of a file that are not marked as slow, alone or all at once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if any(isinstance(node, ast.Assign) and MARK in ast.unparse(node) for node in tree.body):
        return []
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return [test.name for test in tests if MARK not in map(ast.unparse, test.decorator_list)]


@pytest.mark.parametrize("package", sorted({path.parent.name for path in TESTS.glob("*/test_*.py")}))
def test_every_package_has_quick_tests(package: str) -> None:
    assert any(quick(path) for path in (TESTS / package).glob("test_*.py"))
