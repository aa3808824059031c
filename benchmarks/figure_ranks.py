"""Systems by their mean ranks over data sets, with the critical difference (Demšar, JMLR 2006, 7:1-30)."""

from __future__ import annotations

from icdbench.spec import Benchmark

BENCHMARK = Benchmark(
    name="ranks",
    title="Mean ranks over data sets",
    plot="ranks",
    metrics=(("MAP", "map"), ("F1 micro tuned", "f1_micro"), ("P@5", "p@5")),
    threshold="tuned",
    source="Demšar J., JMLR 2006, 7:1-30",
    caption="Rank 1 is best. Friedman's test; where it finds a difference, Nemenyi's critical difference at .05.",
)
