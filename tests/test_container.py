"""The Dockerfile, without Docker: what it copies is there, what it installs is pinned, and it runs the README's command."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import tomllib

import pytest
from conftest import Call
from places import ROOT

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
STEPS = [tuple(line.split(maxsplit=1)) for line in LINES if line and not line.startswith("#")]
PAGE = (ROOT / "docs" / "howto" / "container.md").read_text(encoding="utf-8")


def steps(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def copied() -> list[str]:
    return [source for rest in steps("COPY") for source in shlex.split(rest)[:-1]]


def test_what_is_copied_is_there_and_in_the_context_and_nothing_else_is() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied())
    assert all((ROOT / source).exists() for source in copied())


def test_what_the_package_is_built_from_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], "icdbench"}
    needed |= set(project["tool"]["setuptools"]["package-dir"].values())
    assert needed | {"constraints.txt"} == set(copied())
    installed = [words for rest in steps("RUN") for words in re.findall(r'"\.\[(.+?)\]"', rest)]
    assert set(installed) <= set(project["project"]["optional-dependencies"])


def test_the_pinned_versions_are_installed_on_a_version_of_python_that_is_tested() -> None:
    assert any("PIP_CONSTRAINT=/opt/icdbench/constraints.txt" in rest for rest in steps("ENV"))
    assert "/opt/icdbench" in steps("WORKDIR")
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert len(re.findall(r"(?m)^torch==[\d.]+$", pinned)) == 1  # to which the build's name is added
    (image,) = steps("FROM")
    version = re.fullmatch(r"python:(\d\.\d+)-slim", image)
    assert version
    assert f"Programming Language :: Python :: {version[1]}" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert {argument.split("=")[0] for argument in re.findall(r"--build-arg (\S+)", PAGE)} == {"TORCH"}
    assert steps("ARG") == ["TORCH=cpu"]


def test_it_runs_the_commands_of_the_readme_as_an_ordinary_user(icdbench: Call) -> None:
    assert steps("USER") == ["65534"]  # nobody
    (entry,), (command,) = map(json.loads, steps("ENTRYPOINT")), map(json.loads, steps("CMD"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f".venv/bin/{' '.join([*entry, *command])}\n" in readme
    for words in re.findall(r"(?m)icdbench:[cg]pu (\w.*)$", PAGE):
        _, usage, _ = icdbench(words.split()[0], "--help")
        assert all(option in usage for option in re.findall(r"--[a-z-]+", words))


@pytest.mark.parametrize("private", ["notes.csv", "results/x/record.json", "data/mimic.csv", ".git/config"])
def test_what_else_lies_in_the_folder_stays_out(private: str) -> None:
    assert not any(fnmatch.fnmatch(private, f"{source}*") for source in copied())
