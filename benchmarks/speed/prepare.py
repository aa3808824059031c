"""Measure time and memory of preparing MIMIC-III, from raw files to encoded data, compared with the published recipe.

    python benchmarks/speed/prepare.py [FOLDER]

FOLDER holds tables that `icdbench data make` wrote; without it, temporary tables of 1,000 admissions are made. Both
ways run on the same files in separate processes, one after the other:

- ours: `synth-full` with protocol released and an empty cache: read the tables, tokenise and count, number the words,
  store the arrays; then start again from the cache. The text stages are measured again on texts in memory.
- reference: the published scripts, reimplemented: csv.reader, nltk's RegexpTokenizer, Python loops over documents and
  words, and a CSV file read and written by each stage: summaries, sorted summaries, joined labels, splits, document
  counts, files sorted by length, and loading one epoch. On tables with more than `--reference-admissions` (default
  3,000) it runs on that many admissions with their share of the other notes, and its time is scaled up by the number of
  rows.

Needs nltk (`pip install icdbench[bench]`).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

csv.field_size_limit(2**31 - 1)

SPLITS = ("train", "dev", "test")
MAX_TOKENS = 2500


class Clock:
    """Measures the seconds of each stage, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = work()
        self.seconds[name] = time.perf_counter() - begun
        return result


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def ours(folder: Path, scratch: Path) -> dict[str, Any]:
    """Measure a start without a cache and one with it."""
    os.environ["ICDBENCH_CACHE"] = str(scratch / "cache")
    from icdbench.data import datasets

    opened = datasets.open("synth-full", folder)
    clock = Clock()
    corpus = clock("whole, nothing cached", opened.corpus)
    peak = peak_gib()
    clock("second start", opened.corpus)
    tokens = sum(len(part.tokens) for part in corpus.splits.values())
    documents = sum(map(len, corpus.splits.values()))
    return {"seconds": clock.seconds, "peak": peak, "tokens": tokens, "documents": documents}


def stages(folder: Path, scratch: Path) -> dict[str, Any]:
    """Measure the stages separately: reading, then the text stages."""
    os.environ["ICDBENCH_CACHE"] = str(scratch / "cache2")
    import numpy as np

    from icdbench.data import datasets
    from icdbench.data.tokens import Lexicon, document_counts

    opened = datasets.open("synth-full", folder)
    clock = Clock()
    clock("fingerprint of the raw files", opened.fingerprint)
    raw = clock("read tables, join, label", opened.documents)
    texts = [document.text for document in raw.documents]
    lexicon = Lexicon(opened.data.words)
    numbers, offsets = clock("tokenise and number", lambda: lexicon.read(texts))
    counts = clock("count documents", lambda: document_counts(numbers, offsets, len(lexicon.words)))
    tokens = clock(
        "words to indices", lambda: np.where(counts >= 3, np.arange(len(counts), dtype=np.int32), 1)[numbers]
    )
    clock("load an epoch", lambda: sum(len(tokens[a : min(b, a + MAX_TOKENS)].copy()) for a, b in pairwise(offsets)))
    return {"seconds": clock.seconds, "peak": peak_gib(), "tokens": len(numbers), "documents": len(texts)}


def reference(folder: Path, scratch: Path) -> dict[str, Any]:
    """Measure the published recipe, with a CSV file between all stages."""
    clock = Clock()
    clock("read and tokenise", lambda: _summaries(folder / "NOTEEVENTS.csv.gz", scratch / "summaries.csv"))
    clock(
        "sort by admission", lambda: _sort(scratch / "summaries.csv", scratch / "sorted.csv", ["SUBJECT_ID", "HADM_ID"])
    )
    clock("join labels", lambda: _join(folder, scratch))
    clock("split", lambda: _split(folder, scratch))
    known = clock("count documents", lambda: _count(scratch / "train.csv", scratch / "vocabulary.csv"))
    clock("sort by length", lambda: _sort_by_length(scratch))
    tokens = clock("load an epoch", lambda: sum(_load(scratch / f"{split}.csv", known) for split in SPLITS))
    return {"seconds": clock.seconds, "peak": peak_gib(), "tokens": tokens, "documents": 0}


