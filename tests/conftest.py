"""Fixtures that several files share. Every test has caches and data folders of its own."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import finished as finished_runs
import numpy as np
import pytest
import sqlalchemy
import torch

from icdbench import registry
from icdbench.cli import main as cli

# What `pytest -m quick` runs: some of every package, within a minute. Of these files, tests whose fixtures train a model or
# open a browser stay out, and so do those named here.
QUICK = {
    "cli/test_cli.py": {
        "test_every_model_is_listed_and_described",
        "test_ctrl_c_leaves_a_run_that_continues_to_the_same_bytes",
        "test_data_commands",
        "test_parameters_are_counted_for_a_data_set",
        "test_settings_for_small_data_hold_there_and_the_published_ones_are_a_variant",
        "test_synthetic_tables_from_making_to_clearing",
    },
    "codes/test_hierarchy.py": {"test_icd10_by_the_package_and_by_the_axes_of_procedures"},
    "data/test_batches.py": set(),
    "data/test_edin.py": set(),
    "data/test_encode.py": {
        "test_tokens_by_another_way_of_saying_it",
        "test_many_words_are_read_by_a_worker_per_core",
        "test_a_damaged_cache_is_rebuilt_with_a_warning",
    },
    "data/test_mimic3.py": set(),
    "data/test_own.py": set(),
    "data/test_physionet.py": {"test_a_note_of_20_megabytes_is_read"},
    "data/test_splits.py": set(),
    "evaluation/test_bootstrap.py": {
        "test_intervals_cover_the_truth_about_as_often_as_they_say",
        "test_resamples_have_the_figures_of_the_repeated_documents",
    },
    "evaluation/test_metrics.py": set(),
    "experiments/test_ablate.py": {
        "test_studies_share_their_runs_and_finished_ones_are_kept",
        "test_bad_requests_get_one_line_and_status_2",
    },
    "host/test_output.py": {"test_no_command_shows_what_would_command_a_terminal"},
    "host/test_tuning.py": set(),
    "inference/test_explain.py": {
        "test_every_model_is_explained_by_every_method_it_has",
        "test_spans_of_odd_characters_and_of_notes",
        "test_the_command_explains_long_notes_as_predict_reads_them",
    },
    "models/test_attention.py": set(),
    "models/test_baselines.py": set(),
    "models/test_graph_models.py": set(),
    "nn/test_kernels.py": set(),
    "plugins/test_listing.py": set(),
    "presentation/test_results.py": set(),
    "presentation/test_tables.py": {"test_the_example_of_the_docs_trains_and_prints"},
    "records/test_identity.py": {"test_listing_runs_needs_no_model"},
    "records/test_versions.py": set(),
    "serving/test_app.py": {
        "test_every_model_shows_the_whole_note",
        "test_fifty_at_once_each_get_their_own_answer",
        "test_random_bytes_are_answered",
        "test_a_posted_note_is_one_forward_pass_of_each_model",
        "test_a_server_that_has_gone_is_said",
        "test_long_notes_are_answered_like_short_ones",
        "test_nothing_of_a_note_is_left",
        "test_numbers_are_those_of_predict_to_the_bit",
    },
    "synthetic/test_synthetic.py": {
        "test_documents_do_not_depend_on_hash_order",
        "test_phrases_are_read_only_when_asked_for",
    },
    "training/test_train.py": {
        "test_checkpoints_take_a_small_share_of_the_time",
        "test_without_any_good_checkpoint_training_starts_again",
        "test_equal_seeds_give_equal_bits_and_other_seeds_others",
        "test_a_batch_that_memory_does_not_hold_is_computed_in_parts",
        "test_foreign_checkpoint_is_warned_of_and_training_starts_again",
        "test_of_a_checkpoint_cut_or_altered_anywhere_the_one_before_is_taken",
        "test_run_stopped_anywhere_and_resumed_equals_the_straight_run",
        "test_training_learns_and_ends_with_the_best_weights",
    },
    "test_architecture.py": {"test_no_model_file_of_the_suite_is_left_out"},
}
TRAINING_OR_BROWSER = {"few_notes", "finished", "good", "notes", "trained", "two", "watched", "write_mine"}

# For the commands that tests start: two processes of two threads each are many times as slow on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A suite that is started in the background, or under nohup, ignores these, and so would the commands that it starts, which
# some tests send them. What is handled here is reset to the default there.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)

Call = Callable[..., tuple[int, str, str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick ones."""
    for item in items:
        found = QUICK.get(item.path.relative_to(Path(__file__).parent).as_posix())
        if found is None or not isinstance(item, pytest.Function):
            continue
        if item.originalname not in found and not TRAINING_OR_BROWSER & set(item.fixturenames):
            item.add_marker("quick")


@pytest.fixture(autouse=True)
def _no_models_of_other_tests() -> Iterator[None]:
    """Models that a test registers from a user's file are forgotten at its end."""
    yield
    for name in [name for name, entry in registry._ENTRIES.items() if entry.source]:
        del registry._ENTRIES[name]
    for name in [name for name in sys.modules if name.startswith("icdbench_user_file_")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all processes of a session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # each process of -n has a folder below it


@pytest.fixture
def shared_cache(session_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of something else than preparation: what another test prepared is not prepared again."""
    monkeypatch.setenv("ICDBENCH_CACHE", str(session_folder / "cache"))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ICDBENCH_DATA", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """What tests write need not survive a power failure."""

    def relax(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", relax)
    with mock.patch.object(os, "fsync", return_value=None):
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", relax)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small models run fastest, and reproducibly, on one thread."""
    torch.set_num_threads(1)


@pytest.fixture
def icdbench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs a command in an empty folder; its exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["icdbench", *map(str, words)])
        capsys.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """60 own documents whose codes can be read off their words, with splits."""
    generator = np.random.default_rng(0)
    words = {"038.9": "sepsis fever", "428.0": "heart failure edema", "0250": "diabetes insulin"}
    path = tmp_path / "notes.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "codes", "split"])
        for number in range(60):
            codes = [code for code in words if generator.random() < 0.5] or ["038.9"]
            text = " ".join(["the patient was admitted", *(words[code] for code in codes), "and went home"])
            split = "train" if number < 40 else "validation" if number < 50 else "test"
            writer.writerow([number, text, ";".join(codes), split])
    return path


@pytest.fixture
def few_notes(tmp_path: Path) -> Path:
    """40 own documents with splits, whose codes are words of theirs."""
    return finished_runs.write_notes(tmp_path / "notes.csv")


@pytest.fixture
def finished(tmp_path: Path, session_folder: Path) -> Path:
    """The test's folder with notes.csv, note.txt, caml.icdbench and finished runs of caml, jlan and lr in results/."""
    shared = finished_runs.once(session_folder / "finished", finished_runs.train)
    return Path(shutil.copytree(shared, tmp_path, dirs_exist_ok=True))


@pytest.fixture
def synthetic_tables(session_folder: Path) -> Path:
    """A folder with synthetic MIMIC tables of 60 admissions, which no test changes."""
    return finished_runs.once(session_folder / finished_runs.TABLES, finished_runs.synthetic)
