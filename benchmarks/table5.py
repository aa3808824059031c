"""Table 5 of the JLAN paper: JLAN and seven baselines on the 50 most frequent codes of MIMIC-III.

Every cell is as printed, dashes included (MSATT-KG's is a hyphen); rows and columns are in the paper's order. Tables 3
and 4 use other settings (JLAN's micro F1 is 62.7 there) and must not be compared with this one.
"""

from __future__ import annotations

from icdbench.spec import Benchmark

BENCHMARK = Benchmark(
    name="table5",
    title="Table 5: JLAN and baseline models on the MIMIC-III-50 test set",
    dataset="mimic50",
    metrics=(
        ("AUC macro", "auc_macro"),
        ("AUC micro", "auc_micro"),
        ("F1 macro", "f1_macro_harmonic"),
        ("F1 micro", "f1_micro"),
        ("P@5", "p@5"),
        ("R@5", "r@5"),
    ),
    published={
        "CNN": ("cnn", ("87.6", "90.7", "57.6", "62.5", "62.0", "–")),
        "BiGRU": ("bigru", ("82.8", "86.8", "48.4", "54.9", "59.1", "–")),
        "LEAM": ("leam", ("88.1", "91.2", "54.0", "61.9", "61.2", "–")),
        "CAML": ("caml", ("87.5", "90.9", "53.2", "61.4", "60.9", "–")),
        "DR–CAML": ("dr-caml", ("88.4", "91.6", "57.6", "63.3", "61.8", "–")),
        "MSATT-KG": ("msatt-kg", ("91.4", "93.6", "63.8", "68.4", "64.4", "-")),
        "MultiResCNN": ("multirescnn", ("89.9", "92.8", "60.6", "67.0", "64.1", "62.1")),
        "JLAN": ("jlan", ("92.6", "94.1", "66.5", "69.7", "66.8", "63.8")),
    },
    source="Li X. et al., BMC Bioinformatics 2021, 22:590, Table 5",
    caption="L = 50 codes. The paper does not state the threshold; its macro-F1 is that of its eq. 21.",
)
