"""Fixtures that several files share. Every test has caches and data folders of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import finished as finished_runs
import numpy as np
import pytest
import torch

from icdbench import registry
from icdbench.cli import main as cli
from icdbench.types import Batch, Encoded, Hierarchy, Task

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
os.environ.setdefault("ICDBENCH_FLOORS", "0")  # only the systems that a test names

# A suite that is started in the background, or under nohup, ignores these, and so would the commands that it starts, which
# some tests send them. What is handled here is reset to the default there.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)

NUM_TOKENS, NUM_CODES, WIDEST = 60, 7, 256
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


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ICDBENCH_DATA", raising=False)


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
def few_notes(tmp_path: Path) -> Path:
    """40 own documents with splits, whose codes are words of theirs."""
    return finished_runs.write_notes(tmp_path / "notes.csv")


@pytest.fixture
def finished(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test's folder with notes.csv, note.txt, caml.icdbench and finished runs of caml, jlan and lr in results/."""
    base = tmp_path_factory.getbasetemp()
    session = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # each process of -n has a folder below it
    return finished_runs.copied(session / "finished", tmp_path)


def encoded(texts: Sequence[Sequence[int]], codes: Sequence[Sequence[int]], max_tokens: int = 100) -> Encoded:
    """Documents given as token and code indices."""
    return Encoded(
        ids=tuple(str(number) for number in range(len(texts))),
        tokens=np.array([token for text in texts for token in text], dtype=np.int32),
        token_offsets=np.cumsum([0, *map(len, texts)]),
        codes=np.array([code for row in codes for code in row], dtype=np.int32),
        code_offsets=np.cumsum([0, *map(len, codes)]),
        unseen=np.zeros(len(texts), np.int32),
        num_codes=NUM_CODES,
        max_tokens=max_tokens,
    )


def learnable(documents: int, seed: int = 0, shortest: int = 1, longest: int = 30) -> Encoded:
    """Documents whose codes are certain tokens: token 2 + 3·l stands for code l."""
    generator = np.random.default_rng(seed)
    texts, codes = [], []
    for _ in range(documents):
        chosen = np.flatnonzero(generator.random(NUM_CODES) < 0.3)
        length = int(generator.integers(max(shortest, len(chosen), 1), longest + 1))
        text = [*(2 + 3 * chosen), *generator.integers(30, NUM_TOKENS, length - len(chosen))]
        generator.shuffle(text)
        texts.append(text)
        codes.append(chosen.tolist())
    return encoded(texts, codes)


def padded(texts: Sequence[Sequence[int]], width: int | None = None) -> Batch:
    """A batch of documents given as token indices, padded to `width` or the longest."""
    lengths = [len(text) for text in texts]
    tokens_BT = torch.zeros(len(texts), width or max(lengths), dtype=torch.long)
    for row, text in enumerate(texts):
        tokens_BT[row, : len(text)] = torch.as_tensor(text)
    labels_BL = torch.zeros(len(texts), NUM_CODES)
    return Batch(tokens_BT, torch.as_tensor(lengths), labels_BL, torch.arange(len(texts)))


def small_task(width: int | None = None, *, described: bool = True) -> Task:
    """A task of NUM_TOKENS words and NUM_CODES codes; the last code has no title.

    Codes 0 and 1 stand below code 2; 2, 3 and 4 below a titled heading; that and 5 below a root; 6 below another.
    """
    vectors = None
    if width is not None:
        vectors = np.random.default_rng(1).standard_normal((NUM_TOKENS, width)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[0] = 0
    titles = tuple(np.array([2 + 3 * code, 40 + code], np.int32) for code in range(NUM_CODES - 1))
    none = np.zeros(0, np.int32)
    parents = np.array([2, 2, 7, 7, 7, 8, 9, 8, -1, -1], np.int32)
    tree = Hierarchy(parents, ("heading", "(root)", "(other)"), (np.array([50, 51], np.int32), none, none))
    return Task(NUM_TOKENS, NUM_CODES, vectors, (*titles, none) if described else None, tree)
