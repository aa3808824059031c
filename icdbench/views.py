"""What `icdbench.api` returns: runs with their figures and predictions, tables that notebooks show, data sets as frames."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, overload

import numpy as np

from icdbench.data import datasets
from icdbench.evaluation import analysis, measure
from icdbench.evaluation import compare as comparing
from icdbench.files import replacing
from icdbench.presentation import comparison, figures, tables
from icdbench.records import RunRecord, frame, store
from icdbench.settings import SpecError, nearest
from icdbench.spec import Benchmark
from icdbench.training import score
from icdbench.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure

    from icdbench.types import IntArray

log = logging.getLogger("icdbench")

T = TypeVar("T")
CELLS = 1 << 20  # of predictions, written at a time


@dataclass(frozen=True, repr=False)
class View(Generic[T]):
    """A result that prints as Markdown and shows as HTML in a notebook; `data` holds its numbers.

    `text(fmt)` returns it as `md`, `latex`, `csv` or `html`, if the result has that form.
    """

    data: T
    text: Callable[[str], str]

    def __repr__(self) -> str:
        return self.text("md").rstrip("\n")

    def _repr_html_(self) -> str:
        markup = self.text("html")
        if not markup.lower().startswith("<!doctype"):
            return markup
        return f'<iframe srcdoc="{html.escape(markup)}" style="width: 100%; height: 24em; border: 0"></iframe>'


@dataclass(frozen=True)
class Run:
    """A finished run: its record (settings, metrics, history, timing, versions) and the folder with its files."""

    record: RunRecord
    folder: Path

    @property
    def id(self) -> str:
        """The run's id, such as `demo/lr/1-3f9c2d1a`."""
        return self.record.id

    def show(self) -> View[RunRecord]:
        """The run as a table: its data, its figures with intervals, and its settings with the origin of each."""
        return View(self.record, lambda fmt: tables.one_run(self.record, fmt))

    def metrics(self, rule: str = "fixed", split: str = "test") -> dict[str, float]:
        """All figures of a split by key, as fractions. `rule` is the decision threshold: `fixed` (0.5) or `tuned`."""
        found = self.record.metrics.get(split, {}).get(rule)
        if found is None:
            raise SpecError(f"run '{self.id}' has no figures of split '{split}' by rule '{rule}'")
        return dict(found)

    def predictions(self, split: str = "test") -> pd.DataFrame:
        """Documents × codes of the validation or the test split.

        Columns are (`probability`, code), (`gold`, code) and `unseen`, the number of a document's gold codes that do not
        occur in training. Rows are in the order of the split; runs store no ids. Raises SpecError, DataError.
        """
        import pandas as pd

        stored = store.load_predictions(self.folder, self.record)
        if split not in stored:
            raise SpecError(f"run '{self.id}' has no predictions of split '{split}'{nearest(split, stored)}")
        codes, predicted = list(store.load_label_set(self.folder, self.record).codes), stored[split]
        parts = {
            "probability": pd.DataFrame(score.probabilities(predicted.scores_NL), columns=codes),
            "gold": pd.DataFrame(predicted.labels.toarray().astype(bool), columns=codes),
            "unseen": pd.DataFrame({"": predicted.unseen}),
        }
        return pd.concat(parts, axis="columns").rename_axis(index="document", columns=["", "code"])


