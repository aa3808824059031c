"""Checks of the documents of any source: leaks between splits, codes in several spellings, texts without words.

`inspected` checks a whole data set; its time grows with the number of words. `about_codes` checks codes alone, as every
run does. Findings name up to SHOWN ids or codes, shortened, and never quote a text.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icdbench.data.source import Source, divide
from icdbench.data.sources.own_codes import NO_VALUES
from icdbench.data.tokens import Lexicon, Ragged
from icdbench.settings import shown
from icdbench.spec import Rule
from icdbench.types import SPLITS, Document, IntArray, Report, composed, quiet

SHINGLE = 3  # consecutive words
SIMILAR = 0.7  # Jaccard similarity of their shingles from which two texts are near-equal
SKETCH = 128  # shingles of a document that are compared: those of the smallest hashes
PROBES = 16  # shingles of a sketch by which the documents to compare are found
NEIGHBOURS = 4  # preceding documents with which a document is compared, for each probe
CHUNK = 8192  # pairs that are compared at once

SHOWN = 3
MISREAD = re.compile("\ufffd|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac")  # replaced, or UTF-8 read as Latin-1
COMPLETE = 3  # characters of a code that needs no dot
# Letters of scripts without spaces between words: Thai to Tibetan, Burmese, Khmer, kana, Chinese.
UNSPACED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
CLAUSE = re.compile(rf"[{UNSPACED}]{{5,}}|[^\W\d_]{{41,}}")  # in a token that is more than a word
MIX = [np.uint64(factor) for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)]
NOTHING = np.uint64(2**64 - 1)  # fills sketches of fewer hashes

Hashes = NDArray[np.uint64]
Pairs = Mapping[int, int]  # from a document's position to that of one in another split


class Finding(NamedTuple):
    """Something that is wrong with a data set: its kind, and a line for the user."""

    kind: str
    line: str


def inspected(opened: Source, report: Report = quiet) -> list[Finding]:
    """All findings about a data set's documents and codes; its source's notices have the kind "notice". Raises DataError."""
    raw = opened.documents(report)
    divide(opened.name, raw.documents)
    counts = document_frequencies(document.codes for document in raw.documents)
    codes = tuple(counts)
    outside = opened.outside(codes)
    return [
        *(Finding("notice", notice) for notice in raw.notices),
        *findings(raw.documents, opened.data.words, report),
        *about_codes(counts, alike(codes), opened.titles(codes), [code for code in codes if code in outside]),
    ]


def findings(documents: Sequence[Document], rule: Rule, report: Report = quiet) -> list[Finding]:
    """Findings about the documents, apart from the spelling of their codes.

    Kinds: "equal", "near-equal" and "group" (in two splits), "no words", "no codes", "encoding", "clauses" (as tokens), and
    "no repeats" and "unseen" (codes). Equal texts have the same tokens. Near-equal texts share SIMILAR of their distinct
    sequences of SHINGLE words: counted exactly up to SKETCH sequences, else estimated from the SKETCH smallest hashes
    (Broder 1997). So a note of 30 words is found with one word changed, one of 300 words with about fifteen.
    """
    lexicon = Lexicon(rule)
    words = lexicon.read([document.text for document in documents], report)
    equal = _equal_texts(documents, words)
    near = _near_equal_texts(documents, words, lexicon.words)
    near = {position: other for position, other in near.items() if position not in equal}
    same = f"{100 * SIMILAR:.0f} % or more of the {SHINGLE}-word sequences are the same"
    empty = [document for document, length in zip(documents, words.lengths, strict=True) if not length]
    uncoded = [document for document in documents if not document.codes]
    return [
        *_about_pairs("equal", "texts that also occur in another split", documents, equal),
        *_about_pairs("near-equal", f"texts with a near-equal one in another split, {same}", documents, near),
        *_about_groups(documents),
        *_about_documents("no words", "documents without a word that a model reads", documents, empty),
        *_about_documents("no codes", "documents without a code", documents, uncoded),
        *_about_documents(
            "encoding",
            "texts with characters of a wrong encoding, such as \ufffd or Ã¼ for ü (name the file's encoding: --encoding)",
            documents,
            [document for document in documents if MISREAD.search(document.text)],
        ),
        *_about_documents(
            "clauses",
            "texts without spaces between words, whose tokens are clauses (put spaces between the words first)",
            documents,
            _unspaced(documents, words, lexicon.words),
        ),
        *_about_learnability(documents),
    ]


def document_frequencies(codes: Iterable[Sequence[str]]) -> Counter[str]:
    """The number of documents with each code, given the codes of each document; in order of first appearance."""
    return Counter(code for document_codes in codes for code in dict.fromkeys(document_codes))


def _about_pairs(kind: str, what: str, documents: Sequence[Document], pairs: Pairs) -> Iterator[Finding]:
    if pairs:
        examples: list[int] = []
        for position in sorted(pairs):
            if len(examples) < SHOWN and pairs[position] not in examples:  # a pair is shown once
                examples.append(position)
        shown_pairs = [f"{_name(documents[position])} = {_name(documents[pairs[position]])}" for position in examples]
        by_split = _count_by_split(documents[position] for position in pairs)
        yield Finding(kind, f"{what}: {len(pairs):,} ({by_split}), such as {', '.join(shown_pairs)}")


def _name(document: Document) -> str:
    return f"{shown(document.id)} ({document.split})"


def _count_by_split(documents: Iterable[Document]) -> str:
    counts = Counter(document.split for document in documents)
    return ", ".join(f"{split} {counts[split]:,}" for split in SPLITS if counts[split])


def _about_documents(
    kind: str, what: str, documents: Sequence[Document], wrong: Sequence[Document]
) -> Iterator[Finding]:
    if wrong:
        names = ", ".join(map(_name, wrong[:SHOWN]))
        yield Finding(kind, f"{what}: {len(wrong):,} of {len(documents):,} ({_count_by_split(wrong)}), such as {names}")


def _about_groups(documents: Iterable[Document]) -> Iterator[Finding]:
    splits: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        if document.group:
            splits[document.group].add(document.split)
    torn = [group for group, group_splits in splits.items() if len(group_splits) > 1]
    if torn:
        names = ", ".join(
            f"{shown(group)} ({', '.join(sorted(splits[group], key=SPLITS.index))})" for group in torn[:SHOWN]
        )
        what = "groups of documents in more than one split"
        yield Finding("group", f"{what}: {len(torn):,} of {len(splits):,}, such as {names}")


def _about_learnability(documents: Sequence[Document]) -> Iterator[Finding]:
    """Findings about codes of which nothing can be learned."""
    counts = document_frequencies(document.codes for document in documents)
    if counts and max(counts.values()) == 1:
        yield Finding(
            "no repeats",
            f"codes that occur in one document only, so that nothing can be learned: all {len(counts):,}, such as "
            f"{_quoted(counts)}; is each of these one code?",
        )
        return
    train, *others = (document_frequencies(each.codes for each in documents if each.split == split) for split in SPLITS)
    for split, gold in zip(SPLITS[1:], others, strict=True):
        if gold and train.keys().isdisjoint(gold):
            what = f"codes of {split} that no training document has"
            yield Finding("unseen", f"{what}: all {len(gold):,}, such as {_quoted(gold)}")


def _quoted(codes: Iterable[str]) -> str:
    return ", ".join(map(shown, islice(codes, SHOWN)))


# --- Codes ---------------------------------------------------------------------------------------------------------------


def alike(codes: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of codes that differ only in case, dots or leading zeros, each in order of first appearance.

    Codes with their dots in different places are different (396.1 and 39.61), and so are a code of three characters, which
    needs no dot, and one with a dot (412 and 41.2).
    """
    by_characters: dict[str, list[str]] = defaultdict(list)
    for code in dict.fromkeys(codes):
        by_characters[_without_zeros(code).replace(".", "")].append(code)
    found: list[Sequence[str]] = []
    for group in by_characters.values():
        by_dot: dict[str, list[str]] = defaultdict(list)
        for code in group:
            by_dot[_without_zeros(code)].append(code)
        undotted = [code for code in group if "." not in _without_zeros(code) and len(code.strip(".")) > COMPLETE]
        found += [group] if undotted else by_dot.values()
    return [tuple(each) for each in found if len(each) > 1]


