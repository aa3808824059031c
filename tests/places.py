"""Where the repository is, and what is given beside it."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
PAPER = SHARED / "paper" / "jlan.txt"


def committed_records() -> list[Path]:
    """The records of runs that are part of the repository; beside them may lie those of its user."""
    command = ("git", "-C", str(ROOT), "ls-files", "results/**/record.json")
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines()]
