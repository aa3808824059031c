"""Bundles: a trained run as one file, with weights, vocabulary, codes and titles, thresholds, and how notes are read.

    results/<run>/record.json + model.safetensors + the data's words from the cache  ->  Bundle  <->  model.icdbench

A bundle is a safetensors file with all but the weights as JSON in its header. Reading one executes nothing: it is no archive,
names no file and has no pickle. A digest in the header covers every byte that is read.

The words of a run are not below results/ (docs/predict.md says why), so they come from the cache or the raw data.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field, ValidationError, model_validator

from icdbench import registry
from icdbench.data import batches, datasets, encode, encoders
from icdbench.files import regular
from icdbench.records import RunRecord, store
from icdbench.settings import DataError, Settings, SpecError
from icdbench.spec import Precision, Rule
from icdbench.training import score
from icdbench.types import (
    THRESHOLDS,
    Corpus,
    Count,
    Encoder,
    FloatArray,
    Hierarchy,
    IntArray,
    Number,
    Report,
    Task,
    Vocabulary,
    quiet,
)

PACKAGED = Path(__file__).parent / "packaged" / "codiesp.icdbench"
ABOUT_PACKAGED = (
    "no model is named: the packaged one is used, which knows the 1,767 diagnoses of 500 case reports (CodiEsp, CC BY "
    "4.0; icdbench/inference/packaged/NOTICE.md); name your own with --run ID or --bundle FILE"
)
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # files of a bundle that is a folder
FORMAT = 3  # newest format: written for bf16; 2 is written for subwords, else 1


class StoredTree(Settings):
    """A Hierarchy as JSON."""

    parents: tuple[int, ...]
    ancestors: tuple[str, ...]
    descriptions: tuple[tuple[Count, ...], ...]


class Contents(Settings):
    """A bundle without its weights. The fields are those of the run's record, of its data and of `Task`."""

    run: str
    dataset: str
    fingerprint: str
    synthetic: bool
    icdbench: str
    created: str
    model: str
    variant: str
    version: str
    config: dict[str, Any]
    words: Rule
    max_tokens: Annotated[Count, Field(ge=1)]
    threshold: dict[str, Number]
    tokens: Annotated[tuple[str, ...], Field(min_length=2)]
    codes: Annotated[tuple[str, ...], Field(min_length=1)]
    titles: tuple[str, ...]
    descriptions: tuple[tuple[Count, ...], ...]
    hierarchy: StoredTree | None
    code_source: str = ""
    tokenizer: str = ""
    encoder: dict[str, Any] | None = None
    precision: Precision = "32-true"

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        """Raise ValueError unless every index is one of a word or node, and each code has a title."""
        if not len(self.codes) == len(self.titles) == len(self.descriptions):
            raise ValueError("the numbers of its codes and titles differ")
        if not self.threshold.keys() >= set(THRESHOLDS):
            raise ValueError("it lacks a threshold")
        tree = self.hierarchy
        nodes = 0 if tree is None else len(self.codes) + len(tree.ancestors)
        if tree is not None and not (
            len(tree.parents) == nodes and len(tree.descriptions) == len(tree.ancestors)
            and all(-1 <= parent < nodes for parent in tree.parents)
        ):  # fmt: skip
            raise ValueError("its tree of codes is invalid")
        titles = (*self.descriptions, *(tree.descriptions if tree else ()))
        if max(itertools.chain.from_iterable(titles), default=0) >= len(self.tokens):
            raise ValueError("a title has a word that it does not know")
        return self


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model and all that prediction needs."""

    contents: Contents
    weights: Mapping[str, FloatArray]

    @property
    def system(self) -> str:
        """The model as a user types it."""
        return f"{self.contents.model}@{self.contents.variant}" if self.contents.variant else self.contents.model


def of_run(
    name: str, results: Path, root: Path | None = None, dataset: str | None = None, report: Report = quiet
) -> Bundle:
    """The bundle of a finished run, given by its id or its folder. Raises SpecError, DataError.

    `dataset` is a name or path of the data, for words that are no longer in the cache.
    """
    folder, record = finished(name, results)
    if record.scored:
        raise SpecError(f"run '{record.id}' was not made by a model: there is no model to load")
    if not (folder / store.WEIGHTS).exists():
        raise SpecError(
            f"run '{record.id}' has no weights ({folder / store.WEIGHTS} is missing; repositories leave them out): copy "
            "that file there, or move record.json away and run it again"
        )
    corpus = _corpus(record, root, dataset, report)
    data, spec, tree = record.spec.data, record.spec, corpus.hierarchy
    contents = Contents(
        run=record.id,
        dataset=spec.dataset,
        fingerprint=spec.fingerprint,
        synthetic=corpus.synthetic,
        icdbench=record.versions.get("icdbench", ""),
        created=record.created,
        model=spec.model,
        variant=spec.variant,
        version=spec.version,
        config=spec.config,
        words=data.words,
        max_tokens=data.max_tokens,
        threshold=record.threshold,
        tokens=corpus.vocabulary.tokens,
        codes=corpus.vocabulary.codes,
        titles=corpus.titles,
        descriptions=_listed(corpus.descriptions),
        hierarchy=tree and StoredTree(parents=_listed([tree.parents])[0], ancestors=tree.ancestors, descriptions=_listed(tree.descriptions)),
        code_source=record.code_source,
        tokenizer=corpus.vocabulary.tokenizer,
        encoder=encoders.architecture(spec.config.get(encoders.FIELD)),
        precision=spec.train.precision if spec.uses_trainer else "32-true",
    )  # fmt: skip
    with _naming_damaged(folder / store.WEIGHTS):
        return Bundle(contents, store.load_weights(folder, record))


def finished(name: str, results: Path) -> tuple[Path, RunRecord]:
    """The folder and the record of a finished run, given by its id or its folder. Raises SpecError."""
    folder = store.named(name, results)
    if not (folder / store.RECORD).exists():
        raise SpecError(f"run '{name}' is unfinished; the command that began it continues it")
    try:
        return folder, store.read_record(folder)
    except DataError as error:
        raise SpecError(
            f"{folder / store.RECORD} is damaged, or of another version of icdbench ({error}); run it again"
        ) from None


def _corpus(record: RunRecord, root: Path | None, dataset: str | None, report: Report) -> Corpus:
    """The run's data from the cache, else from the raw data, which must be unchanged."""
    spec = record.spec
    lost = f"the words of run '{record.id}' are no longer in the cache"
    try:
        named = datasets.open(spec.dataset, root, spec.data)
        if (cached := encode.remembered(named, spec.fingerprint)) is not None:
            return cached
        opened = datasets.open(dataset, root, spec.data) if dataset else named
        fingerprint = opened.fingerprint()
    except (SpecError, DataError) as error:
        raise SpecError(
            f"{lost}, and its data set '{spec.dataset}' cannot be read ({error}); name its folder with --data, or your own "
            "file with --dataset"
        ) from None
    if (opened.name, fingerprint) != (spec.dataset, spec.fingerprint):
        raise SpecError(f"{lost}, and data set '{opened.name}' is not what it was trained on: the raw files differ")
    return opened.corpus(report)


