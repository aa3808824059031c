"""What is wrong with documents, whatever their source: leaks between splits, codes in several spellings, texts without words.

`findings` looks at all documents, in time that grows with their words; `about_codes` at codes alone, which every run does.
Lines name ids and codes, shortened, SHOWN examples of them, and never a text.
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
SIMILAR = 0.7  # share of all their shingles that two near-equal texts have in common (Jaccard)
SKETCH = 128  # shingles of a document that are compared, those of the smallest hashes
PROBES = 16  # of these, which find the documents to compare
NEIGHBOURS = 4  # documents before it with which a document is compared, for each probe
CHUNK = 8192  # pairs that are compared at once

SHOWN = 3
MISREAD = re.compile("\ufffd|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac")  # replaced, or UTF-8 read as Latin-1
COMPLETE = 3  # characters of a code that needs no dot
# Letters of scripts that put no spaces between words: Thai to Tibetan, Burmese, Khmer, kana, Chinese.
UNSPACED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
CLAUSE = re.compile(rf"[{UNSPACED}]{{5,}}|[^\W\d_]{{41,}}")  # in a token: more than a word
MIX = [np.uint64(factor) for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)]
NOTHING = np.uint64(2**64 - 1)  # fills a sketch that has fewer hashes

Hashes = NDArray[np.uint64]
Pairs = Mapping[int, int]  # of positions: a document, and one of another split


class Finding(NamedTuple):
    """Something that is wrong: its kind, and the line that says it."""

    kind: str
    line: str


def inspected(opened: Source, report: Report = quiet) -> list[Finding]:
    """What is wrong with a data set's documents and codes, "notice" for what the source itself says. Raises DataError."""
    raw = opened.documents(report)
    divide(opened.name, raw.documents)
    counts = document_frequencies(document.codes for document in raw.documents)
    codes = tuple(counts)
    outside = opened.outside(codes)
    strange = [code for code in codes if code in outside]
    return [
        *(Finding("notice", notice) for notice in raw.notices),
        *findings(raw.documents, opened.data.words, report),
        *about_codes(counts, alike(codes), opened.titles(codes), strange),
    ]


def findings(documents: Sequence[Document], rule: Rule, report: Report = quiet) -> list[Finding]:
    """What is wrong with the documents, apart from their codes' spelling.

    Kinds: "equal" and "near-equal" texts in two splits, "group" in two splits, "no words", "no codes", "encoding", "clauses" for
    tokens, "no repeats" and "unseen" codes. Equal are texts of the same tokens. Near-equal are texts that share SIMILAR
    of their different sequences of SHINGLE words: exact up to SKETCH of them, else estimated from the SKETCH smallest
    hashes (Broder 1997). So a note of 30 words is found with one word changed, one of 300 with some fifteen.
    """
    lexicon = Lexicon(rule)
    words = lexicon.read([document.text for document in documents], report)
    equal = _equal(documents, words)
    near = _near(documents, words, lexicon.words)
    near = {place: other for place, other in near.items() if place not in equal}
    same = f"{100 * SIMILAR:.0f} % or more of the {SHINGLE}-word sequences are the same"
    empty = [document for document, length in zip(documents, words.lengths, strict=True) if not length]
    uncoded = [document for document in documents if not document.codes]
    found = [
        *_paired("equal", "texts that also occur in another split", documents, equal),
        *_paired("near-equal", f"texts with a near-equal one in another split, {same}", documents, near),
        *_groups(documents),
        *_listed("no words", "documents without a word that a model reads", documents, empty),
        *_listed("no codes", "documents without a code", documents, uncoded),
        *_listed(
            "encoding",
            "texts with characters of a wrong encoding, such as \ufffd or Ã¼ for ü (read the file in its own: --encoding)",
            documents,
            [document for document in documents if MISREAD.search(document.text)],
        ),
        *_listed(
            "clauses",
            "texts without spaces between words, whose tokens are clauses (put spaces between the words first)",
            documents,
            _unspaced(documents, words, lexicon.words),
        ),
    ]
    return [*found, *_codes(documents)]


def document_frequencies(codes: Iterable[Sequence[str]]) -> Counter[str]:
    """The number of documents that have each code, from the codes of each document; in order of first appearance."""
    return Counter(code for listed in codes for code in dict.fromkeys(listed))


def _paired(kind: str, what: str, documents: Sequence[Document], pairs: Pairs) -> Iterator[Finding]:
    if pairs:
        examples = [f"{_named(documents[place])} = {_named(documents[pairs[place]])}" for place in _examples(pairs)]
        by_split = _counted(documents[place] for place in pairs)
        yield Finding(kind, f"{what}: {len(pairs):,} ({by_split}), such as {', '.join(examples)}")


def _examples(pairs: Pairs) -> list[int]:
    """The first documents that have a partner, of each two that are each other's only one."""
    chosen: list[int] = []
    for place in sorted(pairs):
        if len(chosen) < SHOWN and pairs[place] not in chosen:
            chosen.append(place)
    return chosen


