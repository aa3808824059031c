"""Alters records, bundles and cached files at random, and counts what their readers make of each.

    OMP_NUM_THREADS=1 python tests/faults/altered.py --records 2000 --bundles 200 --cache 200 --seed 1

Each alteration is of one file of a few small finished runs. All that reads the file is then called, and what it prints is compared
with what it printed before. Prints a table per kind of alteration of

    tracebacks      errors that are none of those that a user is told of in a line
    wrong numbers   other output than before, and nothing said of it
    hangs           readers that took longer than 60 seconds
    leftovers       files that were not there before

and exits with 1 if there was any. A file that is altered and then signed again cannot be told from a true one, so its numbers are
not counted: whoever can write a file can write its digest.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import io
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import typer.main
from faults import Place
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from icdbench.cli import main as cli
from icdbench.data import cache
from icdbench.data.cache import CHECKSUMS, KINDS
from icdbench.presentation import figures, tables
from icdbench.records import store

WITHIN = 60  # seconds
SMALL = ("caml.embedding_size=8", "caml.filters=8", "train.max_epochs=2", "train.batch_size=8")
# What another version, another program or somebody may write where a number, a name or a list belongs.
VALUES = ["NaN", "Infinity", "1e400", "-1", "1" + "0" * 300, '"0.5"', '"\\u001b[31m\\u202e"', "true", "null", "[]", "{}", '"../x"']  # fmt: skip
Alter = Callable[[Path, random.Random], None]


class Hang(BaseException):
    """A reader took too long."""


@dataclass
class Tally:
    """What became of the alterations of one kind."""

    tried: int = 0
    tracebacks: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    @property
    def lost(self) -> list[str]:
        return self.tracebacks + self.wrong + self.hangs + self.leftovers


# --- Alterations ---------------------------------------------------------------------------------------------------------


def flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(dice.randint(1, 3)):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def cut(path: Path, dice: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: dice.randrange(len(content))])


def insert(path: Path, dice: random.Random) -> None:
    content, at = path.read_bytes(), dice.randrange(path.stat().st_size)
    path.write_bytes(
        content[:at] + dice.choice((b"\0", b'"', b"\xff", b"[" * 50_000, dice.randbytes(9))) + content[at:]
    )


def instead(write: Callable[[Path], object]) -> Alter:
    """Something else in the file's place."""

    def alter(path: Path, _: random.Random) -> None:
        path.unlink()
        write(path)

    return alter


def huge(path: Path, _: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(5 * 10**8)


ANY: dict[str, Alter] = {
    "bits flipped": flip,
    "cut": cut,
    "bytes put in": insert,
    "empty": instead(Path.touch),
    "a pipe": instead(os.mkfifo),
    "a folder": instead(Path.mkdir),
    "a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "500 MB long": huge,
    "nested deeply": instead(lambda path: path.write_text('{"a":' * 100_000)),
}


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every value within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*place, key)
        yield from places(each, (*place, key))


def edited(text: str, dice: random.Random, *, number: bool) -> str:
    """JSON with another value, or none, at a random place; with `number`, a metric that is a little higher."""
    content = json.loads(text)
    *way, last = dice.choice([place for place in places(content) if not number or _is_metric(content, place)])
    inner = content
    for key in way:
        inner = inner[key]
    if number:
        inner[last] = inner[last] + 0.01
        return json.dumps(content)
    if dice.random() < 0.2:
        del inner[last]
        return json.dumps(content)
    inner[last] = "HERE"
    return json.dumps(content).replace('"HERE"', dice.choice(VALUES), 1)


def _is_metric(content: Any, place: tuple[str | int, ...]) -> bool:
    return (
        place[0] == "metrics"
        and len(place) == 4
        and place[1] == "test"
        and content["metrics"]["test"]["fixed"] is not None
    )


def record(*, number: bool, digest: str) -> Alter:
    """An edited record: its digest `kept`, left `out`, or written `anew`."""

    def alter(path: Path, dice: random.Random) -> None:
        text = edited(path.read_text(encoding="utf-8"), dice, number=number)
        if digest != "kept":
            with contextlib.suppress(ValueError, AttributeError):
                content = json.loads(text)
                content["digest"] = ""
                text = json.dumps(content)
                if digest == "anew":
                    content["digest"] = store._record_digest(content)
                    text = json.dumps(content)
        path.write_text(text, encoding="utf-8")

    return alter


