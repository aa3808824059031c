"""The registry of models: those of the files in `models/`, of installed packages, and of users' own files.

A file registers its models by the decorator `register`. An installed package is loaded by its entry point of the group
`icdbench.models`, a user's own file when it is named in place of a model: `./mine.py` (all of its models) or
`mine.py:name@variant`. Records have the model's name without the file.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import logging
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from torch import nn

from icdbench.data import encoders
from icdbench.plugins import listing, loading
from icdbench.settings import Range, Settings, SpecError, UnsuitableError, nearest
from icdbench.spec import Study, TrainSpec, Variant
from icdbench.types import Corpus, Encoded, FloatArray, Task, Weights

log = logging.getLogger("icdbench")

MODELS = "icdbench.models"  # the package with a file for each family of models, and the group of entry points
USER_FILE = re.compile(r".+\.py(?=$|[:@])")  # at the start of a system's name


class LinearModel(Protocol):
    """A model that is fitted as a whole, without the trainer's epochs."""

    def fit(self, encoded: Encoded) -> None:
        """Fit to the documents."""

    def scores(self, encoded: Encoded) -> FloatArray:
        """Logits N×L."""

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """What each position of a single document adds to a code's logit [T]."""

    def weights(self) -> Weights:
        """All fitted numbers by name, for storing."""

    def restore(self, weights: Weights) -> None:
        """Load what `weights` returned."""


Model = nn.Module | LinearModel
M = TypeVar("M", bound=Callable[[Any, Task], Any])


@dataclass(frozen=True)
class Entry:
    """A registered model: its class, settings, paper, and its changes of the suite's data and training defaults."""

    name: str
    cls: Callable[[Any, Task], Any]
    config: type[Settings]
    paper: str
    about: str
    variants: Mapping[str, Variant]
    data: Mapping[str, Any]
    train: Mapping[str, Any]
    small: Mapping[str, Any]
    study: Study | None
    needs: Sequence[str]
    version: str
    code: str

    @property
    def uses_trainer(self) -> bool:
        """Whether it is trained in epochs; if not, it is fitted as a whole and training settings have no effect."""
        return not (inspect.isclass(self.cls) and not issubclass(self.cls, nn.Module))

    @property
    def small_by_target(self) -> dict[str, dict[str, Any]]:
        """The settings for small data: those of the model under its name, those of training under `train`."""
        of_model = {name: value for name, value in self.small.items() if name in self.config.model_fields}
        of_training = {name: value for name, value in self.small.items() if name not in of_model}
        return {self.name: of_model, "train": of_training}

    @property
    def train_ranges(self) -> dict[str, Range]:
        """The tuning ranges of training, extended to the values that the model declares."""
        ranges = TrainSpec.ranges()
        return {**ranges, **{field: ranges[field].holding(self.train[field]) for field in ranges.keys() & self.train}}

    @property
    def any_codes(self) -> bool:
        """Whether a trained model can score any codes with titles: its class declares `any_codes = True`."""
        return bool(getattr(self.cls, "any_codes", False))

    @property
    def file(self) -> str:
        """The name of the file that defines it."""
        return Path(inspect.getfile(self.cls)).name

    @property
    def path(self) -> Path | None:
        """A user's own file that defines it; None for a model of the suite or of a package."""
        return Path(inspect.getfile(self.cls)) if self.cls.__module__.startswith(loading.PREFIX) else None

    @property
    def source(self) -> str:
        """Where the code is, for records: `file mine.py` or `package theirs`; empty for a model of the suite."""
        module = self.cls.__module__
        if module.startswith(f"{MODELS}."):
            return ""
        return f"file {self.file}" if self.path else f"package {module.partition('.')[0]}"

    def variant(self, name: str) -> Variant:
        """The declared variant, an empty one for no name. Raises SpecError."""
        if not name:
            return Variant(name="")
        if name not in self.variants:
            raise SpecError(f"model '{self.name}' has no variant '{name}'{nearest(name, self.variants)}")
        return self.variants[name]

    def check(self, data: Corpus | Task, variant: Variant | None = None) -> None:
        """Raises UnsuitableError if the data lack something that the model or its variant needs."""
        present = {"titles": any(map(len, data.descriptions or ())), "hierarchy": data.hierarchy is not None}
        present[encoders.FIELD] = not isinstance(data, Task) or data.encoder is not None
        needs, system = self.needs, self.name
        if variant is not None and variant.needs:
            needs, system = (*needs, *variant.needs), f"{self.name}@{variant.name}"
        if lacking := next((need for need in needs if not present[need]), None):
            if lacking == encoders.FIELD:
                raise UnsuitableError(f"{system} needs a pretrained encoder: --set {self.name}.encoder=FOLDER")
            raise UnsuitableError(
                f"{system} needs the codes' {lacking}, and these data have none; run another model, "
                "or for own data set data.code_system"
            )

    def notices(self, config: Settings, task: Task) -> list[str]:
        """What a user should know about the model on these data before it is trained, one line each.

        They come from the static method `notices(config, task)` of the model's class, if it has one.
        """
        declared: Callable[[Settings, Task], list[str]] | None = getattr(self.cls, "notices", None)
        return [f"{self.name}: {line}" for line in declared(config, task)] if declared else []


