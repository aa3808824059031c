"""Data sets by name: those of the files below `sources`, of installed packages, and of a user's own files.

Another package registers its data sets when its entry point of the group `icdbench.datasets` is loaded, a user's own Python
file when it is named as a data set.
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
from icdbench.data.code_list import read as code_list
from icdbench.data.code_list import system_of as code_system
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
# A Python file, which is executed: only by a name with a slash, which the name of a data set in a stored record has not.
PYTHON_FILE = re.compile(r"(?P<path>.*/.*\.py)(?::(?P<name>.+))?")


def open(name: str, root: Path | None = None, settings: DataSpec | Mapping[str, Any] | None = None) -> Source:  # noqa: A001
    """A data set in its folder of raw data, with its own settings or some of them changed. Raises SpecError, DataError."""
    found = source(name)
    return found.at(data_root(root), settings if isinstance(settings, DataSpec) else found.settings(settings))


def source(name: str) -> Source:
    """The data set of this name, bound to no folder: a registered one, or a user's own file. Raises SpecError, DataError."""
    known = scan()
    if name in known:
        return known[name]
    if found := PYTHON_FILE.fullmatch(name):
        return _of_file(Path(found["path"]), found["name"] or "")
    if is_path(name):
        return own.source(Path(name))
    raise SpecError(
        f"no data set '{name}'{nearest(name, known)}; own data: a .csv, .tsv, .parquet, .json or .jsonl file, or a data set "
        "of your own by its Python file, as ./mine.py"
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
    """Import the files below `sources`, then what installed packages have; one that cannot be loaded is warned of."""
    for module in pkgutil.iter_modules(sources.__path__):
        importlib.import_module(f"{sources.__name__}.{module.name}")
    for point in loading.installed(GROUP):
        try:
            point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001  another's code may raise anything
            log.warning("data sets of %s are left out: %s", point.value, loading.why(error))


def download(name: str, root: Path | None = None) -> str:
    """Fetch a data set into the folder of raw data; a line about what was done. Raises SpecError, DataError."""
    known = scan()
    fetch = DOWNLOADS.get(known[name].download if name in known else name)
    if fetch is None and name in known:
        raise SpecError(f"there is no download of '{name}'; 'icdbench data check {name}' says what it lacks")
    if fetch is None:
        raise SpecError(f"no download '{name}'{nearest(name, DOWNLOADS)}")
    return fetch(data_root(root))


def overview(root: Path | None = None) -> list[tuple[str, str, str]]:
    """Each registered data set: its name, whether its files are there, and what it is."""
    return [(name, _presence(name, root), found.about) for name, found in scan().items()]


def _presence(name: str, root: Path | None) -> str:
    try:
        files = open(name, root).files()
    except DataError:
        return "absent"
    packaged = Path(__file__).parent.parent
    return "packaged" if all(path.is_relative_to(packaged) for path in files) else f"{len(files)} found"


def _of_file(path: Path, wanted: str) -> Source:
    """The data set that a user's own Python file registers; one of several by its name."""
    names = _import_file(path.resolve())
    name = wanted or (names[0] if len(names) == 1 else "")
    if name not in names:
        raise SpecError(f"name a data set of {path} as {path}:NAME; it registers {', '.join(names) or 'none'}")
    return SOURCES[name]


def _import_file(path: Path) -> list[str]:
    """The names of the data sets that a Python file registers; it is executed again once it was edited. Raises SpecError."""
    file = _user_file(path)
    for name in file.sources:
        SOURCES.pop(name, None)
    before = set(SOURCES)
    try:
        module = loading.import_file(path)
        if module is not file.module:
            file.module, file.sources = module, {name: SOURCES[name] for name in SOURCES if name not in before}
    finally:
        for name in set(SOURCES) - before:
            del SOURCES[name]
        SOURCES.update(file.sources)
    return list(file.sources)


@dataclass
class _UserFile:
    """What a user's own Python file registered when it was last executed without an error."""

    module: ModuleType | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)


@functools.cache
def _user_file(_path: Path) -> _UserFile:
    return _UserFile()


# --- The settings of stored runs -----------------------------------------------------------------------------------------


def completed(dataset: str, data: StoredDataSpec) -> StoredDataSpec:
    """The settings of a stored run with the options that its source has gained since, at their defaults.

    Whoever adds an option without raising the source's version says that its default reads what was read before.
    """
    try:
        gained = source(dataset).at(Path(), data).data.model_dump(mode="json")
    except SpecError:  # of a package that is no longer installed, or a file by its name alone
        return data
    stored = data.model_dump(mode="json")
    return data if gained.keys() <= stored.keys() else StoredDataSpec.model_validate({**gained, **stored})


def changes_task(dataset: str, data: StoredDataSpec) -> dict[str, Any]:
    """The settings that change the documents or their codes: runs that differ in one of them answer different questions.

    All options of a source that is not known count.
    """
    marked = {**dict.fromkeys([*data.options, *FORMER_OPTIONS], True), **_settings_of(dataset).task_fields()}
    stored = {**FORMER_OPTIONS, **data.model_dump(mode="json")}
    stored["label_set"] = "train" if "label_set" in data.unchosen else data.label_set
    return {name: stored[name] for name, changes in marked.items() if changes and name in stored}


def default(dataset: str, name: str) -> Any:
    """The value of a setting where nobody sets it; None for an option of a source that is not known."""
    fields = _settings_of(dataset).model_fields
    return fields[name].default if name in fields else FORMER_OPTIONS.get(name)


def _settings_of(dataset: str) -> type[DataSpec]:
    try:
        return type(source(dataset).data)
    except SpecError:
        return DataSpec
