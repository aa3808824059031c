"""The documentation's site: what its pages are made from; `nox -s docs` builds it, with warnings as errors."""

from __future__ import annotations

import html
import re
import shlex
from types import ModuleType

import pytest
from conftest import Call
from places import ROOT, site_hook

import icdbench
from icdbench import api, registry
from icdbench.settings import typed

pytest.importorskip("mkdocs", reason="pip install 'icdbench[docs]'")


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return site_hook("pages")


def letters(text: str) -> str:
    """What of a formula is in whatever way it is set."""
    return "".join(re.findall(r"[A-Za-zα-ω0-9]", text.replace("ᵀ", "T").replace("²", "2")))


def test_equations_are_typeset() -> None:
    equations = site_hook("mathml")
    made = equations.table("    α_lk = Σ_t u_lᵀ tanh(W2 x)   [T, 2H]   a remark on a_l\n")
    sup = "<msubsup><mi>u</mi><mrow><mi>l</mi></mrow><mrow><mi>T</mi></mrow></msubsup>"
    assert "<msub><mi>α</mi><mrow><mi>l</mi><mi>k</mi></mrow></msub><mo>=</mo><munder><mo>∑</mo>" in made
    assert sup in made
    assert '<mi>tanh</mi><mo stretchy="false">(</mo><msub><mi>W</mi><mrow><mn>2</mn></mrow></msub>' in made
    assert "&emsp;a remark on <math><msub><mi>a</mi><mrow><mi>l</mi></mrow></msub></math>" in made
    assert equations.typeset("text\n\n    icdbench run\n") == "text\n\n    icdbench run\n"


@pytest.mark.parametrize("name", registry.entries())
def test_a_model_card_has_what_the_registry_has(name: str, pages: ModuleType, icdbench: Call) -> None:
    entry, card = registry.entry(name), pages.card(registry.entry(name))
    assert entry.paper in card
    shown = html.unescape(re.sub("<[^>]*>", "", card))
    equations = [line for line in entry.about.splitlines() if re.match(r" {4}(?!pip|icdbench)", line)]
    assert card.count("<tr>") == len(equations)
    assert all(letters(line) in letters(shown) for line in equations)
    assert all(line in card for line in entry.about.splitlines() if line not in equations)
    assert not re.search(r"(?m)^[^\n]+\n- ", card), "a list begins after an empty line"
    assert ("It has none." in card) is (not entry.config.model_fields)
    for field, value in entry.config().model_dump().items():
        assert f"| `{name}.{field}` | {typed(value)} | {entry.config.ranges().get(field, '')} |".replace("  ", " ") in (
            card.replace("  ", " ")
        )
    assert all(f"`{name}@{variant}`" in card for variant in entry.variants)
    _, usage, _ = icdbench("run", "--help")
    commands = re.findall(r"(?m)^    icdbench (run .*)$", card)
    assert commands
    for words in map(shlex.split, commands):
        assert words[words.index("--models") + 1].partition("@")[0] == name
        assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", usage))


def test_published_figures_are_found_by_a_models_name(pages: ModuleType) -> None:
    card = pages.published("dr-caml")
    assert "| mimic50 | DR–CAML | AUC macro 88.4, AUC micro 91.6, F1 macro 57.6" in card  # Table 5
    assert "caml-mimic, README" in card  # benchmarks/literature.py


def test_measured_figures_are_those_of_the_committed_table(pages: ModuleType) -> None:
    row = next(line for line in pages.measured("stacked").splitlines() if line.startswith("| codiesp-d50 | `stacked`"))
    table = (ROOT / "results" / "codiesp-d50.md").read_text(encoding="utf-8")
    printed = next(line for line in table.splitlines() if line.startswith("| stacked "))
    assert {cell for cell in row.split(" | ") if "±" in cell} <= set(re.findall(r"[\d.]+ ± [\d.]+", printed))


@pytest.mark.parametrize(
    ("place", "page"),
    [
        ("README.md", "start.md"),
        ("docs/api.md", "api.md"),
        ("docs/notebooks/tune.ipynb", "notebooks/tune.md"),
        ("results/codiesp.md", "results/codiesp.md"),
        ("results", "results/index.md"),
        ("models/jlan.py", "source/models/jlan.py.md"),
        ("icdbench/presentation/page", ""),
        ("no/such.py", ""),
    ],
)
def test_a_link_of_the_repository_is_one_of_the_site(place: str, page: str, pages: ModuleType) -> None:
    assert pages.site_path(place) == page


def test_the_reference_has_all_that_is_offered() -> None:
    text = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    members = {name for found in re.findall(r"members: \[(.*)\]", text) for name in found.split(", ")}
    assert members == set(api.__all__)
    named = {name.rpartition(".")[2] for name in re.findall(r"(?m)^::: (.*)$", text)}
    assert set(icdbench.__all__) - {"tune_process"} <= members | named


def test_measurements_of_speed_have_a_part_of_their_own_in_the_navigation(pages: ModuleType) -> None:
    tables = ["results/demo.md", "results/speed/busy.md", "results/speed/vectors.md", "results/table5.md"]
    *others, last = pages.results_in_navigation(tables)
    assert [place for each in last["Speed"] for place in each.values()] == tables[1:3]
    assert [place for each in others for place in each.values()] == [tables[0], tables[3]]


def test_pictures_are_small_and_those_of_the_script() -> None:
    pictures = {path.name: path.stat().st_size for path in (ROOT / "docs").glob("*.png")}
    script = (ROOT / "docs" / "screenshots.py").read_text(encoding="utf-8")
    assert set(re.findall(r'"(\w+\.png)"', script)) == set(pictures)
    assert max(pictures.values()) < 200_000  # bytes
