"""Explains notes of many lengths by every method of every registered model, and counts what fails and what is shifted.

    OMP_NUM_THREADS=1 python tests/faults/explanations.py [--lengths 40] [--systems caml,jlan]

A failure is an error, a weight that is no number, or another number of weights than words that were read. A shift is a
weight that differs, by more than rounding, from that of the same note in a batch of exactly its width; or a word that
drives all codes of a model made for that purpose, while the largest weight is elsewhere. Models are untrained and small; integrated gradients take 8
steps and occlusion 32 windows, which changes no word's place.
Prints a table and exits with 1 if anything was counted.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import planted
from systems import BLIND, EVERY, predictor

from icdbench.inference import explain
from icdbench.inference.predict import Predictor
from icdbench.types import FloatArray

LONGEST = 600  # words that the models read


def lengths(count: int) -> list[int]:
    """So many, among them those about powers of two, where widths begin to be rounded, and one beyond the longest."""
    sharp = [65, 131, 2, 1, 3, 5, 9, 10, 63, 64, 66, 127, 128, 129, 130, 255, 256, 257, 300, 511, 512, 513, 520]
    ends = [LONGEST - 1, LONGEST, LONGEST + 1]
    between = np.geomspace(11, LONGEST - 2, 200).astype(int)
    drawn = [int(each) for each in np.random.default_rng(0).permutation(between) if each not in sharp]
    return sorted([*sharp, *ends, *dict.fromkeys(drawn)][:count])


def weights(predictor: Predictor, text: str) -> dict[str, FloatArray]:
    """By every method of the model, for one code."""
    forward = explain.Pass(predictor, text)
    return {method: of_code(3)[0] for method, of_code in explain.methods(forward).items()}


def explained(system: str, asked: list[int]) -> Counter[str]:
    """What was counted of a system: explanations, failures, shifts."""
    counts: Counter[str] = Counter()
    usual, driven = predictor(system, LONGEST), predictor(system, LONGEST)
    planted.plant(driven)
    for length in asked:
        read, place = min(length, LONGEST), min(length, LONGEST) // 3
        try:
            found = weights(usual, planted.note(length))
            peaked = weights(driven, planted.note(length, place))
            with planted.widened(0):
                exact = weights(usual, planted.note(length))
        except Exception as error:  # noqa: BLE001  whatever a user would see as a crash
            print(f"{system}, {length} words: {type(error).__name__}: {error}", file=sys.stderr)
            counts["failures"] += 1
            continue
        for method, weights_T in found.items():
            counts["explanations"] += 1
            if weights_T.shape != (read,) or not np.isfinite(weights_T).all():
                counts["failures"] += 1
            elif not planted.equal(weights_T, exact[method], method) or not (
                method == "random" or system in BLIND or planted.stands_on_it(peaked[method], place, method)
            ):
                print(f"{system}, {length} words: {method} is shifted", file=sys.stderr)
                counts["shifts"] += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, default=40, help="how many (40)")
    parser.add_argument("--systems", default=",".join(EVERY), help="all, unless named")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    explain.STEPS, explain.WINDOWS = 8, 32
    asked = lengths(arguments.lengths)
    print(f"| system | lengths, {asked[0]} to {asked[-1]:,} words | explanations | failures | shifts |")
    print("|:--|--:|--:|--:|--:|")
    total: Counter[str] = Counter()
    for system in arguments.systems.split(","):
        counts = explained(system, asked)
        total += counts
        print(f"| {system} | {len(asked)} | {counts['explanations']} | {counts['failures']} | {counts['shifts']} |")
        sys.stdout.flush()
    print(f"| **all** | {len(asked)} | {total['explanations']} | {total['failures']} | {total['shifts']} |")
    return int(total["failures"] + total["shifts"] > 0)


if __name__ == "__main__":
    sys.exit(main())
