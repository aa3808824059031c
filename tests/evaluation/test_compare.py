"""Comparing stored runs: paired differences by hand, what may never be compared, and the command from end to end."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call
from places import ROOT
from runs import COUNTS, UNSIGNED, N, compared_pair, stored
from scipy.sparse import csr_matrix

from icdbench.data import datasets
from icdbench.evaluation import compare, metrics
from icdbench.evaluation.bootstrap import holm, runs_drawn, weights
from icdbench.presentation.comparison import render
from icdbench.records import store
from icdbench.settings import DataError, SpecError
from icdbench.training.score import probabilities
from icdbench.types import LabelSet, Predictions

PAGE = ROOT / "docs" / "metrics.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of jlan, three of caml, one of lr."""
    folder = tmp_path_factory.mktemp("made")
    for model, skill, seeds in (("jlan", 1.0, 2), ("caml", 0.6, 3), ("lr", 0.6, 1)):
        for seed in range(1, seeds + 1):
            stored(folder, model, seed, skill)
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change, in the folder where commands run."""
    return Path(shutil.copytree(made, tmp_path / "results"))


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "fix_seeds"), [("fixed", False), ("tuned", False), ("fixed", True)])
def test_differences_are_those_of_the_documents_and_seeds_drawn(results: Path, rule: str, fix_seeds: bool) -> None:  # noqa: FBT001
    found = compared_pair(results, ("jlan", "caml"), "demo", rule=rule, resamples=100, fix_seeds=fix_seeds)
    records = store.load_records(results)
    means = []
    for model in ("jlan", "caml"):
        runs = [record for record in records if record.spec.model == model]
        rows = []
        for record in runs:
            test = store.load_predictions(results / record.id, record)["test"]
            rows.append([figures(test, drawn(row), record.threshold[rule]) for row in weights(N, 100)])
        chosen_RS = np.ones((100, len(runs)), int) if fix_seeds else runs_drawn([run.id for run in runs], 100)
        means.append(
            [
                {
                    key: np.mean(
                        [
                            run[r].get(key, np.nan)
                            for run, times in zip(rows, chosen_RS[r], strict=True)
                            for _ in range(times)
                        ]
                    )
                    for key in rows[0][0]
                }
                for r in range(100)
            ]
        )
    assert {"auc_macro", "auc_micro", "p@5", "map", "f1_macro_harmonic", "f1_micro[0]"} <= set(found.differences)
    assert "auc_labels" not in found.differences
    for key, each in found.differences.items():
        values = np.array([one.get(key, np.nan) - other.get(key, np.nan) for one, other in zip(*means, strict=True)])
        values = values[~np.isnan(values)]
        low, high = np.quantile(values, [0.025, 0.975])
        fewer = min((values <= 1e-12).sum(), (values >= -1e-12).sum())
        expected = (low, high, min(1, 2 * (1 + fewer) / (len(values) + 1)))
        assert each[2:] == pytest.approx(expected, abs=1e-10), key
        stored_figures = [
            [r.metrics["test"][rule][key] for r in records if r.spec.model == m] for m in ("jlan", "caml")
        ]
        assert [list(each.one), list(each.other)] == stored_figures
        assert each.mean == pytest.approx(np.mean(stored_figures[0]) - np.mean(stored_figures[1]))


def drawn(weights_N: Any) -> Any:
    return np.repeat(np.arange(N), weights_N.astype(int))


def figures(test: Predictions, chosen: Any, at: float) -> dict[str, float]:
    scores, labels = probabilities(test.scores_NL)[chosen], test.labels.toarray()[chosen]
    return metrics.evaluate(scores, labels, at, unseen=test.unseen[chosen], train_counts=COUNTS)


def test_swapping_the_systems_changes_the_sign_alone(results: Path) -> None:
    forth = compared_pair(results, ("jlan", "caml"), "demo", resamples=200)
    back = compared_pair(results, ("caml", "jlan"), "demo", resamples=200)
    for key, each in forth.differences.items():
        other = back.differences[key]
        assert (each.mean, each.low, each.high) == pytest.approx((-other.mean, -other.high, -other.low), abs=1e-12)
        assert each.p == other.p
    assert (forth.f1_one_L == back.f1_other_L).all()


def test_equal_predictions_differ_by_nothing(tmp_path: Path) -> None:
    one, other = (stored(tmp_path, "jlan", version=version) for version in ("1", "2"))
    assert one != other
    names = [f"jlan:{record.spec.setting}" for record in store.load_records(tmp_path)]
    found = compared_pair(tmp_path, (names[0], names[1]), "demo", resamples=100)
    assert {(each.mean, each.low, each.high, each.p) for each in found.differences.values()} == {(0, 0, 0, 1)}
    text = render(found)
    assert "| all | 8 | 0 | 0 | 8 |" in " ".join(text.split())
    assert "The 0 largest differences" in text


def test_the_better_system_wins_and_the_same_draws_give_the_same_text(results: Path) -> None:
    found = compared_pair(results, ("jlan", "caml"), "demo")
    assert found.differences["f1_micro"].p < 0.05
    assert found.differences["f1_micro"].low > 0
    again = compared_pair(results, ("jlan", "caml"), "demo")
    assert render(found) == render(again)


def test_what_an_interval_covers_is_said(icdbench: Call, results: Path) -> None:
    def said(*words: str) -> str:
        status, out, err = icdbench("compare", *words, "--dataset", "demo", "--resamples", 100)
        assert (status, err) == (0, "")
        return next(line for line in out.splitlines() if line.startswith("- Interval and p"))

    assert results.is_dir()
    assert said("jlan", "caml").endswith(
        "The seeds of each system are drawn, too, independently: documents and seeds are covered."
    )
    assert said("jlan", "lr").endswith("are covered, but only documents for lr, with one seed.")
    alone = "They cover other documents alone: "
    assert said("jlan", "caml", "--fix-seeds").endswith(f"{alone}seeds are fixed, as asked for.")
    assert said("jlan", "caml", "--seeds", "1").endswith(
        f"{alone}with one seed each, trained models are compared, not their methods."
    )


def test_several_systems_are_each_compared_with_the_reference(results: Path) -> None:
    found = compare.against(results, ("jlan", "caml", "lr"), "demo", resamples=100)
    assert [(each.one.name, each.other.name) for each in found] == [("caml", "jlan"), ("lr", "jlan")]
    for each in found:
        alone = compared_pair(results, (each.one.name, "jlan"), "demo", resamples=100)
        assert each.differences == alone.differences
        assert (each.f1_one_L == alone.f1_one_L).all()
    every = compare.against(results, ("jlan", compare.ALL), "demo", resamples=100)
    assert [each.one.name for each in every] == ["caml", "lr"]
    assert [each.differences for each in every] == [each.differences for each in found]


def test_the_tables_of_several_systems_have_corrected_p_values(icdbench: Call, results: Path) -> None:
    words = ("--dataset", "demo", "--results", results)
    status, out, err = icdbench("compare", "--models", "all", "--reference", "jlan", *words, "--format", "csv")
    assert (status, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    tables: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        tables.setdefault(row["table"], []).append(row)
    assert "Systems against jlan on demo (SYNTHETIC): P@5" in tables
    for table in tables.values():
        assert table[0]["system"] == "jlan"
        assert {row["system"] for row in table[1:]} == {"caml", "lr"}
        assert "corrected for the 2 comparisons of this table" in table[0]["notes"]
        p_values = [float(row["p"]) for row in table[1:]]
        assert [float(row["p (Holm)"]) for row in table[1:]] == pytest.approx(holm(p_values), abs=2e-3)
    assert icdbench("compare", "jlan", "caml", "lr", *words, "--format", "csv")[1] == out, "the first is the reference"
    status, out, err = icdbench("compare", "jlan", "caml", "lr", *words, "--resamples", 100)
    assert (status, err) == (0, "")
    assert "p (Holm)" in out


@pytest.mark.slow
def test_too_few_resamples_for_the_number_of_systems_are_named(icdbench: Call, results: Path) -> None:
    for model in ("cnn", "laat", "leam", "bigru"):
        stored(results, model)
    _, out, _ = icdbench("compare", "jlan", "all", "--dataset", "demo", "--resamples", 100)
    assert "Too few resamples for any to be below 0.05: --resamples 1000." in out
    _, out, _ = icdbench("compare", "jlan", "all", "--dataset", "demo", "--resamples", 1000)
    assert "Too few resamples" not in out


def test_all_settings_of_a_system_are_told_apart(icdbench: Call, results: Path) -> None:
    stored(results, "caml", changed={"train.t_loss": 0.0}, version="2")
    status, out, err = icdbench("compare", "jlan", "all", "--dataset", "demo", "--resamples", 100)
    assert (status, err) == (0, "")
    settings = {record.spec.setting for record in store.load_records(results) if record.spec.system == "caml"}
    assert all(f"caml:{setting}" in out for setting in settings)
    assert len(settings) == 2


def test_per_code_f1_is_the_mean_over_seeds(results: Path) -> None:
    found = compared_pair(results, ("jlan", "lr"), "demo", resamples=100)
    expected = []
    for model, seeds in (("jlan", 2), ("lr", 1)):
        per_seed = []
        for record in (record for record in store.load_records(results) if record.spec.model == model):
            test = store.load_predictions(results / record.id, record)["test"]
            guess, gold = test.scores_NL > 0, test.labels.toarray() > 0
            per_seed.append(2 * (guess & gold).sum(0) / np.maximum(guess.sum(0) + gold.sum(0), 1))
        assert len(per_seed) == seeds
        expected.append(np.mean(per_seed, axis=0))
    assert found.f1_one_L == pytest.approx(expected[0])
    assert found.f1_other_L == pytest.approx(expected[1])


def test_the_command_prints_figures_buckets_wins_and_codes(icdbench: Call, results: Path) -> None:
    words = ("compare", "jlan", "caml", "--dataset", "demo", "--results", results, "--resamples", 100)
    status, out, err = icdbench(*words)
    assert (status, err) == (0, "")
    flat = " ".join(out.split())
    assert "**jlan and caml on demo (SYNTHETIC): figures**" in out
    assert "| F1 macro (harmonic) |" in flat
    assert "| F1 micro, >500 |" in flat.replace("\\>", ">")
    assert "seeds 1, 2." in out
    assert "seeds 1, 2, 3." in out
    assert "| 401.9 | Unspecified essential hypertension | 5 |" in flat
    assert "| no-code | | 900 |" in flat
    for fmt in ("latex", "html", "csv"):
        status, out, err = icdbench(*words, "--format", fmt, "--rule", "tuned", "--seeds", "2")
        assert (status, err) == (0, "")
        assert out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {"figures", "jlan", "jlan sd", "difference", "95 % from", "to", "p"} <= rows[0].keys()
    status, out, _ = icdbench(*words, "--seeds", "1")
    assert status == 0
    assert "±" not in out
    assert "seed 1." in out


def test_a_collapsed_system_is_marked(icdbench: Call, results: Path) -> None:
    stored(results, "cnn", shift=-40)
    _, out, _ = icdbench("compare", "jlan", "cnn", "--dataset", "demo", "--resamples", 100)
    assert "cnn †" in out
    assert "† cnn, seed 1: no code is ever predicted (fixed)." in out


OTHER_DATA: dict[str, dict[str, Any]] = {
    "fingerprint of the raw data is 0123456789abcdef and ffff": {"fingerprint": "ffff"},
    "data.language is en and es": {"data": {"language": "es"}},
    "data.split_seed is 0 and 7": {"data": {"split_seed": 7}},
}


@pytest.mark.parametrize("message", OTHER_DATA)
def test_runs_on_other_data_are_never_compared(icdbench: Call, results: Path, message: str) -> None:
    stored(results, "cnn", **OTHER_DATA[message])
    status, out, err = icdbench("compare", "jlan", "cnn", "--dataset", "demo")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert f"not measured on the same documents and codes and cannot be compared: {message}" in err


def test_other_gold_codes_are_never_compared(results: Path) -> None:
    stored(results, "cnn", gold=1)
    with pytest.raises(DataError, match=r"the gold codes stored with demo/jlan/.* and demo/cnn/.* differ"):
        compared_pair(results, ("jlan", "cnn"), "demo", resamples=100)


WRONG = {
    "no run of 'jlann' on demo is stored; did you mean 'jlan'?": ("jlann", "caml"),
    "no run of 'jlan@no-joint' on demo is stored": ("caml", "jlan@no-joint"),
    "'caml' and 'caml' are the same runs; name two systems": ("caml", "caml"),
    "no runs on 'demmo' are stored; did you mean 'demo'?": ("jlan", "caml", "--dataset", "demmo"),
    "'all' on demo: name two systems, or one with which 'all' are compared": ("all",),
    "'jlan' on demo: name two systems": ("jlan",),
    "'caml' and 'caml' are the same runs; name two": ("jlan", "caml", "caml"),
    "no run of 'jlann' on demo is stored; did you mean": ("all", "--reference", "jlann"),
    "no run of 'jlan' has seed 3 (stored: 1, 2)": ("jlan", "caml", "--seeds", "3"),
    "no rule 'tunned'; did you mean 'tuned'?": ("jlan", "caml", "--rule", "tunned"),
    "--resamples 99: give a number from 100 to 10,000": ("jlan", "caml", "--resamples", "99"),
    "no format 'pdf'": ("jlan", "caml", "--format", "pdf"),
    "no runs in 'nowhere'; 'icdbench run' makes some": ("jlan", "caml", "--results", "nowhere"),
    "no setting '0000' of 'jlan' on demo is stored": ("jlan:0000", "caml"),
}


@pytest.mark.parametrize("message", WRONG)
def test_bad_requests_get_one_line_and_status_2(icdbench: Call, results: Path, message: str) -> None:
    assert results.is_dir()
    words = WRONG[message]
    status, out, err = icdbench("compare", *words, *([] if "--dataset" in words else ["--dataset", "demo"]))
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


def test_several_settings_are_listed_and_told_apart_by_their_digits(icdbench: Call, results: Path) -> None:
    stored(results, "jlan", changed={"train.t_loss": 0.0}, version="2")
    status, _, err = icdbench("compare", "jlan", "caml", "--dataset", "demo")
    assert status == 2
    assert "several settings of 'jlan' on demo are stored; name one of them: jlan:" in err
    assert "(nothing set, version 1, data 0123456789abcdef, seeds 1, 2)" in err
    assert "(train.t_loss=0.0, version 2, data 0123456789abcdef, seed 1)" in err
    changed = next(record.spec for record in store.load_records(results) if record.changed)
    name = f"jlan:{changed.setting[:6]}"
    status, out, err = icdbench("compare", name, "caml", "--dataset", "demo", "--resamples", 100)
    assert (status, err) == (0, "")
    assert f"- {name}: seed 1; train.t_loss=0.0." in out


def test_a_name_alone_means_the_data_set_as_it_is(icdbench: Call, results: Path) -> None:
    words = ("compare", "jlan", "caml", "--dataset", "demo", "--resamples", 100)
    before = icdbench(*words)
    stored(results, "jlan", changed={"data.train_on": "train+validation"}, version="2")
    assert icdbench(*words) == before


def test_a_run_stands_for_its_setting(icdbench: Call, results: Path) -> None:
    stored(results, "jlan", changed={"train.t_loss": 0.0}, version="2")
    changed = next(record for record in store.load_records(results) if record.changed)
    name = f"jlan:{changed.id.rpartition('-')[2]}"
    status, out, _ = icdbench("compare", name, "caml", "--dataset", "demo", "--resamples", 100)
    assert status == 0
    assert f"- {name}: seed 1; train.t_loss=0.0." in out


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["missing", "cut", "altered", "without scores", "of another run", "no archive"])
def test_predictions_that_cannot_be_read_are_named(icdbench: Call, results: Path, harm: str) -> None:
    path = next(results.glob("demo/jlan/1-*")) / store.PREDICTIONS
    content = path.read_bytes()
    match harm:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "altered":
            path.write_bytes(content[:300] + bytes(200) + content[500:])
        case "without scores":
            np.savez(path, codes=np.zeros(1))
        case "of another run":
            path.write_bytes((next(results.glob("demo/jlan/2-*")) / store.PREDICTIONS).read_bytes())
        case "no archive":
            path.write_text("not at all")
    status, out, err = icdbench("compare", "jlan", "caml", "--dataset", "demo", "--resamples", 100)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert str(path.relative_to(results)) in err
    status, out, err = icdbench("runs", "--remeasure")
    assert status == 1
    assert out.count("demo/") == 6, "the list of runs is printed all the same"
    assert "1 of 6 runs could not be remeasured" in err
    assert str(path.relative_to(results)) in err


def test_remeasuring_brings_old_records_up_to_date(icdbench: Call, results: Path) -> None:
    folder = next(results.glob("demo/caml/2-*"))
    made = store.load_record(folder)
    assert made is not None
    assert made.intervals["fixed"]["f1_micro"][0] < made.metrics["test"]["fixed"]["f1_micro"]
    old = {rule: {"f1_micro": 0.5} for rule in ("fixed", "tuned")}
    store.save_record(folder, made.model_copy(update={"metrics": {"test": old}, "intervals": {}, "popularity": {}}))
    times = {path: path.stat().st_mtime_ns for path in results.rglob("record.json")}
    status, _, err = icdbench("runs", "--remeasure")
    assert (status, err) == (0, "")
    again = store.load_record(folder)
    assert again is not None
    assert again.remeasured
    assert again.model_copy(update={"remeasured": "", "digest": made.digest}) == made
    assert list(again.metrics) == ["validation", "test"]
    changed = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {folder / "record.json"}, "a record that is up to date is not written"


def test_predictions_are_kept_to_the_bit(tmp_path: Path) -> None:
    values = np.array([[0.1, -0.0, np.inf], [-np.inf, 1e-42, -3e38]], np.float32)
    for scores_NL in (values, np.asfortranarray(values), values.astype(np.float64)):
        given = Predictions((), scores_NL, csr_matrix(np.eye(2, 3, dtype=np.uint8)), np.array([0, 3]))
        store.save_predictions(tmp_path, UNSIGNED.id, {"test": given}, LabelSet(("a", "b,é", "c"), np.array([3, 2, 1])))
        again = store.load_predictions(tmp_path, UNSIGNED)["test"]
        assert again.scores_NL.tobytes() == values.tobytes()
        assert again.scores_NL.shape == (2, 3)
        assert (again.labels.toarray() == np.eye(2, 3)).all()
        assert again.unseen.tolist() == [0, 3]
    label_set = store.load_label_set(tmp_path, UNSIGNED)
    assert (label_set.codes, label_set.train_counts.tolist()) == (("a", "b,é", "c"), [3, 2, 1])


def test_titles_that_need_absent_files_are_left_out(tmp_path: Path) -> None:
    for model in ("jlan", "caml"):
        stored(tmp_path, model, dataset="mimic50")
    assert render(compared_pair(tmp_path, ("jlan", "caml"), "mimic50", resamples=100))
    with pytest.raises((DataError, SpecError)):
        datasets.open("mimic50").titles(["401.9"])


def test_own_data_are_named_by_their_file(icdbench: Call, tmp_path: Path) -> None:
    for model in ("jlan", "caml"):
        stored(tmp_path / "results", model, dataset="notes.csv")
    status, out, err = icdbench("compare", "jlan", "caml", "--dataset", tmp_path / "notes.csv", "--resamples", 100)
    assert (status, err) == (0, "")
    assert "on notes.csv" in out


@pytest.mark.slow
def test_the_page_shows_what_the_command_prints(icdbench: Call) -> None:
    command = "icdbench compare jlan caml --dataset codiesp-d50"
    text = PAGE.read_text(encoding="utf-8")
    assert f"    {command}\n" in text
    status, out, _ = icdbench(*command.split()[1:], "--results", PAGE.parent.parent / "results")
    assert status == 0
    assert out in text
