"""Plain scikit-learn and LibMultiLabel scripts, as a reader would try them against the suite's tables.

    python benchmarks/studies/plain_baselines.py --dataset codiesp-d50

Each is fitted on the training texts as they are, with its own tokens and without the suite's preparation. The threshold is
chosen on validation, as for every system of the suite; test is read once. A script that is ahead of the suite's best
baseline on validation belongs in the suite. LibMultiLabel's linear model is tried if it is installed
(`pip install libmultilabel`; it is not a dependency).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import LinearSVC
from tabulate import tabulate

import icdbench
from icdbench.data import datasets
from icdbench.evaluation import metrics
from icdbench.types import SPLITS, FloatArray, IntArray

Score = Callable[[list[str]], FloatArray]  # texts to scores [N, L]
WORDS, BINARY = {"ngram_range": (1, 2), "min_df": 2}, {"binary": True, "min_df": 2}


def per_code(classifier: BaseEstimator) -> BaseEstimator:
    """One classifier for each code."""
    return OneVsRestClassifier(classifier)


def l1(C: float) -> BaseEstimator:
    """LIBLINEAR's L1-regularised logistic regression."""
    return per_code(LogisticRegression(C=C, l1_ratio=1.0, solver="liblinear", random_state=0))


PIPELINES: dict[str, Callable[[], Any]] = {
    "SVM, TF-IDF 1-2-grams, C 10": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True, **WORDS), per_code(LinearSVC(C=10))
    ),
    "SVM, TF-IDF of words, C 1": lambda: make_pipeline(TfidfVectorizer(), per_code(LinearSVC())),
    "SVM, TF-IDF of 3-4 characters, C 10": lambda: make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), min_df=5, sublinear_tf=True), per_code(LinearSVC(C=10))
    ),
    "LR, TF-IDF 1-2-grams, balanced, C 10": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True, **WORDS),
        per_code(LogisticRegression(C=10, class_weight="balanced", solver="liblinear")),
    ),
    "LR, word counts": lambda: make_pipeline(CountVectorizer(), per_code(LogisticRegression(solver="liblinear"))),
    "LR L1, binary words, C 1": lambda: make_pipeline(CountVectorizer(**BINARY), l1(1.0)),
    "LR L1, binary 1-2-grams, C 1": lambda: make_pipeline(CountVectorizer(ngram_range=(1, 2), **BINARY), l1(1.0)),
    "LR L1, binary 1-3-grams, C 1": lambda: make_pipeline(CountVectorizer(ngram_range=(1, 3), **BINARY), l1(1.0)),
    "LR L1, TF-IDF of words, C 10": lambda: make_pipeline(TfidfVectorizer(), l1(10.0)),
    "LR on 5 chosen binary 1-4-grams": lambda: make_pipeline(
        CountVectorizer(ngram_range=(1, 4), **BINARY),
        per_code(make_pipeline(SelectKBest(chi2, k=5), LogisticRegression())),
    ),
    "LR on 20 chosen binary 1-4-grams": lambda: make_pipeline(
        CountVectorizer(ngram_range=(1, 4), **BINARY),
        per_code(make_pipeline(SelectKBest(chi2, k=20), LogisticRegression())),
    ),
    "random forest on 50 chosen 1-4-grams": lambda: make_pipeline(
        CountVectorizer(ngram_range=(1, 4), **BINARY),
        per_code(make_pipeline(SelectKBest(chi2, k=50), RandomForestClassifier(100, random_state=0))),
    ),
    "extra trees, TF-IDF of words": lambda: make_pipeline(
        TfidfVectorizer(min_df=2), ExtraTreesClassifier(300, random_state=0)
    ),
    "elastic net (SGD), binary 1-2-grams": lambda: make_pipeline(
        CountVectorizer(ngram_range=(1, 2), **BINARY),
        per_code(SGDClassifier(loss="log_loss", penalty="elasticnet", alpha=1e-3, random_state=0)),
    ),
    "ridge, TF-IDF 1-2-grams": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True, **WORDS), per_code(RidgeClassifier())
    ),
    "complement naive Bayes, words": lambda: make_pipeline(TfidfVectorizer(min_df=2), per_code(ComplementNB())),
    "Bernoulli naive Bayes, words": lambda: make_pipeline(CountVectorizer(**BINARY), per_code(BernoulliNB())),
    "25 nearest neighbours, TF-IDF": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True, **WORDS), KNeighborsClassifier(25, metric="cosine", weights="distance")
    ),
    "LSA 200 and LR": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True, **WORDS),
        TruncatedSVD(200, random_state=0),
        Normalizer(),
        per_code(LogisticRegression(C=100, max_iter=1000)),
    ),
    "MLP of 256, TF-IDF of words": lambda: make_pipeline(
        TfidfVectorizer(min_df=2), MLPClassifier(256, max_iter=60, random_state=0)
    ),
}

