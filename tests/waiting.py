"""Waiting for an event: never for a time, and without a deadline, which a loaded machine would miss.

A test whose event never comes is ended by pytest's own timeout, which pyproject.toml sets.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import time
from collections.abc import Callable, Iterator

PAUSE = 0.02  # seconds between two looks


def until(happened: Callable[[], object], *processes: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Look until it has happened. Raises AssertionError if one of the processes ends before."""
    while not happened():
        ended = [process.args for process in processes if process.poll() is not None]
        assert not ended or happened(), f"ended too soon: {ended[0]!s}"
        time.sleep(PAUSE)


@contextlib.contextmanager
def ended(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[None]:
    """A process does not outlive a test that failed, or took too long, before it was told to end."""
    try:
        yield
    finally:
        process.kill()


class Heard(logging.Handler):
    """Calls a function when the library logs a message that holds a text."""

    def __init__(self, text: str, then: Callable[[], object]) -> None:
        super().__init__()
        self.text, self.then = text, then

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.then()

    def __enter__(self) -> None:
        logging.getLogger("icdbench").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("icdbench").removeHandler(self)
