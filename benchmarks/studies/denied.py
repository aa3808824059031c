"""How often CodiEsp's coders code what a note denies: `python benchmarks/studies/denied.py --data DIR`.

Of the English training notes with a word, those in which the rules of `stacked@affirmed` find each mention denied, or said of the
family, and the others: how many there are, and how many of them have the word's code.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tabulate import tabulate

from icdbench.data import datasets
from icdbench.nn.scopes import ScopeRules, affirmed

CODES = {
    "fever": "R50.9",
    "lymphadenopathy": "R59.9",
    "pain": "R52",
    "infection": "B99.9",
    "vomiting": "R11.10",
    "hematuria": "R31.9",
}


def main() -> None:
    """Print a row for each word."""
    parser = argparse.ArgumentParser(description="How often what a note denies is coded.")
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    root = datasets.data_root(parser.parse_args().data)
    corpus = datasets.open("codiesp-d", root, {"words": "sentences", "min_documents": 1}).corpus()
    train, tokens = corpus.splits["train"], corpus.vocabulary.tokens
    codes = [code.upper() for code in corpus.vocabulary.codes]
    read, labels_NL = affirmed(train, ScopeRules.of(tokens)).tokens, train.labels().toarray()
    rows = []
    for word, code in CODES.items():
        number, coded_N = tokens.index(word), labels_NL[:, codes.index(code)]
        found: dict[bool, list[int]] = {True: [], False: []}
        for note, (start, length) in enumerate(zip(train.token_offsets[:-1], train.lengths, strict=True)):
            places = np.flatnonzero(np.asarray(train.tokens[start : start + length]) == number) + start
            if len(places):
                found[bool((read[places] != number).all())].append(int(coded_N[note]))
        shares = [
            each for denied in (True, False) for each in (len(found[denied]), 100 * float(np.mean(found[denied])))
        ]
        rows.append([f"{word}, {code}", *shares])
    heads = ["word, code", "denied: notes", "have the code, %", "otherwise: notes", "have the code, %"]
    print(tabulate(rows, heads, "pipe", floatfmt=".0f"))


if __name__ == "__main__":
    main()
