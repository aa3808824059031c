"""`demo`: synthetic discharge summaries, which need no files and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from icdbench.codes import CodingSystem, icd9, systems
from icdbench.data.source import Evidence, Raw, Source, register
from icdbench.synthetic import documents
from icdbench.types import Report


@dataclass(frozen=True)
class Demo(Source):
    """The documents that icdbench.synthetic generates."""

    version = documents.VERSION

    def files(self) -> Sequence[Path]:
        return [icd9.titles_path()]

    def read(self, _report: Report) -> Raw:
        made_by = f"generator version {documents.VERSION}, seed {documents.SEED}"
        return Raw(documents.documents(), facts={"synthetic": made_by})

    @property
    def published(self) -> Mapping[str, str]:
        return {"license": "https://spdx.org/licenses/MIT.html"}

    @property
    def coding(self) -> CodingSystem:
        return replace(systems.ICD9CM, version=None)  # its titles are the raw file

    def evidence(self) -> Evidence:
        made = map(documents.document_with_evidence, range(len(documents.SPLIT_OF)))
        return {document.id: found for document, found in made}


register(
    Demo(
        "demo",
        "synthetic discharge summaries with ICD-9-CM codes, made on the spot: to try things out, not for results",
        {"top_codes": 50},
        {"max_epochs": 20, "patience": 8},
        licence="mit",
        synthetic=True,
    )
)
