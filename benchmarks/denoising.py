"""Measure whether denoising (eq. 14–15 of the JLAN paper) leaves out the wrong labels when it is known which are wrong.

    python benchmarks/denoising.py
    python benchmarks/denoising.py --model jlan --rates 0.1 0.2

Noise is added to the labels of `demo`, in training and validation, in the way of `icdbench data make --label-noise`: a
code is omitted, or replaced by a sibling, or a code without any support in the text is added. The test labels stay
clean. At every training step the positive pairs that the objective leaves out are recorded and compared with the known
noise. Prints Markdown; fewer --rates and --seeds take less time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional

from icdbench import registry, train
from icdbench.data import datasets
from icdbench.data.batches import Loader
from icdbench.evaluation import metrics
from icdbench.run import task
from icdbench.spec import TrainSpec
from icdbench.training.accelerator import fabric, seed_everything
from icdbench.training.objectives import dropped
from icdbench.training.score import predictions, probabilities
from icdbench.training.state import Progress
from icdbench.types import Corpus, Encoded, IntArray

RATES = (0.0, 0.05, 0.1, 0.2)
MODELS: dict[str, dict[str, Any]] = {  # small ones: the objective does not depend on the model
    "caml": {"embedding_size": 50, "kernel_size": 5},
    "jlan": {"embedding_size": 50, "kernel_size": 3, "hidden_size": 64},
}
TRAINING = {"learning_rate": 3e-3, "batch_size": 16}  # which trains them on so few notes
DENOISING, WHOLE, NEAR, EARLY = "bound .15", "whole loss", "bound = noise", "to epoch 10"
OBJECTIVES: dict[str, dict[str, Any]] = {  # NEAR's bound is the share of the positive training labels that are wrong
    WHOLE: {"objective": "bce"},
    DENOISING: {"objective": "truncated"},
    NEAR: {"objective": "truncated"},
    EARLY: {"objective": "truncated", "stop_epoch": 11},
}
EPOCHS = 35  # the fraction left out grows during the first 30
SPURIOUS_SHARE = 0.2  # spurious labels per omitted or replaced one, as in the synthetic tables
RIGHT, SIBLING, SPURIOUS = 0, 1, 2
SHOWN = (1, 5, 10, 15, 20, 25, 30, 35)
METRICS = {"F1 micro": "f1_micro", "F1 macro (harmonic)": "f1_macro_harmonic", "P@5": "p@5", "MAP": "map"}


def corrupt(encoded: Encoded, codes: Sequence[str], rate: float, seed: int) -> tuple[Encoded, IntArray, int]:
    """Add label noise; returns the documents, the kind of each label present [N, L], and the number of omitted labels.

    With probability `rate` a gold code is wrong: half of the time, if possible, it is replaced by a code of the same
    category that the document does not have; otherwise it is omitted.
    """
    generator = np.random.default_rng(seed)
    counts_L = np.bincount(encoded.codes, minlength=len(codes))
    kinds_NL = np.zeros((len(encoded), len(codes)), np.int8)
    rows, omitted = [], 0
    for document, (start, end) in enumerate(zip(encoded.code_offsets, encoded.code_offsets[1:], strict=False)):
        gold = encoded.codes[start:end].tolist()
        written: list[int] = []
        for code in gold:
            taken = {*gold, *written}
            category = codes[code].partition(".")[0]
            siblings = [
                other for other, name in enumerate(codes) if name.startswith(f"{category}.") and other not in taken
            ]
            wrong, by_sibling, extra = generator.random(3)
            if wrong >= rate:
                written.append(code)
            elif by_sibling < 0.5 and siblings:
                written.append(int(generator.choice(siblings)))
                kinds_NL[document, written[-1]] = SIBLING
            else:
                omitted += 1
            if extra < rate * SPURIOUS_SHARE:
                other = int(generator.choice(len(codes), p=counts_L / counts_L.sum()))
                if other not in {*gold, *written}:
                    written.append(other)
                    kinds_NL[document, other] = SPURIOUS
        rows.append(sorted(written))
    offsets = np.cumsum([0, *map(len, rows)])
    flat = np.array([code for row in rows for code in row], dtype=encoded.codes.dtype)
    return replace(encoded, codes=flat, code_offsets=offsets), kinds_NL, omitted


@dataclass
class Watch:
    """Counts, for each epoch, the pairs that training leaves out: correct, sibling and spurious ones."""

    kinds_NL: IntArray
    epochs: list[list[int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0, 0, 0])

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], logits_BL: Tensor) -> None:
        """Keep the batch and its logits, from which the objective is computed next. A forward hook of the model."""
        if module.training:
            self.batch, self.logits_BL = inputs[0], logits_BL.detach().float()

    def report(self, step: Progress) -> None:
        """Count the pairs left out in a step. The trainer reports how many; the kept logits determine which."""
        if step.ended:
            self.epochs.append(self.counts)
            self.counts = [0, 0, 0]
        elif new := step.dropped - sum(self.counts):
            labels_BL = self.batch.labels_BL
            losses_BL = functional.binary_cross_entropy_with_logits(self.logits_BL, labels_BL, reduction="none")
            left_out_BL = dropped(losses_BL, labels_BL, new).numpy()
            kinds = self.kinds_NL[self.batch.index_B.numpy()][left_out_BL]
            self.counts = [count + int((kinds == kind).sum()) for kind, count in enumerate(self.counts)]


@dataclass
class Result:
    """The outcome of one training run, with metrics on the clean test labels."""

    epochs: list[list[int]]
    wrong: list[int]  # number of correct, sibling and spurious pairs in the training labels
    omitted: int
    best_epoch: int
    test: dict[str, float]

    @property
    def wrong_share(self) -> float:
        """The share of the positive training labels that are wrong."""
        return sum(self.wrong[1:]) / sum(self.wrong)


def trained(corpus: Corpus, rate: float, seed: int, objective: str, name: str = "caml") -> Result:
    """Train a model by one of OBJECTIVES and choose the epoch on noisy labels, test on clean ones."""
    codes = corpus.vocabulary.codes
    noisy, kinds_NL, omitted = corrupt(corpus.splits["train"], codes, rate, 1000 + seed)
    held, _, _ = corrupt(corpus.splits["validation"], codes, rate, 2000 + seed)
    written = noisy.labels().toarray() > 0
    wrong = [int((kinds_NL[written] == kind).sum()) for kind in (RIGHT, SIBLING, SPURIOUS)]
    entry, config = registry.entry(name), MODELS[name]
    changes = {**OBJECTIVES[objective], "max_epochs": EPOCHS, "patience": EPOCHS, "precision": "32-true"}
    if objective == NEAR:
        changes["t_loss"] = sum(wrong[1:]) / sum(wrong)
    spec = TrainSpec().override({**entry.train, **TRAINING, **changes}, "train")
    data = datasets.source(corpus.name).settings(entry.data)
    seed_everything(seed)
    model = registry.build(name, task(corpus, data, config["embedding_size"]), **config)
    assert isinstance(model, nn.Module)
    watch, on = Watch(kinds_NL), fabric("cpu", "32-true")
    with model.register_forward_hook(watch.forward):
        state = train.fit(
            model,
            noisy,
            held,
            spec,
            seed=seed,
            on=on,
            checkpoint=None,
            report=watch.report,
        )
    scored = predictions(model, Loader(corpus.splits["test"], on.device), on)
    measured = metrics.evaluate(probabilities(scored.scores_NL), scored.labels, unseen=scored.unseen)
    return Result(watch.epochs, wrong, omitted, state.best_epoch, measured)


def mean(values: Sequence[float], scale: float = 100, digits: int = 1) -> str:
    """Format mean ± sample standard deviation."""
    spread = f" ± {scale * stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * fmean(values):.{digits}f}{spread}"


def found_table(results: dict[tuple[float, str], list[Result]]) -> str:
    """Tabulate precision and recall of the pairs left out, by epoch; chance is the precision of a random choice."""
    rows = []
    for (rate, objective), runs in results.items():
        if objective != DENOISING or not rate:
            continue
        chance = fmean(run.wrong_share for run in runs)
        for epoch in SHOWN:
            counts = [run.epochs[epoch - 1] for run in runs]
            share = fmean(sum(each) / sum(run.wrong) for each, run in zip(counts, runs, strict=True))
            precision = [sum(each[1:]) / sum(each) for each in counts]
            recall = [sum(each[1:]) / sum(run.wrong[1:]) for each, run in zip(counts, runs, strict=True)]
            kinds = [
                mean([each[kind] / run.wrong[kind] for each, run in zip(counts, runs, strict=True)])
                for kind in (SIBLING, SPURIOUS)
            ]
            cells = [f"{100 * share:.1f}", mean(precision), f"{100 * chance:.1f}", mean(recall), *kinds]
            rows.append([f"{rate:g}", epoch, *cells])
    header = ["noise", "epoch", "left out", "precision", "chance", "recall", "recall sibling", "recall spurious"]
    return tabulate(rows, header, "pipe", disable_numparse=True, colalign=["right"] * len(header))


def effect_table(results: dict[tuple[float, str], list[Result]]) -> str:
    """Tabulate the metrics on clean test labels by objective, and what each gains over the whole loss, seed by seed."""
    rows = []
    for (rate, objective), runs in results.items():
        cells = [mean([run.test[key] for run in runs]) for key in METRICS.values()]
        rows.append([f"{rate:g}", objective, *cells, mean([run.best_epoch for run in runs], 1, 0)])
        if objective != WHOLE:
            pairs = list(zip(runs, results[rate, WHOLE], strict=True))
            gains = [mean([ours.test[key] - whole.test[key] for ours, whole in pairs]) for key in METRICS.values()]
            rows.append([f"{rate:g}", f"{objective}, less whole loss", *gains, ""])
    header = ["noise", "objective", *METRICS, "best epoch"]
    return tabulate(rows, header, "pipe", disable_numparse=True, colalign=["right", "left"] + ["right"] * 5)


def labels_table(results: dict[tuple[float, str], list[Result]]) -> str:
    """Tabulate the noise in the training labels."""
    rows = [
        [
            f"{rate:g}",
            *(f"{fmean(each):.0f}" for each in zip(*([*run.wrong, run.omitted] for run in runs), strict=True)),
        ]
        for (rate, objective), runs in results.items()
        if objective == WHOLE
    ]
    header = ["noise", "right", "sibling", "spurious", "omitted"]
    return tabulate(rows, header, "pipe", disable_numparse=True, colalign=["right"] * 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="caml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="shares of labels made wrong")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpus = datasets.open("demo").corpus()
    results: dict[tuple[float, str], list[Result]] = {}
    for rate in arguments.rates:
        for objective in OBJECTIVES:
            if objective == NEAR and not rate:
                continue  # the whole loss
            runs = results.setdefault((rate, objective), [])
            for seed in range(1, arguments.seeds + 1):
                runs.append(trained(corpus, rate, seed, objective, arguments.model))
                sys.stderr.write(f"noise {rate:g} {objective} seed {seed}: P@5 {runs[-1].test['p@5']:.3f}\n")
    tables = (labels_table(results), found_table(results), effect_table(results))
    sys.stdout.write("\n\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
