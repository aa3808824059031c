"""A new source of data is one file: in an installed package or of a user's own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Call

import icdbench.run as runner
from icdbench.data import datasets, source
from icdbench.records import comparable, store
from icdbench.run import Request
from icdbench.settings import SpecError

SOURCE = '''"""Notes of a ward, one a line: the code, a tab, the text."""

from __future__ import annotations

from dataclasses import dataclass, field

from icdbench.data.source import Raw, Source, register
from icdbench.spec import DataSpec, option
from icdbench.types import Document


class WardSettings(DataSpec):
    upper: bool = option(False, "codes in capitals", task=True)
    shout: int = option(1, "how loud", task=False)


@dataclass(frozen=True)
class Ward(Source):
    data: WardSettings = field(default_factory=WardSettings)

    def files(self):
        return [self.root / "ward.txt"]

    def read(self, report):
        splits = ["train"] * 6 + ["validation", "test"]
        lines = (self.root / "ward.txt").read_text().splitlines()
        rows = [line.split("\\t") for line in lines]
        codes = [code.upper() if self.data.upper else code for code, _ in rows]
        return Raw([
            Document(str(n), text, (code,), splits[n % 8])
            for n, (code, (_, text)) in enumerate(zip(codes, rows))
        ])

    def titles(self, codes):
        return {code: f"title of {code}" for code in codes}


register(Ward("ward", "notes of a ward", {"min_documents": 1}))
'''


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder with the notes of a ward; what tests register is forgotten."""
    lines = [f"{'ab'[n % 2]}\tthe {'fever' if n % 2 else 'edema'} was treated {n}" for n in range(40)]
    (tmp_path / "ward.txt").write_text("\n".join(lines))
    datasets.scan()
    monkeypatch.setattr(source, "SOURCES", before := dict(source.SOURCES))
    monkeypatch.setattr(datasets, "SOURCES", before)
    yield tmp_path
    for module in [name for name in sys.modules if name.startswith("ward_")]:
        del sys.modules[module]
    datasets._load_sources.cache_clear()
    datasets._user_file.cache_clear()


