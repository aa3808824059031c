"""Guidance (GKI-ICD): beside each training document the model reads a text made of names of its gold codes.

Zhang et al., A General Knowledge Injection Framework for ICD Coding, ACL Findings 2025, https://arxiv.org/abs/2505.18708. For a
document x with gold codes y, x̂ has one name of each code of y (its title or another name in the data); names and their order
are drawn anew in each step:

    L = L(x, y) + w L(x̂, y) + λ mean over l in y of (1 - cos(m_l(x), m_l(x̂)))

w is `train.guidance`, λ `train.guidance_similarity`; L(·, y) is `train.objective`, with `train.r_drop` over two readings. m_l is
the document's vector for code l: the input of `LabelwiseLinear`, else the output of the model's last `Attention`.

Deviations: the paper uses synonyms of UMLS, titles of groups and categories, and a full stop between names; here
data.code_terms=true adds inclusion terms, at most 8 names of 32 words per code. `truncated` drops pairs of x only, because a
code is never missing from its own name. A document none of whose codes has a name is its own guidance.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.nn.utils.rnn import pad_sequence

from icdbench.data import batches
from icdbench.nn import Attention, LabelwiseLinear, collecting, label_texts
from icdbench.settings import SpecError, TrainingError, UnsuitableError
from icdbench.spec import TrainSpec
from icdbench.types import PADDING, UNKNOWN, Batch, Encoded

NAMES, WORDS = 8, 32  # of a code, at most
OF_CODES = (Attention, LabelwiseLinear)  # layers that have a vector for each code
WITHOUT_VECTORS = "train.guidance_similarity: this model has no vector of a note for each code; leave it at 0"


@dataclass(frozen=True, eq=False)
class Guide:
    """w and λ, K names of each code [L, K, W], and the largest number of words in a text."""

    weight: float
    similarity: float
    names_LKW: Tensor
    most: int

    def texts(self, batch: Batch) -> Batch:
        """The batch with texts of names in place of documents."""
        rows = [self._draw_text(batch, row) for row in range(len(batch.index_B))]
        lengths_B = torch.tensor([len(row) for row in rows])
        width = min(int(batches.widths(np.array(int(lengths_B.max())))), self.most)
        tokens_BT = padded(pad_sequence(rows, batch_first=True, padding_value=PADDING), width)
        device = batch.tokens_BT.device
        return Batch(tokens_BT.to(device), lengths_B.to(device), batch.labels_BL, batch.index_B)

    def _draw_text(self, batch: Batch, row: int) -> Tensor:
        codes_C = batch.labels_BL[row].nonzero()[:, 0].cpu()
        codes_C = codes_C[torch.randperm(len(codes_C))]
        named_CW = self.names_LKW[codes_C, torch.randint(self.names_LKW.shape[1], (len(codes_C),))]
        text = named_CW[named_CW != PADDING][: self.most].long()
        return text if (text != UNKNOWN).any() else batch.tokens_BT[row, : batch.lengths_B[row]].cpu()


def guide_for(spec: TrainSpec, train: Encoded) -> Guide | None:
    """The guidance of a run, if it has any. Raises SpecError if no code has a name."""
    if not spec.guidance:
        return None
    names_LKW = label_texts.synonyms_of(train, NAMES, WORDS)
    if not (names_LKW > UNKNOWN).any():
        raise SpecError(
            f"train.guidance={spec.guidance:g} reads names of codes, and these data have none; leave it at 0, or for own data "
            "set data.code_system"
        )
    return Guide(spec.guidance, spec.guidance_similarity, names_LKW, train.max_tokens)


def padded(tokens_BT: Tensor, width: int) -> Tensor:
    """The tokens padded to at least this width."""
    return nn.functional.pad(tokens_BT, (0, max(0, width - tokens_BT.shape[1])), value=PADDING)


def code_vectors(module: nn.Module) -> AbstractContextManager[list[Tensor]]:
    """Collects the vectors for each code that layers compute in a forward pass in the block, in the order of the layers."""

    def read(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> list[Tensor]:
        return [inputs[0] if isinstance(layer, LabelwiseLinear) else output]

    return collecting(module, OF_CODES, read)


def check(model: nn.Module, system: str) -> None:
    """Raises UnsuitableError for a model without a layer that has a vector for each code, which `guidance_similarity` needs."""
    if not any(isinstance(layer, OF_CODES) for layer in model.modules()):
        raise UnsuitableError(f"{system}: {WITHOUT_VECTORS}")


def distance(collected: list[Tensor], labels_BL: Tensor) -> Tensor:
    """The mean of 1 - cos(m_l(x), m_l(x̂)) over gold codes. `collected` and `labels_BL` have the documents, then their guides.

    Raises TrainingError for a model without a vector for each code.
    """
    of_codes = [codes for codes in collected if codes.dim() == 3 and codes.shape[:2] == labels_BL.shape]
    if not of_codes:
        raise TrainingError(WITHOUT_VECTORS)
    gold_BL = labels_BL.chunk(2)[0] > 0
    text_NF, guide_NF = (half_BLF[gold_BL].float() for half_BLF in of_codes[-1].chunk(2))
    return (1 - cosine_similarity(text_NF, guide_NF, dim=1)).sum() / max(len(text_NF), 1)
