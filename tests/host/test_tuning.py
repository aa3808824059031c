"""Settings of the process: only who asks for them gets them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

VARIABLES = {"THP_MEM_ALLOC_ENABLE", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}  # earlier tests may have set them here
SAID = """
import ctypes, os, sys
{before}
called = []
ctypes.CDLL = lambda _: type("Library", (), {{"mallopt": staticmethod(lambda *given: called.append(given))}})
{code}
print(os.environ.get("THP_MEM_ALLOC_ENABLE"), os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY"), len(called), "torch" in sys.modules)
"""


def said(code: str, before: str = "") -> str:
    script = SAID.format(code=code, before=before)
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()[-1]


def test_importing_tunes_nothing() -> None:
    assert said("import icdbench, icdbench.cli.main") == "None None 0 False"


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is told on Linux alone")
def test_it_is_offered_and_needs_no_torch() -> None:
    assert said("import icdbench; icdbench.tune_process()") == "1 8192 2 False"


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is told on Linux alone")
def test_what_the_user_set_stays() -> None:
    assert (
        said("import icdbench; icdbench.tune_process()", "os.environ['THP_MEM_ALLOC_ENABLE'] = '0'") == "0 8192 2 False"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is told on Linux alone")
def test_the_command_line_tunes_its_process() -> None:
    code = (
        "sys.argv = ['icdbench', '--version']\nfrom icdbench.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert said(code) == "1 8192 2 False"