def install(folder: Path, module: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip would leave it, found by its metadata."""
    place = folder / "site"
    metadata = place / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (place / f"{module}.py").write_text(text)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[icdbench.datasets]\n{module} = {module}\n")
    monkeypatch.syspath_prepend(place)
    datasets._load_sources.cache_clear()


@pytest.mark.slow
def test_a_data_set_of_an_installed_package(
    ward: Path, icdbench: Call, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(ward, "ward_notes", SOURCE, monkeypatch)
    status, out, _ = icdbench("data", "list", "--data", ward)
    assert (status, "notes of a ward" in out, "1 found" in out) == (0, True, True)
    words = ("run", "--models", "lr", "--dataset", "ward", "--data", ward)
    assert icdbench(*words)[0] == 0
    status, out, err = icdbench(*words, "--set", "data.upper=true")
    assert status == 0, err
    assert "on ward, upper=True" in out
    assert icdbench(*words, "--set", "data.shout=3")[0] == 0
    records = store.load_records(ward / "results")
    assert [record.spec.data.options for record in records if record.changed == {"data.upper": True}] == [
        {"upper": True, "shout": 1}
    ]
    assert len(records) == 3
    assert len(comparable.blocks(records)) == 2, "runs that differ in an option that changes the task are apart"
    status, _, err = icdbench("data", "describe", "demo", "--set", "data.upper=true")
    assert (status, "data.upper has no meaning for data set 'demo'" in err) == (2, True)
    status, _, err = icdbench(*words, "--set", "data.uper=true")
    assert (status, "'data' has no field 'uper'; did you mean 'upper'?" in err) == (2, True)
    assert caplog.text == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import nothing_of_the_name", "ModuleNotFoundError"),
        (SOURCE.replace('Ward("ward"', 'Ward("demo"'), "data set 'demo' is registered twice"),
        ("raise SystemError('two\\nlines')", "SystemError: two lines"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_broken_package_is_one_line_and_harms_nothing_else(
    ward: Path,
    icdbench: Call,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    expected: str,
) -> None:
    install(ward, "ward_broken", text, monkeypatch)
    install(ward, "ward_notes", SOURCE, monkeypatch)
    with caplog.at_level(logging.WARNING):
        status, out, _ = icdbench("data", "list", "--data", ward)
    assert (status, "notes of a ward" in out) == (0, True)
    (line,) = caplog.messages
    assert line.startswith("data sets of ward_broken are left out: ")
    assert expected in line
    assert "\n" not in line
    assert icdbench("data", "describe", "demo")[0] == 0
    assert len(caplog.messages) == 1


def test_a_data_set_of_a_users_own_file(ward: Path) -> None:
    (ward / "mine.py").write_text(SOURCE)
    request = Request(
        ["lr"], str(ward / "mine.py"), root=ward, results=ward / "results", changes={"data.upper": "true"}
    )
    (spec,) = runner.expand(request)
    record = runner.execute(spec, request)
    assert record.id.startswith("ward/lr/1-")
    assert record.spec.data.options == {"upper": True, "shout": 1}
    assert datasets.source("ward").name == "ward", "and from then on by its name"
    assert runner.execute(spec, request) == record


def test_an_edited_file_is_read_again(ward: Path) -> None:
    path = ward / "mine.py"
    for text, about in (
        (SOURCE, "notes of a ward"),
        (SOURCE, "notes of a ward"),
        (SOURCE.replace("notes of a ward", "of two wards"), "of two wards"),
        (SOURCE, "notes of a ward"),
    ):
        path.write_text(text)
        assert datasets.source(str(path)) is datasets.source("ward")
        assert datasets.source("ward").about == about
    path.write_text(SOURCE.replace('Ward("ward"', 'Ward("clinic"') + "1 / 0")
    with pytest.raises(SpecError, match="ZeroDivisionError"):
        datasets.source(str(path))
    assert datasets.source("ward").about == "notes of a ward", "an edit that cannot be read changes nothing"
    path.write_text(SOURCE.replace('Ward("ward"', 'Ward("clinic"'))
    assert datasets.source(str(path)).name == "clinic"
    assert "ward" not in datasets.scan()


def test_an_edit_keeps_the_data_sets_of_files_that_the_file_imports(
    ward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python does not execute the imported file again."""
    (ward / "shared_wards.py").write_text(SOURCE)
    own = "from shared_wards import Ward, register\n\n\nclass Clinic(Ward):\n    pass\n\n\n"
    path = ward / "mine.py"
    monkeypatch.delitem(sys.modules, "shared_wards", raising=False)
    path.write_text(own + "1 / 0")
    with pytest.raises(SpecError, match="ZeroDivisionError"):
        datasets.source(str(path))
    for name in ("clinic", "clinic", "practice"):
        path.write_text(own + f'register(Clinic("{name}", "notes of a {name}", {{"min_documents": 1}}))\n')
        assert datasets.source(f"{path}:{name}").about == f"notes of a {name}"
        assert datasets.source(f"{path}:ward").about == "notes of a ward"
    assert "clinic" not in datasets.scan()


def test_a_users_own_file_that_does_not_fit_is_one_line(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ward / "none.py").write_text("")
    (ward / "two.py").write_text(SOURCE + 'register(Ward("ward2", "more"))\n')
    (ward / "half.py").write_text(SOURCE + "1 / 0")
    (ward / "wrong.py").write_text("1 / 0")
    for name, expected in {
        "half.py": "ZeroDivisionError",
        "none.py": r"name a data set of .*none\.py as .*none\.py:NAME; it registers none",
        "two.py": r"two\.py as .*:NAME; it registers ward, ward2",
        "two.py:ward3": "it registers ward, ward2",
        "wrong.py": "ZeroDivisionError: division by zero",
        "absent.py": "cannot be read: No such file or directory",
    }.items():
        with pytest.raises((SpecError, ValueError), match=expected) as caught:
            datasets.source(f"{ward}/{name}")
        assert "\n" not in str(caught.value)
    assert datasets.source(f"{ward}/two.py:ward2").name == "ward2"
    monkeypatch.chdir(ward)
    with pytest.raises(SpecError, match=r"no data set 'wrong\.py'.*by its Python file, as \./mine\.py"):
        datasets.source("wrong.py")  # which may be the name of a data set in another's record
