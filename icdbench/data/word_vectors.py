"""Initial word vectors: `word_vectors` trains them by gensim's word2vec, or reads a user's file (icdbench.data.own_vectors).

Training is CBOW with window 5, min_count 0 and 5 epochs; vectors are scaled to length one, and row 0 (padding) is zero.
CAML's preparation trains on all discharge notes, test notes included. Here it is the training split, with the unlabelled
background texts if `data.embedding_corpus` says so, and all texts only if it is "all". Words outside the vocabulary are
read as the unknown token, so that token gets a trained vector where the original draws a random one. Runs of all seeds
share the vectors of a data set, so a spread over seeds does not include theirs, unless `data.vectors_per_seed` trains them
anew for each seed.

A corpus of up to REPEATABLE words is read by one worker and always gives the same bytes. A larger one is read by a worker
per core, whose timing changes the vectors a little: then only the cache makes runs share them. training.json in the cache
tells the number of workers.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from icdbench.data import own_vectors
from icdbench.data.cache import cache_root, cached
from icdbench.files import read_json, regular
from icdbench.host import cores
from icdbench.settings import DataError
from icdbench.spec import EMBEDDINGS, DataSpec
from icdbench.types import PADDING, Corpus, Encoded, FloatArray, Report, quiet

VERSION = "1"  # changes when the same corpus would give other vectors
FACTS = "training.json"
WHAT = "word vectors"
EPOCHS = 5
LONGEST_SENTENCE = 10_000  # words; gensim ignores those that follow
REPEATABLE = 20_000_000  # words; one worker takes minutes for them
MOST_WORKERS = 8  # gensim hands out sentences under Python's lock; more workers would only wait for it
STEP = 1_000_000  # words between two reports

Vectors = tuple[FloatArray, dict[str, float]]  # and facts about how they were made


def word_vectors(
    corpus: Corpus, data: DataSpec, width: int, report: Report = quiet, file: Path | None = None, seed: int = 1
) -> FloatArray:
    """Vectors [V, width] for the vocabulary, float32: from the cache, else trained or read from the user's `file`.

    `seed` is that of the run, and counts only with `data.vectors_per_seed`. `report` is told of training only, in words over
    all epochs, and from another thread. Raises SpecError; DataError for a file that cannot be read, or whose content is not
    what `data.embeddings` says.
    """

    def build() -> Vectors:
        if is_own(data):
            return _read(file, corpus, data, width)
        return _train(corpus, data, width, report, _seed(data, seed))

    return cached(_folder(corpus, data, width, seed), build, _save, _load)[0]


def is_own(data: DataSpec) -> bool:
    """Whether the word vectors come from a user's own file."""
    return data.embeddings not in EMBEDDINGS


def own_file(changes: Mapping[str, Any]) -> Path | None:
    """The file of word vectors that a user's changes of settings name; None for word2vec and random."""
    value = changes.get("data.embeddings")
    return None if value is None or value in EMBEDDINGS else Path(str(value))


def by_content(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of data settings, with a file of word vectors replaced by the name of its content. Raises SpecError, DataError."""
    file = own_file({"data.embeddings": changes.get("embeddings")})
    return {**changes, "embeddings": own_vectors.by_content(file)} if file else dict(changes)


def notices(corpus: Corpus, data: DataSpec, width: int | None, model: str, file: Path | None) -> list[str]:
    """A line about how much the user's file of word vectors covers. It is read here, before anything is trained.

    Raises SpecError if the model needs another width; DataError for a file that cannot be read.
    """
    if not (width and is_own(data) and file):
        return []
    own_vectors.check_width(file, width, model)
    word_vectors(corpus, data, width, file=file)
    return coverage(training(corpus, data, width), file)


def coverage(facts: Mapping[str, float], file: Path | None) -> list[str]:
    """A line about how much of the vocabulary the user's file covers; none where vectors were trained."""
    if file is None or "known_words" not in facts:
        return []
    words = 100 * facts["known_words"] / max(1, facts["vocabulary"])
    tokens = 100 * facts["known_tokens"] / max(1, facts["tokens"])
    share = f"{facts['known_words']:,.0f} of the {facts['vocabulary']:,.0f} words of the vocabulary ({words:.1f} %)"
    return [f"word vectors of {file.name}: {share}, {tokens:.1f} % of the training tokens; the others start at random"]


def _read(file: Path | None, corpus: Corpus, data: DataSpec, width: int) -> Vectors:
    if file is None or own_vectors.by_content(file) != data.embeddings:
        where = file or "the file of word vectors"
        raise DataError(
            f"{where} is no longer the one that this run was planned with ({data.embeddings}); run it again"
        )
    vectors, facts = own_vectors.read(file, corpus, width)
    if data.unit_vectors:
        _scale_to_unit_length(vectors)
    return vectors, facts


def _scale_to_unit_length(vectors: FloatArray) -> None:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12


def training(corpus: Corpus, data: DataSpec, width: int, seed: int = 1) -> dict[str, float]:
    """How the cached vectors were made: words, epochs, workers, seconds. Empty if the cache does not say."""
    return _facts(_folder(corpus, data, width, seed))


def _seed(data: DataSpec, seed: int) -> int:
    return seed if data.vectors_per_seed else 1


def _folder(corpus: Corpus, data: DataSpec, width: int, seed: int) -> Path:
    kind = "unit" if data.unit_vectors else "raw"
    if _seed(data, seed) != 1:
        kind += f"-seed{seed}"
    made_by = f"{VERSION}-gensim{version('gensim')}"
    source = data.embeddings if is_own(data) else data.embedding_corpus
    return cache_root() / "vectors" / f"{corpus.name}-{corpus.key}-{source}-{width}-{kind}-{made_by}"


def _save(built: Vectors, folder: Path) -> None:
    vectors, facts = built
    np.save(folder / "vectors.npy", vectors, allow_pickle=False)
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _load(folder: Path) -> Vectors:
    with regular(folder / "vectors.npy") as file:
        vectors = np.load(file, allow_pickle=False)
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise ValueError("its array is not one of vectors")
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
    """Documents as lists of words, which gensim iterates over once per epoch. A word is its token's index as text.

    For speed, lists are made only when gensim reads them, and they share the words' strings. Documents longer than gensim
    can read come in pieces.
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
        """Report progress now and then. An error is kept, as gensim would wait for ever for its thread that failed."""
        before, self.done = self.done, self.done + words
        if before // STEP < self.done // STEP and self.done < self.total:
            try:
                self.report(WHAT, self.done, self.total)
            except BaseException as error:  # noqa: BLE001
                self.failure = error


def _train(corpus: Corpus, data: DataSpec, width: int, report: Report, seed: int) -> Vectors:
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
    model = Word2Vec(vector_size=width, window=5, min_count=0, sg=0, workers=workers, seed=seed)
    model.build_vocab(_Sentences(parts, words))
    model.train(sentences, total_examples=model.corpus_count, epochs=EPOCHS)
    if sentences.failure is not None:
        raise sentences.failure
    report(WHAT, sentences.total, sentences.total)
    vectors = np.random.default_rng(seed - 1).standard_normal((len(words), width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[np.array(model.wv.index_to_key, dtype=np.int64)] = model.wv.vectors
    if data.unit_vectors:
        _scale_to_unit_length(vectors)
    vectors[PADDING] = 0
    seconds = round(time.monotonic() - begun, 3)
    return vectors, {"words": sentences.total // EPOCHS, "epochs": EPOCHS, "workers": workers, "seconds": seconds}
