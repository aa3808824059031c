"""Figure 8 of the JLAN paper: training with and without the denoising objective, epoch by epoch.

The training loss with denoising omits its largest terms, so it is lower whether or not the model improves; the
validation loss is the full cross-entropy for both. Training takes 50 epochs: the fraction left out grows during the
first 30. The paper shows curves without numbers.
"""

from __future__ import annotations

from icdbench.spec import Benchmark

BENCHMARK = Benchmark(
    name="figure8",
    title="Figure 8: JLAN with and without denoising, by epoch",
    dataset="mimic50",
    study="denoise",
    per_epoch=True,
    plot="epochs",
    overrides={"train.max_epochs": 50, "train.patience": 50},
    metrics=(
        ("F1 macro", "f1_macro_harmonic"),
        ("F1 micro", "f1_micro"),
        ("P@5", "p@5"),
        ("left out", "dropped"),
        ("training loss", "loss"),
        ("validation loss", "validation_loss"),
    ),
    published={"with denoising": ("jlan", ()), "without": ("jlan@no-denoise", ())},
    source="Li X. et al., BMC Bioinformatics 2021, 22:590, Fig. 8, which prints no numbers",
    caption=(
        "Losses as they are; left out: share of the positive pairs. The training loss lacks what is left out, the validation loss "
        "is the whole cross-entropy for both."
    ),
)
