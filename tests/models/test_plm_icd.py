"""PLM-ICD: chunks, both decoders, gradients that are computed again, and a run from a folder to its bundle."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import encoders as made
import numpy as np
import pytest
import torch
from conftest import Call
from corpora import write
from runs import TEXTS as TEXTS_OF_TEST
from runs import rows, train
from systems import NUM_CODES, TEXTS, neural, padded, small_task
from torch import Tensor, nn
from torch.nn import functional

import icdbench.run as runner
from icdbench import registry
from icdbench.data import encoders
from icdbench.nn import pretrained
from icdbench.records import store
from icdbench.settings import DataError, SpecError
from icdbench.types import UNKNOWN, Encoder

LONG = [[2 + (7 * place + 11 * row) % 57 for place in range(length)] for row, length in enumerate((300, 128, 129, 5))]
NEW = ["plm-icd", "plm-icd@cross"]


def states(model: Any, text: list[int], size: int = 128) -> Tensor:
    """The encoder's states of a document [T, H]: each chunk by itself, by the transformers library alone."""
    chunks = [text[first : first + size] for first in range(0, len(text), size)]
    found = [
        model.encoder.model(inputs_embeds=model.embedding.weight[chunk][None]).last_hidden_state[0] for chunk in chunks
    ]
    return torch.cat(found)


@pytest.mark.parametrize("text", [TEXTS[0], LONG[0], LONG[2]])
def test_label_attention_computes_its_equations(text: list[int]) -> None:
    model = neural("plm-icd").eval()
    weights = model.state_dict()
    hidden_TH = states(model, text)
    keys_TA = (hidden_TH @ weights["decoder.W.weight"].T).tanh()
    attention_LT = (weights["decoder.U.weight"] @ keys_TA.T).softmax(1)
    codes_LH = attention_LT @ hidden_TH
    expected_L = (weights["decoder.output.final.weight"] * codes_LH).sum(1) + weights["decoder.output.final.bias"]
    torch.testing.assert_close(model(padded([text]))[0], expected_L, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("text", [TEXTS[0], LONG[0], LONG[2]])
def test_cross_attention_computes_its_equations(text: list[int]) -> None:
    model = neural("plm-icd@cross").eval()
    weights = model.state_dict()
    hidden_TH = states(model, text)
    keys_TH = hidden_TH @ weights["decoder.keys.weight"].T
    values_TH = hidden_TH @ weights["decoder.values.weight"].T + weights["decoder.values.bias"]
    attended_LH = (weights["decoder.queries.weight"] @ keys_TH.T).softmax(1) @ values_TH
    normed_LH = functional.layer_norm(attended_LH, (16,), weights["decoder.norm.weight"], weights["decoder.norm.bias"])
    expected_L = (normed_LH @ weights["decoder.output.weight"].T + weights["decoder.output.bias"])[:, 0]
    assert expected_L.shape == (NUM_CODES,)
    torch.testing.assert_close(model(padded([text]))[0], expected_L, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NEW)
def test_long_documents_do_not_depend_on_their_batch(name: str) -> None:
    model = neural(name).eval()
    together = model(padded(LONG))
    for row, text in enumerate(LONG):
        torch.testing.assert_close(model(padded([text]))[0], together[row], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model(padded(LONG, width=700)), together, rtol=1e-5, atol=1e-5)


def test_a_chunk_sees_nothing_of_the_others() -> None:
    model: Any = neural("plm-icd", chunk_size=100).eval()
    changed = [*LONG[0][:100], *([7] * 200)]
    one, other = (
        model.encoder(model.embedding(padded([text]).tokens_BT), torch.tensor([300])) for text in (LONG[0], changed)
    )
    torch.testing.assert_close(one[0, :100], other[0, :100])
    assert not torch.allclose(one[0, 100:200], other[0, 100:200], atol=1e-3)


def counted(sizes: list[int], kept: Tensor) -> Tensor:
    """Note the size of a tensor that is kept for gradients."""
    sizes.append(kept.numel())
    return kept


@pytest.mark.parametrize("name", NEW)
def test_gradients_computed_again_are_the_same_and_little_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "CHUNKS_AT_ONCE", 2)
    changed = {**made.SMALL_ENCODER, "hidden_dropout_prob": 0.1}
    given = small_task()
    given = type(given)(**{**vars(given), "encoder": Encoder(changed)})
    found, kept = [], []
    for checkpointing in (True, False):
        torch.manual_seed(0)
        model: Any = registry.build(name, given, attention_size=8, gradient_checkpointing=checkpointing)
        sizes: list[int] = []
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(functools.partial(counted, sizes), lambda each: each):
            logits_BL = model(padded(LONG))
        if checkpointing:
            logits_BL.sum().backward()  # dropout is drawn again as it was
            assert all(value.grad is not None for value in model.parameters())
        kept.append(sum(sizes))
        model.eval()
        logits_BL = model(padded(LONG))
        model.zero_grad()
        logits_BL.square().sum().backward()
        found.append([value.grad for value in model.parameters()])
    assert 5 * kept[0] < kept[1]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_chunks_longer_than_the_positions_are_refused() -> None:
    with pytest.raises(SpecError, match="chunk_size=129: the encoder has 128 positions; choose at most 128 subwords"):
        neural("plm-icd", chunk_size=129)
    roberta = {**made.SMALL_ENCODER, "model_type": "roberta", "pad_token_id": 1}
    given = small_task()
    with pytest.raises(SpecError, match="the encoder has 126 positions"):
        registry.build("plm-icd", type(given)(**{**vars(given), "encoder": Encoder(roberta)}))


