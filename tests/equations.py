"""Layers written out in numpy, position by position, for models whose equations tests work out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]


def arrays(model: nn.Module) -> dict[str, Array]:
    return {key: value.double().numpy() for key, value in model.state_dict().items()}


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: Array) -> Array:
    """Over the last axis."""
    return np.asarray(np.exp(x) / np.exp(x).sum(-1, keepdims=True))


def conv(x_ET: Array, weight_FEK: Array, bias_F: Array | float = 0.0) -> Array:
    """A convolution padded by half its kernel, position by position."""
    kernel = weight_FEK.shape[2]
    wide = np.pad(x_ET, ((0, 0), (kernel // 2, kernel // 2)))
    steps = wide.shape[1] - kernel + 1
    columns = [np.tensordot(weight_FEK, wide[:, at : at + kernel], 2) + bias_F for at in range(steps)]
    return np.stack(columns, axis=1)


def gru(x_TE: Array, weights: dict[str, Array], prefix: str) -> Array:
    """States [T, H] of a gated recurrent unit."""
    parts = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    inner, outer, inner_bias, outer_bias = (weights[f"{prefix}.{part}"] for part in parts)
    width = outer.shape[1]
    state, states = np.zeros(width), []
    for x in x_TE:
        given, kept = inner @ x + inner_bias, outer @ state + outer_bias
        reset = sigmoid(given[:width] + kept[:width])
        update = sigmoid(given[width : 2 * width] + kept[width : 2 * width])
        new = np.tanh(given[2 * width :] + reset * kept[2 * width :])
        state = (1 - update) * new + update * state
        states.append(state)
    return np.stack(states)


def lstm(x_TE: Array, weights: dict[str, Array], prefix: str) -> Array:
    """States [T, H] of a long short-term memory."""
    parts = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    inner, outer, inner_bias, outer_bias = (weights[f"{prefix}.{part}"] for part in parts)
    state, cell, states = np.zeros(outer.shape[1]), np.zeros(outer.shape[1]), []
    for x in x_TE:
        gate, forget, new, out = np.split(inner @ x + inner_bias + outer @ state + outer_bias, 4)
        cell = sigmoid(forget) * cell + sigmoid(gate) * np.tanh(new)
        state = sigmoid(out) * np.tanh(cell)
        states.append(state)
    return np.stack(states)


def both_ways(x_TE: Array, weights: dict[str, Array], prefix: str) -> Array:
    """States [T, 2H] of a bidirectional LSTM."""
    back_TH = lstm(x_TE[::-1], weights, f"{prefix}.back")[::-1]
    return np.concatenate((lstm(x_TE, weights, f"{prefix}.ahead"), back_TH), axis=1)
