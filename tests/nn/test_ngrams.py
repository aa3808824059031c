"""N-grams are those that scikit-learn counts, whatever the parts in which documents are read."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from systems import encoded, small_task

from icdbench.nn import ngrams
from icdbench.nn.ngrams import NGramModel, NGrams
from icdbench.types import UNKNOWN, Encoded

WORDS = 12


def documents(number: int, seed: int = 0) -> Encoded:
    """Texts of a few words, the unknown one among them; some are empty, some longer than models read."""
    drawn = np.random.default_rng(seed)
    texts = [drawn.integers(UNKNOWN, WORDS, size).tolist() for size in drawn.integers(0, 30, number)]
    return Encoded(**{**vars(encoded(texts, [[0]] * number)), "max_tokens": 25})


def _ngrams(text: str, longest: int) -> list[str]:
    words = text.split()
    return [" ".join(words[at : at + n]) for n in range(1, longest + 1) for at in range(len(words) - n + 1)]


def texts(found: Encoded, *, unknown: bool) -> list[str]:
    """The tokens that are read as words of letters; an unknown word is a gap that no n-gram crosses."""
    read = [
        found.tokens[start : start + length]
        for start, length in zip(found.token_offsets[:-1], found.lengths, strict=True)
    ]
    gap = iter(range(10**6))
    return [
        " ".join(f"w{token}" if token != UNKNOWN or unknown else f"gap{next(gap)}" for token in each) for each in read
    ]


@pytest.mark.parametrize("at_once", [1, 7, 1000])
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize(("longest", "least"), [(1, 1), (2, 2), (4, 2), (4, 3)])
def test_known_ngrams_and_their_counts_are_those_of_scikit_learn(
    longest: int, least: int, at_once: int, monkeypatch: pytest.MonkeyPatch, *, unknown: bool
) -> None:
    monkeypatch.setattr(ngrams, "DOCUMENTS_AT_ONCE", at_once)
    found = documents(40)
    vectorizer = CountVectorizer(min_df=least, analyzer=partial(_ngrams, longest=longest))
    theirs = vectorizer.fit_transform(texts(found, unknown=unknown))
    names = vectorizer.get_feature_names_out()
    expected = {name: theirs[:, [at]].toarray().ravel() for at, name in enumerate(names) if "gap" not in name}
    ours = NGrams.of(found, WORDS, longest, least, unknown=unknown)
    counts_NV = ours.counts(found)
    assert counts_NV.shape == (40, len(expected))
    columns = sorted(map(tuple, counts_NV.toarray().T.astype(int).tolist()))
    assert columns == sorted(tuple(map(int, column)) for column in expected.values())


def test_tfidf_is_scikit_learns() -> None:
    found = documents(40)
    model = NGramModel(small_task(), "tfidf")
    model.task = model.task.__class__(**{**vars(model.task), "num_tokens": WORDS})
    features_NV = model.learn(found, 2, 2)
    counts_NV = model.ngrams.counts(found)
    theirs = TfidfTransformer(sublinear_tf=True).fit_transform(counts_NV)
    np.testing.assert_allclose(features_NV.toarray(), theirs.toarray(), atol=1e-6)


@pytest.mark.parametrize("weighting", ["counts", "tfidf", "binary"])
def test_contributions_and_intercept_sum_to_the_score(weighting: Any) -> None:
    found = documents(20)
    model = NGramModel(small_task(), weighting)
    model.task = model.task.__class__(**{**vars(model.task), "num_tokens": WORDS})
    features_NV = model.learn(found, 3, 2)
    drawn = np.random.default_rng(1)
    model.coefficients_LV = drawn.normal(size=(model.task.num_codes, features_NV.shape[1]))
    model.intercepts_L = drawn.normal(size=model.task.num_codes)
    for number in range(20):
        start, end = found.token_offsets[number : number + 2]
        alone = Encoded(**{**vars(encoded([found.tokens[start:end].tolist()], [[0]])), "max_tokens": 25})
        added_T = model.contributions(alone, 1)
        assert added_T.shape == (alone.lengths[0],)
        np.testing.assert_allclose(added_T.sum() + model.intercepts_L[1], model.scores(alone)[0, 1], atol=1e-6)


def test_very_many_documents_ask_for_more_documents_of_an_ngram() -> None:
    def of(size: int) -> Encoded:
        return encoded([[]] * size, [[]] * size)

    assert [ngrams.least_documents(of(size)) for size in (1, 500, 14_999, 15_000, 47_723)] == [2, 2, 2, 3, 9]
