"""Published cells against the paper's own text; own figures against arithmetic done here; nothing mixed that must not be."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call
from places import PAPER, ROOT
from runs import printed_table, record

from icdbench.presentation import catalog, headings, reported, tables
from icdbench.records.record import RunRecord, Timing
from icdbench.settings import SpecError
from icdbench.spec import Benchmark

FORMATS = ("md", "latex", "csv", "html")


def rows(text: str) -> list[dict[str, str]]:
    """The rows of csv output."""
    return list(csv.DictReader(io.StringIO(text)))


def compared(*records: RunRecord) -> dict[str, dict[str, str]]:
    """`comparison` as csv: one row per system."""
    return {row["system"]: row for row in rows(tables.comparison(records, "csv"))}


def pipe_cells(text: str) -> list[list[str]]:
    """The cells of every line of Markdown tables, escaped pipes left alone."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


class Page(HTMLParser):
    """The cells, tags and text of an HTML page; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.strip()


@pytest.mark.parametrize(
    ("name", "label", "cells"),
    [
        ("table5", "JLAN", "92.6 94.1 66.5 69.7 66.8 63.8"),
        ("table5", "BiGRU", "82.8 86.8 48.4 54.9 59.1 –"),
        ("table5", "MSATT-KG", "91.4 93.6 63.8 68.4 64.4 -"),
        ("table6", "JLAN", "91.8 98.8 9.7 56.7 57.9 74.1"),
        ("table6", "LR", "56.1 93.7 1.1 27.2 – 54.2"),
    ],
)
def test_published_anchors(name: str, label: str, cells: str) -> None:
    assert catalog.chosen(name)[0].published[label][1] == tuple(cells.split())


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text lies outside the repository")
@pytest.mark.parametrize(("name", "start", "number"), [("table5", "Table 5 The", 8), ("table6", "Table 6 The", 8)])
def test_published_cells_are_the_papers_in_its_order(name: str, start: str, number: int) -> None:
    lines = PAPER.read_text(encoding="utf-8").partition(f"\n{start}")[2].splitlines()[:22]
    figures = [line.split() for line in lines if re.fullmatch(r"\S+( \d+\.\d| –| -){5,6}", line)]
    assert len(figures) == number
    for row in figures:
        if len(row) == 6:  # BiGRU in table 6: one precision, which is P@8's
            row.insert(5, "")
    published = catalog.chosen(name)[0].published
    assert [[label, *cells] for label, (_, cells) in published.items()] == figures
    shown = [row for row in rows(printed_table(catalog.chosen(name)[0], [], "csv")) if row["figures"] == "published"]
    headings = [heading for heading, _ in catalog.chosen(name)[0].metrics]
    assert [[row["system"], *(row[heading] for heading in headings)] for row in shown] == figures


def test_columns_stand_in_the_papers_order() -> None:
    common = ["AUC macro", "AUC micro", "F1 macro", "F1 micro"]
    assert [heading for heading, _ in catalog.chosen("table5")[0].metrics] == [*common, "P@5", "R@5"]
    assert [heading for heading, _ in catalog.chosen("table6")[0].metrics] == [*common, "P@15", "P@8"]
    assert catalog.chosen("table6")[0].published["BiGRU"][1][4:] == ("", "58.5")


@pytest.mark.parametrize("name", sorted(catalog.benchmarks()))
def test_benchmark_is_complete(name: str) -> None:
    benchmark = catalog.chosen(name)[0]
    catalog._check(benchmark)
    figures = [cells for _, cells in benchmark.published.values()]
    printed = name.startswith("table")
    assert benchmark.name == name
    over_data = benchmark.plot == "ranks"
    assert figures or over_data
    assert {len(cells) for cells in figures} <= {len(benchmark.metrics) if catalog.has_figures(benchmark) else 0}
    assert catalog.has_figures(benchmark) or not printed
    assert benchmark.source
    if not (benchmark.statistics or over_data):
        text = printed_table(benchmark, [])
        assert "harmonic, 2PR/(P+R) of macro-averaged P and R, not the mean of per-code F1" in text
        assert "Threshold: fixed at 0.5" in text
        assert "L = " in benchmark.caption or not printed


def test_every_published_row_names_a_model() -> None:
    models = {system for each in catalog.benchmarks().values() for system in each.systems}
    expected = {"lr", "cnn", "bigru", "leam", "caml", "dr-caml", "msatt-kg", "multirescnn", "jlan"}
    assert models >= expected
    assert [model for model, _ in catalog.chosen("table5")[0].published.values()][-1] == "jlan"


def test_mean_and_sample_deviation_over_seeds() -> None:
    row = compared(record(seed=1, value=0.60), record(seed=2, value=0.62), record(seed=3, value=0.67))["jlan"]
    assert (row["F1 micro"], row["F1 micro sd"]) == ("63.0", "3.6")  # sqrt((9 + 1 + 16) / 2), not / 3
    assert (row["F1 micro tuned"], row["seeds"]) == ("64.0", "3")
    assert (row["epochs"], row["train time"]) == ("2.0", "1.5 min")


def test_seeds_are_listed_as_numbers() -> None:
    assert "(seeds 2, 10)" in tables.comparison([record(seed=10), record(seed=2)])


def test_effort_is_a_mean_over_runs_and_blank_without_epochs() -> None:
    slow = record(seed=2).model_copy(update={"timing": Timing(prepare=1.0, train=7110.0, predict=1.0)})
    plain = record("lr").model_copy(update={"history": []})
    found = compared(record(), slow, plain)
    assert (found["jlan"]["train time"], found["lr"]["train time"]) == ("1.0 h", "1.5 min")
    assert (found["jlan"]["epochs"], found["lr"]["epochs"]) == ("2.0", "")


def test_settings_of_one_model_are_in_order_of_their_labels() -> None:
    runs = [record(dataset="mimic50", changed={"train.max_epochs": number} if number else None) for number in range(6)]
    found = rows(printed_table(catalog.chosen("table5")[0], runs, "csv"))
    labels = [row["system"] for row in found if row["figures"] == "mimic50, 1 seed"]
    assert labels == ["jlan", *(f"jlan (train.max_epochs={number})" for number in range(1, 6))]


def test_one_seed_has_no_deviation() -> None:
    text = tables.comparison([record(value=0.6543)])
    assert "65.4" in text
    assert "±" not in text


def test_a_metric_that_one_seed_lacks_is_not_averaged_over_the_others() -> None:
    row = compared(record(seed=1, auc_macro=None), record(seed=2))["jlan"]
    assert (row["AUC macro"], row["AUC micro"]) == ("", "60.0")


def test_only_seeds_are_averaged() -> None:
    different = [
        record(value=0.1),
        record(value=0.2, variant="no-denoise"),
        record(value=0.3, changed={"train.max_epochs": 5}),
        record(value=0.4, changed={"train.max_epochs": 6}),
        record(value=0.5, model="caml"),
    ]
    found = compared(*different)
    assert {name: row["MAP"] for name, row in found.items() if "popularity" not in name} == {
        "jlan": "10.0",
        "jlan@no-denoise": "20.0",
        "jlan (train.max_epochs=5)": "30.0",
        "jlan (train.max_epochs=6)": "40.0",
        "caml": "50.0",
    }
    assert all(row["seeds"] == "1" for name, row in found.items() if "popularity" not in name)


def test_settings_of_one_name_are_told_apart() -> None:
    """A default that changed between versions: nothing was set by the user, yet the runs are not the same."""
    found = compared(record(value=0.1, config={"dropout": 0.2}), record(value=0.3, seed=2, config={"dropout": 0.5}))
    assert sorted(row["MAP"] for name, row in found.items() if re.fullmatch(r"jlan \[[0-9a-f]{8}\]", name)) == [
        "10.0",
        "30.0",
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "fedcba9876543210"},
        {"dataset": "codiesp-d"},
        {"changed": {"data.language": "es"}},
        {"changed": {"data.drop_overlap": True}},
        {"num_codes": 49},
        {"synthetic": True},
    ],
)
def test_runs_on_other_data_have_a_table_of_their_own(other: dict[str, Any]) -> None:
    text = tables.comparison([record(value=0.1), record(seed=2, value=0.3, **other)])
    assert len(re.findall(r"^\| system", text, re.MULTILINE)) == 2
    assert "20.0 ±" not in text


def test_a_run_given_twice_counts_once() -> None:
    assert compared(record(), record())["jlan"]["seeds"] == "1"


def test_more_than_fifty_codes_are_ranked_deeper() -> None:
    small, large = (tables.comparison([record(num_codes=number)]).splitlines()[2] for number in (50, 51))
    assert ("P@5" in small, "R@5" in small, "P@8" in small) == (True, True, False)
    assert ("P@5" in large, "P@8" in large, "P@15" in large) == (False, True, True)


def test_best_is_bold_and_first() -> None:
    cells = pipe_cells(
        tables.comparison([record("caml", value=0.5, r_5=0.8), record("cnn", value=0.55), record(value=0.6)])
    )
    assert [row[0] for row in cells[2:]] == ["jlan", "cnn", "caml", "popularity (floor)"]
    column = cells[0].index("R@5")
    assert [row[column] for row in cells[2:5]] == ["60.0", "55.0", "**80.0**"]
    assert [row[column - 1] for row in cells[2:5]] == ["**60.0**", "55.0", "50.0"]


def test_ties_are_both_bold_and_a_single_row_is_not() -> None:
    assert "**60.0**" not in tables.comparison([record()])
    assert tables.comparison([record(value=0.60001), record("caml")]).count("**60.0**") == 2 * 7


def test_floor_shows_ranking_figures_alone() -> None:
    text = tables.comparison([record()], "csv")
    row = rows(text)[-1]
    assert row["system"] == "popularity (floor)"
    assert {name: cell for name, cell in row.items() if cell and name not in {"table", "system", "notes"}} == {
        "P@5": "18.5",
        "R@5": "10.0",
        "MAP": "20.0",
    }


def test_caption_states_what_was_measured() -> None:
    text = tables.comparison([record(seed=seed, synthetic=True) for seed in (1, 4)])
    for fact in (
        "codiesp-d50 (SYNTHETIC)",
        "1,500 train",
        "250 validation",
        "240 test",
        "L = 50",
        "seeds 1, 4",
        "0.5",
        "2PR/(P+R)",
    ):
        assert fact in text, fact
    assert "SYNTHETIC" not in tables.comparison([record()])
    assert "language=es" in tables.comparison([record(changed={"data.language": "es"})])


def test_ceiling_where_training_never_shows_a_code() -> None:
    text = tables.comparison([record(unseen=501)])
    assert "501 of 2,842 gold assignments (17.6 %)" in text
    assert "cannot exceed 90.34." in text  # 2 · 2341 / (2341 + 2842) = 0.90334, rounded up
    assert "cannot exceed" not in tables.comparison([record()])


@pytest.mark.parametrize("fmt", FORMATS)
def test_collapse_is_marked_and_named(fmt: str) -> None:
    broken = record(seed=2, collapse={"fixed": "no code is ever predicted"})
    text = tables.comparison([record(seed=1), broken, record("caml")], fmt)
    mark = r"\dag{}" if fmt == "latex" else "†"
    assert f"jlan {mark}" in text
    assert f"{mark} jlan, seed 2: no code is ever predicted (fixed)" in text
    assert f"caml {mark}" not in text


def test_collapsed_figures_are_never_the_best() -> None:
    everything = record(value=0.9, collapse={"fixed": "every code is always predicted"})
    cells = pipe_cells(tables.comparison([everything, record("caml", value=0.5)]))
    best = {heading: cell for heading, cell in zip(cells[0], cells[2], strict=True) if cell.startswith("**")}
    assert cells[2][0] == "jlan †"
    assert set(best) == {"AUC macro", "AUC micro", "F1 micro tuned", "P@5", "R@5", "MAP"} - {"F1 micro"}
    assert cells[2][cells[0].index("F1 micro")] == "90.0 †"


def test_a_wholly_collapsed_run_is_sorted_by_its_value_with_every_figure_marked() -> None:
    """As in figure 5; tests/presentation/test_figures.py has the same runs."""
    constant = record(value=0.9, collapse=dict.fromkeys(("fixed", "tuned"), "every document gets the same scores"))
    lower, higher = record("caml", value=0.5), record("cnn", value=0.95)
    cells = pipe_cells(tables.comparison([constant, lower, higher]))
    assert [row[0] for row in cells[2:5]] == ["cnn", "jlan †", "caml"]
    assert all(cell.endswith("†") for cell in cells[3][:9])
    assert not any(cell.startswith("**") for cell in cells[3])


def test_own_runs_stand_under_the_published_row() -> None:
    runs = [record(seed=seed, value=value, dataset="mimic50") for seed, value in ((1, 0.60), (2, 0.62), (3, 0.67))]
    runs += [record("laat", dataset="mimic50"), record(dataset="mimic50", variant="no-denoise")]
    found = rows(printed_table(catalog.chosen("table5")[0], runs, "csv"))
    assert [(row["system"], row["figures"]) for row in found[7:]] == [
        ("JLAN", "published"),
        ("jlan", "mimic50, 3 seeds"),
        ("jlan", "difference"),
        ("jlan@no-denoise", "mimic50, 1 seed"),
        ("laat", "mimic50, 1 seed"),
    ]
    assert (found[8]["F1 micro"], found[8]["F1 micro sd"], found[9]["F1 micro"]) == ("63.0", "3.6", "-6.7")
    assert "No runs" not in found[0]["notes"]


def test_difference_is_that_of_the_figures_shown() -> None:
    run = record(
        dataset="mimic50", value=0.6974, auc_macro=0.92649, auc_micro=0.9406, f1_macro_harmonic=0.6661, p_5=0.6674
    )
    cells = pipe_cells(printed_table(catalog.chosen("table5")[0], [run]))
    assert cells[-1][1:] == ["difference", "0.0", "0.0", "+0.1", "0.0", "-0.1", "+5.9"]


def test_a_dash_has_no_difference_and_a_collapse_neither() -> None:
    run = record("cnn", dataset="mimic50", collapse={"fixed": "no code is ever predicted"})
    found = rows(printed_table(catalog.chosen("table5")[0], [run], "csv"))
    assert [found[2][name] for name in ("figures", "AUC macro", "F1 macro", "F1 micro", "R@5")] == [
        "difference",
        "-27.6",
        "",
        "",
        "",
    ]
    assert found[1]["system"] == "cnn †"
    assert "† cnn, seed 1: no code is ever predicted (fixed)" in found[0]["notes"]


def test_best_published_and_best_own_are_bold_apart() -> None:
    runs = [record(dataset="mimic50", value=0.5), record("caml", dataset="mimic50", value=0.45)]
    cells = pipe_cells(printed_table(catalog.chosen("table5")[0], runs))
    bold = {(row[0], row[1]): row[2:] for row in cells if row[2].startswith("**")}
    assert bold == {
        ("JLAN", "published"): [f"**{cell}**" for cell in ("92.6", "94.1", "66.5", "69.7", "66.8", "63.8")],
        ("jlan", "mimic50, 1 seed"): ["**50.0**"] * 6,
    }


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "mimic-full"},
        {"dataset": "mimic50", "synthetic": True},
        {"dataset": "mimic50", "changed": {"data.top_codes": 20}},
    ],
)
def test_other_data_never_enter_the_papers_columns(other: dict[str, Any], fmt: str) -> None:
    benchmark = catalog.chosen("table5")[0]
    text = printed_table(benchmark, [record(value=0.1234, **other)], fmt)
    alone = printed_table(benchmark, [], fmt)
    assert "Other data, not comparable with table5" in text
    assert "12.3" in text
    if fmt == "csv":
        by_table: dict[str, list[dict[str, str]]] = {}
        for row in rows(text):
            by_table.setdefault(row["table"], []).append(row)
        assert len(by_table) == 2
        assert all(row["figures"] == "published" and "12.3" not in row.values() for row in by_table[benchmark.title])
    else:
        assert text.startswith(alone)
        assert "12.3" not in alone


def test_raw_data_of_two_kinds_give_the_papers_table_twice() -> None:
    runs = [record(dataset="mimic50", fingerprint=character * 16, value=0.5) for character in "ab"]
    text = printed_table(catalog.chosen("table5")[0], runs)
    assert text.count("**Table 5") == 2
    assert text.count("| jlan ") == 4  # each with its difference


@pytest.mark.parametrize("fmt", FORMATS)
def test_no_runs_at_all(fmt: str) -> None:
    assert "No runs on mimic50 are stored" in printed_table(catalog.chosen("table5")[0], [], fmt)
    nothing = tables.comparison([], fmt)
    assert "F1 macro (harmonic)" in nothing
    assert "No runs are stored" in nothing


@pytest.mark.slow
@pytest.mark.parametrize("fmt", FORMATS)
def test_order_of_records_does_not_matter(fmt: str) -> None:
    runs = [
        record(model, seed, value, dataset=dataset)
        for dataset in ("mimic50", "codiesp-d50", "demo")
        for model, value in (("jlan", 0.6), ("caml", 0.6), ("cnn", 0.7))
        for seed in (1, 2, 3)
    ]
    runs += [
        record(seed=4, changed={"train.batch_size": 4, "train.max_epochs": 5}, collapse={"fixed": "x", "tuned": "y"})
    ]
    expected = printed_table(catalog.chosen("table5")[0], runs, fmt), tables.comparison(runs, fmt)
    for seed in range(5):
        copies = [run.model_copy(deep=True) for run in runs]
        shuffled = random.Random(seed).sample(copies, len(copies))  # noqa: S311
        assert (printed_table(catalog.chosen("table5")[0], shuffled, fmt), tables.comparison(shuffled, fmt)) == expected


@pytest.mark.parametrize(
    "hostile",
    ["a|b", "<script>x</script>", "**b** _i_ `c` [l](u)", r"\input{x} %&$#^~", "two\nlines\x1b[31m", "x,\"y'"],
)
def test_hostile_names_stay_text(hostile: str) -> None:
    """A name from a user's file cannot add cells, rows, tags or commands."""
    name = "".join(char for char in hostile if char.isprintable() and char not in "/\\")  # what a folder may be called
    runs = [record(dataset=name), record("caml", changed={"train.monitor": hostile}, dataset=name)]
    usual = [record(dataset="x"), record("caml", changed={"train.monitor": "x"}, dataset="x")]
    plain = " ".join(hostile.replace("\x1b", "�").split())

    text, like = (tables.comparison(each, "md") for each in (runs, usual))
    assert [len(row) for row in pipe_cells(text)] == [len(row) for row in pipe_cells(like)]
    assert len(text.splitlines()) == len(like.splitlines())
    said, named, set_to = re.sub(r"\\(\W|_)", r"\1", text), like.count("on x") + like.count(": x;"), like.count("=x")
    assert said.count(plain) == set_to + named * (plain == name)
    assert said.count(name) == named + set_to * (name in plain)
    assert not re.search(r"(?<!\\)[<`\[]", text)

    page, like_page = (Page(tables.comparison(each, "html")) for each in (runs, usual))
    assert page.tags == like_page.tags
    assert any(plain in row[0] for row in page.rows)

    latex = tables.comparison(runs, "latex")
    commands = set(re.findall(r"\\[a-z]+", latex)) - set(re.findall(r"\\[a-z]+", tables.comparison(usual, "latex")))
    assert commands <= {
        r"\textless",
        r"\textgreater",
        r"\textbar",
        r"\textbackslash",
        r"\textasciitilde",
        r"\textasciicircum",
    }
    assert not re.search(r"(?<!\\)[%#]", latex)
    assert latex.count("\n") == tables.comparison(usual, "latex").count("\n")

    found = rows(tables.comparison(runs, "csv"))
    assert [row["system"] for row in found] == [f"caml (train.monitor={plain})", "jlan", "popularity (floor)"]


