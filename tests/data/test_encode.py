"""From documents to arrays: tokens, vocabulary, labels; the cache that keeps them; word vectors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import codes, prepared, rows, same, words, write
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import encoded

from icdbench import files
from icdbench.data import cache, datasets, encode
from icdbench.data import word_vectors as embeddings
from icdbench.data.cache import CHECKSUMS, KINDS, cache_root, cached
from icdbench.data.source import Raw, Source
from icdbench.data.sources import own
from icdbench.data.tokens import tokenize
from icdbench.data.word_vectors import word_vectors
from icdbench.settings import DataError, SpecError
from icdbench.spec import DataSpec
from icdbench.types import PADDING, SPLITS, Corpus, Document, Encoded, Report, Vocabulary, composed

# --- Encoding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("500 ½ 10² ٣ 三 ", []),
        ("250mg 1st 5µg b12 2x2", ["250mg", "1st", "5µg", "b12", "2x2"]),
        ("admitted on ____ by", ["admitted", "on", "____", "by"]),
        ("NA null NaN None", ["na", "null", "nan", "none"]),
        ("[**Hospital1 18**]", ["hospital1"]),
        ("don't stop-loss 3.5% 1,000", ["don", "t", "stop", "loss"]),
        ("Año ÉTICA straße", ["año", "ética", "straße"]),
        (" \n\t.,;\0", []),
    ],
)
def test_tokens_are_runs_of_word_characters_that_are_no_numbers(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@pytest.mark.slow
@given(st.text())
@settings(deadline=None, max_examples=100)
def test_tokens_by_another_way_of_saying_it(text: str) -> None:
    runs = groupby(composed(text), key=lambda character: character.isalnum() or character == "_")
    found = ["".join(run) for is_word, run in runs if is_word]
    assert tokenize(text) == [word.lower() for word in found if not all(map(str.isnumeric, word))]


@dataclass(frozen=True)
class Stub(Source):
    """A source of given documents; its raw file is this test file."""

    raw: Raw = field(default_factory=lambda: Raw(()))
    titled: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> Sequence[Path]:
        return [Path(__file__)]

    def read(self, _report: Report) -> Raw:
        return self.raw

    def titles(self, _codes: Sequence[str]) -> Mapping[str, str]:
        return self.titled


def notes(*train: tuple[str, str], validation: str = "a", test: str = "a") -> list[Document]:
    made = [Document(f"t{i}", text, tuple(found.split()), "train") for i, (text, found) in enumerate(train)]
    return [*made, Document("v", validation, ("A", "X"), "validation"), Document("e", test, ("X", "B", "Y"), "test")]


def of(made: Sequence[Document], background: Sequence[str] = (), titles: dict[str, str] | None = None, **changes: object) -> Corpus:  # fmt: skip
    data = DataSpec().override({"min_documents": 1, **changes}, "data")
    name = f"stub-{hashlib.sha256(repr((made, background, titles)).encode()).hexdigest()[:8]}"
    return Stub(name, "for tests", data=data, raw=Raw(made, background, {"made": "up"}), titled=titles or {}).corpus()


@pytest.mark.parametrize("background", [(), ("d d", "e")], ids=["no-background", "background"])
def test_what_the_cache_keeps_is_read_back(background: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    def opened() -> Corpus:
        return of(notes(("a b", "A"), ("a c", "B")), background)

    first, again = opened(), opened()
    assert caplog.text == "", "nothing was damaged or built anew"
    assert same(first, again)
    assert len(first.background) == len(background)


def test_a_word_is_known_if_enough_training_documents_have_it() -> None:
    made = notes(("b b b a", "A"), ("a c", "B"), ("a c B", "A"), validation="d d d", test="d d d c")
    corpus = of(made, ["d d"], min_documents=2)
    assert corpus.vocabulary.tokens == ("<padding>", "<unknown>", "a", "b", "c")
    assert words(corpus, corpus.splits["train"], 0) == ["b", "b", "b", "a"]
    assert words(corpus, corpus.splits["test"], 0) == ["<unknown>"] * 3 + ["c"]
    assert of(made, min_documents=3).vocabulary.tokens[2:] == ("a",)
    with pytest.raises(SpecError, match=r"data\.min_documents=4: no token is in that many of the 3 training documents"):
        of(made, min_documents=4)


def test_codes_that_training_never_shows_are_counted_as_missed() -> None:
    corpus = of(notes(("a", "B A"), ("a", "A")))
    assert corpus.vocabulary.codes == ("A", "B")
    assert [codes(corpus, corpus.splits[split], 0) for split in SPLITS] == [["A", "B"], ["A"], ["B"]]
    assert [corpus.splits[split].unseen.tolist() for split in SPLITS] == [[0, 0], [1], [2]]


def test_top_codes_are_the_most_frequent_and_ties_go_to_the_first() -> None:
    made = notes(("a", "C"), ("a", "D B"), ("a", "B A"))
    assert of(made, top_codes=1).vocabulary.codes == ("B",)
    assert of(made, top_codes=2).vocabulary.codes == ("B", "C")
    assert of(made, top_codes=3).vocabulary.codes == ("B", "C", "D")
    top = of(made, top_codes=3)
    assert [top.splits[split].unseen.sum() for split in SPLITS] == [0, 0, 0], "the others are another task"
    assert np.diff(top.splits["train"].code_offsets).tolist() == [1, 2, 1]
    assert np.diff(top.splits["validation"].code_offsets).tolist() == [0]
    with pytest.raises(SpecError, match=r"data\.top_codes=5, but training has only 4 codes; set at most that"):
        of(made, top_codes=5)


def test_a_document_without_tokens_is_one_unknown_word() -> None:
    corpus = of(notes(("a", "A"), (" 500 ...", "A"), test="½"), ["12"])
    assert words(corpus, corpus.splits["train"], 1) == words(corpus, corpus.splits["test"], 0) == ["<unknown>"]
    assert words(corpus, corpus.background, 0) == ["<unknown>"]


def test_titles_are_encoded_with_the_words_of_the_notes() -> None:
    corpus = of(notes(("acute pain", "A B C")), titles={"A": "Acute, pain 2", "C": "rare pain"})
    shown = [[corpus.vocabulary.tokens[token] for token in title] for title in corpus.descriptions]
    assert shown == [["acute", "pain"], [], ["<unknown>", "pain"]]
    facts = {"made": "up", "distinct_words": 2, "background_documents": 0, "codes_without_title": 1}
    assert corpus.facts == facts


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_needs_documents_with_codes_and_ids_of_their_own(split: str) -> None:
    made = notes(("a", "A"))
    with pytest.raises(DataError, match=f"has no {split} documents; training, validation and test each need some"):
        of([document for document in made if document.split != split])
    bare = [replace(document, codes=()) if document.split == split else document for document in made]
    with pytest.raises(DataError, match=f"no {split} document of data set 'stub.*' has a code"):
        of(bare)
    with pytest.raises(DataError, match="id 't0' occurs 2 times"):
        of([*made, replace(made[0], split=split)])
    with pytest.raises(DataError, match="no train documents"):
        of([])


# --- The cache -----------------------------------------------------------------------------------------------------------


def entry(kind: str = "encoded") -> Path:
    (found,) = (cache_root() / kind).iterdir()
    return found


def test_encoded_data_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = datasets.open(str(write(tmp_path / "x.csv", rows(30))))
    first = opened.corpus()
    assert isinstance(first.splits["train"].tokens, np.memmap), "large data stay on disk"
    with monkeypatch.context() as patch:
        patch.setattr(own.Own, "read", lambda *_: pytest.fail("read again"))
        assert same(opened.corpus(), first)
        later = opened.data.override({"max_tokens": 7, "embeddings": "random", "unit_vectors": False}, "data")
        kept = opened.at(tmp_path, later).corpus()
        assert kept.key == first.key, "only later stages read these"
    cut, whole = kept.splits["train"], first.splits["train"]
    np.testing.assert_array_equal(cut.lengths, np.minimum(whole.lengths, 7))
    assert cut.num_codes == len(first.vocabulary.codes)
    monkeypatch.setattr(encode, "VERSION", "next")
    assert opened.corpus().key != first.key


def test_own_content_is_known_by_its_bytes_and_name_not_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    path = write(tmp_path / "a" / "x.csv", rows(30))
    shutil.copy(path, tmp_path / "b")
    monkeypatch.chdir(tmp_path / "a")
    first = prepared("x.csv")
    unchanged = [prepared(name) for name in ("./x.csv", "../b/x.csv", path, tmp_path / "b" / "x.csv")]
    assert {corpus.key for corpus in unchanged} == {first.key}
    assert prepared(path, split_seed=1).key != first.key
    write(path, [*rows(29), {"id": "029", "text": "note 29 ", "codes": "A;B"}])
    assert prepared(path).key != first.key


def test_content_that_changes_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.csv", rows(30))
    opened, whole = datasets.open(str(path)), own.Own.read

    def read(source: own.Own, report: Report) -> Raw:
        raw = whole(source, report)
        write(path, rows(31))
        return raw

    monkeypatch.setattr(own.Own, "read", read)
    with pytest.raises(DataError, match=r"files of data set 'x\.csv' changed while they were read; start again"):
        opened.corpus()
    assert not list(cache_root().glob("encoded/*"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": Path.unlink,
    "nothing known": lambda path: path.write_text("{}"),
    "another type": lambda path: path.write_text("[1]"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["checksums.json", "corpus.json", "train.tokens.npy", "descriptions.offsets.npy"])
def test_a_damaged_cache_is_rebuilt_with_a_warning(
    name: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "x.csv", [{**row, "codes": "R55;K52.9"} for row in rows(30)])
    kept = prepared(path, code_system="icd9cm")
    first = {file.name: file.read_bytes() for file in entry().iterdir()}
    del kept
    DAMAGE[damage](entry() / name)
    rebuilt = prepared(path, code_system="icd9cm")
    assert f"the cache {entry()} is damaged" in caplog.text
    assert {file.name: file.read_bytes() for file in entry().iterdir()} == first
    assert rebuilt.splits["train"].ids
    caplog.clear()
    assert same(prepared(path, code_system="icd9cm"), rebuilt)
    assert not caplog.messages
    assert len(list((cache_root() / "encoded").iterdir())) == 1, "no rubbish is left"


def test_a_cache_of_another_layout_is_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "x.csv", rows(30))
    first = prepared(path)
    content = json.loads((entry() / "corpus.json").read_text())
    (entry() / "corpus.json").write_text(json.dumps({**content, "corpus": {"name": "x"}}))
    (entry() / CHECKSUMS).write_text(json.dumps(cache._checksums(entry())))
    assert same(prepared(path), first)
    assert "is damaged" in caplog.text


def test_the_cache_is_its_owners_alone(tmp_path: Path) -> None:
    prepared(write(tmp_path / "x.csv", rows(30)))
    assert (cache_root() / "encoded").stat().st_mode & 0o077 == 0
    assert entry().stat().st_mode & 0o077 == 0


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.csv", rows(30))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        SpecError, match=r"cache folder '.*/file' cannot be written: .*; name another with ICDBENCH_CACHE"
    ):
        prepared(path)


def test_a_full_disk_leaves_no_half_written_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.csv", rows(30))
    save, times = np.save, iter(range(5))

    def full(*given: Any, **named: Any) -> None:
        if next(times, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(SpecError, match=r"cannot be written: No space left on device; .*ICDBENCH_CACHE"):
            prepared(path)
    assert not list((cache_root() / "encoded").iterdir())
    assert prepared(path).splits["train"].ids


def test_processes_that_prepare_the_same_data_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Threads stand for processes: they meet in the file system only."""
    folder, failures = tmp_path / "kept" / "x", []

    def save(value: str, place: Path) -> None:
        for name in "abcd":
            (place / name).write_text(value)

    def load(place: Path) -> str:
        return "".join((place / name).read_text() for name in "abcd")

    def work(number: int) -> None:
        try:
            for turn in range(20):
                assert cached(folder, lambda: "content", save, load) in ("content", "content" * 4)
                if (turn + number) % 5 == 0:
                    with files.replacing_folder(folder) as fresh:
                        save("content", fresh)
                        (fresh / CHECKSUMS).write_text(json.dumps(cache._checksums(fresh)))
        except Exception as error:  # noqa: BLE001 a thread's failure is the test's
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert cached(folder, lambda: pytest.fail("lost"), save, load) == "content" * 4
    assert [path.name for path in folder.parent.iterdir()] == ["x"]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with files.replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), files.replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError("stop")
    with pytest.raises(KeyboardInterrupt), files.replacing_folder(tmp_path / "folder") as fresh:  # noqa: PT012
        (fresh / "half").write_text("")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [str(found.relative_to(tmp_path)) for found in sorted(tmp_path.rglob("*"))] == ["new", "new/file"]