@dataclass(frozen=True, repr=False)
class Results(Sequence[Run]):
    """A sequence of `Run`, in the order of the request or by id as stored; a notebook shows it as a table.

    `parts` are the tables and studies that were requested, each with the records of its runs.
    """

    runs: Sequence[Run]
    parts: Sequence[tuple[Benchmark | None, Sequence[RunRecord]]] = field(default=())

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> Run | Results:
        return Results(self.runs[index]) if isinstance(index, slice) else self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        names = sorted({record.spec.dataset for record in self.records})
        systems = dict.fromkeys(record.spec.system for record in self.records)
        return f"<{len(self)} run{'s' * (len(self) != 1)} of {', '.join(systems) or 'nothing'} on {', '.join(names) or 'nothing'}>"

    def _repr_html_(self) -> str:
        return self.table().text("html")

    @property
    def records(self) -> list[RunRecord]:
        """The runs' records."""
        return [run.record for run in self.runs]

    def frame(self) -> pd.DataFrame:
        """A row for each figure of each run: data set, system, setting, seed, split, rule, metric, value (a fraction)."""
        return frame(self.records)

    def table(self, *, mix: bool = False) -> View[pd.DataFrame]:
        """The requested tables, else the systems side by side: percent, mean ± standard deviation over seeds.

        The best figure of a column is bold, and ≈ marks those that cannot be told from it. `mix` also averages runs of
        different minor versions of icdbench and torch. `data` is the frame.
        """
        folders = self._results_folders()

        def text(fmt: str) -> str:
            parts = [(part, measure.with_ceilings(of, folders)) for part, of in self.parts or [(None, self.records)]]
            benchmarks = [(part, records) for part, records in parts if part is not None]
            texts = [tables.printed(benchmarks, fmt, results=folders, mix=mix)] if benchmarks else []
            others = [records for part, records in parts if part is None]
            return "\n".join([*texts, *(tables.comparison(each, fmt, results=folders, mix=mix) for each in others)])

        return View(self.frame(), text)

    def compare(
        self,
        one: str,
        other: str,
        *,
        dataset: str = "",
        rule: str = "fixed",
        resamples: int = 1000,
        fix_seeds: bool = False,
        mix: bool = False,
    ) -> View[comparing.Comparison]:
        """Two systems on the same test documents: paired differences with 95 % intervals and p-values, codes won and lost.

        `one` and `other` are systems such as `jlan@no-joint`, or `jlan:3f9c2d1a` with digits of a setting or a run. `dataset` is
        optional if all runs are on one. The bootstrap draws test documents and the seeds of each system `resamples` times,
        with `fix_seeds` only documents. Raises SpecError for what cannot be compared, DataError for damaged files.
        """
        (found,) = self.against(
            other, one, dataset=dataset, rule=rule, resamples=resamples, fix_seeds=fix_seeds, mix=mix
        ).data
        return View(found, lambda fmt: comparison.render(found, fmt))

    def analysis(
        self, *, rule: str = "tuned", edges: Sequence[int] = (), data: str | Path | None = None
    ) -> pd.DataFrame:
        """The analyses of docs/analyses.md from the runs' predictions: a row for each figure of each run.

        Columns: dataset, system, setting, seed, run, analysis (such as `frequency`), group (such as `tail`), metric, value (a
        fraction or a number). `rule` is the decision threshold, `edges` are the highest training counts of frequency groups
        (else head, medium and tail), `data` is the folder of raw data, needed for the lengths of notes. What is missing is
        logged and kept in `attrs["missing"]`. Raises SpecError.
        """
        choice = analysis.Choice(rule, edges, None if data is None else Path(data))
        analysed = analysis.analyse(self.records, self._results_folders(), choice)
        for line in analysed.missing:
            log.warning("%s", line)
        frame = analysis.frame(self.records, analysed)
        frame.attrs["missing"] = list(analysed.missing)
        return frame

    def against(
        self,
        reference: str,
        *systems: str,
        dataset: str = "",
        rule: str = "fixed",
        resamples: int = 1000,
        fix_seeds: bool = False,
        mix: bool = False,
    ) -> View[Sequence[comparing.Comparison]]:
        """Each of `systems` (by default all others) against the reference: a table for each main metric.

        P-values are corrected for the number of systems (Holm). The other arguments and errors are those of `compare`.
        """
        folders = self._results_folders()
        if len(folders) != 1:
            raise SpecError("runs of one results folder can be compared, and these are of several")
        found = comparing.against(
            folders[0],
            (reference, *(systems or (comparing.ALL,))),
            self._dataset(dataset),
            rule=rule,
            resamples=resamples,
            fix_seeds=fix_seeds,
            mix=mix,
            records=self.records,
        )
        return View(found, lambda fmt: comparison.render_against(found, fmt))

    def _dataset(self, named: str) -> str:
        """The data set to compare on. Raises SpecError if none is named and the runs are on several."""
        stored = sorted({record.spec.dataset for record in self.records})
        if not named and len(stored) != 1:
            raise SpecError(
                f"name the data set to compare on: dataset={' or '.join(map(repr, stored)) or 'none has runs'}"
            )
        return named or stored[0]

    def _results_folders(self) -> list[Path]:
        return list(dict.fromkeys(run.folder.parents[2] for run in self.runs))

    def figure(
        self,
        name: str,
        *,
        dataset: str | None = None,
        models: Sequence[str] = (),
        width: float = 3.5,
        mix: bool = False,
    ) -> Figure:
        """A figure of the paper (`fig2`, `fig5` to `fig8`) from these runs on one data set; `width` in inches.

        Raises SpecError for an unknown figure, for lack of runs, and if runs are on several data sets and none is named.
        """
        drawn = figures.draw(name, figures.DrawingRequest(self.records, self.train_counts, dataset, models, width, mix))
        if len(drawn) > 1:
            raise SpecError(f"{name} could be drawn as {', '.join(each.name for each in drawn)}; name one data set")
        return drawn[0].figure

    def train_counts(self, record: RunRecord) -> IntArray | None:
        """How many training documents have each code [L] of a run; None if that is not stored."""
        for folder in (run.folder for run in self.runs if run.id == record.id):
            in_folder = store.load_record(folder)
            counts = None if in_folder is None else store.load_train_counts(folder, in_folder)
            if counts is not None:
                return counts
        return None

    def with_predictions(self) -> Results:
        """The runs whose predictions are stored beside their records."""
        return Results([run for run in self.runs if (run.folder / store.PREDICTIONS).is_file()])

    def export_predictions(self, path: str | Path) -> Path:
        """Write the predictions of both splits of all runs to one Parquet file.

        A row for each document and code: run, dataset, system, seed, split, document (its number in the split, from 0), code,
        probability, gold. Raises DataError for a run without predictions.
        """
        from pyarrow import parquet

        writer = None
        with replacing(Path(path)) as temporary:
            try:
                for cells in self._prediction_cells():
                    writer = writer or parquet.ParquetWriter(temporary, cells.schema)
                    writer.write_table(cells)
            finally:
                if writer:
                    writer.close()
        return Path(path)

    def _prediction_cells(self) -> Iterator[pa.Table]:
        """Tables of about CELLS cells, so that memory stays small. Raises SpecError without runs."""
        import pyarrow as pa

        if not self.runs:
            raise SpecError("there are no runs whose predictions could be written")
        for run in self.runs:
            spec, codes = run.record.spec, np.array(store.load_label_set(run.folder, run.record).codes)
            step = max(1, CELLS // len(codes))
            for split, predicted in store.load_predictions(run.folder, run.record).items():
                origin = {
                    "run": run.id,
                    "dataset": spec.dataset,
                    "system": spec.system,
                    "seed": spec.seed,
                    "split": split,
                }
                for start in range(0, len(predicted.scores_NL), step):
                    scores_NL = predicted.scores_NL[start : start + step]
                    documents = np.arange(start, start + len(scores_NL), dtype=np.int32)
                    yield pa.table({
                        **{name: pa.repeat(value, scores_NL.size) for name, value in origin.items()},
                        "document": np.repeat(documents, len(codes)),
                        "code": np.tile(codes, len(scores_NL)),
                        "probability": score.probabilities(scores_NL).ravel(),
                        "gold": predicted.labels[start : start + step].toarray().ravel().astype(bool),
                    })  # fmt: skip


def stored(*folders: Path) -> Results:
    """The finished runs below these results folders, by id."""
    records = store.load_records(*folders)
    return Results([Run(record, _folder_of(record, folders)) for record in records])


def _folder_of(record: RunRecord, results: Sequence[Path]) -> Path:
    """The first folder that has the run with its predictions, else the first that has the run."""
    places = (store.folder(each, record) for each in results)
    return store.with_predictions(results, record) or next(filter(Path.is_dir, places))


@dataclass(frozen=True)
class Dataset:
    """A data set with its settings; its raw files are read when its documents are first needed."""

    source: datasets.Source

    @property
    def name(self) -> str:
        return self.source.name

    @cached_property
    def documents(self) -> pd.DataFrame:
        """A row for each document, by id: split, text, codes (a list) and group (such as the patient; empty if unknown)."""
        import pandas as pd

        rows = [
            (each.id, each.split, each.text, list(dict.fromkeys(each.codes)), each.group)
            for each in self.source.documents().documents
        ]
        return pd.DataFrame(rows, columns=["id", "split", "text", "codes", "group"]).set_index("id")

    @cached_property
    def splits(self) -> pd.DataFrame:
        """A row for each split: documents, distinct codes, mean codes per document."""
        import pandas as pd

        rows = {
            split: (len(part), part["codes"].explode().nunique(), part["codes"].map(len).mean())
            for split, part in self.documents.groupby("split")
        }
        columns = ["documents", "codes", "codes_per_document"]
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return frame.reindex(list(SPLITS)).rename_axis("split")

    @cached_property
    def codes(self) -> pd.DataFrame:
        """A row for each code, the most frequent first: its title and how many documents of each split have it.

        Models know only the codes of the training split.
        """
        import pandas as pd

        listed = self.documents[["split", "codes"]].explode("codes").dropna()
        counts = pd.crosstab(listed["codes"], listed["split"]).reindex(columns=list(SPLITS), fill_value=0)
        titles = self.source.titles(tuple(counts.index))
        counts.insert(0, "title", [titles.get(code, "") for code in counts.index])
        ordered = counts.sort_values(["train", "validation", "test"], ascending=False, kind="stable")
        return ordered.rename_axis(index="code", columns=None)