def test_markdown_keeps_names_readable() -> None:
    changed = record(changed={"train.max_epochs": 5})
    assert "jlan (train.max_epochs=5)" in tables.comparison([changed, record("caml")])


def test_a_long_list_of_settings_is_a_number_and_a_note() -> None:
    changes = [{"train.max_epochs": number, "jlan.dropout": 0.25, "data.max_tokens": 500} for number in (5, 6)]
    runs = [record(), record("caml"), *(record(changed=changed) for changed in changes)]
    noted = [
        f"- jlan ({number}): data.max_tokens=500, jlan.dropout=0.25, train.max_epochs={number + 4}."
        for number in (1, 2)
    ]
    for text in tables.comparison(runs), printed_table(catalog.chosen("table5")[0], runs):
        assert not any("max_epochs" in line for line in text.splitlines() if line.startswith("|"))
        assert all(note in text.splitlines() for note in noted)
        assert "| jlan (2) " in text
    (board,) = tables.opencodepapers(runs)
    assert "jlan (data.max_tokens=500, jlan.dropout=0.25, train.max_epochs=5) (icdbench)" in {
        item["n"] for item in board["benchmark"]["items"]
    }


def test_what_is_set_for_all_runs_is_a_note_and_no_part_of_their_names() -> None:
    alike = {"data.language": "es", "train.max_epochs": 5}
    runs = [record(changed=alike), record("caml", changed={**alike, "caml.dropout": 0.3})]
    text = tables.comparison(runs)
    assert [row["system"] for row in rows(tables.comparison(runs, "csv"))] == [
        "caml (caml.dropout=0.3)",
        "jlan",
        "popularity (floor)",
    ]
    assert "- Set for all runs: data.language=es, train.max_epochs=5." in text


