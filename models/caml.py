"""CAML: convolutional attention for multi-label classification; DR-CAML: the same, held near the codes' titles.

Mullenbach, Wiegreffe, Duke, Sun, Eisenstein: Explainable Prediction of Medical Codes from Clinical Text, NAACL 2018,
https://arxiv.org/abs/1802.05695.

    h_p = tanh(Conv1d(x))                        [F, P]    P = T + 1 for an even kernel (padding ⌊k/2⌋ on both sides)
    α_l = softmax over positions of u_lᵀ h       [P]
    m_l = Σ_p α_lp h_p                           [F]
    logit_l = <v_l, m_l> + b_l

Dropout on the embeddings only. Convolution, U and output weights start Xavier-uniform, as in the published code.

Deviation: the published code attends to padding too, so a document's score depends on its batch; here padding gets no
weight unless `attend_padding` is set.

DR-CAML embeds each code's title with a word table D and a convolution of its own (both of CAML's sizes; D starts as a copy
of the word vectors) and draws the output weights towards it, for the gold codes G_i of the B documents:

    b_l = W max over positions of tanh(Conv1d(D of title l)) + c           [F]
    loss = cross-entropy + λ/B Σ_i Σ_{l in G_i} mean over F of (v_l - b_l)²

λ is `description_weight`: unless set, 10 up to 50 codes and .01 above, as published. W starts Xavier-uniform. Each title is
embedded once per step, however many documents have its code.

Deviations: the published program pairs the titles of a document with its codes in another order (that of a set with that
of indices), so that most v_l are drawn to other codes' titles; here each is drawn to its own. It gives codes without a
title the unknown word as title; here they have no penalty. Its b_l depends on the longest title of the document's codes,
the others' being padded to it inside the maximum; here only with `attend_padding`.
"""

from __future__ import annotations

import logging

import torch
from pydantic import Field
from torch import Tensor, nn

from icdbench.kernels import convolve
from icdbench.nn import Dropout, LabelAttention, LabelwiseLinear, Linear, embedding, lengths, mask
from icdbench.registry import register
from icdbench.spec import Positive, PositiveFloat, Rate, Settings, tunable
from icdbench.types import Batch, Task

log = logging.getLogger("icdbench")


class Config(Settings):
    embedding_size: Positive = 100
    kernel_size: Positive = tunable(10, 2, 12)
    filters: Positive = tunable(50, 30, 500)
    dropout: Rate = tunable(0.2, 0.0, 0.8)
    attend_padding: bool = False


@register(
    "caml",
    config=Config,
    paper="Mullenbach et al., NAACL 2018",
    train={"learning_rate": 1e-4},
    small={"learning_rate": 3e-3},
)
class Caml(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        self.dropout = Dropout(config.dropout)
        self.conv = nn.Conv1d(
            config.embedding_size, config.filters, config.kernel_size, padding=config.kernel_size // 2
        )
        nn.init.xavier_uniform_(self.conv.weight)
        self.attention = LabelAttention(config.filters, task.num_codes)
        self.output = LabelwiseLinear(config.filters, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        """logits_BL."""
        embedded_BTE = self.dropout(self.embedding(batch.tokens_BT))
        hidden_BPF = convolve(self.conv, embedded_BTE).tanh()
        extra = 1 - self.config.kernel_size % 2  # an even kernel has one position more than tokens
        reach_B = lengths(batch, attend_padding=self.config.attend_padding) + extra
        mask_BP = mask(reach_B, hidden_BPF.shape[1])
        logits_BL: Tensor = self.output(self.attention(hidden_BPF, hidden_BPF, mask_BP))
        return logits_BL


class DescribedConfig(Config):
    description_weight: PositiveFloat | None = Field(None, description="λ; none: 10 up to 50 codes, .01 above")


@register(
    "dr-caml",
    config=DescribedConfig,
    paper="Mullenbach et al., NAACL 2018",
    train={"learning_rate": 1e-4},
    small={"learning_rate": 3e-3},
    needs=("titles",),
)
class DrCaml(Caml):
    title_tokens_LT: Tensor
    title_lengths_L: Tensor

    def __init__(self, config: DescribedConfig, task: Task) -> None:
        super().__init__(config, task)
        titles = task.descriptions or ()
        lengths_L = torch.tensor([len(title) for title in titles])
        if missing := int((lengths_L == 0).sum()):
            log.warning("dr-caml: %d of %d codes have no title, so nothing draws their weights", missing, len(titles))
        tokens_LT = torch.zeros(len(titles), int(lengths_L.max()), dtype=torch.long)
        for code, title in enumerate(titles):
            tokens_LT[code, : len(title)] = torch.tensor(title.tolist())
        # They come from the task, so they are not stored with the weights.
        self.register_buffer("title_tokens_LT", tokens_LT, persistent=False)
        self.register_buffer("title_lengths_L", lengths_L, persistent=False)
        self.description_weight = config.description_weight or (10.0 if task.num_codes <= 50 else 0.01)
        self.title_embedding = embedding(task, config.embedding_size)
        self.title_embedding.weight.data.copy_(self.embedding.weight)
        width, kernel = config.filters, config.kernel_size
        self.title_conv = nn.Conv1d(config.embedding_size, width, kernel, padding=kernel // 2)
        nn.init.xavier_uniform_(self.title_conv.weight)
        self.title_linear = Linear(width, width)
        nn.init.xavier_uniform_(self.title_linear.weight)

    def penalty(self, batch: Batch) -> Tensor:
        """λ/B times the squared distances of the gold codes' output weights from their titles; scalar."""
        titled_BL = (batch.labels_BL > 0) & (self.title_lengths_L > 0)
        document_N, code_N = titled_BL.nonzero(as_tuple=True)  # N pairs of a document and a code
        code_C, place_N = torch.unique(code_N, return_inverse=True)
        embedded_CTE = self.title_embedding(self.title_tokens_LT[code_C])
        hidden_CFP = self.title_conv(embedded_CTE.transpose(1, 2)).tanh()
        reach_N = self.title_lengths_L[code_N]
        if self.config.attend_padding:  # a document's titles all reach as far as the longest of them
            reach_N = (titled_BL * self.title_lengths_L).amax(1)[document_N]
        extra = 1 - self.config.kernel_size % 2
        running_CFP = hidden_CFP.cummax(2).values  # at p, the maximum over positions up to p
        title_NF = self.title_linear(running_CFP[place_N, :, reach_N + extra - 1])
        distance_N = (self.output.final.weight[code_N] - title_NF).square().mean(1)
        penalty: Tensor = self.description_weight * distance_N.sum() / len(batch.labels_BL)
        return penalty
