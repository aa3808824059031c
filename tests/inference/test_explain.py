"""Explanations: their words stand where they say, each method computes what it is named after, and pages are harmless."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Call
from corpora import RULES, TRICKY
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import note
from systems import BLIND, LINEAR, NAMES, NEURAL, READ, TEXT, neural, padded, predictor
from torch import nn

import icdbench.inference.explain as explaining
from icdbench.data import datasets
from icdbench.data.tokens import spans, tokenize
from icdbench.inference import bundle
from icdbench.inference.explain import Explanation, Pass, explain, position_weights_to_words
from icdbench.inference.predict import Predictor
from icdbench.nn import WORDS, Positions, middle, watched
from icdbench.serving import explanation
from icdbench.settings import DataError, SpecError
from icdbench.spec import Rule
from icdbench.types import SENTENCE_END, composed

HAVE_NONE = {"cnn", "bigru"}


# --- Where words stand ---------------------------------------------------------------------------------------------------


ENDS = {"", *".!?;\n\r\x0b\x0c\x85\u2028\u2029"}  # of sentences; "" is that of the text
CLOSING = "\"'”’»)]"


def check_spans(text: str, rule: Rule) -> None:
    found = [composed(text[start:end]).lower() for start, end in spans(text, rule)]
    found = [SENTENCE_END if each in ENDS else each for each in (piece.rstrip(CLOSING) for piece in found)]
    words = tokenize(text, rule)
    if rule != "ascii":
        assert found == words
    assert len(found) == len(words)
    assert all(word in piece for word, piece in zip(words, found, strict=True))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.text(st.one_of(st.sampled_from(TRICKY), st.characters()), max_size=60), st.sampled_from(RULES))
def test_spans_are_those_of_the_tokens(text: str, rule: Rule) -> None:
    check_spans(text, rule)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_spans_of_odd_characters_and_of_notes(rule: Rule) -> None:
    odd = [
        each for each in map(chr, range(0x110000)) if each.lower() != each
    ]  # in another case another character, or two
    check_spans("".join(f"a{character}b {character} " for character in odd), rule)
    for document in datasets.open("demo").documents().documents[::20]:
        check_spans(document.text, rule)


# --- What methods compute ------------------------------------------------------------------------------------------------


@pytest.mark.counted
@pytest.mark.slow
@pytest.mark.parametrize("system", READ)
def test_every_model_is_explained_by_every_method_it_has(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "STEPS", 4)
    monkeypatch.setattr(explaining, "WINDOWS", 20)
    model = predictor(system)
    offered = list(explaining.methods(Pass(model, TEXT)))
    assert {"occlusion", "random"} <= set(offered)
    assert ("attention" in offered) == (system in NEURAL and system.partition("@")[0] not in HAVE_NONE)
    for method in offered:
        found = explain(model, TEXT, "4.0", method)
        assert [TEXT[start:end].lower() for start, end in found.spans] == NAMES
        assert found.weights.shape == (len(NAMES),)
        assert np.isfinite(found.weights).all()
        assert np.abs(found.weights).max() > 0 or system in BLIND
        np.testing.assert_array_equal(explain(model, TEXT, "4.0", method).weights, found.weights)
        if method in {"attention", "label-attention", "self-attention"} and system != "jlan@no-label-softmax":
            np.testing.assert_allclose(found.weights.sum(), 1, rtol=1e-5)


def test_attention_is_that_of_the_forward_pass() -> None:
    """CAML's weights times its hidden states give its logits."""
    model = neural("caml").eval()
    batch = padded([[5, 9, 14, 33, 40]], width=8)
    with watched(model) as shown:
        logits_BL = model(batch)
    ((name, of_code, positions),) = shown
    weights = model.state_dict()
    hidden_FP = torch.nn.functional.conv1d(
        weights["embedding.weight"][batch.tokens_BT[0]].T[None], weights["conv.weight"], weights["conv.bias"], padding=5
    )[0].tanh()
    for code in range(logits_BL.shape[1]):
        found_F = hidden_FP @ of_code(code)[0]
        logit = weights["output.final.weight"][code] @ found_F + weights["output.final.bias"][code]
        torch.testing.assert_close(logit, logits_BL[0, code])
    assert name == "label"
    assert positions == Positions(-1, 2)
    assert (of_code(0)[0, 6:] == 0).all()
    assert not shown[1:]