def weights(path: Path, dice: random.Random) -> None:
    """A bundle or weights file in which a weight is not a number, or an axis is missing; signed anew."""
    with safe_open(path, framework="np") as file:
        header = dict(file.metadata())
    arrays = load_file(path)
    name = dice.choice(sorted(arrays))
    if dice.random() < 0.5:
        arrays[name] = np.full_like(arrays[name], np.nan, dtype=np.float32)
    else:
        arrays[name] = np.ascontiguousarray(arrays[name].reshape(-1)[1:])
    header["sha256"] = store.array_digest(header["icdbench"], arrays)
    path.unlink()
    save_file(arrays, path, header)


def bundle(*, signed: bool) -> Alter:
    """A bundle whose contents are edited."""

    def alter(path: Path, dice: random.Random) -> None:
        with safe_open(path, framework="np") as file:
            header = dict(file.metadata())
        arrays = load_file(path)
        header["icdbench"] = edited(header["icdbench"], dice, number=False)
        if signed:
            header["sha256"] = store.array_digest(header["icdbench"], arrays)
        path.unlink()
        save_file(arrays, path, header)

    return alter


def cached(*, signed: bool) -> Alter:
    """A cached list that is edited, its folder's checksums written anew if `signed`; another file is cut."""

    def alter(path: Path, dice: random.Random) -> None:
        if path.suffix == ".json" and path.name != CHECKSUMS:
            path.write_text(edited(path.read_text(encoding="utf-8"), dice, number=False), encoding="utf-8")
        elif path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            np.save(path, dice.choice((array[::-1], array.astype(np.float64), array[None], array[:-1], array + 10**6)))
        else:
            cut(path, dice)
        if signed and (path.parent / CHECKSUMS).exists():
            with contextlib.suppress(OSError):
                (path.parent / CHECKSUMS).write_text(json.dumps(cache._checksums(path.parent)))

    return alter


def swapped(name: str) -> Alter:
    """The file of this name is that of another run; of a record: of this run trained with another seed."""

    def alter(path: Path, dice: random.Random) -> None:
        others = [other for other in path.parent.parent.parent.glob(f"*/*/{name}") if other.parent != path.parent]
        shutil.copyfile(dice.choice(sorted(others)), path.parent / name)

    return alter


RECORDS: dict[str, Alter] = {
    **ANY,
    "a field edited": record(number=False, digest="kept"),
    "a figure edited": record(number=True, digest="kept"),
    "a field edited, digest left out": record(number=False, digest="out"),
    "a figure edited, digest left out": record(number=True, digest="out"),
    "a field edited, signed anew": record(number=False, digest="anew"),
    "another run's record": swapped(store.RECORD),
    "another run's predictions": swapped(store.PREDICTIONS),
    "another run's weights": swapped(store.WEIGHTS),
}
BUNDLES: dict[str, Alter] = {
    **ANY,
    "contents edited": bundle(signed=False),
    "contents edited, signed anew": bundle(signed=True),
    "weights altered, signed anew": weights,
}
CACHE: dict[str, Alter] = {
    **ANY,
    "content edited": cached(signed=False),
    "content edited, signed anew": cached(signed=True),
}

# --- Readers -------------------------------------------------------------------------------------------------------------


