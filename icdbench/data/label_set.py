"""The label set of a task: the codes of the training documents, or with `data.label_set=system` the whole code system.

Codes of the training documents come first, and the rest of the code system follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from icdbench.data.source import Source
from icdbench.settings import SpecError
from icdbench.spec import DataSpec
from icdbench.types import Document


def of_training(by_split: Mapping[str, Sequence[Document]], data: DataSpec) -> tuple[str, ...]:
    """The codes seen in training, sorted, or the `data.top_codes` most frequent of them (ties by first appearance).

    With `data.train_on=train+validation` the codes of validation are added to the former. They do not change the latter,
    which would be another task.
    """
    train = [*by_split["train"]]
    if data.top_codes is None and data.train_on == "train+validation":
        train += by_split["validation"]
    counts = Counter(code for document in train for code in document.codes)
    if data.top_codes is None:
        return tuple(sorted(counts))
    if data.top_codes > len(counts):
        raise SpecError(
            f"data.top_codes={data.top_codes}, but training has only {len(counts)} codes; set at most that, or none for all codes"
        )
    return tuple(sorted(code for code, _ in counts.most_common(data.top_codes)))


def of_system(codes: Sequence[str], opened: Source) -> tuple[str, ...]:
    """These codes, then all others of the code system, in the same case and with or without dots as these.

    Raises SpecError if the code system is not known.
    """
    written = "".join(codes)
    in_lower_case, with_dots = written == written.lower() != written.upper(), "." in written
    found = {code.casefold(): code for code in codes}
    for listed in opened.system_codes():
        code = listed.lower() if in_lower_case else listed
        code = code if with_dots else code.replace(".", "")
        found.setdefault(code.casefold(), code)
    return (*codes, *list(found.values())[len({code.casefold() for code in codes}) :])


def facts(codes: Sequence[str], documents: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Facts for the record of a run on the whole code system: the number of `codes`, and the gold codes outside by split."""
    known = set(codes)
    unseen = {split: sum(len(set(each.codes) - known) for each in part) for split, part in documents.items()}
    return {"training_codes": len(codes), "unseen_in_training": unseen}
