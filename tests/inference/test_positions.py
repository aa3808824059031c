"""Every model, method and length: a weight for each word that was read, on the word that it belongs to, whatever a batch's width."""

from __future__ import annotations

import functools
import runpy
import sys

import numpy as np
import planted
import pytest
import torch
from places import ROOT
from planted import note
from systems import BLIND, NUM_CODES, NUM_TOKENS, READ, predictor
from torch import Tensor, nn
from torch.nn import functional

import icdbench.inference.explain as explaining
from icdbench.inference.explain import Pass, explain, explained
from icdbench.inference.predict import Predictor
from icdbench.nn import Inspectable, Shown
from icdbench.settings import SpecError
from icdbench.types import Batch, FloatArray

pytestmark = pytest.mark.slow

MAX_TOKENS = 310
SHORT, ROUNDED, LONG = (1, 2, 5), (63, 64, 65, 66), (130, 300, MAX_TOKENS + 1)  # beyond 64 words widths are rounded
LENGTHS = (*SHORT, *ROUNDED, *LONG)
# Every system at a length of each kind; and every method, which several systems have, at every length.
CASES = [
    (system, kind[number // (3 if kind is LONG else 1) % len(kind)])
    for number, system in enumerate(READ)
    for kind in (SHORT, ROUNDED, LONG)
]


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long takes less: neither number changes which word a weight belongs to."""
    monkeypatch.setattr(explaining, "STEPS", 4)
    monkeypatch.setattr(explaining, "WINDOWS", 20)


model_of = functools.cache(functools.partial(predictor, max_tokens=MAX_TOKENS))


def weights_of(model: Predictor, text: str) -> dict[str, FloatArray]:
    """By every method that the model has, of one code."""
    forward = Pass(model, text)
    return {name: explained(forward, "3.0", name).weights for name in explaining.methods(forward)}


@functools.cache
def planted_model(system: str) -> Predictor:
    model = predictor(system, max_tokens=MAX_TOKENS)
    planted.plant(model)
    return model


def test_every_method_is_tried_at_every_length_or_has_one_system_alone() -> None:
    tried: dict[str, set[tuple[str, int]]] = {}
    for system, length in CASES:
        for method in explaining.methods(Pass(model_of(system), "w20")):
            tried.setdefault(method, set()).add((system, length))
    for method, cases in tried.items():
        assert {length for _, length in cases} == set(LENGTHS) or len(
            {system.partition("@")[0] for system, _ in cases}
        ) == 1, method


@pytest.mark.parametrize(("system", "length"), CASES)
def test_each_word_has_a_weight_whatever_the_width(system: str, length: int) -> None:
    model, text = model_of(system), note(length)
    found = weights_of(model, text)
    with planted.widened(0):
        exact = weights_of(model, text)
    with planted.widened(7):
        wider = weights_of(model, text)
    for method, weights_T in found.items():
        assert weights_T.shape == (min(length, MAX_TOKENS),), method
        assert np.isfinite(weights_T).all(), method
        assert planted.equal(weights_T, exact[method], method), method
        assert planted.equal(wider[method], exact[method], method), method


@pytest.mark.parametrize(("system", "length"), [case for case in CASES if case[0] not in BLIND])
def test_the_peak_is_on_the_word_that_drives_the_code(system: str, length: int) -> None:
    model, read = planted_model(system), min(length, MAX_TOKENS)
    for place in sorted({0, read // 3, read - 1} if length < 200 else {read // 3}):
        for method, weights_T in weights_of(model, note(length, place)).items():
            assert method == "random" or planted.stands_on_it(weights_T, place, method), (method, place)


def test_the_script_counts_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which it adds
    monkeypatch.setattr(sys, "argv", ["explanations.py", "--lengths", "4", "--systems", "cnn,leam,lr"])
    status = runpy.run_path(str(ROOT / "tests" / "faults" / "explanations.py"))["main"]()
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "| **all** | 4 | 56 | 0 | 0 |"


# --- One pass ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", READ)
def test_a_pass_gives_what_predict_says_to_the_bit(system: str) -> None:
    model = model_of(system)
    for length in (1, 3, 65, 300):
        forward = Pass(model, note(length))
        np.testing.assert_array_equal(forward.logits_L, model.scores(model.encode([note(length)]))[0])
        (reading,) = model.stream([note(length)])
        assert forward.reading(None, "tuned") == reading


# --- A user's own model --------------------------------------------------------------------------------------------------


class Padded(Inspectable):
    """A softmax over words, shown with so many more positions than there are words."""

    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more

    def forward(self, scores_BT: Tensor) -> Tensor:
        return scores_BT.softmax(1)

    def shown(self, inputs: tuple[Tensor, ...], output: Tensor) -> list[Shown]:  # noqa: ARG002
        return [Shown("label", lambda _: functional.pad(output, (0, self.more)))]


class Own(nn.Module):
    """Sums weighted word vectors, and shows the weights as it is told to."""

    def __init__(self, width: int, *, shown: int | None) -> None:
        super().__init__()
        self.vectors = nn.Embedding(NUM_TOKENS, width, padding_idx=0)
        self.output = nn.Linear(width, NUM_CODES)
        self.weigh = nn.Softmax(1) if shown is None else Padded(shown)

    def forward(self, batch: Batch) -> Tensor:
        vectors_BTE = self.vectors(batch.tokens_BT)
        scores_BT = vectors_BTE.sum(2).masked_fill(batch.tokens_BT == 0, -torch.inf)
        weights_BT = self.weigh(scores_BT)
        logits_BL: Tensor = self.output((weights_BT[:, None] @ vectors_BTE)[:, 0])
        return logits_BL


def own_model(shown: int | None) -> Predictor:
    model = predictor("caml", max_tokens=MAX_TOKENS)
    torch.manual_seed(0)
    model.model = Own(8, shown=shown).eval()
    return model


@pytest.mark.parametrize("length", LENGTHS)
def test_a_model_that_shows_nothing_or_plain_weights_is_explained(length: int) -> None:
    assert list(weights_of(own_model(None), note(length))) == ["occlusion", "random"]
    found = weights_of(own_model(0), note(length))
    assert list(found) == ["attention", "label-attention", "occlusion", "random"]
    with planted.widened(0):
        (wanted_1T,) = weights_of(own_model(0), note(length))["attention"][None]
    assert planted.equal(found["attention"], wanted_1T, "attention")
    assert found["attention"].sum() == pytest.approx(1)


def test_positions_of_an_own_model_that_are_not_words_are_refused() -> None:
    model = own_model(1)
    with pytest.raises(
        SpecError, match=r"shows label weights of 13 positions for 12 words; .* positions=icdbench\.nn\.Pos"
    ):
        explain(model, note(12))
    assert len(explain(model, note(12), method="occlusion").weights) == 12
