"""Bundles and predictions: what a trained run says of new notes is what its own evaluation said."""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import Call
from corpora import write
from runs import TEXTS, rows, train
from safetensors.numpy import save_file

import icdbench as package
from icdbench import registry
from icdbench.data import datasets
from icdbench.data.cache import clear
from icdbench.data.sources import own_tables
from icdbench.inference import bundle, hub, predict
from icdbench.records import store
from icdbench.settings import DataError, SpecError
from icdbench.spec import Rule
from icdbench.training.score import probabilities

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with notes.csv, results of one run, and its bundle caml.icdbench."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICDBENCH_CACHE", str(folder / "cache"))
        record, _ = train(folder)
        bundle.write(bundle.of_run(record.id, folder / "results"), folder / "caml.icdbench")
    (folder / "note.txt").write_text(TEXTS[0], encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "system", [*registry.entries(), "leam@ngram", "lr@tfidf", "jlan@no-label-softmax", "laat@joint", "duallaat@cnn"]
)
def test_predictions_through_the_bundle_are_those_of_the_runs_own_evaluation(system: str, tmp_path: Path) -> None:
    record, folder = train(tmp_path, system)
    expected = store.load_predictions(folder, record)["test"].scores_NL
    assert len(expected) == len(TEXTS)
    path = tmp_path / "model.icdbench"
    made = bundle.of_run(record.id, tmp_path / "results")
    bundle.write(made, path)
    hub.write(made, record, tmp_path / "hf")
    for model in (package.load(path), package.load(tmp_path / "hf"), package.load(folder)):
        np.testing.assert_array_equal(model.scores(model.encode(TEXTS)), expected)
    model = package.load(path)
    probabilities_NL = probabilities(expected)
    for codes, row in zip(model.predict(TEXTS), probabilities_NL, strict=True):
        assert [code.probability for code in codes] == sorted(row.tolist(), reverse=True)
        assert {code.code: code.probability for code in codes} == dict(zip(model.codes, row.tolist(), strict=True))
        assert all(code.above == (code.probability > record.threshold["tuned"]) for code in codes)
    apart = [reading.codes[0].probability for text in TEXTS for reading in model.stream([text])]
    np.testing.assert_allclose(apart, probabilities_NL.max(1), rtol=1e-5)


