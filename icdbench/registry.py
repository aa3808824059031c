"""Models by name: those of the files in `models/`, of installed packages, and of a user's own files.

A file registers what it defines; nothing else has to be edited. An installed package registers its models when its entry
point of the group `icdbench.models` is loaded, a user's own file when it is named in place of a model:
`./mine.py` (all of its models), `mine.py:name@variant`. Records have the model's name alone.
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

MODELS = "icdbench.models"  # the package that holds a file per family of models, and the group of entry points
USER_FILE = re.compile(r".+\.py(?=$|[:@])")  # at the start of the name of a system


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
        """Become the model that `weights` was called of."""


Model = nn.Module | LinearModel
M = TypeVar("M", bound=Callable[[Any, Task], Any])


@dataclass(frozen=True)
class Entry:
    """A registered model: its class, fields, paper and what it changes of the suite's data and training defaults."""

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
        """Whether the trainer trains it, or it is fitted as a whole and training settings have no effect."""
        return not (inspect.isclass(self.cls) and not issubclass(self.cls, nn.Module))

    @property
    def small_by_target(self) -> dict[str, dict[str, Any]]:
        """The settings for small data as those of the model, by its name, and those of the training."""
        of_model = {name: value for name, value in self.small.items() if name in self.config.model_fields}
        of_training = {name: value for name, value in self.small.items() if name not in of_model}
        return {self.name: of_model, "train": of_training}

    @property
    def train_ranges(self) -> dict[str, Range]:
        """The tuning ranges of training, each of which holds what the model declares."""
        ranges = TrainSpec.ranges()
        return {**ranges, **{field: ranges[field].holding(self.train[field]) for field in ranges.keys() & self.train}}

    @property
    def any_codes(self) -> bool:
        """Whether a trained model scores any codes that have titles: its class says `any_codes = True`."""
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
        """What a record says of where the code is: `file mine.py` or `package theirs`; nothing for a model of the suite."""
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
        """Raises UnsuitableError if the data have not what the model, or its variant, needs."""
        there = {"titles": any(map(len, data.descriptions or ())), "hierarchy": data.hierarchy is not None}
        there[encoders.FIELD] = not isinstance(data, Task) or data.encoder is not None
        needs, system = self.needs, self.name
        if variant is not None and variant.needs:
            needs, system = (*needs, *variant.needs), f"{self.name}@{variant.name}"
        if lacking := next((need for need in needs if not there[need]), None):
            if lacking == encoders.FIELD:
                raise UnsuitableError(f"{system} needs a pretrained encoder: --set {self.name}.encoder=FOLDER")
            raise UnsuitableError(
                f"{system} needs the codes' {lacking}, and these data have none; run another model, "
                "or for own data set data.code_system"
            )

    def notices(self, config: Settings, task: Task) -> list[str]:
        """What a user should know of the model on these data before it is trained, a line each.

        The model's class says so in a static method `notices(config, task)`, if there is anything to say.
        """
        declared: Callable[[Settings, Task], list[str]] | None = getattr(self.cls, "notices", None)
        return [f"{self.name}: {line}" for line in declared(config, task)] if declared else []


_ENTRIES: dict[str, Entry] = {}
_BROKEN: set[str] = set()  # files that were warned of
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
    """Decorate a model class `(config, task)` to make it known.

    `data` and `train` say where its paper differs from the suite's defaults; `small` replaces settings of the training,
    or of the model itself, on data sets of hundreds of documents, for which the published ones were not chosen; what it
    replaces is kept as the variant `published`. `study` is the search that found them; none if they were chosen by
    hand. `needs` names what it cannot be trained without: titles, hierarchy, encoder (a
    pretrained one, which its field `encoder` names and which comes with the task).
    Stored runs of another `version` are not reused. Without one it is a digest of the file that calls this and of those beside
    it that it imports, but for comments, docstrings and layout. An author who gives one says when equal settings give other results than before, by more than
    rounding or another seed would, and gives fields that are added later a default that computes what was computed before.
    """

    def add(cls: M) -> M:
        if name in _ENTRIES:
            raise SpecError(f"model '{name}' is registered twice, in {_ENTRIES[name].file} too; rename one of them")
        if odd := next((each.name for each in variants if not listing.VARIANT.fullmatch(each.name)), None):
            raise SpecError(
                f"variant '{odd}' of model '{name}': a name is of letters, digits, dots, - and _, and not 'tuned'"
            )
        named = {variant.name: variant for variant in [*variants, *_published(config, train or {}, small or {})]}
        doc = sys.modules[cls.__module__].__doc__ or ""
        code = code_digest(*_sources(cls, name))
        changed, named_by = (data or {}, train or {}, small or {}), version or f"code-{code}"
        _ENTRIES[name] = Entry(name, cls, config, paper, doc.strip(), named, *changed, study, needs, named_by, code)
        return cls

    return add


