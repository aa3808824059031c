"""Score predictions made elsewhere, by an LLM, an agent or another library: `score` turns a file into a run of the suite.

Documents are matched by id, codes by spelling. What does not match is counted in `ScoredFile.counts`:

- `missing` documents have no row; nothing is predicted for them. Rows with ids of other splits (`elsewhere`) or of no
  document of the data set (`unknown`) are left out. Of `repeated` rows and `doubled` codes of a document the first counts.
- `respelled` codes differ from one code of the data set only in dots or case and are read as that code.
- `outside` codes are not in the label set and count as false positives. `unseen` ones among them are gold codes of their
  document: they stay missed, as for every system, but are no false positives. With `data.top_codes` codes outside the label
  set belong to another task: they are `left_out`.

A code that is not listed has probability 0 and no place in the ranking. Scores are read as probabilities if all of them are
in [0, 1], else as logits. Codes without scores are all predicted; their order counts only if they are `ranked`.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from icdbench.data import datasets
from icdbench.evaluation import measure
from icdbench.experiments.blend import blend as blend  # noqa: PLC0414 - for the command line
from icdbench.experiments.blend import check_name, store_predictions
from icdbench.records import RunRecord, provenance, store
from icdbench.settings import DataError, SpecError, nearest, shown
from icdbench.spec import RunSpec, TrainSpec
from icdbench.types import SPLITS, Corpus, FloatArray, LabelSet, Predictions, Report, quiet

log = logging.getLogger("icdbench")

VERSION = "scored-1"  # changes when the same file would give other figures
Kind = Literal["probabilities", "logits", "ranking", "codes"]


@dataclass(frozen=True)
class FileRequest:
    """What is to be scored: `file` on a split of a data set, as the system `name` (by default the file's name).

    `validation` has predictions for the validation split, on which the threshold is tuned. `changes` are settings of the
    data set, `reading` says how to read the files.
    """

    file: Path
    dataset: str
    name: str = ""
    split: str = "test"
    validation: Path | None = None
    ranked: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    root: Path | None = None
    results: Path = Path("results")


class ScoredPredictions(NamedTuple):
    """The figures of a file by threshold rule and metric, and the stored record, which only the test split has.

    `known`: the same file was scored before, and nothing was computed.
    """

    system: str
    split: str
    figures: Mapping[str, Mapping[str, float]]
    source: provenance.ScoredFile
    record: RunRecord | None
    known: bool = False


def score(request: FileRequest, report: Report = quiet) -> ScoredPredictions:
    """Score a file of predictions; those for the test split become a stored run. Raises SpecError, DataError."""
    name = _system_name(request)
    if request.split not in SPLITS:
        raise SpecError(f"no split '{request.split}'{nearest(request.split, SPLITS)}")
    opened = datasets.open(request.dataset, request.root, request.changes)
    files = {request.split: datasets.predictions(request.file, request.reading)}
    if request.validation is not None:
        if request.split != "test":
            raise SpecError(f"--split {request.split}: --validation tunes a threshold for the test split; leave it out")
        files = {"validation": datasets.predictions(request.validation, request.reading), **files}
    kind = _kind(list(files.values()), ranked=request.ranked)
    corpus = opened.corpus(report)
    spec = _spec(name, opened, corpus, files, request)
    if request.split == "test" and (found := store.find(request.results, spec)) is not None and found.scored:
        return ScoredPredictions(name, request.split, found.metrics["test"], found.scored, found, known=True)
    train_counts = corpus.splits["train"].labels().sum(0).A1
    predictions, counts = {}, {}
    for split, given in files.items():
        predictions[split], counts[split] = _aligned(given, kind, split, opened, corpus)
    held = files["validation"] if request.validation else None
    source = provenance.ScoredFile(
        file=request.file.name,
        sha256=files[request.split].sha256,
        kind=kind,
        validation=held.path.name if held else "",
        validation_sha256=held.sha256 if held else "",
        counts=counts,
    )
    if request.split != "test":
        figures = measure.of_split(predictions[request.split], train_counts, source.lacking)
        return ScoredPredictions(name, request.split, {"fixed": figures}, source, None)
    usual, chosen = (data.model_dump(mode="json") for data in (datasets.source(spec.dataset).settings(), opened.data))
    changed = {f"data.{name}": value for name, value in chosen.items() if usual.get(name) != value}
    data, codes = provenance.describe(corpus, {}), LabelSet(corpus.vocabulary.codes, train_counts)
    record = store_predictions(spec, changed, data, source, predictions, codes, request.results)
    return ScoredPredictions(name, "test", record.metrics["test"], source, record)


def _system_name(request: FileRequest) -> str:
    """The name of the system, by default from the file's. Raises SpecError for a taken or invalid name."""
    if request.file.is_dir():
        raise SpecError(f"{request.file} is a folder; name a file of predictions in it")
    stem = request.file.name.removesuffix(".gz").rpartition(".")[0] or request.file.name
    name = request.name or re.sub(r"[^\w.-]+", "-", stem).strip("-.")
    check_name(name)
    return name


def _kind(files: list[datasets.PredictedCodes], *, ranked: bool) -> Kind:
    """What the files list for each code, the same in all of them. Raises SpecError."""
    first = files[0]
    if other := next((each for each in files if (each.scores is None) != (first.scores is None)), None):
        raise SpecError(f"{first.path} and {other.path}: only one of them has scores; both must, or none")
    if first.scores is None:
        if len(files) > 1 and not ranked:
            raise SpecError(
                f"{first.path} has codes without scores, from which no threshold is tuned; leave --validation out"
            )
        return "ranking" if ranked else "codes"
    if ranked:
        raise SpecError(f"{first.path} has scores, which rank its codes; leave --ranked out")
    numbers = (number for each in files for row in (each.scores or {}).values() for number in row)
    return "probabilities" if all(0 <= number <= 1 for number in numbers) else "logits"


def _spec(
    name: str,
    opened: datasets.Source,
    corpus: Corpus,
    files: Mapping[str, datasets.PredictedCodes],
    request: FileRequest,
) -> RunSpec:
    """The spec of the run, identified by the content of the files, how they are read, and the data set."""
    config = {f"{split}_sha256": given.sha256 for split, given in files.items()}
    return RunSpec(
        dataset=opened.name,
        fingerprint=corpus.fingerprint,
        model=name,
        data=opened.data,
        train=TrainSpec(),
        config={**config, "ranked": request.ranked, "reading": dict(request.reading)},
        version=VERSION,
        uses_trainer=False,
    )


# --- Documents and codes -------------------------------------------------------------------------------------------------


def _aligned(
    given: datasets.PredictedCodes, kind: Kind, split: str, opened: datasets.Source, corpus: Corpus
) -> tuple[Predictions, dict[str, int]]:
    """The predictions in the order of the split's documents, and counts of what did not match. Raises DataError if no id does."""
    part, codes = corpus.splits[split], {code: at for at, code in enumerate(corpus.vocabulary.codes)}
    row_of = {name: at for at, name in enumerate(part.ids)}
    others = {name for other in corpus.splits.values() for name in other.ids}
    matched = [name for name in given.codes if name in row_of]
    if not matched:
        found = shown(next(iter(given.codes)))
        raise DataError(
            f"{given.path}: none of its {len(given.codes):,} ids is that of a {split} document of '{opened.name}'; the file "
            f"has ids such as {found}, the data set {shown(part.ids[0])}"
        )
    counts = Counter(
        missing=len(part) - len(matched),
        elsewhere=sum(name in others and name not in row_of for name in given.codes),
        unknown=sum(name not in others for name in given.codes),
        repeated=given.repeated,
    )
    predicted = {code for name in matched for code in given.codes[name]}
    strange = predicted - codes.keys()
    gold = {each.id: set(each.codes) for each in opened.documents().documents} if strange else {}
    known = {*codes, *(code for listed in gold.values() for code in listed)}
    respelled = datasets.respelled(strange, known)
    if predicted and not (predicted & known or respelled):
        log.warning(
            "%s: none of its %s codes occurs in '%s'; the file has codes such as %s, the data set %s",
            given.path, f"{len(predicted):,}", opened.name, shown(min(predicted)), shown(min(codes)),
        )  # fmt: skip
    scores_NL = np.full((len(part), len(codes)), -np.inf, np.float32)
    outside: dict[int, list[float]] = {}
    for name in matched:
        seen = set()
        for code, value in zip(given.codes[name], _logits(given, name, kind), strict=True):
            spelled = respelled.get(code, code)
            counts["respelled"] += spelled != code
            if spelled in seen:
                counts["doubled"] += 1
            elif spelled in codes:
                scores_NL[row_of[name], codes[spelled]] = value
            elif opened.data.top_codes is not None:
                counts["left_out"] += 1
            elif spelled in gold[name]:
                counts["unseen"] += 1
            else:
                counts["outside"] += 1
                outside.setdefault(row_of[name], []).append(value)
            seen.add(spelled)
    padded_NF = np.full((len(part), max(map(len, outside.values()), default=0)), -np.inf, np.float32)
    for row, values in outside.items():
        padded_NF[row, : len(values)] = values
    predictions = Predictions(part.ids, scores_NL, part.labels(), np.asarray(part.unseen), padded_NF)
    return predictions, {key: count for key, count in counts.items() if count}


def _logits(given: datasets.PredictedCodes, name: str, kind: Kind) -> FloatArray:
    """The scores of a document's codes on the scale of logits, in their order."""
    if given.scores is None:
        number = len(given.codes[name])
        return 1 / np.arange(1.0, number + 1) if kind == "ranking" else np.full(number, np.inf)
    values = np.array(given.scores[name], np.float64)
    if kind == "logits":
        return values
    with np.errstate(divide="ignore"):  # probabilities 0 and 1
        logits: FloatArray = np.log(values) - np.log1p(-values)
    return logits
