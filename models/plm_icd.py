"""PLM-ICD: a pretrained transformer over chunks of subwords, with label attention; PLM-CA: the same with cross-attention.

Huang, Tsai, Chen: PLM-ICD: Automatic ICD Coding with Pretrained Language Models, ClinicalNLP 2022,
https://arxiv.org/abs/2207.05289. PLM-CA (`plm-icd@cross`): Edin, Maistro, Maaløe, Borgholt, Havtorn, Ruotsalo: An
Unsupervised Approach to Achieve Supervised-Level Explainability in Healthcare Records, EMNLP 2024,
https://arxiv.org/abs/2406.08958.

It needs a pretrained encoder, in a folder as Hugging Face's libraries write it (config.json, tokenizer.json,
model.safetensors), and the extra `plm`:

    pip install 'icdbench[plm]'
    icdbench run --models plm-icd --set plm-icd.encoder=FOLDER --dataset notes.csv

Any bidirectional encoder can be used: BERT, RoBERTa, ELECTRA, DeBERTa, ModernBERT and others. If the machine is online, a name
on the Hugging Face hub can be given in place of the folder. See docs/data.md.

    the note, as raw text, in the encoder's subwords, at most 6,144, in chunks of 128 without special tokens
    H = the encoder's last states of all chunks, joined                                   [T, h]

`decoder=laat`:
    Z = tanh(W H)                                                                         [T, d_a]
    α_l = softmax over T of u_lᵀ Z                                                        [T]
    logit_l = <v_l, Σ_t α_lt H_t> + b_l

`decoder=cross`:
    K = W_k H, V = W_v H + b_v                                                            [T, h]
    α_l = softmax over T of q_lᵀ K                                                        [T]
    logit_l = <v, LayerNorm(Σ_t α_lt V_t)> + b, with one v and b for all codes

W, W_k and U have no bias; W, U, the output weights of `laat` and the queries q_l start normally distributed with standard
deviation .03, as in the published code. Training uses AdamW without decay, learning rate 5e-5 that rises over 10 % of the
steps and then falls linearly to 0, gradients clipped to norm 1, batches of 16, at most 20 epochs, and stops after 6 without
a better MAP. Settings for small data were chosen by hand, with MiniLM on codiesp-d50 (results/pretrained.md).

With `gradient_checkpointing` the encoder's activations are recomputed for the gradient, 16 chunks at a time, instead of being
stored: this takes a third more time, but memory hardly grows with the size of batches and documents.

Deviations: the published code gives attention to padding in the last chunk; here it gets none. It computes in fp16;
here `train.precision` is bf16 on a GPU that has it. PLM-CA's paper trains on up to 6,000 subwords, PLM-ICD's on 3,072.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from icdbench.nn import Attention, LabelwiseLinear, Linear, mask
from icdbench.nn.pretrained import pretrained
from icdbench.registry import register
from icdbench.spec import Positive, Rate, Settings, Variant, tunable
from icdbench.types import Batch, Task

DEVIATION = 0.03  # standard deviation of the initial weights


class Config(Settings):
    belonging: ClassVar = {"decoder": {"laat": ("attention_size",)}}

    encoder: str = Field("", description="the folder of a pretrained encoder; in a stored run, its content")
    decoder: Literal["laat", "cross"] = "laat"
    chunk_size: Positive = Field(128, description="subwords that see each other")
    attention_size: Positive = tunable(768, 128, 768, about="d_a, rows of W, of laat")
    dropout: Rate = tunable(0.0, 0.0, 0.5, about="of the encoder's states; it has dropout of its own")
    gradient_checkpointing: bool = True


@register(
    "plm-icd",
    config=Config,
    paper="Huang et al., ClinicalNLP 2022",
    version="1",
    needs=("encoder",),
    data={"tokens": "subwords", "max_tokens": 6144},
    train={
        "optimizer": "adamw",
        "learning_rate": 5e-5,
        "scheduler": "linear",
        "clip_norm": 1.0,
        "batch_size": 16,
        "max_epochs": 20,
        "patience": 6,
        "monitor": "map",
    },
    small={"learning_rate": 2e-4, "batch_size": 4},
    variants=(
        Variant(name="cross", about="PLM-CA: cross-attention, one output for all codes", model={"decoder": "cross"}),
    ),
)
class PlmIcd(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding, self.encoder = pretrained(task, config.chunk_size, checkpointing=config.gradient_checkpointing)
        self.dropout = nn.Dropout(config.dropout)
        decoder = Cross if config.decoder == "cross" else Laat
        self.decoder = decoder(config, self.encoder.width, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        hidden_BTH = self.dropout(self.encoder(self.embedding(batch.tokens_BT), batch.lengths_B))
        logits_BL: Tensor = self.decoder(hidden_BTH, mask(batch.lengths_B, hidden_BTH.shape[1]))
        return logits_BL


class Laat(nn.Module):
    """Label attention with a hidden layer, and an output of its own for each code."""

    def __init__(self, config: Config, width: int, num_codes: int) -> None:
        super().__init__()
        self.W = Linear(width, config.attention_size, bias=False)
        self.U = Linear(config.attention_size, num_codes, bias=False)
        self.attention = Attention()
        self.output = LabelwiseLinear(width, num_codes)
        for weight in (self.W.weight, self.U.weight, self.output.final.weight):
            nn.init.normal_(weight, std=DEVIATION)

    def forward(self, hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        """Compute logits_BL."""
        attended_BLH = self.attention(self.U.weight, self.W(hidden_BTH).tanh(), hidden_BTH, mask_BT)
        logits_BL: Tensor = self.output(attended_BLH)
        return logits_BL


class Cross(nn.Module):
    """Cross-attention with a query for each code, and one output for all."""

    def __init__(self, _config: Config, width: int, num_codes: int) -> None:
        super().__init__()
        self.queries = Linear(width, num_codes, bias=False)
        nn.init.normal_(self.queries.weight, std=DEVIATION)
        self.keys = Linear(width, width, bias=False)
        self.values = Linear(width, width)
        self.attention = Attention()
        self.norm = nn.LayerNorm(width)
        self.output = Linear(width, 1)

    def forward(self, hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        """Compute logits_BL."""
        attended_BLH = self.attention(self.queries.weight, self.keys(hidden_BTH), self.values(hidden_BTH), mask_BT)
        logits_BL: Tensor = self.output(self.norm(attended_BLH))[..., 0]
        return logits_BL