def _listed(rows: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row.tolist()) for row in rows)


def write(bundle: Bundle, path: Path, *, apart: Path | None = None) -> None:
    """Write the bundle to one file, readable only by its owner, or its contents as JSON to a file `apart`. Raises OSError."""
    from safetensors.numpy import save_file

    contents, low = bundle.contents, bundle.contents.precision != "32-true"
    of_subwords = contents.tokenizer or contents.encoder
    unused = set() if of_subwords else {"tokenizer", "encoder"}  # older readers do not know these fields
    text = contents.model_dump_json(
        exclude=unused if low else {*unused, "precision"}, indent=None if apart is None else 1
    )
    header = {
        "format": str(FORMAT if low else 2 if of_subwords else 1),
        "sha256": store.array_digest(text, bundle.weights),
    }
    if apart is None:
        header["icdbench"] = text
    else:
        apart.write_text(text, encoding="utf-8")
    with store.writing_tensors(path, private=True) as temporary:
        save_file({name: np.ascontiguousarray(value) for name, value in bundle.weights.items()}, temporary, header)


def is_folder(path: Path) -> bool:
    """Whether this is a bundle as a folder (icdbench.inference.hub), not the folder of a run."""
    return (path / CONFIG).is_file()


def read(path: Path) -> Bundle:
    """Read the bundle in a file or a folder. Raises DataError if it is damaged, of a newer format, or no bundle."""
    from safetensors.numpy import load_file

    header = {}
    if is_folder(path):
        with _naming_damaged(path / CONFIG), regular(path / CONFIG) as file:
            header["icdbench"] = file.read().decode()
        path /= WEIGHTS
    with _naming_damaged(path):
        header = {**_header(path), **header}
    if not {"format", "icdbench", "sha256"} <= header.keys() or not header["format"].isdecimal():
        raise DataError(f"{path} is no bundle; 'icdbench bundle RUN --out FILE' makes one of a run")
    if int(header["format"]) > FORMAT:
        raise DataError(
            f"{path} is a bundle of format {header['format']}, and this icdbench reads format {FORMAT}; use a newer icdbench"
        )
    with _naming_damaged(path):
        weights = dict(load_file(path))
        if store.array_digest(header["icdbench"], weights) != header["sha256"]:
            raise ValueError("its bytes were altered")
        store.check_numbers(weights)
        return Bundle(Contents.model_validate_json(header["icdbench"]), weights)


