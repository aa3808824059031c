"""Word vectors from a user's own file, in word2vec's text or binary format, compressed with gzip or not.

gensim reads the file. Files of gensim's own `save` are pickles, which can run code when they are loaded, so they are
refused with the line that converts them. A run stores the SHA-256 of the file's content, never its path.
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

LONGEST_LINE = 1 << 20  # bytes of the first two lines, which tell the format
WIDEST = 1 << 16  # numbers in a vector
UNPACKED = 1100  # how many times larger a gzip file can be when unpacked


class _Format(NamedTuple):
    width: int
    binary: bool


def by_content(path: Path) -> str:
    """The file's name in runs: `file-` and 16 hex digits of the SHA-256 of its content. Raises SpecError, DataError."""
    if OWN_VECTORS.fullmatch(str(path)):
        raise SpecError(f"data.embeddings={path}: runs store only the content of a file of word vectors; give its path")
    if not path.is_file():
        raise SpecError(f"data.embeddings='{path}' is not a file{nearest(str(path), EMBEDDINGS)}")
    _format(path)
    return f"file-{raw_digest(path)[:16]}"


def check_width(path: Path, width: int, model: str) -> None:
    """Raises SpecError if the file's vectors do not have the width of the model's word vectors."""
    found = _format(path).width
    if found != width:
        raise SpecError(
            f"the word vectors of {path.name} have {found} numbers, and {model}.embedding_size is {width}; add --set "
            f"{model}.embedding_size={found}"
        )


def read(path: Path, corpus: Corpus, width: int) -> tuple[FloatArray, dict[str, float]]:
    """The file's vectors for the vocabulary [V, width], float32, and the numbers of words and training tokens they cover.

    Words that the file lacks get random unit vectors, padding gets zeros. Raises DataError.
    """
    from gensim.models import KeyedVectors

    found = _format(path)
    logging.getLogger("gensim").setLevel(logging.ERROR)  # it warns of each word that occurs twice
    try:
        file = KeyedVectors.load_word2vec_format(str(path.resolve()), binary=found.binary, unicode_errors="replace")
    except (OSError, EOFError, zlib.error, ValueError, AssertionError, OverflowError, IndexError) as error:
        raise DataError(f"{path} is damaged, or not a file of word vectors ({_reason(error)})") from None
    if file.vectors.shape[1:] != (width,):
        raise DataError(f"{path}: its vectors have {found.width} numbers, not {width}")
    words = corpus.vocabulary.tokens
    vectors = np.random.default_rng(0).standard_normal((len(words), width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = file.key_to_index
    covered = np.array([at for at, word in enumerate(words) if at > UNKNOWN and word in index], np.int64)
    vectors[covered] = file.vectors[[index[words[at]] for at in covered]]
    if not np.isfinite(vectors).all():
        raise DataError(f"{path}: vectors of some words are not finite numbers")
    vectors[PADDING] = 0
    tokens = corpus.splits["train"].tokens
    return vectors, {
        "vocabulary": len(words) - UNKNOWN - 1,
        "known_words": len(covered),
        "tokens": len(tokens),
        "known_tokens": int(np.isin(tokens, covered).sum()),
    }


def _format(path: Path) -> _Format:
    """The format, told by the first two lines. Raises DataError for other files, and for a size that the file cannot hold."""
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
                f"{path} is damaged: its header announces {words:,} vectors of {width:,} numbers, but the file is too short"
            )
        return _Format(width, binary)
    if 2 < len(header) <= WIDEST and _is_text(first, len(header) - 1):
        raise DataError(
            f"{path} lacks the first line of word2vec's format, as GloVe's files do; add one: the number of words, a blank and "
            f"{len(header) - 1}"
        )
    raise DataError(f"{path} is not a file of word vectors; word2vec's text or binary format is needed")


def _is_text(line: bytes, width: int) -> bool:
    """Whether a line is a word and `width` numbers."""
    _, *numbers = line.split()
    try:
        return len(list(map(float, numbers))) == width
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
