"""All runs as one tidy table: `frame(records)` has a row for each figure of each run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from icdbench.records.record import RunRecord

if TYPE_CHECKING:  # slow to import
    import pandas as pd

COLUMNS = (
    "dataset",
    "fingerprint",
    "synthetic",
    "system",
    "setting",
    "seed",
    "run",
    "split",
    "rule",
    "metric",
    "value",
)
DTYPES = {**dict.fromkeys(COLUMNS, "str"), "synthetic": "bool", "seed": "int64", "value": "float64"}


def frame(records: Iterable[RunRecord]) -> pd.DataFrame:
    """The figures of the runs, one a row, in the order of the records. Without records it is empty, with the same columns.

    ===========  =======  ==========================================================================================
    column       dtype    content
    ===========  =======  ==========================================================================================
    dataset      str      name of the data set
    fingerprint  str      digest of its raw content
    synthetic    bool     whether the data are made up
    system       str      the model as a user types it, such as `jlan` or `jlan@no-joint`
    setting      str      8 hex digits of all settings but the seed; only runs of one setting may be averaged
    seed         int64    the run's seed
    run          str      the run's id, which names its folder below results
    split        str      `validation` or `test`
    rule         str      `fixed` (threshold 0.5) or `tuned` (a threshold chosen on validation)
    metric       str      the metric's key, such as `f1_micro` or `p@5`
    value        float64  the figure; a fraction, not percent
    ===========  =======  ==========================================================================================

    Mean, standard deviation and number of seeds of each setting:

        >>> runs = frame(store.load_records(Path("results")))
        >>> f1 = runs.query("split == 'test' and rule == 'fixed' and metric == 'f1_micro'")
        >>> means = f1.groupby(["dataset", "fingerprint", "system", "setting"])["value"].agg(["mean", "std", "count"])

    Settings of the data can make two runs on one data set incomparable: see icdbench.records.comparable.blocks.
    """
    import pandas as pd

    rows: list[tuple[object, ...]] = []
    for record in records:
        spec = record.spec
        run = spec.dataset, spec.fingerprint, record.data.synthetic, spec.system, spec.setting, spec.seed, record.id
        for split, rules in record.metrics.items():
            for rule, figures in rules.items():
                rows += [(*run, split, rule, *figure) for figure in figures.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(DTYPES)