def _summaries(path: Path, out: Path) -> None:
    from nltk.tokenize import RegexpTokenizer

    tokenizer = RegexpTokenizer(r"\w+")
    with (
        gzip.open(path, "rt", encoding="utf-8", newline="") as raw,
        out.open("w", newline="", encoding="utf-8") as file,
    ):
        reader, writer = csv.reader(raw), csv.writer(file)
        header = next(reader)
        subject, admission, category, text = map(header.index, ("SUBJECT_ID", "HADM_ID", "CATEGORY", "TEXT"))
        writer.writerow(["SUBJECT_ID", "HADM_ID", "TEXT"])
        for row in reader:
            if row[category] == "Discharge summary":
                words = [word.lower() for word in tokenizer.tokenize(row[text]) if not word.isnumeric()]
                writer.writerow([row[subject], row[admission], " ".join(words)])


def _sort(path: Path, out: Path, columns: list[str]) -> None:
    import pandas as pd

    pd.read_csv(path, keep_default_na=False).sort_values(columns, kind="stable").to_csv(out, index=False)


def _join(folder: Path, scratch: Path) -> None:
    labels: dict[tuple[str, str], list[str]] = {}
    for name, head in (("DIAGNOSES_ICD", 3), ("PROCEDURES_ICD", 2)):
        with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            for _, subject, admission, _, code in csv.reader(file):
                labels.setdefault((subject, admission), []).append(f"{code[:head]}.{code[head:]}")
    with (scratch / "sorted.csv").open(newline="") as file, (scratch / "labelled.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["SUBJECT_ID", "HADM_ID", "TEXT", "LABELS"])
        current: list[str] = []
        for row in csv.reader(file):
            if row[0] == "SUBJECT_ID":
                continue
            if current and current[:2] == row[:2]:
                current[2] += " " + row[2]
                continue
            if current:
                writer.writerow([*current, ";".join(labels.get((current[0], current[1]), []))])
            current = row
        writer.writerow([*current, ";".join(labels.get((current[0], current[1]), []))])


def _split(folder: Path, scratch: Path) -> None:
    lists = {split: set((folder / f"{split}_full_hadm_ids.csv").read_text().split()) for split in SPLITS}
    files = {split: (scratch / f"{split}.csv").open("w", newline="") for split in SPLITS}
    writers = {split: csv.writer(file) for split, file in files.items()}
    with (scratch / "labelled.csv").open(newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        for writer in writers.values():
            writer.writerow(header)
        for row in reader:
            for split in SPLITS:
                if row[1] in lists[split]:
                    writers[split].writerow(row)
    for file in files.values():
        file.close()


def _count(path: Path, out: Path) -> dict[str, int]:
    """Number the words of at least three documents, counted in a sparse matrix that is filled word by word."""
    import numpy as np
    from scipy.sparse import csr_matrix

    vocabulary: dict[str, int] = {}
    indices: list[int] = []
    data: list[int] = []
    starts = [0]
    for row in _rows(path):
        for word in row[2].split():
            indices.append(vocabulary.setdefault(word, len(vocabulary)))
            data.append(1)
        starts.append(len(indices))
    documents = np.asarray((csr_matrix((data, indices, starts)) > 0).sum(0)).ravel()
    known = sorted(word for word, column in vocabulary.items() if documents[column] >= 3)
    out.write_text("\n".join(known))
    return {word: number for number, word in enumerate(known, start=1)}


def _sort_by_length(scratch: Path) -> None:
    import pandas as pd

    for split in SPLITS:
        table = pd.read_csv(scratch / f"{split}.csv", keep_default_na=False)
        table["length"] = [len(str(text).split()) for text in table["TEXT"]]
        table.sort_values("length", kind="stable").to_csv(scratch / f"{split}.csv", index=False)


def _load(path: Path, known: dict[str, int]) -> int:
    """Turn each document's words into an array of at most 2,500 numbers, as an epoch does; returns how many words."""
    import numpy as np

    read = 0
    unknown = len(known) + 1
    for row in _rows(path):
        words = row[2].split()
        numbers = np.array([known.get(word, unknown) for word in words][:MAX_TOKENS])
        read += len(words) * (len(numbers) > 0)
    return read


def _rows(path: Path) -> Iterator[list[str]]:
    with path.open(newline="") as file:
        reader = csv.reader(file)
        next(reader)
        yield from reader


def part(folder: Path, admissions: int, out: Path) -> float:
    """Write tables of the first admissions with their share of the other notes; returns the fraction of notes kept."""
    chosen: set[str] = set()
    rows = kept = 0
    out.mkdir()
    with (
        gzip.open(folder / "NOTEEVENTS.csv.gz", "rt", encoding="utf-8", newline="") as file,
        gzip.open(out / "NOTEEVENTS.csv.gz", "wt", encoding="utf-8", newline="", compresslevel=4) as target,
    ):
        reader, writer = csv.reader(file), csv.writer(target, lineterminator="\n")
        header = next(reader)
        writer.writerow(header)
        admission, category = header.index("HADM_ID"), header.index("CATEGORY")
        others = 0
        for row in reader:
            rows += 1
            if row[category] == "Discharge summary":
                if len(chosen) < admissions:
                    chosen.add(row[admission])
                keep = row[admission] in chosen
            else:  # as many per admission as in the full tables
                others += 1
                keep = others % max(1, round(52_726 / admissions)) == 0
            if keep:
                kept += 1
                writer.writerow(row)
    for path in folder.iterdir():
        if path.is_file() and path.name != "NOTEEVENTS.csv.gz":
            shutil.copy(path, out / path.name)
    return kept / rows


def measured(way: str, folder: Path, scratch: Path) -> dict[str, Any]:
    """Measure one way in a separate process."""
    command = [sys.executable, __file__, str(folder), "--way", way, "--scratch", str(scratch)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def report(folder: Path, scratch: Path, limit: int) -> None:
    full = json.loads((folder / "synthetic.json").read_text())["admissions"]
    whole = measured("ours", folder, scratch)
    parts = measured("stages", folder, scratch)
    small = scratch / "part"
    share = part(folder, limit, small) if full > limit else 1.0
    (scratch / "reference").mkdir()
    old = measured("reference", small if full > limit else folder, scratch / "reference")
    print(
        f"{platform.platform()}, {os.cpu_count()} cores; Python {platform.python_version()}, pyarrow {version('pyarrow')}, "
        f"nltk {version('nltk')}, pandas {version('pandas')}\n\n{full:,} admissions, {whole['tokens']:,} tokens\n"
    )
    print("| ours | seconds |\n|:--|--:|")
    for name, seconds in {**whole["seconds"], **parts["seconds"]}.items():
        print(f"| {name} | {seconds:.2f} |")
    print(f"\nPeak memory {whole['peak']:.2f} GiB.\n")
    print(f"| reference, {100 * share:.1f} % of the notes, {old['tokens']:,} tokens | seconds |\n|:--|--:|")
    for name, seconds in old["seconds"].items():
        print(f"| {name} | {seconds:.2f} |")
    text = ("tokenise and number", "count documents", "words to indices", "load an epoch")
    ours_text = 1e6 * sum(parts["seconds"][name] for name in text) / parts["tokens"]
    reading = measured("reading", small if full > limit else folder, scratch)["seconds"]["read"]
    old_text = (
        old["seconds"]["read and tokenise"]
        - reading
        + old["seconds"]["count documents"]
        + old["seconds"]["load an epoch"]
    )
    old_text *= 1e6 / old["tokens"]
    print(f"\nPeak memory {old['peak']:.2f} GiB. Of `read and tokenise`, reading takes {reading:.2f} s.\n")
    print("| | ours | reference | times |\n|:--|--:|--:|--:|")
    print(
        f"| text stages, seconds per million tokens | {ours_text:.3f} | {old_text:.3f} | {old_text / ours_text:.1f} |"
    )
    new, total = whole["seconds"]["whole, nothing cached"], sum(old["seconds"].values()) / share
    print(f"| from raw files, seconds (reference scaled to all notes) | {new:.1f} | {total:.1f} | {total / new:.1f} |")


def reading(folder: Path, _scratch: Path) -> dict[str, Any]:
    """Measure only the reference's csv.reader, to separate it from tokenising."""

    def read() -> int:
        with gzip.open(folder / "NOTEEVENTS.csv.gz", "rt", encoding="utf-8", newline="") as file:
            return sum(1 for _ in csv.reader(file))

    clock = Clock()
    clock("read", read)
    return {"seconds": clock.seconds}


WAYS = {"ours": ours, "stages": stages, "reference": reference, "reading": reading}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--reference-admissions", type=int, default=3000)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(WAYS[given.way](given.folder, given.scratch)))
        return
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        folder = given.folder
        if folder is None:
            from icdbench.synthetic.tables import make

            folder = scratch / "synth"
            make(folder, 1000, 1)
        report(folder, scratch, given.reference_admissions)


if __name__ == "__main__":
    main()
