"""Documents -> vocabulary -> flat arrays, cached under a key of raw content and settings.

Tokens are what CAML's preparation makes of a note: runs of word characters (Unicode `\\w+`), those that are wholly
numeric (`str.isnumeric`) dropped, the rest in lower case. A token is known if `data.min_documents` training documents
have it. The label set is the codes seen in training, or the `data.top_codes` most frequent of them (ties by first
appearance). A document without any token becomes a single unknown token.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from unicodedata import unidata_version

import numpy as np

from icdbench.datasets import Raw, Source, divide, fingerprint
from icdbench.files import cache_root, cached
from icdbench.spec import DataError, DataSpec, SpecError
from icdbench.types import SPLITS, UNKNOWN, Corpus, Document, Encoded, IntArray, Vocabulary

VERSION = "1"  # changes when equal input would be encoded differently
LATER_FIELDS = {"max_tokens", "embeddings", "unit_vectors"}  # fields of DataSpec that only later stages read

_WORD = re.compile(r"\w+")
_ARRAYS = ("tokens", "token_offsets", "codes", "code_offsets", "unseen")


def tokenize(text: str) -> list[str]:
    """The tokens of a note; see the module's docstring."""
    return [word.lower() for word in _WORD.findall(text) if not word.isnumeric()]


def corpus(origin: Source, root: Path, data: DataSpec) -> Corpus:
    """The encoded data set, from the cache if it holds one of this key that is intact. Raises DataError, SpecError."""
    raw_content = fingerprint(origin, root, data)
    settings = data.model_dump(mode="json", exclude=LATER_FIELDS)
    content = [VERSION, unidata_version, version("simple-icd-10-cm"), origin.name, raw_content, settings]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]

    def build() -> Corpus:
        built = _build(origin, root, data, raw_content, key)
        if fingerprint(origin, root, data) != raw_content:
            raise DataError(f"files of data set '{origin.name}' changed while they were read; start again")
        return built

    return cached(cache_root() / "encoded" / f"{origin.name}-{key}", build, _save, _load)


def _build(origin: Source, root: Path, data: DataSpec, raw_content: str, key: str) -> Corpus:
    raw = origin.read(root, data)
    by_split = divide(origin.name, raw.documents)
    tokens = {split: [tokenize(document.text) for document in documents] for split, documents in by_split.items()}
    vocabulary = Vocabulary(_known_tokens(tokens["train"], data), _label_set(by_split["train"], data))
    titles = origin.titles(vocabulary.codes, root, data)
    untitled = sum(code not in titles for code in vocabulary.codes)
    token_index = {token: index for index, token in enumerate(vocabulary.tokens)}
    background = [tokenize(text) for text in raw.background]
    return Corpus(
        name=origin.name,
        vocabulary=vocabulary,
        splits={split: _encode(by_split[split], tokens[split], vocabulary, token_index, data) for split in SPLITS},
        background=_encode([], background, vocabulary, token_index, data),
        descriptions=tuple(_indices(tokenize(titles.get(code, "")), token_index) for code in vocabulary.codes),
        fingerprint=raw_content,
        key=key,
        synthetic=origin.synthetic,
        facts=_facts(raw, untitled),
    )


def _known_tokens(documents: Sequence[Sequence[str]], data: DataSpec) -> tuple[str, ...]:
    counts = Counter(token for tokens in documents for token in set(tokens))
    known = sorted(token for token, count in counts.items() if count >= data.min_documents)
    if not known:
        raise SpecError(
            f"data.min_documents={data.min_documents}: no token is in that many of the {len(documents)} training "
            "documents; set a smaller number"
        )
    return ("<padding>", "<unknown>", *known)


def _label_set(train: Sequence[Document], data: DataSpec) -> tuple[str, ...]:
    counts = Counter(code for document in train for code in document.codes)
    if data.top_codes is None:
        return tuple(sorted(counts))
    if data.top_codes > len(counts):
        raise SpecError(
            f"data.top_codes={data.top_codes}, but training has only {len(counts)} codes; set at most that, or none for all"
        )
    return tuple(sorted(code for code, _ in counts.most_common(data.top_codes)))  # ties: first appearance


def _encode(
    documents: Sequence[Document],
    tokens: Sequence[Sequence[str]],
    vocabulary: Vocabulary,
    token_index: dict[str, int],
    data: DataSpec,
) -> Encoded:
    code_index = {code: index for index, code in enumerate(vocabulary.codes)}
    known = [[code_index[code] for code in document.codes if code in code_index] for document in documents]
    # With top_codes the other codes are another task, not missed ones.
    total = [len(document.codes) for document in documents] if data.top_codes is None else [len(row) for row in known]
    token_arrays = [_indices(words, token_index) if words else np.array([UNKNOWN], np.int32) for words in tokens]
    return Encoded(
        ids=tuple(document.id for document in documents),
        tokens=_flat(token_arrays, np.int32),
        token_offsets=_offsets(map(len, token_arrays)),
        codes=_flat([sorted(row) for row in known], np.int32),
        code_offsets=_offsets(map(len, known)),
        unseen=np.array([count - len(row) for count, row in zip(total, known, strict=True)], dtype=np.int32),
    )


def _indices(words: Sequence[str], token_index: dict[str, int]) -> IntArray:
    return np.fromiter((token_index.get(word, UNKNOWN) for word in words), dtype=np.int32, count=len(words))


def _flat(rows: Sequence[Sequence[int] | IntArray], dtype: type[np.int32]) -> IntArray:
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(row, dtype) for row in rows)])


def _offsets(lengths: Iterable[int]) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.fromiter(lengths, dtype=np.int64))])


def _facts(raw: Raw, untitled: int) -> dict[str, object]:
    return {**raw.facts, "background_documents": len(raw.background), "codes_without_title": untitled}


def _save(built: Corpus, folder: Path) -> None:
    parts = {**built.splits, "background": built.background}
    for part, encoded in parts.items():
        for name in _ARRAYS:
            np.save(folder / f"{part}.{name}.npy", getattr(encoded, name), allow_pickle=False)
    np.save(folder / "descriptions.tokens.npy", _flat(built.descriptions, np.int32))
    np.save(folder / "descriptions.offsets.npy", _offsets(map(len, built.descriptions)))
    text = {
        "tokens": built.vocabulary.tokens,
        "codes": built.vocabulary.codes,
        "ids": {part: encoded.ids for part, encoded in parts.items()},
        "corpus": {name: getattr(built, name) for name in ("name", "fingerprint", "key", "synthetic", "facts")},
    }
    (folder / "corpus.json").write_text(json.dumps(text), encoding="utf-8")


def _load(folder: Path) -> Corpus:
    text = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))

    def array(name: str) -> IntArray:
        loaded: IntArray = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return loaded

    def part(name: str) -> Encoded:
        return Encoded(tuple(text["ids"][name]), *(array(f"{name}.{field}") for field in _ARRAYS))

    offsets = array("descriptions.offsets")
    return Corpus(
        vocabulary=Vocabulary(tuple(text["tokens"]), tuple(text["codes"])),
        splits={split: part(split) for split in SPLITS},
        background=part("background"),
        descriptions=tuple(np.split(array("descriptions.tokens"), offsets[1:-1])),
        **text["corpus"],
    )
