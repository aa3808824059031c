"""DualLAAT: the codes' titles are the queries of label attention, and one classifier serves all codes.

Liu, Nguyen: the model of the repository DualLAAT-ICD, BioNLP 2026, https://arxiv.org/abs/2605.17755.

    h = BiLSTM(x)                                              [T, 2H]
    q_l = last states, both ways, of BiLSTM'(title of l)       [2H]
    α_l = softmax over T of tanh(W_c q_l)ᵀ tanh(W_t h_t)       [T]      for each head
    m_l = Σ_t α_lt h_t, of all heads side by side              [2H · heads]
    logit_l = w ReLU(V m_l + c) + b

Word vectors are trained, and shared by documents and titles. No weights belong to a code, which is represented by its title.
So codes that never occur in training can be predicted: with `data.label_set=system` or by `icdbench predict --codes FILE`.
Variant `cnn` replaces both BiLSTMs by a convolution of 10 words and tanh; q_l is then the maximum over positions.

In training each batch scores the codes of its documents and others drawn at random, up to `label_space` codes. All other
pairs of a document and a code have no loss and no gradient (the cross-entropy of the logit SILENT is 0). A code with the
same title as a gold code of a document is never a negative of it, and is not drawn in a batch that has the other.

The paper was not read; architecture and training follow the description of its public program. What that leaves open:
- W_c and W_t have no bias, as in LAAT; V has the size of m_l. Dropout is on the word vectors of documents and titles.
- Not known are the size of the label space (here 1,000) and the learning rate (here 1e-3 after a warm-up of a hundredth of
  `max_epochs`, from which it falls linearly).
- The loss is the mean over all pairs, including those without loss; AdamW's steps do not depend on that factor.
- Titles are cut to 48 words. A code without a title has an unknown word as its title, so all such codes have the same score.
- The published program does not distinguish text and padding; here padding gets no attention. It also takes batches of one
  code system each; here each data set has only one.

In evaluation titles are encoded once, without a gradient, until the model is trained again or its weights change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, cat, nn
from torch.nn import functional

from icdbench.nn import BiRNN, Dropout, Inspectable, Linear, Positions, Shown, embedding, kernels, mask, middle
from icdbench.nn.attention import WORDS, weights_by_code
from icdbench.nn.label_texts import groups_of, in_blocks, tokens_of
from icdbench.registry import register
from icdbench.spec import Positive, Rate, Settings, Variant, tunable
from icdbench.types import PADDING, Batch, Task

SILENT = -100.0  # logit of pairs that training leaves out: their cross-entropy is 0 in 32 bits
CODES = 4096  # codes scored at a time


class Config(Settings):
    belonging: ClassVar = {"encoder": {"lstm": ("hidden_size",), "cnn": ("kernel_size", "filters")}}

    encoder: Literal["lstm", "cnn"] = "lstm"
    embedding_size: Positive = 100
    hidden_size: Positive = tunable(128, 64, 512, log=True, about="recurrent width per direction")
    kernel_size: Positive = Field(10, description="words of the convolution; cnn only")
    filters: Positive = tunable(128, 64, 512, log=True, about="of the convolution; cnn only")
    attention_size: Positive = tunable(128, 32, 256, log=True, about="width of the projections, for each head")
    heads: Positive = 1
    dropout: Rate = tunable(0.1, 0.0, 0.8)
    label_space: Positive = Field(1000, description="codes per batch in training, its own and others drawn at random")
    title_words: Positive = Field(48, description="titles are cut to so many words")


@register(
    "duallaat",
    config=Config,
    paper="Liu & Nguyen, BioNLP 2026",
    version="1",
    data={"max_tokens": 4000},
    train={
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "batch_size": 8,
        "scheduler": "linear",
        "warmup": 0.01,
    },
    small={
        "learning_rate": 3e-3,
        "scheduler": "none",
        "batch_size": 4,
        "monitor": "map",
    },
    variants=(
        Variant(name="cnn", about="convolutions in place of recurrences", model={"encoder": "cnn"}),
        Variant(
            name="system",
            about="also codes that training never shows, by their titles",
            data={"label_set": "system", "code_terms": True},
        ),
    ),
    needs=("titles",),
)
class DualLaat(nn.Module):
    any_codes = True  # no weights belong to a code
    title_tokens_LW: Tensor
    title_lengths_L: Tensor
    group_L: Tensor

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding(task, config.embedding_size)
        self.dropout = Dropout(config.dropout)
        self.text, self.title = _encoder(config), _encoder(config)
        width, projected = self.text.width, config.heads * config.attention_size
        self.W_c = Linear(width, projected, bias=False)
        self.W_t = Linear(width, projected, bias=False)
        self.scorer = SharedScorer(width * config.heads, self.text.positions)
        tokens_LW, lengths_L = tokens_of(task.descriptions or [], config.title_words)
        # These come from the task and are not stored with the weights.
        self.register_buffer("title_tokens_LW", tokens_LW, persistent=False)
        self.register_buffer("title_lengths_L", lengths_L, persistent=False)
        self.register_buffer("group_L", groups_of(tokens_LW), persistent=False)
        self._queries_LA: Tensor | None = None
        self.register_load_state_dict_post_hook(_forget_queries)  # type: ignore[no-untyped-call]

    @staticmethod
    def notices(_config: Config, task: Task) -> list[str]:
        """Warn of codes without a title."""
        titles = task.descriptions or ()
        missing = sum(not len(title) for title in titles)
        return [f"{missing} of {len(titles)} codes have no title, and so the same score"] if missing else []

    def train(self, mode: bool = True) -> DualLaat:  # noqa: FBT001, FBT002
        """Set the mode, as for every module, and forget the encoded titles."""
        self._queries_LA = None
        super().train(mode)
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL; in training codes that are not drawn or have the title of a gold code are SILENT."""
        hidden_BPK, mask_BP = self.text(self.dropout(self.embedding(batch.tokens_BT)), batch.lengths_B)
        keys_BPA = self.W_t(hidden_BPK).tanh()
        logits_BL: Tensor
        if not self.training:
            logits_BL = self.scorer(self._evaluated_queries(), keys_BPA, hidden_BPK, mask_BP)
            return logits_BL
        drawn_C = self.drawn(batch.labels_BL)
        queries_CA = self._queries(self.title_tokens_LW[drawn_C], self.title_lengths_L[drawn_C])
        logits_BC = self.scorer(queries_CA, keys_BPA, hidden_BPK, mask_BP)
        logits_BC = logits_BC.masked_fill(self._same_title(batch.labels_BL)[:, drawn_C], SILENT)
        logits_BL = logits_BC.new_full(batch.labels_BL.shape, SILENT)
        return logits_BL.index_copy(1, drawn_C, logits_BC)

    def drawn(self, labels_BL: Tensor) -> Tensor:
        """Draw the codes that a batch is trained on [C], in order: all, or its own and random ones with other titles."""
        if labels_BL.shape[1] <= self.config.label_space:
            return torch.arange(labels_BL.shape[1], device=labels_BL.device)
        own_L = (labels_BL > 0).any(0)
        own_C = own_L.nonzero()[:, 0]
        others_N = (~torch.isin(self.group_L, self.group_L[own_C])).nonzero()[:, 0]
        order_N = torch.randperm(len(others_N))[: max(0, self.config.label_space - len(own_C))]
        return cat((own_C, others_N[order_N.to(others_N.device)])).sort().values

    def _same_title(self, labels_BL: Tensor) -> Tensor:
        """Whether a code is not gold, but has the same title as a gold code of the document [B, L]."""
        positive_BL = labels_BL > 0
        gold_BG = labels_BL.new_zeros(len(labels_BL), int(self.group_L.max()) + 1)
        gold_BG.index_add_(1, self.group_L, positive_BL.to(labels_BL))
        same_BL: Tensor = (gold_BG[:, self.group_L] > 0) & ~positive_BL
        return same_BL

    def _evaluated_queries(self) -> Tensor:
        if self._queries_LA is None or self._queries_LA.device != self.title_tokens_LW.device:
            with torch.no_grad():
                self._queries_LA = self._queries(self.title_tokens_LW, self.title_lengths_L)
        return self._queries_LA

    def _queries(self, tokens_CW: Tensor, lengths_C: Tensor) -> Tensor:
        """The projections of titles [C, A], A for all heads."""
        return in_blocks(self._query, tokens_CW, lengths_C)

    def _query(self, tokens_CW: Tensor, lengths_C: Tensor) -> Tensor:
        # Not by the embedding layer, on whose output explanations place hooks for the document's words.
        embedded_CWE = self.dropout(functional.embedding(tokens_CW, self.embedding.weight, PADDING))
        query_CA: Tensor = self.W_c(self.title.last(embedded_CWE, lengths_C)).tanh()
        return query_CA


