"""The cache among processes, what it remembers of raw files, and how it is cleared."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from corpora import prepared, rows, write
from waiting import Heard

from icdbench import files
from icdbench.data import cache, encode
from icdbench.data.cache import cache_root, cached, clear, raw_digest
from icdbench.data.word_vectors import word_vectors
from icdbench.spec import DataSpec

pytestmark = pytest.mark.slow

KILLED = """
import os, signal, sys
from pathlib import Path
from icdbench import files
path, how = Path(sys.argv[1]), getattr(files, sys.argv[2])
with how(path) as temporary:
    (temporary / "part" if temporary.is_dir() else temporary).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
WRITERS = ("replacing", "replacing_folder", "workspace")


def killed(path: Path, how: str) -> None:
    """Have a process killed while it writes."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), how], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize("name", ["new.txt", "there.txt", "lock", "x" * 250])
def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_beside_it(
    tmp_path: Path, how: str, name: str
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "there.txt").write_text("mine")
    (place / ".icdbench-mine.tmp").mkdir()
    before = sorted(place.iterdir())
    killed(place if how == "workspace" else place / name, how)
    (left,) = set(place.iterdir()) - set(before)
    assert left.stat().st_mode & 0o077 == 0
    with files.replacing(place / "other") as temporary:
        temporary.write_text("whole")
    assert sorted(place.iterdir()) == sorted([*before, place / "other"])
    assert (place / "there.txt").read_text() == "mine"


def test_what_a_living_process_writes_is_left_alone_whoever_else_writes_or_clears() -> None:
    place = cache_root() / "encoded"
    with files.replacing(place / "file") as one, files.replacing_folder(place / "folder") as other:
        one.write_text("whole")
        (other / "part").write_text("whole")
        code = (
            "import sys; from pathlib import Path; from icdbench import files; from icdbench.data import cache; place = Path(sys.argv[1])\n"
            "files.remove_abandoned(place); cache.clear()\n"
            "with files.replacing(place / 'third') as temporary: temporary.write_text('whole')"
        )
        subprocess.run([sys.executable, "-c", code, str(place)], check=True)
        files.remove_abandoned(place)
    assert (place / "file").read_text() == (place / "folder" / "part").read_text() == "whole"
    assert sorted(path.name for path in place.iterdir()) == ["file", "folder", "third"]


def test_another_machines_temporary_folder_goes_only_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock may not be seen from here."""
    killed(tmp_path / "file", "replacing")
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    files.remove_abandoned(tmp_path)
    (left,) = files.temporaries(tmp_path)
    for path in (*left.iterdir(), left):
        os.utime(path, (0, 0))
    files.remove_abandoned(tmp_path)
    assert files.temporaries(tmp_path) == []


def test_one_that_is_not_locked_yet_goes_only_after_a_while(tmp_path: Path) -> None:
    """Its process may be about to lock it, or have died before it could."""
    left = tmp_path / f".icdbench-{files._host()}-{os.getpid()}-abcd_012.tmp"
    left.mkdir()
    files.remove_abandoned(tmp_path)
    assert left.exists()
    os.utime(left, (0, 0))
    files.remove_abandoned(tmp_path)
    assert not left.exists()
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{done.pid}-"))
    left.mkdir()
    files.remove_abandoned(tmp_path)
    assert not left.exists()


def save(value: str, place: Path) -> None:
    (place / "value").write_text(value)


def load(place: Path) -> str:
    return (place / "value").read_text()


def test_of_several_that_want_the_same_one_builds_and_the_others_wait(caplog: pytest.LogCaptureFixture) -> None:
    folder, built, got, waiting = cache_root() / "encoded" / "x", [], [], threading.Semaphore(0)

    def build() -> str:
        built.append(threading.get_ident())
        for _ in range(3):  # the others
            waiting.acquire()
        return "content"

    threads = [threading.Thread(target=lambda: got.append(cached(folder, build, save, load))) for _ in range(4)]
    with Heard("waiting for it", waiting.release):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == ["content"] * 4
    assert len(built) == 1
    assert "another process is preparing x; waiting for it" in caplog.text


