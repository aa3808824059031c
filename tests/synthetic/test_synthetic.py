"""The packaged ICD-9-CM titles, and the demo data set that is made from them."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from places import SHARED

from icdbench.codes import icd9
from icdbench.data import datasets
from icdbench.synthetic import documents as synthetic
from icdbench.synthetic import language
from icdbench.synthetic.dice import Dice
from icdbench.synthetic.documents import DocumentPlan, Sentence
from icdbench.types import Document

ORIGINALS = SHARED / "data" / "icd9cm_v32"
# Documents of VERSION. If they change, so must the version, or old results would pass as results on the new documents.
PINNED = {"1": "78a688c1d7201082bc4a3f914af7a1ca638c9cd0a8fdf2a3936f6cd5709e5f9f"}


@cache
def demo() -> list[Document]:
    return list(datasets.open("demo", Path("no such folder")).documents().documents)


@cache
def planned() -> list[tuple[DocumentPlan, list[Sentence]]]:
    """Plans and sentences of 300 documents of another seed."""
    dice = [Dice(7, i) for i in range(300)]
    plans = [synthetic.make_plan(each) for each in dice]
    return [(plan, synthetic.write(plan, each)) for plan, each in zip(plans, dice, strict=True)]


def test_all_titles_are_packaged() -> None:
    titles = icd9.titles()
    assert {kind: len(of) for kind, of in titles.items()} == {"diagnosis": 14567, "procedure": 3882}
    assert titles["diagnosis"]["486"] == "Pneumonia, organism unspecified"
    assert titles["diagnosis"]["E916"] == "Struck accidentally by falling object"
    assert titles["diagnosis"]["V30.01"] == "Single liveborn, born in hospital, delivered by cesarean section"
    assert titles["procedure"]["33.1"] == "Incision of lung"
    assert titles["procedure"]["03.31"] == "Spinal tap"
    assert titles["diagnosis"]["386.00"] == "Ménière's disease, unspecified"
    assert all(title and title == title.strip() for of in titles.values() for title in of.values())


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        ("486", "diagnosis", "486"),
        ("0389", "diagnosis", "038.9"),
        ("E916", "diagnosis", "E916"),
        ("E9160", "diagnosis", "E916.0"),
        ("V3001", "diagnosis", "V30.01"),
        ("331", "procedure", "33.1"),
        ("0331", "procedure", "03.31"),
        ("66", "procedure", "66."),
    ],
)
def test_where_the_dot_goes(code: str, kind: str, expected: str) -> None:
    assert icd9.dotted(code, kind) == expected


def test_packaged_codes_have_their_dots_where_they_belong() -> None:
    for kind, titles in icd9.titles().items():
        assert all(icd9.dotted(code.replace(".", ""), kind) == code for code in titles)


def test_the_same_digits_are_two_codes() -> None:
    diagnoses, procedures = icd9.titles()["diagnosis"], icd9.titles()["procedure"]
    assert diagnoses["001.0"] != procedures["00.10"]
    assert not set(diagnoses) & set(procedures)
    assert icd9.icd9cm_titles(["00.10", "001.0", "999.999"]) == {
        "00.10": "Implantation of chemotherapeutic agent",
        "001.0": "Cholera due to vibrio cholerae",
    }


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="the original lists are not part of the project")
def test_the_note_of_origin_tells_how_to_make_the_packaged_file(tmp_path: Path) -> None:
    packaged = icd9.titles_path()
    note = packaged.with_name("icd9cm_v32.md").read_text(encoding="utf-8")
    for original in ORIGINALS.glob("*.txt"):
        assert f"{original.name} | " in note
        assert hashlib.sha256(original.read_bytes()).hexdigest() in note
    recipe, made = note.split("```python\n")[1].split("```")[0], tmp_path / "made.gz"
    subprocess.run([sys.executable, "-c", recipe, ORIGINALS, made], check=True)
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(packaged.read_bytes())
    assert made.read_bytes()[4:8] == packaged.read_bytes()[4:8] == bytes(4), "a time in the header"


@pytest.mark.slow
@pytest.mark.counted
def test_documents_change_only_with_the_version() -> None:
    rows = [[document.id, document.text, document.codes, document.split] for document in demo()]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    assert digest == PINNED.get(synthetic.VERSION), "documents changed: raise synthetic.VERSION and pin the new digest"


@pytest.mark.slow
def test_documents_do_not_depend_on_hash_order() -> None:
    code = "from icdbench.synthetic.documents import documents; import hashlib; print(hashlib.sha256(repr(documents()).encode()).hexdigest())"
    ran = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert ran[0].stdout == ran[1].stdout


@pytest.mark.slow
def test_phrases_are_read_only_when_asked_for() -> None:
    """Neither `--help` nor another data set pays for them."""
    code = """
import pkgutil, importlib
from icdbench import synthetic
from icdbench.cli import main
from icdbench.data import datasets
for module in pkgutil.iter_modules(synthetic.__path__):
    importlib.import_module(f"icdbench.synthetic.{module.name}")
datasets.source("codiesp-d50")
from icdbench.synthetic import language
print(language.table.cache_info().misses)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0"]