def _forget_queries(model: nn.Module, _keys: object) -> None:
    assert isinstance(model, DualLaat)
    model._queries_LA = None  # noqa: SLF001  the hook of this class


def _encoder(config: Config) -> Recurrent | Convolved:
    if config.encoder == "lstm":
        return Recurrent(config.embedding_size, config.hidden_size)
    return Convolved(config.embedding_size, config.filters, config.kernel_size)


class Recurrent(nn.Module):
    """A BiLSTM."""

    positions = WORDS

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.width = 2 * width
        self.lstm = BiRNN(nn.LSTM, width_in, width)

    def forward(self, embedded_BTE: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """The states [B, T, 2H] and their mask [B, T]."""
        return cat(self.lstm(embedded_BTE, lengths_B), dim=2), mask(lengths_B, embedded_BTE.shape[1])

    def last(self, embedded_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """The last states of both directions [B, 2H]."""
        ahead_BTH, back_BTH = self.lstm(embedded_BTE, lengths_B)
        rows_B = torch.arange(len(lengths_B), device=lengths_B.device)
        return cat((ahead_BTH[rows_B, lengths_B - 1], back_BTH[:, 0]), dim=1)


class Convolved(nn.Module):
    """A convolution, and tanh."""

    def __init__(self, width_in: int, filters: int, kernel_size: int) -> None:
        super().__init__()
        self.width, self.extra = filters, 1 - kernel_size % 2  # an even kernel has one more position than words
        self.positions = middle(kernel_size, kernel_size // 2)
        self.conv = nn.Conv1d(width_in, filters, kernel_size, padding=kernel_size // 2)

    def forward(self, embedded_BTE: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """The features [B, P, F] and their mask [B, P]."""
        hidden_BPF = kernels.convolve(self.conv, embedded_BTE).tanh()
        return hidden_BPF, mask(lengths_B + self.extra, hidden_BPF.shape[1])

    def last(self, embedded_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """The maximum of each feature [B, F]."""
        hidden_BPF, mask_BP = self(embedded_BTE, lengths_B)
        largest_BF: Tensor = hidden_BPF.masked_fill(~mask_BP[:, :, None], -1.0).amax(1)
        return largest_BF


class SharedScorer(Inspectable):
    """Attention with a query for each code, and one classifier of the attended states for all codes, in blocks of codes.

    Queries and keys of all heads are concatenated; the width of the classifier is that of the states times the number of heads.
    """

    def __init__(self, width: int, positions: Positions) -> None:
        super().__init__()
        self.positions = positions
        self.hidden = Linear(width, width)
        self.output = Linear(width, 1)

    def forward(self, queries_LA: Tensor, keys_BPA: Tensor, hidden_BPK: Tensor, mask_BP: Tensor) -> Tensor:
        """logits_BL."""
        heads = self._heads(hidden_BPK)
        keys = keys_BPA.chunk(heads, dim=2)
        scores = []
        for block_CA in torch.split(queries_LA, CODES):
            attended = [
                kernels.attention(query_CA, key_BPA, hidden_BPK, mask_BP)
                for query_CA, key_BPA in zip(block_CA.chunk(heads, dim=1), keys, strict=True)
            ]
            scores.append(self.output(self.hidden(cat(attended, dim=2)).relu())[:, :, 0])
        return cat(scores, dim=1)

    def _heads(self, hidden_BPK: Tensor) -> int:
        return self.hidden.in_features // hidden_BPK.shape[2]

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """Recompute the weights of one code for each head."""
        queries_LA, keys_BPA, hidden_BPK, mask_BP = inputs
        heads = self._heads(hidden_BPK)
        for queries_LF, keys_BPF in zip(queries_LA.chunk(heads, dim=1), keys_BPA.chunk(heads, dim=2), strict=True):
            yield Shown("label", weights_by_code(queries_LF, keys_BPF, mask_BP), self.positions)
