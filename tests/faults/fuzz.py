"""Fuzzes everything that reads files with atheris, which keeps altered files that reach branches of icdbench no other did.

    pip install "icdbench[fuzz]"
    OMP_NUM_THREADS=1 python tests/faults/fuzz.py [--seconds 60] [--targets record,bundle]

Targets are those of the test suite (tests/targets.py): whole files to begin with, whose reading may end in an error that a user is told
of in a line, and in no other. Each is fuzzed so long in a process of its own. Prints a table, and exits with 1 if any failed; the
failing input is then beside you as `crash-TARGET-…`. Make it a test.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
TRIED = re.compile(r"stat::number_of_executed_units: *(\d+)")
REACHED = re.compile(r"cov: (\d+)")


def fuzz(name: str, seconds: int, folder: Path) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["icdbench"]):
        from targets import TARGETS, attempt

    logging.getLogger("icdbench").setLevel(logging.ERROR)  # each damage is warned of
    target = TARGETS[name]
    (folder / "files").mkdir()
    path = target.make(folder / "files")
    (folder / "corpus").mkdir()
    (folder / "corpus" / "whole").write_bytes(path.read_bytes())
    longest = 2 * path.stat().st_size + 100

    def once(content: bytes) -> None:
        path.write_bytes(content)
        attempt(target, path)

    options = (f"-max_total_time={seconds}", f"-max_len={longest}", "-print_final_stats=1", "-rss_limit_mb=8192")
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix=crash-{name}-", str(folder / "corpus")], once)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--targets")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        fuzz(asked.one[0], asked.seconds, Path(asked.one[1]))
    from targets import TARGETS

    chosen = asked.targets.split(",") if asked.targets else list(TARGETS)
    if unknown := [name for name in chosen if name not in TARGETS]:
        raise SystemExit(f"no target '{unknown[0]}'; there are {', '.join(TARGETS)}")
    print("| target | inputs tried | branches reached | failures |\n|:--|--:|--:|:--|")
    failures = {}
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--seconds", str(asked.seconds), "--one", name, folder]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
        tried, reached = TRIED.findall(ended.stderr), REACHED.findall(ended.stderr)
        if ended.returncode or not tried:
            failures[name] = f"{name}: {ended.stdout[-1500:]}{ended.stderr[-1500:]}"
        last = int((tried or ["0"])[-1]), (reached or ["0"])[-1], "failed" if name in failures else "none"
        print(f"| {name} | {last[0]:,} | {last[1]} | {last[2]} |", flush=True)
    print("\n".join(failures.values()), file=sys.stderr)
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