def test_nothing_is_kept_when_nobody_watches() -> None:
    model = neural("caml")
    with watched(model) as shown:
        pass
    model(padded([[5, 9]]))
    assert shown == []


@pytest.mark.parametrize("system", ["jlan", "jlan-released"])
def test_joint_attention_is_the_sum_of_both_kinds_by_their_shares(system: str) -> None:
    model = predictor(system)
    joint, own, label = (explain(model, TEXT, "2.0", f"{kind}attention") for kind in ("", "self-", "label-"))
    alpha, beta = joint.shares["alpha"], joint.shares["beta"]
    assert alpha + beta == pytest.approx(1)
    np.testing.assert_allclose(joint.weights, alpha * own.weights + beta * label.weights)


def logit(model: Predictor, text: str, code: int) -> float:
    return float(model.scores(model.encode([text]))[0, code])


@pytest.mark.slow
@pytest.mark.parametrize("system", LINEAR)
def test_coefficients_sum_to_the_logit(system: str) -> None:
    model = predictor(system)
    for code in range(len(model.codes)):
        found = explain(model, TEXT, model.codes[code], "coefficients")
        intercept = float(model.bundle.weights["intercepts"][code])
        assert found.weights.sum() + intercept == pytest.approx(logit(model, TEXT, code), abs=1e-5)
    assert found.weights[NAMES.index("unseen")] == 0 or system != "lr"


