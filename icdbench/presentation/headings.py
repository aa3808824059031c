"""The names of metrics in tables, figures and the report, by key."""

from __future__ import annotations

HEADINGS = {  # in the order of columns
    "auc_macro": "AUC macro",
    "auc_micro": "AUC micro",
    "f1_macro_harmonic": "F1 macro (harmonic)",
    "f1_macro": "F1 macro (mean)",
    "f1_macro_present": "F1 macro (present codes)",
    "f1_macro_unstated": "F1 macro (not stated which)",
    "f1_micro": "F1 micro",
    "p@5": "P@5",
    "r@5": "R@5",
    "p@8": "P@8",
    "p@15": "P@15",
    "r_precision": "R precision",
    "map": "MAP",
    "map_official": "MAP (CodiEsp)",
    "loss": "Training loss",
    "drop_rate": "Share of positive pairs dropped",
}
MACRO_F1 = {
    "f1_macro_harmonic": "harmonic, 2PR/(P+R) of macro-averaged P and R, not the mean of per-code F1",
    "f1_macro": "mean of per-code F1 over all codes, not 2PR/(P+R)",
    "f1_macro_present": "mean of per-code F1 over the codes that a document of the split has, not 2PR/(P+R)",
    "f1_macro_unstated": "of a definition that the source does not state",
}
COUNTS = {"auc_labels"}  # metrics that are counts, not fractions


def heading(key: str) -> str:
    """The heading of a metric: `P@15` of `p@15`, `F1 micro, 1-10` of `f1_micro[1-10]`."""
    base, bracket, bucket = key.partition("[")
    words = base.replace("_", " ").replace("f1", "F1").replace("p@", "P@").replace("r@", "R@")
    name = HEADINGS.get(base, words)
    return f"{name[0].upper()}{name[1:]}{bracket and f', {bucket[:-1]}'}"
