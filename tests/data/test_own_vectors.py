"""Word vectors of a user's own file: formats, coverage, faults, and that its content alone identifies a run."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call
from gensim.models import KeyedVectors

import icdbench.run as runner
from icdbench.data import cache, datasets, word_vectors
from icdbench.records import RunRecord, store
from icdbench.run import Request
from icdbench.settings import DataError, SpecError
from icdbench.training import memory
from icdbench.types import Corpus

WORDS = ("fever", "edema", "the", "elsewhere")  # the last is in no note
SIZE = 6
VECTORS = np.random.default_rng(0).standard_normal((len(WORDS), SIZE)).astype(np.float32)
SMALL = {"data.min_documents": 1, "train.max_epochs": 1, "caml.filters": 4, "caml.embedding_size": SIZE}


def keyed() -> Any:
    made = KeyedVectors(SIZE)
    made.add_vectors(list(WORDS), VECTORS)
    return made


def text(path: Path) -> Path:
    keyed().save_word2vec_format(str(path))
    return path


def binary(path: Path) -> Path:
    keyed().save_word2vec_format(str(path), binary=True)
    return path


def packed(path: Path) -> Path:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(binary(path).read_bytes()))
    return path.with_name(f"{path.name}.gz")


def corpus_of(notes: Path) -> Corpus:
    return datasets.open(str(notes), None, {"min_documents": 1}).corpus()


def read(path: Path, notes: Path, *, unit: bool = False) -> tuple[Any, Corpus]:
    changes = word_vectors.by_content({"embeddings": str(path)})
    opened = datasets.open(str(notes), None, {"min_documents": 1, "unit_vectors": unit, **changes})
    corpus = opened.corpus()
    return word_vectors.word_vectors(corpus, opened.data, SIZE, file=path), corpus


def planned(notes: Path, path: Path | str, model: str = "caml", width: int = SIZE) -> tuple[Any, Request]:
    settings = {**SMALL, "data.embeddings": str(path), "caml.embedding_size": width}
    settings = {key: value for key, value in settings.items() if key.partition(".")[0] in {"data", "train", model}}
    request = Request([model], str(notes), changes=settings, results=notes.parent / "results", device="cpu")
    return runner.expand(request)[0], request


def run(notes: Path, path: Path | str) -> RunRecord:
    return runner.execute(*planned(notes, path))


@pytest.mark.parametrize("write", [text, binary, packed], ids=lambda each: each.__name__)
def test_every_format_gives_its_vectors(write: Callable[[Path], Path], few_notes: Path, tmp_path: Path) -> None:
    found, corpus = read(write(tmp_path / "own"), few_notes)
    at = {word: position for position, word in enumerate(corpus.vocabulary.tokens)}
    for word, vector in zip(WORDS[:3], VECTORS, strict=False):
        np.testing.assert_allclose(found[at[word]], vector, rtol=1e-6)
    assert not found[0].any()
    assert np.linalg.norm(found[at["treated"]]) == pytest.approx(1, abs=1e-6)
    scaled, _ = read(write(tmp_path / "own"), few_notes, unit=True)
    np.testing.assert_allclose(np.linalg.norm(scaled[1:], axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_a_run_begins_with_them_and_says_what_they_cover(
    few_notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    plain = memory.build

    def build(spec: Any, task: Any, **more: Any) -> Any:
        given.append(task)
        return plain(spec, task, **more)

    monkeypatch.setattr(memory, "build", build)
    path = binary(tmp_path / "own.bin")
    made = run(few_notes, path)
    tokens = corpus_of(few_notes).vocabulary.tokens
    assert given[0].embeddings.shape == (len(tokens), SIZE)
    line = "word vectors of own.bin: 3 of the 6 words of the vocabulary (50.0 %), 42.5 % of the training tokens"
    assert line in caplog.text
    assert any(notice.startswith(line) for notice in made.data.notices)
    assert made.data.word_vectors == {"vocabulary": 6, "known_words": 3, "tokens": 80, "known_tokens": 34}
    assert made.spec.data.embeddings.startswith("file-")
    assert str(tmp_path) not in (tmp_path / "results" / made.id / store.RECORD).read_text()
    assert {
        cache.KINDS["vectors"].fullmatch(each.name) is not None for each in (cache.cache_root() / "vectors").iterdir()
    } == {True}


@pytest.mark.slow
def test_content_and_not_place_identifies_a_run(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(few_notes, binary(tmp_path / "own.bin"))
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "own.bin").rename(tmp_path / "moved" / "renamed.bin")
    other = planned(few_notes, text(tmp_path / "own.txt"))[0]
    assert other.spec.setting != first.spec.setting, "equal vectors in another format are other content"
    monkeypatch.setattr(runner, "_train_and_store", lambda *_: pytest.fail("it is computed again"))
    assert run(few_notes, moved).id == first.id


def test_a_file_that_changes_after_planning_is_refused(few_notes: Path, tmp_path: Path) -> None:
    path = binary(tmp_path / "own.bin")
    asked, request = planned(few_notes, path)
    cache.clear()
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(DataError, match=r"own\.bin is no longer the one that this run was planned with"):
        runner.execute(asked, request)


def test_a_model_without_word_vectors_leaves_them_out(
    few_notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked, _ = planned(few_notes, binary(tmp_path / "own.bin"), model="lr")
    assert asked.spec.data.embeddings == "word2vec"
    assert "has no effect on lr and is left out" in caplog.text


def hostile(path: Path) -> Path:
    keyed().save(str(path))
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


FAULTS: list[tuple[Callable[[Path], Path], str]] = [
    (lambda path: path, "is not a file (known: random, word2vec)"),
    (hostile, "is a pickle, as gensim's save writes it, which can run code when it is loaded; write it as word2vec"),
    (written(pickle.dumps({"a": 1})), "is a pickle"),
    (written(b""), "is not a file of word vectors"),
    (written(b"fever 1 2 3 4 5 6\nedema 1 2 3 4 5 6\n"), "add one: the number of words, a blank and 6"),
    (written(b"id,text,codes\n1,fever,038.9\n"), "is not a file of word vectors"),
    (written(b"9000000000000 300\nfever 1"), "is damaged: its header announces 9,000,000,000,000 vectors of 300 numbers"),
    (written(b"2 6\nfever 1 2 3 4 5 6\nedema 1 2 3 4 5\n"), "is damaged, or not a file of word vectors"),
    (written(b"2 6\nfever 1 2 3 4 5 6\nedema 1 2 3 4 5 x\n"), "is damaged, or not a file of word vectors"),
    (written(b"1 6\nfever 1 2 3 4 5 nan\n"), "vectors of some words are not finite numbers"),
    (written(b"PK\x03\x04" + b"\0" * 40), "holds arrays without words"),
    (written(gzip.compress(b"1 6\nfever 1 2 3 4 5 6\n")), "is compressed with gzip; call it word2vec.bin.gz"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "said"), FAULTS)
def test_a_fault_is_told_in_a_line(
    write: Callable[[Path], Path], said: str, few_notes: Path, tmp_path: Path, icdbench: Call
) -> None:
    path = write(tmp_path / "word2vec.bin")
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    status, out, err = icdbench(
        "run", "--models", "caml", "--dataset", few_notes, *settings, "--set", f"data.embeddings={path}"
    )
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert said in err


def test_another_width_says_what_to_set(few_notes: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"own\.bin have 6 numbers, and caml\.embedding_size is 8; add --set caml\.embedding_size=6"
    ):
        planned(few_notes, binary(tmp_path / "own.bin"), width=8)


@pytest.mark.parametrize(
    ("value", "said"),
    [("word2vev", "is not a file; did you mean 'word2vec'"), ("file-0123456789abcdef", "give its path")],
)
def test_what_is_neither_a_kind_nor_a_file_is_refused(value: str, said: str, few_notes: Path) -> None:
    with pytest.raises(SpecError, match=said):
        planned(few_notes, value)
