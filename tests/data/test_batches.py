"""The loader: what is in a batch, and in which order batches come."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import NUM_CODES, encoded, learnable

from icdbench.data.batches import EVALUATION_TOKENS, POOL_BATCHES, Loader, evaluation_order, training_order, widths
from icdbench.types import IntArray

LENGTHS = st.lists(st.integers(1, 3000), min_size=1, max_size=300).map(np.array)
NOTE_LENGTHS = np.random.default_rng(0).lognormal(5.5, 0.6, 2000).astype(np.int64) + 1  # as skewed as notes


def as_lists(order: list[IntArray]) -> list[list[int]]:
    return [batch.tolist() for batch in order]


def padding(order: list[IntArray], lengths: IntArray) -> float:
    """The part of all positions that is padding."""
    padded = sum(len(batch) * width(lengths[batch]) for batch in order)
    return 1 - int(lengths.sum()) / padded


def width(lengths: IntArray) -> int:
    """Of the batch that holds documents so long."""
    return int(widths(lengths.max()))


def test_widths_are_few_and_little_larger_than_documents() -> None:
    lengths = np.arange(1, 5000)
    rounded = widths(lengths)
    assert (rounded >= lengths).all()
    assert (rounded < lengths * (1 + 1 / 32)).all()
    assert len(np.unique(rounded[lengths >= 1000])) < 80
    assert widths(np.array([1, 63, 64, 65, 1025, 2047])).tolist() == [1, 63, 64, 66, 1056, 2048]


@given(LENGTHS, st.integers(1, 40), st.integers(0, 2**31 - 1), st.integers(0, 500))
@settings(deadline=None, max_examples=60)
def test_an_epoch_has_every_document_once(lengths: IntArray, batch_size: int, seed: int, epoch: int) -> None:
    order = training_order(lengths, batch_size, seed, epoch)
    assert sorted(np.concatenate(order).tolist()) == list(range(len(lengths)))
    full = -(-len(lengths) // batch_size)
    assert len(order) == full, "no batch is smaller than need be"
    assert sorted(map(len, order))[1:] == [batch_size] * (full - 1)


@given(LENGTHS, st.integers(1, 20_000))
@settings(deadline=None, max_examples=60)
def test_evaluation_has_every_document_once_and_keeps_to_its_budget(lengths: IntArray, budget: int) -> None:
    order = evaluation_order(lengths, budget)
    assert sorted(np.concatenate(order).tolist()) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * width(lengths[batch]) <= budget for batch in order)
    for batch, after in pairwise(order):
        assert lengths[batch].max() <= lengths[after].min(), "by length"
        assert (len(batch) + 1) * width(lengths[after[:1]]) > budget, "no batch is smaller than need be"


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = as_lists(training_order(NOTE_LENGTHS, 16, seed=1, epoch=3))
    np.random.default_rng().random()
    training_order(NOTE_LENGTHS, 16, seed=1, epoch=2)
    assert as_lists(training_order(NOTE_LENGTHS, 16, seed=1, epoch=3)) == first
    for seed, epoch in ((1, 4), (2, 3), (3, 1)):
        other = as_lists(training_order(NOTE_LENGTHS, 16, seed=seed, epoch=epoch))
        assert other != first
        assert set(map(frozenset, other)).isdisjoint(map(frozenset, first)), "no two epochs have the same batches"


def test_the_order_stays_what_it_was() -> None:
    """A run begun with one version and continued with the next must not see documents twice."""
    order = training_order(np.array([5, 3, 9, 1, 7, 2]), 2, seed=1, epoch=1)
    assert as_lists(order) == [[3, 5], [4, 2], [1, 0]]


def test_little_is_padding_and_batches_are_not_sorted() -> None:
    order = training_order(NOTE_LENGTHS, 16, seed=1, epoch=1)
    shuffled = np.random.default_rng(1).permutation(len(NOTE_LENGTHS)).reshape(-1, 16)
    assert padding(list(shuffled), NOTE_LENGTHS) > 0.45
    assert padding(order, NOTE_LENGTHS) < 0.15
    assert padding(evaluation_order(NOTE_LENGTHS), NOTE_LENGTHS) < 0.05
    means = np.array([NOTE_LENGTHS[batch].mean() for batch in order])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2, "long notes do not come first or last"
    assert len(NOTE_LENGTHS) > POOL_BATCHES * 16


@pytest.mark.parametrize("max_tokens", [1, 4, 1000])
def test_a_batch_holds_its_documents_cut_padded_and_labelled(max_tokens: int) -> None:
    texts = [[5, 6, 7, 8, 9], [4], [3, 3, 2]]
    data = encoded(texts, [[0, 2], [], [1]], max_tokens)
    (batch,) = Loader(data).batches([np.array([2, 0, 1])])
    rows = [texts[position][:max_tokens] for position in (2, 0, 1)]
    assert batch.lengths_B.tolist() == [len(row) for row in rows]
    wide = min(width(batch.lengths_B.numpy()), max_tokens)
    assert batch.tokens_BT.tolist() == [row + [0] * (wide - len(row)) for row in rows]
    assert batch.labels_BL.tolist() == [
        [float(code in found) for code in range(NUM_CODES)] for found in ([1], [0, 2], [])
    ]
    assert batch.index_B.tolist() == [2, 0, 1]
    assert (batch.tokens_BT.dtype, batch.lengths_B.dtype, batch.labels_BL.dtype, batch.index_B.dtype) == (
        torch.int64,
        torch.int64,
        torch.float32,
        torch.int64,
    )


@pytest.mark.parametrize("shuffled", [True, False])
def test_all_labels_arrive_whatever_the_order(shuffled: bool) -> None:  # noqa: FBT001
    data = replace(learnable(90), max_tokens=20)
    lengths = data.lengths
    order = training_order(lengths, 7, seed=1, epoch=1) if shuffled else evaluation_order(lengths, 64)
    labels = np.full((len(data), NUM_CODES), -1.0)
    for batch in Loader(data).batches(order):
        labels[batch.index_B] = batch.labels_BL
        assert batch.tokens_BT.shape[1] == min(width(batch.lengths_B.numpy()), 20)
        assert ((batch.tokens_BT != 0).sum(1) == batch.lengths_B).all(), "padding is nowhere but at the end"
    np.testing.assert_array_equal(labels, data.labels().toarray())


def test_read_only_memory_maps_are_no_matter() -> None:
    """The cache is memory-mapped; torch warns of arrays that it must not write to, and warnings are errors here."""
    data = learnable(10)
    for array in (data.tokens, data.token_offsets, data.codes, data.code_offsets):
        array.flags.writeable = False
    order = evaluation_order(data.lengths, EVALUATION_TOKENS)
    assert sum(len(batch.index_B) for batch in Loader(data).batches(order)) == 10
