"""The files of CodiEsp's corpus: `get` fetches them, `differs` compares them with version 1.4."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from icdbench.data.source import fetch, readable
from icdbench.files import digest, replacing_folder, workspace
from icdbench.settings import DataError

URL = "https://zenodo.org/records/3837305/files/codiesp.zip?download=1"
FOLDER = "final_dataset_v4_to_publish"

# SHA-256 of version 1.4: of a table its bytes, of a text folder the lines "<sha256 of file>  <name>\n" sorted by name.
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


def text_files(folder: Path) -> list[Path]:
    """A folder's text files, without hidden ones, which file managers leave."""
    return sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))


def differs(folder: Path, name: str) -> bool:
    """Whether a table or text folder of the corpus differs from version 1.4."""
    return _digest(folder / name) != CHECKSUMS[name]


def _digest(path: Path) -> str:
    """The digest as in CHECKSUMS; for a missing path that of an empty text."""
    with readable(path):
        if path.is_file():
            return digest(path)
        lines = "".join(f"{digest(file)}  {file.name}\n" for file in text_files(path))
        return hashlib.sha256(lines.encode()).hexdigest()


def get(root: Path) -> str:
    """Download the corpus into the data folder and check it; return a line that says what was done. Raises DataError.

    The archive itself has no known checksum, but its content has (CHECKSUMS): nothing is kept unless all of it agrees.
    """
    target = root / "codiesp" / FOLDER
    try:
        for present in (target, root / FOLDER):
            if present.exists():
                return f"CodiEsp is already in {present}; 'icdbench data check codiesp-d' compares it with version 1.4"
        with replacing_folder(target) as fresh, workspace(target.parent) as temporary:
            archive = temporary / "codiesp.zip"
            fetch(URL, archive, None, f"unpack it by hand so that {FOLDER} lies in the data folder")
            _unpack(archive, fresh)
            if altered := next((name for name in CHECKSUMS if differs(fresh, name)), None):
                raise DataError(f"the downloaded archive differs from CodiEsp 1.4 in {altered}; nothing was kept")
            fresh.chmod(target.parent.stat().st_mode)
    except OSError as error:
        raise DataError(
            f"data folder '{root}' cannot be written: {error.strerror or error}; name another with --data"
        ) from None
    return f"CodiEsp 1.4 is in {target}; all checksums agree"


def _unpack(archive: Path, target: Path) -> None:
    """Unpack the members below FOLDER into `target`. Raises DataError for a damaged archive or a hostile path."""
    for name, content in _members(archive):
        path = (target / name).resolve()
        if not path.is_relative_to(target.resolve()):
            raise DataError(f"{archive.name} holds a path outside its folder: '{name}'; not unpacked")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names below FOLDER and contents, without what macOS adds to archives."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                before, _, name = member.filename.partition(f"{FOLDER}/")
                if name and not member.is_dir() and not before.startswith("__MACOSX"):
                    yield name, opened.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise DataError(f"{archive.name} is damaged ({error}); fetch it again") from None
