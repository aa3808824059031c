"""A model that does not fit ends its own run alone, in one line, before anything of its size is allocated."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
from conftest import Call
from systems import SMALL, small_task

from icdbench import registry
from icdbench.records import store
from icdbench.settings import TrainingError
from icdbench.spec import DataSpec, Planned, RunSpec, TrainSpec
from icdbench.training import memory

ABSURD = (10**9 + 1, 10**12 + 1, 10**30 + 1)  # odd, as some kernels must be


def sizes(name: str) -> list[str]:
    """The fields of a model that are whole numbers, or several."""
    config = registry.entry(name).config().model_dump()
    many = [
        field for field, value in config.items() if isinstance(value, tuple) and all(isinstance(v, int) for v in value)
    ]
    return [field for field, value in config.items() if type(value) is int] + many


FIELDS = [(name, field) for name, entry in registry.entries().items() if entry.uses_trainer for field in sizes(name)]


def planned(name: str, **config: Any) -> Planned:
    fields = registry.entry(name).config.model_fields
    given = {**{field: size for field, size in SMALL.items() if field in fields}, **config}
    changed = {f"{name}.{field}": value for field, value in config.items()}
    spec = RunSpec(dataset="demo", fingerprint="", model=name, data=DataSpec(), train=TrainSpec(), config=given)
    return Planned(spec, changed)


def test_every_model_but_the_linear_has_a_size() -> None:
    assert {name for name, _ in FIELDS} == {name for name, entry in registry.entries().items() if entry.uses_trainer}


UNUSED = {  # by the weights of the model itself; leam@ngram, laat@joint and duallaat@cnn have some of them
    *(("leam", "ngram"), ("leam", "hidden_size"), ("laat", "projection_size")),
    *(("corelation", field) for field in ("frequent_codes", "sampled_codes")),
    *(("duallaat", field) for field in ("kernel_size", "filters", "label_space", "title_words")),
}
LAYERS = {"blocks", "scales", "layers"}
BOUNDED = {"chunk_size": "the encoder has 128 positions; choose at most 128 subwords"}  # by what the model is given


def problem(asked: Planned) -> str:
    """Why a model is not built; nothing if it is."""
    try:
        memory.check(asked.spec, small_task(), on_cpu=True, changed=asked.changed)
        memory.build(asked.spec, small_task(), on_cpu=True, changed=asked.changed)
    except TrainingError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_an_absurd_size_is_one_line_and_no_memory(name: str, field: str, value: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = problem(planned(name, **{field: (value,) if field == "kernel_sizes" else value}))
    assert "\n" not in said
    if field in LAYERS:
        assert said == f"the model cannot be built: {name}.{field}={value}: input should be less than or equal to 100"
    elif field in BOUNDED:
        assert said == f"the model cannot be built: {field}={value}: {BOUNDED[field]}"
    elif (name, field) not in UNUSED:
        assert said.startswith("the model does not fit into memory: at least ")
        assert said.endswith(f"choose a smaller {name}.{field}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def test_an_ordinary_size_is_built_as_ever() -> None:
    for name in registry.entries():
        memory.check(planned(name).spec, small_task(), on_cpu=True)
        assert memory.build(planned(name).spec, small_task(), on_cpu=True)


@pytest.mark.slow
def test_the_other_runs_go_on(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    words = ("run", "--models", "caml,lr", "--dataset", few_notes, "--set", "data.min_documents=1", "--device", "cpu")
    for field in ("filters", "embedding_size"):
        status, out, err = icdbench(*words, "--set", f"caml.{field}=100000000")
        assert status == 1
        assert "| lr" in out
        line = err.splitlines()[-1]
        assert line.startswith("icdbench: 1 of 2 runs failed: notes.csv/caml/1-")
        assert "the model does not fit into memory: at least " in line
        assert f"choose a smaller caml.{field}" in line
    assert [record.spec.model for record in store.load_records(tmp_path / "results")] == ["lr"]
