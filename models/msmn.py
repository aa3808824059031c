"""MSMN: several names of each code, each the query of an attention head.

Yuan, Tan, Huang: Code Synonyms Do Matter: Multiple Synonyms Matching Network for Automatic ICD Coding, ACL 2022,
https://arxiv.org/abs/2203.01515.

    h = BiLSTM(x)                                              [T, 2H]
    q_lk = maximum over words of BiLSTM(name k of l)           [2H]     the same BiLSTM
    α_lk = softmax over T of (U q_lk)ᵀ (tanh(W h_t))_k         [T]      (…)_k: the kth of K parts
    m_l = maximum over k of Σ_t α_lkt h_t                      [2H]
    w_l, b_l = A q_l + a, c q_l + d    q_l = maximum over k of q_lk
    logit_l = <w_l, m_l> + b_l

The K names of a code are its title, the user's own synonyms (`data.synonyms`) and its inclusion terms (`data.code_terms`), in
this order and repeated if there are fewer; they are cut to 30 words. Titles are used as they are; other names consist of one
word for each of their normal forms, without ignored words (icdbench.data.code_names). No weights belong to a code. Dropout is
on the word vectors of documents and names, and on h and q. Variant `full` has the sizes for all codes of MIMIC-III: two layers
of half the width, four names.

Sizes and training follow the description of the public program; the paper was not read again. What that leaves open:
- W and U have no bias, as in LAAT. The "MLPs" of w_l and b_l are linear maps, which with m_l make the paper's biaffine form.
- The published names are synonyms of UMLS, which may not be redistributed. Inclusion terms are fewer, and ICD-9-CM has none,
  so that there all K names are the title.
- The published program trains 20 epochs and stops by P@8; here the suite's rule applies.
- The cost of encoding names does not depend on the batch. To save memory their activations are not stored but recomputed for
  the gradient, and so is the attention of blocks of codes.

In evaluation names are encoded once, without a gradient, until the model is trained again or its weights change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, cat
from torch.utils.checkpoint import checkpoint

from icdbench.nn import Inspectable, Linear, Shown, kernels, mask
from icdbench.nn.attention import weights_by_code
from icdbench.nn.label_texts import NameReader
from icdbench.registry import register
from icdbench.spec import Layers, Positive, Rate, Settings, Variant, tunable
from icdbench.types import Batch, Task

CODES = 512  # codes scored at a time


class Config(Settings):
    embedding_size: Positive = 100
    hidden_size: Positive = tunable(512, 64, 512, log=True, about="recurrent width per direction")
    layers: Layers = 1
    attention_size: Positive = tunable(512, 64, 512, log=True, about="rows of W, of all heads together")
    synonyms: Positive = tunable(8, 1, 8, about="K, names of a code and heads")
    title_words: Positive = 30
    dropout: Rate = tunable(0.2, 0.0, 0.8)


@register(
    "msmn",
    config=Config,
    paper="Yuan et al., ACL 2022",
    version="1",
    data={"max_tokens": 4000, "code_terms": True},
    train={
        "optimizer": "adamw",
        "learning_rate": 5e-4,
        "weight_decay": 0.01,
        "batch_size": 16,
        "scheduler": "linear",
        "warmup": 0.0,
        "r_drop": 5.0,
    },
    small={
        "hidden_size": 128,
        "attention_size": 256,
        "learning_rate": 2e-3,
        "batch_size": 4,
        "r_drop": 0.0,
        "monitor": "map",
    },
    variants=(
        Variant(
            name="full",
            about="the published sizes for all codes of MIMIC-III",
            model={"hidden_size": 256, "layers": 2, "synonyms": 4},
        ),
    ),
    needs=("titles",),
)
class Msmn(NameReader):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__(config, task)
        both = 2 * config.hidden_size
        part = max(1, config.attention_size // config.synonyms)
        self.W = Linear(both, part * config.synonyms, bias=False)
        self.U = Linear(both, part, bias=False)
        self.weight, self.bias = Linear(both, both), Linear(both, 1)
        self.scorer = SynonymScorer()

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        hidden_BTH = self.read(batch)
        mask_BT = mask(batch.lengths_B, hidden_BTH.shape[1])
        named = self.of_names(self._named)
        logits_BL: Tensor = self.scorer(*named, self.W(hidden_BTH).tanh(), hidden_BTH, mask_BT)
        return logits_BL

    def _named(self) -> tuple[Tensor, ...]:
        """Queries U q_lk [L, K, A], w_l [L, 2H] and b_l [L]."""
        names_NH, place_LK = self.read_names(self.title_tokens_LKW)
        whole_LH = names_NH[place_LK[:, 0]]
        for place_L in place_LK.T[1:]:
            whole_LH = torch.maximum(whole_LH, names_NH[place_L])
        return self.U(names_NH)[place_LK], self.weight(whole_LH), self.bias(whole_LH)[:, 0]


class SynonymScorer(Inspectable):
    """Attention with K queries for each code, each over its own part of the keys, and the score of the maxima, in blocks of
    codes whose activations are recomputed for the gradient."""

    def forward(
        self,
        queries_LKA: Tensor,
        weights_LH: Tensor,
        bias_L: Tensor,
        keys_BTX: Tensor,
        hidden_BTH: Tensor,
        mask_BT: Tensor,
    ) -> Tensor:
        """logits_BL; X is K · A."""
        blocks = zip(*(torch.split(each, CODES) for each in (queries_LKA, weights_LH, bias_L)), strict=True)
        several = len(queries_LKA) > CODES and torch.is_grad_enabled()
        scores = []
        for block in blocks:
            inputs = *block, keys_BTX, hidden_BTH, mask_BT
            scores.append(checkpoint(_scores, *inputs, use_reentrant=False) if several else _scores(*inputs))
        return cat(scores, dim=1)

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """Recompute the weights of one code for each of its names."""
        queries_LKA, _, _, keys_BTX, _, mask_BT = inputs
        number = queries_LKA.shape[1]
        for queries_LA, keys_BTA in zip(queries_LKA.unbind(1), keys_BTX.chunk(number, dim=2), strict=True):
            yield Shown("label", weights_by_code(queries_LA, keys_BTA, mask_BT))


def _scores(
    queries_CKA: Tensor, weights_CH: Tensor, bias_C: Tensor, keys_BTX: Tensor, hidden_BTH: Tensor, mask_BT: Tensor
) -> Tensor:
    """Compute the logits of a block of codes [B, C]."""
    parts = keys_BTX.chunk(queries_CKA.shape[1], dim=2)
    largest_BCH: Tensor | None = None
    for queries_CA, keys_BTA in zip(queries_CKA.unbind(1), parts, strict=True):
        attended_BCH = kernels.attention(queries_CA, keys_BTA, hidden_BTH, mask_BT)
        largest_BCH = attended_BCH if largest_BCH is None else torch.maximum(largest_BCH, attended_BCH)
    assert largest_BCH is not None
    with torch.autocast(largest_BCH.device.type, enabled=False):  # 16-bit logits would have many ties
        scores_BC: Tensor = torch.einsum("bch,ch->bc", largest_BCH.float(), weights_CH.float())
    return scores_BC + bias_C
