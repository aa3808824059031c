"""Predictions as FHIR R4 resources (`as_fhir`), one JSON object per line (NDJSON): a Condition for each code above the threshold.

Its verification status is provisional, as nobody has confirmed it. The subject is named after the note, as no patient is known.
An ICD-9-CM procedure becomes a Procedure, a note without predictions an OperationOutcome with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from icdbench.data import datasets
from icdbench.host import output
from icdbench.inference.predict import Answer, Code, problem
from icdbench.settings import DataError

SYSTEMS = {"ICD-10-CM": "http://hl7.org/fhir/sid/icd-10-cm", "ICD-9-CM": "http://hl7.org/fhir/sid/icd-9-cm"}
STATUS = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
PROCEDURE = re.compile(r"\d\d(\.\d{0,2})?")  # of ICD-9-CM; a diagnosis has three characters before the point


def as_fhir(answers: Iterable[Answer], codes: Sequence[str], run: str) -> Iterator[str]:
    """The resources of each note. `codes` are all codes of the model, which show the code system; `run` is the model's name."""
    name = datasets.code_system(codes)
    for note, answer in answers:
        if isinstance(answer, DataError):
            issue = {"severity": "error", "code": "invalid", "diagnostics": f"{note}: {problem(note, answer)}"}
            yield output.json_line({"resourceType": "OperationOutcome", "issue": [issue]}) + "\n"
            continue
        for code in answer.codes:
            if code.above:
                yield output.json_line(_resource(code, name, note, run)) + "\n"


def _resource(code: Code, name: str, note: str, run: str) -> dict[str, Any]:
    spelt = code.code.upper() if name else code.code  # CodiEsp's are in lower case
    coding = {"system": SYSTEMS.get(name), "code": spelt, "display": code.title}
    content = {
        "code": {"coding": [{key: value for key, value in coding.items() if value}]},
        "subject": {"display": f"patient of note {note}"},
        "note": [{"text": f"Predicted by icdbench, {run}: probability {code.probability:.3f}"}],
    }
    if name == "ICD-9-CM" and PROCEDURE.fullmatch(spelt):
        return {"resourceType": "Procedure", "status": "unknown", **content}
    status = {"coding": [{"system": STATUS, "code": "provisional"}]}
    return {"resourceType": "Condition", "verificationStatus": status, **content}
