"""Models in which one word drives every code, and what is to be seen of it in explanations, whatever a batch's width."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import nn

from icdbench.data import batches
from icdbench.inference.explain import Pass, methods
from icdbench.inference.predict import Predictor
from icdbench.models.knn import NearestNeighbours
from icdbench.models.stacked import Stacked
from icdbench.nn.ngrams import NGramModel
from icdbench.nn.pretrained import ChunkedEncoder
from icdbench.types import FloatArray

WORD = 14  # the word that drives the codes, by its number
GAIN = 3.0  # of layers without a place, so that attention is drawn to it
REACH = 3  # words on both sides of it that are compared


def note(length: int, planted: int | None = None, seed: int = 0) -> str:
    """A note of the words w20 to w59, some of them unknown to the models, with w14 at one place."""
    generator = np.random.default_rng([seed, length])
    words = [f"w{number}" for number in generator.integers(20, 65, length)]
    if planted is not None:
        words[planted] = f"w{WORD}"
    return " ".join(words)


# --- Widths of batches -----------------------------------------------------------------------------------------------------


@contextmanager
def widened(words: int) -> Iterator[None]:
    """In the block batches are so many words wider than their longest document, if they may be so wide."""
    with mock.patch.object(batches, "widths", lambda lengths_X: lengths_X + words):
        yield


def equal(found_T: FloatArray, wanted_T: FloatArray, method: str) -> bool:
    """Up to rounding in 32 bits, for occlusion that of logits."""
    rounding = 2e-6 if method == "occlusion" else 2e-5 * float(np.abs(wanted_T).max())
    return bool(np.allclose(found_T, wanted_T, rtol=1e-3, atol=rounding))


# --- The planted word ------------------------------------------------------------------------------------------------------


def plant(predictor: Predictor) -> None:
    """Let the word drive all codes: all other words are zero vectors, and each layer passes on what stands in its middle.

    Where titles are what a model looks for, the word is the title of every code.
    """
    model: Any = predictor.model
    if not isinstance(model, nn.Module):
        if isinstance(model, NearestNeighbours):
            model.axes_VD = np.zeros((len(model.ngrams), 1))
            model.axes_VD[np.searchsorted(model.ngrams.numbers[0], WORD)] = 1
            model.trained_ND = np.ones((1, 1))
            model.labels_NL = csr_matrix(np.ones((1, model.task.num_codes)))
        elif isinstance(model, Stacked):
            _plant_members(model)
        elif isinstance(model, NGramModel):
            coefficients_LV = np.zeros(model.coefficients_LV.shape)
            coefficients_LV[:, np.searchsorted(model.ngrams.numbers[0], WORD)] = 1
            model.coefficients_LV = coefficients_LV
        return
    pooled = "attention" not in methods(Pass(predictor, "w20"))
    encoders = [each for each in model.modules() if isinstance(each, ChunkedEncoder)]
    inside = {module for each in encoders for module in each.modules()}
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):  # it would level a vector of equal numbers
                module.register_forward_hook(lambda _module, given, _found: given[0])
            elif module in inside:
                _add_nothing(module)
            else:
                _plant(module, pooled=pooled)
        for name, titles in model.named_buffers():
            if name.startswith("title_"):
                titles.fill_(1 if "lengths" in name else WORD)
    model.eval()  # nothing that was computed of other weights is kept


def _add_nothing(module: nn.Module) -> None:
    """What layers of a transformer add to their input is nothing: each word stays what it was."""
    for parameter in module.parameters(recurse=False):
        parameter.zero_()


def _plant_members(model: Stacked) -> None:
    """Let every member know one feature, the word, and let nothing judge what the members say."""
    model.pooled, model.base.parts = (), dataclasses.replace(model.base.parts, names=False)
    codes = model.base.codes
    for reading, reader in codes.readers.items():
        found = reader.all_occurrences(np.zeros(1, np.int64), np.array([WORD]))
        codes.readers[reading] = dataclasses.replace(reader, known=found.features[:1])
    for member, (reading, _) in zip(codes.members, codes.plan, strict=True):  # the plan has its readings in a row
        known = len(codes.readers[reading].known)
        member.coefficients_LV = csr_matrix(np.ones((model.task.num_codes, known)))


def _plant(module: nn.Module, *, pooled: bool) -> None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return
    for name, parameter in module.named_parameters(recurse=False):
        parameter.fill_(0 if "bias" in name else 1)
    if isinstance(module, nn.Embedding):
        module.weight.zero_()
        module.weight[WORD] = 1
    elif isinstance(module, nn.Linear):
        module.weight.fill_(GAIN / module.in_features)
    elif isinstance(module, nn.Conv1d):
        _pass_the_middle_on(module.weight, pooled=pooled)
    elif isinstance(module, nn.LSTM | nn.GRU):
        _forget(module)


def _pass_the_middle_on(weight_FEK: torch.Tensor, *, pooled: bool) -> None:
    """Of an even kernel one filter passes the left middle on, the next the right one; where filters are pooled each passes
    another of its words on, so that the first and the last words count too."""
    filters, channels, kernel = weight_FEK.shape
    weight_FEK.zero_()
    for number in range(filters):
        middle = (kernel - 1) // 2 if number % 2 else kernel // 2
        weight_FEK[number, :, number % kernel if pooled else middle] = 1 / channels


def _forget(module: nn.LSTM | nn.GRU) -> None:
    """An LSTM's state is what it has just read; a GRU, whose last state is all that is used, keeps most of what it has."""
    weights, width = dict(module.named_parameters()), module.hidden_size
    weights["weight_hh_l0"].zero_()
    weights["weight_ih_l0"].fill_(1 / module.input_size)
    if isinstance(module, nn.LSTM):
        weights["bias_ih_l0"][width : 2 * width] = -30
    else:
        weights["weight_ih_l0"][: 2 * width] = 0
        weights["bias_ih_l0"][width : 2 * width] = 4


def stands_on_it(weights_T: FloatArray, place: int, method: str) -> bool:
    """Whether the peak is on the word at this place: it has the largest weight, up to that of an ordinary word, and those on both sides have equal ones."""
    ordinary = max(0.0, float(np.median(weights_T))) if len(weights_T) > 2 * REACH else 0.0
    height = float(weights_T.max()) - ordinary
    if height <= 1e-6 or weights_T[place] < weights_T.max() - ordinary - 1e-3 * height:
        return False
    if method == "occlusion":  # its words are taken away by their places, in long notes with their neighbours
        return True
    reach = min(REACH, place - 1, len(weights_T) - 2 - place)  # the first and the last word are different
    return all(abs(weights_T[place - d] - weights_T[place + d]) <= 1e-3 * height for d in range(1, reach + 1))
