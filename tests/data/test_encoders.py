"""Pretrained encoders and subwords: what a folder must have, how runs know it, and where subwords stand in a text."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import encoders as made
import numpy as np
import pytest
from conftest import Call
from corpora import prepared, same, write
from runs import rows, train

import icdbench.run as runner
from icdbench import registry
from icdbench.data import encode, encoders
from icdbench.data.subwords import Subwords
from icdbench.settings import DataError, SpecError, UnsuitableError
from icdbench.types import PADDING, UNKNOWN, Task

TEXT = "Sepsis, fever \u2013 and heart failure\n\n[PAD] diabetes? Zo\u0065\u0301 went  HOME\ud800."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the small encoder, which a test may spoil."""
    return Path(shutil.copytree(made.folder(), tmp_path / "encoder"))


@pytest.fixture
def subwords() -> Subwords:
    return Subwords((made.folder() / "tokenizer.json").read_text(encoding="utf-8"))


# --- Subwords --------------------------------------------------------------------------------------------------------------


def test_subwords_are_those_of_the_tokeniser_whole_and_without_special_tokens(subwords: Subwords) -> None:
    from tokenizers import Tokenizer

    plain = Tokenizer.from_file(str(made.folder() / "tokenizer.json"))
    plain.no_truncation()
    text = "the patient was admitted with sepsis and fever and went home"
    assert len(plain.encode(text).ids) > 8  # where the file says to cut
    (row,) = subwords.read([text]).rows()
    assert subwords.ids[row].tolist() == plain.encode(text, add_special_tokens=False).ids
    assert [subwords.tokens[number] for number in row] == plain.encode(text, add_special_tokens=False).tokens


def test_the_vocabulary_begins_with_padding_and_the_unknown_token(subwords: Subwords) -> None:
    assert subwords.tokens[: UNKNOWN + 1] == ("<padding>", "<unknown>")
    assert sorted(subwords.ids) == list(range(len(subwords.tokens)))
    (row,) = subwords.read(["[PAD] \u4e00 sepsis"]).rows()
    assert PADDING not in row
    assert row[:2].tolist() == [UNKNOWN, UNKNOWN]


def test_each_subword_stands_where_its_span_says(subwords: Subwords) -> None:
    spans, (row,) = subwords.spans(TEXT), subwords.read([TEXT]).rows()
    assert len(spans) == len(row)
    for (start, end), number in zip(spans, row, strict=True):
        piece = TEXT[start:end]
        assert piece == piece.strip()
        if number > UNKNOWN:
            assert piece.lower().startswith(subwords.tokens[number].removeprefix("##")[:1])
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)


