"""Scripts of tests/faults in a process forked from this one, which has imported most of what they need."""

from __future__ import annotations

import logging
import os
import runpy
import sys
import warnings
from pathlib import Path

from places import ROOT


def script(name: str, folder: Path, *words: object) -> tuple[int, str, str]:
    """Run a script to its end; its exit status, stdout and stderr, which are also files of the folder."""
    paths = folder / "out", folder / "err"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, of forking a process with threads
        pid = os.fork()
    if not pid:
        _run(ROOT / "tests" / "faults" / name, paths, list(map(str, words)))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    out, err = (path.read_text(encoding="utf-8") for path in paths)
    return status, out, err


def _run(path: Path, streams: tuple[Path, Path], words: list[str]) -> None:
    """Become a process that runs the script; never returns."""
    status = 70
    try:
        for number, stream in enumerate(streams, start=1):
            with stream.open("w", encoding="utf-8") as file:
                os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        warnings.resetwarnings()  # pytest makes errors of them,
        logging.getLogger().handlers.clear()  # and keeps what is logged
        sys.argv = [str(path), *words]
        sys.path.insert(0, str(path.parent))
        runpy.run_path(str(path), run_name="__main__")
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0
    except BaseException:  # noqa: BLE001  as an interpreter ends
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
