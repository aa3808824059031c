"""The code hierarchy: ancestors by coding system, the tree they make, and its way through the cache to a model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from corpora import prepared, rows, write
from mimic import small as small_mimic
from mimic import small4, write_splits

import icdbench.run as runner
from icdbench.codes import Tree, hierarchy, icd9
from icdbench.codes.icd10 import icd10cm, icd10cm_headings
from icdbench.data import datasets
from icdbench.data.sources import mimic_splits as splits
from icdbench.spec import DataSpec
from icdbench.types import Corpus

ROOTS = {hierarchy.DIAGNOSES, hierarchy.PROCEDURES, hierarchy.OTHER}


def chain(parents: Mapping[str, str], name: str) -> list[str]:
    """The ancestors of a name, the nearest first."""
    found = [name]
    while found[-1] in parents:
        found.append(parents[found[-1]])
        assert len(found) < 20, f"a cycle: {found}"
    return found[1:]


@pytest.mark.parametrize(
    ("code", "ancestors"),
    [
        ("250.01", "250.0 250 249-259 240-279 (diagnoses)"),
        ("401.9", "401 401-405 390-459 (diagnoses)"),
        ("486", "480-488 460-519 (diagnoses)"),
        ("285.1", "285 280-289 (diagnoses)"),  # a chapter without sections
        ("042", "001-139 (diagnoses)"),  # a section of itself
        ("V15.82", "V15.8 V15 V10-V19 V01-V91 (diagnoses)"),
        ("V85.0", "V85 V01-V91 (diagnoses)"),
        ("E916", "E916-E928 E000-E999 (diagnoses)"),
        ("E849.7", "E849 E846-E849 E000-E999 (diagnoses)"),
        ("39.95", "39.9 39 35-39 (procedures)"),
        ("96.6", "96 87-99 (procedures)"),
        ("17.11", "17.1 17 (procedures)"),  # a chapter that is a heading
        ("03.31", "03.3 03 01-05 (procedures)"),
        ("33.1", "33 30-34 (procedures)"),  # as it stands, though 03.31 may be meant
        ("66.", "00.6 00 (procedures)"),  # 00.66
        ("3.", "00.0 00 (procedures)"),  # 00.03
        ("66", "65-71 (procedures)"),  # a heading as a label
    ],
)
def test_icd9cm_by_prefixes_sections_and_chapters(code: str, ancestors: str) -> None:
    assert chain(hierarchy.build_tree([code], hierarchy.icd9cm_path).parents, code) == ancestors.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "ancestors"),
    [
        ("i10", "I10-I1A 9 (diagnoses)"),
        ("w19.xxxa", "W19 W00-W19 20 (diagnoses)"),
        ("w19.xxx", "W19 W00-W19 20 (diagnoses)"),
        ("E11.9", "E11 E08-E13 4 (diagnoses)"),
        ("E119", "E11 E08-E13 4 (diagnoses)"),
        ("b20", "1 (diagnoses)"),  # category and block of one name
        ("C7A.00", "C7A.0 C7A 2 (diagnoses)"),
        ("K52.97", "K52.9 K52 K50-K52 11 (diagnoses)"),  # not listed
        ("02HV33Z", "02HV33- 02HV3-- 02HV--- 02H---- 02----- 0------ (procedures)"),
    ],
)
def test_icd10_by_the_package_and_by_the_axes_of_procedures(code: str, ancestors: str) -> None:
    assert chain(hierarchy.build_tree([code], hierarchy.icd10_path).parents, code) == ancestors.split()


def test_procedures_cut_to_some_axes_are_ancestors_of_others() -> None:
    parents = hierarchy.build_tree(["0d11", "0d1", "b"], hierarchy.icd10pcs_path).parents
    assert chain(parents, "0d11") == ["0d1", "0D-----", "0------", "(procedures)"]
    assert chain(parents, "b") == ["(procedures)"]
    assert "0D1----" not in parents


@pytest.mark.slow
def test_a_label_that_is_an_ancestor_is_its_node() -> None:
    parents = hierarchy.build_tree(["k52.9", "k52", "K52"], hierarchy.icd10cm_path).parents
    assert parents["k52.9"] == "k52"
    assert parents["k52"] == parents["K52"] == "K50-K52"
    assert hierarchy.build_tree(["250.01", "250.0"], hierarchy.icd9cm_path).parents["250.01"] == "250.0"


@pytest.mark.slow
@pytest.mark.counted
@pytest.mark.parametrize("path", [hierarchy.icd9cm_path, hierarchy.icd10_path, hierarchy.icd10pcs_path])
def test_unknown_codes_get_a_root_of_their_own_and_are_listed(path: hierarchy.CodePath) -> None:
    unknown = ["?", "", "9", "V99.1", "E1", "(other codes)", "(diagnoses)", "ICD", "1234567890", "250.011", "A00-A09"]
    unknown = [code for code in unknown if not path(code)]
    assert len(unknown) >= 6
    tree = hierarchy.build_tree([*unknown, "E11.9" if path == hierarchy.icd10_path else "0DT"], path)
    assert set(tree.outside) >= set(unknown)
    assert all(chain(tree.parents, code)[-1:] in ([hierarchy.OTHER], []) for code in unknown)


def sound(tree: Tree, codes: Sequence[str]) -> None:
    """Every chain ends at a root."""
    assert not tree.outside
    for code in codes:
        ancestors = chain(tree.parents, code)
        assert ancestors[-1] in ROOTS, code
        assert len(set(ancestors)) == len(ancestors)


def test_all_packaged_icd9_codes_have_a_place() -> None:
    codes = [code for of in icd9.titles().values() for code in of]
    tree = hierarchy.build_tree(codes, hierarchy.icd9cm_path)
    sound(tree, codes)
    for code in codes:
        spans = [name.split("-") for name in chain(tree.parents, code) if "-" in name]
        assert all(first <= code[: len(first)] <= last for first, last in spans), code
    for kind, root in ((icd9.DIAGNOSIS, hierarchy.DIAGNOSES), (icd9.PROCEDURE, hierarchy.PROCEDURES)):
        assert {chain(tree.parents, code)[-1] for code in icd9.titles()[kind]} == {root}
    children = [child for child, parent in tree.parents.items() if parent == hierarchy.DIAGNOSES]
    assert len(children) == 19, "17 chapters and two supplements"
    assert len([child for child, parent in tree.parents.items() if parent == hierarchy.PROCEDURES]) == 18


def test_codes_that_lost_their_zeros_have_a_place() -> None:
    cut = [icd9.dotted(str(int(code.replace(".", ""))), icd9.PROCEDURE) for code in icd9.titles()[icd9.PROCEDURE]]
    sound(hierarchy.build_tree(cut, hierarchy.icd9cm_path), cut)


def test_listed_icd10_codes_have_a_place() -> None:
    package = icd10cm()
    codes = [code for code in package.get_all_codes()[::19] if package.is_category_or_subcategory(code)]
    tree = hierarchy.build_tree([code.lower() for code in codes], hierarchy.icd10cm_path)
    sound(tree, [code.lower() for code in codes])
    for code in codes[::50]:
        names = dict.fromkeys(package.get_ancestors(code))  # a block may have its category's name
        assert [name.upper() for name in chain(tree.parents, code.lower())[:-1]] == [n for n in names if n != code]


def test_nine_thousand_codes_take_no_time() -> None:
    codes = [code for of in icd9.titles().values() for code in of][::2]
    begun = time.process_time()
    hierarchy.build_tree(codes, hierarchy.icd9cm_path)
    assert time.process_time() - begun < 2, "it takes .2 s"


def test_titles_of_headings() -> None:
    titles = icd10cm_headings(["E11", "E08-E13", "4", "BW03---", "(diagnoses)"])
    assert titles["E11"] == "Type 2 diabetes mellitus"
    assert titles["E08-E13"].startswith("Diabetes mellitus")
    assert titles["4"].startswith("Endocrine")
    assert len(titles) == 3


# --- In the data sets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", datasets.scan().values(), ids=lambda origin: origin.name)
def test_every_registered_source_has_a_hierarchy(origin: datasets.Source) -> None:
    assert origin.coding is not None


def up(corpus: Corpus, code: str) -> list[str]:
    """The ancestors of a code by the indices that a model gets."""
    assert corpus.hierarchy is not None
    nodes = [*corpus.vocabulary.codes, *corpus.hierarchy.ancestors]
    assert len(nodes) == len(corpus.hierarchy.parents)
    node, found = nodes.index(code), []
    while (node := int(corpus.hierarchy.parents[node])) >= 0:
        found.append(nodes[node])
    return found


def title(corpus: Corpus, ancestor: str) -> list[str]:
    assert corpus.hierarchy is not None
    tokens = corpus.hierarchy.descriptions[corpus.hierarchy.ancestors.index(ancestor)]
    return [corpus.vocabulary.tokens[token] for token in tokens]


def test_own_data_by_their_coding_system(tmp_path: Path) -> None:
    made = [
        {"id": f"{i:03}", "text": "type 2 diabetes mellitus", "codes": "E11.9;E11;02HV33Z;PREOP"} for i in range(30)
    ]
    path = write(tmp_path / "x.csv", made)
    corpus = prepared(path, code_system="icd10cm")
    assert up(corpus, "E11.9") == ["E11", "E08-E13", "4", "(diagnoses)"]
    assert up(corpus, "02HV33Z")[-2:] == ["0------", "(procedures)"]
    assert up(corpus, "PREOP") == ["(other codes)"]
    assert corpus.facts["codes_outside_hierarchy"] == 1
    assert corpus.notices == ("codes outside the data set's coding system: 1 of 4, such as 'PREOP'",)
    assert title(corpus, "E08-E13") == ["diabetes", "mellitus", "<unknown>", "<unknown>"]
    assert title(corpus, "0------") == []
    assert up(prepared(path, code_system="icd9cm"), "E11") == ["(other codes)"]
    assert prepared(path).hierarchy is None, "nothing is known of the codes"


def test_the_hierarchy_is_the_same_from_the_cache_and_in_every_order_of_documents(tmp_path: Path) -> None:
    made = [{**row, "codes": "250.01;39.95"} for row in rows(30)]
    first = prepared(write(tmp_path / "x.csv", made), code_system="icd9cm")
    again = prepared(tmp_path / "x.csv", code_system="icd9cm")
    other = prepared(
        write(tmp_path / "y.csv", [{**row, "codes": "39.95;250.01"} for row in made]), code_system="icd9cm"
    )
    assert isinstance(again.hierarchy.parents if again.hierarchy else None, np.memmap)
    for corpus in (first, again, other):
        assert corpus.hierarchy is not None
        assert corpus.hierarchy.parents.tolist() == [2, 6, 3, 4, 5, 9, 7, 8, 10, -1, -1]
        assert corpus.hierarchy.ancestors == tuple(
            "250.0 250 249-259 240-279 39.9 39 35-39 (diagnoses) (procedures)".split()
        )
        assert [len(words) for words in corpus.hierarchy.descriptions] == [0] * 9
        assert runner.task(corpus, DataSpec(), None).hierarchy is corpus.hierarchy


@pytest.mark.slow
def test_demo_and_mimic_have_theirs(tmp_path: Path) -> None:
    assert up(prepared("demo", top_codes=5), prepared("demo", top_codes=5).vocabulary.codes[0])[-1] in ROOTS
    tables = small_mimic()
    tables.procedures = [(number, 100 + number, "0066") for number in range(1, 6)]
    folder = tables.write(tmp_path / "mimic")
    (folder / splits.TITLES).write_text(
        "390-459.99\twords of the whole chapter\n401\tcommon words\n401.9\tnot this\n00.6\twords here\n"
    )
    corpus = prepared("mimic-full", tmp_path, min_documents=1)
    assert up(corpus, "401.9") == ["401", "401-405", "390-459", "(diagnoses)"]
    assert up(corpus, "66.") == ["00.6", "00", "(procedures)"]
    assert title(corpus, "390-459") == ["words", "<unknown>", "<unknown>", "<unknown>", "<unknown>"]
    assert title(corpus, "401") == ["common", "words"]
    assert title(corpus, "00.6") == ["words", "here"]
    assert title(corpus, "401-405") == []


@pytest.mark.parametrize("version", ["9", "10"])
def test_mimic4_has_its_own(version: str, tmp_path: Path) -> None:
    small4().write(tmp_path)
    parts = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    write_splits(tmp_path / f"mimiciv_icd{version}_split.feather", list(enumerate(parts, start=1)))
    (tmp_path / splits.TITLES).write_text("401\tcommon words\n")
    corpus = prepared(f"mimic4-icd{version}", tmp_path, min_documents=1)
    if version == "9":
        assert up(corpus, "401.9") == ["401", "401-405", "390-459", "(diagnoses)"]
        assert up(corpus, "00.66") == ["00.6", "00", "(procedures)"]
        assert title(corpus, "401") == ["common", "words"]
    else:
        assert up(corpus, "E11.9") == ["E11", "E08-E13", "4", "(diagnoses)"]
        assert up(corpus, "02HV33Z")[-1] == "(procedures)"
        assert len(title(corpus, "E11")) == 3