def test_bytes_as_roberta_reads_them() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", made.UNKNOWN]
    tokenizer.train_from_iterator(
        ["heart failure fever"] * 9,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    found = Subwords(tokenizer.to_str())
    assert found.ids[:2].tolist() == [1, 3]
    text = "heart failure, \u4e00 fever"
    spans, (row,) = found.spans(text), found.read([text]).rows()
    assert len(spans) == len(row)
    assert text[slice(*spans[0])].startswith("h")
    assert {text[start:end] for start, end in spans} >= {"heart", "failure", "fever"} | {"\u4e00"}


@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON", '{"model": {"type": "WordPiece"}}'])
def test_what_is_no_tokeniser_is_said_to_be_none(text: str) -> None:
    with pytest.raises(DataError, match="the tokeniser cannot be read"):
        Subwords(text)


# --- A data set of subwords ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.counted
def test_any_model_reads_subwords_which_are_kept_like_words(tmp_path: Path) -> None:
    notes = write(tmp_path / "notes.csv", rows())
    settings: dict[str, Any] = {"tokens": "subwords", "tokenizer": str(made.folder()), "code_system": "icd9cm"}
    corpus = prepared(notes, None, **settings)
    assert corpus.vocabulary.tokens == Subwords(corpus.vocabulary.tokenizer).tokens
    assert same(corpus, prepared(notes, None, **settings))
    assert len(list((tmp_path / "cache" / "encoded").glob("*"))) == 1
    by = encode.reader(corpus.vocabulary, "not-numeric")
    text = next(row["text"] for row in rows() if row["split"] == "test")
    np.testing.assert_array_equal(
        by.read([text]).row(0), corpus.splits["test"].tokens[: corpus.splits["test"].token_offsets[1]]
    )
    assert any(map(len, corpus.descriptions))
    assert prepared(notes, None, **settings, min_documents=9, words="ascii").key == corpus.key  # which words are known
    assert prepared(notes, code_system="icd9cm", min_documents=1).key != corpus.key
    record, _ = train(tmp_path, "caml", changes={f"data.{name}": value for name, value in settings.items()})
    assert record.spec.data.tokenizer.startswith("tokenizer-")
    assert str(made.folder()) not in record.as_json()


def test_subwords_need_a_tokeniser(tmp_path: Path) -> None:
    notes = write(tmp_path / "notes.csv", rows())
    with pytest.raises(SpecError, match=r"data\.tokens=subwords needs data.tokenizer=FOLDER"):
        prepared(notes, tokens="subwords")
    with pytest.raises(SpecError, match="tokenizer='nowhere' is neither a folder"):
        prepared(notes, tokens="subwords", tokenizer="nowhere")
    with pytest.raises(SpecError, match="tokenizer-0123456789abcdef is no longer in the cache"):
        prepared(notes, tokens="subwords", tokenizer="tokenizer-0123456789abcdef")
    with pytest.raises(SpecError, match=r"data\.code_terms=true reads names of codes word by word"):
        prepared(notes, tokens="subwords", tokenizer=str(made.folder()), code_terms=True)


# --- Encoders by content -----------------------------------------------------------------------------------------------------


def test_an_encoder_is_known_by_its_content_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    first = encoders.keep(str(folder), "m")
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(SpecError, match=f"the folder of {first.name} is gone"):
        encoders.named(first.name)
    assert encoders.keep(str(moved), "m") == first == encoders.keep(first.name, "m")
    found = encoders.named(first.name)
    assert found is not None
    assert found.weights == moved
    assert found.config["num_hidden_layers"] == 2
    (moved / "config.json").write_text(json.dumps({**found.config, "layer_norm_eps": 1e-3}))
    with pytest.raises(DataError, match="is no longer the encoder that this run was planned with"):
        encoders.named(first.name)
    other = encoders.keep(str(moved), "m")
    assert other.name != first.name
    assert other.tokenizer == first.tokenizer
    assert [encoders.named("laat"), encoders.named(None), encoders.architecture("laat")] == [None] * 3


def test_what_the_cache_keeps_of_encoders_is_cleared_with_it(icdbench: Call, folder: Path) -> None:
    encoders.keep(str(folder), "m")
    status, out, _ = icdbench("data", "clear")
    assert status == 0
    assert all(f"{kind}/" in out for kind in ("encoders", "tokenizers", "places"))
    with pytest.raises(SpecError, match="is no longer in the cache; repeat the command that trained with it"):
        encoders.architecture("encoder-0123456789abcdef")


# --- What is wrong with a folder -----------------------------------------------------------------------------------------


def config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (lambda place: (place / "config.json").unlink(), "has no config.json; it is not the folder of"),
    "no tokeniser": (
        lambda place: (place / "tokenizer.json").unlink(),
        r"has no tokenizer.json; write it once: python -c",
    ),
    "no weights": (lambda place: (place / "model.safetensors").unlink(), r"has no weights \(model.safetensors\)"),
    "pickled": (
        pickled,
        r"only pickled weights \(pytorch_model.bin\), which can run code .* as safetensors: python -c",
    ),
    "no JSON": (lambda place: (place / "config.json").write_text("{"), "config.json is damaged"),
    "no kind": (lambda place: (place / "config.json").write_text("{}"), r"names no kind of model \(model_type\)"),
    "a decoder": (
        lambda place: config(place, model_type="gpt2"),
        "of kind 'gpt2', is not a bidirectional encoder",
    ),
    "both": (
        lambda place: (place / "config.json").write_text('{"model_type": "t5"}'),
        "of kind 't5', is not a bidirectional encoder",
    ),
    "as a decoder": (lambda place: config(place, is_decoder=True), "of kind 'bert', is not a bidirectional encoder"),
    "unknown": (
        lambda place: config(place, model_type="mine"),
        r"this version of transformers has no encoder of kind 'mine' \(Unrec",
    ),
    "own code": (
        lambda place: config(place, model_type="mine", auto_map={"AutoModel": "mine.Model"}),
        r"no encoder of kind 'mine' \(its own code is not run\)",
    ),
    "another's tokeniser": (
        lambda place: config(place, vocab_size=9),
        "its encoder has 9; they do not belong together",
    ),
    "damaged tokeniser": (lambda place: (place / "tokenizer.json").write_text("{}"), "the tokeniser cannot be read"),
    "binary tokeniser": (lambda place: (place / "tokenizer.json").write_bytes(b"\xff"), "is not UTF-8"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_folder_is_one_line(what: str, folder: Path) -> None:
    spoil, said = WRONG[what]
    spoil(folder)
    with pytest.raises(DataError, match=said) as raised:
        encoders.keep(str(folder), "plm-icd")
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value) or "tokeniser cannot" in str(raised.value)


@pytest.mark.slow
@pytest.mark.counted
def test_damaged_weights_fail_their_run_alone(folder: Path, tmp_path: Path, icdbench: Call) -> None:
    (folder / "model.safetensors").write_bytes(b"nothing")
    write(tmp_path / "notes.csv", rows())
    words = ("run", "--models", "plm-icd,lr", "--dataset", "notes.csv", "--set", f"plm-icd.encoder={folder}")
    status, out, err = icdbench(*words, "--set", "train.max_epochs=1", "--device", "cpu")
    assert status == 1
    assert "| lr" in out
    assert f"the weights in {folder} cannot be read" in err.splitlines()[-1]


def test_weights_of_another_encoder_are_refused(folder: Path) -> None:
    config(folder, num_hidden_layers=3)
    kept = encoders.named(encoders.keep(str(folder), "plm-icd").name)
    assert kept is not None
    assert kept.ids is not None
    with pytest.raises(DataError, match=r"lack 16 of the encoder's, such as encoder\.layer\.2\."):
        registry.build("plm-icd", Task(len(kept.ids), 3, encoder=kept))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("./nowhere", r"encoder='./nowhere' is not a folder; did you mean 'nowhere2'"),
        ("nowhere2/config.json", "encoder='nowhere2/config.json' is a file; give the folder"),
        ("nowhere2/x", "encoder='nowhere2/x' is not a folder"),
        ("a b", "encoder='a b' is not a folder"),
        (
            "roberta-base",
            r"'roberta-base' is not a folder, and could not be fetched .* \(there is no network\); copy the",
        ),
    ],
)
def test_a_name_that_is_no_folder_is_one_line(
    given: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, icdbench: Call
) -> None:
    def fetch(*_: object, **__: object) -> str:
        raise OSError("there is no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    shutil.copytree(made.folder(), tmp_path / "nowhere2")
    status, out, err = icdbench("run", "--models", "plm-icd", "--dataset", "demo", "--set", f"plm-icd.encoder={given}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    with pytest.raises(SpecError, match=said):
        encoders.keep(given, "plm-icd")


def test_a_name_of_the_hub_is_its_copy_on_this_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def fetch(name: str, *, local_files_only: bool, allow_patterns: list[str], **_: object) -> str:
        asked.append((name, local_files_only))
        assert not any(pattern.endswith((".bin", ".py")) for pattern in allow_patterns)
        if local_files_only:
            raise OSError("not here yet")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert encoders.keep("org/name", "m") == encoders.keep(str(folder), "m")
    assert asked == [("org/name", True), ("org/name", False)]


@pytest.mark.parametrize("missing", ["transformers", "tokenizers"])
def test_without_the_extra_the_model_says_so_and_others_run(
    missing: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UnsuitableError, match=rf"plm-icd needs the library {missing}.*pip install 'icdbench\[plm\]'"):
        encoders.keep(str(folder), "plm-icd")
    assert [each.spec.model for each in runner.expand(runner.Request(["lr"], "demo"))] == ["lr"]


def test_a_model_with_an_encoder_reads_no_other_tokens() -> None:
    for key, value in (("data.tokens", "words"), ("data.tokenizer", "tokenizer-0123456789abcdef")):
        asked = {"plm-icd.encoder": str(made.folder()), key: value}
        with pytest.raises(SpecError, match=r"plm-icd reads the subwords of its encoder; leave data\.tokens"):
            runner.expand(runner.Request(["plm-icd"], "demo", changes=asked))
