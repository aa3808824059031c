"""Where the repository is, and what is given beside it."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
PAPER = SHARED / "paper" / "jlan.txt"


def committed_records() -> list[Path]:
    """The records of runs that are part of the repository; beside them may lie those of its user."""
    command = ("git", "-C", str(ROOT), "ls-files", "results/**/record.json")
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines()]


def site_hook(name: str) -> ModuleType:
    """A hook of mkdocs.yml, a file of docs/ that is part of no package."""
    spec = importlib.util.spec_from_file_location(f"{name}_of_the_site", ROOT / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(ROOT / "docs"), *sys.path]):  # as MkDocs does
        spec.loader.exec_module(module)
    return module
