"""Word clouds: what is counted and weighed, and files that are equal for equal input."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import Call
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from systems import TEXT, predictor

from icdbench.inference import bundle
from icdbench.inference.explain import Explanation, explain
from icdbench.inference.predict import Predictor
from icdbench.presentation import word_clouds as clouds
from icdbench.presentation.figures import FORMATS
from icdbench.presentation.word_clouds import Word
from icdbench.settings import DataError, SpecError

WORDS = {
    "fever": Word(3, 0.5),
    "cough": Word(1, 0.1),
    "the": Word(9, 0.9),
    "la": Word(2, 0.1),
    "pneumonia": Word(2, 0.0),
}


def titled(title: str) -> Predictor:
    """A model all of whose codes have the same title."""
    model = predictor("caml")
    contents = model.bundle.contents
    return Predictor(
        bundle.Bundle(contents.model_copy(update={"titles": (title,) * len(contents.codes)}), model.bundle.weights)
    )


def test_a_words_weight_in_the_note_is_the_mean_over_its_places() -> None:
    spans = ((0, 5), (6, 9), (10, 15), (16, 19), (19, 20))  # the last one the end of a sentence
    weights = np.array([0.4, -0.3, 0.2, 0.1, 0.9])
    found = Explanation("1", "", 0.5, above=True, method="m", spans=spans, weights=weights, shares={})
    words = clouds.of_note(found, "Fever dry fever dry.")
    assert {word: each.times for word, each in words.items()} == {"fever": 2, "dry": 2}
    assert words["fever"].weight == pytest.approx(0.3)
    assert words["dry"].weight == pytest.approx(0.05)


def test_a_titles_word_has_what_its_codes_give_to_it_in_the_note() -> None:
    model = titled("W2 and W14 absent")
    words = clouds.of_titles(model, TEXT, "label-attention")
    codes = [code.code for code in model.predict([TEXT])[0] if code.above] or [model.predict([TEXT])[0][0].code]
    assert set(words) == {"w2", "and", "w14", "absent"}
    assert all(each.times == len(codes) for each in words.values())
    given = [explain(model, TEXT, code, "label-attention").weights for code in codes]
    assert words["w2"].weight == pytest.approx(np.mean([weights_T[6] + weights_T[7] for weights_T in given]))
    assert words["w14"].weight == pytest.approx(np.mean([weights_T[2] for weights_T in given]))
    assert words["absent"].weight == 0
    with pytest.raises(DataError, match="have no titles"):
        clouds.of_titles(titled(""), TEXT)


def test_size_is_frequency_and_shade_is_weight() -> None:
    drawn = {each.get_text(): each for each in clouds.draw(WORDS).texts}
    assert set(drawn) == {"fever", "cough", "pneumonia"}
    size = {word: float(each.get_fontsize()) for word, each in drawn.items()}
    assert size["fever"] > size["pneumonia"] > size["cough"]
    brightness = {word: sum(to_rgb(each.get_color())) for word, each in drawn.items()}
    assert brightness["fever"] < brightness["cough"] < brightness["pneumonia"] < 2.8


@pytest.mark.slow
def test_words_as_frequent_are_as_large() -> None:
    words = {f"word{'s' * (number % 20)}{number}": Word(1 + (number < 8), float(number)) for number in range(24)}
    sizes: dict[int, set[float]] = {1: set(), 2: set()}
    texts = clouds.draw(words).texts
    for each in texts:
        sizes[words[each.get_text()].times].add(float(each.get_fontsize()))
    assert [len(found) for found in sizes.values()] == [1, 1]
    assert min(sizes[2]) > max(sizes[1])
    assert len(texts) > 18


def most_covered(figure: Figure) -> int:
    """The most words that have ink at one place."""
    covered_HW = np.zeros(clouds.SIZE[::-1], int)
    for shown in figure.texts:
        for text in figure.texts:
            text.set_visible(text is shown)
        buffer = BytesIO()
        figure.savefig(buffer, format="rgba", dpi=72)
        inked_HW = np.frombuffer(buffer.getvalue(), np.uint8).reshape(*covered_HW.shape, 4)[..., 0] < 64
        assert inked_HW.any()
        covered_HW += inked_HW
    return int(covered_HW.max())


@pytest.mark.slow
def test_words_do_not_cover_each_other() -> None:
    generator = np.random.default_rng(0)
    figure = clouds.draw({f"word{number}": Word(int(generator.integers(1, 20)), 1.0) for number in range(24)})
    assert len(figure.texts) > 20
    assert most_covered(figure) == 1
    for text in figure.texts:  # as far as letters stand below their line's top
        text.set_y(text.get_position()[1] - 0.2 * float(text.get_fontsize()) / clouds.SIZE[1])
    assert most_covered(figure) > 1


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_equal_words_give_equal_files_in_any_order(form: str, tmp_path: Path) -> None:
    clouds.save(WORDS, tmp_path / f"one.{form}")
    clouds.save(dict(reversed(WORDS.items())), tmp_path / f"two.{form}")
    assert (tmp_path / f"one.{form}").read_bytes() == (tmp_path / f"two.{form}").read_bytes()
    assert (tmp_path / f"one.{form}").stat().st_mode & 0o077 == 0


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(DataError, match="no words to draw but function words"):
        clouds.draw({"the": Word(3, 1.0)})
    with pytest.raises(DataError, match="too long for a cloud"):
        clouds.draw({"acgt" * 75: Word(2, 1.0)})
    assert len(clouds.draw({"fever": Word(1, 0.0), "$a$": Word(1, 0.0)}).texts) == 2
    drawn = clouds.draw({"acgt" * 75: Word(4, 1.0), **WORDS}).texts
    assert [each.get_text() for each in drawn] == ["fever", "pneumonia", "cough"]
    with pytest.raises(SpecError, match=r"cannot be written to 'cloud\.pfd'; did you mean '\.pdf'\?"):
        clouds.checked(Path("cloud.pfd"))


@pytest.mark.slow
@pytest.mark.counted
def test_the_command_draws_both(icdbench: Call, tmp_path: Path) -> None:
    bundle.write(predictor("jlan").bundle, tmp_path / "jlan.icdbench")
    (tmp_path / "note.txt").write_text(TEXT, encoding="utf-8")
    words = ("explain", "note.txt", "--bundle", "jlan.icdbench")
    clouds_of = ("--cloud", "figure9.png", "--title-cloud", "figure10.svg")
    status, out, err = icdbench(*words, "--method", "self-attention", *clouds_of)
    assert (status, err) == (0, "")
    assert out.startswith(tuple(f"{number}.0 " for number in range(7)))
    assert (tmp_path / "figure9.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figure10.svg").read_text(encoding="utf-8").startswith("<?xml")
    status, _, err = icdbench(*words, "--cloud", "figure9.gif")
    assert (status, err.count("\n")) == (2, 1)
    assert "known: .pdf, .png, .svg" in err
