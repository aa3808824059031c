"""What the design promises of the code itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The library's files in import order; each imports only from those above it.
ORDER = (
    *(
        "spec",
        "files",
        "types",
        "datasets",
        "tokens",
        "encode",
        "check",
        "export",
        "batches",
        "embeddings",
        "kernels",
        "nn",
        "linear",
        "models",
        "registry",
        "objectives",
    ),
    *(
        "metrics",
        "bootstrap",
        "store",
        "share",
        "bundle",
        "notes",
        "predict",
        "explain",
        "train",
        "run",
        "launch",
        "tune",
        "progress",
        "benchmarks",
        "catalog",
        "formats",
        "systems",
        "counts",
        "tables",
        "compare",
        "faithful",
        "figures",
        "clouds",
        "ablate",
        "report",
        "web",
        "serve",
        "app",
        "commands",
        "cli",
        "__main__",
    ),
)
MODELS_MAY_USE = {"spec", "types", "kernels", "nn", "linear", "registry"}


def imports(path: Path) -> set[str]:
    """The parts of icdbench that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "icdbench":
            found |= {alias.name for alias in node.names if alias.name in ORDER}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("icdbench."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("icdbench.")}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "icdbench").glob("*.py")), ids=lambda path: path.stem)
def test_a_file_imports_only_from_those_above_it(path: Path) -> None:
    if path.stem == "__init__":
        return
    above = set(ORDER[: ORDER.index(path.stem)])
    assert imports(path) <= above


@pytest.mark.parametrize("path", sorted((ROOT / "icdbench" / "commands").glob("*.py")), ids=lambda path: path.stem)
def test_a_command_knows_of_no_other_kind(path: Path) -> None:
    assert imports(path) <= {*ORDER[: ORDER.index("cli")]}
    assert set(re.findall(r"icdbench\.commands\.(\w+)", path.read_text(encoding="utf-8"))) <= {"options"}


@pytest.mark.parametrize("path", sorted((ROOT / "icdbench" / "datasets").glob("*.py")), ids=lambda path: path.stem)
def test_data_sources_import_nothing_of_the_later_stages(path: Path) -> None:
    assert imports(path) <= {"spec", "files", "types", "datasets"}


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*.py")), ids=lambda path: path.stem)
def test_models_know_only_what_a_model_may_know(path: Path) -> None:
    assert imports(path) <= MODELS_MAY_USE


def test_the_core_names_no_model() -> None:
    names = [path.stem for path in (ROOT / "models").glob("*.py") if path.stem != "__init__"]
    for path in [*(ROOT / "icdbench").glob("*.py"), *(ROOT / "icdbench" / "commands").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and path.stem not in {"training", "run"}:
                assert node.value not in names, f"{path.name} names the model {node.value}"


def test_help_imports_nothing_heavy() -> None:
    """`--help` answers at once because torch and the rest wait; a time would depend on the machine."""
    code = "import sys, json, icdbench.cli; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    heavy = {"torch", "numpy", "pandas", "sklearn", "scipy", "gensim", "lightning_fabric", "simple_icd_10_cm", "optuna"}
    assert heavy.isdisjoint(loaded)


def test_models_and_benchmarks_are_links_to_the_top_level() -> None:
    for name in ("models", "benchmarks"):
        assert (ROOT / "icdbench" / name).resolve() == ROOT / name