def _sources(cls: object, name: str) -> list[str]:
    """The text of the file that defines a model, or of the model alone where it stands in no file, as in a notebook.

    Then those of the files in the same folder that it imports, and that these import.
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
    """8 hex digits of what Python files compute: comments, docstrings and layout do not count."""
    total = hashlib.sha256()
    for source in sources:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        total.update(ast.unparse(tree).encode())
    return total.hexdigest()[:8]


def _published(config: type[Settings], train: Mapping[str, Any], small: Mapping[str, Any]) -> list[Variant]:
    """The variant that has the same settings on small data as on any other, where a model has others for them."""
    usual = TrainSpec().override(train, "train")
    of_model = {name: getattr(config(), name) for name in small if name in config.model_fields}
    of_training = {name: getattr(usual, name) for name in small if name not in of_model}
    about = "on small data with the settings for any other"
    return [Variant(name=listing.PUBLISHED, about=about, model=of_model, train=of_training)] if small else []


def folders() -> list[str]:
    """Where the model files are that come with icdbench."""
    return list(importlib.import_module(MODELS).__path__)


def entries() -> dict[str, Entry]:
    """Every model by name. A file or package that cannot be imported is warned of and left out."""
    for module in pkgutil.iter_modules(folders()):
        _import(f"models/{module.name}.py", functools.partial(importlib.import_module, f"{MODELS}.{module.name}"))
    for point in loading.installed(MODELS):
        _import(f"the package of entry point '{point.value}'", point.load)
    return dict(sorted(_ENTRIES.items()))


def _import(what: str, load: Callable[[], object]) -> None:
    try:
        _all_or_none(load)
    except (Exception, SystemExit) as error:  # noqa: BLE001  another's code may raise anything
        if what not in _BROKEN:
            log.warning("%s is left out: %s", what, loading.why(error))
        _BROKEN.add(what)


def _all_or_none(load: Callable[[], object]) -> list[str]:
    """The names of the models that the call registers; none stays if it raises."""
    before = set(_ENTRIES)
    try:
        load()
    except BaseException:
        for name in _ENTRIES.keys() - before:
            del _ENTRIES[name]
        raise
    return [name for name in _ENTRIES if name not in before]


def entry(name: str) -> Entry:
    """The model of this name, or the one that a user's file defines: `mine.py`, `mine.py:name`. Raises SpecError."""
    if found := USER_FILE.match(name):
        return _of_file(Path(found[0]), name[found.end() :].removeprefix(":"))
    known = entries()
    if name not in known:
        raise SpecError(f"no model '{name}'{nearest(name, known)}; one of your own is named by its file, as ./mine.py")
    return known[name]


def stored_entry(name: str, source: str, run: str) -> Entry:
    """The model of a stored run. Raises SpecError that says which file or package its code is in."""
    if name in entries() or not source:
        return entry(name)
    kind, _, where = source.partition(" ")
    remedy = f"name it with --models PATH/{where}" if kind == "file" else "install it"
    raise SpecError(f"'{run}' needs the code of model '{name}', which is in {kind} '{where}': {remedy}")


def _of_file(path: Path, wanted: str) -> Entry:
    names = load_file(path)
    if wanted and wanted not in names:
        raise SpecError(f"{path} registers no model '{wanted}'{nearest(wanted, names)}")
    if not wanted and len(names) > 1:
        raise SpecError(f"{path} registers {', '.join(names)}; name one of them, as {path}:{names[0]}")
    return _ENTRIES[wanted or names[0]]


def load_file(path: Path) -> list[str]:
    """The names of the models that a user's file registers, imported anew if it was edited. Raises SpecError."""
    entries()
    path = path.resolve()
    before = {name: found for name, found in _ENTRIES.items() if found.path == path}
    for name in before:
        del _ENTRIES[name]
    try:
        names = _all_or_none(functools.partial(loading.import_file, path))
    except SpecError:
        _ENTRIES.update(before)
        raise
    if not names and before:  # it was imported before, as it is now
        _ENTRIES.update(before)
    if not (names or before):
        raise SpecError(f"{path} registers no model; docs/api.md shows how a file does")
    return names or list(before)


def load_files(systems: Iterable[str]) -> None:
    """Import the users' files among the names of systems. Raises SpecError."""
    for found in filter(None, map(USER_FILE.match, systems)):
        load_file(Path(found[0]))


def split(system: str) -> tuple[str, str]:
    """`jlan@no-joint` as its model and its variant; the variant of a model itself is empty. Paths may hold an @."""
    found = USER_FILE.match(system)
    start = found.end() if found else 0
    base, _, variant = system[start:].partition("@")
    return system[:start] + base, variant


def stored_name(system: str) -> str:
    """The system as records name it, without the file that defines it. Raises SpecError."""
    base, _ = split(system)
    return entry(base).name + system[len(base) :]


def systems(asked: str) -> list[str]:
    """The systems that a user names by one text: of a file all its models, each as any process can find it.

    Raises SpecError.
    """
    base, variant = split(asked)
    found = USER_FILE.match(base)
    if found and found.end() == len(base) and not variant:
        names = load_file(Path(base))
    elif found or base in _ENTRIES:
        names = [entry(base).name]
    else:
        return [asked]
    located = [f"{path}:{name}" if (path := _ENTRIES[name].path) else name for name in names]
    return [each + asked[len(base) :] for each in located]


def defaults(name: str, version: str) -> Mapping[str, Any]:
    """The default of each field of a model, as JSON; nothing for a model that is unknown or of another version."""
    found = entries().get(name)
    return found.config().model_dump(mode="json") if found is not None and found.version == version else {}


def build(name: str, task: Task, **overrides: Any) -> Model:
    """A new model, `name` being `caml` or `jlan@no-joint`, with some of its fields replaced.

    The encoder that a model needs is the task's, else the one that its settings name by content. Raises SpecError, DataError.
    """
    base, variant = split(name)
    found = entry(base)
    config = found.config().override(found.variant(variant).model, name).override(overrides, base)
    if task.encoder is None and encoders.FIELD in found.needs:
        task = replace(task, encoder=encoders.named(getattr(config, encoders.FIELD)))
    found.check(task)
    return cast("Model", found.cls(config, task))
