"""CodiEsp (CLEF eHealth 2020): 1,000 Spanish clinical case reports coded by hand, each also machine-translated.

Miranda-Escalada, Gonzalez-Agirre, Krallinger: CodiEsp corpus, gold standard, version 1.4, CC BY 4.0,
https://doi.org/10.5281/zenodo.3837305. `codiesp-d` are its diagnoses (ICD-10-CM), `codiesp-p` its procedures (ICD-10-PCS).

The corpus is looked for in the data folder as `final_dataset_v4_to_publish` or `codiesp/final_dataset_v4_to_publish`.
Every text file of a split is a document, also one without any code of the chosen kind.
"""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from icdbench.datasets import Raw, Source, first_missing, read_text, register
from icdbench.datasets.icd10 import icd10cm_titles
from icdbench.files import replacing_folder
from icdbench.spec import DataError, DataSpec
from icdbench.types import Document

Kind = Literal["D", "P"]

URL = "https://zenodo.org/records/3837305/files/codiesp.zip?download=1"
FOLDER = "final_dataset_v4_to_publish"
SPLITS = {"train": "train", "validation": "dev", "test": "test"}

# SHA-256 of version 1.4: of a table's bytes; of a text folder's lines "<sha256 of file>  <name>\n" sorted by name.
CHECKSUMS = {
    "train/trainD.tsv": "613208a405a38042476451e74cf1d4d95d569d7a247a3fda40474d694193b49c",
    "train/trainP.tsv": "30038443d815423623eb20537bd2af72cbab43810e538b214f511ec951fba7ea",
    "dev/devD.tsv": "15ef44a5e5806c2e5ce657df00fde7b6063fb58f708990db212bc93f7ea5551b",
    "dev/devP.tsv": "9f144f312968313abb350fe35b8dd5a68a7ee3943dd1388c900e2352b13f660e",
    "test/testD.tsv": "8e1766defb958a56d774af586432790ba5e644f8839559a7e70dad3987bf0690",
    "test/testP.tsv": "5fdd25802e20a956f71c9552509b4ca158d6c7156a5e8a93fad1dcfdfc2f7376",
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
    place = folder(root) / part / texts(data)
    paths = sorted(place.glob("*.txt"))
    if not paths:
        raise DataError(
            f"{place} has no text files; 'icdbench data check codiesp-d --data {root}' says what is missing"
        )
    return paths


def files(kind: Kind, root: Path, data: DataSpec) -> list[Path]:
    tables = [folder(root) / part / f"{part}{kind}.tsv" for part in SPLITS.values()]
    if missing := first_missing(tables):
        raise DataError(f"{missing} is missing; 'icdbench data check codiesp-{kind.lower()} --data {root}' says more")
    parts = [*SPLITS.values()]
    if data.embedding_corpus != "train" or (folder(root) / "background" / texts(data)).is_dir():
        parts.append("background")
    listing = _titles_file(kind, root)
    return tables + [path for part in parts for path in text_paths(root, part, data)] + ([listing] if listing else [])


def read(kind: Kind, root: Path, data: DataSpec) -> Raw:
    """Documents in the order of their ids. Raises DataError for damaged tables and for codes of unknown documents."""
    documents = []
    for split, part in SPLITS.items():
        codes = _codes(folder(root) / part / f"{part}{kind}.tsv")
        paths = text_paths(root, part, data)
        known = {path.stem for path in paths}
        if strays := sorted(set(codes) - known):
            raise DataError(
                f"{part}{kind}.tsv codes {len(strays)} documents that have no text in {part}/{texts(data)}, the first "
                f"'{strays[0]}'; fetch the corpus again"
            )
        for path in paths:
            labels = codes.get(path.stem, [])
            cut = [code[:3] for code in labels] if data.categories else labels
            documents.append(Document(path.stem, read_text(path), tuple(dict.fromkeys(cut)), split))
    facts: dict[str, object] = {"language": data.language}
    if data.drop_overlap:
        articles = {_article(document) for document in documents if document.split != "test"}
        kept = [document for document in documents if document.split != "test" or _article(document) not in articles]
        facts["test_cases_dropped_for_overlap"] = len(documents) - len(kept)
        documents = kept
    unlabelled = text_paths(root, "background", data) if data.embedding_corpus != "train" else []
    return Raw(documents, [read_text(path) for path in unlabelled], facts)


def _article(document: Document) -> str:
    """The article a case was taken from: its id up to the last hyphen."""
    return document.id.rpartition("-")[0]


def _codes(path: Path) -> dict[str, list[str]]:
    """Codes per document id, in file order."""
    found = defaultdict(list)
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) != 2 or not all(fields):
            raise DataError(f"{path}, line {number}: expected 'articleID<TAB>code', found '{line[:60]}'")
        found[fields[0]].append(fields[1].strip().lower())
    if not found:
        raise DataError(f"{path} is empty; fetch the corpus again")
    return dict(found)


