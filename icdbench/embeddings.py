"""Initial word vectors: word2vec by gensim (CBOW, window 5, min_count 0, 5 epochs), rows scaled to length one.

CAML's preparation trains on all discharge notes, test included; here the training split alone, or with the unlabelled
background texts, unless `data.embedding_corpus` is "all". Words outside the vocabulary are read as the unknown token,
which so gets a trained vector where the original draws a random one. Row 0 (padding) is zero. Vectors belong to a data
set, not to a run: runs of all seeds share them, so a spread over seeds does not contain theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from icdbench.files import cache_root, cached
from icdbench.spec import DataSpec
from icdbench.types import PADDING, Corpus, Encoded, FloatArray

VERSION = "1"  # changes when the same corpus would give other vectors
LONGEST_SENTENCE = 10_000  # words; gensim ignores those that follow


def word_vectors(corpus: Corpus, data: DataSpec, width: int) -> FloatArray:
    """Vectors [V, width] for the vocabulary, float32, from the cache if it has them. Raises SpecError."""
    kind = "unit" if data.unit_vectors else "raw"
    made_by = f"{VERSION}-gensim{version('gensim')}"
    folder = f"{corpus.name}-{corpus.key}-{data.embedding_corpus}-{width}-{kind}-{made_by}"
    return cached(cache_root() / "vectors" / folder, lambda: _train(corpus, data, width), _save, _load)


def _save(vectors: FloatArray, folder: Path) -> None:
    np.save(folder / "vectors.npy", vectors, allow_pickle=False)


def _load(folder: Path) -> FloatArray:
    vectors: FloatArray = np.load(folder / "vectors.npy", allow_pickle=False)
    return vectors


class _Sentences:
    """Documents as lists of token indices in text form, which gensim passes over once per epoch.

    Longer ones than gensim can read come in pieces.
    """

    def __init__(self, parts: list[Encoded]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[list[str]]:
        for part in self.parts:
            for start, end in zip(part.token_offsets[:-1], part.token_offsets[1:], strict=True):
                for piece in range(start, end, LONGEST_SENTENCE):
                    yield [str(token) for token in part.tokens[piece : min(piece + LONGEST_SENTENCE, end)]]


def _train(corpus: Corpus, data: DataSpec, width: int) -> FloatArray:
    from gensim.models import Word2Vec

    logging.getLogger("gensim").setLevel(logging.WARNING)
    parts = [corpus.splits["train"]]
    if data.embedding_corpus != "train":
        parts.append(corpus.background)
    if data.embedding_corpus == "all":
        parts += [corpus.splits["validation"], corpus.splits["test"]]
    # One worker: with more, gensim's result depends on the threads' timing.
    model = Word2Vec(_Sentences(parts), vector_size=width, window=5, min_count=0, epochs=5, sg=0, workers=1, seed=1)
    vectors = np.random.default_rng(0).standard_normal((len(corpus.vocabulary.tokens), width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for word, position in model.wv.key_to_index.items():
        vectors[int(word)] = model.wv.vectors[position]
    if data.unit_vectors:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12
    vectors[PADDING] = 0
    return vectors