def _named(document: Document) -> str:
    return f"{shown(document.id)} ({document.split})"


def _counted(documents: Iterable[Document]) -> str:
    counts = Counter(document.split for document in documents)
    return ", ".join(f"{split} {counts[split]:,}" for split in SPLITS if counts[split])


def _listed(kind: str, what: str, documents: Sequence[Document], wrong: Sequence[Document]) -> Iterator[Finding]:
    if wrong:
        names = ", ".join(map(_named, wrong[:SHOWN]))
        yield Finding(kind, f"{what}: {len(wrong):,} of {len(documents):,} ({_counted(wrong)}), such as {names}")


def _groups(documents: Iterable[Document]) -> Iterator[Finding]:
    splits: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        if document.group:
            splits[document.group].add(document.split)
    torn = [group for group, among in splits.items() if len(among) > 1]
    if torn:
        among = {group: ", ".join(sorted(splits[group], key=SPLITS.index)) for group in torn[:SHOWN]}
        names = ", ".join(f"{shown(group)} ({found})" for group, found in among.items())
        what = "groups of documents in more than one split"
        yield Finding("group", f"{what}: {len(torn):,} of {len(splits):,}, such as {names}")


def _codes(documents: Sequence[Document]) -> Iterator[Finding]:
    """Codes of which nothing can be learned."""
    counts = document_frequencies(document.codes for document in documents)
    if counts and max(counts.values()) == 1:
        yield Finding(
            "no repeats",
            f"codes that occur in one document only, so that nothing can be learned: all {len(counts):,}, such as "
            f"{_quoted(counts)}; is each of these one code?",
        )
        return
    known, *others = (document_frequencies(each.codes for each in documents if each.split == split) for split in SPLITS)
    for split, asked in zip(SPLITS[1:], others, strict=True):
        if asked and known.keys().isdisjoint(asked):
            yield Finding(
                "unseen",
                f"codes of {split} that no training document has: all {len(asked):,}, such as {_quoted(asked)}",
            )


def _quoted(codes: Iterable[str]) -> str:
    return ", ".join(map(shown, islice(codes, SHOWN)))


# --- Codes ---------------------------------------------------------------------------------------------------------------


def alike(codes: Iterable[str]) -> list[tuple[str, ...]]:
    """Sets of codes that differ in case, dots or leading zeros only, each in order of first appearance.

    A dot in another place makes another code (396.1 and 39.61), and so does a missing one in a code of three characters
    (412 and 41.2), which is complete without.
    """
    spellings: dict[str, list[str]] = defaultdict(list)
    for code in dict.fromkeys(codes):
        spellings[_spelled(code).replace(".", "")].append(code)
    found: list[Sequence[str]] = []
    for codes_of in spellings.values():
        forms: dict[str, list[str]] = defaultdict(list)
        for code in codes_of:
            forms[_spelled(code)].append(code)
        undotted = [code for code in codes_of if "." not in _spelled(code) and len(code.strip(".")) > COMPLETE]
        found += [codes_of] if undotted else forms.values()
    return [tuple(each) for each in found if len(each) > 1]


