"""`predict --format fhir`: resources that an implementation of FHIR accepts, of the codes above the threshold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Call

from icdbench.inference import fhir
from icdbench.inference.predict import Code, Reading

pytestmark = pytest.mark.slow
NOTE = "The patient had hypertension, chest pain and fever.\n"


def test_the_packaged_coder_gives_conditions(icdbench: Call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(NOTE)
    (tmp_path / "b.txt").write_text("")
    status, out, err = icdbench("predict", "a.txt", "b.txt", "--format", "fhir")
    *conditions, outcome = map(json.loads, out.splitlines())
    assert (status, outcome["resourceType"]) == (1, "OperationOutcome")
    assert "b.txt" in outcome["issue"][0]["diagnostics"]
    found = {each["code"]["coding"][0]["code"] for each in conditions}
    _, lines, _ = icdbench("predict", "a.txt", "--format", "jsonl")
    assert found == {each["code"].upper() for each in json.loads(lines)["codes"] if each["above"]} != set(), err
    assert {each["code"]["coding"][0]["system"] for each in conditions} == {"http://hl7.org/fhir/sid/icd-10-cm"}
    pytest.importorskip("fhir.resources", reason="pip install 'icdbench[dev]'")
    from fhir.resources.R4B.condition import Condition
    from fhir.resources.R4B.operationoutcome import OperationOutcome

    for each in conditions:
        verified = Condition.model_validate(each).verificationStatus
        assert verified is not None
        assert verified.coding is not None
        assert verified.coding[0].code == "provisional"
    OperationOutcome.model_validate(outcome)


def test_procedures_and_codes_of_no_known_system() -> None:
    reading = Reading((Code("99.04", "Transfusion", 0.9, above=True), Code("428.0", "", 0.2, above=False)), 3, 3, 0)
    (line,) = fhir.as_fhir([("n", reading)], ["99.04", "428.0", "250.00"], "r")
    found = json.loads(line)
    assert (found["resourceType"], found["status"]) == ("Procedure", "unknown")
    assert found["code"]["coding"] == [
        {"system": "http://hl7.org/fhir/sid/icd-9-cm", "code": "99.04", "display": "Transfusion"}
    ]
    (line,) = fhir.as_fhir([("n", Reading((Code("local-1", "", 0.9, above=True),), 3, 3, 0))], ["local-1"], "r")
    assert json.loads(line)["code"]["coding"] == [{"code": "local-1"}]
    pytest.importorskip("fhir.resources", reason="pip install 'icdbench[dev]'")
    from fhir.resources.R4B.procedure import Procedure

    Procedure.model_validate(found)
