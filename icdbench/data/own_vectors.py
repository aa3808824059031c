"""Word vectors of a user's own file, in word2vec's text or binary format, compressed with gzip or not.

gensim reads them. What gensim's own `save` writes is a pickle, which can run code when it is loaded: it is refused, with the
line that converts it. A run knows the file by the SHA-256 of its content, never by its path.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from icdbench.data.cache import raw_digest
from icdbench.files import regular
from icdbench.settings import DataError, SpecError, nearest
from icdbench.spec import EMBEDDINGS, OWN_VECTORS
from icdbench.types import PADDING, UNKNOWN, Corpus, FloatArray

LONGEST_LINE = 1 << 20  # bytes of the first lines, which say what the format is
WIDEST = 1 << 16  # numbers of a vector
UNPACKED = 1100  # times that a gzip file can be larger unpacked


class _Format(NamedTuple):
    width: int
    binary: bool


def by_content(path: Path) -> str:
    """What a run calls the file: `file-` and 16 hex digits of the SHA-256 of its content. Raises SpecError, DataError."""
    if OWN_VECTORS.fullmatch(str(path)):
        raise SpecError(f"data.embeddings={path}: runs store only the content of a file of word vectors; give its path")
    if not path.is_file():
        raise SpecError(f"data.embeddings='{path}' is no file{nearest(str(path), EMBEDDINGS)}")
    _format(path)
    return f"file-{raw_digest(path)[:16]}"


def check_width(path: Path, width: int, model: str) -> None:
    """Raises SpecError if a model's word vectors have another length than those of the file."""
    found = _format(path).width
    if found != width:
        raise SpecError(
            f"the word vectors of {path.name} have {found} numbers, and {model}.embedding_size is {width}; add --set "
            f"{model}.embedding_size={found}"
        )


def read(path: Path, corpus: Corpus, width: int) -> tuple[FloatArray, dict[str, float]]:
    """The file's vectors for the vocabulary [V, width], in float32, and how many words and training tokens it covers.

    Words that the file lacks get random vectors of length one, padding zeros. Raises DataError.
    """
    found = _format(path)
    vectors, index = _load(path, found)
    if vectors.shape[1:] != (width,):
        raise DataError(f"{path}: its vectors have {found.width} numbers, not {width}")
    words = corpus.vocabulary.tokens
    made = np.random.default_rng(0).standard_normal((len(words), width)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    known = np.array([at for at, word in enumerate(words) if at > UNKNOWN and word in index], np.int64)
    made[known] = vectors[[index[words[at]] for at in known]]
    if not np.isfinite(made).all():
        raise DataError(f"{path}: vectors of some words are not finite numbers")
    made[PADDING] = 0
    tokens = corpus.splits["train"].tokens
    facts = {"vocabulary": len(words) - UNKNOWN - 1, "known_words": len(known)}
    return made, {**facts, "tokens": len(tokens), "known_tokens": int(np.isin(tokens, known).sum())}


def _load(path: Path, found: _Format) -> tuple[FloatArray, dict[str, int]]:
    from gensim.models import KeyedVectors

    logging.getLogger("gensim").setLevel(logging.ERROR)  # it warns of each word that occurs twice
    try:
        loaded = KeyedVectors.load_word2vec_format(str(path.resolve()), binary=found.binary, unicode_errors="replace")
    except (OSError, EOFError, zlib.error, ValueError, AssertionError, OverflowError, IndexError) as error:
        raise DataError(f"{path} is damaged, or no file of word vectors ({_reason(error)})") from None
    return loaded.vectors, loaded.key_to_index


def _format(path: Path) -> _Format:
    """The format, by the first two lines. Raises DataError for what is none, and for a size that the file cannot hold."""
    try:
        with regular(path) as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if packed else raw
            first, second = file.readline(LONGEST_LINE), file.readline(LONGEST_LINE)
        size = path.stat().st_size * (UNPACKED if packed else 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from None
    if packed and path.suffix != ".gz":
        raise DataError(f"{path} is compressed with gzip; call it {path.name}.gz")
    if first[:1] == b"\x80":
        raise DataError(
            f"{path} is a pickle, as gensim's save writes it, which can run code when it is loaded; write it as word2vec: "
            "KeyedVectors.load(FILE).save_word2vec_format('vectors.bin', binary=True)"
        )
    if first[:2] == b"PK" or first[:6] == b"\x93NUMPY":
        raise DataError(f"{path} holds arrays without words; word2vec's text or binary format is needed")
    header = first.split()
    if len(header) == 2 and all(map(bytes.isdigit, header)):
        words, width = map(int, header)
        binary = not _is_text(second, width)
        least = words * (2 + (4 if binary else 2) * width)
        if not (0 < width <= WIDEST and words > 0 and least <= size + 2 * words):
            raise DataError(
                f"{path} is damaged: it says it has {words:,} vectors of {width:,} numbers, for which it is too short"
            )
        return _Format(width, binary)
    if 2 < len(header) <= WIDEST and _is_text(first, len(header) - 1):
        raise DataError(
            f"{path} lacks the first line of word2vec's format, as GloVe's files do; add one: the number of words, a blank and "
            f"{len(header) - 1}"
        )
    raise DataError(f"{path} is no file of word vectors; word2vec's text or binary format is needed")


def _is_text(line: bytes, width: int) -> bool:
    """Whether a line is a word and so many numbers."""
    _, *numbers = line.split()
    try:
        return len(list(map(float, numbers))) == width
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
