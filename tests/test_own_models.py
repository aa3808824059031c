"""Models and tables of a user's own, each one file or an installed package, from end to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Call

import icdbench.run as runner
from icdbench import registry
from icdbench.records import store
from icdbench.run import Request
from icdbench.settings import SpecError

pytestmark = [pytest.mark.slow, pytest.mark.counted]

MODEL = '''"""{name}: the mean of the word vectors. Doe, Journal 2026."""
from torch import nn
from icdbench.nn import embedding
from icdbench.registry import register
from icdbench.spec import Settings, Variant, tunable

class Config(Settings):
    embedding_size: int = tunable(6, 4, 8)

@register("{name}", config=Config, paper="Doe 2026", variants=[Variant(name="wide", model={{"embedding_size": 8}})])
class Average(nn.Module):
    def __init__(self, config, task):
        super().__init__()
        self.embedding = embedding(task, config.embedding_size)
        self.output = nn.Linear(config.embedding_size, task.num_codes)

    def forward(self, batch):
        return self.output(self.embedding(batch.tokens_BT).sum(1) / batch.lengths_B[:, None])
'''
TABLE = """from icdbench.spec import Benchmark

MINE = Benchmark(
    name="ours", title="Ours", dataset="demo", models=("./mine.py:mine", "lr"), metrics=(("F1", "f1_micro"),)
)
"""
FAST = ("--set", "train.max_epochs=1", "--set", "data.embeddings=random", "--device", "cpu")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file `mine.py` in the folder that commands run in."""
    return write(tmp_path / "mine.py", "mine")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Models of a user's files are known for as long as the process lives."""
    yield
    forget()


def forget() -> None:
    for name in [name for name, entry in registry._ENTRIES.items() if entry.source]:
        del registry._ENTRIES[name]
    for name in [name for name in sys.modules if name.startswith("icdbench_user_file_")]:
        del sys.modules[name]


def write(path: Path, name: str) -> Path:
    path.write_text(MODEL.format(name=name), encoding="utf-8")
    return path


def run_id(results: Path, system: str) -> str:
    (found,) = (record.id for record in store.load_records(results) if record.spec.system == system)
    return found


@pytest.mark.usefixtures("model")
def test_a_model_file_and_a_table_file_on_the_demo_data(icdbench: Call, tmp_path: Path) -> None:
    (tmp_path / "table.py").write_text(TABLE, encoding="utf-8")
    status, out, err = icdbench("run", "--models", "./mine.py,lr", "--dataset", "demo", *FAST)
    assert status == 0, err
    assert "| mine " in out
    record = next(each for each in store.load_records(tmp_path / "results") if each.spec.model == "mine")
    assert (record.id.rpartition("-")[0], record.code_source) == ("demo/mine/1", "file mine.py")
    assert "mine.py" not in record.spec.model_dump_json()
    shown = icdbench("tables", "table.py")
    assert shown[0] == 0, shown
    assert "mine" in shown[1]
    status, out, err = icdbench("run", "--benchmark", "table.py", *FAST)  # everything is stored
    assert status == 0, err
    assert "Ours" in out


def test_what_stored_runs_need_of_the_file(icdbench: Call, few_notes: Path, model: Path, tmp_path: Path) -> None:
    words = ("--dataset", few_notes, *FAST, "--set", "data.min_documents=1")
    assert icdbench("run", "--models", "mine.py:mine@wide,lr", *words)[0] == 0
    run = run_id(tmp_path / "results", "mine@wide")
    (tmp_path / "note.txt").write_text("the fever was treated", encoding="utf-8")
    forget()
    hidden = model.rename(tmp_path / "elsewhere.py")
    for command in (("runs",), ("tables",), ("compare", "mine@wide", "lr", "--dataset", few_notes), ("export", "out")):
        status, out, err = icdbench(*command)
        assert (status, err.count("\n") <= 1) == (0, True), err
    assert icdbench("bundle", run, "--out", "mine.icdbench")[0] == 0
    status, out, err = icdbench("bundle", run, "--to", "onnx", "mine.onnx")
    assert (status, out) == (2, "")
    assert "name it with --models" in err
    for trained in (("--run", run), ("--bundle", "mine.icdbench")):
        for command in (("predict", "note.txt"), ("explain", "note.txt")):
            status, out, err = icdbench(*command, *trained)
            assert (status, out, err.count("\n")) == (2, "", 1)
            assert f"'{run}' needs the code of model 'mine', which is in file 'mine.py': name it with --models" in err
    hidden.rename(model)
    status, out, err = icdbench("bundle", run, "--to", "onnx", "mine.onnx", "--models", "mine.py")
    assert (status, out.startswith("mine.onnx: ")) == (0, True), err
    for trained in (("--run", run), ("--bundle", "mine.icdbench")):
        status, out, err = icdbench("predict", "note.txt", *trained, "--models", "mine.py")
        assert status == 0, err
        assert "038.9" in out
        assert icdbench("explain", "note.txt", *trained, "--models", "mine.py")[0] == 0
    assert icdbench("explain", "--evaluate", "--run", run, "--dataset", few_notes, "--models", "mine.py")[0] == 0


