"""CNN: one convolution and a maximum over the document.

Kim: Convolutional Neural Networks for Sentence Classification, EMNLP 2014, https://arxiv.org/abs/1408.5882; with the
settings of Mullenbach et al., NAACL 2018, https://arxiv.org/abs/1802.05695, whose figures the JLAN paper quotes.

    h = tanh(Conv1d(x))            [F, P]    unpadded: P = T - k + 1
    logits = W max_p(h_p) + b      [L]

A document shorter than the kernel is padded to it. Convolution and output weights start Xavier-uniform, as in the
published code. Deviation: positions that touch padding are left out of the maximum unless `attend_padding` is set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from icdbench.nn import embedding, mask, show
from icdbench.registry import register
from icdbench.spec import Positive, Rate, Settings, tunable
from icdbench.types import Batch, Task


class Config(Settings):
    embedding_size: Positive = 100
    kernel_size: Positive = tunable(4, 2, 10)
    filters: Positive = tunable(500, 50, 500)
    dropout: Rate = tunable(0.2, 0.0, 0.8)
    attend_padding: bool = False


@register(
    "cnn",
    config=Config,
    paper="Kim, EMNLP 2014; Mullenbach et al., NAACL 2018",
    train={"learning_rate": 3e-3},
)
class Cnn(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        self.dropout = nn.Dropout(config.dropout)
        self.conv = nn.Conv1d(config.embedding_size, config.filters, config.kernel_size)
        nn.init.xavier_uniform_(self.conv.weight)
        self.output = nn.Linear(config.filters, task.num_codes)
        nn.init.xavier_uniform_(self.output.weight)

    def forward(self, batch: Batch) -> Tensor:
        """logits_BL."""
        kernel = self.config.kernel_size
        embedded_BET = self.dropout(self.embedding(batch.tokens_BT)).transpose(1, 2)
        embedded_BET = functional.pad(embedded_BET, (0, max(0, kernel - embedded_BET.shape[2])))
        hidden_BFP = self.conv(embedded_BET).tanh()
        if not self.config.attend_padding:
            mask_BP = mask((batch.lengths_B - kernel + 1).clamp(min=1), hidden_BFP.shape[2])
            hidden_BFP = hidden_BFP.masked_fill(~mask_BP[:, None], -torch.inf)
        show("pooling", lambda code: self._added(hidden_BFP, code))
        logits_BL: Tensor = self.output(hidden_BFP.amax(2))
        return logits_BL

    def _added(self, hidden_BFP: Tensor, code: int) -> Tensor:
        """What each position adds to a code's logit by being the maximum of filters: [B, P]."""
        largest_BF, place_BF = hidden_BFP.max(2)
        none_BP = torch.zeros_like(hidden_BFP[:, 0])
        return none_BP.scatter_add(1, place_BF, largest_BF * self.output.weight[code])