def test_integrated_gradients_sum_to_what_the_words_change(monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor("caml")
    found = explain(model, TEXT, "1.0", "integrated-gradients")
    assert isinstance(model.model, nn.Module)
    kept = model.model.state_dict()["embedding.weight"].clone()
    before = logit(model, TEXT, 1)
    model.model.state_dict()["embedding.weight"].zero_()
    assert found.weights.sum() == pytest.approx(before - logit(model, TEXT, 1), abs=1e-4)
    model.model.state_dict()["embedding.weight"].copy_(kept)
    monkeypatch.setattr(explaining, "STEP_TOKENS", 1)
    np.testing.assert_allclose(explain(model, TEXT, "1.0", "integrated-gradients").weights, found.weights, atol=1e-6)


def test_occlusion_is_what_the_logit_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor("cnn")
    found = explain(model, TEXT, "1.0", "occlusion")
    lost = logit(model, TEXT, 1) - logit(model, TEXT.replace("W14", "nothing"), 1)
    assert found.weights[2] == pytest.approx(lost, abs=1e-5)
    assert found.weights[NAMES.index("unseen")] == pytest.approx(0, abs=1e-5)
    monkeypatch.setattr(explaining, "WINDOWS", 5)
    wide = explain(model, TEXT, "1.0", "occlusion").weights
    assert (wide[:3] == wide[0]).all()


@pytest.mark.parametrize("positions", [WORDS, Positions(-1, 2), Positions(0, 2), Positions(0, 4), Positions(-3, 10)])
def test_positions_become_words_and_no_weight_is_lost(positions: Positions) -> None:
    for num_words in (1, 2, 7):
        reached = num_words - positions.offset  # positions of which a word is in the document
        weights_P = np.random.default_rng(0).random(reached)
        words_T = position_weights_to_words(np.append(weights_P, [9, 9, 9]), num_words, positions)
        assert words_T.shape == (num_words,)
        assert words_T.sum() == pytest.approx(weights_P[max(0, 1 - positions.offset - positions.kernel) :].sum())


def test_positions_become_the_words_that_they_stand_for() -> None:
    for weights, num_words, positions, wanted in (
        ([1, 2, 3, 4], 3, WORDS, [1, 2, 3]),
        ([0, 0, 1, 0], 3, Positions(-1, 2), [0, 0.5, 0.5]),
        ([1, 0, 0, 0, 0], 3, Positions(-1, 2), [1, 0, 0]),
        ([0, 0, 0, 1, 0], 3, Positions(-1, 2), [0, 0, 1]),
        ([1, 0], 3, Positions(0, 2), [0.5, 0.5, 0]),
        ([1], 2, Positions(0, 4), [0.5, 0.5]),
    ):
        weights_P = np.array(weights, np.float64)
        np.testing.assert_allclose(position_weights_to_words(weights_P, num_words, positions), wanted)
    assert middle(9, 4) == middle(1, 0) == WORDS
    assert middle(10, 5) == Positions(-1, 2)
    assert middle(10, 4) == Positions(0, 2)


def test_the_most_probable_code_is_explained_by_default() -> None:
    model = predictor("caml")
    found = explain(model, TEXT)
    assert found.code == model.predict([TEXT])[0][0].code
    assert found.method == "attention"
    assert found.above == (found.probability > 0.4)


def test_bad_requests() -> None:
    model = predictor("bigru")
    with pytest.raises(SpecError, match=r"'3\.1' is no code of 'small/run'; did you mean '3\.0'"):
        explain(model, TEXT, "3.1")
    with pytest.raises(SpecError, match="model 'bigru' cannot be explained by 'attention'"):
        explain(model, TEXT, "3.0", "attention")
    with pytest.raises(DataError, match="no words"):
        explain(model, "71 500", "3.0")


# --- What is shown -------------------------------------------------------------------------------------------------------

HOSTILE = '<script>alert("w5")</script> w5 & w9 \x1b[31m w14'


def test_pages_hold_the_text_and_nothing_that_runs() -> None:
    model = predictor("caml")
    page = explanation.as_html([explain(model, HOSTILE, "1.0", "gradient")], HOSTILE, "<i>note.txt</i>")
    assert "<script" not in page
    assert "<i>" not in page
    assert "<b>" not in page
    assert not re.search(r"https?://|src=|href=\"[^#]|@import", page)
    body = page[page.index('<pre class="text">\n') + 19 : page.index("</pre>")]
    shown = re.sub(r"</?mark[^>]*>", "", body)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&amp;", "&")):
        shown = shown.replace(entity, character)
    assert shown == HOSTILE.replace("\x1b", "�")


def test_a_page_has_the_likely_codes_and_no_function_words_among_the_strongest() -> None:
    model = predictor("caml")
    text = "w5 and the w9 of w14"
    found = explanation.explanations(model, text, "1.0", "gradient")
    assert found[0].code == "1.0"
    above = [code.code for code in model.predict([text])[0] if code.above and code.code != "1.0"]
    assert [each.code for each in found[1:]] == above[: explanation.OTHERS]
    assert explanation.as_html(found, text, "n").count("<details") == len(found)
    told = [text[slice(*found[0].spans[place])] for place in explaining.telling(found[0], text, 9)]
    assert sorted(told) == ["w14", "w5", "w9"]
    assert len(explaining.telling(explain(model, "the of and", "1.0", "gradient"), "the of and", 9)) > 0


def test_a_terminal_is_given_no_commands() -> None:
    found = explain(predictor("caml"), HOSTILE, "1.0", "gradient")
    assert explaining.as_text(found, HOSTILE).plain == HOSTILE.replace("\x1b", "�")


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    bundle.write(predictor("jlan").bundle, tmp_path / "jlan.icdbench")
    (tmp_path / "note.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "jlan.icdbench"


def test_the_command(icdbench: Call, model_file: Path) -> None:
    words = ("explain", "note.txt", "--bundle", model_file, "--code", "2.0")
    status, out, err = icdbench(*words, "--html", "page.html", "--top", 3)
    assert (status, err) == (0, "")
    assert out.startswith("2.0 <b>title</b>: probability 0.")
    assert "attention, alpha 0." in out
    assert len(out.splitlines()) == 2 + 2 + 3
    assert Path("page.html").stat().st_mode & 0o077 == 0
    status, out, _ = icdbench(*words, "--format", "json", "--method", "gradient")
    answer = json.loads(out)
    assert status == 0
    assert [TEXT[start:end].lower() for start, end, _ in answer["weights"]] == NAMES
    assert answer["method"] == "gradient"
    Path("windows.txt").write_bytes(b"\xef\xbb\xbfw5\r\n\r\nw9 and\r\nw14")
    status, out, _ = icdbench("explain", "windows.txt", *words[2:], "--format", "json")
    spans = [(start, end) for start, end, _ in json.loads(out)["weights"]]
    assert [b"w5\r\n\r\nw9 and\r\nw14"[start:end] for start, end in spans] == [b"w5", b"w9", b"and", b"w14"]
    for more, said in (
        (("--code", "2.1"), "did you mean '2.0'?"),
        (("--method", "gradients"), "did you mean 'gradient'?"),
        (("--format", "html"), "no format 'html'"),
    ):
        status, out, err = icdbench(*words, *more)
        assert (status, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("system", ["caml", "cnn", "jlan", "lr"])
def test_the_command_explains_long_notes_as_predict_reads_them(icdbench: Call, system: str, tmp_path: Path) -> None:
    bundle.write(predictor(system, max_tokens=1600).bundle, tmp_path / "m.icdbench")
    for length in (65, 130, 131, 300, 1500):
        (tmp_path / "note.txt").write_text(note(length), encoding="utf-8")
        status, out, err = icdbench("explain", "note.txt", "--bundle", "m.icdbench", "--format", "json")
        assert (status, err) == (0, "")
        found = json.loads(out)
        assert len(found["weights"]) == length
        _, out, _ = icdbench("predict", "note.txt", "--bundle", "m.icdbench", "--format", "jsonl")
        first = json.loads(out)["codes"][0]
        assert (found["code"], found["probability"]) == (first["code"], first["probability"])


def test_words_of_no_weight_are_shown_plainly() -> None:
    found = Explanation("1", "", 0.5, above=False, method="m", spans=((0, 1),), weights=np.zeros(1), shares={})
    assert "<mark" not in explanation.as_html([found], "a b", "n").partition("<details")[2]
    assert explaining.strongest(found, "a b", 5) == [("a", "+0.0000", "0–1")]


def test_the_end_of_a_sentence_is_shown_as_a_token_and_tells_nothing() -> None:
    text, weights = "cough\nRash.", np.array([0.1, 0.5, 0.2, -0.4])
    spans_T = tuple(spans(text, "sentences"))
    found = Explanation("1", "", 0.5, above=False, method="m", spans=spans_T, weights=weights, shares={})
    shown = explaining.strongest(found, text, 9)
    assert [word for word, *_ in shown] == [".", ".", "Rash", "cough"]
    assert explaining.telling(found, text, 9) == [2, 0]


@pytest.mark.parametrize("option", ["--html", "--cloud", "--title-cloud"])
def test_the_note_is_not_written_over(option: str, finished: Path, icdbench: Call) -> None:
    name = "page.html" if option == "--html" else "cloud.svg"
    note = finished / name
    note.write_text("chest pain", encoding="utf-8")
    status, _, err = icdbench("explain", name, "--bundle", "caml.icdbench", option, f"./{name}")
    assert (status, note.read_text(encoding="utf-8")) == (2, "chest pain")
    assert err == f"icdbench: {name} is the note itself; name another file to write to\n"
