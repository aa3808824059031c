"""Published lists of admissions, fetched over HTTP from a server of the test's own, with the real checksums."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import SHARED

from icdbench.data import datasets
from icdbench.data.sources import mimic_splits as splits
from icdbench.settings import DataError

REAL = SHARED / "data" / "mimic3_splits"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="needs the published lists")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


def serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        here = f"http://127.0.0.1:{server.server_port}/"
        moved = {
            name: (address.replace(splits.CAML, here), checksum) for name, (address, checksum) in splits.FILES.items()
        }
        monkeypatch.setattr(splits, "FILES", moved)
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from serve(REAL, monkeypatch)


@pytest.mark.usefixtures("published")
def test_lists_are_fetched_verified_and_found(tmp_path: Path) -> None:
    assert "all checksums agree" in datasets.download("mimic3-splits", tmp_path)
    for name in splits.FETCHED["mimic3-splits"][1]:
        path = splits.required(name, tmp_path / "tables", tmp_path)
        assert not splits.altered(path)
    sizes = {"train": 47_723, "dev": 1_631, "test": 3_372}
    paths = {split: splits.required(f"{split}_full_hadm_ids.csv", tmp_path, tmp_path) for split in sizes}
    found = list(splits.admission_lists(paths).values())
    assert {split: found.count(split) for split in sizes} == sizes
    assert "all checksums agree" in datasets.download("mimic3-splits", tmp_path)  # nothing to do


@pytest.mark.usefixtures("published")
def test_a_list_that_is_there_and_differs_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "mimic3_splits" / "dev_50_hadm_ids.csv"
    path.parent.mkdir()
    path.write_text("1\n")
    with pytest.raises(DataError, match="differs from the published file; move it away"):
        splits.get("mimic3-splits", tmp_path)
    assert path.read_text() == "1\n"


@pytest.mark.slow
@pytest.mark.counted
def test_what_comes_altered_or_not_at_all_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = tmp_path / "served" / "mimicdata" / "mimic3"
    served.mkdir(parents=True)
    (served / "train_full_hadm_ids.csv").write_text("1\n")
    serving = serve(tmp_path / "served", monkeypatch)
    next(serving)
    try:
        with pytest.raises(DataError, match=r"download of http.*train_full_hadm_ids\.csv failed: SHA256 hash"):
            splits.get("mimic3-splits", tmp_path)
        (served / "train_full_hadm_ids.csv").unlink()
        with pytest.raises(DataError, match=r"failed: 404"):
            splits.get("mimic3-splits", tmp_path)
    finally:
        serving.close()  # type: ignore[attr-defined]
    assert list((tmp_path / "mimic3_splits").iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "mimic3_splits").write_text("a file")
    with pytest.raises(DataError, match="cannot be written: File exists; name a folder of your own"):
        splits.get("mimic3-splits", tmp_path)
