"""How far explanations can be trusted: does the model need the words that they name, and would a person name the same words?

Faithfulness (DeYoung et al. 2020, https://aclanthology.org/2020.acl-main.408/) is measured for each code that the run predicts
(above its tuned threshold, else the most probable). Words are ranked by weight, those that speak for the code first. With p the
code's probability and W the first 1, 5, 10, 20 or 50 % of the words (`FRACTIONS`, rounded up),

    comprehensiveness = mean over W of p(note) - p(note without W)          higher is better
    sufficiency       = mean over W of p(note) - p(nothing but W)           lower is better

which is the area over the deletion curve (AOPC). A removed word becomes the unknown word, as in occlusion, so the others keep
their positions. Both depend on how confident a model is, so they compare methods for one model, not models.

Agreement with evidence is measured for each gold code for which a person (or the generator of synthetic notes) marked words
that the model reads: a word that overlaps a span is positive. A method chooses the words whose share of the note's positive
weight reaches a boundary, the one with the highest F1 on as many validation documents (as Edin et al. 2024 do,
https://aclanthology.org/2024.emnlp-main.280/). Precision, recall and F1 pool the words of all notes and codes. AUPRC (average
precision), hit@1 (the first word is evidence) and IoU (intersection over union of chosen words and evidence) are means over
notes and codes. Span F1 counts spans, which are runs of adjacent words: a span is found if exactly its words are chosen, as
MDACE counts after merging adjacent ones (Cheng et al. 2023, https://aclanthology.org/2023.acl-long.416/).

Intervals are those of icdbench.evaluation.bootstrap, over the drawn documents. `random` is the baseline. Entered by `of_run`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icdbench.data import datasets
from icdbench.evaluation import bootstrap
from icdbench.files import remove_abandoned
from icdbench.inference import bundle
from icdbench.inference.explain import Pass, methods
from icdbench.inference.predict import Predictor
from icdbench.records import Explained, RunRecord, Trust, provenance, store
from icdbench.settings import DataError, SpecError
from icdbench.training import score
from icdbench.types import SPLITS, UNKNOWN, Document, FloatArray, Report, quiet

VERSION = "3"  # changes when the same run and request would give other figures
DOCUMENTS, SEED = 50, 0  # by default drawn from the test split, and for the boundary from the validation split
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)

FAITHFULNESS = {"comprehensiveness": "comprehensiveness ↑", "sufficiency": "sufficiency ↓"}
AGREEMENT = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "span_f1": "span F1",
    "iou": "IoU",
    "auprc": "AUPRC",
    "hit@1": "hit@1",
}
FALLING = {"sufficiency"}  # figures of which the lowest is best
HALVES = {"precision", "recall"}  # figures that mean little without the other

BoolArray = NDArray[np.bool_]


class Agreement(NamedTuple):
    """A method's weights of the words of a note for one code, as shares [T], and which words are evidence [T]."""

    note: int
    shares_T: FloatArray
    evidence_T: BoolArray


class Measured(NamedTuple):
    """The measures of one method over notes and codes: agreement, and (note, comprehensiveness, sufficiency)."""

    agreement: list[Agreement]
    faithfulness: list[tuple[int, float, float]]


# --- One note -----------------------------------------------------------------------------------------------------------


def shares(weights_T: FloatArray) -> FloatArray:
    """Each word's share of the positive weight [T]; zeros if no word speaks for the code."""
    positive_T = np.maximum(weights_T, 0)
    total = positive_T.sum()
    return positive_T / total if total > 0 else positive_T


def marks(found: Sequence[tuple[int, int]], evidence: Iterable[tuple[int, int]]) -> BoolArray:
    """Which of the words at these characters overlap a span of the evidence [T]."""
    starts_T, ends_T = np.array(found).T
    marked_T = np.zeros(len(found), np.bool_)
    for begin, end in evidence:
        marked_T |= (starts_T < end) & (ends_T > begin)
    return marked_T