def test_the_bundle_needs_nothing_else(trained: Path, tmp_path: Path) -> None:
    """Another process, without cache, data and results, and without the modules that training alone needs."""
    (tmp_path / "model.icdbench").write_bytes((trained / "caml.icdbench").read_bytes())
    code = (
        "import sys, icdbench; "
        "assert 'torch' not in sys.modules; "
        "codes = icdbench.load('model.icdbench').predict(['fever and sepsis'])[0]; "
        "print(codes[0].title, *({'lightning_fabric', 'sklearn', 'pandas', 'gensim', 'optuna'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert shown.stdout.strip() in {"Unspecified septicemia", "Congestive heart failure, unspecified", "Diabetes mellitus without mention of complication, type II or unspecified type, not stated as uncontrolled"}  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["model.icdbench"]


def test_loading_leaves_the_users_random_numbers_alone(trained: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    package.load(trained / "caml.icdbench")
    assert torch.equal(torch.rand(3), expected)


def test_windows_change_nothing(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = package.load(trained / "caml.icdbench")
    expected = model.predict(TEXTS)
    monkeypatch.setattr(predict, "WINDOW", 3)
    found = model.predict(iter(TEXTS))
    for one, other in zip(found, expected, strict=True):
        assert [code.code for code in one] == [code.code for code in other]
        np.testing.assert_allclose([code.probability for code in one], [code.probability for code in other], rtol=1e-6)


def test_streaming_reads_no_further_than_its_window(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "WINDOW", 4)
    taken = []

    def endless() -> Any:
        while True:
            taken.append(1)
            yield "fever"

    stream = package.load(trained / "caml.icdbench").stream(endless())
    assert next(stream).codes
    assert len(taken) == 4


def test_facts_of_a_reading(tmp_path: Path) -> None:
    _, folder = train(tmp_path, "caml", changes={"data.max_tokens": 4})
    model = package.load(folder)
    reading = next(model.stream(["the PATIENT 71 zyzzy went home", "12 500"]))
    assert (reading.tokens, reading.read, reading.unknown) == (5, 4, 1)
    assert [(r.tokens, r.unknown) for r in model.stream(["12 500"])] == [(1, 1)]  # as in training, one unknown word


NO_WORDS = ["12 345", "12 345 6.7", "...", "zyzzy qwrt", "1", "½ – —"]


@pytest.mark.parametrize("text", NO_WORDS)
def test_a_text_without_a_known_word_is_refused_like_an_empty_one(trained: Path, text: str) -> None:
    model = package.load(trained / "caml.icdbench")
    with pytest.raises(DataError, match=r"^text 2: the note has no word that the model knows$"):
        model.predict(["the fever", text])
    with pytest.raises(DataError, match=r"^text 1: the note is empty$"):
        model.predict(["\t\n"])


@pytest.mark.parametrize("rule", get_args(Rule))
def test_by_every_rule_of_words_only_words_count(rule: str, tmp_path: Path) -> None:
    """Where sentences end with a token, that is no word."""
    _, folder = train(tmp_path, "keywords", changes={"data.words": rule})
    model = package.load(folder)
    reading = next(model.stream(["The patient has zyzzy. Plugh was home."]))
    assert (reading.tokens, reading.read, reading.unknown) == (7, 7, 4)
    for text in NO_WORDS:
        with pytest.raises(DataError, match=r"^text 1: the note has no word that the model knows$"):
            model.predict([f"{text}. {text}."])


# --- The command line ----------------------------------------------------------------------------------------------------


def test_predicting_from_files_folders_tables_and_stdin(
    trained: Path, icdbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained / "caml.icdbench"
    first = package.load(model).predict(TEXTS)
    (tmp_path / "a").mkdir()
    for number in (0, 1):
        (tmp_path / "a" / f"{number}.txt").write_text(TEXTS[number], encoding="utf-8-sig")
    made = [{"id": f"n{number}", "note": TEXTS[number]} for number in (2, 3)]
    tables = [write(tmp_path / f"t{suffix}", made) for suffix in (".csv", ".jsonl", ".parquet")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXTS[4].encode())))
    words = ("predict", "a", *tables, "-", "--bundle", model, "--column", "note", "--format")
    status, out, err = icdbench(*words, "jsonl")
    assert (status, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    names = ["a/0.txt", "a/1.txt", *(f"{table}: n{number}" for table in tables for number in (2, 3)), "-"]
    assert [note["note"] for note in found] == names
    for note, number in zip(found, (0, 1, 2, 3, 2, 3, 2, 3, 4), strict=True):
        expected = {code.code: code.probability for code in first[number]}
        assert {code["code"]: code["probability"] for code in note["codes"]} == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXTS[4].encode())))
    plain = list(csv.DictReader(io.StringIO(icdbench(*words, "csv", "--top", 2)[1])))
    assert [row["rank"] for row in plain] == ["1", "2"] * len(names)
    assert float(plain[0]["probability"]) == found[0]["codes"][0]["probability"]


def test_a_table_shows_titles_and_thresholds(trained: Path, icdbench: Call) -> None:
    status, out, err = icdbench("predict", trained / "note.txt", "--bundle", trained / "caml.icdbench")
    assert (status, err) == (0, "")
    assert "Congestive heart failure, unspecified" in out
    fixed = icdbench("predict", trained / "note.txt", "--bundle", trained / "caml.icdbench", "--threshold", "fixed")[1]
    assert fixed.count("above") == sum(
        code.probability > 0.5 for code in package.load(trained / "caml.icdbench").predict(TEXTS[:1])[0]
    )


def test_a_run_is_bundled_and_the_bundle_says_what_it_holds(icdbench: Call, tmp_path: Path) -> None:
    record, _ = train(tmp_path)
    status, out, err = icdbench("bundle", record.id, "--out", "made.icdbench")
    assert status == 0, err
    assert record.id in out
    assert "words of the training notes" in err
    assert (tmp_path / "made.icdbench").stat().st_mode & 0o077 == 0
    (tmp_path / "note.txt").write_text("the patient has a fever", encoding="utf-8")
    by_run, by_file = (
        icdbench("predict", "note.txt", *words) for words in (("--run", record.id), ("--bundle", "made.icdbench"))
    )
    assert by_run == by_file
    assert by_run[0] == 0


def test_words_come_from_the_cache_or_from_the_same_raw_data(icdbench: Call, tmp_path: Path) -> None:
    record, _ = train(tmp_path)
    (tmp_path / "note.txt").write_text("fever", encoding="utf-8")
    words = ("predict", "note.txt", "--run", record.id)
    expected = icdbench(*words)
    (tmp_path / "notes.csv").rename(tmp_path / "moved")
    assert icdbench(*words) == expected
    clear()
    status, _, err = icdbench(*words)
    assert status == 2
    assert "no longer in the cache" in err
    assert "--dataset" in err
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "moved").rename(tmp_path / "elsewhere" / "notes.csv")
    assert icdbench(*words, "--dataset", "elsewhere/notes.csv") == expected
    clear()
    write(tmp_path / "notes.csv", rows()[:-1])
    assert "is not what it was trained on" in icdbench(*words, "--dataset", "notes.csv")[2]


