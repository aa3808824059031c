"""Table 3 of the JLAN paper: the largest fraction of positive pairs that the denoising objective leaves out (T-loss).

The paper prints fractions; here they are percentages with all digits. Columns are in the paper's order, with one table
for each of its two data sets. Table 5 reports JLAN with other settings (micro F1 69.7, here 62.7).
"""

from __future__ import annotations

from icdbench.spec import Benchmark

CAPTION = (
    "The paper prints fractions and means of five runs. Its Tables 3 and 4 must not be compared with its Tables 5 and 6: they "
    "come from other settings, which it does not state."
)
FIFTY = Benchmark(
    name="table3",
    title="Table 3: different T-loss in JLAN, MIMIC-III-50",
    dataset="mimic50",
    study="t-loss",
    metrics=(("F1 micro", "f1_micro"), ("F1 macro", "f1_macro_harmonic")),
    published={
        "T-loss=0.05": ("jlan@t-loss-0.05", ("62.3", "57.1")),
        "T-loss=0.1": ("jlan@t-loss-0.1", ("62.6", "57.4")),
        "T-loss=0.15": ("jlan", ("62.7", "57.3")),
        "T-loss=0.2": ("jlan@t-loss-0.2", ("62.5", "57.3")),
    },
    source="Li X. et al., BMC Bioinformatics 2021, 22:590, Table 3",
    caption=f"L = 50 codes. {CAPTION}",
)
FULL = FIFTY.override(
    {
        "name": "table3-full",
        "title": "Table 3: different T-loss in JLAN, MIMIC-III-full",
        "dataset": "mimic-full",
        "published": {
            "T-loss=0.05": ("jlan@t-loss-0.05", ("54.2", "6.1")),
            "T-loss=0.1": ("jlan@t-loss-0.1", ("55.7", "6.8")),
            "T-loss=0.15": ("jlan", ("55.6", "6.8")),
            "T-loss=0.2": ("jlan@t-loss-0.2", ("54.7", "6.4")),
        },
        "caption": f"L = 8,921 codes in the paper. {CAPTION}",
    },
    "table3",
)