def average_precision(shares_T: FloatArray, evidence_T: BoolArray) -> float:
    """The mean precision at the words of the evidence; words of equal share are ranked together."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(evidence_T, shares_T))


def faithfulness(
    predictor: Predictor, tokens_T: NDArray[np.integer], weightings: Sequence[tuple[FloatArray, int]]
) -> list[tuple[float, float]]:
    """Comprehensiveness and sufficiency of each weighting of the words [T] for a code's index."""
    rows = [tokens_T]
    for weights_T, _ in weightings:
        order_T = np.argsort(-weights_T, kind="stable")
        for fraction in FRACTIONS:
            first = order_T[: math.ceil(fraction * len(tokens_T))]
            without_T, alone_T = tokens_T.copy(), np.full_like(tokens_T, UNKNOWN)
            without_T[first], alone_T[first] = UNKNOWN, tokens_T[first]
            rows += [without_T, alone_T]
    probabilities_NL = score.probabilities(predictor.scores(predictor.documents(rows)))
    changed_WF2L = probabilities_NL[1:].reshape(len(weightings), len(FRACTIONS), 2, -1)
    found = []
    for changed_F2L, (_, code) in zip(changed_WF2L, weightings, strict=True):
        lost_2 = (probabilities_NL[0, code] - changed_F2L[:, :, code]).mean(axis=0)
        found.append((float(lost_2[0]), float(lost_2[1])))
    return found


def measure(
    predictor: Predictor, notes: Iterable[tuple[str, Mapping[int, Iterable[tuple[int, int]]]]], *, predicted: bool
) -> dict[str, Measured]:
    """Measure every method of the model on notes, given with the evidence of codes by index; faithfulness only if `predicted`."""
    contents = predictor.bundle.contents
    measured: dict[str, Measured] = defaultdict(lambda: Measured([], []))
    for number, (text, evidence) in enumerate(notes):
        forward = Pass(predictor, text)
        tokens_T = forward.encoded.tokens[: forward.num_words]
        marked_CT = {code: marks(forward.spans, spans) for code, spans in evidence.items()}
        marked_CT = {code: marked_T for code, marked_T in marked_CT.items() if marked_T.any()}
        probabilities_L = score.probabilities(forward.logits_L[None])[0]
        above = np.flatnonzero(probabilities_L > contents.threshold["tuned"]).tolist() if predicted else []
        if predicted and not above:
            above = [int(probabilities_L.argmax())]
        weightings: list[tuple[str, FloatArray, int]] = []
        for name, method in methods(forward).items():
            weights = {code: method(code)[0] for code in {*marked_CT, *above}}
            measured[name].agreement.extend(
                Agreement(number, shares(weights[code]), marked_T) for code, marked_T in marked_CT.items()
            )
            weightings += [(name, weights[code], code) for code in above]
        if predicted:
            found = faithfulness(predictor, tokens_T, [(weights_T, code) for _, weights_T, code in weightings])
            for (name, _, _), pair in zip(weightings, found, strict=True):
                measured[name].faithfulness.append((number, *pair))
    return dict(measured)