def test_phrases_are_tables() -> None:
    names = [path.stem for path in Path(language.__file__).with_name("phrases").glob("*.txt")]
    assert names
    for name in names:
        for key, items in language.table(name).items():
            assert key == key.lstrip() != ""
            assert all(item == item.strip() != "" for item in items), (name, key)


def test_source_answers_without_files_or_network() -> None:
    source = datasets.open("demo", Path("no such folder"))
    raw = source.documents()
    assert source.synthetic
    assert raw.facts["synthetic"]
    assert not raw.background
    assert source.files() == [icd9.titles_path()]
    assert source.check() == []
    assert source.version == synthetic.VERSION


def test_sizes_and_distinct_documents() -> None:
    assert Counter(document.split for document in demo()) == synthetic.SIZES
    assert len({document.id for document in demo()}) == len(demo())
    assert len({document.text for document in demo()}) == len(demo())


def test_codes_are_known_unique_and_long_tailed() -> None:
    train = Counter(code for document in demo() if document.split == "train" for code in document.codes)
    every = sorted({code for document in demo() for code in document.codes})
    assert set(datasets.source("demo").titles(every)) == set(every)
    assert all(document.codes == tuple(sorted(set(document.codes))) for document in demo())
    counts = [count for _, count in train.most_common()]
    assert len(counts) > 50
    assert counts[0] > 20 * counts[-1]
    assert counts[0] > 4 * counts[len(counts) // 3] > 6 * counts[-5]
    top = {code for code, _ in train.most_common(50)}
    assert all(top & set(document.codes) for document in demo())
    kinds = {kind for code in top for kind, titles in icd9.titles().items() if code in titles}
    assert kinds == {"diagnosis", "procedure"}


def test_gold_codes_are_those_of_the_patient_now() -> None:
    statuses = Counter(mention.status for plan, _ in planned() for mention in plan.mentions)
    assert set(statuses) == {"stated", "implied", "negated", "family", "history"}
    for plan, _ in planned():
        assert plan.codes
        for mention in plan.mentions:
            now = mention.status in {"stated", "implied"}
            assert (mention.code in plan.codes) == now, (mention, plan.codes)
            assert not (language.excluded_by(mention.code) - {mention.code, mention.gold}) & set(plan.codes), (
                mention,
                plan,
            )


def test_some_mentions_of_relatives_and_the_past_are_codes_of_their_own() -> None:
    became = {
        (m.code, m.status, m.gold) for plan, _ in planned() for m in plan.mentions if m.gold not in {None, m.code}
    }
    assert {("410.71", "history", "412"), ("414.01", "family", "V17.3")} <= became


def test_every_mention_is_said_in_the_document() -> None:
    for number, (plan, sentences) in enumerate(planned()):
        text, places = synthetic.render(sentences, Dice(8, number))
        said = {mention for sentence in sentences for mention in sentence.mentions}
        assert set(plan.mentions) <= said
        for sentence in sentences:
            begin = places[sentence.section, sentence.text]
            assert text[begin:].lower().startswith(sentence.text.lower())
            assert all(mention.phrase.lower() in sentence.text.lower() for mention in sentence.mentions)
        assert {mention.gold for mention in said} - {None} == set(plan.codes)


@pytest.mark.slow
def test_evidence_is_what_is_said_of_each_code() -> None:
    evidence, known = datasets.source("demo").evidence(), set[str]()
    assert evidence is not None
    for document in demo():
        found = evidence[document.id]
        assert set(found) == set(document.codes)
        for code, spans in found.items():
            said = [document.text[begin:end].lower() for begin, end in spans]
            assert all(word == word.strip() != "" for word in said)
            known |= {*said} if code == "401.9" else set()
    assert {"hypertension", "htn", "lisinopril", "high blood pressure"} < known
    assert not any("family" in words or "denied" in words for words in known)


def test_a_phrase_within_another_is_not_taken_for_it() -> None:
    mentions = (
        synthetic.Mention("1", "negated", "heart failure"),
        synthetic.Mention("2", "stated", "acute heart failure"),
    )
    found = synthetic.evidence_spans("Acute heart failure, later heart failure.", 5, mentions)
    assert list(found) == [("2", (5, 24))]
    stated = (synthetic.Mention("1", "stated", "heart failure"), mentions[1])
    assert dict(synthetic.evidence_spans("Acute heart failure, later heart failure.", 0, stated)) == {
        "2": (0, 19),
        "1": (27, 40),
    }


@pytest.mark.slow
def test_any_title_can_be_paraphrased() -> None:
    for titles in icd9.titles().values():
        for number, title in enumerate(titles.values()):
            phrase = language.paraphrase(title, Dice(number))
            assert phrase, title
            assert "{" not in phrase
    assert language.paraphrase("Pneumonia, organism unspecified", Dice(1)) in {
        "pneumonia",
        *language.table("synonyms")["pneumonia"],
    }


def test_codes_of_the_tables_are_real() -> None:
    traits = [item.split() for items in language.table("traits").values() for item in items]
    drawn = {code for table in (language.background("demo"), *synthetic.topics().values()) for code in table}
    named = drawn.union(language.table("signs"), language.table("drugs"), *traits)
    named |= {code for code, _ in language.BECOMES} | set(language.BECOMES.values())
    assert named == drawn
    assert set(icd9.icd9cm_titles(sorted(named))) == named