# --- Word vectors --------------------------------------------------------------------------------------------------------

TRAIN = [(f"alpha beta {'gamma' if i % 2 else 'delta'} omega" * 3, "A B") for i in range(30)]
BACKGROUND = ["gamma delta alpha"] * 20


def vectors(corpus: Corpus, **changes: object) -> np.ndarray[Any, Any]:
    return word_vectors(corpus, DataSpec().override(changes, "data"), 8)


def indexed(train: Encoded, words: int, background: Encoded | None = None) -> Corpus:
    """A corpus of token indices below `words`."""
    nothing = encoded([], [])
    return Corpus(
        name="indexed",
        vocabulary=Vocabulary(tuple(map(str, range(words))), ()),
        splits={"train": train, "validation": nothing, "test": nothing},
        background=background or nothing,
        descriptions=(),
        fingerprint="",
        key="",
        synthetic=True,
        facts={},
    )


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_vectors_have_length_one_and_padding_is_zero() -> None:
    corpus = of(notes(*TRAIN))
    made = vectors(corpus)
    assert made.shape == (len(corpus.vocabulary.tokens), 8)
    assert made.dtype == np.float32
    assert not made[PADDING].any()
    np.testing.assert_allclose(np.linalg.norm(made[1:], axis=1), 1, rtol=1e-5)
    raw = vectors(corpus, unit_vectors=False)
    assert not raw[PADDING].any()
    lengths = np.linalg.norm(raw[2:], axis=1, keepdims=True)
    assert abs(lengths - 1).max() > 0.01
    np.testing.assert_allclose(raw[2:] / lengths, made[2:], rtol=1e-5)


