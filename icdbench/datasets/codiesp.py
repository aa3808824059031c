"""CodiEsp (CLEF eHealth 2020): 1,000 Spanish clinical case reports coded by hand, each also machine-translated.

Miranda-Escalada, Gonzalez-Agirre, Krallinger: CodiEsp corpus, gold standard, version 1.4, CC BY 4.0,
https://doi.org/10.5281/zenodo.3837305. `codiesp-d` are its diagnoses (ICD-10-CM), `codiesp-p` its procedures (ICD-10-PCS).

The corpus is looked for in the data folder as `final_dataset_v4_to_publish` or `codiesp/final_dataset_v4_to_publish`.
Every text file of a split is a document, also one without any code of the chosen kind.
"""

from __future__ import annotations

import hashlib
import logging
import re
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from icdbench.datasets import DOWNLOADS, Evidence, Raw, Source, Tree, hierarchy, read_text, readable, register
from icdbench.datasets.icd10 import icd10cm_headings, icd10cm_titles
from icdbench.files import digest, replacing_folder
from icdbench.spec import DataError, DataSpec
from icdbench.types import Document, Report, quiet

log = logging.getLogger("icdbench")

Kind = Literal["D", "P"]
URL = "https://zenodo.org/records/3837305/files/codiesp.zip?download=1"
FOLDER = "final_dataset_v4_to_publish"
SPLITS = {"train": "train", "validation": "dev", "test": "test"}
NAMES = {"D": "DIAGNOSTICO", "P": "PROCEDIMIENTO"}  # of the kinds of codes, in the tables of evidence

# SHA-256 of version 1.4: of a table's bytes; of a text folder's lines "<sha256 of file>  <name>\n" sorted by name.
CHECKSUMS = {
    "train/trainD.tsv": "613208a405a38042476451e74cf1d4d95d569d7a247a3fda40474d694193b49c",
    "train/trainP.tsv": "30038443d815423623eb20537bd2af72cbab43810e538b214f511ec951fba7ea",
    "train/trainX.tsv": "a84da4744413fef954a09b59b91b4bd4b774af7e4f6fdb6d857c45596f20ecb9",
    "dev/devD.tsv": "15ef44a5e5806c2e5ce657df00fde7b6063fb58f708990db212bc93f7ea5551b",
    "dev/devP.tsv": "9f144f312968313abb350fe35b8dd5a68a7ee3943dd1388c900e2352b13f660e",
    "dev/devX.tsv": "0085171947bfe045fcd6b243d7de6df09001a9fa28d201dd1ebf80b7b1329088",
    "test/testD.tsv": "8e1766defb958a56d774af586432790ba5e644f8839559a7e70dad3987bf0690",
    "test/testP.tsv": "5fdd25802e20a956f71c9552509b4ca158d6c7156a5e8a93fad1dcfdfc2f7376",
    "test/testX.tsv": "e6149fa6c818ae3b6ac70bde28d596de9efe992144e6c98beb3c0955f3f0e73f",
    "train/text_files": "9a46a74b40696aa41ae85a453ee95da68217fbd0e8eeb643534e3af552b490bc",
    "train/text_files_en": "7011328ea3ba58468549330eb7c3720c65cf241dadb72e21f88cbc1adfadccdc",
    "dev/text_files": "290f55078304b2c87a075b85e26190269610e87517fb60057f3b45e51bea147c",
    "dev/text_files_en": "ec7e469e09e06488f7dc3cd621c99b79c033c298762cafe82e35abd5a3976ee0",
    "test/text_files": "f7b9b0dd68e9f118f01eb06ee1ded57ec696b170fd34a052d0d81c9c8a1bdddd",
    "test/text_files_en": "2cc1acd4b18d1d31d9dce69f9d711c74b860f2c9527bda9b87a8a31952287775",
    "background/text_files": "778efb282b40a33b4b262aa0c218dbb39a5ae8a33e7c1e1b099e936e9d1ac7a5",
    "background/text_files_en": "0a8e3d7b3c87459d8a364afb9fefa201876562fac5cadbe9e862563d804b19df",
}