@pytest.mark.usefixtures("model")
def test_tuning_listing_and_workers(icdbench: Call, few_notes: Path) -> None:
    words = ("--dataset", few_notes, *FAST, "--set", "data.min_documents=1")
    status, out, err = icdbench("tune", "./mine.py", "--trials", "2", *words)
    assert status == 0, err
    assert "mine.embedding_size" in out
    status, out, err = icdbench("run", "--models", "./mine.py@tuned,mine.py@wide", "--jobs", "2", *words)
    assert status == 0, err
    assert "mine@tuned" in out
    assert "mine@wide" in out
    status, out, err = icdbench("models", "./mine.py")
    assert (status, err) == (0, "")
    assert "mine@wide" in out
    assert icdbench("ablate", "./mine.py", *words)[0] == 0


BROKEN = {
    "def (": "mine.py line 1: invalid syntax",
    "import nonesuch": "mine.py line 1: ModuleNotFoundError: No module named 'nonesuch'",
    "x = 1": "mine.py registers no model",
    MODEL.format(name="caml"): "mine.py line 10: model 'caml' is registered twice, in caml.py too; rename one of them",
    MODEL.format(name="mine").replace("wide", "tuned"): "variant 'tuned' of model 'mine'",
    MODEL.format(name="mine") + "\nraise SystemExit(3)": "SystemExit: 3",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_one_line_and_breaks_nothing_else(icdbench: Call, tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    status, out, err = icdbench("run", "--models", "./mine.py,lr")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert BROKEN[text] in err
    assert "mine" not in registry.entries()
    assert registry.entry("caml").source == ""
    assert icdbench("models")[0] == 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("absent.py", "absent.py cannot be read: No such file or directory"),
        ("mine.py:mien", "mine.py registers no model 'mien'; did you mean 'mine'?"),
        ("mine.py:mine@wyde", "model 'mine' has no variant 'wyde'; did you mean 'wide'?"),
        ("mine.py:mine@", "names no variant after the @"),
        ("mine.py,other.py", "other.py line 10: model 'mine' is registered twice, in mine.py too; rename one of them"),
        ("mine", "no model 'mine'"),
    ],
)
def test_names_that_are_none(icdbench: Call, model: Path, asked: str, message: str) -> None:
    write(model.with_name("other.py"), "mine")
    status, out, err = icdbench("run", "--models", asked)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