def test_vectors_are_the_same_each_time_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    corpus = of(notes(*TRAIN))
    made = vectors(corpus)
    with monkeypatch.context() as patch:
        patch.setattr("icdbench.data.word_vectors._train", lambda *_: pytest.fail("trained again"))
        np.testing.assert_array_equal(vectors(corpus), made)
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "other"))
    np.testing.assert_array_equal(vectors(corpus), made)


def test_vectors_of_each_seed_are_others_only_if_asked_for() -> None:
    corpus = of(notes(*TRAIN))
    shared, each = DataSpec(min_documents=1), DataSpec(min_documents=1, vectors_per_seed=True)
    first, second = (word_vectors(corpus, each, 8, seed=seed) for seed in (1, 2))
    assert (first[1:] != second[1:]).any(1).all()
    for seed in (1, 2):
        np.testing.assert_array_equal(word_vectors(corpus, shared, 8, seed=seed), first)
    assert embeddings.training(corpus, each, 8, 2)["words"] == embeddings.training(corpus, shared, 8)["words"] > 0
    assert all(KINDS["vectors"].fullmatch(path.name) for path in (cache_root() / "vectors").iterdir())  # `data clear`


@pytest.mark.parametrize("damage", ["a bit flipped", "cut", "deleted"])
def test_damaged_vectors_are_trained_anew_with_a_warning(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    corpus = of(notes(*TRAIN))
    made = vectors(corpus)
    DAMAGE[damage](entry("vectors") / "vectors.npy")
    np.testing.assert_array_equal(vectors(corpus), made)
    assert f"the cache {entry('vectors')} is damaged" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("allowed", "background", "test"), [("train", False, False), ("train+background", True, False), ("all", True, True)]
)
def test_vectors_learn_from_the_allowed_texts_only(allowed: str, background: bool, test: bool) -> None:  # noqa: FBT001
    corpus = of(notes(*TRAIN), BACKGROUND)
    made = vectors(corpus, embedding_corpus=allowed)
    assert np.array_equal(made, vectors(corpus, embedding_corpus="train")) == (allowed == "train"), "kept apart"
    other_texts = vectors(of(notes(*TRAIN), ["omega beta"] * 20), embedding_corpus=allowed)
    assert np.array_equal(made, other_texts) != background
    for split in ("validation", "test"):
        other_notes = vectors(of(notes(*TRAIN, **{split: "gamma alpha " * 50}), BACKGROUND), embedding_corpus=allowed)
        assert np.array_equal(made, other_notes) != test