def test_linear_models_beside_do_not_put_settings_of_training_into_names() -> None:
    changed = {"train.max_epochs": 5, "data.language": "es"}
    floor = record("lr", variant="l1", changed={"data.language": "es"})
    floor = floor.model_copy(update={"spec": floor.spec.model_copy(update={"uses_trainer": False})})
    text = tables.comparison([record(changed=changed), record("caml", changed=changed), floor])
    assert "- Set for all runs: data.language=es." in text
    assert "- Set for all neural models: train.max_epochs=5." in text
    assert not any("max_epochs" in line for line in text.splitlines() if line.startswith("|"))


def test_latex_is_a_booktabs_table() -> None:
    runs = [record(dataset="mimic50", seed=seed) for seed in (1, 2)]
    text = printed_table(catalog.chosen("table5")[0], [*runs, record()], "latex")
    for part in (
        r"\begin{table}",
        r"\begin{tabular}",
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ):
        assert text.count(part) == 2, part
    assert "hline" not in text
    assert r"\textbf{92.6}" in text
    assert r"60.0 $\pm$ 0.0" in text
    first = text[: text.index(r"\bottomrule")]
    assert {line.count("&") for line in first.splitlines() if line.endswith(r"\\")} == {7}


def test_html_cells_equal_the_markdown_ones() -> None:
    runs = [record(dataset="mimic50", seed=seed) for seed in (1, 2)]
    page = Page(printed_table(catalog.chosen("table5")[0], runs, "html"))
    header, _, *cells = pipe_cells(printed_table(catalog.chosen("table5")[0], runs, "md"))
    assert page.rows[:-1] == [[cell.strip("*") for cell in row] for row in [header, *cells]]
    assert page.tags.count("table") == 1
    assert "strong" in page.tags