_ENTRIES: dict[str, Entry] = {}
_BROKEN: set[str] = set()  # files and packages of which a warning was logged
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def register(
    name: str,
    *,
    config: type[Settings],
    paper: str,
    variants: Sequence[Variant] = (),
    data: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    small: Mapping[str, Any] | None = None,
    study: Study | None = None,
    needs: Sequence[str] = (),
    version: str = "",
) -> Callable[[M], M]:
    """Decorate a model class `(config, task)` to register it. Raises SpecError for a name that is taken or invalid.

    - `data`, `train`: where the paper differs from the suite's defaults.
    - `small`: settings of training or of the model for data sets of hundreds of documents, for which the published ones were
      not chosen; the latter remain as the variant `published`. `study`: the search that found them, if there was one.
    - `needs`: what it requires of the data: titles, hierarchy, encoder (a pretrained one, named by its field `encoder`).
    - `version`: stored runs of another version are not reused. By default it is a digest of the file that calls this and of
      the files beside it that it imports, without comments, docstrings and layout. An author who gives a version changes it
      when equal settings give other results, by more than rounding or another seed would, and gives fields that are added
      later a default that computes what was computed before.
    """

    def add(cls: M) -> M:
        if name in _ENTRIES:
            raise SpecError(f"model '{name}' is registered twice, in {_ENTRIES[name].file} too; rename one of them")
        if invalid := next((each.name for each in variants if not listing.VARIANT.fullmatch(each.name)), None):
            raise SpecError(
                f"variant '{invalid}' of model '{name}': a name is of letters, digits, dots, - and _, and not 'tuned'"
            )
        by_name = {variant.name: variant for variant in [*variants, *_published(config, train or {}, small or {})]}
        doc = (sys.modules[cls.__module__].__doc__ or "").strip()
        code = code_digest(*_sources(cls, name))
        overrides = data or {}, train or {}, small or {}
        _ENTRIES[name] = Entry(
            name, cls, config, paper, doc, by_name, *overrides, study, needs, version or f"code-{code}", code
        )
        return cls

    return add


def _sources(cls: object, name: str) -> list[str]:
    """The source of the file that defines a model, or only of the model if it is in no file (in a notebook).

    Then the sources of the files in the same folder that it imports, directly or indirectly.
    """
    module = sys.modules[cls.__module__]
    try:
        texts = {module.__name__: inspect.getsource(module if getattr(module, "__file__", None) else cls)}  # type: ignore[arg-type]
    except (OSError, TypeError):
        raise SpecError(f"model '{name}' has no source text to know its version by; register it from a file") from None
    folder = Path(getattr(module, "__file__", None) or ".").parent
    waiting = [module.__name__]
    while waiting:
        for each in _imported(texts[waiting.pop()], module.__package__ or ""):
            file = getattr(sys.modules.get(each), "__file__", None)
            if each not in texts and file and Path(file).parent == folder and Path(file).name != "__init__.py":
                texts[each] = inspect.getsource(sys.modules[each])
                waiting.append(each)
    return list(texts.values())


def _imported(source: str, package: str) -> list[str]:
    """Names of the modules that a file may import."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = package if node.level else ""
            base = ".".join(part for part in (parent, node.module) if part)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


def code_digest(*sources: str) -> str:
    """8 hex digits of the code in Python files, without comments, docstrings and layout."""
    total = hashlib.sha256()
    for source in sources:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        total.update(ast.unparse(tree).encode())
    return total.hexdigest()[:8]


def _published(config: type[Settings], train: Mapping[str, Any], small: Mapping[str, Any]) -> list[Variant]:
    """The variant with the same settings on small data as on any other, for a model that has settings for small data."""
    usual = TrainSpec().override(train, "train")
    of_model = {name: getattr(config(), name) for name in small if name in config.model_fields}
    of_training = {name: getattr(usual, name) for name in small if name not in of_model}
    about = "on small data with the settings for any other"
    return [Variant(name=listing.PUBLISHED, about=about, model=of_model, train=of_training)] if small else []


def folders() -> list[str]:
    """The folders of the model files that come with icdbench."""
    return list(importlib.import_module(MODELS).__path__)


def entries() -> dict[str, Entry]:
    """Every model by name. A file or package that cannot be imported is left out with a warning."""
    for module in pkgutil.iter_modules(folders()):
        _load_or_warn(f"models/{module.name}.py", functools.partial(importlib.import_module, f"{MODELS}.{module.name}"))
    for point in loading.installed(MODELS):
        _load_or_warn(f"the package of entry point '{point.value}'", point.load)
    return dict(sorted(_ENTRIES.items()))


def _load_or_warn(what: str, load: Callable[[], object]) -> None:
    try:
        _load_models(load)
    except (Exception, SystemExit) as error:  # noqa: BLE001  other people's code may raise anything
        if what not in _BROKEN:
            log.warning("%s is left out: %s", what, loading.why(error))
        _BROKEN.add(what)


def _load_models(load: Callable[[], object]) -> list[str]:
    """Return the names of the models that the call registers; if it raises, none of them stays registered."""
    before = set(_ENTRIES)
    try:
        load()
    except BaseException:
        for name in _ENTRIES.keys() - before:
            del _ENTRIES[name]
        raise
    return [name for name in _ENTRIES if name not in before]


def entry(name: str) -> Entry:
    """The model of this name, or one of a user's file: `mine.py`, `mine.py:name`. Raises SpecError."""
    if found := USER_FILE.match(name):
        return _entry_of_file(Path(found[0]), name[found.end() :].removeprefix(":"))
    known = entries()
    if name not in known:
        raise SpecError(f"no model '{name}'{nearest(name, known)}; one of your own is named by its file, as ./mine.py")
    return known[name]


