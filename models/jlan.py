"""JLAN: joint learning attention network with a denoising objective.

Li, Zhang, Islam, Dong, Wei, Lu: JLAN: medical code prediction via joint learning attention networks and denoising
mechanism, BMC Bioinformatics 22:590 (2021), https://doi.org/10.1186/s12859-021-04520-x. Equation numbers are the
paper's.

    x = dropout(embedding)                                  [T, E]
    x ← ReLU(F(x) + h(x)), P times                          eq. 1–2, F = Conv1d ("same") and ReLU, h = identity or 1×1
    h = [h_f; h_b] = BiLSTM(x)                              eq. 3–5, [T, 2H]
    S = softmax over T of (W2 tanh(W1 hᵀ)) · h              eq. 6–7, self-attention, [L, 2H]
    M = [σ_T(C h_fᵀ) h_f; σ_T(C h_bᵀ) h_b]                  eq. 8–9, label attention, [L, 2H], σ_T softmax over T
    α, β = σ(S w3), σ(M w4), each divided by α + β          eq. 11–13
    V = α S + β M
    logit_l = Σ over k' of W6 ReLU(W5 V_l + b5) + b6        eq. 16–17

The objective "truncated" leaves the positive pairs with the largest loss out of training (eq. 14–15,
`icdbench.training.objectives`). Since version 2 the fraction of a pair lost by rounding is carried over to the next batch.

What the paper leaves open or states inconsistently, and what is computed here:
- The paper does not give the kernel size of F (here 9), the dropout rate (0.2, as in CAML) or the batch size (16). Small
  training sets use 3, 0.65 and 4, which do better on validation.
- Eq. 6 swaps W1 and W2 relative to their shapes. W1, W2, w3 and w4 have no bias.
- C [L, H] is "in the same space as the documents" while h has 2H columns: the two directions ("forward and backward
  sides") are attended separately. C starts as the mean word vector of each code's title, which needs E = H; otherwise,
  and for codes without a title, it is initialised randomly.
- Eq. 8–9 as printed have no softmax: M is then a sum over tokens that grows with the document. `label_softmax`, the
  default because it does better on validation, adds the softmax over tokens that is usual in the field.
- α + β ≤ 1 (eq. 13) is achieved by dividing both by their sum, unless `normalise_gates` is off. "Splice" is a sum, as in
  the authors' later code; with `splice="concat"` it is [α S; β M], and the first output layer has 4H inputs.
- The scale of V before the output layers and their initialisation are not given: `scale` multiplies V, by default by 1.
- Eq. 16 pools a matrix of width k, which according to the text follows two fully connected layers: 2H → H → k' = H,
  then the sum. `output="label-linear"` is the usual alternative, a weight vector per code.

docs/jlan.md compares these readings on real data.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from icdbench.nn import (
    Attention,
    BiRNN,
    Dropout,
    GateShares,
    Inspectable,
    LabelAttention,
    LabelwiseLinear,
    Linear,
    ResidualConv,
    Shown,
    description_means,
    embedding,
    mask,
    untitled_notices,
)
from icdbench.registry import register
from icdbench.spec import Layers, Odd, Positive, PositiveFloat, Rate, Settings, Variant, tunable
from icdbench.types import Batch, Task


class Config(Settings):
    belonging: ClassVar = {"attention": dict.fromkeys(("joint", "sum", "self"), ("attention_size",))}
    embedding_size: Positive = 256
    blocks: Layers = tunable(1, 1, 3, about="residual blocks (P of Table 4)")
    kernel_size: Odd = tunable(9, choices=(3, 5, 9, 15, 25))
    hidden_size: Positive = tunable(256, 64, 512, about="recurrent width per direction")
    attention_size: Positive = tunable(200, 50, 400, about="d of W1 and W2")
    dropout: Rate = tunable(0.2, 0.0, 0.8)
    attention: Literal["joint", "sum", "label", "self"] = "joint"
    splice: Literal["sum", "concat"] = Field("sum", description="how joint attention puts α S and β M together")
    normalise_gates: bool = Field(True, description="divide α and β by their sum")
    label_softmax: bool = True
    output: Literal["mlp-sum", "label-linear"] = "mlp-sum"
    scale: PositiveFloat = tunable(1.0, 0.5, 8.0, log=True, about="factor of V before the output layers")


@register(
    "jlan",
    config=Config,
    paper="Li et al., BMC Bioinformatics 2021",
    train={"objective": "truncated"},
    small={"kernel_size": 3, "dropout": 0.65, "batch_size": 4, "monitor": "map"},
    version="2",
    variants=(
        Variant(name="label-only", about="label attention alone (L of figure 6)", model={"attention": "label"}),
        Variant(name="self-only", about="self-attention alone (S of figure 6)", model={"attention": "self"}),
        Variant(name="no-joint", about="plain sum of both (L+S of figures 6 and 7)", model={"attention": "sum"}),
        Variant(name="no-denoise", about="whole cross-entropy (figure 8)", train={"objective": "bce"}),
        Variant(name="t-loss-0.05", about="Table 3", train={"t_loss": 0.05}),
        Variant(name="t-loss-0.1", about="Table 3", train={"t_loss": 0.1}),
        Variant(name="t-loss-0.2", about="Table 3", train={"t_loss": 0.2}),
        Variant(name="blocks-2", about="Table 4", model={"blocks": 2}),
        Variant(name="blocks-3", about="Table 4", model={"blocks": 3}),
        Variant(name="concat", about="splice as concatenation", model={"splice": "concat"}),
        Variant(name="free-gates", about="α and β not divided by their sum", model={"normalise_gates": False}),
        Variant(name="no-label-softmax", about="eq. 8 as printed", model={"label_softmax": False}),
        Variant(name="label-linear", about="a weight vector per code as output", model={"output": "label-linear"}),
    ),
)
class Jlan(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        width, both = config.hidden_size, 2 * config.hidden_size  # of one direction, of both
        self.embedding = embedding(task, config.embedding_size)
        self.dropout = Dropout(config.dropout)
        widths = [config.embedding_size] + [width] * config.blocks
        self.blocks = nn.ModuleList(
            ResidualConv(width_in, width_out, config.kernel_size) for width_in, width_out in itertools.pairwise(widths)
        )
        self.lstm = BiRNN(nn.LSTM, width, width)
        if config.attention != "label":
            self.W1 = Linear(both, config.attention_size, bias=False)
            self.self_attention = LabelAttention(config.attention_size, task.num_codes, "self")  # its U is W2
        if config.attention != "self":
            if config.embedding_size == width:
                start_LH = description_means(task, self.embedding.weight.detach())
            else:
                start_LH = torch.randn(task.num_codes, width) / width**0.5
            self.C = nn.Parameter(start_LH)
            self.label_attention = Attention() if config.label_softmax else LabelSum()
        if config.attention == "joint":
            self.w3 = Linear(both, 1, bias=False)
            self.w4 = Linear(both, 1, bias=False)
            self.gates = GateShares(normalise=config.normalise_gates)
        joined = 2 * both if config.attention == "joint" and config.splice == "concat" else both
        if config.output == "mlp-sum":
            self.hidden, self.pooled = Linear(joined, width), Linear(width, width)
        else:
            self.output = LabelwiseLinear(joined, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        mask_BT = mask(batch.lengths_B, batch.tokens_BT.shape[1])
        hidden_BTE = self.dropout(self.embedding(batch.tokens_BT))
        for block in self.blocks:
            hidden_BTE = block(hidden_BTE, mask_BT)
        ahead_BTH, back_BTH = self.lstm(hidden_BTE, batch.lengths_B)
        return self._logits(self._represent(ahead_BTH, back_BTH, mask_BT))

    def _represent(self, ahead_BTH: Tensor, back_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        """Compute V, the document's representation for each code [B, L, 2H], or [B, L, 4H] if concatenated."""
        if self.config.attention == "self":
            return self._attend_self(ahead_BTH, back_BTH, mask_BT)
        halves = [self.label_attention(self.C, side_BTH, side_BTH, mask_BT) for side_BTH in (ahead_BTH, back_BTH)]
        label_BLK = torch.cat(halves, dim=2)
        if self.config.attention == "label":
            return label_BLK
        self_BLK = self._attend_self(ahead_BTH, back_BTH, mask_BT)
        if self.config.attention == "sum":
            return self_BLK + label_BLK
        alpha_BL1, beta_BL1 = self.gates(self.w3(self_BLK), self.w4(label_BLK))
        weighted = (alpha_BL1 * self_BLK, beta_BL1 * label_BLK)
        return torch.cat(weighted, dim=2) if self.config.splice == "concat" else weighted[0] + weighted[1]

    def _attend_self(self, ahead_BTH: Tensor, back_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        """Compute S [B, L, 2H]."""
        hidden_BTK = torch.cat((ahead_BTH, back_BTH), dim=2)
        attended_BLK: Tensor = self.self_attention(self.W1(hidden_BTK).tanh(), hidden_BTK, mask_BT)
        return attended_BLK

    def _logits(self, codes_BLK: Tensor) -> Tensor:
        codes_BLK = codes_BLK * self.config.scale
        if self.config.output == "label-linear":
            logits_BL: Tensor = self.output(codes_BLK)
            return logits_BL
        # The sum of a linear layer's k' outputs is a product with the sum of its rows; `mv` computes it in 32 bits.
        sums_X: Tensor = self.hidden(codes_BLK).relu().flatten(0, 1).mv(self.pooled.weight.sum(0))
        return sums_X.view(codes_BLK.shape[:2]) + self.pooled.bias.sum()

    @staticmethod
    def notices(config: Config, task: Task) -> list[str]:
        """Warn if C cannot start from titles."""
        from_titles = config.attention != "self" and config.embedding_size == config.hidden_size
        return untitled_notices(task.descriptions or ()) if from_titles else []


class LabelSum(Inspectable):
    """`(queries · keysᵀ) · values` without a softmax (eq. 8 as printed). Padding must be zero; there is no mask."""

    def forward(self, queries_LH: Tensor, keys_BTH: Tensor, values_BTH: Tensor, _mask_BT: Tensor) -> Tensor:
        """Compute the sums [B, L, H]."""
        keys_BHT = keys_BTH.transpose(1, 2)
        if len(queries_LH) > keys_BTH.shape[2] // 2:  # (C hᵀ) h = C (hᵀ h): cheaper once there are many codes
            return queries_LH @ (keys_BHT @ values_BTH)
        return (queries_LH @ keys_BHT) @ values_BTH

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """Show the factors of a code's sum, divided by the sum of their absolute values."""
        queries_LH, keys_BTH, *_ = inputs
        yield Shown("label", lambda code: functional.normalize(keys_BTH @ queries_LH[code], p=1, dim=1))
