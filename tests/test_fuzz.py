"""Whatever stands in a file, reading it ends in one line or not at all: files altered at random (hypothesis)."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS, attempt

pytestmark = pytest.mark.slow

TOKENS = [b'"', b"\n", b"\r", b",", b"\t", b";", b"\x00", b"\xff", b"\xef\xbb\xbf", b"{", b"}", b"[]", b"null", b"true"]
TOKENS += [b"NaN", b"-1", b"1e999", b"99999999999999999999", b"../", b"'", b"\\", b"\\ud800", b"%s"]
PIECES = st.one_of(
    st.sampled_from(TOKENS),
    st.binary(max_size=6),
    st.text(max_size=4).map(lambda text: text.encode("utf-8", "replace")),
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), PIECES), min_size=1, max_size=4)
CUTS = st.one_of(st.none(), st.floats(0, 1))


def altered(content: bytes, edits: list[tuple[float, int, bytes]], cut: float | None) -> bytes:
    """The content with pieces in the place of some bytes, perhaps cut off."""
    for place, length, piece in edits:
        at = int(place * len(content))
        content = content[:at] + piece + content[at + length :]
    return content if cut is None else content[: int(cut * len(content))]


@pytest.mark.parametrize("name", TARGETS)
def test_altered_files_are_read_or_refused(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "icdbench")  # each damage is warned of
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        path = TARGETS[name].make(Path(folder))
        whole = path.read_bytes()
        assert attempt(TARGETS[name], path) == ""

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(EDITS, CUTS)
        def check(edits: list[tuple[float, int, bytes]], cut: float | None) -> None:
            path.write_bytes(altered(whole, edits, cut))
            attempt(TARGETS[name], path)

        check()
