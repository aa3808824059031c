"""Python code of others: a user's own files, and installed packages that register something by entry points.

Such code may do anything, so whatever it raises becomes one line that names the file, the line and the reason.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from icdbench.settings import SpecError, first_of

PREFIX = "icdbench_user_file_"  # of the names of modules that are users' own files
LONGEST = 200  # characters of an error that are shown


def import_file(path: Path) -> ModuleType:
    """A user's Python file as a module; executed again whenever it was edited since the last time. Raises SpecError.

    Files beside it can be imported from it, as from a script. What it prints goes to stderr.
    """
    place = path.resolve()
    try:
        content = place.read_bytes()
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror or error}") from None
    name = f"{PREFIX}{path.stem}_{hashlib.sha256(bytes(place) + b'|' + content).hexdigest()[:16]}"
    if name == _latest(place):
        return sys.modules[name]
    sys.modules.pop(name, None)  # of an edit that was taken back
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(place.parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(content, place, "exec"), vars(module))  # noqa: S102  no bytecode, which may be of an edit ago
    except (Exception, SystemExit) as error:  # noqa: BLE001
        del sys.modules[name]
        raise SpecError(where_and_why(error, path)) from None
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(place.parent))
    return module


def _latest(place: Path) -> str | None:
    """The name of the module that the file was when it was last executed."""
    files = [name for name, module in sys.modules.items() if name.startswith(PREFIX) and module.__file__ == str(place)]
    return files[-1] if files else None


def installed(group: str) -> tuple[EntryPoint, ...]:
    """The entry points that installed packages have in a group."""
    return _installed(group, tuple(sys.path))


@functools.cache
def _installed(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def where_and_why(error: BaseException, path: Path) -> str:
    """`mine.py line 3: NameError: name 'nn' is not defined`; the line is the last one of the file that was executed."""
    if isinstance(error, SyntaxError):
        return f"{path} line {error.lineno}: {error.msg}"
    lines = [each.lineno for each in _frames(error, path)]
    return f"{path} line {lines[-1]}: {why(error)}" if lines else f"{path}: {why(error)}"


def is_from(error: BaseException, path: Path) -> bool:
    """Whether the file was being executed when the error was raised."""
    return bool(_frames(error, path))


def _frames(error: BaseException, path: Path) -> list[traceback.FrameSummary]:
    """Those of the error's calls that are in the file."""
    return [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path.resolve())]


def why(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, ValidationError):
        return first_of(error)
    said = " ".join(str(error).split())[:LONGEST]
    return said if isinstance(error, SpecError) else f"{type(error).__name__}: {said}".removesuffix(": ")
