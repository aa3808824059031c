"""Pretrained encoders and their tokenisers: folders of a user's own, as Hugging Face's libraries write them.

A run knows an encoder by the SHA-256 of its files (`encoder-…`), its data know the tokeniser alone by that of its own
(`tokenizer-…`): never by a path. The cache keeps configuration and tokeniser, and where the weights were seen last; weights stay
where they are. Weights are read from safetensors only, and no code of a folder is run: config.json has to name a kind of
encoder that the transformers library knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icdbench.data.cache import cache_root, cached, kept, raw_digest
from icdbench.data.subwords import EXTRA, Subwords
from icdbench.files import parsed, read_json, regular, replacing
from icdbench.settings import DataError, SpecError, UnsuitableError, nearest
from icdbench.types import Encoder

FIELD = "encoder"  # of a model that needs one
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
MOST_CONFIG, MOST_TOKENIZER = 1 << 20, 1 << 27  # bytes
BY_CONTENT = re.compile("(encoder|tokenizer)-[0-9a-f]{16}")
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
NEEDED = (CONFIG, TOKENIZER, "model*.safetensors", "model.safetensors.index.json")  # of an encoder on the hub


@dataclass(frozen=True)
class Kept:
    """An encoder that the cache knows: its name by content and that of its tokeniser, and its configuration."""

    name: str
    tokenizer: str
    config: Mapping[str, Any]


# --- What a user names -----------------------------------------------------------------------------------------------------


def keep(given: str, model: str) -> Kept:
    """The encoder that a user names for a model: a folder, a name of the hub, or one by content that the cache has.

    Raises UnsuitableError for none, or without the libraries; SpecError and DataError, which say what is wrong with it.
    """
    key = f"{model}.encoder"
    if not given:
        raise UnsuitableError(
            f"{model} needs a pretrained encoder: --set {key}=FOLDER, a folder with {CONFIG}, {TOKENIZER} and "
            "model.safetensors, as Hugging Face's libraries write it (docs/data.md)"
        )
    _check_libraries(model)
    if BY_CONTENT.fullmatch(given):
        return _kept(given)
    folder = _folder(given, key)
    config, text = _configuration(folder), _text(folder / TOKENIZER, MOST_TOKENIZER)
    _check_kind(config, folder)
    tokens = Subwords(text)
    size = config.get("vocab_size")
    if isinstance(size, int) and int(tokens.ids.max()) >= size:
        raise DataError(
            f"{folder}: its tokeniser numbers tokens up to {int(tokens.ids.max()):,}, and its encoder has {size:,}; they do "
            "not belong together"
        )
    name = _content(folder)
    found = Kept(name, _keep_tokenizer(text), config)
    cached(_entry("encoders", name), lambda: found, _save, lambda place: _load(place, name))
    _remember_place(name, folder)
    return found


def tokenizer_by_content(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of data settings with the tokeniser, a folder or a tokenizer.json, by its content. Raises SpecError, DataError."""
    given = str(changes.get("tokenizer") or "")
    if not given or BY_CONTENT.fullmatch(given):
        return dict(changes)
    path = Path(given).expanduser()
    path = path / TOKENIZER if path.is_dir() else path
    if not path.is_file():
        raise SpecError(f"data.tokenizer='{given}' is neither a folder with a {TOKENIZER} nor such a file")
    text = _text(path, MOST_TOKENIZER)
    Subwords(text)
    return {**changes, "tokenizer": _keep_tokenizer(text)}


# --- What the cache has ------------------------------------------------------------------------------------------------------


def tokenizer(name: str) -> str:
    """The text of a tokeniser by its content. Raises SpecError if the cache has lost it, or for none."""
    if not name:
        raise SpecError(
            "data.tokens=subwords needs data.tokenizer=FOLDER, the folder of the encoder that they are of; a model with an "
            "encoder takes it from there"
        )
    found = kept(_entry("tokenizers", name), _load_tokenizer)
    if found is None:
        raise SpecError(f"{name} is no longer in the cache; name the folder that it is of, as when it was first used")
    return found


def named(name: object) -> Encoder | None:
    """The encoder that a run knows by content, with its weights; None for any other value. Raises SpecError, DataError."""
    if not isinstance(name, str) or not BY_CONTENT.fullmatch(name):
        return None
    found, folder = _kept(name), _place(name)
    if folder is None or not folder.is_dir():
        raise SpecError(f"the folder of {name} is gone ({folder}); name it again by its path")
    if _content(folder) != name:
        raise DataError(f"{folder} is no longer the encoder that this run was planned with ({name}); run it again")
    return Encoder(found.config, Subwords(tokenizer(found.tokenizer)).ids, folder)


def architecture(name: object) -> dict[str, Any] | None:
    """The configuration of an encoder by its content, which a bundle needs beside weights; None for any other value.

    Raises SpecError.
    """
    return dict(_kept(name).config) if isinstance(name, str) and BY_CONTENT.fullmatch(name) else None


def _kept(name: str) -> Kept:
    found = kept(_entry("encoders", name), lambda place: _load(place, name))
    if found is None:
        raise SpecError(
            f"{name} is no longer in the cache; the command that trained with it, given once more, puts it back"
        )
    return found


def _entry(kind: str, name: str) -> Path:
    return cache_root() / kind / name.partition("-")[2]


