"""Names, papers and variants of the models, read from the text of their files without importing them or torch.

So `icdbench models` answers at once (`listed_models`), and a misspelt model is refused before anything heavy is loaded
(`check_names`). The registry alone decides what runs: if a file's text leaves anything open, there is no list.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from icdbench.plugins.loading import installed
from icdbench.settings import SpecError, unknown

VARIANT = re.compile(r"(?!tuned$)[A-Za-z0-9][A-Za-z0-9._-]*")
PUBLISHED = "published"  # the variant that the registry adds to a model with settings for small data


@dataclass(frozen=True)
class ListedModel:
    """A model as the list shows it."""

    name: str
    paper: str
    variants: tuple[str, ...]


class _UnclearError(Exception):
    """What a file registers is computed, or depends on a package that is not installed."""


def listed_models() -> list[ListedModel] | None:
    """The models by name; None if the text of a file leaves something open or an installed package adds models."""
    if installed("icdbench.models"):
        return None
    folders = importlib.import_module("icdbench.models").__path__
    files = [path for folder in folders for path in sorted(Path(folder).glob("*.py"))]
    try:
        found = [each for path in files for each in _registered_models(path.read_text(encoding="utf-8"))]
    except (_UnclearError, SyntaxError, UnicodeError, OSError):
        return None
    names = [each.name for each in found]
    return sorted(found, key=lambda each: each.name) if len(set(names)) == len(names) else None


def check_names(systems: Iterable[str]) -> None:
    """Raises SpecError if a system, such as `jlan` or `jlan@no-joint`, is of a model that certainly does not exist."""
    found = listed_models()
    known = [each.name for each in found or ()]
    names = [system.partition("@")[0] for system in systems]
    if known and (wrong := [name for name in names if name not in {*known, "all"} and ".py" not in name]):
        raise SpecError(f"{unknown('model', wrong, known)}; one of your own is named by its file, as ./mine.py")


@functools.cache
def _registered_models(text: str) -> tuple[ListedModel, ...]:
    """The models that a file with this text registers. Raises _UnclearError, SyntaxError."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _check_import(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "register":
            found.append(_model_of(node))
    return tuple(found)


def _check_import(node: ast.Import | ast.ImportFrom) -> None:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    missing = [name for name in names if name and find_spec(name.split(".")[0]) is None]
    if missing and not (isinstance(node, ast.ImportFrom) and node.level):
        raise _UnclearError(missing[0])


def _model_of(call: ast.Call) -> ListedModel:
    """The model of a call of `register`. Raises _UnclearError if an argument is not literal."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    declared = given.get("variants")
    elements = declared.elts if isinstance(declared, ast.Tuple | ast.List) else []
    if len(call.args) != 1 or None in given or (declared is not None and not elements):
        raise _UnclearError(ast.unparse(call))
    keywords = [keyword for each in elements if isinstance(each, ast.Call) for keyword in each.keywords]
    variants = [_literal_text(keyword.value) for keyword in keywords if keyword.arg == "name"]
    if len(variants) != len(elements) or not all(map(VARIANT.fullmatch, variants)):
        raise _UnclearError(ast.unparse(call))
    if "small" in given:
        variants.append(PUBLISHED)
    return ListedModel(_literal_text(call.args[0]), _literal_text(given.get("paper")), tuple(dict.fromkeys(variants)))


def _literal_text(node: ast.expr | None) -> str:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        raise _UnclearError(ast.unparse(node) if node else "")
    return node.value
