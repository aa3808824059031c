"""MultiResCNN: six convolutions of different widths, each with a residual block, and label attention.

Li, Yu: ICD Coding from Clinical Text Using Multi-Filter Residual Convolutional Neural Network, AAAI 2020,
https://arxiv.org/abs/1912.00862.

    for each kernel size k:
        x_k = tanh(Conv1d_k(e))                                           [E, T]
        h_k = tanh(BN(Conv1d_k(tanh(BN(Conv1d_k(x_k))))) + BN(Conv1d_1(x_k)))      [F, T], then dropout
    h = [h_3; h_5; h_9; h_15; h_19; h_25]         [6F, T]
    α_l = softmax over positions of u_lᵀ h        [T]
    logit_l = <v_l, Σ_t α_lt h_t> + b_l

Convolutions inside the residual block have no bias; the first convolution has one. The first convolution, U and the
output weights start Xavier-uniform, as in the published code; dropout is on the embeddings and on each h_k.

Deviations: the published code attends to padding and includes it in batch norm. Unless `attend_padding` is set, here
each convolution reads zeros beyond a document's end, batch statistics cover words only, and padding gets no weight.
"""

from __future__ import annotations

from torch import Tensor, nn

from icdbench.nn import Dropout, LabelAttention, LabelwiseLinear, MultiFilterEncoder, embedding, lengths, mask
from icdbench.registry import register
from icdbench.spec import OddSizes, Positive, Rate, Settings, Study, tunable
from icdbench.types import Batch, Task


class Config(Settings):
    embedding_size: Positive = 100
    kernel_sizes: OddSizes = (3, 5, 9, 15, 19, 25)
    filters: Positive = tunable(50, 30, 100, log=True, about="per kernel size")
    dropout: Rate = tunable(0.2, 0.0, 0.8)
    attend_padding: bool = False


@register(
    "multirescnn",
    config=Config,
    paper="Li and Yu, AAAI 2020",
    version="1",
    train={"learning_rate": 1e-4},
    small={
        "filters": 47,
        "dropout": 0.0015,
        "learning_rate": 2.09e-3,
        "weight_decay": 1e-3,
        "monitor": "map",
    },
    study=Study(trials=16, dataset="codiesp-d50"),
)
class MultiResCnn(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        self.dropout = Dropout(config.dropout)
        self.encoder = MultiFilterEncoder(config.embedding_size, config.filters, config.kernel_sizes, config.dropout)
        width = config.filters * len(config.kernel_sizes)
        self.attention = LabelAttention(width, task.num_codes)
        self.output = LabelwiseLinear(width, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        mask_BT = mask(lengths(batch, attend_padding=self.config.attend_padding), batch.tokens_BT.shape[1])
        hidden_BTF = self.encoder(self.dropout(self.embedding(batch.tokens_BT)), mask_BT)
        logits_BL: Tensor = self.output(self.attention(hidden_BTF, hidden_BTF, mask_BT))
        return logits_BL
