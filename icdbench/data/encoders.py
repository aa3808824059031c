"""Pretrained encoders and their tokenisers: folders of a user's own, as Hugging Face's libraries write them.

`keep` takes what a user names into the cache, `named` and `tokenizer` read it back. A run stores an encoder as `encoder-…`
and the SHA-256 of its files, its data settings store the tokeniser as `tokenizer-…`, neither stores a path. The cache has
the configuration, the tokeniser and the path at which the weights were last seen; weights are not copied. They are read
from safetensors only, and no code of a folder is run: config.json must name a kind of encoder that transformers knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icdbench.data.cache import cache_root, keep_text, kept_text, make_private_folder, raw_digest
from icdbench.data.subwords import EXTRA, Subwords
from icdbench.files import parsed, read_json, regular, replacing
from icdbench.settings import DataError, SpecError, UnsuitableError, nearest
from icdbench.types import Encoder

FIELD = "encoder"  # the setting of models that need one
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
MOST_CONFIG, MOST_TOKENIZER = 1 << 20, 1 << 27  # bytes
BY_CONTENT = re.compile("(encoder|tokenizer)-[0-9a-f]{16}")
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
NEEDED = (CONFIG, TOKENIZER, "model*.safetensors", "model.safetensors.index.json")  # files fetched from the hub


@dataclass(frozen=True)
class Kept:
    """An encoder in the cache: its name by content, its tokeniser's, and its configuration."""

    name: str
    tokenizer: str
    config: Mapping[str, Any]


# --- What a user names -----------------------------------------------------------------------------------------------------


def keep(given: str, model: str) -> Kept:
    """The encoder that a user names for a model: a folder, a name on the hub, or the name by content of one in the cache.

    Raises UnsuitableError if none is named or a library is missing; SpecError or DataError if the encoder cannot be used.
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
    last, size = int(Subwords(text).ids.max()), config.get("vocab_size")
    if isinstance(size, int) and last >= size:
        raise DataError(
            f"{folder}: its tokeniser numbers tokens up to {last:,}, and its encoder has {size:,}; they do not belong together"
        )
    name = _name_by_content(folder)
    found = Kept(name, keep_text("tokenizer", text), config)
    keep_text("encoder", json.dumps({"tokenizer": found.tokenizer, "config": config}), name)
    if _weights_folder(name) != folder.resolve():
        remembered = _place(name)
        make_private_folder(remembered.parent)
        with replacing(remembered, private=True) as fresh:
            fresh.write_text(json.dumps(str(folder.resolve())), encoding="utf-8")
    return found


def tokenizer_by_content(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of data settings, with the path of a tokeniser replaced by its name by content. Raises SpecError, DataError."""
    given = str(changes.get("tokenizer") or "")
    if not given or BY_CONTENT.fullmatch(given):
        return dict(changes)
    path = Path(given).expanduser()
    path = path / TOKENIZER if path.is_dir() else path
    if not path.is_file():
        raise SpecError(f"data.tokenizer='{given}' is neither a folder with a {TOKENIZER} nor such a file")
    text = _text(path, MOST_TOKENIZER)
    Subwords(text)
    return {**changes, "tokenizer": keep_text("tokenizer", text)}


# --- In the cache ----------------------------------------------------------------------------------------------------------


def tokenizer(name: str) -> str:
    """The text of the tokenizer.json of that name by content. Raises SpecError if the name is empty or not in the cache."""
    if not name:
        raise SpecError(
            "data.tokens=subwords needs data.tokenizer=FOLDER, the folder of an encoder; a model with an encoder uses its own"
        )
    found = kept_text("tokenizer", name)
    if found is None:
        raise SpecError(f"{name} is no longer in the cache; name its folder again with data.tokenizer")
    return found


def named(name: object) -> Encoder | None:
    """The encoder of that name by content, with its weights; None for any other value. Raises SpecError, DataError."""
    if not isinstance(name, str) or not BY_CONTENT.fullmatch(name):
        return None
    found, folder = _kept(name), _weights_folder(name)
    if folder is None or not folder.is_dir():
        raise SpecError(f"the folder of {name} is gone ({folder}); name it again by its path")
    if _name_by_content(folder) != name:
        raise DataError(f"{folder} is no longer the encoder that this run was planned with ({name}); run it again")
    return Encoder(found.config, Subwords(tokenizer(found.tokenizer)).ids, folder)


