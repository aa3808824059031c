"""The variant `<model>@tuned`: the best setting that tuning found on a data set. Entered through icdbench.records.store."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icdbench.files import read_json, replacing
from icdbench.settings import SpecError
from icdbench.spec import Variant

log = logging.getLogger("icdbench")

TUNING, TUNED = "tuning", "tuned"


def tuning_folder(results: Path, dataset: str) -> Path:
    """The folder with the outcomes of tuning on a data set."""
    return results / TUNING / dataset


def save_tuned(results: Path, found: Mapping[str, Any]) -> Path:
    """Write the outcome of tuning: data set and fingerprint, model, settings (`model` and `train`), and facts of the search.

    Data sets of equal name share the file; replacing the setting of another data set is logged.
    """
    path = tuning_folder(results, found["dataset"]) / f"{found['model']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        before = read_json(path)["fingerprint"]
        if before != found["fingerprint"]:
            log.warning("%s held the setting tuned on other data of that name (fingerprint %s); replaced", path, before)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def load_tuned(results: Path, dataset: str, model: str, asked: str, fingerprint: str) -> Variant:
    """The variant `<model>@tuned` for a data set, which the user gave as `asked` (a path, for their own data).

    Raises SpecError if there is none, its file is damaged, or it was tuned on data with another fingerprint.
    """
    path = tuning_folder(results, dataset) / f"{model}.json"
    makes = f"'icdbench tune {model} --dataset {asked} --results {results}' makes it"
    if not path.exists():
        raise SpecError(f"no tuned setting of '{model}' for '{dataset}' ({path} is missing); {makes}")
    try:
        stored = read_json(path)
        tuned_for, settings = (stored["model"], stored["dataset"]), stored["settings"]
        tuned_on = str(stored["fingerprint"])[:16]
        variant = Variant(name=TUNED, model=settings["model"], train=settings["train"])
    except (ValueError, KeyError, TypeError, OSError) as error:  # pydantic's is a ValueError
        reason = f"no '{error.args[0]}'" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise SpecError(f"{path} is damaged ({reason}); remove it, and {makes} anew") from None
    if tuned_for != (model, dataset):
        raise SpecError(f"{path} is of '{tuned_for[0]}' for '{tuned_for[1]}'; remove it, and {makes} anew")
    if tuned_on != fingerprint:
        raise SpecError(
            f"'{model}@tuned' was tuned on other data named '{dataset}' (fingerprint {tuned_on}; that of '{asked}' is "
            f"{fingerprint}); {makes} for these data"
        )
    return variant
