"""Figure 5 of the JLAN paper: its models and baselines, the numbers of Table 5 drawn; of Table 6 where there are more codes."""

from __future__ import annotations

from icdbench.benchmarks.table5 import BENCHMARK as TABLE5
from icdbench.benchmarks.table6 import BENCHMARK as TABLE6

FIFTY = TABLE5.override({"name": "figure5", "title": "Figure 5: models on the MIMIC-III-50 test set"}, "figure5")
FULL = TABLE6.override({"name": "figure5-full", "title": "Figure 5: models on the MIMIC-III-full test set"}, "figure5")
