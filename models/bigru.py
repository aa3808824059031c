"""BiGRU: the last states of a bidirectional gated recurrent unit.

The recurrent baseline of Mullenbach, Wiegreffe, Duke, Sun, Eisenstein: Explainable Prediction of Medical Codes from
Clinical Text, NAACL 2018, https://arxiv.org/abs/1802.05695, whose figures the JLAN paper quotes.

    h_f, h_b = GRU(x), GRU(x reversed)            [T, H] each
    logits = W [h_f at the last word; h_b at the first] + b       [L]

There are 512 units, so H = 256 per direction, and no dropout. Variant `unidirectional` matches the published script for
50 codes, which does not set the program's option for two directions, so that a single direction has all 512 units. (The
200 in that script is a number of epochs; word vectors have 100 dimensions, as elsewhere.)

Deviation: the published code also reads padding and takes h_f at the end of the batch; here padding is not read unless
`attend_padding` is set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from icdbench.nn import BiRNN, Linear, embedding, lengths
from icdbench.registry import register
from icdbench.spec import Positive, Settings, Variant, tunable
from icdbench.types import Batch, Task


class Config(Settings):
    embedding_size: Positive = 100
    hidden_size: Positive = tunable(256, 64, 512, about="recurrent width per direction")
    bidirectional: bool = True
    attend_padding: bool = False


@register(
    "bigru",
    config=Config,
    paper="Mullenbach et al., NAACL 2018",
    version="1",
    train={"learning_rate": 3e-3},
    small={"learning_rate": 1e-3, "batch_size": 4},
    variants=(
        Variant(
            name="unidirectional",
            about="one direction of 512 units, as in the published script for 50 codes",
            model={"bidirectional": False, "hidden_size": 512},
        ),
    ),
)
class BiGru(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        width_in, width = config.embedding_size, config.hidden_size
        if config.bidirectional:
            self.gru: BiRNN | nn.GRU = BiRNN(nn.GRU, width_in, width)
        else:
            self.gru = nn.GRU(width_in, width, batch_first=True)
        self.output = Linear(width * (1 + config.bidirectional), task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        embedded_BTE = self.embedding(batch.tokens_BT)
        lengths_B = lengths(batch, attend_padding=self.config.attend_padding)
        rows_B = torch.arange(len(lengths_B), device=lengths_B.device)
        if isinstance(self.gru, BiRNN):
            ahead_BTH, back_BTH = self.gru(embedded_BTE, lengths_B)
            document_BK = torch.cat((ahead_BTH[rows_B, lengths_B - 1], back_BTH[:, 0]), dim=1)
        else:
            ahead_BTH, _ = self.gru(embedded_BTE)
            document_BK = ahead_BTH[rows_B, lengths_B - 1]
        logits_BL: Tensor = self.output(document_BK)
        return logits_BL
