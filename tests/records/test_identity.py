"""Which runs are equal: changed defaults, fields that come and go, edited models, settings without effect."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from conftest import Call
from places import ROOT, committed_records
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import icdbench.run as runner
from icdbench import models, registry
from icdbench.data import datasets, source
from icdbench.data.sources.codiesp import DiagnosisSettings
from icdbench.data.sources.mimic3 import CamlSettings
from icdbench.data.sources.own_settings import OwnSettings
from icdbench.presentation import cells as systems
from icdbench.presentation import notes
from icdbench.records import provenance, store
from icdbench.records.provenance import commit
from icdbench.records.record import SCHEMA, RunRecord
from icdbench.run import Request
from icdbench.settings import DataError, Settings, SpecError
from icdbench.spec import FORMER_OPTIONS, LATER_FIELDS, DataSpec, RunSpec, StoredDataSpec, TrainSpec

pytestmark = pytest.mark.slow

RESULTS = ROOT / "results"
FOLDERS = (
    RESULTS,
    *(RESULTS / name for name in ("reference", "explain", "readings", "pretrained", "validation-notes")),
)
IDENTITIES = "45d5e323dbf6f6e8010e6509ede04b9c185ccba168de33ab669123dd8813698f"
SINCE_7 = {"guidance", "guidance_similarity", "clip_norm"}  # fields of training that records have since schema 7
SMALL = {"data.min_documents": 1, "train.max_epochs": 1, "data.embeddings": "random"}
SETTINGS: tuple[type[Settings], ...] = (DataSpec, TrainSpec, DiagnosisSettings, CamlSettings, OwnSettings)
FIELDS = [
    (cls, name) for cls in SETTINGS for name in cls.model_fields if cls is DataSpec or name not in DataSpec.model_fields
]


def committed() -> dict[str, RunRecord]:
    stored = set(committed_records())
    return {
        f"{folder}/{record.id}": record
        for folder in FOLDERS
        for record in store.load_records(folder)
        if folder / record.id / store.RECORD in stored
    }


BEFORE = committed()
FIRST = {  # those that were stored when all options of data stood in DataSpec
    name: record
    for name, record in BEFORE.items()
    if json.loads((Path(name) / store.RECORD).read_bytes())["schema_version"] == 2
}


def another(cls: type[Settings], name: str) -> Any:
    """A possible value of a field that is not its default."""
    field = cls.model_fields[name]
    if get_origin(field.annotation) is Literal:
        return next(value for value in get_args(field.annotation) if value != field.default)
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, str):
        texts = {
            "columns": "text=note",
            "encoding": "latin-1",
            "code_separator": ",",
            "monitor": "map",
            "embeddings": "random",
            "tokenizer": "tokenizer-0123456789abcdef",
            "synonyms": "synonyms-0123456789abcdef",
        }
        return texts[name]
    return (
        7
        if field.default is None
        else (field.default / 2 or 0.001)
        if isinstance(field.default, float)
        else field.default + 2
    )


@contextmanager
def changed_field(cls: type[Settings], name: str, field: FieldInfo) -> Iterator[None]:
    """A field of the settings as another version of icdbench might have it."""
    before = cls.model_fields.get(name)
    heirs = [
        cls,
        *dict.fromkeys(each for each in source._subclasses(DataSpec) if issubclass(each, cls) and each != cls),
    ]
    holders: list[type[BaseModel]] = [RunSpec, RunRecord] if issubclass(cls, DataSpec | TrainSpec) else []

    def rebuild() -> None:
        for each in [*heirs, *holders]:
            each.model_rebuild(force=True)

    for heir in heirs:
        heir.model_fields[name] = field
    rebuild()
    try:
        yield
    finally:
        for heir in heirs:
            if before is None:
                del heir.model_fields[name]
            else:
                heir.model_fields[name] = before
        rebuild()


@contextmanager
def other_default(cls: type[Settings], name: str) -> Iterator[None]:
    field = FieldInfo.merge_field_infos(cls.model_fields[name], default=another(cls, name))
    with changed_field(cls, name, field):
        if cls is TrainSpec:
            assert getattr(cls(), name) != BEFORE_DEFAULTS[cls, name]
        yield


BEFORE_DEFAULTS = {(cls, name): cls.model_fields[name].default for cls, name in FIELDS}


def test_the_committed_runs_are_those_they_were_before_sources_had_their_own_options() -> None:
    """Equal runs are found by their identity: a digest of all, made when all options stood in DataSpec."""
    settings = [
        (name.removeprefix(f"{ROOT}/"), each.spec.setting, each.spec.id) for name, each in sorted(FIRST.items())
    ]
    identities = [as_stored(name, each) for name, each in sorted(FIRST.items())]
    assert len(settings) == 32
    assert sha256(json.dumps(identities, sort_keys=True).encode()).hexdigest() == IDENTITIES
    assert {id_ for _, _, id_ in settings} == {each.spec.id for each in map(as_asked_now, FIRST.values())}


def as_stored(name: str, record: RunRecord) -> dict[str, Any]:
    """What identifies the run, without the fields that its model has got since then."""
    fields = json.loads((Path(name) / store.RECORD).read_bytes())["spec"]["config"]
    identity = record.spec.identity()
    return {**identity, "config": {field: value for field, value in identity["config"].items() if field in fields}}


def as_asked_now(record: RunRecord) -> RunRecord:
    """The record with its data settings as a request of today has them: with the options of its own source alone."""
    data = datasets.source(record.spec.dataset).at(Path(), record.spec.data).data
    spec = RunSpec.model_validate({**record.spec.model_dump(), "data": data})
    assert spec.identity() == record.spec.identity()
    assert spec.data.options.keys() < FORMER_OPTIONS.keys()
    return record.model_copy(update={"spec": spec})


def test_an_option_that_a_source_gains_neither_hides_nor_repeats_a_run(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(["lr"], str(few_notes), changes=SMALL, results=tmp_path / "results")
    finished = [runner.execute(spec, request) for spec in runner.expand(request)]
    monkeypatch.setattr(runner, "_train_and_store", lambda *_: pytest.fail("it is computed again"))
    with changed_field(OwnSettings, "gained", FieldInfo(annotation=int, default=5)):
        assert [runner.execute(spec, request).id for spec in runner.expand(request)] == [each.id for each in finished]


def test_options_of_a_source_that_is_not_installed_are_kept_and_count() -> None:
    record = next(iter(BEFORE.values()))
    data = StoredDataSpec.model_validate({**DataSpec().model_dump(), "ward": "icu"})
    spec = record.spec.model_copy(update={"dataset": "elsewhere", "data": data})
    assert spec.identity()["data"]["ward"] == "icu"
    assert RunSpec.model_validate_json(spec.model_dump_json()).identity() == spec.identity()
    assert datasets.completed("elsewhere", data) == data
    assert datasets.changes_task("elsewhere", data)["ward"] == "icu"
    assert "code_system" not in datasets.changes_task("notes.csv", data)


def test_the_committed_runs_are_signed_and_complete() -> None:
    assert len(BEFORE) == len(committed_records())
    for record in BEFORE.values():
        assert record.signed
        stored = json.loads(
            (next(f for f in FOLDERS if (f / record.id).is_dir()) / record.id / store.RECORD).read_bytes()
        )
        data = stored["spec"]["data"].keys()
        if stored["schema_version"] == 2:
            assert data == (DataSpec.model_fields.keys() | FORMER_OPTIONS.keys()) - DataSpec().unchosen
        else:
            fields = type(datasets.source(record.spec.dataset).settings()).model_fields.keys()
            assert fields - DataSpec().unchosen <= data <= fields
        schema = stored["schema_version"]
        later = LATER_FIELDS.keys() if schema < 5 else SINCE_7 if schema < 7 else set()
        assert stored["spec"]["train"].keys() == TrainSpec.model_fields.keys() - later


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=[f"{cls.__name__}.{name}" for cls, name in FIELDS])
def test_a_changed_default_changes_no_stored_run(cls: type[Settings], name: str) -> None:
    with other_default(cls, name):
        for folder in ("codiesp-d50/caml", "codiesp-d50/lr", "codiesp-d50/laat"):
            for record in map(store.completed, store._records(RESULTS, f"{folder}/1-*/{store.RECORD}")):
                assert record == BEFORE[f"{RESULTS}/{record.id}"]
                assert record.spec.setting == BEFORE[f"{RESULTS}/{record.id}"].spec.setting


def test_all_defaults_changed_at_once_change_no_stored_run() -> None:
    def within(rest: list[tuple[type[Settings], str]]) -> None:
        if rest:
            with other_default(*rest[0]):
                within(rest[1:])
        else:
            assert committed() == BEFORE

    within(FIELDS)


@pytest.mark.parametrize("name", [name for name in TrainSpec.model_fields if name != "precision"])  # is always resolved
def test_a_request_equal_to_a_stored_run_takes_it_whatever_the_defaults_are(
    name: str, few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(["caml"], str(few_notes), changes=SMALL, results=tmp_path / "results")
    (planned,) = runner.expand(request)
    finished = runner.execute(planned, request)
    monkeypatch.setattr(runner, "_train_and_store", lambda *_: pytest.fail("it is computed again"))
    value = getattr(finished.spec.train, name)
    with other_default(TrainSpec, name):
        set_again = {} if name in planned.spec.train.idle() else {f"train.{name}": value}
        (asked,) = runner.expand(
            Request(["caml"], str(few_notes), changes={**SMALL, **set_again}, results=tmp_path / "results")
        )
        assert runner.execute(asked, request) == finished


@pytest.mark.parametrize("cls", [DataSpec, TrainSpec])
def test_a_field_that_is_added_neither_hides_nor_repeats_a_run(
    cls: type[Settings], few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(["lr", "caml"], str(few_notes), changes=SMALL, results=tmp_path / "results")
    finished = [runner.execute(planned, request) for planned in runner.expand(request)]
    monkeypatch.setattr(runner, "_train_and_store", lambda *_: pytest.fail("it is computed again"))
    with changed_field(cls, "gained", FieldInfo(annotation=int, default=5)):
        assert [runner.execute(planned, request).id for planned in runner.expand(request)] == [
            each.id for each in finished
        ]
        assert len({record.spec.setting for record in store.load_records(tmp_path / "results")}) == 2


def test_a_field_that_a_model_gains_neither_hides_nor_repeats_a_run(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(["caml"], str(few_notes), changes=SMALL, results=tmp_path / "results")
    finished = [runner.execute(planned, request) for planned in runner.expand(request)]
    monkeypatch.setattr(runner, "_train_and_store", lambda *_: pytest.fail("it is computed again"))
    config = registry.entry("caml").config
    with changed_field(config, "gained", FieldInfo(annotation=int, default=5)):
        assert [runner.execute(planned, request).id for planned in runner.expand(request)] == [
            each.id for each in finished
        ]
        (record,) = store.load_records(tmp_path / "results")
        (planned,) = runner.expand(request)
        assert record.spec.setting == planned.spec.setting


def test_a_field_that_is_renamed_is_upgraded(few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(["caml"], str(few_notes), changes=SMALL, results=tmp_path / "results")
    (planned,) = runner.expand(request)
    finished = runner.execute(planned, request)
    path = tmp_path / "results" / finished.id / store.RECORD
    content = json.loads(path.read_bytes())
    content["spec"]["train"]["tolerance"] = content["spec"]["train"].pop("patience")
    content["digest"] = store._record_digest(content)
    path.write_text(json.dumps(content))
    assert store.load_records(tmp_path / "results") == []

    def upgrade(stored: Any) -> dict[str, Any]:
        train = dict(stored["spec"]["train"])
        train["patience"] = train.pop("tolerance")
        return {**stored, "spec": {**stored["spec"], "train": train}}

    monkeypatch.setattr(store, "upgrade", upgrade)
    monkeypatch.setattr(runner, "_train_and_store", lambda *_: pytest.fail("it is computed again"))
    assert runner.execute(planned, request).metrics == finished.metrics


@pytest.mark.parametrize(
    ("schema", "version"), [(99, "a newer"), (1, "an older"), ("2", "a newer"), (True, "an older")]
)
def test_a_record_of_another_schema_is_left_out_with_a_line(
    schema: object, version: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = next(iter(sorted(RESULTS.glob(f"*/*/*/{store.RECORD}"))))
    content = json.loads(path.read_bytes()) | {"schema_version": schema, "digest": ""}
    copy = tmp_path / path.relative_to(RESULTS)
    copy.parent.mkdir(parents=True)
    copy.write_text(json.dumps(content))
    assert store.load_records(tmp_path) == []
    assert f"schema {schema}; this icdbench reads schemas 2 to {SCHEMA}, so use {version} one" in caplog.text


def test_records_of_schema_2_are_upgraded_and_keep_their_ids(tmp_path: Path) -> None:
    """Where settings came from was part of the spec; the ids of runs were hashes without it, as they are now."""
    runs = {record.id: (Path(name), record) for name, record in FIRST.items()}
    for folder, record in runs.values():
        before = json.loads((folder / store.RECORD).read_bytes())
        assert before["schema_version"] == 2
        assert (record.changed, record.adapted) == (before["spec"]["changed"], before["spec"]["adapted"])
        stored = store.load_record(folder)
        assert stored is not None
        signed = store.save_record(tmp_path / record.id, stored)
        after = json.loads((tmp_path / record.id / store.RECORD).read_bytes())
        assert after["schema_version"] == SCHEMA
        assert after["spec"]["data"]["fraction"] == 1
        assert LATER_FIELDS.items() <= after["spec"]["train"].items()
        assert {"changed", "adapted"} <= after.keys()
        assert {"changed", "adapted"}.isdisjoint(after["spec"])
        assert signed.digest == after["digest"] != before["digest"]
        again = store.load_record(tmp_path / record.id)
        assert again == signed == stored.model_copy(update={"digest": signed.digest})
    assert len(store.load_records(tmp_path)) == len(runs) > 20


# --- Settings without effect ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", registry.entries())
def test_settings_without_effect_make_no_other_run(model: str) -> None:
    entry = registry.entry(model)
    spec = RunSpec(
        dataset="d", fingerprint="f", model=model, data=DataSpec(), train=TrainSpec().override(entry.train, "train"),
        config=entry.config().model_dump(mode="json"), uses_trainer=entry.uses_trainer,
    )  # fmt: skip
    vectors = bool(spec.config.get("embedding_size"))
    idle = {("data", name) for name in spec.data.idle(word_vectors=vectors)}
    idle |= {("train", name) for name in (spec.train.idle() if entry.uses_trainer else TrainSpec.model_fields)}
    for cls, name in FIELDS:
        part = "train" if cls is TrainSpec else "data"
        value = another(cls, name)
        if value == getattr(getattr(spec, part), name, None):
            value = BEFORE_DEFAULTS[cls, name]
        before = getattr(spec, part)
        changed = spec.model_copy(update={part: type(before).model_validate({**before.model_dump(), name: value})})
        same = changed.identity() == spec.identity()
        if (part, name) in idle:
            assert same, name
        elif name not in {"objective", "scheduler", "embeddings"}:  # these decide what else has an effect
            assert not same, name


@pytest.mark.parametrize("key", ["train.max_epochs=5", "train.learning_rate=.1", "data.unit_vectors=false"])
def test_a_setting_that_no_chosen_system_uses_is_left_out_with_a_line(
    key: str, icdbench: Call, few_notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ("run", "--models", "lr,lr@tfidf", "--dataset", few_notes, "--set", "data.min_documents=1")
    status, out, _ = icdbench(*words, "--set", key)
    assert status == 0
    assert key not in out
    assert f"--set {key} has no effect on lr, lr@tfidf and is left out" in caplog.text
    assert icdbench(*words)[0] == 0
    assert len(store.load_records(tmp_path / "results")) == 2


def test_a_setting_that_some_use_is_left_out_of_the_others(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    words = ("--dataset", few_notes, "--set", "data.min_documents=1")
    assert icdbench("run", "--models", "lr", *words)[0] == 0
    status, out, _ = icdbench("run", "--models", "lr,caml", *words, "--set", "train.max_epochs=1")
    assert status == 0
    assert "| lr " in out
    records = store.load_records(tmp_path / "results")
    assert [(each.spec.model, each.changed) for each in records] == [
        ("caml", {"data.min_documents": 1, "train.max_epochs": 1}),
        ("lr", {"data.min_documents": 1}),
    ]


# --- Models that are edited ----------------------------------------------------------------------------------------------

MINE = '''"""Mine."""

import torch
from torch import nn

from icdbench.registry import register
from icdbench.spec import Settings


class Config(Settings):
    embedding_size: int = 4


@register("mine", config=Config, paper="none"{version})
class Mine(nn.Module):
    def __init__(self, config, task):
        super().__init__()
        self.embedding = nn.Embedding(task.num_tokens, config.embedding_size)
        self.final = nn.Linear(config.embedding_size, task.num_codes)

    def forward(self, batch):
        return self.final(self.embedding(batch.tokens_BT).{pooled})
'''


@pytest.fixture
def write_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes models/mine.py as a user does, and has it read as a new process would."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(folder)])

    def forget() -> None:
        sys.modules.pop("icdbench.models.mine", None)
        registry._ENTRIES.pop("mine", None)

    def write(text: str) -> None:
        forget()
        (folder / "mine.py").write_text(text, encoding="utf-8")
        for cached in folder.glob("__pycache__/*"):
            cached.unlink()

    yield write
    forget()


def test_an_edited_model_is_computed_anew(
    write_mine: Callable[[str], None],
    icdbench: Call,
    few_notes: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = ("data.min_documents=1", "train.max_epochs=2", "data.embeddings=random")
    words = ["run", "--models", "mine", "--dataset", str(few_notes), *(w for each in settings for w in ("--set", each))]
    mean = MINE.format(version="", pooled="mean(1)")
    write_mine(mean)
    status, first, err = icdbench(*words)
    assert (status, "older" in err) == (0, False)
    write_mine(
        mean.replace('"""Mine."""', '"""Mine, explained."""\n# and commented').replace(
            "import torch\n", "import torch\n\n"
        )
    )
    status, again, err = icdbench(*words)
    assert (status, again, "computing anew" in caplog.text) == (0, first, False)
    write_mine(MINE.format(version="", pooled="amax(1)"))
    status, other, err = icdbench(*words)
    assert status == 0
    assert "is a stored run of an older version of mine.py; computing anew" in caplog.text
    assert other != first
    assert len(store.load_records(tmp_path / "results")) == 2


def test_a_version_that_its_author_sets_decides(
    write_mine: Callable[[str], None], few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(["mine"], str(few_notes), changes=SMALL, results=tmp_path / "results")
    write_mine(MINE.format(version=', version="3"', pooled="mean(1)"))
    first = [runner.execute(planned, request) for planned in runner.expand(request)]
    write_mine(MINE.format(version=', version="3"', pooled="sum(1) / batch.tokens_BT.shape[1]"))
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_train_and_store", lambda *_: pytest.fail("it is computed again"))
        assert [runner.execute(planned, request) for planned in runner.expand(request)] == first
        assert first[0].code != registry.entry("mine").code
    write_mine(MINE.format(version=', version="4"', pooled="amax(1)"))
    (planned,) = runner.expand(request)
    assert runner.execute(planned, request).id != first[0].id


def test_every_model_of_the_suite_has_a_version_of_its_authors() -> None:
    assert not [name for name, entry in registry.entries().items() if entry.version.startswith("code-")]


def test_code_digests_are_of_what_is_computed() -> None:
    digest = registry.code_digest("def f(x):\n    return x + 1\n")
    assert digest == registry.code_digest(
        '"""Doc."""\n\n\ndef f(x):  # why\n    """More."""\n    return (x +\n        1)\n'
    )
    assert digest != registry.code_digest("def f(x):\n    return x + 2\n")
    assert registry.code_digest('def f(x):\n    "only a docstring"\n') == registry.code_digest("def f(x):\n    pass\n")


def test_force_computes_a_finished_run_again_and_keeps_its_record(
    icdbench: Call, few_notes: Path, tmp_path: Path
) -> None:
    words = ("run", "--models", "lr", "--dataset", few_notes, "--set", "data.min_documents=1")
    assert icdbench(*words)[0] == 0
    (path,) = (tmp_path / "results").rglob(store.RECORD)
    old, place = path.read_bytes(), path.stat().st_ino
    assert icdbench(*words)[0] == 0
    assert path.stat().st_ino == place
    assert icdbench(*words, "--force")[0] == 0
    assert path.stat().st_ino != place
    assert path.with_name("record.old.json").read_bytes() == old
    assert len(store.load_records(tmp_path / "results")) == 1


def test_force_takes_the_place_of_an_equal_run_of_another_name(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    """A default has changed since, so that new runs of the same settings are called otherwise."""
    words = ("run", "--models", "lr", "--dataset", few_notes, "--set", "data.min_documents=1")
    assert icdbench(*words)[0] == 0
    (record,) = store.load_records(tmp_path / "results")
    other = record.id[:-8] + "0" * 8
    place = tmp_path / "results" / other
    (tmp_path / "results" / record.id).rename(place)
    store.save_record(place, record.model_copy(update={"id": other}))
    assert icdbench(*words)[0] == 0
    assert [each.id for each in store.load_records(tmp_path / "results")] == [other]
    assert icdbench(*words, "--force")[0] == 0
    assert [each.id for each in store.load_records(tmp_path / "results")] == [record.id]


def test_the_commit_says_that_untracked_model_files_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, folder = tmp_path / "icdbench", tmp_path / "models"
    for place in (package, folder):
        place.mkdir()
    (package / "run.py").write_text("")
    (folder / "caml.py").write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "__file__", str(package / "records" / "provenance.py"))
    monkeypatch.setattr(models, "__path__", [str(folder)])
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "record.json").write_text("")
    clean = commit()
    assert len(clean) == 10
    (folder / "mine.py").write_text("")
    assert commit() == clean + "+"
    (folder / "mine.py").unlink()
    (folder / "caml.py").write_text("x = 1")
    assert commit() == clean + "+"


def test_a_model_file_that_changes_during_a_command_ends_its_runs(
    write_mine: Callable[[str], None], few_notes: Path, tmp_path: Path
) -> None:
    """The runs side by side import the file anew."""
    request = Request(["mine"], str(few_notes), changes=SMALL, results=tmp_path / "results")
    write_mine(MINE.format(version="", pooled="mean(1)"))
    (planned,) = runner.expand(request)
    write_mine(MINE.format(version="", pooled="amax(1)"))
    with pytest.raises(DataError, match=r"mine\.py changed since this command began; run it again"):
        runner.execute(planned, request)
    assert store.load_records(tmp_path / "results") == []


def test_what_a_model_file_imports_from_beside_it_counts(write_mine: Callable[[str], None], tmp_path: Path) -> None:
    text = MINE.format(version="", pooled="mean(1)").replace(
        "import torch\n", "import torch\nfrom icdbench.models import pool\n"
    )
    helper = tmp_path / "models" / "pool.py"
    digests: list[str] = []
    for amount in (1, 2, 2):
        sys.modules.pop("icdbench.models.pool", None)
        helper.write_text(f"# {len(digests)}\nAMOUNT = {amount}\n", encoding="utf-8")
        write_mine(text)
        digests.append(registry.entry("mine").version)
    sys.modules.pop("icdbench.models.pool", None)
    assert digests[0] != digests[1] == digests[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def (", "SyntaxError"),
        ("import nonesuch", "ModuleNotFoundError"),
        (MINE.format(version="", pooled="mean(1)").replace('"mine"', '"caml"'), "model 'caml' is registered twice, in caml.py too"),
        (MINE.format(version=', variants=(Variant(name="a/b"),)', pooled="mean(1)").replace("import Settings", "import Settings, Variant"), "variant 'a/b' of model 'mine'"),
        (MINE.format(version=', variants=(Variant(name="tuned"),)', pooled="mean(1)").replace("import Settings", "import Settings, Variant"), "variant 'tuned' of model 'mine'"),
    ],
)  # fmt: skip
def test_a_broken_model_file_is_named_and_stops_no_command(
    text: str,
    said: str,
    write_mine: Callable[[str], None],
    icdbench: Call,
    few_notes: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_BROKEN", set())
    registry.entries()
    write_mine(text)
    for words in (
        ("run", "--models", "lr", "--dataset", few_notes, "--set", "data.min_documents=1"),
        ("runs",),
        ("tables",),
        ("models",),
    ):
        status, _, err = icdbench(*words)
        assert (status, "Traceback" in err) == (0, False)
    assert caplog.text.count("models/mine.py is left out") == 1
    assert said in caplog.text


def test_an_edit_that_adds_a_field_is_told_too(
    write_mine: Callable[[str], None], few_notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = Request(["mine"], str(few_notes), changes=SMALL, results=tmp_path / "results")
    write_mine(MINE.format(version="", pooled="mean(1)"))
    for planned in runner.expand(request):
        runner.execute(planned, request)
    write_mine(
        MINE.format(version="", pooled="amax(1)").replace(
            "embedding_size: int = 4", "embedding_size: int = 4\n    scale: float = 1.0"
        )
    )
    for planned in runner.expand(request):
        runner.execute(planned, request)
    assert "is a stored run of an older version of mine.py; computing anew" in caplog.text


def test_seeds_before_and_after_a_changed_default_are_one_row(few_notes: Path, tmp_path: Path) -> None:
    request = Request(["caml"], str(few_notes), changes={**SMALL, "train.max_epochs": 2}, results=tmp_path / "results")
    records = [runner.execute(planned, request) for planned in runner.expand(request)]
    with other_default(TrainSpec, "max_epochs"):
        later = records[0].spec.model_copy(update={"seed": 2})
        other = {"spec": later, "id": later.id, "changed": {"data.min_documents": 1}}
        both = [*records, records[0].model_copy(update=other)]
        (system,) = systems.systems_in(both, [("F1", "fixed", "f1_micro")])
    assert len(system.runs) == 2
    assert notes.about_origin([system]) == systems.numbered([system])  # and nothing of versions


def test_every_replaced_record_is_kept(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    words = ("run", "--models", "lr", "--dataset", few_notes, "--set", "data.min_documents=1")
    for _ in range(3):
        assert icdbench(*words, "--force")[0] == 0
    (path,) = (tmp_path / "results").rglob(store.RECORD)
    assert {each.name for each in path.parent.glob("record*")} == {
        "record.json",
        "record.old.json",
        "record.old.1.json",
    }


def test_listing_runs_needs_no_model(few_notes: Path, tmp_path: Path) -> None:
    request = Request(["lr"], str(few_notes), changes={"data.min_documents": 1}, results=tmp_path / "results")
    for planned in runner.expand(request):
        runner.execute(planned, request)
    code = "import sys; from icdbench.cli import main as cli\ntry: cli.main()\nexcept SystemExit: print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, "runs", "--results", str(tmp_path / "results")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "lr/1-" in done.stdout
    assert done.stdout.endswith("False\n")


def test_an_impossible_option_in_a_stored_run_is_told_in_a_line() -> None:
    own = datasets.source("notes.csv")
    stored = StoredDataSpec.model_validate({**own.settings().model_dump(mode="json"), "skip_bad": -1})
    with pytest.raises(SpecError, match=r"data\.skip_bad=-1: input should be a valid boolean"):
        own.at(Path(), stored)
    assert datasets.completed("notes.csv", stored) == stored
