"""Initial word vectors: word2vec by gensim (CBOW, window 5, min_count 0, 5 epochs), rows scaled to length one.

CAML's preparation trains on all discharge notes, test included; here the training split alone, or with the unlabelled
background texts, unless `data.embedding_corpus` is "all". Words outside the vocabulary are read as the unknown token,
which so gets a trained vector where the original draws a random one. Row 0 (padding) is zero. Vectors belong to a data
set, not to a run: runs of all seeds share them, so a spread over seeds does not contain theirs.

Up to REPEATABLE words are read by one worker, and the same corpus always gives the same bytes. More are read by a worker
per core: then the vectors depend a little on the threads' timing, and only the cache makes runs share them. Its file
training.json says which it was.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from icdbench.data.cache import cache_root, cached
from icdbench.files import read_json, regular
from icdbench.host import cores
from icdbench.spec import DataSpec
from icdbench.types import PADDING, Corpus, Encoded, FloatArray, Report, quiet

VERSION = "1"  # changes when the same corpus would give other vectors
FACTS = "training.json"
WHAT = "word vectors"
EPOCHS = 5
LONGEST_SENTENCE = 10_000  # words; gensim ignores those that follow
REPEATABLE = 20_000_000  # words; one worker takes minutes
MOST_WORKERS = 8  # gensim hands out sentences under Python's lock; more workers would only wait for it
STEP = 1_000_000  # words between two reports

Trained = tuple[FloatArray, dict[str, float]]  # vectors, and how they were made


def word_vectors(corpus: Corpus, data: DataSpec, width: int, report: Report = quiet) -> FloatArray:
    """Vectors [V, width] for the vocabulary, float32, from the cache if it has them. Raises SpecError.

    `report` hears of training only, in words over all epochs, and from another thread than the caller's.
    """
    return cached(_folder(corpus, data, width), lambda: _train(corpus, data, width, report), _save, _load)[0]


def training(corpus: Corpus, data: DataSpec, width: int) -> dict[str, float]:
    """How the cached vectors were made: words, epochs, workers, seconds. Empty if the cache does not say."""
    return _facts(_folder(corpus, data, width))


def _folder(corpus: Corpus, data: DataSpec, width: int) -> Path:
    kind = "unit" if data.unit_vectors else "raw"
    made_by = f"{VERSION}-gensim{version('gensim')}"
    return cache_root() / "vectors" / f"{corpus.name}-{corpus.key}-{data.embedding_corpus}-{width}-{kind}-{made_by}"


def _save(trained: Trained, folder: Path) -> None:
    vectors, facts = trained
    np.save(folder / "vectors.npy", vectors, allow_pickle=False)
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _load(folder: Path) -> Trained:
    with regular(folder / "vectors.npy") as file:
        vectors = np.load(file, allow_pickle=False)
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise ValueError("its vectors are none")
    return vectors, _facts(folder)


def _facts(folder: Path) -> dict[str, float]:
    path = folder / FACTS
    facts: dict[str, float] = read_json(path) if path.exists() else {}
    if not isinstance(facts, dict) or not all(
        type(each) in {int, float} and np.isfinite(each) for each in facts.values()
    ):
        raise ValueError("it does not say how its vectors were made")
    return facts


class _Sentences:
    """Documents as lists of words, which gensim passes over once per epoch. A word is its token's index as text.

    Only the lists that gensim is just reading exist, and their words are shared, not made anew, which makes it fast.
    Documents longer than gensim can read come in pieces.
    """

    def __init__(self, parts: list[Encoded], words: list[str], report: Report = quiet) -> None:
        self.parts = parts
        self.words = np.array(words, dtype=object)
        self.report = report
        self.done, self.total = 0, EPOCHS * sum(len(part.tokens) for part in parts)
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[list[str]]:
        for part in self.parts:
            for start, end in zip(part.token_offsets[:-1], part.token_offsets[1:], strict=True):
                for piece in range(start, end, LONGEST_SENTENCE):
                    if self.failure is not None:
                        return
                    sentence: list[str] = self.words[part.tokens[piece : min(piece + LONGEST_SENTENCE, end)]].tolist()
                    yield sentence
                    self._count(len(sentence))

    def _count(self, words: int) -> None:
        """Reports, now and then. gensim waits for ever for a thread of its own that fails, so a failure is kept."""
        before, self.done = self.done, self.done + words
        if before // STEP < self.done // STEP and self.done < self.total:
            try:
                self.report(WHAT, self.done, self.total)
            except BaseException as error:  # noqa: BLE001
                self.failure = error


def _train(corpus: Corpus, data: DataSpec, width: int, report: Report) -> Trained:
    from gensim.models import Word2Vec

    logging.getLogger("gensim").setLevel(logging.WARNING)
    parts = [corpus.splits["train"]]
    if data.embedding_corpus != "train":
        parts.append(corpus.background)
    if data.embedding_corpus == "all":
        parts += [corpus.splits["validation"], corpus.splits["test"]]
    words = [str(token) for token in range(len(corpus.vocabulary.tokens))]
    sentences = _Sentences(parts, words, report)
    workers = 1 if sentences.total <= EPOCHS * REPEATABLE else min(cores(), MOST_WORKERS)
    begun = time.monotonic()
    report(WHAT, 0, sentences.total)
    model = Word2Vec(vector_size=width, window=5, min_count=0, sg=0, workers=workers, seed=1)
    model.build_vocab(_Sentences(parts, words))
    model.train(sentences, total_examples=model.corpus_count, epochs=EPOCHS)
    if sentences.failure is not None:
        raise sentences.failure
    report(WHAT, sentences.total, sentences.total)
    vectors = np.random.default_rng(0).standard_normal((len(words), width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[np.array(model.wv.index_to_key, dtype=np.int64)] = model.wv.vectors
    if data.unit_vectors:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12
    vectors[PADDING] = 0
    seconds = round(time.monotonic() - begun, 3)
    return vectors, {"words": sentences.total // EPOCHS, "epochs": EPOCHS, "workers": workers, "seconds": seconds}
