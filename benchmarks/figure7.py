"""Figure 7 of the JLAN paper: the first 50 epochs with joint learning and with a plain sum of both attentions.

Patience equals the number of epochs, so that no run stops early. The paper shows bars without numbers.
"""

from __future__ import annotations

from icdbench.spec import Benchmark

BENCHMARK = Benchmark(
    name="figure7",
    title="Figure 7: JLAN with and without joint learning, by epoch",
    dataset="mimic50",
    study="joint",
    per_epoch=True,
    plot="epochs",
    overrides={"train.max_epochs": 50, "train.patience": 50},
    metrics=(
        ("AUC macro", "auc_macro"),
        ("AUC micro", "auc_micro"),
        ("F1 macro", "f1_macro_harmonic"),
        ("F1 micro", "f1_micro"),
        ("P@5", "p@5"),
        ("training loss", "loss"),
        ("validation loss", "validation_loss"),
    ),
    published={"with joint learning": ("jlan", ()), "without": ("jlan@no-joint", ())},
    source="Li X. et al., BMC Bioinformatics 2021, 22:590, Fig. 7, which prints no numbers",
    caption="Losses as they are.",
)
