"""Pretrained transformer encoders on long documents, in chunks of subwords (Huang et al. 2022). Entered by `pretrained`.

The transformers library builds the encoder and reads its weights, only from safetensors. Its word embedding becomes the model's
own, in the order of the suite's vocabulary, so that explanations by gradients work as for any other model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from icdbench.nn.layers import mask
from icdbench.settings import DataError, SpecError
from icdbench.types import PADDING, UNKNOWN, Encoder, Task

OTHERS = "take one such as BERT, RoBERTa, ELECTRA, DeBERTa or ModernBERT"
CHUNKS_AT_ONCE = 16  # chunks whose activations are in memory at a time while gradients are computed


class ChunkedEncoder(nn.Module):
    """A transformer encoder that reads each document in independent chunks of `chunk_size` subwords, without special tokens.

    With `checkpointing` activations are not stored but recomputed for gradients, CHUNKS_AT_ONCE chunks at a time, so that
    memory hardly grows with the number and length of documents.
    """

    def __init__(self, model: nn.Module, chunk_size: int, *, checkpointing: bool) -> None:
        super().__init__()
        self.model, self.chunk_size = model, chunk_size
        if (most := _positions(model)) < chunk_size:
            raise SpecError(
                f"chunk_size={chunk_size}: the encoder has {most} positions; choose at most {most} subwords"
            )
        self.window = _window(model)
        if chunk_size % self.window:
            raise SpecError(
                f"chunk_size={chunk_size}: this encoder attends in windows of {self.window} subwords, so a chunk has {self.window}, "
                f"or a multiple of it up to {most}"
            )
        self.checkpointing = checkpointing

    @property
    def width(self) -> int:
        """The number of features H of each position."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def forward(self, embedded_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """Hidden states [B, T, H], undefined at padding; chunks that are only padding are not computed."""
        documents, tokens, _ = embedded_BTE.shape
        size = min(self.chunk_size, -(-tokens // self.window) * self.window)
        chunks = -(-tokens // size)
        padded_BSE = functional.pad(embedded_BTE, (0, 0, 0, chunks * size - tokens))
        mask_NC = mask(lengths_B, chunks * size).view(documents * chunks, size)
        filled_F = mask_NC[:, 0].nonzero()[:, 0]
        found_FCH = self._states(padded_BSE.view(documents * chunks, size, -1)[filled_F], mask_NC[filled_F])
        hidden_NCH = found_FCH.new_zeros(documents * chunks, *found_FCH.shape[1:]).index_copy(0, filled_F, found_FCH)
        return hidden_NCH.view(documents, chunks * size, -1)[:, :tokens]

    def _states(self, chunks_FCE: Tensor, mask_FC: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return self._encode_chunks(chunks_FCE, mask_FC)
        parts = zip(torch.split(chunks_FCE, CHUNKS_AT_ONCE), torch.split(mask_FC, CHUNKS_AT_ONCE), strict=True)
        return torch.cat([checkpoint(self._encode_chunks, *part, use_reentrant=False) for part in parts])

    def _encode_chunks(self, chunks_FCE: Tensor, mask_FC: Tensor) -> Tensor:
        states_FCH: Tensor = self.model(inputs_embeds=chunks_FCE, attention_mask=mask_FC.long()).last_hidden_state
        return states_FCH


def pretrained(task: Task, chunk_size: int, *, checkpointing: bool) -> tuple[nn.Embedding, ChunkedEncoder]:
    """The task's encoder: its word embedding [V, E] in the order of the vocabulary, and the encoder of embedded documents.

    Row 0, padding, stays zero. A token that the encoder lacks starts as the mean of all word vectors. Raises SpecError for
    chunks that are too long, DataError for weights that are not the encoder's and for kinds that cannot be used in this way.
    """
    assert task.encoder is not None
    model = _model(task.encoder)
    words = model.get_input_embeddings()
    if not isinstance(words, nn.Embedding):
        raise DataError(f"an encoder of kind '{model.config.model_type}' has no plain table of word vectors; {OTHERS}")
    embedding = nn.Embedding(task.num_tokens, words.embedding_dim, padding_idx=PADDING)
    with torch.no_grad():
        if task.encoder.ids is None:
            embedding.weight.normal_(std=float(getattr(model.config, "initializer_range", 0.02)))
        else:
            ids_V = torch.from_numpy(task.encoder.ids).to(words.weight.device)
            assert len(ids_V) == task.num_tokens, (len(ids_V), task.num_tokens)
            embedding.weight.copy_(words.weight[ids_V.clamp(min=0)])
            if task.encoder.ids[UNKNOWN] < 0:
                embedding.weight[UNKNOWN] = words.weight.mean(0)
        embedding.weight[PADDING] = 0
    model.set_input_embeddings(nn.Identity())  # its input is always vectors
    encoder = ChunkedEncoder(model, chunk_size, checkpointing=checkpointing)
    if embedding.weight.device.type != "meta":
        _check_reading(encoder, embedding)
    return embedding, encoder


def _check_reading(encoder: ChunkedEncoder, embedding: nn.Embedding) -> None:
    """Raises DataError for an encoder that needs more than word vectors, or that does not ignore padding."""
    kind, size = encoder.model.config.model_type, min(8, encoder.chunk_size)  # type: ignore[union-attr]
    vectors_1TE = embedding.weight.new_ones(1, size, 1) * embedding.weight[UNKNOWN]
    training = encoder.model.training
    encoder.model.eval()
    try:
        with torch.no_grad():
            alone, padded = (
                encoder(functional.pad(vectors_1TE, (0, 0, 0, more)), torch.tensor([size]))[:, :size]
                for more in (0, min(8, encoder.chunk_size - size))
            )
    except Exception as error:  # noqa: BLE001  an unknown kind of encoder may raise anything
        reason = " ".join(str(error).split())[:80]
        raise DataError(
            f"an encoder of kind '{kind}' cannot be read by word vectors alone ({reason}); {OTHERS}"
        ) from None
    finally:
        encoder.model.train(training)
    if alone.shape != padded.shape or not torch.allclose(alone, padded, rtol=1e-3, atol=1e-3):
        raise DataError(
            f"an encoder of kind '{kind}' does not leave padding out, so scores would depend on it; {OTHERS}"
        )


def _model(encoder: Encoder) -> Any:
    """The transformer with its weights; without weights or on the meta device it is initialised at random."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(**encoder.config)
    if encoder.weights is None or torch.get_default_device().type == "meta":
        model = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    else:
        model = _with_weights(encoder, config)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # unused: it summarises a text by its first token
    return model


def _with_weights(encoder: Encoder, config: Any) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModel

    try:
        with _silent():
            model, report = AutoModel.from_pretrained(
                str(encoder.weights),
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"the weights in {encoder.weights} cannot be read ({reason})") from None
    if lacking := sorted(name for name in report["missing_keys"] if not name.startswith("pooler.")):
        raise DataError(f"the weights in {encoder.weights} lack {len(lacking)} of the encoder's, such as {lacking[0]}")
    return model


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Suppress transformers' progress bars and its warning that the encoder's pretraining head is unused."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _window(model: nn.Module) -> int:
    """The number that must divide the length of a chunk: 1, except for encoders with local attention, which pad themselves."""
    found = getattr(model.config, "attention_window", None) or getattr(model.config, "block_size", None) or 1
    return max(found) if isinstance(found, list) else int(found)


def _positions(model: nn.Module) -> int:
    """The number of positions of the encoder; RoBERTa and its relatives number them from after their padding index."""
    most = int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)
    tables = [each for each in model.modules() if isinstance(each, nn.Embedding) and each.num_embeddings == most]
    offsets = [each.padding_idx + 1 for each in tables if each.padding_idx is not None]
    return most - max(offsets, default=0)