def test_a_process_that_dies_while_it_builds_leaves_no_lock() -> None:
    folder = cache_root() / "encoded" / "x"
    code = (
        "import os, sys; from pathlib import Path; from icdbench.data import cache\n"
        "cache.cached(Path(sys.argv[1]), lambda: os._exit(9), None, None)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 9
    assert cached(folder, lambda: "content", save, load) == "content"


def test_what_fails_while_it_is_built_can_be_built_again() -> None:
    folder = cache_root() / "encoded" / "x"
    with pytest.raises(ZeroDivisionError):
        cached(folder, lambda: str(1 // 0), save, load)
    assert cached(folder, lambda: "content", save, load) == "content"


def test_large_raw_files_are_read_once_and_again_after_any_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "REMEMBERED", 4)
    monkeypatch.setattr(cache, "SETTLED", 0.0)
    path = tmp_path / "raw.csv"
    path.write_text("content")
    read: list[Path] = []
    digest = files.digest

    def counted(given: Path) -> str:
        read.append(given)
        return digest(given)

    monkeypatch.setattr(cache, "digest", counted)
    first = raw_digest(path)
    assert raw_digest(path) == first == digest(path)
    assert len(read) == 1
    times = path.stat()
    path.write_text("CONTENT")  # as long, and with the times set back
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert raw_digest(path) == digest(path) != first
    for note in (cache_root() / "digests").iterdir():
        note.write_text("damaged")
    assert raw_digest(path) == digest(path)


def test_small_files_and_those_just_written_are_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "raw.csv"
    path.write_text("content")
    raw_digest(path)
    monkeypatch.setattr(cache, "REMEMBERED", 4)
    raw_digest(path)
    assert not (cache_root() / "digests").exists()


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


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_file_for_which_there_is_no_room_is_named_and_the_old_one_stays(code: int, tmp_path: Path) -> None:
    """The system's error names no file when a write fails."""
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    said = re.escape(f"{os.strerror(code)}: '{path}'")
    with pytest.raises(OSError, match=said), files.replacing(path):
        raise OSError(code, os.strerror(code))
    assert path.read_text(encoding="utf-8") == "old"


def test_clear_removes_one_data_set_or_all_and_names_both(tmp_path: Path) -> None:
    for name in ("notes.csv", "notes.csv-more.csv"):
        corpus = prepared(write(tmp_path / name, rows(30)))
        word_vectors(corpus, DataSpec(), 4)
    cleared = clear("notes.csv")
    assert [name.partition("-")[0] for name, _ in cleared.removed] == ["encoded/notes.csv", "vectors/notes.csv"]
    assert all(size > 0 for _, size in cleared.removed)
    left = sorted(path.name.rpartition("-")[0] for path in (cache_root() / "encoded").iterdir())
    assert left == ["notes.csv-more.csv"]
    assert len(clear().removed) == 2
    assert clear() == ([], [])


def test_clear_leaves_and_names_what_the_cache_did_not_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the user's as the cache, and files of the user's below it, by every way a name may be near to ours."""
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "work"))
    corpus = prepared(write(tmp_path / "notes.csv", rows(30)))
    entry = cache_root() / "encoded" / f"notes.csv-{corpus.key}.{encode.LAYOUT}"
    assert entry.is_dir()
    hex24 = "0123456789abcdef01234567"
    mine = [
        "thesis.md",
        "encoded/mine.npy",
        "encoded/videos/talk.json",
        f"encoded/{hex24}",
        f"encoded/notes.csv-{hex24[:-1]}.2/corpus.json",
        f"vectors/notes.csv-{hex24}/vectors.npy",
        "vectors/.notes.csv-letters",
        "digests/me.txt",
        f"digests/{hex24}/in-a-folder",
        "digests/.icdbench-letters.tmp/mine",
        f"encoded/{entry.name}/remarks.txt",
    ]
    for name in mine:
        path = cache_root() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (cache_root() / "encoded" / f"linked-{hex24}.2").symlink_to(tmp_path)
    cleared = clear()
    assert [name for name, _ in cleared.removed] == [f"encoded/{entry.name}"]
    assert all((cache_root() / name).read_text() == "mine" for name in mine)
    assert (tmp_path / "notes.csv").exists()
    named = {name.partition("/")[0] + "/" + name.split("/")[1] for name in mine[1:-1]}
    assert set(cleared.left) == named | {mine[-1], f"encoded/linked-{hex24}.2"}
    assert clear("notes.csv") == ([], [mine[-1]])


def test_a_folder_that_is_about_to_be_locked_is_not_taken_for_abandoned(tmp_path: Path) -> None:
    """Its process has made the lock's file and does not hold it yet."""
    place = tmp_path / f".icdbench-{files._host()}-{os.getpid()}-abcdefgh.tmp"
    place.mkdir()
    (place / files.LOCK).touch()
    files.remove_abandoned(tmp_path)
    assert place.exists()