def test_csv_figures_are_numbers() -> None:
    found = rows(
        printed_table(catalog.chosen("table6")[0], [record(num_codes=900, seed=seed) for seed in (1, 2)], "csv")
    )
    figures = [row[name] for row in found for name in ("AUC macro", "F1 micro", "P@8", "P@8 sd") if row[name]]
    assert len(figures) > 24
    assert all(float(figure) >= 0 for figure in figures)
    assert "±" not in "".join("".join(row.values()) for row in found).replace("mean ±", "")


def test_unknown_names_are_one_line_errors() -> None:
    with pytest.raises(SpecError, match=r"no table format 'markdwn'.*known: csv, html, latex, md"):
        tables.comparison([], "markdwn")
    with pytest.raises(SpecError, match="did you mean 'html'"):
        printed_table(catalog.chosen("table5")[0], [], "htm")
    with pytest.raises(SpecError, match="no table 'tabel5'; did you mean 'table5'"):
        catalog.chosen("tabel5")


def test_benchmarks_are_found_by_scanning() -> None:
    found = catalog.benchmarks()
    assert {"table5", "table6"} <= set(found)
    assert all(isinstance(each, Benchmark) for each in found.values())


# --- The same data, and nothing else


@pytest.mark.parametrize(
    "other", [{"changed": {"data.protocol": "corrected"}}, {"fingerprint": "f" * 16}, {"num_codes": 49}]
)
@pytest.mark.parametrize("name", ["table3", "table5", "figure6"])
def test_runs_of_other_protocols_or_raw_data_are_never_averaged(name: str, other: dict[str, Any]) -> None:
    runs = [record(seed=seed, value=0.1, dataset="mimic50") for seed in (1, 2)]
    text = printed_table(catalog.chosen(name)[0], [*runs, record(seed=3, value=0.4, dataset="mimic50", **other)])
    assert "10.0 ± 0.0" in text
    assert "20.0 ±" not in text
    assert re.search(r"\| +(\*\*)?40\.0", text)