def stored_entry(name: str, source: str, run: str) -> Entry:
    """The model of a stored run. Raises SpecError that names the file or package with its code."""
    if name in entries() or not source:
        return entry(name)
    kind, _, where = source.partition(" ")
    remedy = f"name it with --models PATH/{where}" if kind == "file" else "install it"
    raise SpecError(f"'{run}' needs the code of model '{name}', which is in {kind} '{where}': {remedy}")


def _entry_of_file(path: Path, wanted: str) -> Entry:
    names = load_file(path)
    if wanted and wanted not in names:
        raise SpecError(f"{path} registers no model '{wanted}'{nearest(wanted, names)}")
    if not wanted and len(names) > 1:
        raise SpecError(f"{path} registers {', '.join(names)}; name one of them, as {path}:{names[0]}")
    return _ENTRIES[wanted or names[0]]


def load_file(path: Path) -> list[str]:
    """Import a user's file, again if it was edited, and return the names of its models. Raises SpecError."""
    entries()
    path = path.resolve()
    before = {name: found for name, found in _ENTRIES.items() if found.path == path}
    for name in before:
        del _ENTRIES[name]
    try:
        names = _load_models(functools.partial(loading.import_file, path))
    except SpecError:
        _ENTRIES.update(before)
        raise
    if any(found.cls.__module__ == loading.latest_import(path) for found in before.values()):  # it has not changed
        _ENTRIES.update(before)
        return list(before)
    if not names:
        raise SpecError(f"{path} registers no model; docs/api.md shows how a file does")
    return names


def load_files(systems: Iterable[str]) -> None:
    """Import the users' files in the names of systems. Raises SpecError."""
    for found in filter(None, map(USER_FILE.match, systems)):
        load_file(Path(found[0]))


def split(system: str) -> tuple[str, str]:
    """Split `jlan@no-joint` into model and variant, which is empty for a model itself. Paths may contain an @."""
    found = USER_FILE.match(system)
    start = found.end() if found else 0
    base, _, variant = system[start:].partition("@")
    return system[:start] + base, variant


def stored_name(system: str) -> str:
    """The system's name in records, without the file that defines it. Raises SpecError."""
    base, _ = split(system)
    return entry(base).name + system[len(base) :]


def systems(name: str) -> list[str]:
    """The systems that a user's text names: for a file all of its models, by names that hold in any process.

    Raises SpecError.
    """
    base, variant = split(name)
    found = USER_FILE.match(base)
    if found and found.end() == len(base) and not variant:
        names = load_file(Path(base))
    elif found or base in _ENTRIES:
        names = [entry(base).name]
    else:
        return [name]
    located = [f"{path}:{model}" if (path := _ENTRIES[model].path) else model for model in names]
    return [each + name[len(base) :] for each in located]


def defaults(name: str, version: str) -> Mapping[str, Any]:
    """The default of each field of a model, as JSON; empty for a model that is unknown or of another version."""
    found = entries().get(name)
    return found.config().model_dump(mode="json") if found is not None and found.version == version else {}


def build(name: str, task: Task, **overrides: Any) -> Model:
    """Build a new model, named such as `caml` or `jlan@no-joint`, with some of its fields replaced.

    A model that needs an encoder gets the task's, else the one that its settings name by content. Raises SpecError, DataError.
    """
    base, variant = split(name)
    found = entry(base)
    config = found.config().override(found.variant(variant).model, name).override(overrides, base)
    if task.encoder is None and encoders.FIELD in found.needs:
        task = replace(task, encoder=encoders.named(getattr(config, encoders.FIELD)))
    found.check(task)
    return cast("Model", found.cls(config, task))
