"""Figures: what is drawn, from which runs, that it can be read, and that the committed ones follow from the records."""

from __future__ import annotations

import io
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.text import Text
from places import ROOT
from runs import printed_table, record

from icdbench.presentation import catalog, figures, over_data, plots
from icdbench.records import store
from icdbench.records.record import Epoch, RunRecord
from icdbench.settings import SpecError
from icdbench.types import IntArray

REBUILD = runpy.run_path(str(ROOT / "results" / "rebuild.py"))
COUNTS = np.array([0, 1, 10, 11, 100, 101, 1000, 1001])
ATTENTION = ("label-only", "self-only", "no-joint", "")


def request(records: Sequence[RunRecord], counts: IntArray | None = None, **chosen: Any) -> figures.DrawingRequest:
    return figures.DrawingRequest(records, lambda _: counts, **chosen)


def drawn(name: str, records: Sequence[RunRecord], counts: IntArray | None = None, **chosen: Any) -> Figure:
    (drawing,) = figures.draw(name, request(records, counts, **chosen))
    return drawing.figure


def lived(epochs: int, seed: int = 1, variant: str = "", level: float = 0.5, **more: Any) -> RunRecord:
    """A run of so many epochs, whose figures are `level`."""
    keys = ("auc_macro", "auc_micro", "f1_macro_harmonic", "f1_micro", "p@5", "loss", "validation_loss", "dropped")
    figures = dict.fromkeys(keys, level)
    history = [Epoch.model_validate({"epoch": epoch, "monitor": 0.1, **figures}) for epoch in range(1, epochs + 1)]
    return record(seed=seed, variant=variant, **more).model_copy(update={"history": history})


def every_run() -> list[RunRecord]:
    """Runs for all figures: models of Table 5, one that it lacks, and the studies."""
    models = ["jlan", "caml", "cnn", "lr", "laat", "multirescnn"]
    runs = [record(model, seed, 0.4 + 0.03 * n, dataset="mimic50") for n, model in enumerate(models) for seed in (1, 2)]
    variants = ("label-only", "self-only", "no-joint", "no-denoise")
    runs += [lived(50, seed, variant, 0.5 + 0.01 * seed, dataset="mimic50") for variant in variants for seed in (1, 2)]
    return [*(run for run in runs if run.spec.system != "jlan"), *(lived(50, s, dataset="mimic50") for s in (1, 2))]


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(): axes for axes in figure.axes}


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    """Centres of the marks that a legend calls `label`."""
    handles = [handle for handle, name in zip(*axes.get_legend_handles_labels(), strict=True) if name == label]
    lines: list[Any] = [getattr(handle, "lines", [handle])[0] for handle in handles]
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


# --- The committed ones


@pytest.mark.slow
def test_committed_figures_follow_from_the_records() -> None:
    drawings = REBUILD["drawings"]()
    folder = ROOT / "results" / "figures"
    assert {path.name for path in folder.glob("*")} == {f"{each.name}.png" for each in drawings}
    for each in drawings:
        buffer = io.BytesIO()
        with figures_style():
            each.figure.savefig(buffer, format="png", metadata=figures.FORMATS["png"])
        buffer.seek(0)
        again, committed = imread(buffer), imread(folder / f"{each.name}.png")
        assert again.shape == committed.shape, each.name
        assert (again == committed).all(), each.name


def figures_style() -> Any:
    from matplotlib import style

    return style.context(["default", plots.STYLE])


# --- What is drawn


def test_figure_5_shows_the_published_figures_and_own_means() -> None:
    runs = [record("caml", seed, value, dataset="mimic50") for seed, value in ((1, 0.5), (2, 0.6))]
    shown = panels(drawn("fig5", [*runs, record("laat", dataset="mimic50", value=0.7)]))
    table = catalog.chosen("table5")[0]
    labels = [*table.published, "laat"]
    assert [text.get_text() for text in shown["AUC macro"].get_yticklabels()] == labels
    for number, (heading, _) in enumerate(table.metrics):
        axes = shown["F1 macro (harmonic)" if heading == "F1 macro" else heading]
        expected = {
            (float(cells[number]), row)
            for row, (_, cells) in enumerate(table.published.values())
            if cells[number] not in "–-"
        }
        assert set(points(axes, "published")) == expected
        own = points(axes, "own runs")
        assert [row for _, row in own] == [labels.index("CAML"), labels.index("laat")]
        assert [x for x, _ in own] == pytest.approx([55.0, 70.0])


