"""What the sources of MIMIC-III and MIMIC-IV share: their base class, names of tables, and published counts."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from icdbench.codes import CodingSystem, icd9
from icdbench.data.source import Source
from icdbench.data.sources import csv_tables
from icdbench.data.sources import mimic_splits as splits
from icdbench.settings import DataError
from icdbench.spec import DataSpec
from icdbench.synthetic import MARKER
from icdbench.types import SPLITS, Corpus, Report, quiet

CODES = {icd9.DIAGNOSIS: "DIAGNOSES_ICD", icd9.PROCEDURE: "PROCEDURES_ICD"}
TITLES = {icd9.DIAGNOSIS: "D_ICD_DIAGNOSES", icd9.PROCEDURE: "D_ICD_PROCEDURES"}
CODED = (*CODES.values(), *TITLES.values())  # the tables of codes
RARE = 10  # documents; Edin's preparations leave out codes that fewer documents have
AGREEMENT = "MIMIC's data-use agreement"
PUBLISHED = {
    "url": "https://physionet.org/content/mimiciii/1.4/",
    "license": "https://physionet.org/content/mimiciii/view-license/1.4/",
    "version": "1.4",
    "datePublished": "2016",
    "creator": "Alistair Johnson, Tom Pollard, Roger Mark",
}
EDIN = {"words": "ascii", "max_tokens": 4000}  # settings of the preparations of Edin et al. 2023
COUNTING = ("min_documents", "words")  # settings that decide the number of words
CAUSES = {  # facts that explain missing documents
    "listed_without_summary": "listed admissions without a discharge summary in the table of notes",
    "listed_without_label": "listed documents without any code of the label set, in all splits",
}


@dataclass(frozen=True)
class Published:
    """Published counts of a preparation: documents of each split, and other counts where they are known."""

    documents: tuple[int, int, int]
    codes: tuple[int, int] | None = None  # the lowest and highest number that is reported
    codes_with_zeros: int = 0  # the number of codes if leading zeros are kept
    vocabulary: int | None = None  # words known to models
    distinct_words: int | None = None  # before rare ones are dropped
    label_set: frozenset[str] | None = None
    version: str = "1.4"  # of the notes


# As usually reported for CAML's preparation of version 1.4.
FULL = Published((47_723, 1_631, 3_372), (8_921, 8_930), 9_017, 51_917, 140_795)
FIFTY = Published(
    (8_066, 1_573, 1_729),
    vocabulary=51_917,
    label_set=frozenset(
        "038.9 244.9 250.00 272.0 272.4 276.1 276.2 285.1 285.9 287.5 305.1 311 33.24 36.15 37.22 37.23 38.91 38.93 39.61 39.95"
        " 401.9 403.90 410.71 412 414.01 424.0 427.31 428.0 45.13 486 496 507.0 511.9 518.81 530.81 584.9 585.9 599.0 88.56"
        " 88.72 96.04 96.6 96.71 96.72 99.04 99.15 995.92 V15.82 V45.81 V58.61".split()
    ),
)


@dataclass(frozen=True)
class Mimic(Source):
    """A preparation of MIMIC, with its published counts, if any (`known`)."""

    agreement: str = AGREEMENT
    known: Published | None = None
    by_length = True
    pinned: ClassVar[bool] = True  # whether checksums of the lists are known

    @property
    def published(self) -> Mapping[str, str]:
        return {} if self.synthetic else PUBLISHED

    @property
    @abstractmethod
    def coding(self) -> CodingSystem:
        """The coding system, which also gives the titles that the user's files lack."""

    @abstractmethod
    def lists(self) -> dict[str, Path]:
        """The lists of admissions: a file for each split, or one for "all"."""

    @abstractmethod
    def listed_titles(self) -> Iterator[tuple[str, str]]:
        """Codes and titles of the user's files, the preferred title of a code first."""

    def titles(self, codes: Sequence[str]) -> Mapping[str, str]:
        """Long titles from the user's files, else from the coding system."""
        listed: dict[str, str] = {}
        for code, title in self.listed_titles():
            listed.setdefault(code, title)
        found = {code: listed[code] for code in codes if listed.get(code)}
        return {**self.coding.titles([code for code in codes if code not in found]), **found}

    def check(self) -> Sequence[str]:
        """What is missing, and lists of admissions that differ from the published ones, a line each."""
        if missing := super().check():
            return missing
        pinned = self.lists().values() if self.pinned and not self.synthetic else ()
        altered = filter(splits.altered, pinned)
        return [f"{path} differs from the published split (SHA-256); document counts will too" for path in altered]

    def without_summary(self, split_of: Mapping[int, str], admissions: Collection[int], notes: Path) -> str:
        """The numbers of listed admissions of each split that have no summary, in words.

        Raises DataError if no admission of a split has one.
        """
        missing = [admission for admission in split_of if admission not in admissions]
        if not missing:
            return ""
        for split in SPLITS:
            listed = [admission for admission in split_of if split_of[admission] == split]
            if not any(admission in admissions for admission in listed):
                path = self.lists().get(split, self.lists().get("all"))
                raise DataError(
                    f"none of the {len(listed)} {split} admissions of {path}, the first {listed[:1]}, has a discharge summary "
                    f"in {notes}; do the lists belong to these tables?"
                )
        counts = Counter(split_of[admission] for admission in missing)
        return ", ".join(f"{split} {counts[split]}" for split in SPLITS if counts[split])

    # --- Published counts ------------------------------------------------------------------------------------------------

    def unlike_published(self, report: Report) -> Sequence[str]:
        """A line for each count that differs from the published one, with its cause where the data tell it.

        None if validation documents belong to training, as in no published preparation.
        """
        if self.known is None or self.data.train_on != "train":
            return []
        corpus = self.corpus(report)
        comparisons = (self._unlike_documents, self._unlike_label_set, self._unlike_codes, self._unlike_words)
        return [line for compare in comparisons for line in compare(corpus, self.known)]

    @property
    def _corrected(self) -> bool:
        return getattr(self.data, "protocol", "") == "corrected"

    def _unlike_documents(self, corpus: Corpus, known: Published) -> Iterator[str]:
        for split, expected in zip(SPLITS, known.documents, strict=True):
            found = len(corpus.splits[split])
            if found == expected:
                continue
            causes = [f"{what}: {corpus.facts[name]}" for name, what in CAUSES.items() if corpus.facts.get(name)]
            why = "; ".join(causes) or "the list of this split is not the published one"
            in_paper = f" ({expected + 1:,} in the JLAN paper, whose counts are one too high)"
            yield f"{split} documents: {found:,}, published {expected:,}{in_paper if known.codes_with_zeros else ''}; {why}"

    def _unlike_label_set(self, corpus: Corpus, known: Published) -> Iterator[str]:
        found, expected = set(corpus.vocabulary.codes), known.label_set
        if expected is None or found == expected:
            return
        gone, new = sorted(expected - found), sorted(found - expected)
        counted = self.data.top_codes in {None, len(expected)}
        why = "the counts of label rows differ" if counted else f"top_codes={self.data.top_codes}"
        if self._corrected:
            why = "protocol corrected counts only training documents"
        yield (
            f"label set: {len(gone)} of the published codes are missing ({', '.join(gone) or 'none'}), {len(new)} are new "
            f"({', '.join(new) or 'none'}); {why}"
        )

    def _unlike_codes(self, corpus: Corpus, known: Published) -> Iterator[str]:
        if known.codes is None or self.data.top_codes is not None:
            return
        count, (low, high), kept = len(corpus.vocabulary.codes), known.codes, known.codes_with_zeros
        reported = f"codes: {count:,}; reported are {low:,}–{high:,}"
        if self._corrected and count != kept:
            yield (
                f"{reported}, and {kept:,} with leading zeros kept; protocol corrected keeps them, and takes the label set "
                "from training documents alone"
            )
        elif not self._corrected and not low <= count <= high:
            lost = corpus.facts.get("procedures_that_lost_zeros", 0)
            yield (
                f"{reported}; {lost} procedure codes lost leading zeros here, where the published script also turned some "
                "into floats (39.50 into 39.5), depending on how it read the file"
            )

    def _unlike_words(self, corpus: Corpus, known: Published) -> Iterator[str]:
        settings = {name: getattr(self.data, name) for name in COUNTING}
        changed = [f"{name}={value}" for name, value in settings.items() if value != getattr(DataSpec(), name)]
        why = ", ".join(changed) or f"another version of the notes than {known.version}"
        if not changed and len(corpus.splits["train"]) != known.documents[0]:
            why = "the training documents are not the published ones"
        for name, found, expected in (
            ("vocabulary", len(corpus.vocabulary.tokens) - 2, known.vocabulary),
            ("distinct words", corpus.facts["distinct_words"], known.distinct_words),
        ):
            if expected is not None and found != expected:
                yield f"{name}: {found:,}, published {expected:,}; {why}"