def test_the_protocol_of_mimic_is_always_named() -> None:
    run = record(dataset="mimic50")
    run = run.model_copy(update={"data": run.data.override({"facts": {"protocol": "released"}}, "data")})
    assert "Data: mimic50, protocol=released;" in printed_table(catalog.chosen("table5")[0], [run])
    assert "protocol" not in tables.comparison([record()])


# --- Table 2


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text lies outside the repository")
def test_published_sizes_are_the_papers() -> None:
    text = PAPER.read_text(encoding="utf-8").partition("Table 2 Statistics")[2]
    for label, (_, cells) in catalog.chosen("table2")[0].published.items():
        assert " ".join([label, *cells[:4]]) in text


def test_table_2_sets_own_data_beside_the_published() -> None:
    runs = [record(model, seed, dataset="mimic50") for model in ("lr", "jlan") for seed in (1, 2)]
    runs += [record(dataset="mimic50", synthetic=True), record(unseen=5)]
    found = rows(printed_table(catalog.chosen("table2")[0], runs, "csv"))
    shown = [(row["data set"], row["figures"], row["Train"], row["Codes"]) for row in found]
    assert shown == [
        ("MIMIC-III-50", "published", "8067", "50"),
        ("mimic50 [01234567]", "own", "1,500", "50"),
        ("mimic50 [01234567]", "difference", "-6,567", "0"),
        ("MIMIC-III", "published", "47,724", "8921"),
        ("codiesp-d50 [01234567]", "", "1,500", "50"),
        ("mimic50 (SYNTHETIC) [01234567]", "", "1,500", "50"),
    ]
    assert found[1]["Codes per document"] == "6.7 / 8.0 / 11.8"  # the last is 2,842 / 240


