"""Figure 6 of the JLAN paper: label attention (L), self-attention (S), both summed, and joint learning (J).

The paper shows bars without numbers and does not say for which of its two data sets. It also draws accuracy, which is
not shown here.
"""

from __future__ import annotations

from icdbench.spec import Benchmark

BENCHMARK = Benchmark(
    name="figure6",
    title="Figure 6: the attention mechanisms of JLAN",
    dataset="mimic50",
    study="attention",
    plot="metrics",
    metrics=(
        ("AUC macro", "auc_macro"),
        ("AUC micro", "auc_micro"),
        ("F1 macro", "f1_macro_harmonic"),
        ("F1 micro", "f1_micro"),
        ("P@5", "p@5"),
        ("P@8", "p@8"),
        ("R@5", "r@5"),
    ),
    published={
        "L": ("jlan@label-only", ()),
        "S": ("jlan@self-only", ()),
        "L+S": ("jlan@no-joint", ()),
        "L+S+J": ("jlan", ()),
    },
    source="Li X. et al., BMC Bioinformatics 2021, 22:590, Fig. 6, which prints no numbers",
)