def test_bad_input_is_one_line(trained: Path, icdbench: Call, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "fine.txt").write_text("fever", encoding="utf-8")
    write(tmp_path / "table.csv", [{"id": "1", "texts": "fever"}])
    (tmp_path / "headed.csv").write_text("id,text\n", encoding="utf-8")
    (tmp_path / "nothing.json").write_text("[]", encoding="utf-8")
    model = ("--bundle", trained / "caml.icdbench")
    found = ("--results", trained / "results")
    (run_id,) = (str(path.parent.relative_to(trained / "results")) for path in trained.glob("results/**/record.json"))
    for words, said in (
        (("none", *model), "folder none has no .txt files"),
        (("", *model), "the name of a note is empty"),
        (("headed.csv", *model), "headed.csv has no rows"),
        (("nothing.json", *model), "nothing.json has no rows"),
        (("fin.txt", *model), "fin.txt does not exist; did you mean 'fine.txt'?"),
        (("table.csv", *model), "no column 'text'; did you mean 'texts'?"),
        (("fine.txt", *model, "--format", "jason"), "no format 'jason'; did you mean 'jsonl'?"),
        (("fine.txt", *model, "--threshold", "tune"), "no threshold 'tune'; did you mean 'tuned'?"),
        (("fine.txt", *model, "--device", "gpu"), "no device 'gpu'"),
        (("fine.txt", *model, "--run", run_id), "either --run ID"),
        (("fine.txt", "--run", run_id[:-1], *found), f"did you mean '{run_id}'?"),
        (("fine.txt", "--run", run_id), "no runs in 'results'"),
        (("fine.txt", "--run", ""), "the model has an empty name"),
        (
            ("fine.txt", "--bundle", trained / "results" / run_id / store.WEIGHTS),
            "'icdbench bundle RUN --out FILE' makes",
        ),
        (("fine.txt", "--bundle", "absent"), "absent does not exist"),
        (("fine.txt", "--bundle", "fine.txt"), "fine.txt is damaged"),
    ):
        status, out, err = icdbench("predict", *words)
        assert (status, out) == (2, ""), words
        assert said in err
        assert err.count("\n") == 1


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the note is empty"),
    "blank": (b" \n\t\r\n", "the note is empty"),
    "numbers": (b"12 345 6.7", "the note has no word that the model knows"),
    "unknown": (b"zyzzy qwrt", "the note has no word that the model knows"),
    "latin": (
        "fièvre".encode("latin-1"),
        "line 1 is not UTF-8; the file is probably windows-1252: read it with --encoding",
    ),
}


NO_TEXT = (*(begin for begin, _ in own_tables.OTHERS), b"PK\x03\x04", b"\x1f\x8b")


