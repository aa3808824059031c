"""The committed tables are what their commands print from the committed records."""

from __future__ import annotations

import re
import runpy

import pytest
from places import ROOT

from icdbench import registry
from icdbench.evaluation.metrics import evaluate
from icdbench.records import store
from icdbench.records.record import RunRecord
from icdbench.training.score import probabilities

REBUILD = runpy.run_path(str(ROOT / "results" / "rebuild.py"))
RECORDS: list[RunRecord] = REBUILD["records"](*REBUILD["FOLDERS"])


@pytest.mark.slow
@pytest.mark.parametrize("page", REBUILD["PAGES"])
def test_tables_follow_from_the_records(page: str) -> None:
    assert (ROOT / page).read_text(encoding="utf-8") == REBUILD["page"](page)


def test_there_are_results() -> None:
    assert RECORDS
    assert {record.spec.dataset for record in RECORDS} == set(REBUILD["FOLDERS"])
    committed = {f"results/{path.name}" for path in (ROOT / "results").glob("*.md")}
    assert committed == {page for page in REBUILD["PAGES"] if page.startswith("results/")}
    for page in REBUILD["EMBEDDED"]:
        text = (ROOT / page).read_text(encoding="utf-8")
        commands, replaced = re.findall(REBUILD["COMMAND"], text), REBUILD["PRINTED"].findall(text)
        assert replaced, page
        assert {each[:4] for each in replaced} <= set(commands)


@pytest.mark.slow
def test_a_table_on_a_page_is_replaced_whole_and_nothing_else() -> None:
    """A figure changed by hand, in any part of a printed table, is put right again."""
    text = (ROOT / "results" / "codiesp-d50.md").read_text(encoding="utf-8")
    for right, wrong in (("| lr@tfidf ", "| lr@idf "), ("- Sorted by P@5", "- Sorted")):
        assert right in text
        altered = text.replace(right, wrong, 1)
        again = REBUILD["PRINTED"].sub(lambda match: REBUILD["_again"](match, RECORDS, REBUILD["PLACES"]), altered)
        assert again == text


@pytest.mark.slow
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_figures_follow_from_the_predictions(record: RunRecord) -> None:
    for split, predicted in store.load_predictions(REBUILD["folder"](record), record).items():
        again = evaluate(probabilities(predicted.scores_NL), predicted.labels, unseen=predicted.unseen)
        stored = record.metrics[split]["fixed"]
        assert again == pytest.approx({key: stored[key] for key in again}, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_records_are_of_models_and_settings_that_still_exist(record: RunRecord) -> None:
    entry = registry.entry(record.spec.model)
    entry.variant(record.spec.variant)
    entry.config().override(record.spec.config, record.spec.model)
    assert record.signed