# --- All tables at once


def test_all_tables_show_each_run_once() -> None:
    fifty, full, other = (
        record(dataset="mimic50", value=0.51),
        record(dataset="mimic-full", value=0.52),
        record(value=0.53),
    )
    parts = [(part, [fifty, full, other]) for part in catalog.chosen("all")]
    found = rows(tables.printed(parts, "csv"))
    titles = list(dict.fromkeys(row["table"] for row in found))
    assert [title[:7] for title in titles if title.startswith("Table")] == [
        *("Table 2", "Table 3", "Table 3", "Table 4", "Table 4", "Table 5", "Table 6")
    ]
    others = [title for title in titles if title.startswith("Other data, not")]
    assert [title.partition(":")[0].removeprefix("Other data, not comparable with ") for title in others] == [
        *("table3, table3-full", "table4, table4-full", "table5, table6")
    ]
    assert all("codiesp-d50" in title for title in others)


# --- What others report


def test_every_reported_figure_has_a_source_and_a_known_metric() -> None:
    known = {*catalog.known_metrics(catalog.chosen("table5")[0]), "f1_macro_unstated"}
    for each in catalog.literature():
        assert each.source
        assert each.figures.keys() <= known & headings.HEADINGS.keys()
        assert all(re.fullmatch(r"\d+\.\d( ± \d+\.\d)?", text) for text in each.figures.values())


def test_a_macro_f1_of_another_definition_is_marked_and_never_the_best() -> None:
    text = printed_table(catalog.chosen("table6")[0], [], "md", catalog.literature())
    cells = {(row[0], row[1]): row for row in pipe_cells(text)}
    column = cells["system", "figures"].index("F1 macro")
    assert cells["PLM-CA", r"\[6\]"][column : column + 2] == ["24.7 (p)", "60.0"]
    assert cells["JointLAAT", r"\[3\]"][column] == "10.7"
    assert [row[0] for row in cells.values() if row[column].startswith("**")] == [
        "GP + reranker"
    ]  # the largest of its kind
    assert cells["JLAN", "published"][column : column + 2] == ["9.7", "56.7"]
    assert "(m) F1 macro: mean of per-code F1" in text
    assert "github.com/aehrc/LAAT" in text


def test_what_was_not_read_at_its_source_is_marked() -> None:
    lines = reported.literature(catalog.literature()).splitlines()
    for each in catalog.literature():
        number = r"\\\[\d+\\\]" + ("‡" if each.read_in else "")
        assert any(re.fullmatch(f"- {number} {re.escape(each.origin)}\\.", line) for line in lines)
        assert ("second-hand" in each.origin) == bool(each.read_in)


def test_a_tuned_threshold_is_marked_or_in_its_own_column() -> None:
    runs = [record(dataset="mimic4-icd10", num_codes=7942)]
    row = {
        each["system"]: each
        for each in rows(printed_table(catalog.chosen("table5")[0], runs, "csv", catalog.literature()))
    }["PLM-ICD [1]"]
    assert (row["F1 macro (harmonic)"], row["F1 micro"], row["F1 micro tuned"]) == ("21.1 (p, t)", "", "58.5")
    assert (row["P@8"], row["MAP"]) == ("69.9", "61.9")


def test_literature_stands_beside_no_synthetic_or_altered_data() -> None:
    for other in ({"synthetic": True}, {"changed": {"data.language": "es"}}):
        text = printed_table(
            catalog.chosen("table5")[0], [record(dataset="codiesp-d", **other)], "md", catalog.literature()
        )
        assert "Boyle" not in text
    text = printed_table(catalog.chosen("table5")[0], [record(dataset="codiesp-d")], "md", catalog.literature())
    assert "21.6 (u)" in text


# --- A table of one's own

DOCS = ROOT / "docs" / "tables.md"
HEAD = "from icdbench.spec import Benchmark\nB = Benchmark(name='mine', title='Mine', dataset='demo', "
METRICS = "metrics=(('F1', 'f1_micro'),)"