def _save(found: Kept, place: Path) -> None:
    (place / "encoder.json").write_text(json.dumps({"tokenizer": found.tokenizer, "config": found.config}))


def _load(place: Path, name: str) -> Kept:
    stored = read_json(place / "encoder.json")
    return Kept(name, stored["tokenizer"], stored["config"])


def _keep_tokenizer(text: str) -> str:
    name = f"tokenizer-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    place = _entry("tokenizers", name)
    cached(place, lambda: text, lambda each, folder: _write(folder / TOKENIZER, each), _load_tokenizer)
    return name


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode())


def _load_tokenizer(place: Path) -> str:
    return _text(place / TOKENIZER, MOST_TOKENIZER)


def _remember_place(name: str, folder: Path) -> None:
    note = _entry("places", name)
    if _place(name) != folder.resolve():
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(note, private=True) as fresh:
            fresh.write_text(json.dumps(str(folder.resolve())), encoding="utf-8")


def _place(name: str) -> Path | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Path(read_json(_entry("places", name)))
    return None


def _content(folder: Path) -> str:
    """The name of an encoder by content: of its configuration, tokeniser and weights."""
    paths = [folder / CONFIG, folder / TOKENIZER, *_weights(folder)]
    with _readable(folder):
        digests = [f"{path.name}\0{raw_digest(path)}" for path in paths]
    return f"encoder-{hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]}"


# --- What is wrong with a folder -----------------------------------------------------------------------------------------


def _check_libraries(model: str) -> None:
    try:
        import tokenizers
        import transformers  # noqa: F401
    except ImportError as error:
        raise UnsuitableError(f"{model} needs the library {error.name}, which is missing: {EXTRA}") from None
    del tokenizers


def _folder(given: str, key: str) -> Path:
    """The folder that a user names, or the hub's copy on this machine."""
    path = Path(given).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise SpecError(f"{key}='{given}' is a file; give the folder that it is in")
    if not HUB_NAME.fullmatch(given) or ("/" in given and path.parent.is_dir()):
        beside = [each.name for each in path.parent.glob("*") if each.is_dir()] if path.parent.is_dir() else []
        raise SpecError(f"{key}='{given}' is no folder{nearest(path.name, beside, most=5) if beside else ''}")
    return _from_hub(given, key)


def _from_hub(name: str, key: str) -> Path:
    from huggingface_hub import snapshot_download

    reason = ""
    for local in (True, False):  # what was fetched once is not asked for again
        try:
            return Path(snapshot_download(name, allow_patterns=list(NEEDED), local_files_only=local, etag_timeout=10))
        except (OSError, ValueError, RuntimeError) as error:  # of the hub, and of the network
            reason = " ".join(str(error).split())[:70] or type(error).__name__
    raise SpecError(
        f"{key}='{name}' is no folder, and could not be fetched from the Hugging Face hub by this name ({reason}); copy the "
        "encoder to this machine and give its folder"
    )


def _configuration(folder: Path) -> dict[str, Any]:
    """Its config.json, in a folder that has all else that is needed."""
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} has no {CONFIG}; it is not the folder of an encoder")
    _weights(folder)
    if not (folder / TOKENIZER).is_file():
        raise DataError(
            f'{folder} has no {TOKENIZER}; write it once: python -c "from transformers import AutoTokenizer as A; '
            f"A.from_pretrained('{folder}').save_pretrained('{folder}')\""
        )
    text = _text(folder / CONFIG, MOST_CONFIG)
    try:
        config = parsed(text)
    except ValueError as error:
        raise DataError(f"{folder / CONFIG} is damaged ({str(error)[:80]})") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise DataError(f"{folder / CONFIG} names no kind of model (model_type); it is not that of an encoder")
    return config


def _weights(folder: Path) -> list[Path]:
    """The files of its weights. Raises DataError for none, or for those that only unpickling reads."""
    if found := sorted(folder.glob("model*.safetensors")):
        return found
    pickled = sorted(each.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for each in folder.glob(pattern))
    if pickled:
        raise DataError(
            f"{folder} has pickled weights only ({pickled[0]}), which can run code when they are loaded; where you trust them, "
            f"write them once as safetensors: python -c \"from transformers import AutoModel as A; A.from_pretrained('{folder}')"
            f".save_pretrained('{folder}')\""
        )
    raise DataError(f"{folder} has no weights (model.safetensors)")


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    """Raises DataError for what is not an encoder that transformers knows, such as a decoder or both."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoConfig

    kind = config["model_type"]
    try:
        known = AutoConfig.for_model(**config)
    except Exception as error:  # noqa: BLE001  what a damaged configuration raises is not foreseen
        reason = "its own code is not run" if "auto_map" in config else " ".join(str(error).split())[:80]
        raise DataError(f"{folder}: this version of transformers has no encoder of kind '{kind}' ({reason})") from None
    decodes = getattr(known, "is_encoder_decoder", False) or getattr(known, "is_decoder", False)
    if decodes or type(known) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise DataError(
            f"{folder} is of kind '{kind}', which is not an encoder that reads both ways; BERT, RoBERTa, ELECTRA, DeBERTa, "
            "ModernBERT and others like them are"
        )


def _text(path: Path, most: int) -> str:
    try:
        with _readable(path), regular(path, most) as file:
            return file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start})") from None


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None
