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
random vectors are always trained. The vectors are not scaled to length one either: frozen at that length they carry so
little signal that on codiesp-d50 the model did no better than popularity. Variant `fine-tuned` trains them.

Deviations: the published code gives weight to padding, whose states are zero, unless all documents of a batch have the
same length; here padding gets none unless `attend_padding` is set. It stops after 6 epochs without a better micro F1,
at most 50, and trains its vectors on all discharge summaries; here the suite's stopping rule and texts are used, for a
fair comparison. Its AdamW adds 1e-6 to the denominator, torch's adds 1e-8.
"""

from __future__ import annotations

from torch import Tensor, cat, nn

from icdbench.nn import Attention, BiRNN, Dropout, LabelwiseLinear, Linear, embedding, lengths, mask
from icdbench.registry import register
from icdbench.spec import Positive, Rate, Settings, Variant, tunable
from icdbench.types import Batch, Task

DEVIATION = 0.03  # standard deviation of the initial weights


class Config(Settings):
    embedding_size: Positive = 100
    static_embeddings: bool = True
    hidden_size: Positive = tunable(512, 128, 512, about="recurrent width per direction")
    attention_size: Positive = tunable(512, 128, 512, about="d_a, rows of W")
    dropout: Rate = tunable(0.3, 0.0, 0.8)
    attend_padding: bool = False


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
    variants=(Variant(name="fine-tuned", about="word vectors are also trained", model={"static_embeddings": False}),),
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

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        embedded_BTE = self.dropout(self.embedding(batch.tokens_BT))
        hidden_BTK = cat(self.lstm(embedded_BTE, batch.lengths_B), dim=2)
        mask_BT = mask(lengths(batch, attend_padding=self.config.attend_padding), hidden_BTK.shape[1])
        logits_BL: Tensor = self.output(self.attention(self.U.weight, self.W(hidden_BTK).tanh(), hidden_BTK, mask_BT))
        return logits_BL
