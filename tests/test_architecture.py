"""What the design promises of the code itself."""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from icdbench.records import RunRecord

LIBRARY = ROOT / "icdbench"
LINKS = {"models", "benchmarks"}  # to the folders of the same names at the top level

# The boxes of the library, packages and single files: each imports only from those below it.
BOXES = (
    *("__main__", "cli", "api", "views", "serving", "presentation", "experiments", "inference", "run"),
    *("resolution", "train", "evaluation", "training", "models", "benchmarks", "records", "registry"),
    *("data", "nn", "synthetic", "codes", "spec", "plugins", "settings", "types", "files", "host"),
)
MODELS_MAY_USE = {"spec", "types", "nn", "registry"}
MOST_FILES = 12  # beside the packages
MOST_NAMES = 8  # that a package shows to the others
MOST_ARROWS = 130  # between the boxes that a reader has to know
# Single files beside the box that each belongs to: together they are one of these boxes.
BESIDE = {
    "__main__": "cli",
    "views": "api",
    "resolution": "run",
    "plugins": "registry",
    "host": "files",
}
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 400, 66, 10
MOST_LINES_OF_THE_PATH = 900
TOOLKIT = {"nn"}  # shows its layers to model files, of the suite and of users


def files() -> list[Path]:
    """The library's files, but for models and benchmarks."""
    found = sorted(LIBRARY.rglob("*.py"))
    return [path for path in found if not LINKS & set(path.relative_to(LIBRARY).parts)]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def box(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, str]]:
    """What a file imports of icdbench, anywhere in it: the module, and the name that is taken from it."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "icdbench":
            assert node.level == 0
            found += [(str(node.module), alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "icdbench"]
    return found


def boxes(path: Path) -> set[str]:
    """The boxes that a file imports from, other than its own."""
    named = [(module if "." in module else f"{module}.{name}").split(".")[1] for module, name in imports(path)]
    return {each for each in named if each in BOXES} - {box(path)}


def shown(package: str) -> list[str]:
    """What a package shows to the others: its `__all__`."""
    tree = tree_of(LIBRARY / package / "__init__.py")
    given = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return [str(name) for name in ast.literal_eval(given[0])] if given else []


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_a_file_imports_only_from_boxes_below_its_own(path: Path) -> None:
    if path == LIBRARY / "__init__.py":  # the public face, whose imports are all lazy
        return
    assert boxes(path) <= set(BOXES[BOXES.index(box(path)) + 1 :])


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_a_package_is_entered_through_what_it_shows(path: Path) -> None:
    for module, name in imports(path):
        parts = module.split(".")
        package = parts[1] if len(parts) > 1 else name
        if not (LIBRARY / package).is_dir() or package in {box(path), *LINKS}:
            continue
        assert len(parts) == 2, f"{module} is imported past the {package} package"
        assert name in shown(package), f"{package} does not show {name}"


@pytest.mark.parametrize("package", sorted({box(path) for path in files() if (LIBRARY / box(path)).is_dir()} - TOOLKIT))
def test_a_package_shows_few_names(package: str) -> None:
    assert 0 < len(shown(package)) <= MOST_NAMES


def test_few_files_stand_beside_the_packages() -> None:
    assert len(list(LIBRARY.glob("*.py"))) <= MOST_FILES


def test_few_arrows_run_between_the_boxes() -> None:
    arrows = {
        (BESIDE.get(box(path), box(path)), BESIDE.get(target, target))
        for path in files()
        for target in boxes(path)
        if box(path) != "__init__"
    }
    assert len({(one, other) for one, other in arrows if one != other}) <= MOST_ARROWS


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            taken = len(node.args.args) + len(node.args.kwonlyargs)
            # A command has a parameter, of several lines, for each of its options.
            assert box(path) == "cli" or (lines <= MOST_LINES_OF_A_FUNCTION and taken <= MOST_PARAMETERS), node.name


def test_the_path_of_a_stranger_is_short() -> None:
    reading = ("README.md", "benchmarks/table5.py", "icdbench/run.py", "models/jlan.py", "icdbench/train.py")
    assert (
        sum(len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in reading) <= MOST_LINES_OF_THE_PATH
    )


def test_no_class_name_twice() -> None:
    found: dict[str, list[str]] = {}
    for path in files():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(path.relative_to(LIBRARY).as_posix())
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_a_command_knows_of_no_other_kind() -> None:
    for path in (LIBRARY / "cli").glob("*.py"):
        known = {name for module, name in imports(path) if module == "icdbench.cli"}
        known |= {module.split(".")[2] for module, _ in imports(path) if module.startswith("icdbench.cli.")}
        assert path.stem == "main" or known <= {"options"}


def test_data_sources_import_nothing_of_the_later_stages() -> None:
    for path in (LIBRARY / "data" / "sources").glob("*.py"):
        parts = {module for module, _ in imports(path) if module.startswith("icdbench.data")}
        assert {part for part in parts if not part.startswith("icdbench.data.sources")} <= {
            "icdbench.data.source",
            "icdbench.data.cache",
        }


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*.py")), ids=lambda path: path.stem)
def test_models_know_only_what_a_model_may_know(path: Path) -> None:
    assert {module.split(".")[1] for module, _ in imports(path)} <= MODELS_MAY_USE


def test_the_core_names_no_model() -> None:
    words = {"__init__", *RunRecord.model_fields}  # a record has a field of the name of the simplest model
    names = [path.stem for path in (ROOT / "models").glob("*.py") if path.stem not in words]
    for path in files():
        if box(path) == "synthetic":  # its texts are of phrases
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant) and path.stem not in {"training", "run"}:
                assert node.value not in names, f"{path.name} names the model {node.value}"


def test_help_imports_nothing_heavy() -> None:
    """`--help` answers at once because torch and the rest wait; a time would depend on the machine."""
    code = "import sys, json, icdbench.cli.main; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    heavy = {"torch", "numpy", "pandas", "sklearn", "scipy", "gensim", "lightning_fabric", "simple_icd_10_cm", "optuna"}
    assert heavy.isdisjoint(loaded)


def test_models_and_benchmarks_are_links_to_the_top_level() -> None:
    for name in ("models", "benchmarks"):
        assert (ROOT / "icdbench" / name).resolve() == ROOT / name


@pytest.mark.slow
def test_no_model_file_of_the_suite_is_left_out() -> None:
    """A file that cannot be imported is warned of and passed over, which must not hide one of ours."""
    code = "from icdbench import registry; print(*sorted({entry.file for entry in registry.entries().values()}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert set(done.stdout.split()) == {path.name for path in (ROOT / "models").glob("*.py")} - {"__init__.py"}


@pytest.mark.slow
def test_tests_import_nothing_of_a_file_of_tests() -> None:
    """What several files of tests need is in a module beside conftest.py, so that each file can be run, and moved, alone."""
    tests = ROOT / "tests"
    files_of_tests = {path.stem for path in tests.rglob("test_*.py")}
    for path in tests.rglob("*.py"):
        taken = set[str]()
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom):
                taken |= {str(node.module), *(alias.name for alias in node.names)}
            elif isinstance(node, ast.Import):
                taken |= {alias.name for alias in node.names}
        assert taken.isdisjoint(files_of_tests), path.relative_to(tests)


# --- No hidden state -----------------------------------------------------------------------------------------------------

IMPORTING = """
import logging, os, pkgutil, importlib, sys
import {first}
before = dict(os.environ), [(each.handlers[:], each.filters[:], each.level) for each in map(logging.getLogger, ("", "icdbench"))]
import icdbench
for module in pkgutil.walk_packages(icdbench.__path__, "icdbench."):
    if not module.name.startswith(("icdbench.benchmarks", "icdbench.__main__")):
        importlib.import_module(module.name)
