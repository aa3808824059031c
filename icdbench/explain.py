"""Why a model gives a code to a note: a weight for each word that it read, with the word's place in the original text.

attention               what the model attends with: label attention, or with two kinds their joint weights α S + β L
label-attention, self-attention      one kind alone
pooling                 what each position adds by being the maximum of filters (models that pool)
gradient                gradient × input: the logit's gradient by a word's vector, times the vector
integrated-gradients    Sundararajan et al. 2017, from zero vectors, by captum: sums to about logit(note) - logit(zeros)
occlusion               what the logit loses if the words of a window are made unknown
coefficients            what each word adds to the logit (linear models): sums to the logit less the intercept
random                  drawn weights, to compare with

Attention belongs to positions, which a convolution of even or unpadded kernel has more or fewer of than words: each word
gets the mean of the positions that it lies between, or its share of the positions that read it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from rich.text import Text
from torch import Tensor, nn

from icdbench.batches import batches
from icdbench.files import replacing
from icdbench.nn import watched
from icdbench.predict import Predictor, probabilities
from icdbench.spec import DataError, SpecError, nearest
from icdbench.tokens import spans
from icdbench.types import UNKNOWN, Batch, Encoded, FloatArray, IntArray

STEPS, STEP_TOKENS = (
    50,
    8192,
)  # of integrated gradients: points on the path, and words that go through the model at once
WINDOWS = 256  # most windows of a note that are occluded: longer notes get wider ones

KINDS = {"label-attention": "label", "self-attention": "self", "pooling": "pooling"}


@dataclass(frozen=True, eq=False)
class Explanation:
    """Weights of the words that the model read, for one code. `shares` are α and β where the model has them."""

    code: str
    title: str
    probability: float
    above: bool
    method: str
    spans: tuple[tuple[int, int], ...]
    weights: FloatArray
    shares: Mapping[str, float]


def explain(predictor: Predictor, text: str, code: str = "", method: str = "") -> Explanation:
    """The words' weights for a code, without one the most probable; without a method, the first that the model has.

    Raises SpecError for an unknown code or method, or one that the model lacks; DataError for a text without words.
    """
    contents = predictor.bundle.contents
    found = spans(text, contents.words)[: contents.max_tokens]
    if not found:
        raise DataError("the note has no words that could be explained")
    encoded = predictor.encode([text])
    logits_L = predictor.scores(encoded)[0]
    if code and not predictor.own(code):
        raise SpecError(f"'{code}' is no code of '{contents.run}'{nearest(code, predictor.codes)}")
    index = predictor.codes.index(predictor.own(code)) if code else int(logits_L.argmax())
    offered = methods(predictor, encoded)
    if method and method not in offered:
        raise SpecError(
            f"model '{predictor.bundle.system}' cannot be explained by '{method}'{nearest(method, offered)}"
        )
    method = method or next(iter(offered))
    weights_T, shares = offered[method](index)
    probability = float(probabilities(logits_L[None])[0, index])
    above = probability > contents.threshold["tuned"]
    return Explanation(
        predictor.codes[index], contents.titles[index], probability, above, method, tuple(found), weights_T, shares
    )


Method = Callable[[int], tuple[FloatArray, Mapping[str, float]]]


def methods(predictor: Predictor, encoded: Encoded) -> dict[str, Method]:
    """How the model can be explained on a single document: a name, and the function from a code's position to weights [T]."""
    model, max_tokens = predictor.model, predictor.bundle.contents.max_tokens
    length = int(encoded.lengths(max_tokens)[0])
    occluded = cache(lambda: _occlusion(predictor, encoded))  # once for all codes

    def occlusion(code: int) -> tuple[FloatArray, Mapping[str, float]]:
        lost_WL, window_T = occluded()
        return lost_WL[window_T, code], {}

    general: dict[str, Method] = {
        "occlusion": occlusion,
        "random": lambda code: (np.random.default_rng([length, code]).random(length), {}),
    }
    if not isinstance(model, nn.Module):
        return {"coefficients": lambda code: (model.contributions(encoded, max_tokens, code), {}), **general}
    (batch,) = batches(encoded, [np.array([0])], len(predictor.codes), max_tokens, predictor.device)
    with torch.no_grad(), watched() as shown:
        model(batch)
    names = [name for name, _ in shown]

    def values(name: str, code: int) -> FloatArray:
        """The mean of what is shown under a name, as of two directions."""
        rows = [
            _of_words(of_code(code)[0].detach().double().cpu().numpy(), length)
            for each, of_code in shown
            if each == name
        ]
        mean: FloatArray = np.mean(rows, axis=0)
        return mean

    def shares(code: int) -> dict[str, float]:
        return {name: float(of_code(code)[0]) for name, of_code in shown if name in {"alpha", "beta"}}

    def joint(code: int) -> tuple[FloatArray, Mapping[str, float]]:
        given = shares(code)
        alpha, beta = given.get("alpha", 0.5), given.get("beta", 0.5)
        return alpha * values("self", code) + beta * values("label", code), given

    def alone(kind: str) -> Method:
        return lambda code: (values(kind, code), shares(code))

    kinds = {method: alone(kind) for method, kind in KINDS.items() if kind in names}
    attending = [kind for kind in ("label", "self") if kind in names]
    if attending:
        kinds = {"attention": joint if len(attending) == 2 else alone(attending[0]), **kinds}
    by_vectors: dict[str, Method] = {
        "gradient": lambda code: (_gradient(model, batch, code), {}),
        "integrated-gradients": lambda code: (_integrated(model, batch, code), {}),
    }
    return {**kinds, **by_vectors, **general}


