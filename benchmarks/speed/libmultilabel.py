"""Compare CAML in LibMultiLabel and in this suite on the same documents: seconds per epoch and P@5.

    python -m venv lml && lml/bin/pip install "libmultilabel[nn]" "setuptools<81" --constraint constraints.txt
    python benchmarks/speed/libmultilabel.py lml/bin/python [--dataset codiesp-d50] [--data DIR] [--epochs 48]

LibMultiLabel (tested with 0.10) is the maintained library that users might choose instead; its neural part needs its
own environment. Both train on the documents that `icdbench data export` writes: one layer of 50 filters over ten words,
100 dimensions, dropout 0.2, batches of 8, at most 2,500 tokens, Adam at 1e-3, all epochs, validation after each.
icdbench uses word2vec vectors; LibMultiLabel, which does not train any, random ones of the same size. Preparation is
not timed. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

BATCH, TOKENS, RATE = 8, 2_500, 1e-3
THEIRS = """
import json, sys, time
import torch
from libmultilabel.nn import data_utils, nn_utils
folder, epochs, batch, tokens, rate = sys.argv[1], *map(float, sys.argv[2:])
nn_utils.set_seed(1)
device = nn_utils.init_device(use_cpu=True)
data = data_utils.load_datasets(f"{folder}/train.txt", f"{folder}/test.txt", f"{folder}/valid.txt")
with open("vectors.txt", "w") as file:
    for word in sorted({word for document in data["train"] for word in document["text"]}):
        file.write(" ".join([word, *(f"{value:.4f}" for value in torch.randn(100).tolist())]) + "\\n")
classes = data_utils.load_or_build_label(data)
words, vectors = data_utils.load_or_build_text_dict(data["train"], embed_file="vectors.txt", silent=True)
network = {"filter_sizes": [10], "num_filter_per_size": 50, "embed_dropout": 0.2}
model = nn_utils.init_model("CAML", network, classes, vectors, learning_rate=rate, monitor_metrics=["P@5"], silent=True)
trainer = nn_utils.init_trainer(".", int(epochs), int(epochs), "P@5", "P@5", silent=True, use_cpu=True)
loaders = {
    split: data_utils.get_dataset_loader(
        data[split], classes, device, int(tokens), int(batch), split == "train", 2, word_dict=words
    )
    for split in data
}
begun = time.monotonic()
trainer.fit(model, loaders["train"], loaders["val"])
seconds = time.monotonic() - begun
test = trainer.test(model, loaders["test"], verbose=False)[0]
print("RESULT", json.dumps({"seconds": seconds, "p@5": test["P@5"], "codes": len(classes), "words": len(words)}))
"""


def theirs(python: str, folder: Path, epochs: int) -> dict[str, float]:
    """Train with LibMultiLabel; returns seconds, test P@5, codes and words. Raises SystemExit with its error output."""
    command = [python, "-c", THEIRS, str(folder / "notes"), *map(str, (epochs, BATCH, TOKENS, RATE))]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    found = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise SystemExit(ended.stderr[-2000:])
    result: dict[str, float] = json.loads(found[0].removeprefix("RESULT "))
    return result


def ours(dataset: list[str], folder: Path, epochs: int) -> dict[str, float]:
    """Train with `icdbench run`; returns the same figures from its record."""
    settings = [f"train.max_epochs={epochs}", f"train.patience={epochs}", f"train.batch_size={BATCH}"]
    settings += [f"train.learning_rate={RATE}", f"data.max_tokens={TOKENS}"]
    words = ["run", "--models", "caml", *dataset, "--results", str(folder / "results"), "--device", "cpu"]
    icdbench(*words, *(word for setting in settings for word in ("--set", setting)))
    (path,) = (folder / "results").rglob("record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    corpus = record["corpus"]
    seconds, precision = record["timing"]["train"], record["metrics"]["test"]["fixed"]["p@5"]
    return {"seconds": seconds, "p@5": precision, "codes": corpus["num_codes"], "words": corpus["num_tokens"]}


def icdbench(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "icdbench", *words], check=True, capture_output=True)  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("python", help="Python interpreter of the environment with libmultilabel")
    parser.add_argument("--dataset", default="codiesp-d50")
    parser.add_argument("--data")
    parser.add_argument("--epochs", type=int, default=48)
    arguments = parser.parse_args()
    python = str(Path(arguments.python).absolute())
    given = ["--data", arguments.data] if arguments.data else []
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notes = ["--out", str(folder / "notes"), "--format", "libmultilabel"]
        icdbench("data", "export", arguments.dataset, *given, *notes)
        found = {
            "LibMultiLabel": theirs(python, folder, arguments.epochs),
            "icdbench": ours(["--dataset", arguments.dataset, *given], folder, arguments.epochs),
        }
    print(
        f"| CAML on {arguments.dataset}, {arguments.epochs} epochs | codes | words | seconds | s per epoch | test P@5 |"
    )
    print("|:--|--:|--:|--:|--:|--:|")
    for way, each in found.items():
        per_epoch = each["seconds"] / arguments.epochs
        shown = f"{each['codes']:,.0f} | {each['words']:,.0f} | {each['seconds']:.1f} | {per_epoch:.2f}"
        print(f"| {way} | {shown} | {100 * each['p@5']:.1f} |")
    print(f"\n{found['LibMultiLabel']['seconds'] / found['icdbench']['seconds']:.2f} times faster.")


if __name__ == "__main__":
    main()
