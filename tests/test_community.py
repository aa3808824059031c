"""The hosted CI and the templates of issues: they name what there is."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from places import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def test_the_hosted_ci_runs_sessions_that_exist() -> None:
    sessions = set(re.findall(r"(?m)^@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text(encoding="utf-8")))
    called = re.findall(r"nox --sessions ([a-z ]+?)(?: --|$)", WORKFLOW.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(called) == 3
    assert {name for names in called for name in names.split()} <= sessions


def test_the_hosted_ci_has_the_versions_of_the_classifiers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)]
    matrix = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == named
    assert project["requires-python"] == f">={named[0]}"


@pytest.mark.parametrize("name", ["bug", "model"])
def test_a_template_asks_for_what_is_needed(name: str) -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    assert all(part["type"] in {"markdown", "textarea", "input"} for part in form["body"])
    assert any(part.get("validations", {}).get("required") for part in form["body"])