def of_kind(kind: str, chunk_size: int = 32, **changes: Any) -> nn.Module:
    given = small_task()
    encoder = Encoder({**made.SMALL_ENCODER, "model_type": kind, **changes})
    model = registry.build("plm-icd", type(given)(**{**vars(given), "encoder": encoder}), chunk_size=chunk_size)
    assert isinstance(model, nn.Module)
    return model


@pytest.mark.parametrize("kind", ["longformer", "big_bird"])
def test_encoders_of_local_attention_read_whole_windows(kind: str) -> None:
    settings = {"attention_window": [16, 16], "block_size": 16}
    model = of_kind(kind, 48, **settings).eval()
    together = model(padded(LONG))
    for row, text in enumerate(LONG):
        torch.testing.assert_close(model(padded([text]))[0], together[row], rtol=1e-4, atol=1e-5)
    with pytest.raises(
        SpecError, match=r"chunk_size=40: this encoder attends in windows of 16 subwords, so a chunk has"
    ):
        of_kind(kind, 40, **settings)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("fnet", "'fnet' does not leave padding out, so scores would depend on it; take one such as BERT"),
        (
            "layoutlm",
            r"'layoutlm' cannot be read by word vectors alone \('NoneType' object is not callable\); take one",
        ),
        ("ibert", "'ibert' has no plain table of word vectors; take one such as BERT"),
    ],
)
def test_kinds_of_encoders_that_cannot_be_read_in_chunks_are_one_line(kind: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as raised:
        of_kind(kind)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "electra", "deberta-v2", "modernbert", "mpnet", "albert"])
def test_other_kinds_of_encoders_are_read(kind: str, tmp_path: Path) -> None:
    """Each by its own names of the same sizes, from its own file."""
    sizes: dict[str, Any] = (
        {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2, "embedding_size": 12}
        if kind in {"distilbert", "electra", "albert"}
        else {}
    )
    positions: dict[str, Any] = {
        "max_position_embeddings": 140,
        "model_type": kind,
        "pad_token_id": 0,
        "cls_token_id": 2,
        "sep_token_id": 3,
    }
    folder = made.write(tmp_path / kind, made.WORDS, **sizes, **positions)
    found = encoders.named(encoders.keep(str(folder), "plm-icd").name)
    assert found is not None
    assert found.ids is not None
    given = small_task()
    model: Any = registry.build("plm-icd", type(given)(len(found.ids), NUM_CODES, encoder=found), attention_size=8)
    logits_BL = model(padded(LONG))
    logits_BL.sum().backward()
    assert torch.isfinite(logits_BL).all()
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    expected = plain(input_ids=torch.from_numpy(found.ids)[torch.tensor(LONG[1])][None]).last_hidden_state
    states_BTH = model.eval().encoder(model.embedding(padded([LONG[1]]).tokens_BT), torch.tensor([128]))
    torch.testing.assert_close(states_BTH, expected, rtol=1e-4, atol=1e-4)


def test_the_embedding_has_the_encoders_vectors_in_the_vocabularys_order() -> None:
    found = encoders.named(encoders.keep(str(made.folder()), "plm-icd").name)
    assert found is not None
    assert found.ids is not None
    from transformers import AutoModel

    vectors = AutoModel.from_pretrained(made.folder(), dtype=torch.float32).get_input_embeddings().weight
    given = small_task()
    model: Any = registry.build("plm-icd", type(given)(len(found.ids), NUM_CODES, encoder=found))
    torch.testing.assert_close(model.embedding.weight[UNKNOWN:], vectors[torch.from_numpy(found.ids[UNKNOWN:])])
    assert not model.embedding.weight[0].any()


