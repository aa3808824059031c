"""The list of models that needs no torch: it says what the registry says, or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from icdbench import models, registry
from icdbench.plugins import listing
from icdbench.settings import SpecError

SHOW = """
import sys
from icdbench.cli import main
try:
    main.main()
finally:
    print("torch" in sys.modules)
"""
MINE = '@register("mine", config=Config, paper="Me, 2026"{more})\nclass Mine: ...\n'


def test_it_lists_what_the_registry_lists() -> None:
    listed = listing.listed_models()
    assert listed is not None
    expected = [(each.name, each.paper, tuple(each.variants)) for each in registry.entries().values()]
    assert [(each.name, each.paper, each.variants) for each in listed] == expected


@pytest.mark.slow
@pytest.mark.parametrize("words", [["models"], ["models", "camll"], ["run", "--models", "camll"], ["tune", "camll"]])
def test_models_and_a_misspelt_model_are_answered_without_torch(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("False\n")
    assert ("no model 'camll'; did you mean 'caml'?" in done.stderr) == ("camll" in words)
    assert ("Mullenbach et al., NAACL 2018" in done.stdout) == (words == ["models"])


@pytest.mark.parametrize(
    ("text", "variants"),
    [
        (MINE.format(more=""), ()),
        (MINE.format(more=", small={'batch_size': 4}"), ("published",)),
        (MINE.format(more=", variants=[Variant(name='a'), Variant(name='b')], small={'batch_size': 4}"), ("a", "b", "published")),
        (MINE.format(more=", variants=variants_of('mine')"), None),
        (MINE.format(more=", variants=[Variant(name=name) for name in NAMES]"), None),
        (MINE.format(more=", variants=[Variant(name='tuned')]"), None),
        (MINE.format(more=", **more"), None),
        (MINE.format(more="").replace('"mine"', "NAME"), None),
        (MINE.format(more="").replace("mine", "caml"), None),
        ("import nonesuch\n", None),
        ("def (", None),
    ],
)  # fmt: skip
def test_what_the_text_leaves_open_is_left_to_the_registry(
    text: str, variants: tuple[str, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    listed = listing.listed_models()
    if variants is None:
        assert listed is None
        listing.check_names(["nonesuch"])  # nothing is known for certain
        return
    assert listed is not None
    assert {each.name: each.variants for each in listed}["mine"] == variants
    listing.check_names(["mine", "mine@a", "all", "theirs.py"])
    with pytest.raises(SpecError, match=r"^no model 'mina'; did you mean 'mine'\?"):
        listing.check_names(["mine", "mina"])
