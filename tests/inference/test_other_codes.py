"""A trained model over codes that it was not trained on: `icdbench predict --codes FILE` and `Predictor.for_codes`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Call
from runs import TEXTS, train

import icdbench as package
from icdbench import registry
from icdbench.inference import bundle
from icdbench.settings import SpecError

pytestmark = pytest.mark.slow

ABLE = [name for name, entry in registry.entries().items() if entry.any_codes]


@pytest.fixture(scope="module", params=ABLE)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a model that scores any codes, and the note.txt beside it."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICDBENCH_CACHE", str(folder / "cache"))
        record, _ = train(folder, request.param)
        bundle.write(bundle.of_run(record.id, folder / "results"), folder / "model.icdbench")
    (folder / "note.txt").write_text(TEXTS[0], encoding="utf-8")
    return folder / "model.icdbench"


def test_its_own_titles_have_their_own_scores_in_any_order_and_under_any_name(trained: Path) -> None:
    model = package.load(trained)
    titles = dict(zip(model.codes, model.bundle.contents.titles, strict=True))
    turned = model.for_codes(dict(reversed(titles.items())))
    scores_NL, turned_NL = (each.scores(each.encode(TEXTS)) for each in (model, turned))
    np.testing.assert_allclose(turned_NL, scores_NL[:, ::-1], rtol=1e-4, atol=1e-5)
    named = model.for_codes({"mine": titles[model.codes[1]], **titles, "none known": "qwertz"})
    found_NL = named.scores(named.encode(TEXTS))
    assert found_NL.shape == (len(TEXTS), len(titles) + 2)
    np.testing.assert_allclose(found_NL[:, 0], scores_NL[:, 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found_NL[:, 1:-1], scores_NL, rtol=1e-4, atol=1e-5)
    (reading,) = named.predict(TEXTS[:1], top=1)
    assert reading[0].title in {*titles.values(), "qwertz"}


def test_the_command_scores_the_codes_of_a_file(trained: Path, icdbench: Call, tmp_path: Path) -> None:
    given = {"a": "Heart failure, unspecified", "b": "Fever", "c": "Something else"}
    path = tmp_path / "codes.csv"
    path.write_text("code,title\n" + "".join(f'{code},"{title}"\n' for code, title in given.items()))
    note = trained.parent / "note.txt"
    words = ("predict", note, "--bundle", trained, "--codes", path, "--format", "jsonl")
    status, out, _ = icdbench(*words)
    assert status == 0
    codes = json.loads(out)["codes"]
    assert {each["code"]: each["title"] for each in codes} == given
    expected = package.load(trained).for_codes(given).predict([note.read_text()])[0]
    assert [each["probability"] for each in codes] == [each.probability for each in expected]
    path.write_text("486\n250.00\n")
    found = json.loads(icdbench(*words)[1])["codes"]
    assert {each["title"] for each in found} == {
        "Pneumonia, organism unspecified",
        "Diabetes mellitus without mention of complication, type II or unspecified type, not stated as uncontrolled",
    }


def test_what_cannot_be_scored_is_one_line(trained: Path, icdbench: Call, tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("code,title\nA,a\nA,b\n")
    note = trained.parent / "note.txt"
    for file, said in (
        (path, "line 3: code 'A' is already in line 2"),
        (tmp_path / "no.csv", "no.csv is not a file of codes"),
    ):
        status, out, err = icdbench("predict", note, "--bundle", trained, "--codes", file)
        assert (status, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1
    with pytest.raises(SpecError, match="no codes are given"):
        package.load(trained).for_codes({})


def test_a_model_with_weights_for_each_code_says_which_models_have_none(icdbench: Call, tmp_path: Path) -> None:
    record, folder = train(tmp_path)
    (tmp_path / "codes.csv").write_text("486\n")
    (tmp_path / "note.txt").write_text(TEXTS[0])
    words = ("predict", "note.txt", "--run", record.id, "--results", folder.parents[2], "--codes", "codes.csv")
    status, out, err = icdbench(*words)
    assert (status, out) == (2, "")
    assert "has weights of its own for each of its 3 codes and scores no others" in err
    assert err.strip().endswith(", ".join(ABLE))
