"""The committed tables are what their commands print from the committed records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from icdbench import catalog, cli, registry, store, tables, train
from icdbench.metrics import evaluate
from icdbench.types import RunRecord

ROOT = Path(__file__).parent.parent
COMMAND = re.compile(r"^    icdbench run --models (\S+) --dataset (\S+) --seeds (\S+)$", re.MULTILINE)
PAGES = [
    path for path in (*ROOT.glob("results/*.md"), ROOT / "docs" / "jlan.md") if COMMAND.search(path.read_text("utf-8"))
]
DATA_SETS = {path.stem for path in (ROOT / "results").glob("*.md")}  # a newcomer's own runs may lie beside them
RECORDS = [record for record in store.load_records(ROOT / "results") if record.spec.dataset in DATA_SETS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_follow_from_the_records(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for models, dataset, seeds in COMMAND.findall(text):
        assert tables.comparison(_asked(models, dataset, seeds)) in text


def _asked(models: str, dataset: str, seeds: str) -> list[RunRecord]:
    """The committed records that a command on a page asks for."""
    systems, numbers = models.split(","), cli._seeds(seeds)
    asked = [
        record
        for record in RECORDS
        if record.spec.dataset == dataset and record.spec.system in systems and record.spec.seed in numbers
    ]
    assert len(asked) == len(systems) * len(numbers)
    return asked


def test_the_table_of_the_readme_follows_from_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    ((models, dataset, seeds),) = COMMAND.findall(text)
    rows = [line for line in tables.comparison(_asked(models, dataset, seeds)).splitlines() if line.startswith("|")]
    assert "\n".join(rows) in text


def test_the_papers_table_follows_from_the_records() -> None:
    written = (ROOT / "results" / "table5.md").read_text(encoding="utf-8")
    assert written == tables.table(catalog.benchmark("table5"), RECORDS)


def test_there_are_results() -> None:
    assert {page.name for page in PAGES} == {"codiesp-d50.md", "jlan.md"}
    assert RECORDS


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_figures_follow_from_the_predictions(record: RunRecord) -> None:
    folder = ROOT / "results" / record.id
    for split, predicted in store.load_predictions(folder).items():
        again = evaluate(train.probabilities(predicted.scores_NL), predicted.labels, unseen=predicted.unseen)
        stored = record.metrics[split]["fixed"]
        assert again == pytest.approx({key: stored[key] for key in again}, abs=1e-12)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_records_are_of_models_and_settings_that_still_exist(record: RunRecord) -> None:
    entry = registry.entry(record.spec.model)
    entry.variant(record.spec.variant)
    entry.config().override(record.spec.config, record.spec.model)
    assert store.folder(Path(), record.spec) == Path(record.id)
