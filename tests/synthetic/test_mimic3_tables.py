"""The synthetic tables in MIMIC-III's schema."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import json
import multiprocessing
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icdbench.cli.main import app
from icdbench.codes import icd9
from icdbench.data import datasets
from icdbench.settings import SpecError
from icdbench.synthetic import MARKER, blanks, cases, language, notes, plan
from icdbench.synthetic import rows as table_rows
from icdbench.synthetic import tables as synthetic_tables
from icdbench.synthetic.dice import Dice
from icdbench.synthetic.tables import make

pytestmark = pytest.mark.slow

ADMISSIONS, SEED, OTHER_NOTES, NOISE = 300, 4, 3, 0.2
# Unpacked files of VERSION with NOISE.
PINNED = {"1": "af1b79088bbe7bfd75a71d96c4dc225dc3b132542663f24597cccf5c8c50f52e"}
TABLES = ["NOTEEVENTS", "DIAGNOSES_ICD", "PROCEDURES_ICD", "D_ICD_DIAGNOSES", "D_ICD_PROCEDURES"]
KINDS = {"DIAGNOSES_ICD": icd9.DIAGNOSIS, "PROCEDURES_ICD": icd9.PROCEDURE}
WORD = re.compile(r"\w+")

Row = dict[str, str]


@dataclass(frozen=True)
class Made:
    """A generated folder, read as a user would."""

    folder: Path
    tables: dict[str, list[Row]]
    noise: list[Row]
    evidence: list[Row]
    lists: dict[str, list[str]]

    @property
    def summaries(self) -> list[Row]:
        return [row for row in self.tables["NOTEEVENTS"] if row["CATEGORY"] == "Discharge summary"]

    def labels(self) -> dict[str, set[str]]:
        """Dotted codes by HADM_ID, as written."""
        found = defaultdict(set)
        for table, kind in KINDS.items():
            for row in self.tables[table]:
                if row["ICD9_CODE"]:
                    found[row["HADM_ID"]].add(icd9.dotted(row["ICD9_CODE"], kind))
        return found


def text_of(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def read(folder: Path) -> Made:
    tables = {name: list(csv.DictReader(text_of(folder / f"{name}.csv.gz").split("\n"))) for name in TABLES[1:]}
    with gzip.open(folder / "NOTEEVENTS.csv.gz", "rt", encoding="utf-8", newline="") as file:
        tables["NOTEEVENTS"] = list(csv.DictReader(file))
    truth = {}
    for name in ("noise", "evidence"):
        with (folder / "truth" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            truth[name] = list(csv.DictReader(file))
    lists = {
        path.name.removesuffix("_hadm_ids.csv"): path.read_text().split() for path in folder.glob("*_hadm_ids.csv")
    }
    return Made(folder, tables, truth["noise"], truth["evidence"], lists)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Without label noise, made in this process."""
    folder = tmp_path_factory.mktemp("clean") / "made"
    make(folder, ADMISSIONS, SEED, other_notes=OTHER_NOTES, workers=1)
    return read(folder)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The same with label noise."""
    folder = tmp_path_factory.mktemp("noisy") / "made"
    make(folder, ADMISSIONS, SEED, NOISE, OTHER_NOTES, workers=1)
    return read(folder)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_bytes_change_only_with_the_version(noisy: Made) -> None:
    digest = hashlib.sha256()
    for name, raw in content(noisy.folder).items():
        digest.update(gzip.decompress(raw) if name.endswith(".gz") else raw)
    pinned = PINNED.get(synthetic_tables.VERSION)
    assert digest.hexdigest() == pinned, "files changed: raise tables.VERSION and pin the new digest"


def test_files(clean: Made) -> None:
    lists = [f"{split}_{size}_hadm_ids.csv" for split in ("train", "dev", "test") for size in ("full", "50")]
    tables = [f"{name}.csv.gz" for name in TABLES]
    assert set(content(clean.folder)) == {*tables, *lists, "synthetic.json", "truth/noise.csv", "truth/evidence.csv"}
    assert json.loads((clean.folder / MARKER).read_text()) == {
        "generator": synthetic_tables.VERSION,
        "seed": SEED,
        "admissions": ADMISSIONS,
        "label_noise": 0.0,
        "other_notes": OTHER_NOTES,
        "note": "Synthetic tables in MIMIC-III's schema; no patient data.",
    }


@pytest.mark.parametrize(
    ("name", "header", "line"),
    [
        (
            "NOTEEVENTS",
            '"ROW_ID","SUBJECT_ID","HADM_ID","CHARTDATE","CHARTTIME","STORETIME","CATEGORY","DESCRIPTION","CGID","ISERROR","TEXT"',
            r'1,\d+,1\d{5},"2\d{3}-\d\d-\d\d",,,"Discharge summary","(Report|Addendum)",,,"[^"]*',
        ),
        ("DIAGNOSES_ICD", '"ROW_ID","SUBJECT_ID","HADM_ID","SEQ_NUM","ICD9_CODE"', r'1,\d+,1\d{5},1,"[EV]?\d{2,5}"'),
        ("PROCEDURES_ICD", '"ROW_ID","SUBJECT_ID","HADM_ID","SEQ_NUM","ICD9_CODE"', r'1,\d+,1\d{5},1,"\d{3,4}"'),
        ("D_ICD_DIAGNOSES", '"ROW_ID","ICD9_CODE","SHORT_TITLE","LONG_TITLE"', r'1,"0010","[^"]+","Cholera due to vibrio cholerae"'),
        ("D_ICD_PROCEDURES", '"ROW_ID","ICD9_CODE","SHORT_TITLE","LONG_TITLE"', r'1,"0001","[^"]+","Therapeutic ultrasound of .*"'),
    ],
)  # fmt: skip
def test_schema(clean: Made, name: str, header: str, line: str) -> None:
    raw = (clean.folder / f"{name}.csv.gz").read_bytes()
    assert raw[4:8] == bytes(4), "a time in the header of gzip"
    first, second, _ = gzip.decompress(raw).decode().split("\n", 2)
    assert first == header
    assert re.fullmatch(line, second), second
    assert "\r" not in gzip.decompress(raw).decode()
    row_ids = [int(row["ROW_ID"]) for row in clean.tables[name]]
    assert row_ids == list(range(1, len(row_ids) + 1))


def test_titles_are_all_there(clean: Made) -> None:
    for name, kind in (("D_ICD_DIAGNOSES", icd9.DIAGNOSIS), ("D_ICD_PROCEDURES", icd9.PROCEDURE)):
        rows = clean.tables[name]
        assert {icd9.dotted(row["ICD9_CODE"], kind): row["LONG_TITLE"] for row in rows} == icd9.titles()[kind]
        assert all(0 < len(row["SHORT_TITLE"]) <= 24 for row in rows)


def test_notes_come_in_blocks_summaries_first(clean: Made) -> None:
    rows = clean.tables["NOTEEVENTS"]
    blocks = [row["CATEGORY"] for n, row in enumerate(rows) if not n or rows[n - 1]["CATEGORY"] != row["CATEGORY"]]
    assert blocks[0] == "Discharge summary"
    assert len(blocks) == len(set(blocks)) > 8
    assert set(blocks[1:]) <= set(table_rows.note_categories())
    others = [row for row in rows if row["CATEGORY"] != "Discharge summary"]
    assert len(others) == OTHER_NOTES * ADMISSIONS
    assert 0.3 < sum(row["CATEGORY"] == "Nursing/other" for row in others) / len(others) < 0.5
    assert 0.05 < sum(row["HADM_ID"] == "" for row in others) / len(others) < 0.2
    subjects = {row["HADM_ID"]: row["SUBJECT_ID"] for row in clean.tables["DIAGNOSES_ICD"]}
    assert all(subjects[row["HADM_ID"]] == row["SUBJECT_ID"] for row in rows if subjects.get(row["HADM_ID"]))
    assert all(len(row["TEXT"]) > 20 for row in rows)


def test_admissions_with_and_without_summary(clean: Made) -> None:
    with_summary, coded = {row["HADM_ID"] for row in clean.summaries}, set(clean.labels())
    assert len(with_summary) == ADMISSIONS
    assert all(100_000 <= int(hadm) < 200_000 for hadm in with_summary | coded)
    lacking = len(coded - with_summary)
    assert lacking == pytest.approx(ADMISSIONS * 6_250 / 52_726, abs=1)
    patients = {(row["HADM_ID"], row["SUBJECT_ID"]) for row in clean.tables["DIAGNOSES_ICD"]}
    assert len({hadm for hadm, _ in patients}) == len(patients)
    assert 0.7 < len({subject for _, subject in patients}) / len(patients) < 0.9


def test_notes_have_traps(clean: Made) -> None:
    order = defaultdict(list)
    for row in clean.summaries:
        order[row["HADM_ID"]].append(row["DESCRIPTION"])
    kinds = Counter(map(tuple, order.values()))
    assert {("Report",), ("Report", "Addendum"), ("Addendum", "Report")} <= set(kinds)
    assert 0.05 < sum(kinds[kind] for kind in kinds if "Addendum" in kind) / ADMISSIONS < 0.2
    assert sum('"' in row["TEXT"] for row in clean.summaries) > ADMISSIONS / 4
    assert all("\n" in row["TEXT"] and "[**" in row["TEXT"] for row in clean.summaries)


def test_codes_have_traps(clean: Made) -> None:
    digits = {table: {row["ICD9_CODE"] for row in clean.tables[table]} for table in KINDS}
    assert digits["DIAGNOSES_ICD"] & digits["PROCEDURES_ICD"] - {""}
    assert any(code.startswith("0") for code in digits["PROCEDURES_ICD"])
    for table in KINDS:
        rows = clean.tables[table]
        sequence = defaultdict(list)
        for row in rows:
            sequence[row["HADM_ID"]].append(row)
        blocks = sum(not n or rows[n - 1]["HADM_ID"] != row["HADM_ID"] for n, row in enumerate(rows))
        assert blocks > len(sequence), "some admission's rows must stand apart"
        for own in sequence.values():
            coded = [int(row["SEQ_NUM"]) for row in own if row["ICD9_CODE"]]
            assert coded == list(range(1, len(coded) + 1))
        assert any(len({row["ICD9_CODE"] for row in own}) < len(own) for own in sequence.values())


def test_rare_traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((table_rows, "CODELESS"), (plan, "TWIN"), (table_rows, "EMPTY")):
        monkeypatch.setattr(module, name, 0.3)
    uncached = plan.make_plan.__wrapped__
    for module in (plan, table_rows, synthetic_tables):
        monkeypatch.setattr(module, "make_plan", uncached)
    make(tmp_path / "made", 40, 1, 0.1, other_notes=0, workers=1)
    made = read(tmp_path / "made")
    assert {row["HADM_ID"] for row in made.summaries} - {row["HADM_ID"] for row in made.tables["DIAGNOSES_ICD"]}
    twins = Counter((row["HADM_ID"], row["TEXT"]) for row in made.summaries if row["DESCRIPTION"] == "Report")
    assert set(twins.values()) == {1, 2}
    empty = [row for table in KINDS for row in made.tables[table] if not row["ICD9_CODE"]]
    assert empty
    assert all(row["HADM_ID"] and not row["SEQ_NUM"] for row in empty)


def test_codes_are_distributed_as_in_hospitals(clean: Made) -> None:
    counts = {table: [row for row in clean.tables[table] if row["ICD9_CODE"]] for table in KINDS}
    labels = clean.labels()
    assert 9.5 < len(counts["DIAGNOSES_ICD"]) / len(labels) < 12.5
    assert 3.2 < len(counts["PROCEDURES_ICD"]) / len(labels) < 5
    frequency = Counter(code for codes in labels.values() for code in codes)
    (top, times), *_ = frequency.most_common(1)
    assert top == "401.9"
    assert 0.3 < times / len(labels) < 0.47
    assert sum(times < 3 for times in frequency.values()) > len(frequency) / 2
    assert all(code in icd9.titles()[mimic_kind(code)] for code in frequency)


def mimic_kind(code: str) -> str:
    return icd9.PROCEDURE if icd9.is_procedure(code) else icd9.DIAGNOSIS


def test_codes_go_together(clean: Made) -> None:
    labels = list(clean.labels().values())

    def share(code: str, among: str | None = None) -> float:
        some = [codes for codes in labels if among is None or among in codes]
        return sum(code in codes for codes in some) / len(some)

    assert share("414.01", among="37.22") > 2 * share("414.01")
    assert share("99.55", among="V30.00") > 5 * share("99.55")
    assert share("401.9", among="V30.00") == 0


def test_world_has_the_published_number_of_codes() -> None:
    kinds = Counter(map(mimic_kind, cases.codes_in_use().weights))
    assert kinds == {icd9.DIAGNOSIS: cases.DIAGNOSES, icd9.PROCEDURE: cases.PROCEDURES}
    named = {code for topic in cases.topics().values() for code in topic.codes} | set(language.background("mimic"))
    assert named <= set(cases.codes_in_use().weights)
    assert all(tail.codes for tail in cases.codes_in_use().by_topic.values())


@pytest.mark.parametrize(
    ("code", "ranges", "inside"),
    [
        ("410.71", ["410-414"], True),
        ("415.0", ["410-414"], False),
        ("41.01", ["410-414"], False),
        ("41.01", ["40-54"], True),
        ("E885.9", ["E800-E888"], True),
        ("V10.3", ["V10-V10"], True),
        ("99.04", ["35-37", "99"], True),
        ("98.02", ["35-37", "99"], False),
    ],
)
def test_chapters(code: str, ranges: list[str], inside: bool) -> None:  # noqa: FBT001
    assert cases.in_ranges(code, ranges) == inside


@pytest.mark.parametrize(
    ("code", "expected"), [("427.31", "427"), ("36.15", "36.1"), ("E885.9", "E885"), ("V10.3", "V10"), ("486", "486")]
)
def test_categories(code: str, expected: str) -> None:
    assert cases.category(code) == expected


def test_rare_codes_are_mostly_of_the_topic() -> None:
    drawn = [cases.draw_case(Dice(1, i), Dice(2, i)) for i in range(300)]
    rare = [
        (case.topic, code)
        for case in drawn
        for code in case.diagnoses
        if code not in case.topic.codes and code not in language.background("mimic")
    ]
    assert len(rare) > 500
    assert 0.5 < sum(cases.in_ranges(code, topic.diagnoses) for topic, code in rare) / len(rare) < 0.95


def test_lengths(clean: Made) -> None:
    lengths: Counter[str] = Counter()
    for row in clean.summaries:
        lengths[row["HADM_ID"]] += sum(not word.isnumeric() for word in WORD.findall(row["TEXT"]))
    ordered = sorted(lengths.values())
    assert 1_250 < ordered[len(ordered) // 2] < 1_600
    assert 1_400 < sum(ordered) / len(ordered) < 1_800
    assert ordered[0] < 300
    assert ordered[-1] > 4_000


def test_words_are_many_and_mostly_rare(clean: Made) -> None:
    seen = Counter(word for row in clean.summaries for word in set(WORD.findall(row["TEXT"].lower())))
    words = [word for word in seen if not word.isnumeric()]
    assert len(words) > 8_000
    assert 0.2 < sum(seen[word] >= 3 for word in words) / len(words) < 0.5


def test_evidence_is_the_mention(clean: Made) -> None:
    texts, labels = {row["ROW_ID"]: row for row in clean.summaries}, clean.labels()
    words = defaultdict(list)
    for span in clean.evidence:
        row = texts[span["ROW_ID"]]
        assert span["HADM_ID"] == row["HADM_ID"]
        assert span["CODE"] in labels[row["HADM_ID"]]
        mention = row["TEXT"][int(span["BEGIN"]) : int(span["END"])]
        assert mention, span
        assert len(mention) == int(span["END"]) - int(span["BEGIN"])
        assert mention == mention.strip()
        words[span["CODE"]].append(" ".join(mention.split()).lower())
    known = {text.lower() for text in [*language.table("synonyms")["essential hypertension"], "essential hypertension"]}
    known |= set(language.table("drugs")["401.9"])
    known |= {sign.lower() for sign in language.table("signs")["401.9"]}
    assert len(words["401.9"]) > 100
    assert sum(mention in known for mention in words["401.9"]) > 0.9 * len(words["401.9"])


@pytest.mark.parametrize("protocol", ["released", "corrected"])
def test_evidence_stands_in_the_joined_documents(clean: Made, protocol: str) -> None:
    opened = datasets.open("synth-full", clean.folder, {"protocol": protocol})
    evidence, rows = opened.evidence(), {row["ROW_ID"]: row["TEXT"] for row in clean.summaries}
    assert evidence is not None
    expected = defaultdict(list)
    for span in clean.evidence:
        expected[span["HADM_ID"]].append(rows[span["ROW_ID"]][int(span["BEGIN"]) : int(span["END"])])
    joined = 0
    for document in opened.documents().documents:
        found = evidence.get(document.id, {})
        assert set(found) <= set(document.codes)
        said = [document.text[begin:end] for spans in found.values() for begin, end in spans]
        assert sorted(said) == sorted(expected[document.id])
        joined += len({span["ROW_ID"] for span in clean.evidence if span["HADM_ID"] == document.id}) > 1
    assert joined
    assert datasets.open("mimic-full", clean.folder).evidence() is None


def test_most_codes_have_evidence_and_some_none(clean: Made) -> None:
    with_summary = {row["HADM_ID"] for row in clean.summaries}
    labels = {(hadm, code) for hadm, codes in clean.labels().items() if hadm in with_summary for code in codes}
    supported = {(span["HADM_ID"], span["CODE"]) for span in clean.evidence}
    assert supported <= labels
    assert 0.82 < len(supported) / len(labels) < 0.94
    assert len(clean.evidence) > 1.3 * len(supported)


def test_words_of_a_code_also_stand_where_it_is_not_gold(clean: Made) -> None:
    labels = clean.labels()
    denied = re.compile(
        r"no evidence of|ruled out|negative for|no history of|Father had|Mother with|in the past|R/o", re.DOTALL
    )
    assert sum(bool(denied.search(row["TEXT"])) for row in clean.summaries) > ADMISSIONS / 2
    named = [row for row in clean.summaries if re.search(r"\b(AF|afib|atrial\s+fibrillation)\b", row["TEXT"])]
    assert 0 < sum("427.31" not in labels[row["HADM_ID"]] for row in named) < len(named) / 2


def test_noise_explains_every_difference(clean: Made, noisy: Made) -> None:
    true, written = clean.labels(), noisy.labels()
    assert not clean.noise
    assert (clean.folder / "truth" / "noise.csv").read_text() == "HADM_ID,KIND,TRUE_CODE,WRITTEN_CODE\n"
    for row in noisy.noise:
        codes = true[row["HADM_ID"]]
        assert {"omitted": row["TRUE_CODE"] and not row["WRITTEN_CODE"], "spurious": not row["TRUE_CODE"]}.get(
            row["KIND"], True
        )
        if row["KIND"] == "sibling":
            assert cases.category(row["TRUE_CODE"]) == cases.category(row["WRITTEN_CODE"])
        assert row["WRITTEN_CODE"] not in codes
        assert not row["TRUE_CODE"] or row["TRUE_CODE"] in codes
        codes -= {row["TRUE_CODE"]}
        codes |= {row["WRITTEN_CODE"]} - {""}
    assert {hadm: codes for hadm, codes in true.items() if codes} == written


def test_noise_is_as_frequent_as_asked_for(clean: Made, noisy: Made) -> None:
    kinds, labels = Counter(row["KIND"] for row in noisy.noise), sum(map(len, clean.labels().values()))
    assert (kinds["omitted"] + kinds["sibling"]) / labels == pytest.approx(NOISE, rel=0.1)
    assert 0.35 < kinds["sibling"] / (kinds["omitted"] + kinds["sibling"]) < 0.55
    assert kinds["spurious"] / labels == pytest.approx(NOISE / 5, rel=0.3)


def test_text_is_independent_of_label_noise(clean: Made, noisy: Made) -> None:
    before, after = content(clean.folder), content(noisy.folder)
    for name in ("NOTEEVENTS.csv.gz", "truth/evidence.csv", "train_full_hadm_ids.csv", "test_full_hadm_ids.csv"):
        assert before[name] == after[name]
    assert before["DIAGNOSES_ICD.csv.gz"] != after["DIAGNOSES_ICD.csv.gz"]


def test_bytes_do_not_depend_on_the_number_of_workers(noisy: Made, tmp_path: Path) -> None:
    make(tmp_path / "made", ADMISSIONS, SEED, NOISE, OTHER_NOTES, workers=2)
    assert content(tmp_path / "made") == content(noisy.folder)


def test_another_seed_gives_other_patients_and_a_smaller_size_the_same(clean: Made, tmp_path: Path) -> None:
    make(tmp_path / "small", 130, SEED, other_notes=0, workers=1)
    small, labels = read(tmp_path / "small"), clean.labels()
    assert small.labels().items() <= labels.items()
    assert {row["TEXT"] for row in small.summaries} <= {row["TEXT"] for row in clean.summaries}
    make(tmp_path / "other", 20, SEED + 1, other_notes=0, workers=1)
    other = read(tmp_path / "other")
    assert not {row["TEXT"] for row in other.summaries} & {row["TEXT"] for row in clean.summaries}


@pytest.mark.parametrize("admissions", [20, 45])
def test_small_sets_have_all_lists(tmp_path: Path, admissions: int) -> None:
    make(tmp_path / "made", admissions, 1, 0.5, other_notes=0, workers=1)
    check_lists(read(tmp_path / "made"))


def test_lists(clean: Made, noisy: Made) -> None:
    for made in (clean, noisy):
        check_lists(made)
        assert len(made.lists["dev_full"]) == round(1_631 / 52_726 * ADMISSIONS)
        assert len(made.lists["test_full"]) == round(3_372 / 52_726 * ADMISSIONS)
        assert len(made.lists["train_50"]) == round(8_066 / 52_726 * ADMISSIONS)


def check_lists(made: Made) -> None:
    lists, with_summary = made.lists, {row["HADM_ID"] for row in made.summaries}
    full = [hadm for split in ("train", "dev", "test") for hadm in lists[f"{split}_full"]]
    assert sorted(full) == sorted(with_summary)
    patient = {row["HADM_ID"]: row["SUBJECT_ID"] for row in made.summaries}
    where = defaultdict(set)
    for split in ("train", "dev", "test"):
        assert lists[f"{split}_full"]
        assert lists[f"{split}_50"]
        assert set(lists[f"{split}_50"]) <= set(lists[f"{split}_full"])
        assert len(set(lists[f"{split}_50"])) == len(lists[f"{split}_50"])
        for hadm in lists[f"{split}_full"]:
            where[patient[hadm]].add(split)
    assert all(len(splits) == 1 for splits in where.values())
    rows = Counter(
        icd9.dotted(row["ICD9_CODE"], kind)
        for table, kind in KINDS.items()
        for row in made.tables[table]
        if row["HADM_ID"] in with_summary and row["ICD9_CODE"]
    )
    weakest = rows.most_common(50)[-1][1]
    top, labels = {code for code, times in rows.items() if times >= weakest}, made.labels()
    assert all(top & labels[hadm] for split in ("train", "dev", "test") for hadm in lists[f"{split}_50"])


def test_made_up_words_are_distinct() -> None:
    for kind, size in blanks.COINAGES.items():
        assert len({blanks.coin_word(kind, number) for number in range(size)}) == size


def test_every_template_can_be_filled() -> None:
    words = blanks.Blanks(Dice(1), language.MAN, date(2150, 1, 1))
    tables = [language.table(name) for name in ("mimic_filler", "mimic_said", "said", "filler")]
    for template in [template for table in tables for templates in table.values() for template in templates]:
        if not re.search(r"\{(y|Y|background|age|man)\}", template):
            line = notes.fill(f"hpi: {template}", words, "486", "pneumonia")
            assert not re.search(r"[{}]", line.text), line
    assert set(language.table("mimic_filler")) >= set(notes.FILLING) - {"labs"}
    sections = {name for order in language.table("layout")["mimic"] for name in order.split()}
    assert sections == {*language.table("headers"), *language.table("mimic_headers")}


def test_broken_lines_keep_every_letter_in_its_place() -> None:
    text = "one two " * 40 + "\n" + "x" * 200 + " y"
    broken = notes.break_lines(text)
    assert broken.replace("\n", " ") == text.replace("\n", " ")
    assert max(map(len, broken.split("\n")[:4])) <= notes.WIDTH


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((19, 1), "admissions = 19"),
        ((20, -1), "seed = -1"),
        ((20, 1, 1.0), "label noise = 1.0"),
        ((20, 1, -0.1), "label noise = -0.1"),
        ((20, 1, float("nan")), "label noise = nan"),
        ((20, 1, 0.0, -1), "other notes = -1"),
    ],
)
def test_impossible_requests(tmp_path: Path, arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(SpecError, match=f"^{message}: [^\n]+$"):
        make(tmp_path / "made", *arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(SpecError, match="not empty; name a new folder"):
            make(tmp_path / name, 20, 1, other_notes=0, workers=1)
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file"}
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty", 20, 1, other_notes=0, workers=1)
    assert (tmp_path / "empty" / MARKER).exists()


def test_a_file_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    def put(*_: object) -> None:
        (tmp_path / "made").mkdir(exist_ok=True)
        (tmp_path / "made" / "mine.txt").write_text("mine")

    with pytest.raises(SpecError, match="not empty"):
        make(tmp_path / "made", 20, 1, other_notes=0, report=put, workers=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "mine.txt"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(synthetic_tables, "draw_lists", full)
    with pytest.raises(SpecError, match=r"^'[^\n]+made' cannot be written: No space left on device; [^\n]+$"):
        make(tmp_path / "made", 20, 1, other_notes=0, workers=1)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="cannot be written"):
        make(tmp_path / "file" / "made", 20, 1, other_notes=0, workers=1)


def test_an_interruption_leaves_neither_files_nor_workers(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "made", 600, 1, other_notes=0, report=interrupt, workers=2)
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()


def test_progress_is_reported(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    make(tmp_path / "made", 150, 1, other_notes=1, report=lambda *what: told.append(what), workers=1)
    assert told[-1] == ("other notes", 150, 150)
    assert [done for what, done, _ in told if what == "admissions"] == [128, 167]


def test_command(tmp_path: Path) -> None:
    arguments = [
        "data",
        "make",
        str(tmp_path / "made"),
        "--admissions",
        "20",
        "--other-notes",
        "0",
        "--label-noise",
        "0.1",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "made").noise