def mimic3_folder(root: Path, *, synthetic: bool) -> Path:
    """The folder of MIMIC-III's tables, real or synthetic, below the data root. Raises DataError unless there is just one."""
    found = csv_tables.folders(root, "NOTEEVENTS")
    made = [folder for folder in found if (folder / MARKER).is_file()]
    wanted = made if synthetic else [folder for folder in found if folder not in made]
    if len(wanted) > 1:
        raise DataError(f"NOTEEVENTS is in {wanted[0]} and in {wanted[1]}; name one of them with --data")
    if wanted:
        return wanted[0]
    if made:
        raise DataError(
            f"the tables in {made[0]} are synthetic (icdbench data make); use --dataset synth-full or synth50"
        )
    if found:
        raise DataError(
            f"the tables in {found[0]} were not made by 'icdbench data make'; use --dataset mimic-full or mimic50"
        )
    if other := csv_tables.folders(root, "discharge"):
        raise DataError(f"{other[0]} holds MIMIC-IV's notes, not MIMIC-III; use --dataset mimic4-icd9 or mimic4-icd10")
    if synthetic:
        raise DataError(f"no synthetic tables in '{root}'; make some with 'icdbench data make {root / 'synth'}'")
    raise DataError(
        f"MIMIC-III is not in '{root}' (no NOTEEVENTS.csv.gz or .csv there or below); get it from "
        "https://physionet.org/content/mimiciii/1.4/ and name its folder with --data or ICDBENCH_DATA"
    )


def code_rows(
    folder: Path, tables: Mapping[str, str], columns: Sequence[str], report: Report = quiet
) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    """The rows of the tables of diagnoses, then of procedures: the kind of code, the table's path and the cells."""
    for kind, name in tables.items():
        path = csv_tables.required(folder, name)
        for cells in csv_tables.rows(path, columns, report):
            yield kind, path, cells


def undotted(code: str) -> str:
    """A code as a cell has it, without dots and surrounding blanks."""
    return code.replace(".", "").strip()


def missing_summaries(missing: str) -> list[str]:
    """The notice about listed admissions without a summary, if there are any."""
    return [f"listed admissions without a discharge summary are left out: {missing}"] if missing else []
