"""The codes and documents of the report: their figures, and that ids are on no page but that which is asked for them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import browsers
import numpy as np
import pytest
from browsers import Watched
from conftest import Call
from finished import write_notes
from pages import data_of
from places import ROOT
from playwright.sync_api import expect
from runs import RECORDS

from icdbench.evaluation import measure, metrics
from icdbench.presentation import report
from icdbench.records import store

IDS = {str(number) for number in range(30, 40)}  # of the test documents that `finished` makes

browser = pytest.fixture(browsers.started, scope="module", name="browser")
watched = pytest.fixture(browsers.watching, name="watched")
pytestmark = [pytest.mark.slow, pytest.mark.counted]


def test_every_code_has_the_counts_of_each_run_and_what_it_is_confused_with() -> None:
    runs = [record for record in RECORDS if record.spec.system == "caml"]
    codes = report._section(runs, [ROOT / "results"]).data["codes"]
    assert codes["others"] == 0
    assert "Fever, unspecified" in codes["titles"]
    (system,) = codes["systems"]
    confused = np.zeros((50, 50), int)
    for number, run in enumerate(runs):
        folder = ROOT / "results" / run.id
        label_set, test = store.load_label_set(folder, run), store.load_predictions(folder, run)["test"]
        order = np.argsort(label_set.codes)
        given = measure.scored(test)
        predicted_NL = given.scores_NL > run.threshold["tuned"]
        tp_L, guesses_L, gold_L = metrics.code_counts(given, predicted_NL)
        assert codes["names"] == [label_set.codes[code] for code in order]
        assert (codes["train"], codes["gold"]) == (label_set.train_counts[order].tolist(), gold_L[order].tolist())
        assert system["tp"][number] == tp_L[order].tolist()
        assert system["predicted"][number] == guesses_L[order].tolist()
        gold_NL = test.labels.toarray() > 0
        confused += np.array(
            [
                [
                    np.count_nonzero((gold_NL & ~predicted_NL)[:, one] & (predicted_NL & ~gold_NL)[:, other])
                    for other in order
                ]
                for one in order
            ]
        )
    for one, found in enumerate(system["instead"]):
        assert found[1::2] == [count for count in sorted(confused[one], reverse=True)[:3] if count >= 2 * len(runs)]
        assert [confused[one, other] for other in found[::2]] == found[1::2]
    for other, found in enumerate(system["mistaken"]):
        assert [confused[one, other] for one in found[::2]] == found[1::2]
    assert any(system["instead"])


def test_document_ids_are_on_the_page_only_if_asked_for(icdbench: Call, finished: Path) -> None:
    pages = []
    for words in ((), ("--document-ids",)):
        assert icdbench("report", *words) == (0, "report.html\n", "")
        pages.append((finished / "report.html").read_text(encoding="utf-8"))
    said = "This page holds document ids"
    assert [said in html for html in pages] == [False, True]
    plain, full = ([section["documents"] for section in data_of(html).values()] for html in pages)
    assert plain == [{}]
    (documents,) = full
    assert set(documents["ids"]) == IDS
    label = next(iter(data_of(pages[1]).values()))["systems"]
    lr = documents["systems"][[each["label"] for each in label].index("lr")]
    gold = {str(number): ["038.9", "428.0", "250.00"][number % 3] for number in range(30, 40)}
    for name, missed, jaccard in zip(documents["ids"], lr["missed"], lr["jaccard"], strict=True):
        assert {documents["names"][code] for code in missed[::2]} <= {gold[name]}
        assert (jaccard == 1) <= (not missed)


def test_ids_of_other_data_are_on_no_page(icdbench: Call, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICDBENCH_CACHE", str(finished / "empty"))
    write_notes(finished / "notes.csv", "0250")
    status, out, err = icdbench("report", "--document-ids")
    assert (status, out) == (2, "")
    assert "not those that the runs were made on" in err
    (finished / "notes.csv").unlink()
    status, out, err = icdbench("report", "--document-ids")
    assert (status, out) == (2, "")
    assert "notes.csv" in err
    assert err.count("\n") == 1
    assert not (finished / "report.html").exists()
    assert "leave out --document-ids or --serve" in icdbench("report", "--serve", "--document-ids")[2]


def test_a_code_is_told_of_on_a_page_without_ids(icdbench: Call, finished: Path, watched: Watched) -> None:
    assert icdbench("report")[0] == 0
    page = watched.open((finished / "report.html").as_uri())
    page.locator("html[data-drawn]").wait_for()
    page.locator("[data-chart=codes]").get_by_role("button", name="250.00").click()
    expect(page.get_by_role("dialog")).to_contain_text("3 test documents")


def test_codes_and_documents_in_a_browser(icdbench: Call, finished: Path, watched: Watched) -> None:
    assert icdbench("report", "--document-ids")[0] == 0
    page = watched.open((finished / "report.html").as_uri())
    page.locator("html[data-drawn]").wait_for()
    codes, documents = page.locator("[data-chart=codes]"), page.locator("[data-chart=documents]")
    expect(codes.locator("tbody th")).to_have_count(3)
    page.get_by_label("Find a code").fill("heart failure")
    expect(codes.locator("tbody tr:visible")).to_have_count(1)
    page.locator("[id$=-code-system]").select_option(label="lr")
    expect(codes.locator("tbody th:visible")).to_have_text("428.0")
    page.get_by_label("Find a code").fill("")
    page.get_by_label("Find a document").fill("428.0")
    assert set(documents.locator("tbody th:visible").all_inner_texts()) <= IDS
    rows = list(csv.reader(io.StringIO(page.evaluate("csv(document.querySelector('[data-chart=codes] table'))"))))
    assert rows[0][:5] == ["code", "title", "training documents", "test documents", "predicted"]
    assert sorted(row[0] for row in rows[1:]) == ["038.9", "250.00", "428.0"]
    codes.get_by_role("button", name="250.00").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", level=2)).to_have_text("250.00")
    expect(dialog).to_contain_text("3 test documents")
    expect(dialog.get_by_role("table").last.locator("tbody tr")).to_have_count(
        page.locator("[id$=-code-system] option").count()
    )
    assert browsers.violations(page) == []
    page.keyboard.press("Escape")
    assert browsers.violations(page) == []
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")  # at 390 px
