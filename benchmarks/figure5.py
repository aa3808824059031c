"""Figure 5 of the JLAN paper: its models and baselines, with the numbers of Table 5 or, for all codes, of Table 6."""

from __future__ import annotations

from icdbench.benchmarks.table5 import BENCHMARK as TABLE5
from icdbench.benchmarks.table6 import BENCHMARK as TABLE6

FIFTY = TABLE5.override(
    {"name": "figure5", "title": "Figure 5: models on the MIMIC-III-50 test set", "plot": "systems"}, "figure5"
)
FULL = TABLE6.override(
    {"name": "figure5-full", "title": "Figure 5: models on the MIMIC-III-full test set", "plot": "systems"}, "figure5"
)
