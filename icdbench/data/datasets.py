"""Data sets by name: `open` returns one of a file below `sources`, of an installed package, or of a user's own file.

An installed package registers its data sets when its entry point of the group `icdbench.datasets` is loaded, a user's own
Python file when it is named as a data set.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from icdbench.data import sources
from icdbench.data.code_files import code_list
from icdbench.data.code_files import system_of as code_system
from icdbench.data.quality import respelled
from icdbench.data.source import DOWNLOADS, SOURCES, Evidence, Source
from icdbench.data.sources import own, own_predictions
from icdbench.data.sources.own import is_path, marks_digest, notes, reading
from icdbench.data.sources.own_predictions import PredictedCodes
from icdbench.data.sources.own_settings import OwnSettings, PredictionSettings
from icdbench.plugins import loading
from icdbench.settings import DataError, SpecError, nearest
from icdbench.spec import FORMER_OPTIONS, DataSpec, StoredDataSpec

__all__ = [
    "Evidence",
    "OwnSettings",
    "PredictedCodes",
    "Source",
    "changes_task",
    "code_list",
    "code_system",
    "completed",
    "data_root",
    "default",
    "download",
    "is_path",
    "marks_digest",
    "notes",
    "open",
    "overview",
    "predictions",
    "reading",
    "respelled",
    "scan",
    "source",
]

log = logging.getLogger("icdbench")

GROUP = "icdbench.datasets"  # of entry points
# A Python file is executed only if its name has a slash, which the names of data sets in stored records never have.
PYTHON_FILE = re.compile(r"(?P<path>.*/.*\.py)(?::(?P<name>.+))?")


def open(name: str, root: Path | None = None, settings: DataSpec | Mapping[str, Any] | None = None) -> Source:  # noqa: A001
    """A data set bound to the folder of raw data, with its settings or some of them changed. Raises SpecError, DataError."""
    found = source(name)
    return found.at(data_root(root), settings if isinstance(settings, DataSpec) else found.settings(settings))


def source(name: str) -> Source:
    """The data set of this name, not yet bound to a folder: registered, or a user's own file. Raises SpecError, DataError."""
    registered = scan()
    if name in registered:
        return registered[name]
    if found := PYTHON_FILE.fullmatch(name):
        return _source_of_python_file(Path(found["path"]), found["name"] or "")
    if is_path(name):
        return own.source(Path(name))
    raise SpecError(
        f"no data set '{name}'{nearest(name, registered)}; own data: a .csv, .tsv, .parquet, .json or .jsonl file, or a "
        "data set of your own by its Python file, as ./mine.py"
    )


def predictions(path: Path, reading: Mapping[str, Any] | None = None) -> PredictedCodes:
    """The codes that a file predicts, by document id; `reading` has columns, encoding and code_separator.

    Raises SpecError, DataError.
    """
    return own_predictions.read(path, PredictionSettings().override(reading or {}, "reading"))


def data_root(given: Path | None) -> Path:
    """The folder that holds raw data: `--data`, else ICDBENCH_DATA, else ./data."""
    return given or Path(os.environ.get("ICDBENCH_DATA") or "data")


def scan() -> dict[str, Source]:
    """All registered data sets by name."""
    _load_sources()
    return SOURCES


@functools.cache
def _load_sources() -> None:
    """Import the files below `sources`, then those of installed packages; log a warning for one that cannot be loaded."""
    for module in pkgutil.iter_modules(sources.__path__):
        importlib.import_module(f"{sources.__name__}.{module.name}")
    for point in loading.installed(GROUP):
        try:
            point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001  another's code may raise anything
            log.warning("data sets of %s are left out: %s", point.value, loading.why(error))


def download(name: str, root: Path | None = None) -> str:
    """Fetch a data set into the folder of raw data; return a line that says what was done. Raises SpecError, DataError."""
    registered = scan()
    fetch = DOWNLOADS.get(registered[name].download if name in registered else name)
    if fetch is None and name in registered:
        raise SpecError(f"there is no download of '{name}'; 'icdbench data check {name}' says what it lacks")
    if fetch is None:
        raise SpecError(f"no download '{name}'{nearest(name, DOWNLOADS)}")
    return fetch(data_root(root))