def _of_words(weights_P: FloatArray, length: int) -> FloatArray:
    """Weights of positions as weights of words [T]; their sum stays."""
    positions = len(weights_P)
    if positions == length:
        return weights_P
    if positions > length:  # an even kernel: position p lies between the words p - 1 and p
        spread = np.zeros(length + 2)
        spread[:-1] += weights_P / 2
        spread[1:] += weights_P / 2
        spread[1] += spread[0]
        spread[-2] += spread[-1]
        return spread[1:-1]
    kernel = length - positions + 1  # an unpadded kernel: position p reads the words p to p + kernel - 1
    return np.convolve(weights_P, np.full(kernel, 1 / kernel))


def _logits(model: nn.Module, batch: Batch, vectors_NTE: Tensor) -> Tensor:
    """Logits [N, L] of a document with other word vectors in place of its own."""
    count = len(vectors_NTE)
    repeated = Batch(*(value.expand(count, *value.shape[1:]) for value in vars(batch).values()))
    embedding = model.get_submodule("embedding")
    handle = embedding.register_forward_hook(lambda *_: vectors_NTE)
    try:
        logits_NL: Tensor = model(repeated)
    finally:
        handle.remove()
    return logits_NL


def _vectors(model: nn.Module, batch: Batch) -> Tensor:
    vectors_1TE: Tensor = model.get_submodule("embedding")(batch.tokens_BT).detach()
    return vectors_1TE


def _gradient(model: nn.Module, batch: Batch, code: int) -> FloatArray:
    vectors_1TE = _vectors(model, batch).requires_grad_()
    with torch.backends.cudnn.flags(enabled=False):  # its recurrences have no gradient outside of training
        (gradient_1TE,) = torch.autograd.grad(_logits(model, batch, vectors_1TE)[0, code], vectors_1TE)
    weights_T: FloatArray = (gradient_1TE * vectors_1TE.detach()).sum(2)[0].double().cpu().numpy()
    return weights_T