def runs(marked_T: BoolArray) -> set[tuple[int, int]]:
    """The runs of adjacent marked words: the first of each, and one past the last."""
    edges = np.flatnonzero(np.diff(np.pad(marked_T.astype(np.int8), 1)))
    return set(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


# --- All notes -----------------------------------------------------------------------------------------------------------


def boundary(agreements: Sequence[Agreement]) -> float:
    """The share from which words are chosen that maximises F1 over all words; the largest such share."""
    shares_W = np.concatenate([each.shares_T for each in agreements])
    evidence_W = np.concatenate([each.evidence_T for each in agreements])
    order_W = np.argsort(-shares_W, kind="stable")
    shares_W, hits_W = shares_W[order_W], np.cumsum(evidence_W[order_W])
    chosen_W = np.arange(1, len(shares_W) + 1)
    ends = np.append(shares_W[1:] < shares_W[:-1], True) & (shares_W > 0)  # equal shares are chosen together
    f1_W = np.where(ends, 2 * hits_W / (chosen_W + hits_W[-1]), 0)
    return float(shares_W[f1_W.argmax()])


def figures(measured: Measured, at: float | None, weights_RN: FloatArray) -> dict[str, FloatArray]:
    """Every figure [R] of the notes weighted by each row, NaN if undefined; without a boundary only those of faithfulness."""
    sums: dict[str, FloatArray] = defaultdict(lambda: np.zeros(weights_RN.shape[1]))
    for note, comprehensiveness, sufficiency in measured.faithfulness:
        sums["predicted"][note] += 1
        sums["comprehensiveness"][note] += comprehensiveness
        sums["sufficiency"][note] += sufficiency
    parts = {key: (sums[key], sums["predicted"]) for key in FAITHFULNESS}
    if at is not None:
        for note, shares_T, evidence_T in measured.agreement:
            chosen_T = (shares_T >= at) & (shares_T > 0)
            sums["pairs"][note] += 1
            sums["chosen"][note] += chosen_T.sum()
            sums["evidence"][note] += evidence_T.sum()
            sums["hits"][note] += (chosen_T & evidence_T).sum()
            sums["iou"][note] += (chosen_T & evidence_T).sum() / (chosen_T | evidence_T).sum()
            chosen, marked = runs(chosen_T), runs(evidence_T)
            sums["spans"][note] += len(chosen) + len(marked)
            sums["found"][note] += len(chosen & marked)
            sums["auprc"][note] += average_precision(shares_T, evidence_T)
            sums["hit@1"][note] += evidence_T[shares_T.argmax()] and shares_T.max() > 0
        parts["precision"] = sums["hits"], sums["chosen"]
        parts["recall"] = sums["hits"], sums["evidence"]
        parts["f1"] = 2 * sums["hits"], sums["chosen"] + sums["evidence"]
        parts["span_f1"] = 2 * sums["found"], sums["spans"]
        parts |= {key: (sums[key], sums["pairs"]) for key in ("iou", "auprc", "hit@1")}
    found = {}
    for key, (part_N, whole_N) in parts.items():
        part_R, whole_R = weights_RN @ part_N, weights_RN @ whole_N
        found[key] = np.divide(part_R, whole_R, out=np.full_like(part_R, np.nan), where=whole_R > 0)
    return found


def trust(test: Measured, validation: Measured | None, notes: int) -> Trust:
    """The figures of one method with their intervals; without evidence in both splits only those of faithfulness."""
    at = boundary(validation.agreement) if test.agreement and validation and validation.agreement else None
    weights_RN = np.vstack([np.ones(notes), bootstrap.weights(notes)])  # the notes as they are, then resampled
    found = {key: each for key, each in figures(test, at, weights_RN).items() if not np.isnan(each[0])}
    return Trust(
        figures={key: float(values[0]) for key, values in found.items()},
        intervals={key: bootstrap.interval(values[1:]) for key, values in found.items()},
        boundary=at,
    )


def drawn(documents: Sequence[Document], split: str, codes: Iterable[str], count: int, seed: int) -> list[Document]:
    """Draw at most `count` documents of a split with a code of the label set, in order; the same for all runs on the data."""
    known = set(codes)
    having = [document for document in documents if document.split == split and known.intersection(document.codes)]
    generator = np.random.default_rng([seed, SPLITS.index(split)])
    return [having[position] for position in sorted(generator.permutation(len(having))[:count])]


def evaluate(
    predictor: Predictor,
    documents: Sequence[Document],
    evidence: datasets.Evidence | None,
    count: int = DOCUMENTS,
    seed: int = SEED,
    report: Report = quiet,
) -> tuple[dict[str, Trust], dict[str, int]]:
    """Measure every method of the model; returned by name, with the numbers of documents and codes that were used.

    `documents` are those of all splits; if there is evidence, documents without it are left out, else only faithfulness is
    measured.
    """
    contents, index = predictor.bundle.contents, {code: position for position, code in enumerate(predictor.codes)}
    usable = [document for document in documents if evidence is None or document.id in evidence]
    readable = [document for document in usable if predictor.reader.spans(document.text)]
    chosen = {split: drawn(readable, split, index, count, seed) for split in ("validation", "test")}
    if not chosen["test"]:
        raise DataError(f"no test document of '{contents.dataset}' has words and a code that the model knows")
    whole = len(chosen["test"]) + (len(chosen["validation"]) if evidence else 0)

    def notes(split: str, before: int) -> Iterator[tuple[str, dict[int, Sequence[tuple[int, int]]]]]:
        for done, document in enumerate(chosen[split]):
            report(contents.run, before + done, whole)
            marked_spans = (evidence or {}).get(document.id, {})
            yield (
                document.text,
                {index[code]: marked_spans[code] for code in marked_spans if code in {*document.codes} & index.keys()},
            )

    validation = measure(predictor, notes("validation", 0), predicted=False) if evidence else {}
    test = measure(predictor, notes("test", whole - len(chosen["test"])), predicted=True)
    number = len(chosen["test"])
    found = {name: trust(each, validation.get(name), number) for name, each in test.items()}
    first = next(iter(test.values()))
    counts = {
        "test documents": number,
        "validation documents": len(chosen["validation"]) if evidence else 0,
        "codes with evidence": len(first.agreement),
        "predicted codes": len(first.faithfulness),
    }
    return found, counts


# --- Stored runs ---------------------------------------------------------------------------------------------------------


class Sampling(NamedTuple):
    """The size of the sample to measure, and where runs and data are."""

    results: Path
    documents: int = DOCUMENTS
    seed: int = SEED
    root: Path | None = None
    dataset: str | None = None
    device: str = "cpu"


def of_run(name: str, request: Sampling, report: Report = quiet) -> tuple[RunRecord, Explained]:
    """Measure a run's explanations, unless the measures of an equal request are stored. Raises SpecError, DataError."""
    folder, record = bundle.finished(name, request.results)
    remove_abandoned(folder)
    stored = store.load_explained(folder, record)
    asked = (request.documents, request.seed, VERSION)
    name_of_data = request.dataset or record.spec.dataset
    marks = datasets.marks_digest(Path(name_of_data)) if datasets.is_path(name_of_data) else ""
    if (
        stored is not None
        and (stored.documents, stored.seed, stored.version) == asked
        and marks in {None, stored.marks}
    ):
        return record, stored
    trained = bundle.of_run(name, request.results, request.root, request.dataset, report)
    opened = datasets.open(name_of_data, request.root, record.spec.data)
    if opened.fingerprint() != record.spec.fingerprint:
        raise SpecError(f"data set '{opened.name}' is not what '{record.id}' was trained on: the raw files differ")
    found, counts = evaluate(
        Predictor(trained, request.device),
        opened.documents(report).documents,
        opened.evidence(),
        request.documents,
        request.seed,
        report,
    )
    explained = Explained(
        run=record.id,
        trained=record.created,
        version=VERSION,
        documents=request.documents,
        seed=request.seed,
        counts=counts,
        methods=found,
        created=provenance.now(),
        marks=marks or "",
    )
    store.save_explained(folder, explained)
    return record, explained


def stored(results: Path) -> list[tuple[RunRecord, Explained]]:
    """The runs below a results folder whose explanations were measured. Raises SpecError if there are none."""
    records = store.load_records(results)
    pairs = [(record, store.load_explained(store.folder(results, record), record)) for record in records]
    found = [(record, each) for record, each in pairs if each is not None]
    if not found:
        raise SpecError(f"no run in '{results}' has its explanations measured; name some with --run")
    return found