def folder(root: Path) -> Path:
    """The corpus's folder below the data root. Raises DataError if it is not there."""
    for path in (root / FOLDER, root / "codiesp" / FOLDER):
        with readable(path):
            if path.is_dir():
                return path
    raise DataError(
        f"CodiEsp is not in '{root}' (no folder {FOLDER}); fetch it with 'icdbench data get codiesp --data {root}', "
        "or name the folder that has it with --data or ICDBENCH_DATA"
    )


def texts(data: DataSpec) -> str:
    return "text_files_en" if data.language == "en" else "text_files"


def text_paths(root: Path, part: str, data: DataSpec) -> list[Path]:
    """The text files of one part (train, dev, test, background), sorted by name. Raises DataError if there are none."""
    paths = _visible(folder(root) / part / texts(data))
    if not paths:
        without = ", or do without these texts: --set data.embedding_corpus=train" if part == "background" else ""
        raise DataError(
            f"{folder(root) / part / texts(data)} has no text files; 'icdbench data check codiesp-d --data {root}' says "
            f"what is missing{without}"
        )
    return paths


def _visible(place: Path) -> list[Path]:
    """A folder's text files; names that begin with a dot are file managers' notes."""
    return sorted(path for path in place.glob("*.txt") if not path.name.startswith("."))


def files(kind: Kind, root: Path, data: DataSpec) -> list[Path]:
    """The background texts count even where they are not used: runs with and without them have the same raw content."""
    tables = [_table(root, part, kind) for part in SPLITS.values()]
    with readable(root):
        for table in tables:
            if not table.is_file():
                raise DataError(
                    f"{table} is missing; 'icdbench data check codiesp-{kind.lower()} --data {root}' says more"
                )
        paths = [path for part in SPLITS.values() for path in text_paths(root, part, data)]
        background = _visible(folder(root) / "background" / texts(data))
        listing = _titles_file(kind, root)
    return [*tables, *paths, *background, *([listing] if listing else [])]


def _table(root: Path, part: str, kind: Kind) -> Path:
    return folder(root) / part / f"{part}{kind}.tsv"


def read(kind: Kind, root: Path, data: DataSpec, _report: Report = quiet) -> Raw:
    """Documents in the order of their ids. Raises DataError for damaged tables and for codes of unknown documents."""
    documents = []
    for split, part in SPLITS.items():
        codes = _codes(_table(root, part, kind), root)
        paths = text_paths(root, part, data)
        if strays := sorted(set(codes) - {path.stem for path in paths}):
            raise DataError(
                f"{part}{kind}.tsv codes {len(strays)} documents that have no text in {part}/{texts(data)}, the first "
                f"'{strays[0]}'; {_again(root)}"
            )
        for path in paths:
            labels = codes.get(path.stem, [])
            cut = [code[:3] for code in labels] if data.categories else labels
            documents.append(Document(path.stem, _text(path, root), tuple(dict.fromkeys(cut)), split))
    facts: dict[str, object] = {"language": data.language}
    if data.drop_overlap:
        articles = {_article(document) for document in documents if document.split != "test"}
        kept = [document for document in documents if document.split != "test" or _article(document) not in articles]
        facts["test_cases_dropped_for_overlap"] = len(documents) - len(kept)
        documents = kept
    if altered := [name for name in _parts(kind, data) if _digest(folder(root) / name) != CHECKSUMS[name]]:
        facts["differs_from_version_1.4"] = ", ".join(altered)
        log.warning("CodiEsp in %s differs from version 1.4: %s; %s", folder(root), ", ".join(altered), _again(root))
    unlabelled = text_paths(root, "background", data) if data.embedding_corpus != "train" else []
    return Raw(documents, [_text(path, root) for path in unlabelled], facts)


def _article(document: Document) -> str:
    """The article a case was taken from: its id up to the last hyphen."""
    return document.id.rpartition("-")[0]


def _text(path: Path, root: Path) -> str:
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path} is empty; {_again(root)}")
    return text


