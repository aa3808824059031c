"""The report: what it says of the records, and how it behaves in a browser (Debian's chromium, which CI must have)."""

from __future__ import annotations

import csv
import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.error import HTTPError

import browsers
import pytest
from browsers import Watched
from conftest import Call
from finished import once
from pages import data_of
from places import ROOT
from playwright.sync_api import Locator, Page, expect
from runs import RECORDS, compared_pair, keep
from waiting import ended

from icdbench.evaluation import bootstrap
from icdbench.evaluation.bootstrap import holm
from icdbench.presentation import report
from icdbench.records import store
from icdbench.records.record import RunRecord
from icdbench.serving import live_report as serve

CHARTS = 5  # of a section: by epoch, by frequency, reliability, thresholds, cost
LIBRARIES, SIZE_OF_A_RUN = 290_000, 6_000  # bytes of a page: scripts and styles, and a run with its figures and history
# Of the committed systems, those of each kind; the tests of their differences grow with the pairs of them.
SHOWN = ("popularity", "lr", "cnn", "caml", "caml@published", "jlan", "jlan-released", "laat")
HOSTILE = "</script><img src=x onerror=alert(1)>{{7*7}}\"'&amp;`\u202e"


def altered(record: RunRecord, **changes: Any) -> RunRecord:
    """The record with some fields, or fields of its spec (spec_seed), replaced."""
    plain = record.model_dump(mode="json")
    for name, value in changes.items():
        target, key = (plain["spec"], name.removeprefix("spec_")) if name.startswith("spec_") else (plain, name)
        target[key] = value
    return RunRecord.model_validate(plain)


def of(*systems: str) -> list[RunRecord]:
    return [record for record in RECORDS if record.spec.system in systems]


