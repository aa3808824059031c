"""Documents -> vocabulary -> flat arrays: `corpus` prepares a data set and caches it by its raw content and settings.

A word is known if at least `data.min_documents` documents have it: those of the training split, and those background
texts that the source counts (`Raw.counted_background`). With `data.code_terms` the words of all code names are known too.
The label set is the source's (`Raw.codes`), else that of `icdbench.data.label_set`. A document without any word becomes
a single unknown token.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unicodedata import unidata_version

import numpy as np

from icdbench.codes import Tree
from icdbench.data import code_names, encoders, label_set, marks, quality
from icdbench.data.cache import cache_root, cached, kept, save_arrays
from icdbench.data.source import Source, check_codes, divide
from icdbench.data.subwords import Subwords
from icdbench.data.tokens import Lexicon, Ragged, document_counts, spans, tokenize
from icdbench.files import parsed, regular
from icdbench.settings import DataError, SpecError
from icdbench.spec import DataSpec, Rule
from icdbench.types import SPLITS, UNKNOWN, Corpus, Document, Encoded, Hierarchy, IntArray, Report, Vocabulary, quiet

log = logging.getLogger("icdbench")

VERSION = "2"  # changes when equal input would be encoded differently
LAYOUT = "3"  # of the cached files; changes when the same encoding would be saved differently
# Fields of DataSpec that only later stages read.
LATER_FIELDS = {"max_tokens", "embeddings", "unit_vectors", "vectors_per_seed"}

MOST_LISTS = 1 << 30  # bytes of the words, codes and ids of a data set
_ARRAYS = ("tokens", "token_offsets", "codes", "code_offsets", "unseen")


def corpus(opened: Source, report: Report = quiet) -> Corpus:
    """The encoded data set, from the cache if that has an intact entry of this key. Raises DataError, SpecError."""
    raw_content = opened.fingerprint()
    key = _key(opened, raw_content)

    def build() -> Corpus:
        built = _build(opened, report, raw_content, key)
        if opened.fingerprint() != raw_content:
            raise DataError(f"files of data set '{opened.name}' changed while they were read; start again")
        return built

    return _for_models(cached(_folder(opened.name, key), build, _save, _load), opened.data.max_tokens)


def _for_models(corpus: Corpus, max_tokens: int) -> Corpus:
    """The data set as models read it: documents are cut to `max_tokens`, and the training split knows the code names."""
    splits = {name: replace(part, max_tokens=max_tokens) for name, part in corpus.splits.items()}
    splits["train"] = replace(splits["train"], descriptions=corpus.descriptions, names=corpus.names)
    return replace(corpus, splits=splits)


def tell(corpus: Corpus) -> None:
    """Log what is wrong with the data."""
    for notice in corpus.notices:
        log.warning("%s: %s", corpus.name, notice)


def remembered(opened: Source, raw_content: str) -> Corpus | None:
    """The encoded data set for raw data of this fingerprint if the cache has it, even where the raw data are gone."""
    found = kept(_folder(opened.name, _key(opened, raw_content)), _load)
    return found and _for_models(found, opened.data.max_tokens)


class Words:
    """A reader of words, in plain Python, which is fast enough for single texts."""

    def __init__(self, tokens: Sequence[str], rule: Rule) -> None:
        self.index, self.rule = {token: position for position, token in enumerate(tokens)}, rule

    def read(self, texts: Sequence[str]) -> Ragged:
        """The positions of each text's words, UNKNOWN for those outside the vocabulary."""
        return Ragged.of([[self.index.get(word, UNKNOWN) for word in tokenize(text, self.rule)] for text in texts])

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each word stands in the text."""
        return spans(text, self.rule)


Reader = Subwords | Words


def reader(vocabulary: Vocabulary, rule: Rule) -> Reader:
    """The reader for a vocabulary. Raises DataError, SpecError."""
    return Subwords(vocabulary.tokenizer) if vocabulary.tokenizer else Words(vocabulary.tokens, rule)


def notes(texts: Sequence[str], by: Reader, num_codes: int, max_tokens: int) -> Encoded:
    """Texts without codes, encoded for a model."""
    return without_codes(_fill_empty(by.read(texts)).rows(), num_codes, max_tokens)


def without_codes(rows: Sequence[IntArray], num_codes: int, max_tokens: int) -> Encoded:
    """Documents of these tokens, without codes."""
    codes, unseen = Ragged.of([[]] * len(rows)), np.zeros(len(rows), np.int32)
    return Encoded(("",) * len(rows), *Ragged.of(rows), *codes, unseen, num_codes, max_tokens)


def _key(opened: Source, raw_content: str) -> str:
    data = opened.data
    settings = data.model_dump(mode="json", exclude=LATER_FIELDS | data.unchosen | data.of_words)
    rules = [code_names.VERSION] if opened.data.code_terms else []
    content = [VERSION, unidata_version, *opened.title_versions(), *rules, opened.name, raw_content, settings]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def _folder(name: str, key: str) -> Path:
    return cache_root() / "encoded" / f"{name}-{key}.{LAYOUT}"


class _Labelled(NamedTuple):
    id: str
    codes: tuple[str, ...]
    marked: marks.DocumentMarks | None = None


def _build(opened: Source, report: Report, raw_content: str, key: str) -> Corpus:
    data, raw = opened.data, opened.documents(report)
    by_split = divide(opened.name, raw.documents)
    base_codes = label_set.of_training(by_split, data) if raw.codes is None else tuple(raw.codes)
    whole_system = "label_set" not in data.unchosen
    codes = label_set.of_system(base_codes, opened) if whole_system else base_codes
    frequencies = quality.document_frequencies(each.codes for documents in by_split.values() for each in documents)
    moved = _choose_training(by_split, data)
    tokenizer = _tokenizer(data)
    lexicon = Subwords(tokenizer) if tokenizer else Lexicon(data.words)
    words = {split: lexicon.read([document.text for document in by_split[split]], report) for split in SPLITS}
    background = lexicon.read(raw.background, report)
    labelled = {split: [_Labelled(each.id, each.codes) for each in by_split[split]] for split in SPLITS}
    if data.spans:
        found = marks.read(opened, by_split["train"], lexicon)
        labelled["train"] = [each._replace(marked=row) for each, row in zip(labelled["train"], found, strict=True)]
    # The texts take as much memory as all arrays that are made of them, so they are freed before more is made.
    del by_split
    raw = replace(raw, documents=(), background=())
    counted = [words["train"], Ragged(background.values, background.offsets[: raw.counted_background + 1])]
    counts = sum(
        (document_counts(*texts, len(lexicon.words)) for texts in counted), np.zeros(len(lexicon.words), np.int64)
    )
    check_codes(opened.name, codes)
    alike = [spellings for spellings in quality.alike(frequencies) if not set(codes).isdisjoint(spellings)]
    titles = opened.titles(tuple(dict.fromkeys([*codes, *(code for each in alike for code in each)])))
    names, name_notices = code_names.read(codes, titles, opened) if data.code_terms else ([], [])
    tokens, positions = tuple(lexicon.words), Ragged.of([range(len(lexicon.words))]).values
    if not tokenizer:
        documents = sum(len(texts.lengths) for texts in counted)
        name_words = {word for name in names for word in name.words}
        tokens, positions = _known_words(lexicon.words, counts, documents, data, name_words)
    tree = opened.tree(codes)
    outside = tree.outside if tree else ()
    findings = quality.about_codes({code: frequencies[code] for code in base_codes}, alike, titles, outside)
    vocabulary = Vocabulary(tokens, codes, tokenizer)
    by = reader(vocabulary, data.words)
    facts = {
        **raw.facts,
        "distinct_words": int((counts > 0).sum()),
        "background_documents": len(background.lengths),
        "codes_without_title": sum(code not in titles for code in codes),
        **({"codes_outside_hierarchy": len(outside)} if outside else {}),
        **({"validation_documents_in_training": moved} if moved else {}),
        **(label_set.facts(base_codes, labelled) if whole_system else {}),
        **({"fingerprint_without_spans": opened.without_spans().fingerprint()} if data.spans else {}),
    }
    return Corpus(
        name=opened.name,
        vocabulary=vocabulary,
        splits={
            split: _encode(labelled[split], words.pop(split), positions, codes, data, by_length=opened.by_length)
            for split in SPLITS
        },
        background=_encode([], background, positions, codes, data),
        descriptions=_encode_titles(codes, titles, by),
        fingerprint=raw_content,
        key=key,
        synthetic=opened.synthetic,
        facts=facts,
        hierarchy=_hierarchy(codes, tree, by) if tree else None,
        titles=tuple(titles.get(code, "") for code in codes),
        names=code_names.encode(names, tokens) if data.code_terms else None,
        notices=(*raw.notices, *name_notices, *(each.line for each in findings if each.kind not in opened.expected)),
    )


def _tokenizer(data: DataSpec) -> str:
    """The text of the tokenizer.json of subwords; empty for words. Raises SpecError."""
    if data.tokens == "words":
        return ""
    if data.code_terms:
        raise SpecError("data.code_terms=true reads names of codes word by word; leave it out, or data.tokens=subwords")
    return encoders.tokenizer(data.tokenizer)


def _encode_titles(names: Sequence[str], titles: Mapping[str, str], by: Reader) -> tuple[IntArray, ...]:
    """The title of each code or heading as token indices."""
    return tuple(by.read([titles.get(name, "") for name in names]).rows())


def _hierarchy(codes: Sequence[str], tree: Tree, by: Reader) -> Hierarchy:
    nodes = tuple(dict.fromkeys((*codes, *tree.parents, *tree.parents.values())))
    number = {name: position for position, name in enumerate(nodes)}
    parents = np.array([number[tree.parents[name]] if name in tree.parents else -1 for name in nodes], np.int32)
    ancestors = nodes[len(codes) :]
    return Hierarchy(parents, ancestors, _encode_titles(ancestors, tree.titles, by))


def _known_words(
    words: Sequence[str], counts: IntArray, documents: int, data: DataSpec, name_words: set[str]
) -> tuple[tuple[str, ...], IntArray]:
    """The vocabulary, in order of code points, and the position in it of each of the `words`.

    Known are words that at least `data.min_documents` documents have, and all `name_words`.
    """
    is_known = counts >= data.min_documents
    is_known |= np.array([word in name_words for word in words], np.bool_)
    known = sorted((words[number], number) for number in np.flatnonzero(is_known).tolist())
    if not known:
        raise SpecError(
            f"data.min_documents={data.min_documents}: no token is in that many of the {documents} training documents; "
            "set a smaller number"
        )
    positions = np.full(len(words), UNKNOWN, np.int32)
    positions[[number for _, number in known]] = np.arange(len(known)) + UNKNOWN + 1
    tokens = ("<padding>", "<unknown>", *(word for word, _ in known))
    return (*tokens, *sorted(name_words.difference(tokens))), positions


def _choose_training(by_split: dict[str, list[Document]], data: DataSpec) -> int:
    """Change the splits to what `data.train_on` and `data.fraction` say; return how many documents of validation moved."""
    moved = by_split["validation"] if data.train_on == "train+validation" else []
    if moved:
        by_split["validation"] = []
    by_split["train"] = _fraction(by_split["train"] + moved, data)
    return len(moved)


def _fraction(train: list[Document], data: DataSpec) -> list[Document]:
    """A random `data.fraction` of the training documents, rounded up, in their own order. Larger ones contain smaller ones.

    Raises SpecError if none of them has a code.
    """
    order = np.random.default_rng(data.fraction_seed).permutation(len(train))
    kept = [train[position] for position in np.sort(order[: math.ceil(round(data.fraction * len(train), 6))])]
    if not any(document.codes for document in kept):
        raise SpecError(
            f"data.fraction={data.fraction}: none of the {len(kept)} training documents that it keeps has a code; "
            "set a larger one, or another data.fraction_seed"
        )
    return kept


def _encode(
    documents: Sequence[_Labelled],
    words: Ragged,
    positions: IntArray,
    codes: Sequence[str],
    data: DataSpec,
    *,
    by_length: bool = False,
) -> Encoded:
    """The documents as arrays. `positions` maps the numbers in `words` to the vocabulary; background texts have no documents."""
    if by_length:
        order = np.argsort(words.lengths, kind="stable")
        documents = [documents[position] for position in order]
        words = Ragged.of([words.row(position) for position in order])
    code_index = {code: index for index, code in enumerate(codes)}
    gold = [set(document.codes) for document in documents]
    known = [sorted(code_index[code] for code in row if code in code_index) for row in gold]
    # With top_codes the other codes are another task, not missed ones.
    counted = known if data.top_codes is not None else gold
    unseen = [len(row) - len(known_row) for row, known_row in zip(counted, known, strict=True)]
    ids = tuple(document.id for document in documents)
    tokens = _fill_empty(Ragged(positions[words.values], words.offsets))
    marked = [each.marked for each in documents if each.marked is not None]
    arrays = marks.encode(marked, code_index) if marked else None
    return Encoded(ids, *tokens, *Ragged.of(known), np.array(unseen, np.int32), num_codes=len(codes), marks=arrays)


def _fill_empty(tokens: Ragged) -> Ragged:
    """The same rows, with an unknown token in each empty one."""
    empty = tokens.lengths == 0
    if not empty.any():
        return tokens
    offsets = np.concatenate([[0], np.cumsum(np.maximum(tokens.lengths, 1))])
    return Ragged(np.insert(tokens.values, tokens.offsets[:-1][empty], UNKNOWN), offsets)


def _save(built: Corpus, folder: Path) -> None:
    parts = {**built.splits, "background": built.background}
    for part, encoded in parts.items():
        save_arrays(folder, part, {name: getattr(encoded, name) for name in _ARRAYS})
    _save_titles(folder, "descriptions", built.descriptions)
    if built.names is not None:
        save_arrays(folder, "names", vars(built.names))
    if (marked := built.splits["train"].marks) is not None:
        save_arrays(folder, "marks", vars(marked))
    if built.hierarchy is not None:
        save_arrays(folder, "hierarchy", {"parents": built.hierarchy.parents})
        _save_titles(folder, "hierarchy", built.hierarchy.descriptions)
    text = {
        "tokens": built.vocabulary.tokens,
        **({"tokenizer": built.vocabulary.tokenizer} if built.vocabulary.tokenizer else {}),
        "codes": built.vocabulary.codes,
        "titles": built.titles,
        "notices": built.notices,
        "ids": {part: encoded.ids for part, encoded in parts.items()},
        "ancestors": built.hierarchy and built.hierarchy.ancestors,
        "corpus": {name: getattr(built, name) for name in ("name", "fingerprint", "key", "synthetic", "facts")},
    }
    (folder / "corpus.json").write_text(json.dumps(text), encoding="utf-8")


def _save_titles(folder: Path, name: str, titles: Sequence[IntArray]) -> None:
    tokens, offsets = Ragged.of(titles)
    save_arrays(folder, name, {"tokens": tokens, "offsets": offsets})


def _load(folder: Path) -> Corpus:
    with regular(folder / "corpus.json", MOST_LISTS) as file:
        stored = parsed(file.read())
    vocabulary = Vocabulary(tuple(stored["tokens"]), tuple(stored["codes"]), stored.get("tokenizer", ""))

    def array(name: str) -> IntArray:
        loaded: IntArray = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return loaded

    def rows(values: str, offsets: str, limit: int, count: int | None = None) -> Ragged:
        found = Ragged(array(values), array(offsets))
        _check(found, len(found.offsets) - 1 if count is None else count, limit)
        return found

    def part(name: str) -> Encoded:
        ids = tuple(stored["ids"][name])
        count = None if name == "background" else len(ids)  # background texts have no ids and no codes
        tokens = rows(f"{name}.tokens", f"{name}.token_offsets", len(vocabulary.tokens), count)
        codes = rows(f"{name}.codes", f"{name}.code_offsets", len(vocabulary.codes), len(ids))
        marked = marks.load(folder) if name == "train" else None
        unseen = array(f"{name}.unseen")
        return Encoded(ids, *tokens, *codes, unseen, num_codes=len(vocabulary.codes), marks=marked)

    def titles(name: str) -> tuple[IntArray, ...]:
        return tuple(rows(f"{name}.tokens", f"{name}.offsets", len(vocabulary.tokens)).rows())

    return Corpus(
        vocabulary=vocabulary,
        splits={split: part(split) for split in SPLITS},
        background=part("background"),
        descriptions=titles("descriptions"),
        hierarchy=Hierarchy(array("hierarchy.parents"), tuple(stored["ancestors"]), titles("hierarchy"))
        if stored["ancestors"] is not None
        else None,
        titles=tuple(stored["titles"]),
        notices=tuple(stored["notices"]),
        names=code_names.load(folder),
        **stored["corpus"],
    )


def _check(found: Ragged, rows: int, limit: int) -> None:
    """Raises ValueError unless this has that many rows, of numbers below `limit`."""
    values, offsets = found
    if not (values.dtype.kind == offsets.dtype.kind == "i" and values.ndim == offsets.ndim == 1):
        raise ValueError("an array is of another kind")
    if len(offsets) != rows + 1 or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise ValueError("an array has other rows")
    if len(values) and not (values.min() >= 0 and values.max() < limit):
        raise ValueError("an array has a number of no word or code")