def respelled(codes: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """The unknown codes that differ only in dots or case from exactly one known code, each with that code.

    Codes with their dots in different places are different, as in `alike`; so are codes with other leading zeros (38.9
    and 038.9).
    """
    known_codes = dict.fromkeys(known)
    by_characters: dict[str, list[str]] = defaultdict(list)
    for name in known_codes:
        by_characters[_without_dots(name)].append(name)
    found = {}
    for code in codes:
        near = [name for name in by_characters.get(_without_dots(code), ()) if alike([name, code])]
        if code not in known_codes and len(near) == 1:
            found[code] = near[0]
    return found


def _without_dots(code: str) -> str:
    return composed(code).casefold().replace(".", "")


def _without_zeros(code: str) -> str:
    return composed(code).casefold().rstrip(".").lstrip("0")


def about_codes(
    counts: Mapping[str, int],
    spellings: Iterable[Sequence[str]],
    titles: Mapping[str, str],
    outside: Sequence[str] = (),
) -> list[Finding]:
    """Findings about codes: "spellings", "missing" and "system". `counts` are the numbers of documents with each code.

    `spellings` come from `alike`; groups in which each code has a title of its own are different codes (038.11 is a
    septicemia, 38.11 an endarterectomy). `outside` are codes outside the coding system.
    """
    found: list[Finding] = []
    same = [codes for codes in spellings if not _have_own_titles(codes, titles)]
    if same:
        what = "codes in several spellings, each counted as a code of its own (case, dots or leading zeros differ)"
        examples = "; ".join(" = ".join(map(shown, codes)) for codes in same[:SHOWN])
        found.append(Finding("spellings", f"{what}: {len(same):,}, such as {examples}"))
    if missing := [code for code in counts if code.lower() in NO_VALUES]:
        what = "codes that look like a missing value"
        found.append(Finding("missing", f"{what}: {len(missing):,}, such as {_quoted(missing)}"))
    if outside:
        what = "codes outside the data set's coding system"
        found.append(Finding("system", f"{what}: {len(outside):,} of {len(counts):,}, such as {_quoted(outside)}"))
    return found


def _have_own_titles(codes: Sequence[str], titles: Mapping[str, str]) -> bool:
    """Whether each code has a title that no other has."""
    code_titles = [titles.get(code, "") for code in codes]
    return all(code_titles) and len(set(code_titles)) == len(code_titles)


# --- Texts ---------------------------------------------------------------------------------------------------------------


def _equal_texts(documents: Sequence[Document], words: Ragged) -> dict[int, int]:
    """Positions of the documents with the same tokens as one of another split, each with that one's position."""
    first: dict[bytes, dict[str, int]] = defaultdict(dict)  # by tokens: the first document of each split
    keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in words.rows()]
    positions = np.flatnonzero(words.lengths).tolist()
    for position in positions:
        first[keys[position]].setdefault(documents[position].split, position)
    found = {}
    for position in positions:
        others = [other for split, other in first[keys[position]].items() if split != documents[position].split]
        if others:
            found[position] = others[0]
    return found


