"""JLAN as released: the model of the code that was later published under the paper's name.

Li, Zhang, Islam, Dong, Wei, Lu: JLAN: medical code prediction via joint learning attention networks and denoising
mechanism, BMC Bioinformatics 22:590 (2021), https://doi.org/10.1186/s12859-021-04520-x. The paper itself is model
`jlan`; the public code, which does not run unchanged (it instantiates a class that it does not define), has
MultiResCNN's encoder, no recurrence, no code titles and plain cross-entropy:

    h = MultiResCNN's six filters                            [6F, T]
    M = softmax over T of (U h) · h                          label attention, [L, 6F]
    S = softmax over T of (W2 tanh(W1 h + b1)) · h           self-attention, [L, 6F], W1 [200, 6F], W2 [L, 200]
    α, β = σ(M w1 + c1), σ(S w2 + c2), divided by α + β
    logit_l = <v_l, α_l M_l + β_l S_l> + b_l

Defaults are those of the code: dropout .5, batches of 32, learning rate 1e-4, 80 epochs. Its code for truncating the
loss is never executed, so `train.objective` is the full cross-entropy.

The code also gives W2 a bias; it shifts all positions of a code equally, which has no effect in the softmax, so it is
omitted. So are layers that the code creates but never runs (a recurrence, a second embedding, an output layer).
Deviation: as in MultiResCNN, padding is neither attended to nor included in batch norm unless `attend_padding` is set.
"""

from __future__ import annotations

from torch import Tensor, nn

from icdbench.nn import (
    Attention,
    Dropout,
    GateShares,
    LabelAttention,
    LabelwiseLinear,
    Linear,
    MultiFilterEncoder,
    embedding,
    lengths,
    mask,
)
from icdbench.registry import register
from icdbench.spec import OddSizes, Positive, Rate, Settings, tunable
from icdbench.types import Batch, Task


class Config(Settings):
    embedding_size: Positive = 100
    kernel_sizes: OddSizes = (3, 5, 9, 15, 19, 25)
    filters: Positive = tunable(50, 30, 100, log=True, about="per kernel size")
    attention_size: Positive = tunable(200, 50, 400, about="rows of W1")
    dropout: Rate = tunable(0.5, 0.0, 0.8)
    attend_padding: bool = False


@register(
    "jlan-released",
    config=Config,
    paper="Li et al., BMC Bioinformatics 2021 (released code)",
    version="1",
    train={"learning_rate": 1e-4, "batch_size": 32, "max_epochs": 80},
    small={"learning_rate": 1e-3, "batch_size": 4},
)
class JlanReleased(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        self.dropout = Dropout(config.dropout)
        self.encoder = MultiFilterEncoder(config.embedding_size, config.filters, config.kernel_sizes, config.dropout)
        width = config.filters * len(config.kernel_sizes)
        self.label_attention = LabelAttention(width, task.num_codes)
        self.self_attention = Attention("self")
        self.W1 = Linear(width, config.attention_size)
        self.W2 = Linear(config.attention_size, task.num_codes, bias=False)
        self.w1 = Linear(width, 1)
        self.w2 = Linear(width, 1)
        self.gates = GateShares(("beta", "alpha"))  # named as in the paper: α weighs S
        self.output = LabelwiseLinear(width, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        mask_BT = mask(lengths(batch, attend_padding=self.config.attend_padding), batch.tokens_BT.shape[1])
        hidden_BTF = self.encoder(self.dropout(self.embedding(batch.tokens_BT)), mask_BT)
        label_BLF = self.label_attention(hidden_BTF, hidden_BTF, mask_BT)
        self_BLF = self.self_attention(self.W2.weight, self.W1(hidden_BTF).tanh(), hidden_BTF, mask_BT)
        alpha_BL1, beta_BL1 = self.gates(self.w1(label_BLF), self.w2(self_BLF))
        joint_BLF = alpha_BL1 * label_BLF + beta_BL1 * self_BLF
        logits_BL: Tensor = self.output(joint_BLF)
        return logits_BL
