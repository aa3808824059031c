"""Code from outside the suite: users' own Python files (`import_file`) and entry points of packages (`installed`).

Such code may raise anything; `where_and_why` turns it into one line with the file, the line number and the reason.
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

PREFIX = "icdbench_user_file_"  # of the module names of users' own files
LONGEST = 200  # characters of an error that are shown


def import_file(path: Path) -> ModuleType:
    """Import a user's Python file, again if it was edited since the last import. Raises SpecError.

    It can import files beside it, as a script can. What it prints goes to stderr.
    """
    file = path.resolve()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror or error}") from None
    name = f"{PREFIX}{path.stem}_{hashlib.sha256(bytes(file) + b'|' + content).hexdigest()[:16]}"
    if name == latest_import(file):
        return sys.modules[name]
    sys.modules.pop(name, None)  # loaded before an edit that has been undone since
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(content, file, "exec"), vars(module))  # noqa: S102  cached bytecode may be of an earlier edit
    except (Exception, SystemExit) as error:  # noqa: BLE001
        del sys.modules[name]
        raise SpecError(where_and_why(error, path)) from None
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(file.parent))
    return module


def latest_import(file: Path) -> str | None:
    """The module name of the file's last import; None if it was never imported."""
    names = [name for name, module in sys.modules.items() if name.startswith(PREFIX) and module.__file__ == str(file)]
    return names[-1] if names else None


def is_of_user_file(cls: type) -> bool:
    """Whether `import_file` executed the definition of the class, not that of a file which the user's file imports."""
    return cls.__module__.startswith(PREFIX)


def installed(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of installed packages in a group."""
    return _entry_points(group, tuple(sys.path))


@functools.cache
def _entry_points(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def where_and_why(error: BaseException, path: Path) -> str:
    """`mine.py line 3: NameError: name 'nn' is not defined`; the line is the innermost one of that file."""
    if isinstance(error, SyntaxError):
        return f"{path} line {error.lineno}: {error.msg}"
    frames = _frames_in(path, error)
    return f"{path} line {frames[-1].lineno}: {why(error)}" if frames else f"{path}: {why(error)}"


def is_from(error: BaseException, path: Path) -> bool:
    """Whether the file was being executed when the error was raised."""
    return bool(_frames_in(path, error))


def _frames_in(path: Path, error: BaseException) -> list[traceback.FrameSummary]:
    return [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path.resolve())]


def why(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, ValidationError):
        return first_of(error)
    text = " ".join(str(error).split())[:LONGEST]
    return text if isinstance(error, SpecError) else f"{type(error).__name__}: {text}".removesuffix(": ")
