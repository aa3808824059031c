"""Scores and weights of both kinds of models: networks, trained in epochs, and linear models, fitted as a whole.

Only `is_network` tells the two apart; other modules call it or the functions here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from icdbench.data import batches
from icdbench.settings import TrainingError
from icdbench.training.objectives import logits
from icdbench.types import FloatArray, Predictions

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from typing_extensions import TypeIs

    from icdbench.registry import Model


def is_network(model: Model) -> TypeIs[nn.Module]:
    """Whether a model is trained in epochs by its gradients; any other is fitted as a whole."""
    return isinstance(model, nn.Module)


@torch.no_grad()
def scores(model: Model, documents: batches.Loader, on: Fabric | None = None, precision: str = "32-true") -> FloatArray:
    """Logits [N, L] of all documents, in their order.

    On a CPU products have the precision of `on`, or `precision` without it. Logits have 32 bits: in bf16 thousands of codes
    have many ties, which distort every ranking. A model whose own layers return bf16 logits is computed in 32 bits, and so
    is every model on a GPU. Several processes each compute a share of the documents, and all return all logits.
    """
    if not is_network(model):
        return _check_shape(model.scores(documents.encoded), documents).astype(np.float32)
    rank, world = (on.global_rank, on.world_size) if on else (0, 1)
    encoded = documents.encoded
    scores_NL = np.zeros((len(encoded), encoded.num_codes), np.float32)
    model.eval()
    lower: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    if documents.device.type == "cpu":
        mixed = precision == "bf16-mixed"
        lower = on.autocast if on else partial(torch.autocast, "cpu", torch.bfloat16, enabled=mixed)
    for batch in documents.batches(batches.evaluation_order(encoded.lengths)[rank::world]):
        with lower():
            logits_BL = logits(model, batch)
        if logits_BL.dtype == torch.bfloat16:
            lower = contextlib.nullcontext
            logits_BL = logits(model, batch)
        scores_NL[batch.index_B.cpu().numpy()] = logits_BL.cpu().numpy()
    if on and world > 1:
        scores_NL = on.all_reduce(torch.from_numpy(scores_NL).to(on.device), reduce_op="sum").cpu().numpy()  # type: ignore[union-attr]
    return scores_NL


def _check_shape(scores_NL: FloatArray, documents: batches.Loader) -> FloatArray:
    """Return the scores of a linear model. Raises TrainingError if their shape is wrong."""
    expected = len(documents.encoded), documents.encoded.num_codes
    if np.shape(scores_NL) != expected:
        raise TrainingError(
            f"the model's scores are of shape {np.shape(scores_NL)}; they must be of shape {expected}, N×L"
        )
    return scores_NL


def predictions(model: Model, documents: batches.Loader, on: Fabric) -> Predictions:
    """The scores of all documents beside their gold labels. Raises TrainingError for a score that is not finite."""
    scores_NL = scores(model, documents, on)
    if not np.isfinite(scores_NL).all():
        raise TrainingError("the model's scores are not finite")
    encoded = documents.encoded
    return Predictions(encoded.ids, scores_NL, encoded.labels(), encoded.unseen)


def probabilities(logits_NL: FloatArray) -> FloatArray:
    """Sigmoid in double precision, so that distinct logits below 36 stay distinct probabilities."""
    from scipy.special import expit

    result: FloatArray = expit(logits_NL.astype(np.float64))
    return result


def weights(model: Model) -> dict[str, FloatArray]:
    """All trained numbers by name, for storing."""
    if not is_network(model):
        return dict(model.weights())
    return {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}


def num_parameters(model: Model) -> int:
    """The number of trained parameters."""
    if not is_network(model):
        return sum(value.size for value in model.weights().values())
    return sum(value.numel() for value in model.parameters())


def restore(model: Model, stored: Mapping[str, FloatArray], probe: batches.Loader) -> None:
    """Load what `weights` returned into a model, ready to score on the loader's device.

    Raises RuntimeError, KeyError, ValueError, IndexError or TypeError if the numbers do not fit the model. A linear model
    checks nothing itself, so it scores the documents of `probe` as a check.
    """
    if is_network(model):
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in stored.items()})
        model.to(probe.device).eval()  # requires_grad stays set: without it torch multiplies in another order
    else:
        model.restore(stored)
        model.scores(probe.encoded)[:, probe.encoded.num_codes - 1]
