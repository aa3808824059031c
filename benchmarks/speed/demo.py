"""Measure how long a new user waits for `icdbench run` on the demo data, without a cache, and for `icdbench --help`.

    python benchmarks/speed/demo.py

Prints a Markdown table, with the machine. The bounds beside the times are the suite's: 4 minutes on 2 CPU cores for the
comparison, 1 second for the help.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOUNDS = {("run", "--device", "cpu"): 240.0, ("--help",): 1.0}


def seconds(words: tuple[str, ...], folder: Path) -> float:
    """Return the wall time of a command in a folder, with a cache of its own."""
    environment = os.environ | {"ICDBENCH_CACHE": str(folder / "cache")}
    begun = time.monotonic()
    command = [sys.executable, "-m", "icdbench", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)  # noqa: S603
    return time.monotonic() - begun


def main() -> None:
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| command | seconds | bound |\n|:--|--:|--:|")
    for words, bound in BOUNDS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"| icdbench {' '.join(words)} | {seconds(words, Path(folder)):.1f} | {bound:.0f} |")


if __name__ == "__main__":
    main()