class Messages(logging.Handler):
    """What would be printed of the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@dataclass
class Ground:
    """Finished runs with their cache and a bundle, whole and, beside it, to be altered."""

    folder: Path
    messages: Messages

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def command(self, *words: object) -> str:
        """What a command prints. Errors that a user would see as a traceback are raised."""
        sys.argv = ["icdbench", *map(str, words)]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as stop:
                if stop.code:
                    self.messages.lines.append(err.getvalue())
        return out.getvalue()

    def of_records(self, turn: int) -> dict[str, str]:
        """What is printed of the runs; the slower readers take turns."""
        found = store.load_records(self.results)
        read = {"runs": self.command("runs"), "tables": tables.comparison(found, "csv")}
        run = next(path.parent for path in sorted(self.results.glob(f"*/caml/*/{store.WEIGHTS}")))
        match turn % 5:
            case 0:
                words = ("lr", "caml", "--dataset", "notes.csv", "--resamples", 100)
                read["compare"] = self.command("compare", *words)
            case 1:
                report = self.folder / "report.html"
                self.command("report", "--out", report)
                read["report"] = report.read_text(encoding="utf-8") if report.exists() else ""
                report.unlink(missing_ok=True)
            case 2:
                read["figures"] = self.drawn(found)
            case 3:
                read["predict"] = self.command("predict", "note.txt", "--run", run)
            case _:
                read["export"] = self.command("export", "shared", "--with-predictions")
                shutil.rmtree(self.folder / "shared", ignore_errors=True)
        return read

    def drawn(self, found: list[Any]) -> str:
        """The title of figure 5 and the places of all that it draws."""
        from icdbench.settings import SpecError

        try:
            drawings = figures.draw("fig5", figures.DrawingRequest(found, lambda _: None, "notes.csv", [], 3.5))
        except SpecError as error:
            self.messages.lines.append(str(error))
            return ""
        axes = [each for drawing in drawings for each in drawing.figure.axes]
        titles = [drawing.figure.get_suptitle() for drawing in drawings]
        return repr((titles, [tuple(np.ravel(line.get_xydata()).round(6)) for each in axes for line in each.lines]))

    def of_bundle(self, _: int) -> dict[str, str]:
        return {"predict": self.command("predict", "note.txt", "--bundle", "m.icdbench", "--format", "jsonl")}

    def of_cache(self, turn: int) -> dict[str, str]:
        read = {"describe": self.command("data", "describe", "notes.csv")}
        if turn % 4 == 0:
            fresh = self.folder / "fresh"
            words = ("run", "--dataset", "notes.csv", "--results", fresh, "--format", "csv", "--device", "cpu")
            printed = self.command(*words, "--models", "caml", "--seeds", "1,", *_settings())
            rows = list(csv.DictReader(io.StringIO(printed)))
            read["run"] = repr(
                [{name: row[name] for name in row if name not in {"train time", "notes"}} for row in rows]
            )
            shutil.rmtree(fresh, ignore_errors=True)
        return read


def _settings() -> list[str]:
    return [word for setting in SMALL for word in ("--set", setting)]


def prepared(folder: Path, messages: Messages) -> Ground:
    """Two runs of two models each, and what belongs to them."""
    place = Place.new(folder)
    ground = Ground(folder, messages)
    os.environ["ICDBENCH_CACHE"] = str(place.cache)
    os.environ["ICDBENCH_FLOORS"] = "0"  # only the systems that are named
    os.chdir(folder)
    (folder / "note.txt").write_text("patient with heart failure and fever", encoding="utf-8")
    for model in ("caml", "lr"):
        settings = _settings() if model == "caml" else ()
        ground.command("run", "--models", model, "--dataset", "notes.csv", "--seeds", "2", "--device", "cpu", *settings)
    run = min(ground.results.glob("*/caml/*"))
    ground.command("bundle", run, "--out", "m.icdbench")
    assert len(store.load_records(ground.results)) == 4, messages.lines
    return ground


# --- The whole -----------------------------------------------------------------------------------------------------------


def leave(path: Path, content: bytes | None) -> None:
    """The file as it was."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)