def _codes(path: Path, root: Path) -> dict[str, list[str]]:
    """Codes per document id, in file order. The last line ends with a line break too, or was cut off."""
    found = defaultdict(list)
    for number, line in enumerate(read_text(path).splitlines(keepends=True), start=1):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 2 or not all(fields) or not line.endswith("\n"):
            raise DataError(
                f"{path}, line {number}: expected 'articleID<TAB>code' and a line break, found {line[:60]!r}; {_again(root)}"
            )
        found[fields[0]].append(fields[1].lower())
    if not found:
        raise DataError(f"{path} is empty; {_again(root)}")
    return dict(found)


def titles(kind: Kind, codes: Sequence[str], root: Path, data: DataSpec) -> Mapping[str, str]:
    """Titles from CodiEsp's own list where it lies beside the corpus, else those of ICD-10-CM (English, diagnoses)."""
    listing = _titles_file(kind, root)
    if listing is None:
        return icd10cm_titles(codes) if kind == "D" and data.language == "en" else {}
    column = 2 if data.language == "en" else 1  # code, Spanish title, English title
    rows = (line.split("\t") for line in read_text(listing).splitlines())
    listed = {row[0].lower(): row[column] for row in rows if len(row) > column and row[column]}
    found = {code: listed[code] for code in codes if code in listed}
    if not found:
        raise DataError(
            f"{listing} has a title for none of the {len(codes)} codes of codiesp-{kind.lower()}; fetch it again, or move "
            "it away to do without"
        )
    return found


