"""Settings of the process: only who asks for them gets them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from icdbench.host import limit_threads
from icdbench.host.tuning import ENVIRONMENT, THREADS

pytestmark = pytest.mark.slow

VARIABLES = {*ENVIRONMENT, THREADS}  # earlier tests may have set them here
SAID = """
import ctypes, os, sys
{before}
called = []
ctypes.CDLL = lambda _: type("Library", (), {{"mallopt": staticmethod(lambda *given: called.append(given))}})
{code}
print(*map(os.environ.get, {variables}), len(called), "torch" in sys.modules)
"""


def said(code: str, before: str = "") -> str:
    script = SAID.format(code=code, before=before, variables=list(ENVIRONMENT))
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()[-1]


def test_importing_tunes_nothing() -> None:
    assert said("import icdbench, icdbench.cli.main") == "None None None 0 False"


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is told on Linux alone")
def test_it_is_offered_and_needs_no_torch() -> None:
    assert said("import icdbench; icdbench.tune_process()") == "1 8192 300 2 False"


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is told on Linux alone")
def test_what_the_user_set_stays() -> None:
    assert (
        said("import icdbench; icdbench.tune_process()", "os.environ['THP_MEM_ALLOC_ENABLE'] = '0'")
        == "0 8192 300 2 False"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is told on Linux alone")
def test_the_command_line_tunes_its_process() -> None:
    code = (
        "sys.argv = ['icdbench', '--version']\nfrom icdbench.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert said(code) == "1 8192 300 2 False"


LIMITED = "import os, sys\nfrom icdbench.host import limit_threads\nlimit_threads({asked})\nprint(os.environ['OMP_NUM_THREADS'])"


@pytest.mark.parametrize(
    ("asked", "variables", "threads"),
    [
        ("None", {"LOKY_MAX_CPU_COUNT": "1"}, "1"),
        ("None", {"OMP_NUM_THREADS": "3"}, "3"),
        ("5", {"OMP_NUM_THREADS": "3"}, "5"),
        ("None, processes=1000", {}, "1"),
        ("7, processes=2", {}, "7"),
    ],
)
def test_threads_are_those_asked_for_or_as_many_as_there_are_cores(
    asked: str, variables: dict[str, str], threads: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != THREADS} | variables
    command = [sys.executable, "-c", LIMITED.format(asked=asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes have an affinity on Linux")
def test_a_process_bound_to_one_core_has_one_thread() -> None:
    code = "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n" + LIMITED.format(asked="None")
    environment = {name: value for name, value in os.environ.items() if name != THREADS}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "1"


def test_torch_too_has_the_threads_where_it_is_loaded_already(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv(THREADS, "1")  # which is restored
    limit_threads(3)
    assert torch.get_num_threads() == 3