def test_figure_5_without_runs_shows_the_published_figures() -> None:
    (drawing,) = figures.draw("fig5", request([]))
    assert drawing.name == "figure5-mimic50"
    assert points(panels(drawing.figure)["R@5"], "published") == [(62.1, 6), (63.8, 7)]
    (drawing,) = figures.draw("figure5", request([record()], dataset="mimic-full"))
    assert drawing.name == "figure5-mimic-full"
    assert (56.7, 7) in points(panels(drawing.figure)["F1 micro"], "published")


@pytest.mark.parametrize(
    "other", [{"synthetic": True}, {"changed": {"data.top_codes": 20}}, {"dataset": "codiesp-d50"}]
)
def test_published_figures_never_stand_beside_other_data(other: dict[str, Any]) -> None:
    shown = panels(drawn("fig5", [record(**{"dataset": "mimic50", **other})]))
    assert not any(points(axes, "published") for axes in shown.values())


def test_figure_5_leaves_variants_out_unless_they_are_named() -> None:
    runs = [record(value=0.6), record(variant="no-joint", value=0.7), record("lr", variant="tfidf")]
    rows = [text.get_text() for text in drawn("fig5", runs).axes[0].get_yticklabels()]
    assert rows == ["jlan"]
    rows = [
        text.get_text() for text in drawn("fig5", runs, models=["lr@tfidf", "jlan@no-joint"]).axes[0].get_yticklabels()
    ]
    assert rows == ["jlan@no-joint", "lr@tfidf"]  # best precision first


def test_figure_5_sorts_a_wholly_collapsed_run_as_the_table_does() -> None:
    constant = record(value=0.9, collapse=dict.fromkeys(("fixed", "tuned"), "every document gets the same scores"))
    figure = drawn("fig5", [constant, record("caml", value=0.5), record("cnn", value=0.95)])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["cnn", "jlan †", "caml"]


