"""CAML: convolutional attention for multi-label classification; DR-CAML: CAML regularised by the codes' titles.

Mullenbach, Wiegreffe, Duke, Sun, Eisenstein: Explainable Prediction of Medical Codes from Clinical Text, NAACL 2018,
https://arxiv.org/abs/1802.05695.

    h_p = tanh(Conv1d(x))                        [F, P]    P = T + 1 for an even kernel (padding ⌊k/2⌋ on both sides)
    α_l = softmax over positions of u_lᵀ h       [P]
    m_l = Σ_p α_lp h_p                           [F]
    logit_l = <v_l, m_l> + b_l

Dropout on the embeddings only. Convolution, U and output weights start Xavier-uniform, as in the published code.

Deviation: the published code also attends to padding, so a document's score depends on its batch; here padding gets no
weight unless `attend_padding` is set.

DR-CAML embeds each code's title with its own word table D and convolution (both of CAML's sizes; D starts as a copy of
the word vectors) and pulls the output weights towards it, for the gold codes G_i of the B documents:

    b_l = W max over positions of tanh(Conv1d(D of title l)) + c           [F]
    loss = cross-entropy + λ/B Σ_i Σ_{l ∈ G_i} mean over F of (v_l - b_l)²

λ is `description_weight`; by default 10 for up to 50 codes and .01 above, as published. W starts Xavier-uniform. Each
title is embedded once per step, however many documents have its code.

Deviations: the published program pairs a document's titles and codes in different orders (of a set and of indices), so
that most v_l are pulled towards the titles of other codes; here each is pulled towards its own. It uses the unknown
word as the title of codes without one; here these have no penalty. In its maximum, titles are padded to the longest
title of the document's codes, on which b_l therefore depends; here only with `attend_padding`.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from icdbench.nn import Dropout, LabelAttention, LabelwiseLinear, Linear, embedding, lengths, mask, middle
from icdbench.nn.kernels import convolve
from icdbench.registry import register
from icdbench.spec import Positive, PositiveFloat, Rate, Settings, Study, tunable
from icdbench.types import Batch, Task


class Config(Settings):
    embedding_size: Positive = 100
    kernel_size: Positive = tunable(10, 3, 25, log=True)
    filters: Positive = tunable(50, 30, 500, log=True)
    dropout: Rate = tunable(0.2, 0.0, 0.8)
    attend_padding: bool = False


@register(
    "caml",
    config=Config,
    paper="Mullenbach et al., NAACL 2018",
    version="1",
    train={"learning_rate": 1e-4},
    small={
        "kernel_size": 6,
        "filters": 287,
        "dropout": 0.457,
        "learning_rate": 4.76e-3,
        "weight_decay": 1e-6,
        "batch_size": 4,
        "monitor": "map",
    },
    study=Study(trials=16, dataset="codiesp-d50"),
)
class Caml(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        self.dropout = Dropout(config.dropout)
        kernel, padding = config.kernel_size, config.kernel_size // 2
        self.conv = nn.Conv1d(config.embedding_size, config.filters, kernel, padding=padding)
        nn.init.xavier_uniform_(self.conv.weight)
        self.attention = LabelAttention(config.filters, task.num_codes, positions=middle(kernel, padding))
        self.output = LabelwiseLinear(config.filters, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        embedded_BTE = self.dropout(self.embedding(batch.tokens_BT))
        hidden_BPF = convolve(self.conv, embedded_BTE).tanh()
        extra = 1 - self.config.kernel_size % 2  # an even kernel has one more position than tokens
        reach_B = lengths(batch, attend_padding=self.config.attend_padding) + extra
        mask_BP = mask(reach_B, hidden_BPF.shape[1])
        logits_BL: Tensor = self.output(self.attention(hidden_BPF, hidden_BPF, mask_BP))
        return logits_BL


class DescribedConfig(Config):
    description_weight: PositiveFloat | None = Field(None, description="λ; none: 10 for up to 50 codes, .01 above")


@register(
    "dr-caml",
    config=DescribedConfig,
    paper="Mullenbach et al., NAACL 2018",
    version="1",
    train={"learning_rate": 1e-4},
    small={
        "kernel_size": 8,
        "filters": 275,
        "dropout": 0.311,
        "learning_rate": 3.86e-3,
        "weight_decay": 1e-5,
        "batch_size": 4,
        "monitor": "map",
    },
    study=Study(trials=16, dataset="codiesp-d50"),
    needs=("titles",),
)
class DrCaml(Caml):
    title_tokens_LT: Tensor
    title_lengths_L: Tensor

    def __init__(self, config: DescribedConfig, task: Task) -> None:
        super().__init__(config, task)
        titles = task.descriptions or ()
        lengths_L = torch.tensor([len(title) for title in titles])
        tokens_LT = torch.zeros(len(titles), int(lengths_L.max()), dtype=torch.long)
        for code, title in enumerate(titles):
            tokens_LT[code, : len(title)] = torch.tensor(title.tolist())
        # These come from the task and are not stored with the weights.
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

    @staticmethod
    def notices(_config: DescribedConfig, task: Task) -> list[str]:
        """Warn of codes without a title."""
        titles = task.descriptions or ()
        missing = sum(not len(title) for title in titles)
        line = f"{missing} of {len(titles)} codes have no title, so nothing regularises their weights"
        return [line] if missing else []

    def penalty(self, batch: Batch) -> Tensor:
        """Compute λ/B times the summed squared distances of the gold codes' weights from their titles; a scalar."""
        titled_BL = (batch.labels_BL > 0) & (self.title_lengths_L > 0)
        document_N, code_N = titled_BL.nonzero(as_tuple=True)  # N pairs of a document and a code
        code_C, place_N = torch.unique(code_N, return_inverse=True)
        embedded_CTE = self.title_embedding(self.title_tokens_LT[code_C])
        hidden_CFP = self.title_conv(embedded_CTE.transpose(1, 2)).tanh()
        reach_N = self.title_lengths_L[code_N]
        if self.config.attend_padding:  # all titles of a document count as long as the longest one
            reach_N = (titled_BL * self.title_lengths_L).amax(1)[document_N]
        extra = 1 - self.config.kernel_size % 2
        running_CFP = hidden_CFP.cummax(2).values  # at p, the maximum over positions up to p
        title_NF = self.title_linear(running_CFP[place_N, :, reach_N + extra - 1])
        distance_N = (self.output.final.weight[code_N] - title_NF).square().mean(1)
        penalty: Tensor = self.description_weight * distance_N.sum() / len(batch.labels_BL)
        return penalty
