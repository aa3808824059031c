"""The cache among processes, what it remembers of raw files, and how it is cleared."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from corpora import prepared, rows, write

from icdbench import files
from icdbench.embeddings import word_vectors
from icdbench.spec import DataSpec


def save(value: str, place: Path) -> None:
    (place / "value").write_text(value)


def load(place: Path) -> str:
    return (place / "value").read_text()


def test_of_several_that_want_the_same_one_builds_and_the_others_wait(caplog: pytest.LogCaptureFixture) -> None:
    folder, built, got = files.cache_root() / "encoded" / "x", [], []

    def build() -> str:
        built.append(threading.get_ident())
        time.sleep(0.3)
        return "content"

    threads = [threading.Thread(target=lambda: got.append(files.cached(folder, build, save, load))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["content"] * 4
    assert len(built) == 1
    assert "another process is preparing x; waiting for it" in caplog.text


def test_a_process_that_dies_while_it_builds_leaves_no_lock() -> None:
    folder = files.cache_root() / "encoded" / "x"
    code = (
        "import os, sys; from pathlib import Path; from icdbench import files\n"
        "files.cached(Path(sys.argv[1]), lambda: os._exit(9), None, None)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 9
    assert files.cached(folder, lambda: "content", save, load) == "content"


def test_what_fails_while_it_is_built_can_be_built_again() -> None:
    folder = files.cache_root() / "encoded" / "x"
    with pytest.raises(ZeroDivisionError):
        files.cached(folder, lambda: str(1 // 0), save, load)
    assert files.cached(folder, lambda: "content", save, load) == "content"


def test_large_raw_files_are_read_once_and_again_after_any_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "REMEMBERED", 4)
    monkeypatch.setattr(files, "SETTLED", 0.0)
    path = tmp_path / "raw.csv"
    path.write_text("content")
    read: list[Path] = []
    digest = files.digest

    def counted(given: Path) -> str:
        read.append(given)
        return digest(given)

    monkeypatch.setattr(files, "digest", counted)
    first = files.raw_digest(path)
    assert files.raw_digest(path) == first == digest(path)
    assert len(read) == 1
    times = path.stat()
    path.write_text("CONTENT")  # as long, and with the times set back
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert files.raw_digest(path) == digest(path) != first
    for note in (files.cache_root() / "digests").iterdir():
        note.write_text("damaged")
    assert files.raw_digest(path) == digest(path)


def test_small_files_and_those_just_written_are_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "raw.csv"
    path.write_text("content")
    files.raw_digest(path)
    monkeypatch.setattr(files, "REMEMBERED", 4)
    files.raw_digest(path)
    assert not (files.cache_root() / "digests").exists()


def test_a_private_file_is_at_no_moment_anybody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    place = Path.replace

    def replace(path: Path, target: Path) -> Path:
        modes.append(path.stat().st_mode & 0o777)
        return place(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    for private in (True, False):
        with files.replacing(tmp_path / "file", private=private) as temporary:
            temporary.write_text("text", encoding="utf-8")
            assert temporary.stat().st_mode & 0o077 == 0
    assert modes[0] == 0o600
    assert modes[1] & 0o400


def test_clear_removes_one_data_set_or_all_and_nothing_else(tmp_path: Path) -> None:
    for name in ("notes.csv", "notes.csv-more.csv"):
        corpus = prepared(write(tmp_path / name, rows(30)))
        word_vectors(corpus, DataSpec(), 4)
    other = files.cache_root() / "mine.txt"
    other.write_text("not the cache's")
    removed, size = files.clear("notes.csv")
    assert removed == 2
    assert size > 0
    left = sorted(path.name.rpartition("-")[0] for path in (files.cache_root() / "encoded").iterdir())
    assert left == ["notes.csv-more.csv"]
    assert files.clear()[0] == 2
    assert other.exists()
    assert files.clear() == (0, 0)