def test_a_figure_of_your_own_is_one_file(tmp_path: Path) -> None:
    """As is one in benchmarks/: nothing but the file says what is drawn and how."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from icdbench.spec import Benchmark\n"
        "B = Benchmark(name='mine', title='Mine', dataset='codiesp-d50', models=('lr', 'caml'), plot='systems', "
        "metrics=(('P@5', 'p@5'),))\n"
    )
    (drawing,) = figures.draw(str(path), request([record("lr"), record("caml"), record()]))
    assert drawing.name == "mine-codiesp-d50"
    assert [text.get_text() for text in drawing.figure.axes[0].get_yticklabels()] == ["caml", "lr"]
    path.write_text(path.read_text().replace("'systems'", "'metrics'"))
    (drawing,) = figures.draw(str(path), request([record("lr"), record("caml"), record()]))
    assert len(points(drawing.figure.axes[0], "lr")) == 1
    path.write_text(path.read_text().replace(" plot='metrics',", ""))
    with pytest.raises(SpecError, match="declares no plot"):
        figures.draw(str(path), request([record("lr")]))


@pytest.mark.slow
def test_each_raw_data_and_task_has_a_figure_of_its_own() -> None:
    runs = [record(), record(fingerprint="f" * 16), record(changed={"data.language": "es"}), record(dataset="demo")]
    names = [each.name for each in figures.draw("fig5", request(runs))]
    assert len(set(names)) == 4
    assert "figure5-codiesp-d50-language-es" in names


def test_figure_6_compares_the_paper_s_configurations() -> None:
    runs = [record(seed=s, variant=v, value=0.5 + 0.1 * n) for n, v in enumerate(ATTENTION) for s in (1, 2)]
    axes = drawn("fig6", [*runs, record(seed=3, changed={"train.max_epochs": 2})]).axes[0]
    for n, label in enumerate(("L", "S", "L+S", "L+S+J")):
        assert [x for x, _ in points(axes, label)] == pytest.approx([50 + 10 * n] * 7)


@pytest.mark.parametrize(("name", "variant"), [("fig7", "no-joint"), ("fig8", "no-denoise")])
def test_curves_end_with_the_first_run_and_show_the_longest_of_a_seed(name: str, variant: str) -> None:
    longer: dict[str, Any] = {"changed": {"train.max_epochs": 50, "train.patience": 50}}
    runs = [lived(4, 1), lived(9, 1, level=0.7, **longer), lived(6, 2, level=0.5), lived(5, 1, variant)]
    other = lived(30, 3, changed={"train.learning_rate": 0.5})
    axes = panels(drawn(name, [*runs, other]))["P@5, %"]
    lines = [line for line in axes.get_lines() if isinstance(line, Line2D)]
    assert [list(np.asarray(line.get_xdata())) for line in lines] == [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5]]
    assert np.asarray(lines[0].get_ydata()) == pytest.approx(60)


def test_figure_2_counts_codes_and_labels() -> None:
    bars = drawn("fig2", [record()], COUNTS).axes[0]
    heights = [[round(bar.get_height(), 6) for bar in group] for group in bars.containers]
    assert [text.get_text().replace("\n", " ") for text in bars.get_xticklabels()] == [
        *("never", "1–10", "11–100", "101– 1,000", "over 1,000")
    ]
    assert heights[0] == [12.5, 25, 25, 25, 12.5]
    assert heights[1] == pytest.approx([100 * part / 2224 for part in (0, 11, 111, 1101, 1001)])


# --- That it can be read


@pytest.mark.slow
@pytest.mark.parametrize("width", [3.5, 5.0, 7.0])
def test_text_is_large_enough_inside_and_apart(width: float) -> None:
    drawings = figures.draw("all", request(every_run(), np.arange(1, 8922), width=width))
    assert [each.name[:7] for each in drawings] == ["figure2", "figure5", "figure6", "figure7", "figure8"]
    for name, figure in drawings:
        with figures_style():
            canvas: Any = FigureCanvasAgg(figure)
            canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])  # white, so nothing is cut
        assert all((edge == 255).all() for edge in edges), name
        assert all(
            float(text.get_fontsize()) >= 7
            for text in figure.findobj(Text)
            if isinstance(text, Text) and text.get_text()
        )
        for axes in figure.axes:
            axis: Any
            for axis in (axes.xaxis, axes.yaxis):
                boxes = [tick.label1.get_window_extent() for tick in axis._update_ticks() if tick.label1.get_text()]
                assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n]), (name, axes.get_title())


def test_names_with_settings_do_not_overlap() -> None:
    """A name of up to two lines stands in its row; what is longer is a number, explained in the title."""
    changes = [{"train.learning_rate": number / 1000} for number in (1, 2, 3)]
    changes += [{"data.max_tokens": 500, "lr.longest": 2, "train.max_epochs": number} for number in (1, 2, 3)]
    figure = drawn("figure5", [record("lr", changed=changed, dataset="mimic50") for changed in changes])
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [tick.label1.get_window_extent() for tick in figure.axes[0].yaxis.get_major_ticks()]
    assert len(boxes) >= len(changes)
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    assert "lr (2): data.max_tokens=500, lr.longest=2, train.max_epochs=2." in " ".join(figure.get_suptitle().split())


def test_each_series_differs_in_more_than_colour() -> None:
    assert len(set(plots.COLOURS)) == len(plots.COLOURS) == len(set(plots.MARKERS)) == len(set(plots.LINES))


@pytest.mark.slow
def test_equal_runs_give_equal_files_whatever_the_user_s_settings(tmp_path: Path) -> None:
    import matplotlib as mpl

    for folder, size in (("a", 30), ("b", 5)):
        with mpl.rc_context({"font.size": size, "axes.facecolor": "black"}):
            figures.save(figures.draw("fig6", request(every_run())), tmp_path / folder)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {f"figure6-mimic50.{form}" for form in ("png", "svg", "pdf")}
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


# --- What is missing, in one line


def test_what_cannot_be_drawn_is_said(caplog: pytest.LogCaptureFixture) -> None:
    names = [each.name for each in figures.draw("all", request([lived(3), lived(3, variant="no-joint")]))]
    assert names == [f"figure{number}-codiesp-d50" for number in (5, 6, 7)]
    said = [line.getMessage() for line in caplog.records]
    assert "no run on codiesp-d50 keeps how often its codes occur in training" in said[0]
    assert "no run of jlan@label-only, jlan@self-only; 'icdbench ablate jlan --study attention --dataset" in said[1]
    assert "no run of jlan@no-denoise; 'icdbench ablate jlan --study denoise --dataset codiesp-d50' makes it" in said[2]
    assert said[3].startswith("ranks: mean ranks need 3 systems that have runs on the same 3 data sets")
    assert len(said) == 4
    with pytest.raises(SpecError, match=r"^figure8: on codiesp-d50 no run of jlan@no-denoise"):
        figures.draw("fig8", request([lived(3)]))


@pytest.mark.slow
def test_figures_from_the_command_line(icdbench: Call, tmp_path: Path) -> None:
    status, out, err = icdbench("figures", "fig5", "--out", "drawn")
    assert (status, err) == (0, "")
    assert out.split() == [f"drawn/figure5-mimic50.{form}" for form in ("png", "svg", "pdf")]
    assert all((tmp_path / path).stat().st_size for path in out.split())
    status, out, err = icdbench(
        "figures", "fig5", "--results", ROOT / "results", "--out", "drawn", "--dataset", "codiesp-d50"
    )
    assert status == 0
    assert out.split() == [f"drawn/figure5-codiesp-d50.{form}" for form in ("png", "svg", "pdf")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fig7",), "no runs are stored, and the paper prints no numbers; 'icdbench ablate jlan --study joint"),
        (("fig2",), "no runs are stored; 'icdbench run --models lr"),
        (("fig9",), "no figure 'fig9'; did you mean 'fig"),
        (("fig5", "--width", "1"), "--width 1: a figure is 2.5 to 12 inches wide"),
        (("fig5", "--dataset", "mimic5"), "no runs on 'mimic5' are stored"),
        (("fig5", "--results", "absent"), "--results 'absent' is no folder"),
        (("fig5", "--out", "taken"), "--out 'taken' cannot be written"),
    ],
)
def test_bad_requests_get_one_line(icdbench: Call, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "taken").write_text("")
    status, out, err = icdbench("figures", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_training_counts_are_read_where_they_are_stored(tmp_path: Path) -> None:
    (record, *_) = (each for each in store.load_records(ROOT / "results") if each.spec.model == "lr")
    assert store.load_train_counts(tmp_path, record) is None
    unsigned = record.model_copy(update={"digest": ""})
    codes = np.array([str(code) for code in COUNTS])
    np.savez(tmp_path / store.PREDICTIONS, run=record.id, train_counts=COUNTS, codes=codes)
    assert (store.load_train_counts(tmp_path, unsigned) == COUNTS).all()  # type: ignore[union-attr]


# --- Ranks over data sets

PLACES = ("mimic50", "codiesp-d50", "codiesp-p50", "demo")
SKILLS = {"msatt-kg": 0.7, "jlan": 0.65, "caml": 0.6, "laat": 0.55, "cnn": 0.5, "lr": 0.3}


def ranked_runs(places: Sequence[str] = PLACES, skills: dict[str, float] = SKILLS) -> list[RunRecord]:
    """Runs of two seeds whose order is the same on every data set but the last, where the two best change places."""
    found = []
    for place in places:
        for model, skill in skills.items():
            swapped = {"msatt-kg": 0.65, "jlan": 0.7}.get(model, skill) if place == places[-1] else skill
            found += [record(model, seed, swapped + 0.01 * seed, dataset=place) for seed in (1, 2)]
    return found


def test_ranks_show_each_system_at_its_mean_rank() -> None:
    figure = drawn("ranks", ranked_runs())
    assert [axes.get_title("left").partition(":")[0] for axes in figure.axes] == ["MAP", "F1 micro tuned", "P@5"]
    for axes in figure.axes:
        lines = [(line.get_linewidth(), [float(x) for x in np.asarray(line.get_xdata())]) for line in axes.lines]
        assert {round(xs[0], 2) for _, xs in lines if len(xs) == 3} == {1.25, 1.75, 3, 4, 5, 6}
        labels = [text.get_text().strip() for text in axes.texts]
        assert set(SKILLS) <= set(labels)
        assert "critical difference 3.77" in labels  # 2.850 · sqrt(6 · 7 / (6 · 4))
        bars = [xs for width, xs in lines if width == 2.6]
        assert len(bars) == 2
        assert bars[0][0] < 1.25
        assert 5 < bars[0][1] < 5.2, "6 - 1.25 is more than the critical difference, 5 - 1.25 is less"
        assert bars[1][0] > 1.75 - 0.2
        assert bars[1][1] > 6
    assert "demo" in figure.get_suptitle()


def test_ranks_need_three_systems_on_three_data_sets() -> None:
    few = "mean ranks need 3 systems that have runs on the same 3 data sets or more; systems with runs: "
    with pytest.raises(SpecError, match=f"^ranks: {few}6 on codiesp-d50.*, 6 on mimic50"):
        figures.draw("ranks", request(ranked_runs(PLACES[:2])))
    with pytest.raises(SpecError, match=f"{few}2 on "):
        figures.draw("ranks", request(ranked_runs(skills={"jlan": 0.6, "caml": 0.5})))
    with pytest.raises(SpecError, match=r"\(variants do not count\)$"):
        figures.draw("ranks", request([record("lr", variant="l1")]))
    with pytest.raises(SpecError, match=f"{few}none"):
        figures.draw("ranks", request([]))
    with pytest.raises(SpecError, match="ranks: mean ranks are over all data sets; leave out --dataset"):
        figures.draw("ranks", request(ranked_runs(), dataset="demo"))


def test_ranks_are_of_the_systems_that_every_data_set_has(caplog: pytest.LogCaptureFixture) -> None:
    runs = [run for run in ranked_runs() if (run.spec.dataset, run.spec.system) != ("mimic50", "lr")]
    runs += [record(model, dataset="codiesp-d") for model in ("lr", "bigru")]
    runs += [record("jlan", variant="no-joint", dataset=place) for place in PLACES]
    runs += [record("jlan", value=0.01, changed={"train.max_epochs": 1}, dataset=place) for place in PLACES]
    found = over_data.compared(catalog.chosen("ranks")[0], runs)
    assert not isinstance(found, str)
    assert found.systems == sorted(SKILLS.keys() - {"lr"})
    assert len(found.data_sets) == 4
    assert found.left_out.startswith("data sets codiesp-d")
    assert found.left_out.endswith("systems lr")
    assert len(figures.draw("ranks", request(runs))) == 1
    assert caplog.records[-1].getMessage() == f"ranks: left out, as they lack runs: {found.left_out}"
    named = over_data.compared(catalog.chosen("ranks")[0], runs, ["jlan", "jlan@no-joint", "caml"])
    assert not isinstance(named, str)
    assert named.systems == ["caml", "jlan", "jlan@no-joint"]


def test_the_table_of_ranks_has_the_figures_behind_them() -> None:
    text = printed_table(catalog.chosen("ranks")[0], ranked_runs())
    flat = " ".join(text.split())
    assert "**Mean ranks over data sets: MAP**" in text
    assert "| jlan | 1.75 |" in flat
    assert "Friedman's test: p = 0.00" in text
    assert "less than 3.77 apart cannot be told apart" in text
    assert "Mean ranks need 3 systems" in printed_table(catalog.chosen("ranks")[0], [])


def test_data_sets_are_compared_by_the_order_of_all_systems_and_variants_on_both() -> None:
    runs = [*ranked_runs(PLACES[-2:]), *(record("lr", variant="l1", value=0.9, dataset=place) for place in PLACES[-2:])]
    text = printed_table(catalog.chosen("ranks")[0], [*runs, record("caml", dataset="codiesp-d")])
    order = text.partition("same order?")[2]
    rows = [" ".join(line.split()) for line in order.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 1, "a data set with one system has no order"
    assert rows[0].endswith("| 7 | 0.96 | 0.96 | 0.96 |")  # 1 - 6 · (1² + 1²) / (7 · (7² - 1))
    same = printed_table(catalog.chosen("ranks")[0], ranked_runs(PLACES[:2]))
    assert "| 6 | 0.94 | 0.94 | 0.94 |" in " ".join(same.split()), "also without enough data sets for mean ranks"
