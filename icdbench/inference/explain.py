"""Explanations: for a code and a note, a weight for each word that the model read, with the word's place in the original text.

attention               the model's attention: label attention, or for models with two kinds their joint weights α S + β L
label-attention, self-attention      one kind only
pooling                 what each position adds as the maximum of filters (models that pool)
gradient                gradient × input: the logit's gradient by a word's vector, times the vector
integrated-gradients    Sundararajan et al. 2017, from zero vectors, by captum: sums to about logit(note) - logit(zeros)
occlusion               what the logit loses when the words of a window are replaced by the unknown word
coefficients            what each word adds to the logit (linear models): sums to the logit minus the intercept
random                  random weights, as a baseline

Attention weights belong to positions of a layer. The layer says which words each position stands for (`icdbench.nn.Positions`);
those of them that are in the note share its weight. Entered by `explain`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from rich.text import Text
from torch import Tensor, nn

from icdbench.data import batches, datasets, export
from icdbench.host import output
from icdbench.inference.predict import Predictor, Reading
from icdbench.nn import WORDS, Positions, Shown, watched
from icdbench.settings import DataError, SpecError, nearest
from icdbench.training import score
from icdbench.types import SENTENCE_END, UNKNOWN, Batch, FloatArray, IntArray

STEPS = 50  # integrated gradients: points on the path
STEP_TOKENS = 8192  # integrated gradients: words that go through the model at once
WINDOWS = 256  # occlusion: most windows; longer notes have wider ones

SPANISH = frozenset(
    "a al ante bajo con como contra cual cuando de del desde donde el ella en entre era eran es esta este esto fue fueron "
    "ha había hacia hasta la las le les lo los más muy ni no o para pero por que quien se según ser si sin sobre son su sus "
    "también tras tuvo un una unas unos y ya".split()
)

EMBEDDING = "embedding"  # the submodule with respect to whose output gradients are computed
KINDS = {"label-attention": "label", "self-attention": "self", "pooling": "pooling"}


@dataclass(frozen=True, eq=False)
class Explanation:
    """Weights of the words that the model read, for one code. `shares` are α and β, if the model has them."""

    code: str
    title: str
    probability: float
    above: bool
    method: str
    spans: tuple[tuple[int, int], ...]
    weights: FloatArray
    shares: Mapping[str, float]


class Pass:
    """One forward pass of a trained model over one note, for its codes and their explanations.

    `spans` are the positions in the text of the `num_words` words that the model reads; `logits_L` equal, to the bit, those
    of `Predictor.scores` for this note. Raises DataError for a text without words.
    """

    def __init__(self, predictor: Predictor, text: str) -> None:
        contents = predictor.bundle.contents
        self.predictor = predictor
        self.spans = tuple(predictor.reader.spans(text)[: contents.max_tokens])
        if not self.spans:
            raise DataError("the note has no words that could be explained")
        self.encoded, self.num_words = predictor.encode([text]), len(self.spans)
        with contextlib.ExitStack() as stack:
            model = predictor.model
            self.shown: list[Shown] = stack.enter_context(watched(model)) if score.is_network(model) else []
            self.logits_L: FloatArray = predictor.scores(self.encoded)[0]

    def reading(self, top: int | None, threshold: str) -> Reading:
        """The same reading of the note as by `Predictor.stream`."""
        (reading,) = self.predictor.read(self.encoded, self.logits_L[None], top, threshold)
        return reading

    def number(self, name: str, code: int) -> float:
        """The number that a layer shows for a code under this name; of several layers the last one's."""
        *_, last = (each for each in self.shown if each.name == name)
        return float(last.of_code(code)[0].detach())

    def weights(self, name: str, code: int) -> FloatArray:
        """The words' weights [T] that a layer shows for a code under this name; the mean over several layers (two directions)."""
        rows = [self._word_weights(each, code) for each in self.shown if each.name == name]
        mean: FloatArray = np.mean(rows, axis=0)
        return mean

    def gradient(self, code: int) -> FloatArray:
        """Gradient × input of each word [T]."""
        logits_1L, vectors_1TE = self._differentiable
        with _without_cudnn():
            (by_vector_1TE,) = torch.autograd.grad(logits_1L[0, code], vectors_1TE, retain_graph=True)
        return self._sum_over_vectors(by_vector_1TE * vectors_1TE.detach())

    def integrated_gradients(self, code: int) -> FloatArray:
        """What each word adds [T] on the path from zero vectors, by STEPS further passes."""
        from captum.attr import IntegratedGradients

        vectors_1TE = self._vectors()
        at_once = max(1, STEP_TOKENS // vectors_1TE.shape[1])
        method = IntegratedGradients(lambda vectors_NTE: self._logits(vectors_NTE)[:, code])
        with _without_cudnn():
            return self._sum_over_vectors(method.attribute(vectors_1TE, n_steps=STEPS, internal_batch_size=at_once))

    @cached_property
    def _differentiable(self) -> tuple[Tensor, Tensor]:
        """Logits [1, L] and the word vectors [1, T, E] that they depend on, by a second pass for all codes.

        The logits may differ from those of the first pass in the last bits, for example with oneDNN's LSTM.
        """
        vectors_1TE = self._vectors().requires_grad_()
        with _without_cudnn():
            return self._logits(vectors_1TE), vectors_1TE

    def _vectors(self) -> Tensor:
        with torch.no_grad():
            vectors_1TE: Tensor = self._embedding(self._batch.tokens_BT)
        return vectors_1TE

    def _logits(self, vectors_NTE: Tensor) -> Tensor:
        """Logits [N, L] of the note with other word vectors in place of its own."""
        count = len(vectors_NTE)
        repeated = Batch(*(value.expand(count, *value.shape[1:]) for value in vars(self._batch).values()))
        handle = self._embedding.register_forward_hook(lambda *_: vectors_NTE)
        try:
            logits_NL: Tensor = self._network(repeated)
        finally:
            handle.remove()
        return logits_NL

    @property
    def _network(self) -> nn.Module:
        assert score.is_network(self.predictor.model)
        return self.predictor.model

    @property
    def _embedding(self) -> nn.Module:
        return self._network.get_submodule(EMBEDDING)

    @cached_property
    def _batch(self) -> Batch:
        (batch,) = batches.Loader(self.encoded, self.predictor.device).batches([np.array([0])])
        return batch

    def _word_weights(self, shown: Shown, code: int) -> FloatArray:
        weights_P = shown.of_code(code)[0].detach().double().cpu().numpy()
        width = self._batch.tokens_BT.shape[1]
        if shown.positions == WORDS and len(weights_P) != width:
            raise SpecError(
                f"model '{self.predictor.bundle.system}' shows {shown.name} weights of {len(weights_P)} positions for "
                f"{width} words; name the words of a position by positions=icdbench.nn.Positions(offset, kernel)"
            )
        return position_weights_to_words(weights_P, self.num_words, shown.positions)

    def _sum_over_vectors(self, added_1TE: Tensor) -> FloatArray:
        """The sum over each word's vector [T], without padding."""
        weights_T: FloatArray = added_1TE[0, : self.num_words].sum(1).double().cpu().numpy()
        return weights_T


def explain(predictor: Predictor, text: str, code: str = "", method: str = "") -> Explanation:
    """Explain a code, by default the most probable one, by a method, by default the model's first.

    Raises SpecError for an unknown code or method, or one that the model lacks; DataError for a text without words.
    """
    return explained(Pass(predictor, text), code, method)


def explained(forward: Pass, code: str = "", method: str = "") -> Explanation:
    """Like `explain`, for an existing pass."""
    predictor = forward.predictor
    contents = predictor.bundle.contents
    if code and not predictor.find_code(code):
        raise SpecError(f"'{code}' is no code of '{contents.run}'{nearest(code, predictor.codes)}")
    index = predictor.codes.index(predictor.find_code(code)) if code else int(forward.logits_L.argmax())
    offered = methods(forward)
    if method and method not in offered:
        raise SpecError(
            f"model '{predictor.bundle.system}' cannot be explained by '{method}'{nearest(method, offered)}"
        )
    method = method or next(iter(offered))
    weights_T, shares = offered[method](index)
    probability = float(score.probabilities(forward.logits_L[None])[0, index])
    above = probability > contents.threshold["tuned"]
    return Explanation(
        predictor.codes[index], contents.titles[index], probability, above, method, forward.spans, weights_T, shares
    )


Method = Callable[[int], tuple[FloatArray, Mapping[str, float]]]


def methods(forward: Pass) -> dict[str, Method]:
    """The methods for the model, by name: each returns the words' weights [T] and the shares α, β for a code's index."""
    predictor, length = forward.predictor, forward.num_words
    model = predictor.model
    occluded = cache(lambda: _occlusion(forward))  # once for all codes

    def occlusion(code: int) -> tuple[FloatArray, Mapping[str, float]]:
        lost_WL, window_T = occluded()
        return lost_WL[window_T, code], {}

    general: dict[str, Method] = {
        "occlusion": occlusion,
        "random": lambda code: (np.random.default_rng([length, code]).random(length), {}),
    }
    if not score.is_network(model):
        return {"coefficients": lambda code: (model.contributions(forward.encoded, code), {}), **general}
    by_vectors: dict[str, Method] = {
        "gradient": lambda code: (forward.gradient(code), {}),
        "integrated-gradients": lambda code: (forward.integrated_gradients(code), {}),
    }
    if EMBEDDING not in dict(model.named_children()):
        by_vectors = {}
    return {**_shown_methods(forward), **by_vectors, **general}


def _shown_methods(forward: Pass) -> dict[str, Method]:
    """The methods that use what layers show."""
    names = {each.name for each in forward.shown}

    def shares(code: int) -> dict[str, float]:
        return {name: forward.number(name, code) for name in ("alpha", "beta") if name in names}

    def joint(code: int) -> tuple[FloatArray, Mapping[str, float]]:
        given = shares(code)
        alpha, beta = given.get("alpha", 0.5), given.get("beta", 0.5)
        mixed = alpha * forward.weights("self", code) + beta * forward.weights("label", code)
        return mixed / (alpha + beta), given  # gates need not add up to 1 (JLAN's normalise_gates)

    def of_kind(kind: str) -> Method:
        return lambda code: (forward.weights(kind, code), shares(code))

    kinds = {method: of_kind(kind) for method, kind in KINDS.items() if kind in names}
    attending = [kind for kind in ("label", "self") if kind in names]
    if not attending:
        return kinds
    return {"attention": joint if len(attending) == 2 else of_kind(attending[0]), **kinds}


def position_weights_to_words(weights_P: FloatArray, num_words: int, positions: Positions) -> FloatArray:
    """Convert weights of a layer's positions to weights of the document's words [T].

    The words of the document that a position stands for share its weight equally, so the sum is kept; positions that stand
    only for padding are left out.
    """
    word_PK = np.arange(len(weights_P))[:, None] + positions.offset + np.arange(positions.kernel)
    inside_PK = (word_PK >= 0) & (word_PK < num_words)
    share_P1 = weights_P[:, None] / np.maximum(inside_PK.sum(1, keepdims=True), 1)
    share_PK = np.broadcast_to(share_P1, word_PK.shape)
    weights_T = np.zeros(num_words)
    np.add.at(weights_T, word_PK[inside_PK], share_PK[inside_PK])
    return weights_T


def _without_cudnn() -> AbstractContextManager[None]:
    """Turns cuDNN off: its recurrent layers have no gradient in evaluation mode."""
    return torch.backends.cudnn.flags(enabled=False)


def _occlusion(forward: Pass) -> tuple[FloatArray, IntArray]:
    """How much each code's logit loses without each of the W windows [W, L], and the window of each word [T]."""
    length = forward.num_words
    width = -(-length // WINDOWS)
    window_T = np.arange(length) // width
    tokens_T = forward.encoded.tokens[:length]
    without_NT = np.where(np.arange(window_T[-1] + 1)[:, None] == window_T, UNKNOWN, tokens_T)
    logits_NL = forward.predictor.scores(forward.predictor.documents([tokens_T, *without_NT])).astype(np.float64)
    lost_WL: FloatArray = logits_NL[0] - logits_NL[1:]
    return lost_WL, window_T


# --- Output --------------------------------------------------------------------------------------------------------------


def heading(found: Explanation) -> str:
    """One line about the code and the method."""
    side = "above" if found.above else "below"
    shares = "".join(f", {name} {value:.2f}" for name, value in found.shares.items())
    return (
        f"{found.code} {found.title}: probability {found.probability:.3f}, {side} the threshold; {found.method}{shares}"
    )


def strongest(found: Explanation, text: str, count: int) -> list[tuple[str, str, str]]:
    """The words of largest absolute weight, with their weights and positions in the text."""
    order = np.argsort(-np.abs(found.weights), kind="stable")[:count]
    rows = [(*found.spans[place], found.weights[place]) for place in order]
    return [
        (output.printable(text[start:end]).strip() or SENTENCE_END, f"{weight:+.4f}", f"{start}–{end}")
        for start, end, weight in rows
    ]


@cache
def function_words() -> frozenset[str]:
    """English and Spanish function words in lower case."""
    from wordcloud import STOPWORDS

    return SPANISH.union(STOPWORDS)


def telling(found: Explanation, text: str, count: int) -> list[int]:
    """The indices of the words of largest weight, largest first, without function words, punctuation and words of no weight."""
    order = [index for index in np.argsort(-np.abs(found.weights), kind="stable").tolist() if found.weights[index]]
    words = {index: text[slice(*found.spans[index])].lower() for index in order}
    content = [index for index in order if any(map(str.isalnum, words[index])) and words[index] not in function_words()]
    return (content or order)[:count]


def as_text(found: Explanation, text: str) -> Text:
    """The note for a terminal: words that speak for the code on green, words that speak against it on red."""
    shown = Text()
    for piece, strength in pieces(found, text):
        color = f"rgb({0 if strength > 0 else int(150 * -strength)},{int(120 * max(strength, 0))},0)"
        shown.append(output.printable(piece), style=f"white on {color}" if abs(strength) >= 0.05 else "")
    return shown


def written(found: Explanation, text: str, fmt: str, top: int = 10) -> str:
    """The heading and the words of largest weight as Markdown (`md`) or `json`."""
    from tabulate import tabulate

    if fmt == "json":
        return as_json(found)
    if fmt != "md":
        raise SpecError(f"no format '{fmt}' of an explanation{nearest(fmt, ('md', 'html', 'json'))}")
    rows = strongest(found, text, top)
    return f"{heading(found)}\n\n{tabulate(rows, ['word', 'weight', 'characters'], 'pipe', disable_numparse=True)}\n"


def as_json(found: Explanation) -> str:
    """The weights with their positions in the text, for programs; without the text."""
    weights = [[start, end, weight] for (start, end), weight in zip(found.spans, found.weights.tolist(), strict=True)]
    kept = {name: value for name, value in vars(found).items() if name not in {"spans", "weights"}}
    return output.json_line({**kept, "weights": weights})


def pieces(found: Explanation, text: str) -> list[tuple[str, float]]:
    """The text in pieces: at odd indices words with their weights divided by the largest, between them the rest with 0."""
    largest = float(np.abs(found.weights).max()) or 1.0
    parts, done = [], 0
    for (start, end), weight in zip(found.spans, found.weights.tolist(), strict=True):
        parts += [(text[done:start], 0.0), (text[start:end], weight / largest)]
        done = end
    return [*parts, (text[done:], 0.0)]


def write_marks(place: Path, predictor: Predictor, text: str, code: str, method: str, top: int) -> list[Path]:
    """Write a note and the `top` words that speak most for its code, or for each code above the threshold, as two BRAT files.

    `place` is their path without suffix. Raises as `explain`, and SpecError if the files exist.
    """
    forward = Pass(predictor, text)
    codes = [code] if code else [each.code for each in forward.reading(None, "tuned").codes if each.above]
    found = [explained(forward, each, method) for each in codes or [""]]
    marks = {each.code: [[span] for span in strongest_spans(each, top)] for each in found}
    titles = {each.code: each.title for each in found}
    return export.annotate(place.parent, place.name, text, marks, titles, datasets.code_system(predictor.codes))


def strongest_spans(found: Explanation, count: int) -> Sequence[tuple[int, int]]:
    """The positions in the text of the `count` words that speak most for the code; adjacent words are one span."""
    strongest = np.argsort(-found.weights, kind="stable")[:count]
    places = np.sort(strongest[found.weights[strongest] > 0])
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return [(found.spans[run[0]][0], found.spans[run[-1]][1]) for run in runs if len(run)]
