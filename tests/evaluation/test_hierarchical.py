"""Scores that know the hierarchy, by hand and by another way of counting."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import f1_score

from icdbench.codes import Tree, hierarchy
from icdbench.evaluation import hierarchical

CODES = ("038.9", "038.0", "401.9", "401", "V10.1", "38.93")


@pytest.fixture
def paths() -> list[hierarchical.Path]:
    return hierarchical.paths(hierarchy.build_tree(CODES, hierarchy.icd9cm_path), CODES)


def matrix(*rows: set[str]) -> csr_matrix:
    return csr_matrix(np.array([[int(code in row) for code in CODES] for row in rows]))


def test_paths_go_from_the_chapter_down(paths: list[hierarchical.Path]) -> None:
    assert paths[0] == ("001-139", "030-041", "038", "038.9")
    assert paths[2] == ("390-459", "401-405", "401", "401.9")
    assert paths[3] == paths[2][:3]  # a code of the label set above another
    assert hierarchical.paths(Tree({"x": "(other codes)"}), ["x", "y"]) == [("x",), ("y",)]


def test_counts_by_hand() -> None:
    """Codes a, b, c under one parent: of 1, 2, 2 predicted and 2, 1, 1 gold codes 3 meet there, 2 are too many, 1 lacks."""
    of = [("parent", code) for code in "abc"]
    predicted = csr_matrix(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]]))
    gold = csr_matrix(np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0]]))
    layers = hierarchical.cophe(predicted, gold, of)
    assert layers == {1: hierarchical.Counts(3, 2, 1), 2: hierarchical.Counts(0, 5, 4)}
    assert layers[1].f1 == pytest.approx(6 / 9)


def test_cophe_counts_as_a_loop_over_documents_and_nodes_does(paths: list[hierarchical.Path]) -> None:
    generator = np.random.default_rng(0)
    predicted, gold = (csr_matrix((generator.random((40, len(CODES))) < 0.4).astype(int)) for _ in range(2))
    layers = hierarchical.cophe(predicted, gold, paths)
    for depth, found in layers.items():
        tp = fp = fn = 0
        for row, other in zip(predicted.toarray(), gold.toarray(), strict=True):
            x, y = (
                Counter(path[depth - 1] for path, has in zip(paths, each, strict=True) if has and len(path) >= depth)
                for each in (row, other)
            )
            tp += (x & y).total()
            fp += (x - y).total()
            fn += (y - x).total()
        assert found == (tp, fp, fn)
    assert list(layers) == [1, 2, 3, 4]


def test_codes_cut_by_levels_are_sets(paths: list[hierarchical.Path]) -> None:
    predicted, gold = matrix({"038.9"}, {"401.9", "401"}, {"V10.1"}), matrix({"038.0"}, {"401.9"}, {"38.93"})
    whole, one, two = (hierarchical.cut(predicted, gold, paths, levels) for levels in range(3))
    assert whole == (1, 3, 2)
    # 038.9 and 038.0 become 038; 401.9 becomes 401 and 401 its section: two codes that stay two
    assert one == (2, 2, 1)
    assert two.tp == 2
    deep = hierarchical.cut(predicted, gold, paths, 9)  # never above the chapter, where 401 and 401.9 are one
    assert deep == (2, 1, 1)


def test_cutting_nothing_is_the_usual_f1(paths: list[hierarchical.Path]) -> None:
    generator = np.random.default_rng(1)
    predicted, gold = ((generator.random((30, len(CODES))) < 0.3) for _ in range(2))
    found = hierarchical.cut(csr_matrix(predicted, dtype=int), csr_matrix(gold, dtype=int), paths, 0)
    assert found.f1 == pytest.approx(f1_score(gold, predicted, average="micro"))


@pytest.mark.parametrize(
    ("code", "family"),
    [("401.9", "401"), ("I10", "I10"), ("w19.xxxa", "W19"), ("E850.1", "E850"), ("38.93", "38"), ("02HV33Z", "02H")],
)
def test_the_family_of_a_code(code: str, family: str) -> None:
    assert hierarchical.category(code) == family


def test_errors_within_and_outside_a_family_by_hand() -> None:
    """First note: 038.9 instead of 038.0, and 401 beside the right 401.9. Second: V10.1 instead of 038.9."""
    predicted, gold = matrix({"038.9", "401.9", "401"}, {"V10.1"}), matrix({"038.0", "401.9"}, {"038.9"})
    found = hierarchical.family_errors(predicted, gold, CODES)
    assert found == pytest.approx({"fp_within": 2 / 3, "fn_within": 1 / 2, "confused": 1 / 2})
    assert hierarchical.family_errors(gold, gold, CODES) == {}
    assert hierarchical.family_errors(gold, matrix(set(), set()), CODES) == {"fp_within": 0.0}
