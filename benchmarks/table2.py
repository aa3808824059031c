"""Table 2 of the JLAN paper: statistics of the data sets, as printed; numbers of codes are from the paper's text."""

from __future__ import annotations

from icdbench.spec import Benchmark

BENCHMARK = Benchmark(
    name="table2",
    title="Table 2: statistics of the data sets",
    statistics=True,
    metrics=(
        ("Vocab", "vocabulary"),
        ("Train", "train"),
        ("Valid", "validation"),
        ("Test", "test"),
        ("Codes", "codes"),
        ("Codes per document", "codes per document"),
    ),
    published={
        "MIMIC-III-50": ("mimic50", ("59,168", "8067", "1574", "1730", "50", "")),
        "MIMIC-III": ("mimic-full", ("140,795", "47,724", "1632", "3372", "8921", "")),
    },
    source="Li X. et al., BMC Bioinformatics 2021, 22:590, Table 2; codes: its text",
    caption=(
        "The paper's text gives 47,719, 1,631 and 3,372 documents of MIMIC-III. The published lists have 47,723, 1,631 and "
        "3,372, and for 50 codes 8,066, 1,573 and 1,729. The paper counts its 140,795 words before rare ones are dropped; own "
        "vocabularies are the words that models know."
    ),
)