def _near_equal_texts(documents: Sequence[Document], words: Ragged, names: Sequence[str]) -> dict[int, int]:
    """Positions of the documents with a near-equal text in another split, each with that of the most similar one."""
    split_N = np.array([SPLITS.index(document.split) for document in documents])
    sketches_NK = _sketches(words, names)
    best: dict[int, tuple[float, int]] = {}
    pairs_P2 = _candidates(sketches_NK, split_N)
    for start in range(0, len(pairs_P2), CHUNK):
        chunk = pairs_P2[start : start + CHUNK]
        shares_P = _shares(sketches_NK[chunk[:, 0]], sketches_NK[chunk[:, 1]])
        close = shares_P >= SIMILAR
        for (one, other), share in zip(chunk[close].tolist(), shares_P[close].tolist(), strict=True):
            best[one] = max(best.get(one, (0.0, 0)), (share, -other))
            best[other] = max(best.get(other, (0.0, 0)), (share, -one))
    return {position: -other for position, (_, other) in sorted(best.items())}


def _sketches(words: Ragged, names: Sequence[str]) -> Hashes:
    """The smallest hashes of each document's shingles [N, SKETCH], sorted and filled up with NOTHING."""
    digests = b"".join(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    hash_V = np.frombuffer(digests, np.uint64)
    sketches_NK = np.full((len(words.lengths), SKETCH), NOTHING)
    for position, row in enumerate(words.rows()):
        hash_T = hash_V[row]
        count = len(hash_T) - SHINGLE + 1
        if count > 0:
            mixed = sum((hash_T[start : start + count] * MIX[start] for start in range(SHINGLE)), np.uint64(0))
            mixed = (mixed ^ (mixed >> np.uint64(31))) * MIX[1]
            smallest = np.unique(mixed ^ (mixed >> np.uint64(29)))[:SKETCH]
            sketches_NK[position, : len(smallest)] = smallest
    return sketches_NK


def _candidates(sketches_NK: Hashes, split_N: IntArray) -> IntArray:
    """Pairs of documents of different splits that share one of their first PROBES hashes [P, 2].

    The number of pairs is bounded for each document, so that the time is linear in the number of documents.
    """
    probes_NP = sketches_NK[:, :PROBES]
    rows, columns = np.nonzero(probes_NP != NOTHING)
    hashes = probes_NP[rows, columns]
    order = np.lexsort((rows, hashes))
    rows, hashes = rows[order], hashes[order]
    begins = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]])) if len(hashes) else np.zeros(0, int)
    sizes = np.diff([*begins, len(hashes)])
    partners = []
    for split in range(len(SPLITS)):  # the first document of another split that has the hash
        ranks = np.where(split_N[rows] == split, np.arange(len(rows)), len(rows))
        first = np.repeat(np.minimum.reduceat(ranks, begins), sizes) if len(begins) else ranks
        partners.append(first)
    for back in range(1, NEIGHBOURS + 1):
        earlier = np.arange(len(rows)) - back
        inside = earlier >= np.repeat(begins, sizes)
        partners.append(np.where(inside, earlier, len(rows)))
    found = [np.zeros((0, 2), np.int64)]
    for partner in partners:
        present = partner < len(rows)
        pair = np.stack([rows[present], rows[partner[present]]], axis=1)
        found.append(np.sort(pair[split_N[pair[:, 0]] != split_N[pair[:, 1]]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _shares(one_PK: Hashes, other_PK: Hashes) -> NDArray[np.float64]:
    """The estimated Jaccard similarity of the two documents of each pair [P]."""
    both = np.sort(np.concatenate([one_PK, other_PK], axis=1), axis=1)
    twice = (both[:, 1:] == both[:, :-1]) & (both[:, 1:] != NOTHING)
    new = np.concatenate([np.ones((len(both), 1), bool), ~twice], axis=1) & (both != NOTHING)
    rank = np.cumsum(new, axis=1)
    common = (twice & (rank[:, 1:] <= SKETCH)).sum(1)
    shares: NDArray[np.float64] = common / np.clip(rank[:, -1], 1, SKETCH)
    return shares


def _unspaced(documents: Sequence[Document], words: Ragged, names: Sequence[str]) -> list[Document]:
    """The documents of whose characters more than half are in clauses."""
    length_V = np.array([len(name) for name in names], np.int64)
    clause_V = np.array([bool(CLAUSE.search(name)) for name in names], bool)
    if not clause_V.any():
        return []
    return [
        document
        for document, row in zip(documents, words.rows(), strict=True)
        if 2 * length_V[row][clause_V[row]].sum() > length_V[row].sum()
    ]