WRONG = {
    "forward gives (16, 6) for 16 documents and 3 codes; it must give a tensor of logits of shape (16, 3), B×L": (
        "self.output(self.embedding",
        "(lambda x: x)(self.embedding",
    ),
    "forward gives a list for 16 documents": ("return self.output", "return [] or [1] if 1 else self.output"),
    "mine.py line 18: AttributeError: 'Average' object has no attribute 'missing'": ("self.output(self.e", "self.missing(self.e"),
    "mine.py line 15: KeyError: 'size'": ("nn.Linear(config.embedding_size", "nn.Linear({}['size']"),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_a_model_that_computes_something_else_fails_alone(
    icdbench: Call, few_notes: Path, model: Path, message: str
) -> None:
    text = model.read_text(encoding="utf-8")
    assert WRONG[message][0] in text
    model.write_text(text.replace(*WRONG[message]), encoding="utf-8")
    words = ("--dataset", few_notes, *FAST, "--set", "data.min_documents=1")
    status, out, err = icdbench("run", "--models", "mine.py,lr", *words)
    assert status == 1
    assert "| lr" in out
    assert err.splitlines()[-1].startswith("icdbench: 1 of 2 runs failed: notes.csv/mine/1-")
    assert message in err


def test_an_edited_file_is_a_new_model(few_notes: Path, model: Path, tmp_path: Path) -> None:
    request = Request([str(model)], str(few_notes), changes={"data.min_documents": 1}, results=tmp_path / "results")
    (before,) = runner.expand(request)
    model.write_text(model.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
    (same,) = runner.expand(request)
    model.write_text(MODEL.format(name="mine").replace(".sum(1)", ".mean(1)"), encoding="utf-8")
    (after,) = runner.expand(request)
    assert before.spec.version == same.spec.version != after.spec.version


def test_a_file_whose_edit_leaves_no_model_has_none(model: Path) -> None:
    assert registry.load_file(model) == ["mine"] == registry.load_file(model)
    model.write_text("x = 1")
    with pytest.raises(SpecError, match="registers no model"):
        registry.load_file(model)
    assert "mine" not in registry.entries()


def test_an_edit_that_is_taken_back_is_the_former_model(model: Path) -> None:
    content = model.read_text(encoding="utf-8")
    versions = []
    for text in (content, content.replace(".sum(1)", ".mean(1)"), content, MODEL.format(name="other"), content):
        model.write_text(text, encoding="utf-8")
        (system,) = registry.systems(str(model))
        versions.append(registry.entry(system).version)
    assert versions[0] == versions[2] == versions[4] != versions[1]


def test_several_models_of_a_file(model: Path) -> None:
    second = MODEL.format(name="second").partition("@register")[2]
    model.write_text(MODEL.format(name="mine") + "\n@register" + second.replace("Average", "Second"), encoding="utf-8")
    assert registry.systems(str(model)) == [f"{model}:mine", f"{model}:second"]
    assert registry.systems(f"{model}:second@wide") == [f"{model}:second@wide"]
    assert registry.stored_name(f"{model}:second@wide") == "second@wide"
    assert registry.systems("second") == [f"{model}:second"]  # so that other processes find it
    with pytest.raises(SpecError, match="registers mine, second; name one of them"):
        registry.entry(str(model))


def test_a_folder_may_have_an_at_sign(tmp_path: Path) -> None:
    folder = tmp_path / "me@home"
    folder.mkdir()
    path = write(folder / "mine.py", "mine")
    assert registry.split(f"{path}:mine@wide") == (f"{path}:mine", "wide")
    assert registry.split("caml@published") == ("caml", "published")
    assert registry.systems(f"{path}@wide") == [f"{path}:mine@wide"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as packages are installed into, with one that registers a model, and one that is broken."""
    folder = tmp_path / "site"
    (folder / "theirs").mkdir(parents=True)
    write(folder / "theirs" / "__init__.py", "theirs")
    (folder / "broken.py").write_text(MODEL.format(name="half") + "\nimport nonesuch\n", encoding="utf-8")
    for package, module in (("theirs", "theirs"), ("broken", "broken")):
        about = folder / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        (about / "entry_points.txt").write_text(f"[icdbench.models]\n{package} = {module}\n", encoding="utf-8")
    return folder


def test_an_installed_package_adds_models_and_a_broken_one_is_told(site: Path, few_notes: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(site)!r})
import icdbench
from icdbench import registry
settings = {{"data.min_documents": 1, "train.max_epochs": 1, "data.embeddings": "random"}}
runs = icdbench.run(["theirs@wide", "lr"], {str(few_notes)!r}, settings=settings, execution=icdbench.Execution(progress=False))
print([run.record.spec.system for run in runs], runs[0].record.code_source, "half" in registry.entries())
print(len(icdbench.load(runs[0]).predict(["the fever was treated"])[0]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['theirs@wide', 'lr'] package theirs False\n3\n"
    assert done.stderr.count("broken") == 1
    assert "the package of entry point 'broken' is left out: ModuleNotFoundError" in done.stderr
