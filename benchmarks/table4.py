"""Table 4 of the JLAN paper: the number of residual blocks (P).

The paper prints fractions; here they are percentages with all digits. Columns are in the paper's order, with one table
for each of its two data sets. The micro F1 of JLAN with one block is 63.7 here, 62.7 in Table 3 and 69.7 in Table 5,
each with other settings.
"""

from __future__ import annotations

from icdbench.spec import Benchmark

CAPTION = (
    "The paper prints fractions. Its Tables 3 and 4 must not be compared with its Tables 5 and 6: they come from other "
    "settings, which it does not state."
)
FIFTY = Benchmark(
    name="table4",
    title="Table 4: different numbers of residual blocks in JLAN, MIMIC-III-50",
    dataset="mimic50",
    study="blocks",
    metrics=(("F1 micro", "f1_micro"), ("F1 macro", "f1_macro_harmonic")),
    published={
        "P = 1": ("jlan", ("63.7", "58.5")),
        "P = 2": ("jlan@blocks-2", ("59.7", "55.8")),
        "P = 3": ("jlan@blocks-3", ("58.2", "52.4")),
    },
    source="Li X. et al., BMC Bioinformatics 2021, 22:590, Table 4",
    caption=f"L = 50 codes. {CAPTION}",
)
FULL = FIFTY.override(
    {
        "name": "table4-full",
        "title": "Table 4: different numbers of residual blocks in JLAN, MIMIC-III-full",
        "dataset": "mimic-full",
        "published": {
            "P = 1": ("jlan", ("54.3", "6.2")),
            "P = 2": ("jlan@blocks-2", ("54.1", "5.9")),
            "P = 3": ("jlan@blocks-3", ("54.0", "5.9")),
        },
        "caption": f"L = 8,921 codes in the paper. {CAPTION}",
    },
    "table4",
)