def overview(root: Path | None = None) -> list[tuple[str, str, str]]:
    """Each registered data set: its name, whether its files are there, and what it is."""
    return [(name, _files_found(name, root), found.about) for name, found in scan().items()]


def _files_found(name: str, root: Path | None) -> str:
    try:
        files = open(name, root).files()
    except DataError:
        return "absent"
    packaged = Path(__file__).parent.parent
    return "packaged" if all(path.is_relative_to(packaged) for path in files) else f"{len(files)} found"


def _source_of_python_file(path: Path, name: str) -> Source:
    """The data set of that name that a user's Python file registers; the name may be empty if there is only one."""
    names = _import_file(path.resolve())
    name = name or (names[0] if len(names) == 1 else "")
    if name not in names:
        raise SpecError(f"name a data set of {path} as {path}:NAME; it registers {', '.join(names) or 'none'}")
    return SOURCES[name]


def _import_file(path: Path) -> list[str]:
    """The names of the data sets that a Python file registers, itself or by files that it imports. Raises SpecError.

    An edited file is executed again, but not those that it imports: data sets of their classes stay, even after an error.
    """
    file = _user_file(path)
    for name in file.sources:
        SOURCES.pop(name, None)
    before = set(SOURCES)
    try:
        module = loading.import_file(path)
        if module is not file.module:
            file.module, file.sources = module, _of_imports(file.sources) | _others(before)
    except SpecError:
        file.sources = {**file.sources, **_of_imports(_others(before))}
        raise
    finally:
        for name in _others(before):
            del SOURCES[name]
        SOURCES.update(file.sources)
    return list(file.sources)


def _others(known: set[str]) -> dict[str, Source]:
    """The registered data sets but these."""
    return {name: found for name, found in SOURCES.items() if name not in known}


def _of_imports(sources: Mapping[str, Source]) -> dict[str, Source]:
    """Those of the data sets whose classes a user's file imports."""
    return {name: found for name, found in sources.items() if not loading.is_of_user_file(type(found))}


@dataclass
class _UserFile:
    """What a user's Python file registered when it was last executed without an error."""

    module: ModuleType | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)


@functools.cache
def _user_file(_path: Path) -> _UserFile:
    return _UserFile()


# --- The settings of stored runs -----------------------------------------------------------------------------------------


def completed(dataset: str, data: StoredDataSpec) -> StoredDataSpec:
    """The settings of a stored run, with options that its source has gained since at their defaults.

    This is right because an option may only be added without raising the source's version if its default changes nothing.
    """
    try:
        current = source(dataset).at(Path(), data).data.model_dump(mode="json")
    except SpecError:  # the package is no longer installed, or only the file's name is stored
        return data
    stored = data.model_dump(mode="json")
    return data if current.keys() <= stored.keys() else StoredDataSpec.model_validate({**current, **stored})


def changes_task(dataset: str, data: StoredDataSpec) -> dict[str, Any]:
    """The settings that change the documents or their codes; runs that differ in one of them cannot be compared.

    Of a source that is not known, all options count.
    """
    is_task = {**dict.fromkeys([*data.options, *FORMER_OPTIONS], True), **_settings_type(dataset).task_fields()}
    stored = {**FORMER_OPTIONS, **data.model_dump(mode="json")}
    stored["label_set"] = "train" if "label_set" in data.unchosen else data.label_set
    return {name: stored[name] for name, task in is_task.items() if task and name in stored}


def default(dataset: str, name: str) -> Any:
    """The default of a setting; None for an option of a source that is not known."""
    fields = _settings_type(dataset).model_fields
    return fields[name].default if name in fields else FORMER_OPTIONS.get(name)


def _settings_type(dataset: str) -> type[DataSpec]:
    try:
        return type(source(dataset).data)
    except SpecError:
        return DataSpec
