"""A user's own names of codes: what is read, what is refused in one line, and who reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Call
from corpora import prepared

import icdbench.run as runner
from icdbench.data import cache, code_files
from icdbench.inference import bundle
from icdbench.nn.label_texts import synonyms_of
from icdbench.records import RunRecord
from icdbench.run import Request
from icdbench.settings import DataError, SpecError

OWN: dict[str, Any] = {"code_system": "icd9cm", "min_documents": 1, "code_terms": True}
SMALL: dict[str, Any] = {"hidden_size": 4, "attention_size": 4, "synonyms": 3, "embedding_size": 8}
TEXT = "code,synonym\n4280,Failing pump\n038.9,Blood poisoning\n4280,Failing pump\n428.0,CCF\n"
TRAINING: dict[str, Any] = {
    "data.min_documents": 1,
    "data.code_system": "icd9cm",
    "data.embeddings": "random",
    "train.max_epochs": 1,
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "synonyms.csv"
    path.write_text(TEXT, encoding="utf-8")
    return path


def run(notes: Path, path: Path | str, model: str = "msmn", **sizes: Any) -> RunRecord:
    changes: dict[str, Any] = {**TRAINING, "data.synonyms": str(path), **{f"{model}.{k}": v for k, v in sizes.items()}}
    request = Request([model], str(notes), changes=changes, results=notes.parent / "results", device="cpu")
    return runner.execute(runner.expand(request)[0], request)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "SYNONYM;x;Code\nFailing pump;1;4280\nBlood poisoning;;038.9\nCCF;;428.0\n",
        '\ufeffcode\tsynonym\r\n4280\t"Failing pump"\r\n\r\n038.9\tBlood poisoning\r\n428.0\tCCF',
    ],
)
def test_names_stand_after_titles(text: str, own: Path, notes: Path) -> None:
    own.write_text(text, encoding="utf-8", newline="")
    corpus = prepared(notes, **OWN, synonyms=str(own))
    words = corpus.vocabulary.tokens
    first = synonyms_of(corpus.splits["train"], 3, 9)[corpus.vocabulary.codes.index("428.0")].tolist()
    texts = [" ".join(words[token] for token in row if token) for row in first]
    assert texts[0].startswith("congestive heart failure")
    assert texts[1:] == ["failing pump", "ccf"]
    assert prepared(notes, **OWN, synonyms=str(own)).key == corpus.key != prepared(notes, **OWN).key


def test_codes_that_cannot_be_predicted_are_counted(own: Path, notes: Path) -> None:
    own.write_text(TEXT + "401.9,High pressure\n")
    told = "data.synonyms: 1 of its 4 codes are ignored, as they cannot be predicted"
    assert told in prepared(notes, **OWN, synonyms=str(own)).notices


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ", line 1: no column 'code' and no column 'synonym'; expected a header with code and synonym"),
        ("428.0,CCF\n", ", line 1: no column 'code' and no column 'synonym'"),
        ("code,title\n428.0,CCF\n", ", line 1: no column 'synonym'; expected a header with code and synonym, then"),
        ("code,synonym\n", " has no synonyms; give a code and a synonym a line"),
        ("code,synonym\n428.0\n", ", line 2: '' is not a synonym; a synonym has 1 to 500 characters"),
        (f"code,synonym\n428.0,{'of ' * 200}\n", ", line 2: a text of 599 characters is not a synonym"),
        ("code,synonym\n,CCF\n", ", line 2: '' is not a code; a code has 1 to 100 characters"),
        ('code,synonym\n428.0,"a"b\n', ", line 2: ',' expected after"),
        ("code,synonym\n428.0,\udcff\n", " is not UTF-8 (byte 19)"),
        (
            "PK\x03\x04\udcff",
            " is an archive or a spreadsheet, not a text file; save it as 'CSV UTF-8' and name that file",
        ),
    ],
)
def test_what_is_no_list_of_synonyms_is_refused_in_one_line(text: str, said: str, own: Path, notes: Path) -> None:
    own.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as error:
        prepared(notes, **OWN, synonyms=str(own))
    assert str(error.value).startswith(f"{own}{said}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_of_other_codes_is_told_in_one_line(own: Path, notes: Path) -> None:
    with pytest.raises(SpecError, match=r"^data\.synonyms='nowhere\.csv' is not a file; give a CSV file with columns"):
        prepared(notes, **OWN, synonyms="nowhere.csv")
    own.write_text("code,synonym\nI10,Hypertension\nR60,Edema\n")
    said = (
        r"none of its 2 codes, such as 'I10', is among the 3 codes that can be predicted, such as '0250'; give synonyms"
    )
    with pytest.raises(DataError, match=said):
        prepared(notes, **OWN, synonyms=str(own))
    with pytest.raises(
        SpecError, match=r"synonyms-0123456789abcdef is no longer in the cache; name the file of synonyms"
    ):
        prepared(notes, **OWN, synonyms="synonyms-0123456789abcdef")


def test_models_that_read_no_names_leave_them_out(own: Path, notes: Path, caplog: pytest.LogCaptureFixture) -> None:
    changes = {"data.synonyms": str(own), "data.min_documents": 1}
    (planned,) = runner.expand(Request(["lr"], str(notes), changes=changes, results=notes.parent / "results"))
    assert planned.spec.data.synonyms == ""
    assert f"--set data.synonyms={own} has no effect on lr" in caplog.text


@pytest.mark.slow
def test_a_run_knows_them_by_content_and_needs_the_file_no_more(
    own: Path, notes: Path, icdbench: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = run(notes, own, **SMALL)
    assert code_files.BY_CONTENT.fullmatch(record.spec.data.synonyms)
    assert str(own) not in record.as_json()
    moved = own.rename(own.with_name("moved.csv"))
    with monkeypatch.context() as patched:
        patched.setattr(runner, "_train_and_store", lambda *_: pytest.fail("it is computed again"))
        assert run(notes, moved, **SMALL).id == record.id
    made = bundle.of_run(record.id, notes.parent / "results")
    bundle.write(made, notes.parent / "made.icdbench")
    moved.unlink()
    cache.clear()
    read = bundle.read(notes.parent / "made.icdbench")
    model = bundle.model(read, torch.device("cpu"))
    words, tokens_LKW = made.contents.tokens, model.get_buffer("title_tokens_LKW")  # type: ignore[union-attr]
    named = {" ".join(words[token] for token in row if token) for row in tokens_LKW.flatten(0, 1).tolist()}
    assert {"failing pump", "blood poisoning", "ccf"} <= named
    (notes.parent / "note.txt").write_text("failing pump")
    status, out, err = icdbench("predict", "note.txt", "--run", "made.icdbench")
    assert status == 0, err
    assert "428.0" in out


@pytest.mark.slow
@pytest.mark.parametrize("model", ["phrases@titles", "stacked@titles"])
def test_other_models_of_names_read_them_too(model: str, own: Path, notes: Path) -> None:
    base = model.partition("@")[0]
    changes = {"data.min_documents": 1, "data.code_system": "icd9cm", "data.synonyms": str(own)}
    request = Request([model], str(notes), changes=changes, results=notes.parent / "results", device="cpu")
    planned = runner.expand(request)[0]
    assert planned.spec.model == base
    assert planned.spec.data.synonyms
    runner.execute(planned, request)
