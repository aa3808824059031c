"""CAML: convolutional attention for multi-label classification.

Mullenbach, Wiegreffe, Duke, Sun, Eisenstein: Explainable Prediction of Medical Codes from Clinical Text, NAACL 2018,
https://arxiv.org/abs/1802.05695.

    h_p = tanh(Conv1d(x))                        [F, P]    P = T + 1 for an even kernel (padding ⌊k/2⌋ on both sides)
    α_l = softmax over positions of u_lᵀ h       [P]
    m_l = Σ_p α_lp h_p                           [F]
    logit_l = <v_l, m_l> + b_l

Dropout on the embeddings only. Convolution, U and output weights start Xavier-uniform, as in the published code.

Deviation: the published code attends to padding too, so a document's score depends on its batch; here padding gets no
weight unless `attend_padding` is set.
"""

from __future__ import annotations

from torch import Tensor, nn

from icdbench.nn import LabelAttention, LabelwiseLinear, embedding, mask
from icdbench.registry import register
from icdbench.spec import Positive, Rate, Settings, tunable
from icdbench.types import Batch, Task


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
        self.dropout = nn.Dropout(config.dropout)
        self.conv = nn.Conv1d(
            config.embedding_size, config.filters, config.kernel_size, padding=config.kernel_size // 2
        )
        nn.init.xavier_uniform_(self.conv.weight)
        self.attention = LabelAttention(config.filters, task.num_codes)
        self.output = LabelwiseLinear(config.filters, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        """logits_BL."""
        embedded_BTE = self.dropout(self.embedding(batch.tokens_BT))
        hidden_BPF = self.conv(embedded_BTE.transpose(1, 2)).tanh().transpose(1, 2)
        extra = 1 - self.config.kernel_size % 2  # an even kernel has one position more than tokens
        mask_BP = None if self.config.attend_padding else mask(batch.lengths_B + extra, hidden_BPF.shape[1])
        logits_BL: Tensor = self.output(self.attention(hidden_BPF, hidden_BPF, mask_BP))
        return logits_BL