@pytest.mark.slow
def test_the_example_of_the_docs_trains_and_prints(icdbench: Call, tmp_path: Path) -> None:
    (tmp_path / "linear.py").write_text(
        DOCS.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    )
    status, out, _ = icdbench("tables", "linear.py")
    assert status == 0
    assert "No such runs are stored; 'icdbench run --benchmark FILE' makes them." in out
    status, out, err = icdbench("run", "--benchmark", "linear.py", "--set", "data.max_tokens=50")
    assert status == 0, err
    cells = pipe_cells(out)
    assert cells[0] == ["system", "F1 micro", "F1 macro", "P@5", "seeds", "epochs", "train time"]
    assert [row[0] for row in cells[2:]] == ["lr", "lr@tfidf"]
    for said in ("Words against TF-IDF", "mean of per-code F1 over all codes", "Threshold: fixed at 0.5", "SYNTHETIC"):
        assert said in out
    assert icdbench("tables", "linear.py")[1] == out
    assert icdbench("run", "--benchmark", "linear.py", "--dataset", "codiesp-d50")[0] == 2


@pytest.mark.slow
def test_a_file_on_one_s_own_notes_with_published_figures_and_tuned_threshold(
    icdbench: Call, few_notes: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        f"{HEAD.replace('demo', few_notes.name)}{METRICS}, published={{'LR': ('lr', ('50.0',))}}, source='X', "
        "threshold='tuned', overrides={'lr.C': 2.0})"
    )
    status, out, err = icdbench("run", "--benchmark", "mine.py")
    assert status == 0, err
    assert [row[1] for row in pipe_cells(out)[2:]] == ["published", "notes.csv, 1 seed", "difference"]
    assert "tuned on validation" in out
    assert icdbench("run", "--models", "lr", "--dataset", few_notes)[0] == 0  # without the override
    assert icdbench("tables", "mine.py")[1] == out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEAD}models=('camel',), {METRICS})", "mine.py, 'mine': no model 'camel'; did you mean 'caml'"),
        (f"{HEAD}models=('jlan@nojoint',), {METRICS})", "no variant 'nojoint'; did you mean 'no-joint'"),
        (f"{HEAD}models=('lr',), metrics=(('F1', 'f1_mikro'),))", "no metric 'f1_mikro'; did you mean 'f1_micro'"),
        (f"{HEAD.replace('demo', 'mimic5')}models=('lr',), {METRICS})", "no data set 'mimic5'; did you mean 'mimic50'"),
        (f"{HEAD}published={{'LR': ('lr', ('1.0', '2.0'))}}, {METRICS})", "row 'LR' has 2 figures for 1 metrics"),
        (f"{HEAD}models=('lr',), overrides={{'train.epochs': 3}}, {METRICS})", "'train' has no field 'epochs'"),
        (f"{HEAD}{METRICS})", "it compares nothing"),
        (f"{HEAD}model=('lr',), {METRICS})", "mine.py line 2: model=('lr',): extra inputs are not permitted"),
        ("x = (", "mine.py line 1: '(' was never closed"),
        ("x = 1\ny = z", "mine.py line 2: NameError: name 'z' is not defined"),
        ("from icdbench.benchmarks.table5 import BENCHMARK", "mine.py defines no Benchmark"),
        (None, "no file 'mine.py'"),
    ],
)
@pytest.mark.parametrize("command", [("tables",), ("run", "--benchmark")])
def test_a_file_that_is_wrong_is_one_line(
    icdbench: Call, tmp_path: Path, command: tuple[str, ...], text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    status, out, err = icdbench(*command, "mine.py")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


# --- Records of several groups


def stored(folder: Path, *records: RunRecord) -> None:
    for each in records:
        path = folder / each.id / "record.json"
        path.parent.mkdir(parents=True)
        path.write_text(each.as_json())


def whole(*args: Any, **more: Any) -> RunRecord:
    """A record as it is stored."""
    made = record(*args, **more)
    return made.model_copy(update={"metrics": {**made.metrics, "validation": made.metrics["test"]}})


def test_records_of_several_groups_share_a_table(
    icdbench: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored(tmp_path / "a", whole(seed=1, value=0.5, dataset="mimic50"), whole(seed=2, value=0.6, dataset="mimic50"))
    stored(tmp_path / "b", whole(seed=2, value=0.7, dataset="mimic50"), whole(seed=3, value=0.7, dataset="mimic50"))
    status, out, _ = icdbench("tables", "table5", "--results", "a", "--results", "b")
    assert status == 0
    assert "60.0 ± 10.0" in out  # 50, 60 and 70: of seed 2 the first
    assert "mimic50, 3 seeds" in out
    (line,) = [each.getMessage() for each in caplog.records]
    assert line.startswith("b/mimic50/jlan/2-")
    assert "the same run with other figures was read before" in line


def test_damaged_and_foreign_records_are_named_and_left_out(
    icdbench: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, moved = whole(value=0.55, dataset="mimic50"), whole(seed=2, value=0.1, dataset="mimic50")
    stored(tmp_path / "results", good, moved.model_copy(update={"id": "mimic50/jlan/7-01234567"}))
    texts = {
        "foreign": '{"accuracy": 0.9}',
        "list": "[]",
        "cut": good.as_json()[:-20],
        "binary": "\x00",
    }
    for name, text in texts.items():
        (tmp_path / "results" / "mimic50" / "jlan" / name).mkdir()
        (tmp_path / "results" / "mimic50" / "jlan" / name / "record.json").write_text(text)
    content = json.loads(good.as_json())
    shapes = json.dumps(content | {"corpus": content["corpus"] | {"documents": 5}})
    stored(tmp_path / "results" / "x", good)  # too deep to be one
    (tmp_path / "results" / "mimic50" / "jlan" / "shapes").mkdir()
    (tmp_path / "results" / "mimic50" / "jlan" / "shapes" / "record.json").write_text(shapes)
    status, out, _ = icdbench("tables")
    assert status == 0
    assert "mimic50, 1 seed " in out
    lines = [each.getMessage() for each in caplog.records]
    assert len(lines) == len(texts) + 2
    assert sum("is damaged or of another version and is left out" in line for line in lines) == len(texts) + 2
    unlike = "its id is mimic50/jlan/7-01234567, but its settings are those of mimic50/jlan/2"
    assert sum(unlike in line for line in lines) == 1
    assert all(any(name in line for line in lines) for name in texts)


# --- Runs to share


def shared_results(tmp_path: Path) -> None:
    for each in (whole("lr"), whole("lr", dataset="mimic50"), whole("lr", dataset="notes.csv")):
        stored(tmp_path / "results", each)
        folder = tmp_path / "results" / each.id
        arrays = {"test.score_bytes": [[[0]]] * 4, "test.codes": [0], "test.code_offsets": [0, 1], "test.unseen": [0]}
        np.savez(folder / "predictions.npz", run=each.id, **arrays, codes=["A"], train_counts=[1], ids=["hadm-4711"])  # type: ignore[arg-type]
        for name in ("model.safetensors", "notes.txt"):
            (folder / name).write_text("secret")


def test_an_export_holds_records_and_predictions_and_nothing_else(icdbench: Call, tmp_path: Path) -> None:
    shared_results(tmp_path)
    status, out, err = icdbench("export", "out")
    assert (status, out) == (0, "out: 3 runs\n")
    assert err == "Without predictions: mimic50, notes.csv; they would show patients' codes.\n"
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["README.md", "predictions.npz", *["record.json"] * 3]
    (predictions,) = [path for path in files if path.name == "predictions.npz"]
    assert "codiesp-d50" in predictions.parts
    with np.load(predictions) as arrays:
        assert "ids" not in arrays.files
        assert {"codes", "train_counts", "test.score_bytes"} <= set(arrays.files)
    assert not any(b"4711" in path.read_bytes() or b"secret" in path.read_bytes() for path in files)
    assert "3 finished runs on codiesp-d50, mimic50, notes.csv" in (tmp_path / "out" / "README.md").read_text()
    assert icdbench("tables", "--results", "out") == icdbench("tables")
    status, _, err = icdbench("export", "out")
    assert (status, err) == (2, "icdbench: 'out' is there already and not empty; name a new folder\n")


def test_an_export_with_predictions_and_one_of_nothing(icdbench: Call, tmp_path: Path) -> None:
    shared_results(tmp_path)
    assert icdbench("export", "all", "--with-predictions") == (0, "all: 3 runs\n", "")
    assert len(list((tmp_path / "all").rglob("predictions.npz"))) == 3
    (tmp_path / "empty").mkdir()
    status, _, err = icdbench("export", "other", "--results", "empty")
    assert (status, err) == (2, "icdbench: no runs in 'empty'; --results names another folder\n")
    path = next((tmp_path / "results" / "codiesp-d50").rglob("predictions.npz"))
    path.write_bytes(path.read_bytes()[:50])
    status, _, err = icdbench("export", "broken")
    assert status == 2
    assert "is damaged" in err
    assert not (tmp_path / "broken").exists()


# --- Floors ----------------------------------------------------------------------------------------------------------------


def test_a_system_no_better_than_popularity_is_said_to_be() -> None:
    at_it = [record("caml", seed, map=0.2 + seed / 200) for seed in (1, 2, 3)]  # on average half a point above
    runs = [*at_it, record("jlan", map=0.22), record("cnn", map=0.1, collapse={"fixed": "no code is ever predicted"})]
    (line,) = tables.at_popularity(runs)
    assert line == "caml on codiesp-d50 is at the level of popularity: MAP 21.0, popularity 20.0"
    assert "- caml is at the level of popularity: MAP 21.0, popularity 20.0." in tables.comparison(runs)


def test_floors_are_marked_and_shown_beside_any_benchmark() -> None:
    runs = [record("lr", variant="l1"), record("keywords"), record("lr"), record("jlan")]
    text = tables.comparison(runs)
    assert all(
        f"| {name} " in text for name in ("lr@l1 (floor)", "keywords (floor)", "lr", "jlan", "popularity (floor)")
    )
    benchmark = Benchmark(name="own", title="Own", dataset="codiesp-d50", metrics=(("MAP", "map"),), models=("jlan",))
    text = tables.printed([(benchmark, runs)])
    assert "| lr@l1 (floor)" in text
    assert "| keywords (floor)" in text
    assert "| lr " not in text


def test_popularity_as_a_system_takes_the_place_of_its_floor() -> None:
    text = tables.comparison([record("popularity", map=0.2), record("jlan")])
    assert "| popularity " in text
    assert "popularity (floor)" not in text
