"""LEAM: words and codes are embedded in one space, in which codes attend to words.

Wang, Li, Wang, Zhang, Shen, Zhang, Henao, Carin: Joint Embedding of Words and Labels for Text Classification, ACL 2018,
https://arxiv.org/abs/1805.04174.

The program behind the published MIMIC-III figures (50 codes) is not the paper's general architecture. It computes

    H = ReLU(Conv1d(x))                          [T, E]    kernel 10, a position per token (4 zeros before, 5 after)
    α_l = softmax over tokens of c_lᵀ H          [T]       c_l [E] starts as the mean word vector of the code's title
    z_l = Σ_t α_lt H_t                           [E]
    logit_l = <v_l, dropout(z_l)> + b_l

Variant `ngram` is the paper's general architecture:

    G_lt = cosine(c_l, x_t)                      [L, T]
    u = ReLU(Conv1d(G))                          [L, T]    width 55, from all codes to all codes
    β = softmax over tokens of max_l u_lt        [T]
    z = Σ_t β_t x_t                              [E]
    logits = W2 dropout(ReLU(W1 dropout(z) + b1)) + b2

Its objective has a second term, with weight 1: the same two layers must classify each c_l as code l, by sigmoid
cross-entropy as for documents, averaged over L × L pairs. The convolution has L² · 55 weights, so the variant suits
tens or hundreds of codes.

The program cuts documents to 305 tokens; here data.max_tokens applies. A code without a title starts with a random
vector.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from icdbench.nn import (
    Attention,
    Dropout,
    LabelwiseLinear,
    Linear,
    WordWeights,
    description_means,
    embedding,
    mask,
    middle,
    untitled_notices,
)
from icdbench.nn.kernels import convolve
from icdbench.registry import register
from icdbench.spec import Positive, Rate, Settings, SpecError, Study, Variant, tunable
from icdbench.types import Batch, Task

MOST_CODES = 2000  # for the variant: 220 million weights


class Config(Settings):
    belonging: ClassVar = {"attention": {"codes": ("kernel_size",), "ngram": ("ngram", "hidden_size")}}

    embedding_size: Positive = 300
    kernel_size: Positive = tunable(10, 3, 25, log=True)
    dropout: Rate = tunable(0.5, 0.0, 0.8)
    attention: Literal["codes", "ngram"] = "codes"
    ngram: Positive = tunable(55, 5, 111, about="width over tokens of the convolution of cosines (ngram)")
    hidden_size: Positive = tunable(300, 50, 500, about="between the two output layers (ngram)")


@register(
    "leam",
    config=Config,
    paper="Wang et al., ACL 2018",
    version="1",
    train={"batch_size": 10},
    small={
        "kernel_size": 3,
        "dropout": 0.406,
        "learning_rate": 5.28e-3,
        "weight_decay": 1e-5,
        "batch_size": 8,
        "max_epochs": 30,
        "monitor": "map",
    },
    study=Study(trials=16, dataset="codiesp-d50"),
    variants=(Variant(name="ngram", about="the paper's general architecture", model={"attention": "ngram"}),),
)
class Leam(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        width, num_codes = config.embedding_size, task.num_codes
        self.embedding = embedding(task, width)
        self.dropout = Dropout(config.dropout)
        self.C = nn.Parameter(description_means(task, self.embedding.weight.detach()))
        if config.attention == "codes":
            self.conv = _convolution(width, config.kernel_size)
            self.attention = Attention(positions=middle(config.kernel_size, (config.kernel_size - 1) // 2))
            self.output = LabelwiseLinear(width, num_codes)
            return
        if num_codes > MOST_CODES:
            raise SpecError(
                f"leam@ngram has {config.ngram} weights for each pair of codes, too many for {num_codes} codes; use leam, "
                f"or set data.top_codes to at most {MOST_CODES}"
            )
        self.conv = _convolution(num_codes, config.ngram)
        self.word_weights = WordWeights()
        self.hidden = Linear(width, config.hidden_size)
        self.final = Linear(config.hidden_size, num_codes)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        mask_BT = mask(batch.lengths_B, batch.tokens_BT.shape[1])
        embedded_BTE = self.embedding(batch.tokens_BT)
        if self.config.attention == "ngram":
            return self._classify(self._document(embedded_BTE, mask_BT))
        hidden_BTE = self._convolve(embedded_BTE)
        codes_BLE = self.attention(self.C, hidden_BTE, hidden_BTE, mask_BT)
        logits_BL: Tensor = self.output(self.dropout(codes_BLE))
        return logits_BL

    @staticmethod
    def notices(_config: Config, task: Task) -> list[str]:
        """Warn if the codes' vectors cannot start from titles."""
        return untitled_notices(task.descriptions or ())

    def penalty(self, _batch: Batch) -> Tensor:
        """Compute the loss of classifying each code's embedding as that code; 0 except for `ngram`."""
        if self.config.attention != "ngram":
            return self.C.new_zeros(())
        target_LL = torch.eye(len(self.C), device=self.C.device)
        return functional.binary_cross_entropy_with_logits(self._classify(self.C).float(), target_LL)

    def _convolve(self, channels_BTC: Tensor) -> Tensor:
        """Convolve, keeping the number of positions; an even kernel reaches one position further ahead than back."""
        reach = self.conv.kernel_size[0] - 1
        return convolve(self.conv, functional.pad(channels_BTC, (0, 0, reach // 2, reach - reach // 2))).relu()

    def _document(self, embedded_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        """Compute z [B, E], the mean of the word vectors weighted by their similarity to the nearest code."""
        words_BTE, codes_LE = functional.normalize(embedded_BTE, dim=-1), functional.normalize(self.C, dim=-1)
        nearest_BT = self._convolve(words_BTE @ codes_LE.T).amax(2)
        weights_BT: Tensor = self.word_weights(nearest_BT, mask_BT)
        return (weights_BT[:, None] @ embedded_BTE)[:, 0]

    def _classify(self, rows_XE: Tensor) -> Tensor:
        """Compute logits [X, L] of documents or of codes."""
        logits_XL: Tensor = self.final(self.dropout(self.hidden(self.dropout(rows_XE)).relu()))
        return logits_XL


def _convolution(channels: int, kernel_size: int) -> nn.Conv1d:
    layer = nn.Conv1d(channels, channels, kernel_size)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