def listing(folder: Path) -> set[str]:
    """All files but locks, which are kept, and digests of raw files."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def attempt(ground: Ground, read: Callable[[Ground, int], dict[str, str]], turn: int, whole: dict[str, str], tally: Tally, what: str, *, forged: bool) -> None:  # fmt: skip
    """Call the readers of an altered file, and judge what they do."""
    ground.messages.lines.clear()
    tally.tried += 1
    signal.alarm(WITHIN)
    try:
        found = read(ground, turn)
    except Hang:
        tally.hangs.append(f"{what}: hangs")
        return
    except Exception as error:  # noqa: BLE001  whatever a user would see as a traceback
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"
        tally.tracebacks.append(f"{what}: {type(error).__name__} at {where}: {str(error)[:200]}")
        return
    finally:
        signal.alarm(0)
    other = [name for name, text in found.items() if text != whole.get(name, text) and "unsigned" not in text.lower()]
    if other and not ground.messages.lines and not forged:
        tally.wrong.append(f"{what}: {', '.join(other)} differ, and nothing is said")


def records_of(ground: Ground) -> list[Path]:
    return sorted(ground.results.glob(f"*/*/*/{store.RECORD}"))


def bundles_of(ground: Ground) -> list[Path]:
    return [ground.folder / "m.icdbench"]


def cached_of(ground: Ground) -> list[Path]:
    kinds = [ground.folder / "cache" / kind for kind in KINDS]
    return sorted(path for kind in kinds for path in kind.rglob("*") if path.is_file())


@dataclass
class Experiment:
    """Files of a kind: which there are, how they are altered, who reads them."""

    name: str
    files: Callable[[Ground], list[Path]]
    alterations: dict[str, Alter]
    read: Callable[[Ground, int], dict[str, str]]


EXPERIMENTS = [
    Experiment("record", records_of, RECORDS, Ground.of_records),
    Experiment("bundle", bundles_of, BUNDLES, Ground.of_bundle),
    Experiment("cache", cached_of, CACHE, Ground.of_cache),
]


def carry_out(experiment: Experiment, ground: Ground, count: int, dice: random.Random) -> dict[str, Tally]:
    """Alter files of a kind so many times, all kinds of alteration in turn."""
    tallies = {kind: Tally() for kind in experiment.alterations}
    whole: dict[str, str] = {}
    for turn in range(5):
        whole |= experiment.read(ground, turn)
    saved, cache = ground.folder.parent / "saved", ground.folder / "cache"
    shutil.rmtree(saved, ignore_errors=True)
    shutil.copytree(cache, saved)
    before = listing(ground.folder)
    for number in range(count):
        kind = list(tallies)[number % len(tallies)]
        path = dice.choice(experiment.files(ground))
        kept = {each: each.read_bytes() for each in path.parent.iterdir() if each.is_file()}
        experiment.alterations[kind](path, dice)
        what = f"{path.relative_to(ground.folder)}, {kind}"
        attempt(ground, experiment.read, dice.randrange(20), whole, tallies[kind], what, forged="signed anew" in kind)
        if experiment.name == "cache":
            shutil.rmtree(cache)
            shutil.copytree(saved, cache)
        else:
            for each, content in kept.items():
                leave(each, content)
        if left := listing(ground.folder) - before:
            tallies[kind].leftovers.append(f"{what}: left {', '.join(sorted(left)[:3])}")
            for each_left in left:
                leave(ground.folder / each_left, None)
    return tallies


def main() -> None:
    """Print the table; exit status 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, most in (("records", 2000), ("bundles", 200), ("cache", 200)):
        parser.add_argument(f"--{name}", type=int, default=most, help="how many are altered")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    messages = Messages()
    logging.getLogger().addHandler(messages)

    def late(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, late)
    dice = random.Random(asked.seed)  # noqa: S311
    lost: list[str] = []
    print(
        "| file | alteration | tried | tracebacks | wrong numbers | hangs | leftovers |\n|:--|:--|--:|--:|--:|--:|--:|"
    )
    began = time.monotonic()
    built_once = mock.patch.object(typer.main, "get_command", functools.cache(typer.main.get_command))
    with built_once, tempfile.TemporaryDirectory() as folder:
        ground = prepared(Path(folder) / "ground", messages)
        for experiment, count in zip(EXPERIMENTS, (asked.records, asked.bundles, asked.cache), strict=True):
            for kind, tally in carry_out(experiment, ground, count, dice).items():
                counts = [tally.tried, *map(len, (tally.tracebacks, tally.wrong, tally.hangs, tally.leftovers))]
                print(f"| {experiment.name} | {kind} | {' | '.join(map(str, counts))} |", flush=True)
                lost += tally.lost
        os.chdir("/")
    print("\n".join(lost), file=sys.stderr)
    print(f"{time.monotonic() - began:.0f} seconds", file=sys.stderr)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