@pytest.mark.parametrize("begin", NO_TEXT)
@pytest.mark.parametrize("encoding", [(), ("--encoding", "windows-1252")])
def test_a_document_that_is_no_text_is_not_read_as_one(
    trained: Path, icdbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: bytes, encoding: tuple[str]
) -> None:
    content = begin + b" the patient has a fever, sepsis and an edema"
    (tmp_path / "note").write_bytes(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    words = ("predict", "note", "-", "--bundle", trained / "caml.icdbench", *encoding)
    status, out, _ = icdbench(*words, "--format", "jsonl")
    assert status == 1
    for answer in map(json.loads, out.splitlines()):
        assert answer["codes"] == []
        assert answer["problem"].removeprefix("standard input ").startswith("is ")
        assert "--encoding" not in answer["problem"]
    (tmp_path / "note").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert "not UTF-8, and it has NUL bytes" in icdbench("predict", "note", "--bundle", trained / "caml.icdbench")[1]


def answered(out: str, fmt: str) -> dict[str, tuple[int, str]]:
    """How many codes each note has in the output, and its problem."""
    found: dict[str, tuple[int, str]] = {}
    if fmt == "jsonl":
        for note in map(json.loads, out.splitlines()):
            found[note["note"]] = len(note["codes"]), note["problem"]
    elif fmt == "csv":
        for row in csv.DictReader(io.StringIO(out)):
            found[row["note"]] = found.get(row["note"], (0, ""))[0] + bool(row["code"]), row["problem"]
    else:
        for name, block in re.findall(r"^(\S+?\.txt): (.*?)(?=^\S+\.txt: |\Z)", out, re.MULTILINE | re.DOTALL):
            problem = re.search(r"not predicted: (.*)|Little to go by: (.*)\.", block)
            found[name] = len(re.findall(r" [01]\.\d{3} ", block)), (problem[1] or problem[2]) if problem else ""
    return found


@pytest.mark.parametrize("window", [1, 2, 1024])
@pytest.mark.parametrize("fmt", predict.FORMATS)
@pytest.mark.parametrize("kinds", [*([kind] for kind in BAD), list(BAD)], ids="+".join)
def test_a_bad_note_says_why_and_the_others_go_on(
    trained: Path,
    icdbench: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kinds: list[str],
    fmt: str,
    window: int,
) -> None:
    monkeypatch.setattr(predict, "WINDOW", window)
    (tmp_path / "notes").mkdir()
    for place, kind in enumerate(kinds):
        (tmp_path / "notes" / f"{2 * place}-{kind}.txt").write_bytes(BAD[kind][0])
        (tmp_path / "notes" / f"{2 * place + 1}-fine.txt").write_text(TEXTS[place], encoding="utf-8")
    status, out, err = icdbench("predict", "notes", "--bundle", trained / "caml.icdbench", "--format", fmt)
    assert (status, err.count("\n")) == (1, 1)
    assert f"not predicted: {len(kinds)} of {2 * len(kinds)} notes" in err
    found = answered(out, fmt)
    assert list(found) == sorted(found)
    assert len(found) == 2 * len(kinds)
    for name, (codes, problem) in found.items():
        if "fine" in name:
            assert (codes, problem) == (3, "")
        else:
            assert codes == 0
            assert problem.startswith(BAD[name.partition("-")[2].removesuffix(".txt")][1])


@pytest.mark.parametrize("fmt", predict.FORMATS)
def test_a_note_of_mostly_unknown_words_is_marked(trained: Path, icdbench: Call, tmp_path: Path, fmt: str) -> None:
    (tmp_path / "odd.txt").write_text("fever zyzzy qwrt", encoding="utf-8")
    (tmp_path / "half.txt").write_text("fever zyzzy", encoding="utf-8")
    words = ("predict", "odd.txt", "half.txt", "--bundle", trained / "caml.icdbench", "--format", fmt)
    status, out, err = icdbench(*words)
    assert (status, err) == (0, "")
    expected = {"odd.txt": (3, "the model does not know 2 of the 3 words read"), "half.txt": (3, "")}
    assert answered(out, fmt) == expected


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_an_empty_row_of_a_table_says_so_and_the_others_go_on(
    trained: Path, icdbench: Call, tmp_path: Path, suffix: str
) -> None:
    table = write(
        tmp_path / f"t{suffix}", [{"id": "a", "text": "fever"}, {"id": "b", "text": " "}, {"id": "c", "text": "edema"}]
    )
    status, out, err = icdbench("predict", table, "--bundle", trained / "caml.icdbench", "--format", "jsonl")
    assert status == 1
    assert "not predicted: 1 of 3 notes" in err
    problems = {note["note"]: note["problem"] for note in map(json.loads, out.splitlines())}
    assert problems == {f"{table}: a": "", f"{table}: b": "the note is empty", f"{table}: c": ""}


def test_a_table_damaged_from_some_row_on_is_one_bad_note(trained: Path, icdbench: Call, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text\nfever\nfever,edema\nedema\n"insulin\nfever\n', encoding="utf-8")
    (tmp_path / "note.txt").write_text("fever", encoding="utf-8")
    words = ("predict", "t.csv", "note.txt", "--bundle", trained / "caml.icdbench", "--format", "jsonl")
    status, out, err = icdbench(*words)
    assert (status, err) == (1, "icdbench: not predicted: 2 of 5 notes; the reason is printed in the place of each\n")
    first, bad, third, damaged, last = map(json.loads, out.splitlines())
    assert first["codes"]
    assert bad["note"] == "t.csv, line 3"
    assert bad["problem"].startswith("2 fields where the header has 1")
    assert third["codes"]
    assert "broken quoting" in damaged["problem"]
    assert damaged["problem"].endswith("the rest of the table is not read")
    assert last["note"] == "note.txt"
    assert last["codes"]


def test_a_folder_stands_for_its_texts_in_any_case_and_the_rest_is_told(
    trained: Path, icdbench: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notes" / "more.txt").mkdir(parents=True)
    for name in ("a.txt", "B.TXT", "c.Txt"):
        (tmp_path / "notes" / name).write_text("fever", encoding="utf-8")
    words = ("predict", "notes", "--bundle", trained / "caml.icdbench", "--format", "jsonl")
    status, out, _ = icdbench(*words)
    assert status == 0
    assert sorted(json.loads(line)["note"] for line in out.splitlines()) == [
        "notes/B.TXT",
        "notes/a.txt",
        "notes/c.Txt",
    ]
    (tmp_path / "notes" / "Mr Secretname.docx").touch()
    assert icdbench(*words)[1] == out
    assert "folder notes: only .txt files are read; left out: 2 others (.docx, folders)" in caplog.text
    assert "Secretname" not in caplog.text


def test_a_single_text_is_refused(trained: Path) -> None:
    model = package.load(trained / "caml.icdbench")
    with pytest.raises(SpecError, match="a list of texts"):
        model.predict("fever")
    with pytest.raises(DataError, match="text 2: the note is empty"):
        model.predict(["fever", " "])
    with pytest.raises(SpecError, match="no threshold"):
        model.predict(["fever"], threshold="best")
    assert model.predict([]) == []


def test_no_message_holds_words_of_a_note(trained: Path, icdbench: Call, tmp_path: Path) -> None:
    note = "Mrs Secretname has a fever"
    for name, content in (
        ("headless.csv", f'1,"{note}"\n2,"{note}"\n'),
        ("strings.jsonl", f'"{note}"\n'),
        ("lists.jsonl", f'{{"text": ["{note}"]}}\n'),
        ("objects.jsonl", f'{{"{note}": 1}}\n'),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        status, out, err = icdbench("predict", name, "--bundle", trained / "caml.icdbench")
        assert status in {1, 2}  # one row is bad, or the whole file
        assert err.count("\n") == 1
        assert name in (err if status == 2 else out)
        assert "Secretname" not in err + out


def test_the_program_interface_refuses_what_is_no_request(trained: Path) -> None:
    model = package.load(trained / "caml.icdbench")
    for top in (0, -1, 1.5):
        with pytest.raises(SpecError, match=f"top={top}"):
            model.predict(["fever"], top)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="text 2 is no str but NoneType"):
        model.predict(["fever", None])  # type: ignore[list-item]


# --- Damage --------------------------------------------------------------------------------------------------------------


def test_a_damaged_bundle_is_never_used(trained: Path, tmp_path: Path) -> None:
    whole = (trained / "caml.icdbench").read_bytes()
    path = tmp_path / "model.icdbench"
    for place in np.random.default_rng(0).integers(0, len(whole), 60).tolist():
        altered = bytearray(whole)
        altered[place] ^= 0x10
        path.write_bytes(altered)
        with pytest.raises(DataError):
            bundle.read(path)
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="damaged"):
            bundle.read(path)


def test_a_bundle_for_which_there_is_no_room_leaves_nothing(trained: Path, tmp_path: Path) -> None:
    made, limits = bundle.read(trained / "caml.icdbench"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            bundle.write(made, tmp_path / "model.icdbench")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_bundle_of_a_newer_format_or_of_another_model_version_is_refused(trained: Path, tmp_path: Path) -> None:
    made, path = bundle.read(trained / "caml.icdbench"), tmp_path / "model.icdbench"
    save_file({}, path, {"format": "4", "icdbench": "", "sha256": ""})
    with pytest.raises(DataError, match=r"format 4, and this icdbench reads format 3; use a newer"):
        package.load(path)
    for change, said in (
        ({"version": "0"}, "version 0 of model 'caml'"),
        ({"model": "camel"}, "no model 'camel'"),
        ({"config": {"filters": 11}}, "do not fit"),
        ({"config": {"filters": -1}}, "caml.filters"),
        ({"codes": made.contents.codes[1:]}, "damaged"),
    ):
        contents = bundle.Contents.model_construct(**{**dict(made.contents), **change})
        bundle.write(bundle.Bundle(contents, made.weights), path)
        with pytest.raises((DataError, SpecError), match=said):
            package.load(path)


def test_a_run_without_weights_says_so(tmp_path: Path) -> None:
    _, folder = train(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"model\.safetensors is not the file that was stored"):
        package.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(SpecError, match="has no weights"):
        package.load(folder)
    (folder / "record.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SpecError, match=r"record\.json is damaged"):
        package.load(folder)


def test_results_hold_no_words(tmp_path: Path) -> None:
    """What prediction needs beyond weights is kept in the cache, never below results/."""
    train(tmp_path)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file())
    assert b"insulin" not in kept
    assert datasets.source("demo").agreement == ""
