"""CNN: one convolution, max-pooled over the document.

Kim: Convolutional Neural Networks for Sentence Classification, EMNLP 2014, https://arxiv.org/abs/1408.5882; with the
settings of Mullenbach et al., NAACL 2018, https://arxiv.org/abs/1802.05695, whose figures the JLAN paper quotes.

    h = tanh(Conv1d(x))            [F, P]    unpadded: P = T - k + 1
    logits = W max_p(h_p) + b      [L]

A document shorter than the kernel is padded to its width. Convolution and output weights start Xavier-uniform, as in
the published code. Deviation: positions that include padding are excluded from the maximum unless `attend_padding` is
set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from icdbench.nn import Dropout, Inspectable, Linear, Positions, Shown, embedding, lengths, mask
from icdbench.registry import register
from icdbench.spec import Positive, Rate, Settings, Study, tunable
from icdbench.types import Batch, Task


class Config(Settings):
    embedding_size: Positive = 100
    kernel_size: Positive = tunable(4, 3, 25, log=True)
    filters: Positive = tunable(500, 50, 500, log=True)
    dropout: Rate = tunable(0.2, 0.0, 0.8)
    attend_padding: bool = False


@register(
    "cnn",
    config=Config,
    paper="Kim, EMNLP 2014; Mullenbach et al., NAACL 2018",
    version="1",
    train={"learning_rate": 3e-3},
    small={
        "kernel_size": 3,
        "filters": 288,
        "dropout": 0.0184,
        "learning_rate": 3.2e-3,
        "batch_size": 4,
        "monitor": "map",
    },
    study=Study(trials=16, dataset="codiesp-d50"),
)
class Cnn(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        self.dropout = Dropout(config.dropout)
        self.conv = nn.Conv1d(config.embedding_size, config.filters, config.kernel_size)
        nn.init.xavier_uniform_(self.conv.weight)
        self.output = PooledLinear(config.filters, task.num_codes, config.kernel_size)
        nn.init.xavier_uniform_(self.output.weight)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        kernel = self.config.kernel_size
        embedded_BTE = self.dropout(self.embedding(batch.tokens_BT))
        embedded_BTE = functional.pad(embedded_BTE, (0, 0, 0, max(0, kernel - embedded_BTE.shape[1])))
        reach_B = lengths(batch, attend_padding=self.config.attend_padding) - kernel + 1
        with torch.no_grad():
            hidden_BFP = self.conv(embedded_BTE.transpose(1, 2))
            mask_BP = mask(reach_B.clamp(min=1), hidden_BFP.shape[2])
            place_BF = hidden_BFP.masked_fill_(~mask_BP[:, None], -torch.inf).argmax(2)
        # Only these positions are computed further: tanh preserves their order, and no other position gets a gradient.
        # They are fetched as an embedding lookup, whose gradient torch accumulates in parallel.
        first_B1 = torch.arange(len(place_BF), device=place_BF.device)[:, None] * embedded_BTE.shape[1]
        rows_BFK = (first_B1 + place_BF)[:, :, None] + torch.arange(kernel, device=place_BF.device)
        windows_BFKE = functional.embedding(rows_BFK, embedded_BTE.flatten(0, 1))
        found_BF = (windows_BFKE * self.conv.weight.transpose(1, 2)).sum((2, 3))
        assert self.conv.bias is not None
        largest_BF = (found_BF + self.conv.bias).tanh()
        logits_BL: Tensor = self.output(largest_BF, place_BF, hidden_BFP.shape[2])
        return logits_BL


class PooledLinear(Linear, Inspectable):
    """A linear layer over the maxima of filters that can show what the positions of the maxima add to a logit."""

    def __init__(self, filters: int, num_codes: int, kernel_size: int) -> None:
        super().__init__(filters, num_codes)
        self.positions = Positions(0, kernel_size)

    def forward(self, largest_BF: Tensor, _place_BF: Tensor, _positions: int) -> Tensor:  # type: ignore[override]
        """Compute logits_BL. `_place_BF` is the position of each maximum, out of `_positions`."""
        return super().forward(largest_BF)

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """Show what positions, of `kernel_size` words each, add to a code's logit."""
        largest_BF, place_BF, positions = inputs
        none_BP = largest_BF.new_zeros(len(largest_BF), positions)
        yield Shown(
            "pooling", lambda code: none_BP.scatter_add(1, place_BF, largest_BF * self.weight[code]), self.positions
        )