# --- A run -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_learns_and_its_bundle_needs_nothing_else(tmp_path: Path) -> None:
    """Neither the encoder's folder nor the cache, in another process."""
    changes = {"train.max_epochs": 16, "train.learning_rate": 0.01, "train.batch_size": 4}
    record, folder = train(tmp_path, "plm-icd", changes=changes)
    assert record.metrics["test"]["tuned"]["f1_micro"] > 0.85
    assert record.spec.config["encoder"].startswith("encoder-")
    assert str(made.folder()) not in record.as_json()
    from icdbench.inference import bundle

    found = bundle.of_run(record.id, tmp_path / "results")
    bundle.write(found, tmp_path / "m.icdbench")
    scores_NL = store.load_predictions(folder, record)["test"].scores_NL
    expected = [found.contents.codes[code] for code in scores_NL.argmax(1)]
    (tmp_path / "notes.json").write_text(json.dumps(TEXTS_OF_TEST))
    code = (
        "import icdbench, json; texts = json.load(open('notes.json')); "
        "print(json.dumps([codes[0].code for codes in icdbench.load('m.icdbench').predict(texts)]))"
    )
    environment = {
        "ICDBENCH_CACHE": str(tmp_path / "none"),
        "PATH": "",
        "PYTHONPATH": ":".join(sys.path),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == expected


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    changes = {"train.max_epochs": 2, "train.learning_rate": 0.01}
    weights = []
    for name in ("one", "other"):
        record, folder = train(tmp_path / name, "plm-icd", changes=changes)
        weights.append(store.load_weights(folder, record))
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][key], err_msg=key)


@pytest.mark.slow
def test_the_same_command_with_a_copy_of_the_encoder_is_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = train(tmp_path, "plm-icd")
    copy = shutil.copytree(made.folder(), tmp_path / "copy")
    monkeypatch.setattr(runner, "_train_and_store", lambda *_: pytest.fail("it is computed again"))
    again, _ = train(tmp_path, "plm-icd", changes={"plm-icd.encoder": str(copy)})
    assert again.id == record.id


@pytest.mark.slow
def test_a_bundle_of_absurd_widths_is_refused(tmp_path: Path) -> None:
    from icdbench.inference import bundle

    record, _ = train(tmp_path, "plm-icd")
    found = bundle.of_run(record.id, tmp_path / "results")
    absurd = {**(found.contents.encoder or {}), "intermediate_size": 10**9}
    altered = bundle.Bundle(found.contents.model_copy(update={"encoder": absurd}), found.weights)
    with pytest.raises(DataError, match="do not fit its model"):
        bundle.model(altered, torch.device("cpu"))


@pytest.mark.slow
def test_it_is_tuned_and_what_was_found_is_run(icdbench: Call, tmp_path: Path) -> None:
    write(tmp_path / "notes.csv", rows())
    words = (
        "--dataset",
        "notes.csv",
        "--set",
        f"plm-icd.encoder={made.folder()}",
        "--set",
        "train.max_epochs=1",
        "--device",
        "cpu",
    )
    status, _, err = icdbench("tune", "plm-icd", *words, "--trials", "2")
    assert status == 0, err
    status, out, err = icdbench("run", "--models", "plm-icd@tuned", *words)
    assert status == 0, err
    assert "plm-icd@tuned" in out


@pytest.mark.slow
def test_chunks_that_are_too_long_are_refused_before_anything_is_trained(icdbench: Call) -> None:
    words = ("--set", f"plm-icd.encoder={made.folder()}", "--set", "plm-icd.chunk_size=129")
    status, out, err = icdbench("run", "--models", "lr,plm-icd", "--dataset", "demo", *words)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].endswith(
        "plm-icd: chunk_size=129: the encoder has 128 positions; choose at most 128 subwords"
    )
    assert not Path("results").exists()


@pytest.mark.slow
def test_models_says_what_it_needs(icdbench: Call) -> None:
    _, out, _ = icdbench("models", "plm-icd")
    assert "Needs: a pretrained encoder (--set plm-icd.encoder=FOLDER; pip install 'icdbench[plm]')" in out
    assert "icdbench run --models plm-icd --set plm-icd.encoder=FOLDER --dataset notes.csv" in out
    status, _, err = icdbench("run", "--models", "plm-icd", "--dataset", "demo")
    assert (status, err.count("\n")) == (2, 1)
    assert "plm-icd needs a pretrained encoder: --set plm-icd.encoder=FOLDER, a folder with config.json" in err
