"""Small encoders for tests: two layers of random numbers, with a WordPiece tokeniser made from the texts of tests."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from icdbench.types import Encoder

# Of two layers; vectors are larger than usual, so that a few steps train them.
SMALL_ENCODER: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 60,
    "max_position_embeddings": 128,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.1,
}
UNKNOWN = "[UNK]"
RANDOM = Encoder(SMALL_ENCODER)
WORDS = (
    "sepsis fever heart failure edema diabetes insulin the patient was admitted and went home, walked slept ate only",
)


def settings(name: str, needs: Iterable[str]) -> dict[str, str]:
    """What has to be set of a model that needs an encoder; nothing for others."""
    return {f"{name}.encoder": str(folder())} if "encoder" in needs else {}


@functools.cache
def folder() -> Path:
    """The folder of a small encoder, which is there as long as the process, and which no test changes."""
    place = tempfile.TemporaryDirectory(prefix="encoder-")
    _kept(place)
    return write(Path(place.name) / "encoder")


@functools.cache
def _kept(place: tempfile.TemporaryDirectory[str]) -> tempfile.TemporaryDirectory[str]:
    return place


def write(place: Path, texts: Iterable[str] = WORDS, **changes: Any) -> Path:
    """A folder with an encoder over the subwords of the texts."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import AutoConfig, AutoModel

    # What the library's own trainer makes differs from process to process.
    words = sorted({word for text in texts for word in re.findall(r"[a-z]+", text)})
    letters = sorted(set("".join(words)))
    special = ["[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *".,", *letters, *(f"##{each}" for each in letters), *words]
    numbers = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=UNKNOWN))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.enable_truncation(8)  # as encoders of sentences have it
    place.mkdir(parents=True)
    tokenizer.save(str(place / "tokenizer.json"))
    config = AutoConfig.for_model(**{**SMALL_ENCODER, "vocab_size": tokenizer.get_vocab_size(), **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(place)  # type: ignore[no-untyped-call]
    return place
