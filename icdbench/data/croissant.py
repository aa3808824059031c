"""A data set described in Croissant 1.0, MLCommons' JSON-LD for data sets (http://mlcommons.org/croissant/1.0).

The description has files, splits and codes, but no texts and no ids. Paths are relative to the raw files' common folder.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from icdbench.data.cache import raw_digest
from icdbench.data.source import Source, readable
from icdbench.types import Corpus

TERMS = """citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset jsonPath
 key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField transform"""
VERSION = "http://mlcommons.org/croissant/1.0"
CONTEXT: Mapping[str, Any] = {  # as the specification prescribes it
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    **{name: f"cr:{name}" for name in TERMS.split()},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
}
MOST_FILES = 20  # of one kind in one folder; more become one entry
KINDS = {
    ".csv": "text/csv",
    ".gz": "application/gzip",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".parquet": "application/x-parquet",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
}
TYPES = {str: "sc:Text", int: "sc:Integer", float: "sc:Float"}


def described(opened: Source, corpus: Corpus, splits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON-LD of a data set; `splits` has a row of numbers for each split. Raises DataError for missing files.

    Properties that the source does not know (`Source.published`) are left out, such as the licence of a user's own file.
    """
    published: dict[str, Any] = dict(opened.published)
    about = f"{opened.about}. Raw content {corpus.fingerprint}, read by icdbench."
    if opened.agreement:
        about += f" The texts are under {opened.agreement}."
    if creators := published.pop("creator", ""):
        cited = f"{creators} ({published['datePublished']}). {published['url']}"
        published |= {
            "citeAs": cited,
            "creator": [{"@type": "sc:Person", "name": name} for name in creators.split(", ")],
        }
    titles = [
        {"code": code, "title": title} for code, title in zip(corpus.vocabulary.codes, corpus.titles, strict=True)
    ]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": opened.name,
        "description": about,
        **published,
        "distribution": list(_files(opened.files())),
        "recordSet": [
            _records("splits", "split", "Numbers of each split.", splits),
            _records("codes", "code", "The label set in the order of its indices.", titles),
        ],
    }


def _files(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """An entry for each file, with its checksum; one entry for more than MOST_FILES of one kind in a folder."""
    common = os.path.commonpath([path.parent for path in paths])
    groups = defaultdict(list)
    for path in paths:
        groups[path.parent.relative_to(common), path.suffix].append(path)
    for (folder, suffix), group in groups.items():
        kind = {"encodingFormat": KINDS.get(suffix.lower(), "application/octet-stream")}
        if len(group) > MOST_FILES:
            pattern = (folder / f"*{suffix}").as_posix()
            about = f"{len(group):,} files"
            yield {
                "@type": "cr:FileSet",
                "@id": pattern,
                "name": pattern,
                "description": about,
                "includes": pattern,
                **kind,
            }
            continue
        for path in group:
            name = path.relative_to(common).as_posix()
            with readable(path):
                content = {"contentSize": f"{path.stat().st_size} B", "sha256": raw_digest(path)}
            yield {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, **kind, **content}


def _records(name: str, key: str, about: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    fields = [
        {"@type": "cr:Field", "@id": f"{name}/{field}", "name": field, "dataType": TYPES[type(value)]}
        for field, value in rows[0].items()
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": about,
        "key": {"@id": f"{name}/{key}"},
        "field": fields,
        "data": [{f"{name}/{field}": value for field, value in row.items()} for row in rows],
    }