def model(bundle: Bundle, device: torch.device) -> registry.Model:
    """The trained model, ready to score on a device. Raises SpecError for a model of another version, DataError."""
    contents = bundle.contents
    entry = registry.stored_entry(contents.model, contents.code_source, contents.run)
    if entry.version != contents.version:
        raise SpecError(
            f"'{contents.run}' is of version {contents.version} of model '{entry.name}', and this icdbench has version "
            f"{entry.version}, which may compute something else; train it again, or use icdbench {contents.icdbench}"
        )
    _check_sizes(bundle)
    with torch.random.fork_rng(devices=[]):  # initial weights are replaced, so they must not consume random numbers
        built = registry.build(entry.name, _task(contents), **contents.config)
    empty = encode.notes([""], encode.Words((), contents.words), len(contents.codes), contents.max_tokens)
    try:
        score.restore(built, bundle.weights, batches.Loader(empty, device))
    except (RuntimeError, KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"the weights of '{contents.run}' do not fit its model ({' '.join(str(error).split())[:160]})"
        ) from None
    return built


def reader(bundle: Bundle) -> encode.Reader:
    """How the model reads texts. Raises DataError, SpecError."""
    contents = bundle.contents
    return encode.reader(Vocabulary(contents.tokens, contents.codes, contents.tokenizer), contents.words)


def _check_sizes(bundle: Bundle) -> None:
    """Raises DataError for a size in the settings that exceeds all weights: building such a model might exhaust memory."""
    most = max(1000, *(value.size for value in bundle.weights.values())) if bundle.weights else 1000
    for name, value in {**(bundle.contents.encoder or {}), **bundle.contents.config}.items():
        if isinstance(value, int) and value > most:
            raise DataError(f"the weights of '{bundle.contents.run}' do not fit its model ({name[:40]}={value})")


def _task(contents: Contents) -> Task:
    tree = contents.hierarchy
    return Task(
        len(contents.tokens),
        len(contents.codes),
        None,
        _arrays(contents.descriptions),
        None
        if tree is None
        else Hierarchy(np.array(tree.parents, np.int32), tree.ancestors, _arrays(tree.descriptions)),
        codes=contents.codes,
        encoder=None if contents.encoder is None else Encoder(contents.encoder),
    )


def _arrays(rows: tuple[tuple[int, ...], ...]) -> tuple[IntArray, ...]:
    return tuple(np.array(row, np.int32) for row in rows)


def _header(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    regular(path).close()  # raises for a pipe, which would block
    with safe_open(path, framework="np") as file:
        return dict(file.metadata() or {})


@contextmanager
def _naming_damaged(path: Path) -> Iterator[None]:
    """Turns the errors of a missing or damaged file into a DataError that names it."""
    from safetensors import SafetensorError

    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except ValidationError as error:
        raise DataError(f"{path} is damaged ({error.error_count()} fields of its header are wrong)") from None
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise DataError(f"{path} is damaged ({' '.join(reason.split())[:160]})") from None
