"""Table 6 of the JLAN paper: JLAN and seven baselines on all codes of MIMIC-III.

Every cell is as printed; rows and columns are in the paper's order, so P@15 comes before P@8. For BiGRU the paper
prints a single precision without a dash; it is taken as P@8, which every other baseline has. The caption adds LAAT,
which the paper omits.
"""

from __future__ import annotations

from icdbench.spec import Benchmark

BENCHMARK = Benchmark(
    name="table6",
    title="Table 6: JLAN and baseline models on the MIMIC-III-full test set",
    dataset="mimic-full",
    metrics=(
        ("AUC macro", "auc_macro"),
        ("AUC micro", "auc_micro"),
        ("F1 macro", "f1_macro_harmonic"),
        ("F1 micro", "f1_micro"),
        ("P@15", "p@15"),
        ("P@8", "p@8"),
    ),
    published={
        "LR": ("lr", ("56.1", "93.7", "1.1", "27.2", "–", "54.2")),
        "CNN": ("cnn", ("80.6", "96.9", "4.2", "41.9", "–", "58.1")),
        "BiGRU": ("bigru", ("82.2", "97.1", "3.8", "41.7", "", "58.5")),
        "CAML": ("caml", ("89.5", "98.6", "8.8", "53.9", "–", "70.9")),
        "DR-CAML": ("dr-caml", ("89.7", "98.5", "8.6", "52.9", "–", "69.0")),
        "MSATT-KG": ("msatt-kg", ("91.0", "99.2", "9.0", "55.3", "–", "72.8")),
        "MultiResCNN": ("multirescnn", ("91.0", "98.6", "8.5", "55.2", "58.4", "73.4")),
        "JLAN": ("jlan", ("91.8", "98.8", "9.7", "56.7", "57.9", "74.1")),
    },
    source="Li X. et al., BMC Bioinformatics 2021, 22:590, Table 6",
    caption=(
        "L = 8,921 codes in the paper. The paper does not state the threshold; its macro-F1 is that of its eq. 21. It leaves out "
        "LAAT (F1 macro 9.9, micro 57.5) and JointLAAT (10.7, 57.5; LAAT README)."
    ),
)
