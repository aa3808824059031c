"""Systems that tests share: every registered model and variant at a small size, and a task of a few words and codes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoders import RANDOM, SMALL_ENCODER
from finished import once
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import nn

from icdbench import registry
from icdbench.inference import bundle
from icdbench.inference.predict import Predictor
from icdbench.types import UNKNOWN, Batch, Encoded, Hierarchy, Marks, Names, Task, Weights

NUM_TOKENS, NUM_CODES, WIDEST = 60, 7, 256
CODES = tuple(f"{number}.0" for number in range(NUM_CODES))


def encoded(texts: Sequence[Sequence[int]], codes: Sequence[Sequence[int]], max_tokens: int = 100) -> Encoded:
    """Documents given as token and code indices; each code is marked at token 2 + 3·l if that is there, else at the first."""
    marked = [
        (code, text.index(2 + 3 * code) if 2 + 3 * code in text else 0)
        for text, row in zip(texts, codes, strict=True)
        for code in row
    ]
    return Encoded(
        ids=tuple(str(number) for number in range(len(texts))),
        tokens=np.array([token for text in texts for token in text], dtype=np.int32),
        token_offsets=np.cumsum([0, *map(len, texts)]),
        codes=np.array([code for row in codes for code in row], dtype=np.int32),
        code_offsets=np.cumsum([0, *map(len, codes)]),
        unseen=np.zeros(len(texts), np.int32),
        num_codes=NUM_CODES,
        max_tokens=max_tokens,
        marks=Marks(
            np.array([at for _, at in marked], np.int32), np.arange(len(marked) + 1),
            np.array([code for code, _ in marked], np.int32), np.cumsum([0, *map(len, codes)]),
        ),
    )  # fmt: skip


def learnable(documents: int, seed: int = 0, shortest: int = 1, longest: int = 30) -> Encoded:
    """Documents whose codes are certain tokens: token 2 + 3·l stands for code l."""
    generator = np.random.default_rng(seed)
    texts, codes = [], []
    for _ in range(documents):
        chosen = np.flatnonzero(generator.random(NUM_CODES) < 0.3)
        length = int(generator.integers(max(shortest, len(chosen), 1), longest + 1))
        text = [*(2 + 3 * chosen), *generator.integers(30, NUM_TOKENS, length - len(chosen))]
        generator.shuffle(text)
        texts.append(text)
        codes.append(chosen.tolist())
    return encoded(texts, codes)


def padded(texts: Sequence[Sequence[int]], width: int | None = None) -> Batch:
    """A batch of documents given as token indices, padded to `width` or the longest."""
    lengths = [len(text) for text in texts]
    tokens_BT = torch.zeros(len(texts), width or max(lengths), dtype=torch.long)
    for row, text in enumerate(texts):
        tokens_BT[row, : len(text)] = torch.as_tensor(text)
    labels_BL = torch.zeros(len(texts), NUM_CODES)
    return Batch(tokens_BT, torch.as_tensor(lengths), labels_BL, torch.arange(len(texts)))


def small_task(width: int | None = None, *, described: bool = True) -> Task:
    """A task of NUM_TOKENS words and NUM_CODES codes; the last code has no title, nor another name.

    Codes 0 and 1 stand below code 2; 2, 3 and 4 below a titled heading; that and 5 below a root; 6 below another.
    """
    vectors = None
    if width is not None:
        vectors = np.random.default_rng(1).standard_normal((NUM_TOKENS, width)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[0] = 0
    titles = tuple(np.array([2 + 3 * code, 40 + code], np.int32) for code in range(NUM_CODES - 1))
    none = np.zeros(0, np.int32)
    parents = np.array([2, 2, 7, 7, 7, 8, 9, 8, -1, -1], np.int32)
    tree = Hierarchy(parents, ("heading", "(root)", "(other)"), (np.array([50, 51], np.int32), none, none))
    descriptions = (*titles, none) if described else None
    return Task(NUM_TOKENS, NUM_CODES, vectors, descriptions, tree, names(titles), CODES, encoder=RANDOM)


def names(bags: Sequence[Sequence[int] | NDArray[np.int32]], codes: Sequence[int] | None = None) -> Names:
    """Names given as token indices, each of its own form, of the codes in order or of those given; w59 negates."""
    tokens = np.arange(NUM_TOKENS)
    return Names(
        forms=np.array([token for bag in bags for token in bag], np.int32),
        offsets=np.cumsum([0, *map(len, bags)]),
        codes=np.array(range(len(bags)) if codes is None else codes, np.int32),
        is_term=np.zeros(len(bags), np.int32),
        form_of_token=np.where(tokens > UNKNOWN, tokens, -1),
        negates=(tokens == 59).astype(np.int32),
    )


# --- Every system ------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"embedding_size": 16, "hidden_size": 16, "attention_size": 8, "filters": 12, "ngram": 5}
SMALL |= {"neighbours": 5, "kernel_sizes": (3, 25)}  # of branches side by side the narrowest and the widest
EVERY = [  # a variant that sets nothing of the model computes what the model does
    f"{entry.name}@{variant}" if variant else entry.name
    for entry in registry.entries().values()
    for variant in ("", *(variant.name for variant in entry.variants.values() if variant.model))
]


def sizes(name: str) -> dict[str, Any]:
    """What the model has of SMALL."""
    fields = registry.entry(name.partition("@")[0]).config.model_fields
    return {field: size for field, size in SMALL.items() if field in fields}


def _settings(name: str) -> str:
    """All that decides what the model computes at the small size."""
    base, _, variant = name.partition("@")
    entry = registry.entry(base)
    return base + entry.config(**{**entry.variant(variant).model, **sizes(name)}).model_dump_json()


# And one that sets sizes alone, or what the model has, computes the same at the small size: it is tested once.
SYSTEMS = list({_settings(name): name for name in reversed(EVERY)}.values())[::-1]
NEURAL = [name for name in SYSTEMS if issubclass(registry.entry(name.partition("@")[0]).cls, nn.Module)]  # type: ignore[arg-type]
LINEAR = [name for name in SYSTEMS if name not in NEURAL]
# What only leaves out a part of a linear model is fitted once, and its contributions are summed; it is not read at all lengths.
LESS = {name for name in LINEAR if "@no-" in name}
READ = [*NEURAL, *(name for name in LINEAR if name not in LESS)]
BLIND = {"popularity"}  # they read nothing


def small(name: str, **overrides: Any) -> Any:
    """The model at a size that trains in a second; fields that it does not have are left out."""
    torch.manual_seed(0)
    given = sizes(name)
    return registry.build(name, small_task(given.get("embedding_size")), **{**given, **overrides})


def neural(name: str, **overrides: Any) -> nn.Module:
    model = small(name, **overrides)
    assert isinstance(model, nn.Module)
    return model


TEXTS = [[5, 9, 14, 33, 40], [8], [1, 1, 1], list(range(2, 50)), [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]]

TEXT = "W5 w9, W14 (w33)\n\tunseen 71 w40 w2 w2 w8 w12 w21 & w22."
NAMES = ["w5", "w9", "w14", "w33", "unseen", "w40", "w2", "w2", "w8", "w12", "w21", "w22"]


FEW = learnable(80, shortest=8)


shared: Path | None = None  # where the processes of a session find what one of them fitted


@functools.cache
def fitted(system: str) -> Any:
    """A linear model fitted to the documents FEW, once per session; not to be changed."""
    model = small(system)
    if shared is None:
        model.fit(FEW)
        return model
    by_us: list[bool] = []

    def fit(folder: Path) -> None:
        model.fit(FEW)
        by_us.append(True)
        folder.mkdir()
        arrays = {name: np.ascontiguousarray(value) for name, value in model.weights().items()}
        save_file(arrays, folder / "weights.safetensors")

    place = once(shared / f"fitted-{system}", fit)
    if not by_us:
        model.restore(load_file(place / "weights.safetensors"))
    return model


def predictor(system: str, max_tokens: int = 100) -> Predictor:
    """An untrained model (a linear one: fitted) over the words w2 to w59."""
    base, _, variant = system.partition("@")
    entry, task = registry.entry(base), small_task()
    model = small(system)
    config = model.config.model_dump(mode="json")
    tree, titles = task.hierarchy, task.descriptions
    assert tree is not None
    assert titles is not None
    contents = bundle.Contents(
        run="small/run", dataset="small", fingerprint="", synthetic=True, icdbench="", created="", model=base,
        variant=variant, version=entry.version, config=config, words="not-numeric", max_tokens=max_tokens,
        threshold={"fixed": 0.5, "tuned": 0.4}, tokens=("", "?", *(f"w{number}" for number in range(2, task.num_tokens))),
        codes=task.codes, titles=("<b>title</b>",) * task.num_codes,
        descriptions=tuple(tuple(title.tolist()) for title in titles),
        hierarchy=bundle.StoredTree(parents=tuple(tree.parents.tolist()), ancestors=tree.ancestors, descriptions=tuple(tuple(title.tolist()) for title in tree.descriptions)),
        encoder=SMALL_ENCODER if "encoder" in entry.needs else None,
    )  # fmt: skip
    weights: Weights = model.state_dict() if isinstance(model, nn.Module) else fitted(system).weights()
    return Predictor(bundle.Bundle(contents, {name: np.asarray(value).copy() for name, value in weights.items()}))
