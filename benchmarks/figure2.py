"""Figure 2 of the JLAN paper: how often codes occur in training. The paper shows MIMIC-III without numbers."""

from __future__ import annotations

from icdbench.spec import Benchmark

BENCHMARK = Benchmark(
    name="figure2",
    title="Figure 2: codes by their frequency in training",
    statistics=True,
    plot="frequencies",
    metrics=(("Train", "train"), ("Codes", "codes"), ("Codes per document", "codes per document")),
    published={"MIMIC-III-50": ("mimic50", ()), "MIMIC-III": ("mimic-full", ())},
    source="Li X. et al., BMC Bioinformatics 2021, 22:590, Fig. 2, which prints no numbers",
    caption="The table has the sizes behind the figure.",
)