def _integrated(model: nn.Module, batch: Batch, code: int) -> FloatArray:
    from captum.attr import IntegratedGradients

    vectors_1TE = _vectors(model, batch)
    at_once = max(1, STEP_TOKENS // vectors_1TE.shape[1])
    method = IntegratedGradients(lambda vectors_NTE: _logits(model, batch, vectors_NTE)[:, code])
    with torch.backends.cudnn.flags(enabled=False):
        added_1TE = method.attribute(vectors_1TE, n_steps=STEPS, internal_batch_size=at_once)
    weights_T: FloatArray = added_1TE.sum(2)[0].double().cpu().numpy()
    return weights_T


def _occlusion(predictor: Predictor, encoded: Encoded) -> tuple[FloatArray, IntArray]:
    """What each code's logit loses without each of the W windows [W, L], and the window that each word is in [T]."""
    length = int(encoded.lengths(predictor.bundle.contents.max_tokens)[0])
    width = -(-length // WINDOWS)
    window_T = np.arange(length) // width
    tokens_T = encoded.tokens[:length]
    without_NT = np.where(np.arange(window_T[-1] + 1)[:, None] == window_T, UNKNOWN, tokens_T)
    logits_NL = predictor.scores(of_equal_length([tokens_T, *without_NT])).astype(np.float64)
    lost_WL: FloatArray = logits_NL[0] - logits_NL[1:]
    return lost_WL, window_T


def of_equal_length(rows: Sequence[IntArray]) -> Encoded:
    """Documents of equal length, without codes."""
    none = np.zeros(len(rows), np.int32)
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * len(rows[0])
    return Encoded(
        ("",) * len(rows), np.concatenate(rows).astype(np.int32), offsets, none[:0], np.append(none, 0), none
    )


# --- What a person sees --------------------------------------------------------------------------------------------------


def heading(found: Explanation) -> str:
    """One line about the code and the method."""
    side = "above" if found.above else "below"
    shares = "".join(f", {name} {value:.2f}" for name, value in found.shares.items())
    return (
        f"{found.code} {found.title}: probability {found.probability:.3f}, {side} the threshold; {found.method}{shares}"
    )


def strongest(found: Explanation, text: str, count: int) -> list[tuple[str, str, str]]:
    """The words of largest weight, their weights and their characters in the text."""
    order = np.argsort(-np.abs(found.weights), kind="stable")[:count]
    rows = [(*found.spans[place], found.weights[place]) for place in order]
    return [(plain(text[start:end]), f"{weight:+.4f}", f"{start}–{end}") for start, end, weight in rows]


def as_text(found: Explanation, text: str) -> Text:
    """The note for a terminal: words that speak for the code on green, those that speak against it on red."""
    shown = Text()
    for piece, strength in pieces(found, text):
        color = f"rgb({0 if strength > 0 else int(150 * -strength)},{int(120 * max(strength, 0))},0)"
        shown.append(plain(piece), style=f"white on {color}" if abs(strength) >= 0.05 else "")
    return shown


def as_html(found: Explanation, text: str, name: str) -> str:
    """The same as a page of its own, which loads nothing and runs nothing."""
    body = "".join(
        f'<mark style="--w:{abs(strength):.3f}" class="{"for" if strength > 0 else "against"}">{html.escape(piece)}</mark>'
        if abs(strength) >= 0.005
        else html.escape(piece)
        for piece, strength in pieces(found, text)
    )
    legend = "; ".join(
        (
            name,
            "green speaks for the code, red against it",
            *(("attention says where the model looked, not why it decided",) if "attention" in found.method else ()),
            "no coding decision",
        )
    )
    shown = {"title": f"{found.code}: {name}", "heading": heading(found), "legend": legend}
    return _PAGE.format(**{key: html.escape(plain(value)) for key, value in shown.items()}, body=body)


def as_json(found: Explanation) -> str:
    """Weights with the characters they belong to, for programs; no text."""
    weights = [[start, end, weight] for (start, end), weight in zip(found.spans, found.weights.tolist(), strict=True)]
    kept = {name: value for name, value in vars(found).items() if name not in {"spans", "weights"}}
    return json.dumps({**kept, "weights": weights}, ensure_ascii=False)


def write_html(path: Path, page: str) -> None:
    """The page holds the note, so it is readable by its owner alone."""
    with replacing(path, private=True) as temporary:
        temporary.write_text(page, encoding="utf-8")


def plain(text: str) -> str:
    """Text without characters that would command a terminal."""
    return "".join(character if character.isprintable() or character in "\n\t" else "�" for character in text)


def pieces(found: Explanation, text: str) -> list[tuple[str, float]]:
    """The whole text in order, each word with its weight as part of the largest, at the odd places; between them what lies between."""
    largest = float(np.abs(found.weights).max()) or 1.0
    parts, done = [], 0
    for (start, end), weight in zip(found.spans, found.weights.tolist(), strict=True):
        parts += [(text[done:start], 0.0), (text[start:end], weight / largest)]
        done = end
    return [*parts, (text[done:], 0.0)]


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }}
h1 {{ font-size: 1rem }}
p {{ font-size: .875rem; color: #595959 }}
pre {{ font: inherit; white-space: pre-wrap; overflow-wrap: anywhere }}
mark {{ color: inherit; border-radius: .2em }}
.for {{ background: rgb(46 160 67 / var(--w)) }}
.against {{ background: rgb(218 54 51 / var(--w)) }}
</style></head>
<body><h1>{heading}</h1><p>{legend}</p><pre>{body}</pre></body></html>
"""
