"""Fixtures that several files share. Every test has caches and data folders of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from icdbench import cli
from icdbench.types import Batch, Encoded, Hierarchy, Task

NUM_TOKENS, NUM_CODES, WIDEST = 60, 7, 256
Call = Callable[..., tuple[int, str, str]]


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
    path = tmp_path / "notes.csv"
    lines = ["id,text,codes,split"]
    for number in range(40):
        word, code = [("fever", "038.9"), ("edema", "428.0"), ("insulin", "0250")][number % 3]
        split = "train" if number < 20 else "validation" if number < 30 else "test"
        lines.append(f"{number},the {word} was treated,{code},{split}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def encoded(texts: Sequence[Sequence[int]], codes: Sequence[Sequence[int]]) -> Encoded:
    """Documents given as token and code indices."""
    return Encoded(
        ids=tuple(str(number) for number in range(len(texts))),
        tokens=np.array([token for text in texts for token in text], dtype=np.int32),
        token_offsets=np.cumsum([0, *map(len, texts)]),
        codes=np.array([code for row in codes for code in row], dtype=np.int32),
        code_offsets=np.cumsum([0, *map(len, codes)]),
        unseen=np.zeros(len(texts), np.int32),
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