def evidence(kind: Kind, root: Path, data: DataSpec) -> Evidence | None:
    """The words that the coders marked, which are Spanish: none for the English texts. Raises DataError for a damaged table."""
    if data.language != "es":
        return None
    found: dict[str, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for part in SPLITS.values():
        path = folder(root) / part / f"{part}X.tsv"
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            fields = [field.strip() for field in line.split("\t")]
            if len(fields) != 5 or not re.fullmatch(r"\d+ \d+(;\d+ \d+)*", fields[4]):
                raise DataError(
                    f"{path}, line {number}: expected 'articleID<TAB>type<TAB>code<TAB>words<TAB>begin end;begin end', found "
                    f"{line[:60]!r}; {_again(root)}"
                )
            document, name, code, _, places = fields
            if name == NAMES[kind]:
                numbers = [int(each) for each in re.split("[ ;]", places)]
                label = code.lower()[:3] if data.categories else code.lower()
                found[document][label] += zip(numbers[::2], numbers[1::2], strict=True)
    return found


def tree(kind: Kind, codes: Sequence[str], _root: Path, data: DataSpec) -> Tree:
    """Headings have titles in English alone, and those of procedures none."""
    if kind == "P":
        return hierarchy.grow(codes, hierarchy.icd10pcs_line)
    return hierarchy.grow(codes, hierarchy.icd10cm_line, icd10cm_headings if data.language == "en" else lambda _: {})


def _titles_file(kind: Kind, root: Path) -> Path | None:
    """The list of valid codes and titles (Zenodo record 3706838), if the user has it."""
    name = f"codiesp-{kind}_codes.tsv"
    places = (root / name, root / "codiesp_codes" / name, root / "codiesp" / "codiesp_codes" / name)
    return next((place for place in places if place.is_file()), None)


def check(kind: Kind, root: Path, data: DataSpec) -> list[str]:
    """What is missing or differs from version 1.4, a line each, with what to do."""
    problems = []
    try:
        for name in _parts(kind, data):
            path = folder(root) / name
            if _digest(path) != CHECKSUMS[name]:
                what = "differs from version 1.4 (SHA-256)" if path.exists() else "is missing"
                problems.append(f"{path} {what}; {_again(root)}")
    except DataError as error:
        problems.append(str(error))
    return problems


def _parts(kind: Kind, data: DataSpec) -> list[str]:
    """The tables and text folders that a data set with these settings is read from."""
    used = [*SPLITS.values(), *(["background"] if data.embedding_corpus != "train" else [])]
    marked = [f"{part}X.tsv" for part in used if data.language == "es"]
    names = {f"{part}/{name}" for part in used for name in (f"{part}{kind}.tsv", *marked, texts(data))}
    return [name for name in CHECKSUMS if name in names]


def _again(root: Path) -> str:
    """What to do about a damaged corpus: files that are there are never written over."""
    return f"unless that is on purpose, move {folder(root)} away and run 'icdbench data get codiesp --data {root}'"


def _digest(path: Path) -> str:
    """As in CHECKSUMS; of what is missing, the digest of nothing."""
    with readable(path):
        if path.is_file():
            return digest(path)
        lines = "".join(f"{digest(file)}  {file.name}\n" for file in _visible(path))
        return hashlib.sha256(lines.encode()).hexdigest()


def get(root: Path) -> str:
    """Download the corpus into the data folder and check it; says what was done. Raises DataError.

    Zenodo publishes an MD5 that could not be read when this was written, so the archive is not pinned; what it unpacks
    to is, by CHECKSUMS, and nothing is put in place before all of it agrees.
    """
    target = root / "codiesp" / FOLDER
    try:
        for present in (target, root / FOLDER):
            if present.exists():
                return f"CodiEsp is already in {present}; 'icdbench data check codiesp-d' compares it with version 1.4"
        with replacing_folder(target) as fresh, tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            unpack(_download(Path(temporary)), fresh)
            check_tree(fresh)
            fresh.chmod(target.parent.stat().st_mode)
    except OSError as error:
        raise DataError(
            f"data folder '{root}' cannot be written: {error.strerror or error}; name another with --data"
        ) from None
    return f"CodiEsp 1.4 is in {target}; all checksums agree"


def _download(place: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # it would ask to pin a checksum
    try:
        return Path(pooch.retrieve(URL, known_hash=None, fname="codiesp.zip", path=place, progressbar=False))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"download of {URL} failed: {reason}; try again, or unpack it by hand so that {FOLDER} lies in the data folder"
        ) from None


def unpack(archive: Path, target: Path) -> None:
    """The members of the archive below FOLDER, into target. Raises DataError for a damaged archive or a hostile path."""
    for name, content in _members(archive):
        path = (target / name).resolve()
        if not path.is_relative_to(target.resolve()):
            raise DataError(f"{archive.name} holds a path outside its folder: '{name}'; not unpacked")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names below FOLDER and contents; what a Mac's archiver adds beside FOLDER is left out."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                before, _, name = member.filename.partition(f"{FOLDER}/")
                if name and not member.is_dir() and not before.startswith("__MACOSX"):
                    yield name, opened.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise DataError(f"{archive.name} is damaged ({error}); fetch it again") from None


def check_tree(place: Path) -> None:
    """Raises DataError for the first part of an unpacked corpus that differs from version 1.4."""
    for name, expected in CHECKSUMS.items():
        if not (place / name).exists() or _digest(place / name) != expected:
            raise DataError(f"the downloaded archive differs from CodiEsp 1.4 in {name}; nothing was kept")


def _register(name: str, kind: Kind, about: str, **data: object) -> None:
    fields = frozenset({"language", "drop_overlap"} | ({"categories"} if kind == "D" else set()))
    register(
        Source(
            name,
            about,
            files=partial(files, kind),
            read=partial(read, kind),
            titles=partial(titles, kind),
            tree=partial(tree, kind),
            evidence=partial(evidence, kind),
            check=partial(check, kind),
            download="codiesp",
            data={"embedding_corpus": "train+background", **data},
            fields=fields,
        )
    )


DOWNLOADS["codiesp"] = get
_register("codiesp-d", "D", "CodiEsp diagnoses (ICD-10-CM), all codes seen in training")
_register("codiesp-d50", "D", "CodiEsp diagnoses, the 50 most frequent training codes", top_codes=50)
_register("codiesp-d3", "D", "CodiEsp diagnoses cut to three-character categories", categories=True)
_register("codiesp-p", "P", "CodiEsp procedures (ICD-10-PCS), all codes seen in training")
_register("codiesp-p50", "P", "CodiEsp procedures, the 50 most frequent training codes", top_codes=50)