def architecture(name: object) -> dict[str, Any] | None:
    """The configuration of the encoder of that name by content, for a bundle; None for any other value. Raises SpecError."""
    return dict(_kept(name).config) if isinstance(name, str) and BY_CONTENT.fullmatch(name) else None


def _kept(name: str) -> Kept:
    text = kept_text("encoder", name)
    if text is None:
        raise SpecError(f"{name} is no longer in the cache; repeat the command that trained with it to put it back")
    return Kept(name, **json.loads(text))


def _place(name: str) -> Path:
    """The file with the path at which an encoder's weights were last seen."""
    return cache_root() / "places" / name.partition("-")[2]


def _weights_folder(name: str) -> Path | None:
    """The folder in which an encoder's weights were last seen."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Path(read_json(_place(name)))
    return None


def _name_by_content(folder: Path) -> str:
    """The name of an encoder by content: by its configuration, tokeniser and weights."""
    paths = [folder / CONFIG, folder / TOKENIZER, *_weights(folder)]
    with _readable(folder):
        digests = [f"{path.name}\0{raw_digest(path)}" for path in paths]
    return f"encoder-{hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]}"


# --- Checks of a folder --------------------------------------------------------------------------------------------------


def _check_libraries(model: str) -> None:
    try:
        for library in ("tokenizers", "transformers"):
            importlib.import_module(library)
    except ImportError as error:
        raise UnsuitableError(f"{model} needs the library {error.name}, which is missing: {EXTRA}") from None


def _folder(given: str, key: str) -> Path:
    """The folder that a user names, or that of the hub's copy on this machine."""
    path = Path(given).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise SpecError(f"{key}='{given}' is a file; give the folder that it is in")
    if not HUB_NAME.fullmatch(given) or ("/" in given and path.parent.is_dir()):
        beside = [each.name for each in path.parent.glob("*") if each.is_dir()] if path.parent.is_dir() else []
        raise SpecError(f"{key}='{given}' is not a folder{nearest(path.name, beside, most=5) if beside else ''}")
    return _from_hub(given, key)


def _from_hub(name: str, key: str) -> Path:
    from huggingface_hub import snapshot_download

    reason = ""
    for local in (True, False):  # the network is used only for what was not fetched before
        try:
            return Path(snapshot_download(name, allow_patterns=list(NEEDED), local_files_only=local, etag_timeout=10))
        except (OSError, ValueError, RuntimeError) as error:  # of the hub, and of the network
            reason = " ".join(str(error).split())[:70] or type(error).__name__
    raise SpecError(
        f"{key}='{name}' is not a folder, and could not be fetched from the Hugging Face hub by this name ({reason}); copy the "
        "encoder to this machine and give its folder"
    )


def _configuration(folder: Path) -> dict[str, Any]:
    """The content of config.json. Raises DataError if the folder lacks any file of an encoder."""
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
    """The files of the weights. Raises DataError if there are none, or only pickled ones."""
    if found := sorted(folder.glob("model*.safetensors")):
        return found
    pickled = sorted(each.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for each in folder.glob(pattern))
    if pickled:
        raise DataError(
            f"{folder} has only pickled weights ({pickled[0]}), which can run code when they are loaded; if you trust them, "
            f"write them once as safetensors: python -c \"from transformers import AutoModel as A; A.from_pretrained('{folder}')"
            f".save_pretrained('{folder}')\""
        )
    raise DataError(f"{folder} has no weights (model.safetensors)")


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    """Raises DataError unless this is an encoder that transformers knows; a decoder or an encoder-decoder is not."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoConfig

    kind = config["model_type"]
    try:
        known = AutoConfig.for_model(**config)
    except Exception as error:  # noqa: BLE001  a damaged configuration may raise anything
        reason = "its own code is not run" if "auto_map" in config else " ".join(str(error).split())[:80]
        raise DataError(f"{folder}: this version of transformers has no encoder of kind '{kind}' ({reason})") from None
    decodes = getattr(known, "is_encoder_decoder", False) or getattr(known, "is_decoder", False)
    if decodes or type(known) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise DataError(
            f"{folder}, of kind '{kind}', is not a bidirectional encoder; use one, such as BERT, RoBERTa, ELECTRA, DeBERTa "
            "or ModernBERT"
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