LIBMULTILABEL = {  # the options of LIBLINEAR
    "LibMultiLabel, L2 SVM": "-s 2",
    "LibMultiLabel, L1 LR, C 10": "-s 6 -c 10",
}


def fit_scikit(name: str, texts: list[str], labels_NL: IntArray) -> Score:
    """Fit a pipeline of scikit-learn."""
    pipeline = PIPELINES[name]().fit(texts, labels_NL)

    def scores(asked: list[str]) -> FloatArray:
        if hasattr(pipeline, "decision_function"):
            return np.asarray(pipeline.decision_function(asked))
        found = pipeline.predict_proba(asked)
        if isinstance(found, list):  # both classes of each code
            found = np.column_stack([both[:, -1] if both.shape[1] > 1 else np.zeros(len(both)) for both in found])
        return np.asarray(found)

    return scores


def fit_libmultilabel(options: str, texts: list[str], labels_NL: IntArray) -> Score:
    """Fit LibMultiLabel's one-versus-rest LIBLINEAR on its own TF-IDF features."""
    from libmultilabel import linear

    words = TfidfVectorizer()
    model = linear.train_1vsrest(csr_matrix(labels_NL), words.fit_transform(texts).tocsr(), False, options)
    return lambda asked: np.asarray(linear.predict_values(model, words.transform(asked).tocsr()))


def measured(dataset: str, root: Path | None) -> Iterator[list[Any]]:
    """A row for each script: its name, figures of validation and test, and seconds of processor time."""
    opened = datasets.open(dataset, root)
    corpus, documents = opened.corpus(), opened.documents().documents
    texts = {name: [document.text for document in documents if document.split == name] for name in SPLITS}
    labels = {name: encoded.labels().toarray().astype(np.int64) for name, encoded in corpus.splits.items()}
    unseen = {name: encoded.unseen for name, encoded in corpus.splits.items()}
    scripts: dict[str, Callable[[str, list[str], IntArray], Score]] = dict.fromkeys(PIPELINES, fit_scikit)
    if importlib.util.find_spec("libmultilabel"):
        scripts |= dict.fromkeys(LIBMULTILABEL, fit_libmultilabel)
    for name, fit in scripts.items():
        started = time.process_time()
        scores = fit(LIBMULTILABEL.get(name, name), texts["train"], labels["train"])
        found = {part: scores(texts[part]).astype(np.float32) for part in ("validation", "test")}
        seconds = time.process_time() - started
        threshold = metrics.tune_threshold(found["validation"], labels["validation"], unseen=unseen["validation"])
        row: list[Any] = [name]
        for part, values in found.items():
            figures = icdbench.evaluate(values, labels[part], threshold, unseen=unseen[part])
            row += [100 * figures[key] for key in ("f1_micro", "map", "p@5")]
        yield [*row, seconds]


def main() -> None:
    """Print the table, a script at a time on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", default="codiesp-d50")
    parser.add_argument("--data", type=Path, help="folder of raw data; else ICDBENCH_DATA, else ./data")
    given = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", "Label .* is present in all|.*not .* in all training", UserWarning)
    rows = []
    for row in measured(given.dataset, given.data):
        print(row[0], f"{row[-1]:.1f} s", file=sys.stderr, flush=True)
        rows.append(row)
    rows.sort(key=lambda row: row[2], reverse=True)  # validation's MAP
    heads = ["script", "F1 valid.", "MAP valid.", "P@5 valid.", "F1 test", "MAP test", "P@5 test", "processor s"]
    print(tabulate(rows, heads, tablefmt="pipe", floatfmt=".1f"))


if __name__ == "__main__":
    main()
