"""A small CodiEsp of six documents, and two of the background, for tests."""

from __future__ import annotations

from pathlib import Path

from icdbench.data.sources import codiesp_files

TABLES = {
    ("train", "D"): {"S1-1": ["K52.9", "r55"], "S1-2": ["r55", "r55", "w19.xxx"], "S2-1": ["k52.1"]},
    ("dev", "D"): {"S3-1": ["r55", "z99"]},
    ("test", "D"): {"S1-3": ["k52.9"], "S4-1": ["r55", "q00.1", "z99"]},
    ("train", "P"): {"S1-1": ["bw03zzz", "0d11"], "S2-1": ["bw03zzz"]},
    ("dev", "P"): {"S3-1": ["bw03zzz"]},
    ("test", "P"): {"S4-1": ["0d11"]},
}
EVIDENCE = {  # of both kinds, in the Spanish texts "el paciente train0 500 mg"
    "train": "S1-1\tDIAGNOSTICO\tR55\tpaciente\t3 11\nS1-1\tDIAGNOSTICO\tR55\tel mg\t0 2;23 25\n"
    "S1-1\tPROCEDIMIENTO\tBW03ZZZ\ttrain0\t12 18\n",
    "dev": "S3-1\tDIAGNOSTICO\tr55\tpaciente\t3 11\n",
    "test": "S4-1\tPROCEDIMIENTO\t0d11\tel\t0 2\n",
}
IDS = {"train": ["S1-1", "S1-2", "S2-1"], "dev": ["S3-1"], "test": ["S1-3", "S4-1"], "background": ["S8-1", "S9-1"]}


def small(root: Path) -> Path:
    """A data folder with a CodiEsp of six documents."""
    place = root / codiesp_files.FOLDER
    for part, ids in IDS.items():
        for folder, greeting in (("text_files_en", "the patient"), ("text_files", "el paciente")):
            (place / part / folder).mkdir(parents=True)
            for number, id_ in enumerate(ids):
                (place / part / folder / f"{id_}.txt").write_text(f"{greeting} {part}{number} 500 mg", encoding="utf-8")
    for (part, kind), table in TABLES.items():
        lines = [f"{id_}\t{code}\n" for id_, found in table.items() for code in found]
        (place / part / f"{part}{kind}.tsv").write_text("".join(lines), encoding="utf-8")
    for part, marked in EVIDENCE.items():
        (place / part / f"{part}X.tsv").write_text(marked, encoding="utf-8")
    return root