class Markup(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all that is on a page only the marks of what cannot be told apart depend on their number."""
    monkeypatch.setattr(bootstrap, "enough", lambda _: 200)


@pytest.fixture
def made(session_folder: Path, few_resamples: None) -> Path:  # noqa: ARG001
    """A folder with the committed runs of SHOWN, and their report."""

    def make(folder: Path) -> None:
        (folder / "results" / "codiesp-d50").mkdir(parents=True)
        for system in SHOWN:
            (folder / "results" / "codiesp-d50" / system).symlink_to(ROOT / "results" / "codiesp-d50" / system)
        report.save(folder / "report.html", [folder / "results"])

    return once(session_folder / "report", make)


@pytest.mark.slow
def test_one_file_that_names_nothing_outside_itself(icdbench: Call, made: Path, tmp_path: Path) -> None:
    assert icdbench("report", "--results", made / "results") == (0, "report.html\n", "")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html == (made / "report.html").read_text(encoding="utf-8")
    assert len(html) - LIBRARIES < SIZE_OF_A_RUN * len(of(*SHOWN))
    assert str(ROOT) not in html
    for tag, attributes in Markup(html).tags:
        assert tag not in {"iframe", "object", "embed", "base"}
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)


@pytest.mark.slow
def test_every_figure_is_the_mean_of_the_runs_it_names() -> None:
    section = report._section(of(*SHOWN), [ROOT / "results"])
    keys = [key for key, _, _ in section.data["keys"]]
    assert {"Calibration", "Conformal sets", "Micro F1 by codes per note"} <= {table.name for table in section.analyses}
    tables = (*section.compared, *section.buckets, *section.analyses, section.times)
    cells = [cell for table in tables for _, row in table.rows for cell in row if cell.key]
    assert len(cells) > 500
    totals = [row[section.times.header.index("training, all seeds") - 1] for _, row in section.times.rows]
    for cell in cells:
        (index,) = cell.systems
        runs = [run for run in section.data["runs"] if run["system"] == index]
        values = [run["figures"][keys.index(cell.key)] for run in runs]
        assert cell.order == pytest.approx(sum(values) if cell in totals else fmean(values), rel=1e-4)
    shown = {cell.text.removesuffix(" ≈") for table in section.compared[:1] for _, row in table.rows for cell in row}
    assert shown >= {"73.8 ± 2.7", "18.5"}  # as in the README's table
    for pair in section.data["pairs"]:
        of_this = [cell for cell in cells if cell.key == pair["key"]]
        collapsed = {cell.systems[0] for cell in of_this if "†" in cell.text}  # whose figures are compared with none
        assert len(collapsed) < 4
        for row, across in enumerate(pair["rows"]):
            for column, text in enumerate(across):
                assert (text == "") == (row == column or bool(collapsed & {row, column}))
                assert text.strip("+−") == pair["rows"][column][row].strip("+−")


def test_a_learning_curve_stands_in_the_section_of_all_training_documents() -> None:
    """Of systems with several fractions, each a point of its documents; other systems have no curve."""
    whole = of("lr", "cnn")
    part = []
    for record in of("lr"):
        data = record.spec.data.model_copy(update={"fraction": 0.5})
        spec = record.spec.model_copy(update={"data": data})
        sizes = record.data.model_copy(update={"documents": {**record.data.documents, "train": 250}})
        part.append(
            record.model_copy(update={"id": spec.id, "spec": spec, "data": sizes, "changed": {"data.fraction": 0.5}})
        )
    sections = [report._section(block, records=[*whole, *part]) for block in (whole, part)]
    points = sections[0].data["fractions"]["map"]
    assert sections[1].data["fractions"] == {}
    number = [system.label for system in sections[0].systems].index("lr")
    assert [(point["system"], point["x"]) for point in points] == [(number, 250), (number, 500)]
    assert points[0]["y"] == pytest.approx(100 * fmean(record.metrics["test"]["tuned"]["map"] for record in of("lr")))


def test_a_figure_that_one_seed_lacks_is_no_mean_of_the_others() -> None:
    one, *others = of("caml")
    test = {**one.metrics["test"], "fixed": {"f1_micro": 0.5}}
    section = report._section([altered(one, metrics={**one.metrics, "test": test}), *others])
    (row,) = [cells for label, cells in section.compared[0].rows if label.text == "caml"]
    filled = {heading for heading, cell in zip(section.compared[0].header[1:], row, strict=True) if cell.text}
    assert "F1 micro" in filled
    assert "P@5" not in filled


def test_runs_that_may_not_share_a_table_are_sections_of_their_own() -> None:
    other = [altered(record, spec_dataset="other", id=f"other/{record.id}") for record in of("lr")]
    changed = [altered(record, spec_fingerprint="00", id=f"changed/{record.id}") for record in of("cnn")]
    html = report.page([*of("caml"), *other, *changed])
    page, data = Markup(html), data_of(html)
    assert sorted([system["label"] for system in each["systems"]] for each in data.values()) == [
        ["caml"],
        ["cnn"],
        ["lr"],
    ]
    assert {attributes["id"] for tag, attributes in page.tags if attributes.get("class") == "dataset"} == data.keys()


@pytest.mark.slow
@pytest.mark.counted
def test_a_section_keeps_its_name_when_runs_are_added() -> None:
    assert data_of(report.page(of("lr"))).keys() == data_of(report.page(RECORDS)).keys()


def test_commands_are_as_few_as_there_are_sets_of_seeds_and_settings() -> None:
    assert report.commands(of("lr", "cnn")) == ["icdbench run --models cnn,lr --dataset codiesp-d50 --seeds 1,2,3"]
    changed = {"cnn.sizes": [3, 5], "data.top_codes": None, "data.drop_overlap": True, "train.monitor": "a b"}
    one = altered(of("cnn")[0], changed=changed, spec_dataset="my notes.csv", spec_seed=7)
    (command,) = report.commands([one])
    settings = "--set cnn.sizes=3,5 --set data.drop_overlap=true --set data.top_codes=none --set 'train.monitor=a b'"
    assert command == f"icdbench run --models cnn --dataset 'my notes.csv' --seeds 7, {settings}"


@pytest.mark.slow
def test_the_command_on_the_page_makes_its_runs(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    made = ("run", "--models", "lr", "--dataset", few_notes.name, "--seeds", "4,", "--set", "lr.C=0.25")
    assert icdbench(*made)[0] == 0
    assert icdbench("report")[0] == 0
    (section,) = data_of((tmp_path / "report.html").read_text("utf-8")).values()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/**/record.json")}
    ((command,),) = [system["commands"] for system in section["systems"]]
    assert icdbench(*shlex.split(command)[1:])[0] == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/**/record.json")} == before
    assert section["runs"][0]["id"] in {str(path.parent.relative_to(tmp_path / "results")) for path in before}


def test_several_folders_and_runs_in_progress(icdbench: Call, tmp_path: Path) -> None:
    keep(of("lr"), tmp_path / "one")
    keep(of("cnn", "lr"), tmp_path / "two")
    state = {"history": [{"monitor": 0.25}, {"monitor": 0.5}], "best": 0.5, "best_epoch": 2}
    store.save_checkpoint(tmp_path / "two/notes.csv/caml/1-abc/checkpoint.safetensors", {}, {"state": state})
    (tmp_path / "one/notes.csv/caml/2-abc").mkdir(parents=True)
    (tmp_path / "one/notes.csv/caml/2-abc/checkpoint.safetensors").write_text("half")
    assert icdbench("report", "--results", "one", "--results", "two")[0] == 0
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    (section,) = data_of(html).values()
    assert [len([run for run in section["runs"] if run["system"] == index]) for index in (0, 1)] == [3, 3]
    assert "<code>notes.csv/caml/1-abc</code> <span>2 epochs done, validation 50.0, best 50.0 in epoch 2</span>" in html
    assert "<code>notes.csv/caml/2-abc</code></li>" in html
    listed = icdbench("runs", "--results", "two", "--wide")[1].splitlines()
    assert [" ".join(line.replace("|", " ").split()) for line in listed if "caml" in line] == [
        "notes.csv/caml/1-abc (unfinished) 2 of 2"
    ]
    assert "notes.csv/caml/2-abc (unfinished)" in icdbench("runs", "--results", "one", "--wide")[1]


BAD = [
    ((), "no finished runs in 'results'; 'icdbench run' makes some"),
    (("--results", "absent"), "--results 'absent' is no folder"),
    (("--out", "absent/report.html"), "there is no folder 'absent'"),
    (("--out", "."), "is a folder; name a file in it, such as 'report.html'"),
    (("--serve", "--out", "page.html"), "leave out --out or --serve"),
    (("--serve", "--port", "70000"), "--port 70000"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) or "no runs" for words, _ in BAD])
def test_what_cannot_be_done_is_one_line(icdbench: Call, words: tuple[str, ...], message: str) -> None:
    status, out, err = icdbench("report", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(Path().glob("*.html"))


# --- in a browser ----------------------------------------------------------------------------------------------------


browser = pytest.fixture(browsers.started, scope="module", name="browser")
watched = pytest.fixture(browsers.watching, name="watched")


@pytest.fixture
def address(made: Path) -> str:
    return (made / "report.html").as_uri()


def opened(watched: Watched, address: str, width: int = 1280, scheme: Any = "light") -> Page:
    """The page, once it has unpacked and drawn its data."""
    page = watched.open(address, width, scheme)
    page.locator("html[data-drawn]").wait_for()
    return page


def main_table(page: Page) -> Locator:
    return page.locator("table.sortable").first


def column(page: Page, heading: str) -> list[float]:
    """A column of the comparison as it stands; what is blank is left out."""
    headings, *rows = main_table(page).evaluate(
        "each => [...each.rows].map(row => [...row.cells].map(cell => cell.innerText))"
    )
    cells = [row[headings.index(heading)].split() for row in rows]
    return [float(cell[0]) for cell in cells if cell]


@pytest.mark.slow
def test_it_renders(watched: Watched, address: str) -> None:
    page = opened(watched, address)
    expect(page.locator("svg.plot")).to_have_count(CHARTS)
    assert page.locator("svg.plot path").count() > 20
    expect(page.locator("h2").first).to_contain_text("codiesp-d50")
    page.evaluate("""document.querySelectorAll("main select").forEach(select => [...select.options].forEach(option => {
        select.value = option.value;
        select.dispatchEvent(new Event("change"));
    }))""")
    expect(page.locator("svg.plot")).to_have_count(CHARTS)
    drawn = """() => {
        const copy = document.querySelector("main").cloneNode(true);
        copy.querySelectorAll("script").forEach(each => each.remove()); // whose packed data may hold any letters
        return copy.innerHTML;
    }"""
    assert "NaN" not in page.evaluate(drawn)
    page.locator("main select").nth(1).select_option("loss")
    page.get_by_text("Values of every run").click()
    expect(page.locator(".tall tr").nth(1)).to_contain_text(f"{of('caml')[0].history[0].loss:#.4g}")
    # Beside the best six and the floor there is one system more; of curves, which `lr` has none of, none.
    expect(page.locator(".legend input:not(:checked)")).to_have_count(CHARTS - 1)
    page.locator(".legend input:visible").last.uncheck()
    expect(page.locator(".legend input:not(:checked)")).to_have_count(2 * CHARTS)
    curves = page.locator(".chart").first
    for name, left_out, grey in (("All", 0, 0), ("None", len(SHOWN) * CHARTS, 6), ("Best", CHARTS - 1, 0)):
        curves.get_by_role("button", name=name, exact=True).click()
        expect(page.locator(".legend input:not(:checked)")).to_have_count(left_out)
        expect(curves.locator("svg.plot [stroke='var(--faint)'] path")).to_have_count(grey)
    frequency = page.locator("[data-chart=buckets] svg.plot [fill='var(--faint)'] circle")
    assert frequency.count() > 2  # of the one that is neither among the best six nor a floor
    page.get_by_label("Find a system").first.fill("CAML@")
    expect(page.locator(".legend").first.locator("label:visible")).to_have_text(["caml@published"])


@pytest.mark.slow
def test_nothing_on_the_page_is_hard_to_reach(watched: Watched, address: str) -> None:
    page = opened(watched, address)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browsers.violations(page) == []
    page.locator("button.figure").first.click()
    assert browsers.violations(page) == []


@pytest.mark.slow
def test_epochs_are_whole_numbers_and_lines_are_named_at_their_ends(watched: Watched, address: str) -> None:
    page = opened(watched, address)
    chart = page.locator("[data-chart=curves]").first
    numbers = [text for text in chart.locator("svg.plot text").all_text_contents() if text[0].isdigit()]
    assert len(numbers) > 5
    assert [text for text in numbers if "." in text] == []
    drawn = chart.locator(".legend label:visible:has(:checked)").all_inner_texts()
    assert sorted(chart.locator(".end-name text").all_text_contents()) == sorted(drawn)


@pytest.mark.slow
def test_every_table_is_saved_and_copied_as_csv(watched: Watched, address: str) -> None:
    page = opened(watched, address)
    with page.expect_download() as saved:
        page.locator("[data-csv=save]").first.click()
    header, *rows = list(csv.reader(saved.value.path().read_text("utf-8").splitlines()))
    assert header[:3] == ["system", "AUC macro", "AUC macro (sd)"]
    assert [float(row[1]) for row in rows if row[1]] == column(page, "AUC macro")
    assert page.locator("main table").count() == page.locator("[data-csv=copy]").count()
    # A second click, before the button has its label back, does not change the label.
    clicked_twice = """async () => {
        const due = [], button = document.querySelector("[data-csv=copy]");
        window.setTimeout = (call) => due.push(call);
        await exportCsv(button);
        await exportCsv(button);
        due.forEach((call) => call());
        return button.textContent;
    }"""
    assert page.evaluate(clicked_twice) == "Copy as CSV"
    assert (
        page.evaluate("csv(make('table', {innerHTML: '<tr><td>=1+2</td><td>−4.1</td><td>a \"b\", c</td></tr>'}))")
        == '\'=1+2,-4.1,"a ""b"", c"\r\n'
    )


@pytest.mark.slow
def test_data_sets_are_found_by_name(watched: Watched, tmp_path: Path) -> None:
    names = ("north.csv", "south.csv", "east.csv", "west.csv")
    own = [altered(of("lr")[0], spec_dataset=name) for name in names]
    keep([record.model_copy(update={"id": record.spec.id}) for record in own], tmp_path / "results")
    report.save(tmp_path / "report.html", [tmp_path / "results"])
    page = opened(watched, (tmp_path / "report.html").as_uri())
    page.get_by_label("Find a data set").fill("TH.csv")
    expect(page.locator("h2:visible")).to_have_text([re.compile("north"), re.compile("south")])
    expect(page.locator("#found")).to_have_text("2 of 4")


@pytest.mark.slow
def test_tables_sort_by_mouse_and_by_keyboard(watched: Watched, address: str) -> None:
    page = opened(watched, address)
    heading = main_table(page).get_by_role("button", name="AUC macro", exact=True)
    before = column(page, "AUC macro")
    heading.click()
    assert column(page, "AUC macro") == sorted(before, reverse=True) != before
    expect(heading.locator("..")).to_have_attribute("aria-sort", "descending")
    heading.press("Enter")
    assert column(page, "AUC macro") == sorted(before)
    expect(heading.locator("..")).to_have_attribute("aria-sort", "ascending")
    expect(main_table(page).locator("[aria-sort]")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert column(page, "AUC micro") == sorted(column(page, "AUC micro"), reverse=True)
    main_table(page).get_by_role("button", name="system").click()
    names = main_table(page).locator("tbody th").all_inner_texts()
    assert names == sorted(names)


@pytest.mark.slow
def test_every_figure_leads_to_its_runs_by_keyboard(watched: Watched, address: str) -> None:
    page = opened(watched, address)
    main_table(page).get_by_role("button", name="train time").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    figure = page.locator(":focus")
    assert figure.inner_text().split()[0] == f"{column(page, 'AUC micro')[1]}"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    system = main_table(page).locator("tbody th").nth(1).inner_text()
    expect(dialog.get_by_role("heading", name=system)).to_be_visible()
    own = of(system)
    for record in own:
        expect(dialog.get_by_role("row").filter(has_text=record.id)).to_contain_text(
            f"{100 * record.metrics['test']['fixed']['auc_micro']:.2f}"
        )
    expect(dialog.locator("code")).to_have_text(report.commands(own))
    expect(dialog).to_contain_text(own[0].commit)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(figure).to_be_focused()
    page.locator("table.pairs:visible button.figure").first.click()
    expect(dialog.get_by_role("table")).to_have_count(2)
    expect(dialog).to_contain_text(
        re.compile(r"95 % from [+−][\d.]+ to [+−][\d.]+, p = [\d.]{5}, [\d.]{5} corrected for \d+")
    )
    dialog.get_by_role("button", name="Close").click()
    page.locator(".highlights .figure").last.click()
    expect(dialog.get_by_role("row").filter(has_text="codiesp-d50/")).to_have_count(len(of(*SHOWN)))


@pytest.mark.slow
def test_every_kind_of_figure_opens(watched: Watched, address: str) -> None:
    page = opened(watched, address)
    texts = page.evaluate(
        """() => Object.keys(Object.values(data)[0].tables).flatMap(table => {
        const dialog = document.getElementById("origin"), area = document.querySelector("[data-table]");
        area.dataset.table = table;
        drawTable(area);
        const found = new Map([...area.querySelectorAll("button.figure")].map(button => [button.dataset.key, button]));
        return [...found.values()].map(button => {
            showOrigin(button);
            const text = dialog.innerText;
            dialog.close();
            return text;
        });
    })"""
    )
    assert len(texts) > 80
    for text in texts:
        assert "icdbench run" in text
        assert not re.search("undefined|NaN|null", text)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(watched: Watched, address: str, scheme: str) -> None:
    page = opened(watched, address, 360, scheme)
    expect(page.locator("svg.plot")).to_have_count(CHARTS)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    fits = "document.scrollingElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    assert page.locator("svg.plot").evaluate_all("all => all.every(each => each.getBoundingClientRect().width <= 360)")
    page.locator("button.figure").first.click()
    assert page.evaluate(fits)
    assert page.get_by_role("dialog").evaluate("each => each.scrollWidth <= each.clientWidth")
    page.set_viewport_size({"width": 800, "height": 800})  # charts are drawn anew
    page.wait_for_function("document.querySelector('svg.plot').getBoundingClientRect().width > 500")


@pytest.mark.slow
@pytest.mark.counted
def test_differences_are_tested_as_compare_tests_them() -> None:
    section = report._section(of("caml", "cnn"), [ROOT / "results"])
    found = compared_pair(ROOT / "results", ("caml", "cnn"), "codiesp-d50")
    labels = [system.label for system in section.systems]
    one, other = labels.index("caml"), labels.index("cnn")
    assert len(section.data["pairs"]) == 8
    for pair in section.data["pairs"]:
        _, rule, key = pair["key"].split()
        if rule == "fixed":
            each = found.differences[key]
            low, high, p, corrected = pair["tests"][f"{min(one, other)} {max(one, other)}"]
            ends = (low, high) if one < other else (-high, -low)
            assert ends == (round(100 * each.low, 1), round(100 * each.high, 1))
            assert (p, corrected) == (round(each.p, 3), round(each.p, 6))
    assert not report._section(of("caml", "cnn")).tested


@pytest.mark.slow
def test_differences_of_several_systems_are_corrected_for_their_pairs() -> None:
    names = ("caml", "cnn", "jlan")
    section = report._section(of(*names), [ROOT / "results"])
    labels = [system.label for system in section.systems]
    pairs = list(itertools.combinations(labels, 2))
    found = [compared_pair(ROOT / "results", pair, "codiesp-d50") for pair in pairs]
    for each in section.data["pairs"]:
        _, rule, key = each["key"].split()
        if rule == "fixed":
            p_values = [pair.differences[key].p for pair in found]
            for (one, other), p, corrected in zip(pairs, p_values, holm(p_values), strict=True):
                at = f"{labels.index(one)} {labels.index(other)}"
                assert each["tests"][at][2:] == (round(p, 3), round(corrected, 6))


@pytest.mark.slow
def test_what_records_hold_is_text(watched: Watched, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "").replace("\u202e", "")  # what a folder may be called
    own = [
        altered(
            record,
            device=HOSTILE,
            commit=HOSTILE,
            created=HOSTILE,
            versions={HOSTILE: HOSTILE},
            collapse={"fixed": HOSTILE},
            spec_dataset=name,
            spec_model=name,
            changed={HOSTILE: HOSTILE},
            spec_config={HOSTILE: [HOSTILE]},
        )
        for record in of("caml", "cnn")
    ]
    keep([record.model_copy(update={"id": record.spec.id}) for record in own], tmp_path / "results")
    report.save(tmp_path / "report.html", [tmp_path / "results"])
    page = opened(watched, (tmp_path / "report.html").as_uri())
    assert page.locator("main img, dialog img").count() == 0
    assert page.locator("script").count() == 9  # data, two packed libraries, these as they run, four of its own
    expect(page.locator("h2").first).to_contain_text(name)
    page.locator("button.figure").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("<img src=x onerror=alert(1)>{{7*7}}")
    assert "\u202e" not in page.locator("body").inner_text()  # it would turn round what follows
    page.keyboard.press("Escape")
    page.locator("svg.plot").first.hover()
    assert page.locator("img").count() == 0
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


# --- while runs are in progress --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_served_page_takes_in_new_records_where_it_stands(watched: Watched, tmp_path: Path) -> None:
    keep(of("lr", "cnn"), tmp_path / "results")
    with serve.serving([tmp_path / "results"], 0) as (url, _):
        assert url.startswith("http://127.0.0.1:")
        page = watched.open(url, offline=False)
        expect(main_table(page).locator("tbody th").last).to_have_text("popularity (floor)")
        page.locator("main select").first.select_option(index=1)
        main_table(page).get_by_role("button", name="system").click()
        page.locator("details").first.evaluate("each => each.open = true")
        page.evaluate("scrollTo(0, 600)")
        expect(main_table(page).locator("tbody th")).to_have_text(["cnn", "lr"])
        keep(of("lr", "cnn", "caml"), tmp_path / "results")
        expect(main_table(page).locator("tbody th")).to_have_text(["caml", "cnn", "lr"])
        assert page.evaluate("scrollY") == 600
        expect(main_table(page).locator("caption")).to_contain_text("All metrics")  # another table is still chosen
        assert page.locator("details").first.evaluate("each => each.open")
        expect(page.locator("#status")).to_contain_text("Updated")
        request = urllib.request.Request(f"{url}version", headers={"Host": "evil.example"})  # noqa: S310
        with pytest.raises(HTTPError, match="403"):
            urllib.request.urlopen(request)  # noqa: S310
        page.close()


@pytest.mark.slow
def test_serving_begins_before_the_first_run_is_finished(watched: Watched, tmp_path: Path) -> None:
    with serve.serving([tmp_path], 0) as (url, _):
        page = watched.open(url, offline=False)
        expect(page.locator("main")).to_contain_text("No run is finished yet")
        keep(of("lr"), tmp_path)
        expect(page.locator("h2")).to_contain_text("codiesp-d50")
        page.close()


def test_a_port_that_is_taken_is_refused(icdbench: Call) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, _, err = icdbench("report", "--serve", "--no-browser", "--port", taken.getsockname()[1])
    assert status == 2
    assert "choose another, or 0 for any free port" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_ends_the_server(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "icdbench", "report", "--serve", "--no-browser", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with (
        subprocess.Popen(
            words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as server,
        ended(server),
    ):
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with urllib.request.urlopen(url) as answer:  # noqa: S310
            assert b"No run is finished yet" in answer.read()
        server.send_signal(signal.SIGINT)
        assert server.communicate() == ("", "icdbench: stopped\n")
    assert server.returncode == 130


def test_a_served_page_has_titles_from_the_folder_of_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "page", lambda *given: str(given[-1]))
    assert serve.Pages([tmp_path], tmp_path / "data").page() == str(tmp_path / "data")
