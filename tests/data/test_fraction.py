"""`data.fraction`: a share of the training documents, for learning curves."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import Call

from icdbench.data import datasets
from icdbench.records import comparable, store
from icdbench.settings import SpecError
from icdbench.spec import DataSpec
from icdbench.types import Corpus

pytestmark = pytest.mark.usefixtures("shared_cache")


def corpus(fraction: float, **changes: object) -> Corpus:
    return datasets.open("demo", settings={"fraction": fraction, **changes}).corpus()


@pytest.mark.slow
def test_shares_are_nested_and_all_else_stays_whole() -> None:
    whole = corpus(1.0)
    larger: set[str] = set(whole.splits["train"].ids)
    for fraction in (0.5, 0.1, 0.033):
        part = corpus(fraction)
        kept = part.splits["train"].ids
        assert len(kept) == math.ceil(round(fraction * len(whole.splits["train"]), 6))
        assert set(kept) < larger
        assert list(kept) == [each for each in whole.splits["train"].ids if each in set(kept)]
        larger = set(kept)
        assert part.vocabulary.codes == whole.vocabulary.codes
        assert len(part.vocabulary.tokens) < len(whole.vocabulary.tokens)
        for split in ("validation", "test"):
            assert part.splits[split].ids == whole.splits[split].ids
            assert (part.splits[split].labels() != whole.splits[split].labels()).nnz == 0
            assert np.array_equal(part.splits[split].unseen, whole.splits[split].unseen)


@pytest.mark.slow
def test_without_a_fixed_number_of_codes_the_label_set_is_that_of_all_training_documents() -> None:
    whole, part = (corpus(fraction, top_codes=None) for fraction in (1.0, 0.05))
    assert part.vocabulary.codes == whole.vocabulary.codes
    assert (part.splits["train"].labels().sum(0).A1 == 0).any()  # some have no training document
    assert np.array_equal(part.splits["test"].unseen, whole.splits["test"].unseen)


@pytest.mark.slow
def test_another_seed_keeps_other_documents_and_has_no_effect_without_a_choice() -> None:
    one, same, other = (set(corpus(0.2, fraction_seed=seed).splits["train"].ids) for seed in (0, 0, 1))
    assert one == same
    assert len(one & other) < len(one)
    assert "fraction_seed" in DataSpec().idle(word_vectors=True)
    assert "fraction_seed" not in DataSpec(fraction=0.5).idle(word_vectors=True)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, "half"])
def test_what_is_no_share_is_refused(fraction: object) -> None:
    with pytest.raises(SpecError, match=f"data.fraction={fraction!r}"):
        datasets.open("demo", settings={"fraction": fraction})


@pytest.mark.slow
def test_a_share_without_codes_is_refused_in_one_line(icdbench: Call) -> None:
    lines = ["id,text,codes,split", "0,the fever was treated,038.9,train"]
    lines += [f"{number},nothing was found,,train" for number in range(1, 40)]
    lines += ["40,the fever was treated,038.9,validation", "41,the fever was treated,038.9,test"]
    Path("notes.csv").write_text("\n".join(lines), encoding="utf-8")
    status, _, err = icdbench("run", "--models", "lr", "--dataset", "notes.csv", "--set", "data.fraction=0.03")
    assert status == 2
    assert "data.fraction=0.03: none of the 2 training documents that it keeps has a code" in err


@pytest.mark.slow
def test_runs_on_a_share_are_another_task(notes: Path, icdbench: Call) -> None:
    for fraction in ("0.1", "1"):
        assert icdbench("run", "--models", "lr", "--dataset", notes, "--set", f"data.fraction={fraction}")[0] == 0
    records = store.load_records(Path("results"))
    assert len(comparable.blocks(records)) == 2
    assert [record.data.documents["train"] for record in records if record.spec.data.fraction < 1] == [4]
    status, out, _ = icdbench("tables", "table5")
    assert status == 0
    assert "fraction=0.1" in out