def titles(kind: Kind, codes: Sequence[str], root: Path, data: DataSpec) -> Mapping[str, str]:
    """Titles from CodiEsp's own list where it lies beside the corpus, else those of ICD-10-CM (English, diagnoses)."""
    listing = _titles_file(kind, root)
    if listing is None:
        return icd10cm_titles(codes) if kind == "D" and data.language == "en" else {}
    column = 2 if data.language == "en" else 1  # code, Spanish title, English title
    rows = csv.reader(read_text(listing).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    listed = {row[0].lower(): row[column] for row in rows if len(row) > column and row[column]}
    return {code: listed[code] for code in codes if code in listed}


def _titles_file(kind: Kind, root: Path) -> Path | None:
    """The list of valid codes and titles (Zenodo record 3706838), if the user has it."""
    name = f"codiesp-{kind}_codes.tsv"
    places = (root / name, root / "codiesp_codes" / name, root / "codiesp" / "codiesp_codes" / name)
    return next((place for place in places if place.is_file()), None)


def check(kind: Kind, root: Path, data: DataSpec) -> list[str]:
    """What is missing or differs from version 1.4, a line each, with what to do."""
    try:
        place = folder(root)
    except DataError as error:
        return [str(error)]
    problems = []
    for name, expected in CHECKSUMS.items():
        path = place / name
        if name.endswith(".tsv") and not name.endswith(f"{kind}.tsv"):
            continue
        if not name.endswith(".tsv") and path.name != texts(data):
            continue
        if not path.exists():
            problems.append(f"{path} is missing; 'icdbench data get codiesp' fetches the whole corpus")
        elif _digest(path) != expected:
            problems.append(
                f"{path} differs from CodiEsp 1.4 (SHA-256); fetch it again unless you changed it on purpose"
            )
    return problems


def _digest(path: Path) -> str:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(path.glob("*.txt")))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def get(root: Path) -> str:
    """Download the corpus into the data folder and check it; says what was done. Raises DataError.

    Zenodo publishes an MD5 that could not be read when this was written, so the archive is not pinned; what it unpacks
    to is, by CHECKSUMS, and nothing is put in place before all of it agrees.
    """
    import pooch

    target = root / "codiesp" / FOLDER
    if target.exists() or (root / FOLDER).exists():
        return f"CodiEsp is already in {folder(root)}; 'icdbench data check codiesp-d' compares it with version 1.4"
    try:
        archive = Path(pooch.retrieve(URL, known_hash=None, fname="codiesp.zip", path=root, progressbar=False))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise DataError(
            f"download of {URL} failed: {str(error).splitlines()[0][:200]}; try again, or by hand"
        ) from None
    try:
        with replacing_folder(target) as fresh:
            unpack(archive, fresh)
            check_tree(fresh)
            fresh.chmod(0o755)
    finally:
        archive.unlink(missing_ok=True)
    return f"CodiEsp 1.4 is in {target}; all checksums agree"


def unpack(archive: Path, target: Path) -> None:
    """The members of the archive below FOLDER, into target. Raises DataError for a damaged archive or a hostile path."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                _, found, inner = member.filename.partition(f"{FOLDER}/")
                if not found or not inner or member.is_dir():
                    continue
                path = (target / inner).resolve()
                if not path.is_relative_to(target.resolve()):
                    raise DataError(
                        f"{archive.name} holds a path outside its folder: '{member.filename}'; not unpacked"
                    )
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(opened.read(member))
    except zipfile.BadZipFile as error:
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
            check=partial(check, kind),
            get=get,
            data={"embedding_corpus": "train+background", **data},
            fields=fields,
        )
    )


_register("codiesp-d", "D", "CodiEsp diagnoses (ICD-10-CM), all codes seen in training")
_register("codiesp-d50", "D", "CodiEsp diagnoses, the 50 most frequent training codes", top_codes=50)
_register("codiesp-d3", "D", "CodiEsp diagnoses cut to three-character categories", categories=True)
_register("codiesp-p", "P", "CodiEsp procedures (ICD-10-PCS), all codes seen in training")
_register("codiesp-p50", "P", "CodiEsp procedures, the 50 most frequent training codes", top_codes=50)