def respelled(codes: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """The codes that are not known but differ from exactly one known code in dots or case alone, with that code.

    A dot in another place makes another code, as in `alike`; so do leading zeros (38.9 and 038.9).
    """
    names = dict.fromkeys(known)
    by_form: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_form[_form(name)].append(name)
    found = {}
    for code in codes:
        near = [name for name in by_form.get(_form(code), ()) if alike([name, code])]
        if code not in names and len(near) == 1:
            found[code] = near[0]
    return found


def _form(code: str) -> str:
    return composed(code).casefold().replace(".", "")


def _spelled(code: str) -> str:
    return composed(code).casefold().rstrip(".").lstrip("0")


def about_codes(
    counts: Mapping[str, int],
    spellings: Iterable[Sequence[str]],
    titles: Mapping[str, str],
    strange: Sequence[str] = (),
) -> list[Finding]:
    """What is wrong with codes: "spellings", "missing" and "system". `counts` are documents of each code.

    `spellings` come from `alike`; those that are all codes of their own, with titles of their own, are none (038.11 is a
    septicemia, 38.11 an endarterectomy). `strange` are codes outside the coding system.
    """
    found: list[Finding] = []
    same = [codes for codes in spellings if not _apart(codes, titles)]
    if same:
        what = "codes in several spellings, each counted as a code of its own (case, dots or leading zeros differ)"
        examples = "; ".join(" = ".join(map(shown, codes)) for codes in same[:SHOWN])
        found.append(Finding("spellings", f"{what}: {len(same):,}, such as {examples}"))
    if missing := [code for code in counts if code.lower() in NO_VALUES]:
        what = "codes that look like a missing value"
        found.append(Finding("missing", f"{what}: {len(missing):,}, such as {_quoted(missing)}"))
    if strange:
        what = "codes outside the data set's coding system"
        found.append(Finding("system", f"{what}: {len(strange):,} of {len(counts):,}, such as {_quoted(strange)}"))
    return found


def _apart(codes: Sequence[str], titles: Mapping[str, str]) -> bool:
    """Whether each has a title that no other has."""
    named = [titles.get(code, "") for code in codes]
    return all(named) and len(set(named)) == len(named)


# --- Texts ---------------------------------------------------------------------------------------------------------------


def _equal(documents: Sequence[Document], words: Ragged) -> dict[int, int]:
    """Documents whose tokens another split has too, each with one of these."""
    first: dict[bytes, dict[str, int]] = defaultdict(dict)  # of equal texts the first of each split
    keys = [hashlib.blake2b(read.tobytes(), digest_size=16).digest() for read in words.rows()]
    places = np.flatnonzero(words.lengths).tolist()
    for place in places:
        first[keys[place]].setdefault(documents[place].split, place)
    found = {}
    for place in places:
        others = [other for split, other in first[keys[place]].items() if split != documents[place].split]
        if others:
            found[place] = others[0]
    return found


def _near(documents: Sequence[Document], words: Ragged, names: Sequence[str]) -> dict[int, int]:
    """Documents with a near-equal text in another split, each with the most similar of those compared."""
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
    return {place: -other for place, (_, other) in sorted(best.items())}


def _sketches(words: Ragged, names: Sequence[str]) -> Hashes:
    """The smallest hashes of each document's shingles [N, SKETCH], sorted, and NOTHING where there are no more."""
    digests = b"".join(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    hash_V = np.frombuffer(digests, np.uint64)
    sketches_NK = np.full((len(words.lengths), SKETCH), NOTHING)
    for place, read in enumerate(words.rows()):
        hash_T = hash_V[read]
        count = len(hash_T) - SHINGLE + 1
        if count > 0:
            mixed = sum((hash_T[start : start + count] * MIX[start] for start in range(SHINGLE)), np.uint64(0))
            mixed = (mixed ^ (mixed >> np.uint64(31))) * MIX[1]
            smallest = np.unique(mixed ^ (mixed >> np.uint64(29)))[:SKETCH]
            sketches_NK[place, : len(smallest)] = smallest
    return sketches_NK


def _candidates(sketches_NK: Hashes, split_N: IntArray) -> IntArray:
    """Pairs of documents of different splits that share one of their first hashes [P, 2]; bounded for each document."""
    probes_NP = sketches_NK[:, :PROBES]
    places, columns = np.nonzero(probes_NP != NOTHING)
    hashes = probes_NP[places, columns]
    order = np.lexsort((places, hashes))
    places, hashes = places[order], hashes[order]
    begins = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]])) if len(hashes) else np.zeros(0, int)
    sizes = np.diff([*begins, len(hashes)])
    partners = []
    for split in range(len(SPLITS)):  # the first document of another split that has the hash
        ranks = np.where(split_N[places] == split, np.arange(len(places)), len(places))
        first = np.repeat(np.minimum.reduceat(ranks, begins), sizes) if len(begins) else ranks
        partners.append(first)
    for back in range(1, NEIGHBOURS + 1):
        earlier = np.arange(len(places)) - back
        inside = earlier >= np.repeat(begins, sizes)
        partners.append(np.where(inside, earlier, len(places)))
    found = [np.zeros((0, 2), np.int64)]
    for partner in partners:
        given = partner < len(places)
        pair = np.stack([places[given], places[partner[given]]], axis=1)
        found.append(np.sort(pair[split_N[pair[:, 0]] != split_N[pair[:, 1]]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _shares(one_PK: Hashes, other_PK: Hashes) -> NDArray[np.float64]:
    """The share of shingles that the two documents of each pair have in common [P]."""
    both = np.sort(np.concatenate([one_PK, other_PK], axis=1), axis=1)
    twice = (both[:, 1:] == both[:, :-1]) & (both[:, 1:] != NOTHING)
    new = np.concatenate([np.ones((len(both), 1), bool), ~twice], axis=1) & (both != NOTHING)
    rank = np.cumsum(new, axis=1)
    common = (twice & (rank[:, 1:] <= SKETCH)).sum(1)
    shares: NDArray[np.float64] = common / np.clip(rank[:, -1], 1, SKETCH)
    return shares


def _unspaced(documents: Sequence[Document], words: Ragged, names: Sequence[str]) -> list[Document]:
    """The documents of which clauses make up more than half."""
    length_V = np.array([len(name) for name in names], np.int64)
    clause_V = np.array([bool(CLAUSE.search(name)) for name in names], bool)
    if not clause_V.any():
        return []
    return [
        document
        for document, read in zip(documents, words.rows(), strict=True)
        if 2 * length_V[read][clause_V[read]].sum() > length_V[read].sum()
    ]
