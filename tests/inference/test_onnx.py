"""Networks as ONNX files: onnxruntime computes torch's logits at every length, and what cannot be written says why."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Call
from finished import run_of
from systems import NEURAL, NUM_CODES, NUM_TOKENS, neural, padded
from torch import nn

from icdbench import registry
from icdbench.inference import bundle, onnx
from icdbench.settings import SpecError
from icdbench.types import Batch

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

SYSTEMS = [  # encoders have a test of their own
    name for name in NEURAL if "encoder" not in registry.entry(name.partition("@")[0]).needs
]
# Networks without recurrence that cannot be written, and a word of the reason.
REFUSED = {
    "msatt-kg": "sparse",  # products with the hierarchy
    "msatt-kg@no-titles": "sparse",
    "duallaat@cnn": "data-dependent",  # titles of codes are read in blocks of their lengths
}
FEWER: dict[str, dict[str, Any]] = {  # layers of a kind: torch tries to write each network in several ways
    "multirescnn": {"kernel_sizes": (3, 5)},
    "jlan-released": {"kernel_sizes": (3, 5)},
    "msatt-kg": {"scales": 2},
    "msatt-kg@no-graph": {"scales": 2},
    "msatt-kg@no-titles": {"scales": 2},
}


def recurrent(network: nn.Module) -> bool:
    return any(isinstance(layer, nn.RNNBase) for layer in network.modules())


def differences(network: nn.Module, name: str, folder: Path) -> list[float]:
    """How far onnxruntime's logits are from torch's, at several lengths and numbers of documents."""
    onnx.exported(network, name, NUM_TOKENS, NUM_CODES).save(folder / "model.onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    found = []
    for count, size in ((1, 1), (1, 17), (2, 40), (4, 301)):
        tokens_BT, lengths_B = onnx.documents(count, size, NUM_TOKENS)
        with torch.no_grad():
            expected_BL = network(Batch(tokens_BT, lengths_B, torch.zeros(count, NUM_CODES), lengths_B)).numpy()
        (logits_BL,) = session.run(None, {"tokens": tokens_BT.numpy(), "lengths": lengths_B.numpy()})
        found.append(float(np.abs(logits_BL - expected_BL).max()))
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_network_is_written_or_refused(name: str, tmp_path: Path) -> None:
    network = neural(name, **FEWER.get(name, {})).eval()
    reason = "it is recurrent" if recurrent(network) else name in REFUSED and f"torch says: .*{REFUSED[name]}"
    if reason:
        with pytest.raises(SpecError, match=f"'{name}' cannot be written as ONNX: {reason}"):
            differences(network, name, tmp_path)
    else:
        assert max(differences(network, name, tmp_path)) < onnx.TOLERANCE


def test_a_model_with_an_encoder_is_refused(finished: Path) -> None:
    made = bundle.read(finished / "caml.icdbench")
    contents = made.contents.model_copy(update={"encoder": {}})
    with pytest.raises(SpecError, match="its encoder reads notes in chunks"):
        onnx.write(bundle.Bundle(contents, made.weights), finished / "made.onnx")


def test_a_run_is_written_with_its_words_and_codes(finished: Path, icdbench: Call) -> None:
    status, out, err = icdbench("bundle", run_of(finished, "caml"), "--to", "onnx", "caml.onnx")
    assert status == 0, err
    assert out.startswith("caml.onnx: notes.csv/caml/")
    session = onnxruntime.InferenceSession(finished / "caml.onnx", providers=["CPUExecutionProvider"])
    contents = json.loads(session.get_modelmeta().custom_metadata_map["icdbench"])
    number = {word: place for place, word in enumerate(contents["tokens"])}
    batch = padded([[number[word] for word in ("the", "patient", "had", "fever") if word in number]])
    given = {"tokens": batch.tokens_BT.numpy(), "lengths": batch.lengths_B.numpy()}
    assert session.run(None, given)[0].shape == (1, len(contents["codes"]))


@pytest.mark.parametrize(("system", "said"), [("lr", "it is no network"), ("jlan", "it is recurrent")])
def test_what_cannot_be_written_is_one_line(system: str, said: str, finished: Path, icdbench: Call) -> None:
    status, out, err = icdbench("bundle", run_of(finished, system), "--to", "onnx", "made.onnx")
    assert (status, out) == (2, "")
    assert f"'{system}' cannot be written as ONNX: {said}" in err
    assert err.count("\n") == 1
    assert not (finished / "made.onnx").exists()


def test_an_export_that_is_right_at_one_length_alone_is_refused(
    finished: Path, icdbench: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = onnx.OnTokens.forward
    monkeypatch.setattr(
        onnx.OnTokens,
        "forward",
        lambda self, tokens_BT, lengths_B: first(self, tokens_BT[:, :17], lengths_B.clamp(max=17)),
    )
    status, _, err = icdbench("bundle", run_of(finished, "caml"), "--to", "onnx", "made.onnx")
    assert status == 2
    assert "its computation depends on the length" in err
    assert not (finished / "made.onnx").exists()


def test_a_missing_package_is_one_line(finished: Path, icdbench: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, _, err = icdbench("bundle", run_of(finished, "caml"), "--to", "onnx", "made.onnx")
    assert status == 2
    assert "pip install 'icdbench[onnx]'" in err