after = dict(os.environ), [(each.handlers[:], each.filters[:], each.level) for each in map(logging.getLogger, ("", "icdbench"))]
assert before == after, [key for key in before[0].keys() | after[0].keys() if before[0].get(key) != after[0].get(key)]
"""
# Imported first: what these packages themselves do to the process when they are imported is not ours.
OTHERS = (
    "torch, lightning_fabric, pandas, sklearn, scipy, optuna, rich, typer, jinja2, matplotlib.pyplot, simple_icd_10_cm"
)


@pytest.mark.slow
def test_importing_changes_nothing_in_the_process() -> None:
    script = IMPORTING.format(first=OTHERS)
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


# What other files or users add to, by name.
REGISTRIES = {"registry.py": {"_ENTRIES", "_BROKEN"}, "data/source.py": {"SOURCES", "DOWNLOADS"}}
GROWING = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "clear", "remove", "discard", "popitem"}
STATEFUL = {
    *("ContextVar", "WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "defaultdict", "deque", "Counter"),
    *("OrderedDict", "local", "Lock", "RLock", "dict", "list", "set", "bytearray"),
}


def mutables(path: Path) -> set[str]:
    """Names at the top of a file that are bound to something empty that may grow, to a kind of state, or that grow."""
    tree = tree_of(path)
    bound: dict[str, ast.expr] = {}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            bound |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    grown = {name for node in ast.walk(tree) for name in changed(node)} & bound.keys()
    reset = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    return {name for name, value in bound.items() if stateful(value)} | grown | reset


def changed(node: ast.AST) -> list[str]:
    """Names whose object a piece of code changes: by a method that does, or through an index."""
    held: list[ast.expr] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in GROWING:
        held = [node.func.value]
    elif isinstance(node, ast.Assign | ast.Delete):
        held = [target.value for target in node.targets if isinstance(target, ast.Subscript)]
    elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript):
        held = [node.target.value]
    return [each.id for each in held if isinstance(each, ast.Name)]


def stateful(value: ast.expr) -> bool:
    """Whether this is an empty collection, or a call that makes a kind of state."""
    if isinstance(value, ast.Dict | ast.List | ast.Set):
        return not (value.keys if isinstance(value, ast.Dict) else value.elts)
    if not isinstance(value, ast.Call):
        return False
    made = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
    return made in STATEFUL and not (value.args and made in {"dict", "list", "set", "Counter"})


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_no_module_keeps_state_but_the_registries(path: Path) -> None:
    assert mutables(path) <= REGISTRIES.get(path.relative_to(LIBRARY).as_posix(), set())