def test_gensim_is_given_every_word_of_a_long_document() -> None:
    from gensim.models.word2vec import MAX_WORDS_IN_BATCH

    texts = [list(range(1, 25_001)), [], [7], list(range(1, MAX_WORDS_IN_BATCH + 1))]
    names = list(map(str, range(25_001)))
    sentences = [list(map(int, words)) for words in embeddings._Sentences([encoded(texts, [[]] * 4)], names)]
    assert max(map(len, sentences)) <= MAX_WORDS_IN_BATCH, "it reads no further"
    assert [len(sentence) for sentence in sentences] == [10_000, 10_000, 5_000, 1, 10_000]
    assert list(chain(*sentences)) == list(chain(*texts))


def plain_vectors(texts: Sequence[Sequence[int]], words: int, width: int) -> np.ndarray[Any, Any]:
    """Word vectors as they were made when the first results were computed: each word a new string, one worker."""
    from gensim.models import Word2Vec

    sentences = [
        [str(token) for token in text[at : at + 10_000]] for text in texts for at in range(0, len(text), 10_000)
    ]
    model = Word2Vec(sentences, vector_size=width, window=5, min_count=0, epochs=5, sg=0, workers=1, seed=1)
    made = np.random.default_rng(0).standard_normal((words, width)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    for word, position in model.wv.key_to_index.items():
        made[int(word)] = model.wv.vectors[position]
    made /= np.linalg.norm(made, axis=1, keepdims=True) + 1e-12
    made[PADDING] = 0
    return made


def test_vectors_are_to_the_byte_those_of_the_plain_way(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    lengths = [0, 25_000, 1, 10_000, *generator.integers(0, 300, 50)]
    texts = [(1 + generator.zipf(1.5, length) % 699).tolist() for length in lengths]  # many words equally frequent
    train, background = encoded(texts[:40], [[]] * 40), encoded(texts[40:], [[]] * (len(texts) - 40))
    np.save(tmp_path / "tokens.npy", train.tokens)
    mapped = replace(train, tokens=np.load(tmp_path / "tokens.npy", mmap_mode="r"))
    corpus, data = indexed(mapped, 700, background), DataSpec(embedding_corpus="train+background")
    assert len(set(chain(*texts))) < 699, "some words are never seen"
    assert word_vectors(corpus, data, 12).tobytes() == plain_vectors(texts, 700, 12).tobytes()
    facts = embeddings.training(corpus, data, 12)
    assert (facts["words"], facts["epochs"], facts["workers"]) == (sum(lengths), 5, 1)


def test_vectors_that_were_kept_without_a_note_of_their_training_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = of(notes(*TRAIN))
    made = vectors(corpus)
    (entry("vectors") / "training.json").unlink()
    (entry("vectors") / CHECKSUMS).write_text(json.dumps(cache._checksums(entry("vectors"))))
    monkeypatch.setattr("icdbench.data.word_vectors._train", lambda *_: pytest.fail("trained again"))
    np.testing.assert_array_equal(vectors(corpus), made)
    assert embeddings.training(corpus, DataSpec(), 8) == {}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_many_words_are_read_by_a_worker_per_core(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are about one of ten subjects, each with ten words of its own: those should end up side by side."""
    monkeypatch.setattr(embeddings, "REPEATABLE", 100_000)
    monkeypatch.setattr(embeddings, "cores", lambda: workers)
    generator = np.random.default_rng(2)
    texts = [(2 + 10 * (document % 10) + generator.integers(0, 10, 200)).tolist() for document in range(1_000)]
    corpus = indexed(encoded(texts, [[]] * len(texts)), 102)
    made = word_vectors(corpus, DataSpec(), 16)
    assert embeddings.training(corpus, DataSpec(), 16)["workers"] == workers
    assert made.shape == (102, 16)
    assert np.isfinite(made).all()
    alike = made[2:] @ made[2:].T - 2 * np.eye(100)
    assert (alike.argmax(axis=1) // 10 == np.arange(100) // 10).all()
    few = indexed(encoded(texts[:500], [[]] * 500), 102)
    word_vectors(few, DataSpec(), 8)
    assert embeddings.training(few, DataSpec(), 8)["workers"] == 1, "100,000 words are still few"


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_of_word_vectors_ends_at_the_total(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "STEP", 1_000)
    monkeypatch.setattr(embeddings, "REPEATABLE", 10_000 if workers == 1 else 0)
    monkeypatch.setattr(embeddings, "cores", lambda: workers)
    corpus = indexed(encoded([[2, 3] * 150] * 10, [[]] * 10), 4)
    heard: list[tuple[str, int, int]] = []
    word_vectors(corpus, DataSpec(), 4, lambda *said: heard.append(said))
    assert {(what, total) for what, _, total in heard} == {("word vectors", 15_000)}
    done = [done for _, done, _ in heard]
    assert (done[0], done[-1]) == (0, 15_000)
    steps = np.diff(done)
    assert abs(steps - 1_000).max() < 300, "a step, give or take a document"
    word_vectors(corpus, DataSpec(), 4, lambda *_: pytest.fail("nothing was trained"))


def test_only_the_vectors_are_written_and_only_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts may be protected: no copy of them is to be found on the disk, whenever training stops."""
    monkeypatch.setattr(embeddings, "STEP", 1_000)
    corpus, folder = of(notes(*TRAIN * 10)), cache_root() / "vectors"
    seen = []
    word_vectors(corpus, DataSpec(), 8, lambda *_: seen.append(written(folder)))
    assert len(seen) > 5
    assert not any(seen)
    assert written(folder) == [CHECKSUMS, "training.json", "vectors.npy"]
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("stop", [RuntimeError("stop"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("when", [0, 2_000], ids=["before it", "in it"])
def test_training_ends_where_its_progress_cannot_be_told(
    stop: BaseException, when: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried in a thread, since gensim waits for ever for one of its own that fails."""
    monkeypatch.setattr(embeddings, "STEP", 1_000)
    corpus, raised, heard = of(notes(*TRAIN * 10)), [], []

    def report(_: str, done: int, total: int) -> None:
        heard.append(done)
        if when <= done < total:
            raise stop

    def train() -> None:
        try:
            word_vectors(corpus, DataSpec(), 8, report)
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert raised == [stop]
    assert sum(done >= when for done in heard) == 1, "and at once"
    assert not written(cache_root() / "vectors")
    assert word_vectors(corpus, DataSpec(), 8).shape == (len(corpus.vocabulary.tokens), 8), "and can start again"
