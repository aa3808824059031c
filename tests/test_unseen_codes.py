"""benchmarks/studies/unseen_codes.py: figures that can be counted by hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from places import ROOT

from icdbench.types import FloatArray


@pytest.fixture
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("unseen_codes", ROOT / "benchmarks" / "studies" / "unseen_codes.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pairs_of_equal_scores_count_as_if_in_random_order(study: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "FIRST", (1, 3, 6))
    scores_NU = np.array([[3.0, 1.0, 1.0], [2.0, 1.0, 1.0]])
    gold_NU = np.array([[1, 1, 0], [0, 0, 0]])
    # The first pair is right and the second is not; of the four equal ones, one is. Four assignments in all.
    assert study.figures(scores_NU, gold_NU, 4) == [25, 25, 25 * 1.25, 50]
    assert study.figures(-scores_NU, gold_NU, 4)[0] == 0  # one of four, two of six: never 40 %
    assert study.figures(scores_NU, np.ones((2, 3)), 6) == pytest.approx([100, 100 / 6, 50, 100])


def test_codes_of_training_are_left_out_and_codes_without_title_are_missed(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reader:
        """Scores the code whose title a text holds."""

        def for_codes(self, titles: Mapping[str, str]) -> Reader:
            self.titles = dict(titles)
            return self

        def encode(self, texts: Sequence[str]) -> Sequence[str]:
            return texts

        def scores(self, texts: Sequence[str]) -> FloatArray:
            return np.array([[float(title in text) for title in self.titles.values()] for text in texts])

    documents = pd.DataFrame(
        {
            "split": ["train", "test", "test"],
            "text": ["pain", "pain and gout", "asthma"],
            "codes": [("R52",), ("R52", "m10.9"), ("J45.9", "Z99.9")],
        }
    )
    codes = pd.DataFrame({"title": ["pain", "gout", "asthma"], "train": [1, 0, 0]}, index=["R52", "M10.9", "J45.9"])
    monkeypatch.setattr(
        study, "icdbench",
        SimpleNamespace(
            open_dataset=lambda *_: SimpleNamespace(documents=documents, codes=codes), load=lambda *_, **__: Reader()
        ),
    )  # fmt: skip
    monkeypatch.setattr(study, "FIRST", (2,))
    assert study.by_title("run", "codiesp-d", None) == pytest.approx([200 / 3, 200 / 3])
