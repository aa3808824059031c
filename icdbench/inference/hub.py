"""A trained run as a folder for a model hub such as Hugging Face (`write`): weights, configuration and a model card.

model.safetensors and config.json are a bundle (icdbench.inference.bundle), README.md is the card.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from icdbench.data import datasets, export
from icdbench.inference import bundle
from icdbench.inference.bundle import Bundle
from icdbench.records import RunRecord
from icdbench.settings import SpecError, typed
from icdbench.spec import OWN_VECTORS

CARD = "README.md"
SHOWN = ("f1_micro", "f1_macro", "p@5", "p@8", "map", "auc_micro", "auc_macro")  # figures of the card
RULES = {"fixed": "threshold 0.5", "tuned": "threshold tuned on validation"}
NOT_ASKED = "it was written without --public"
PRIVATE = "do-not-publish"  # tag of a card
TEXT = """
# {system} on {dataset}

A model of icdbench, a benchmark suite for automated ICD coding. It assigns {codes:,} ICD codes to clinical notes.

{terms}

## Use

```python
import icdbench

model = icdbench.load("PATH OF THIS FOLDER")
for code in model.predict(["Text of a note."], top=5)[0]:
    print(code.code, code.title, code.probability, code.above)
```

or `icdbench predict note.txt --bundle FOLDER`. It needs icdbench {icdbench} or later with version {version} of `{model}`;
reading it executes no code.

## Figures

{documents:,} test documents, fractions:

{figures}

## Training

Run `{run}` of {created}: {train:,} training documents, seed {seed}.

{settings}

## Limits

For research; no medical device. It knows the codes of its training data and no others, reads the first {max_tokens:,} words of
a note, and its figures say nothing about notes of another hospital, language or year. It holds {words:,} words of its
training notes.
"""


def write(made: Bundle, record: RunRecord, out: Path, *, public: bool = False) -> None:
    """Write the folder, which must be new or empty, readable only by its owner; nothing half-written remains.

    Only with `public` does the card permit publication. Raises SpecError if the terms of the data do not allow that or are
    not known, and for a folder that is not empty; DataError if it cannot be written.
    """
    obstacle = _obstacle_to_publication(record)
    if public and obstacle:
        raise SpecError(f"--public: {obstacle}; leave --public out")
    with export.new_folder(out) as fresh:
        bundle.write(made, fresh / bundle.WEIGHTS, apart=fresh / bundle.CONFIG)
        (fresh / CARD).write_text(card(made, record, "" if public else obstacle or NOT_ASKED), encoding="utf-8")


def _obstacle_to_publication(record: RunRecord) -> str:
    """Why the weights of a run must not be published as far as the suite knows; empty if they may."""
    known, spec = datasets.scan().get(record.spec.dataset), record.spec
    if known is not None and known.agreement:
        return (
            f"the weights of '{record.id}' are learnt from notes that {known.agreement} covers, and so it covers them"
        )
    if known is None or not known.licence:
        return f"the weights of '{record.id}' are learnt from notes whose terms icdbench does not know"
    if OWN_VECTORS.fullmatch(spec.data.embeddings) or spec.config.get("encoder") or spec.data.synonyms:
        return f"'{record.id}' began with word vectors, synonyms or an encoder whose terms icdbench does not know"
    return ""


def card(made: Bundle, record: RunRecord, private: str) -> str:
    """The model card: YAML for the hub, then text. `private` is the reason why the weights must not be published."""
    contents, spec = made.contents, record.spec
    known = datasets.scan().get(spec.dataset)
    licence, published = (known.licence, known.published) if known else ("", {})
    metadata: dict[str, Any] = {
        "library_name": "icdbench",
        "pipeline_tag": "text-classification",
        "license": licence or "other",
        **({} if licence else {"license_name": "terms-of-the-training-notes", "license_link": CARD}),
        "private": bool(private),
        "tags": ["icd-coding", "medical-coding", "multi-label-classification", *([PRIVATE] if private else [])],
        "model-index": [{"name": record.id, "results": [_result(record)]}],
    }
    terms = f"**Do not publish this folder**: {private}." if private else f"Licence: {licence}."
    if credit := ", ".join(published[key] for key in ("creator", "url") if key in published):
        terms += f" Training data: {credit}."
    if contents.synthetic:
        terms += " The training notes are synthetic."
    text = TEXT.format(
        system=made.system, dataset=spec.dataset, codes=len(contents.codes), terms=terms, icdbench=contents.icdbench,
        version=contents.version, model=contents.model, documents=record.data.documents["test"], figures=_figures(record),
        run=record.id, created=record.created, train=record.data.documents["train"], seed=spec.seed,
        settings=_table(["setting", "value"], [[name, f"`{typed(value)}`"] for name, value in spec.settings.items()]), max_tokens=contents.max_tokens, words=len(contents.tokens),
    )  # fmt: skip
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n{text}"


def _result(record: RunRecord) -> dict[str, Any]:
    """The test figures as a hub reads them."""
    figures = [
        {"type": key, "name": f"{key}, {RULES[rule]}", "value": round(values[key], 6)}
        for rule, values in record.metrics["test"].items()
        for key in SHOWN
        if key in values
    ]
    return {
        "task": {"type": "text-classification", "name": "automated ICD coding"},
        "dataset": {"type": record.spec.dataset, "name": record.spec.dataset, "split": "test"},
        "metrics": figures,
    }


def _figures(record: RunRecord) -> str:
    tested = record.metrics["test"]
    rows = [
        [key, *(f"{values[key]:.4f}" for values in tested.values())]
        for key in SHOWN
        if all(key in values for values in tested.values())
    ]
    return _table(["figure", *(RULES[rule] for rule in tested)], rows)


def _table(headers: list[str], rows: list[list[str]]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
