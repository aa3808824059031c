"""LAAT: a recurrent encoder and label attention with a hidden layer.

Vu, Nguyen, Nguyen: A Label Attention Model for ICD Coding from Clinical Text, IJCAI 2020,
https://arxiv.org/abs/2007.06351.

    h = BiLSTM(x)                                     [T, 2H]
    Z = tanh(W h)                                     [T, d_a]
    α_l = softmax over T of u_lᵀ Z                    [T]
    logit_l = <v_l, Σ_t α_lt h_t> + b_l

W and U have no bias; W, U and the output weights start normally distributed with standard deviation .03, as in the
published code. Dropout is on the embeddings only. Training uses AdamW without decay, batches of 8 and 4,000 tokens; the
learning rate is multiplied by .9, down to 1e-4, when the monitored metric has not risen for more than 5 epochs
(`plateau_patience`).

The published command does not train the word2vec vectors (its option "static"), and neither does `static_embeddings`;
random vectors are always trained. The vectors are not scaled to length one either: frozen at that length, the model did no
better than popularity on codiesp-d50. Variant `fine-tuned` trains them.

Variant `joint` is the paper's JointLAAT, meant for rare codes: it predicts parents first and uses their scores for the codes.
A code's parent is the part before its dot, else its first three characters; a document has the parents of its codes.

    Z', α'_k, logit'_k as above over the same h, with weights of their own, for each parent k
    s = σ(P σ(logit'))                                [p]
    logit_l = <v_l, (Σ_t α_lt h_t ; s)> + b_l
    loss = mean cross-entropy of the codes + mean cross-entropy of the parents

p is `projection_size`; P has no bias. The sigmoid of the projection is from memory of the published code, which was not read
again.

Deviations: the published code gives weight to padding, whose states are zero, unless all documents of a batch have the
same length; here padding gets none unless `attend_padding` is set. It stops after 6 epochs without a better micro F1,
at most 50, and trains its vectors on all discharge summaries; here the suite's stopping rule and texts are used, for a
fair comparison. Its AdamW adds 1e-6 to the denominator, torch's adds 1e-8.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, cat, nn
from torch.nn import functional

from icdbench.nn import Attention, BiRNN, Dropout, LabelwiseLinear, Linear, embedding, kernels, lengths, mask
from icdbench.nn.label_texts import categories_of
from icdbench.registry import register
from icdbench.spec import Positive, Rate, Settings, SpecError, Variant, tunable
from icdbench.types import Batch, Task

DEVIATION = 0.03  # standard deviation of the initial weights


class Config(Settings):
    embedding_size: Positive = 100
    static_embeddings: bool = True
    hidden_size: Positive = tunable(512, 128, 512, about="recurrent width per direction")
    attention_size: Positive = tunable(512, 128, 512, about="d_a, rows of W")
    dropout: Rate = tunable(0.3, 0.0, 0.8)
    attend_padding: bool = False
    joint: bool = Field(False, description="predict parents of codes first (JointLAAT)")
    projection_size: Positive = Field(128, description="p, rows of P; joint only")


@register(
    "laat",
    config=Config,
    paper="Vu et al., IJCAI 2020",
    version="1",
    data={"max_tokens": 4000, "unit_vectors": False},
    train={
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "batch_size": 8,
        "scheduler": "plateau",
        "plateau_factor": 0.9,
        "plateau_patience": 5,
        "plateau_floor": 1e-4,
    },
    variants=(
        Variant(name="fine-tuned", about="word vectors are also trained", model={"static_embeddings": False}),
        Variant(name="joint", about="JointLAAT: parents of codes are predicted first", model={"joint": True}),
    ),
)
class Laat(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        if config.static_embeddings and task.embeddings is not None:
            self.embedding.weight.requires_grad = False
        self.dropout = Dropout(config.dropout)
        self.lstm = BiRNN(nn.LSTM, config.embedding_size, config.hidden_size)
        both = 2 * config.hidden_size
        self.W = Linear(both, config.attention_size, bias=False)
        self.U = Linear(config.attention_size, task.num_codes, bias=False)
        self.attention = Attention()
        self.output = LabelwiseLinear(both, task.num_codes)
        for weight in (self.W.weight, self.U.weight, self.output.final.weight):
            nn.init.normal_(weight, std=DEVIATION)
        self.parents = Parents(both, config, task) if config.joint else None

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        embedded_BTE = self.dropout(self.embedding(batch.tokens_BT))
        hidden_BTK = cat(self.lstm(embedded_BTE, batch.lengths_B), dim=2)
        mask_BT = mask(lengths(batch, attend_padding=self.config.attend_padding), hidden_BTK.shape[1])
        logits_BL: Tensor = self.output(self.attention(self.U.weight, self.W(hidden_BTK).tanh(), hidden_BTK, mask_BT))
        return logits_BL if self.parents is None else logits_BL + self.parents(hidden_BTK, mask_BT)

    def penalty(self, batch: Batch) -> Tensor:
        """Compute the cross-entropy of the parents in the last forward pass, which read this batch; a scalar, 0 without."""
        return batch.labels_BL.new_zeros(()) if self.parents is None else self.parents.loss(batch.labels_BL)


class Parents(nn.Module):
    """JointLAAT's first level, which predicts parents, and its contribution to the codes' logits."""

    parent_L: Tensor

    def __init__(self, width: int, config: Config, task: Task) -> None:
        super().__init__()
        if len(task.codes) != task.num_codes:
            raise SpecError("laat.joint=true needs the codes as the data spell them, and this task has none")
        parents = categories_of(task.codes)
        index_of = {name: index for index, name in enumerate(dict.fromkeys(parents))}
        self.count = len(index_of)
        # It comes from the task and is not stored with the weights.
        self.register_buffer("parent_L", torch.tensor([index_of[name] for name in parents]), persistent=False)
        self.W = Linear(width, config.attention_size, bias=False)
        self.U = Linear(config.attention_size, self.count, bias=False)
        self.output = LabelwiseLinear(width, self.count)
        self.P = Linear(self.count, config.projection_size, bias=False)
        self.V = Linear(config.projection_size, task.num_codes, bias=False)  # the part of v_l for s
        for weight in (self.W.weight, self.U.weight, self.output.final.weight, self.V.weight):
            nn.init.normal_(weight, std=DEVIATION)
        self.logits_BN: Tensor | None = None  # of the last training pass

    def forward(self, hidden_BTK: Tensor, mask_BT: Tensor) -> Tensor:
        """Compute what the parents add to the codes' logits [B, L]."""
        keys_BTA = self.W(hidden_BTK).tanh()
        logits_BN = self.output(kernels.attention(self.U.weight, keys_BTA, hidden_BTK, mask_BT))
        self.logits_BN = logits_BN if self.training else None
        added_BL: Tensor = self.V(self.P(logits_BN.sigmoid()).sigmoid())
        return added_BL

    def loss(self, labels_BL: Tensor) -> Tensor:
        """The mean cross-entropy of the parents in the last training pass."""
        assert self.logits_BN is not None, "penalty() belongs to a pass in training"
        gold_BN = labels_BL.new_zeros(len(labels_BL), self.count).index_add(1, self.parent_L, labels_BL).clamp(max=1)
        value = functional.binary_cross_entropy_with_logits(self.logits_BN.float(), gold_BN)
        self.logits_BN = None  # frees the graph
        return value
