"""Textbook implementations of every neural model, the baseline of `train.py`.

Attention computes its full weights [B, L, T], recurrences run over packed sequences, every convolution is a separate
layer, all documents are padded to one length, and only recurrences know where they end. Parameters are named as in
`models/`, except for the two directions of a recurrence, which torch keeps in one layer. On documents without padding
the logits equal those of `models/`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from icdbench.models.corelation import categories, edge_types
from icdbench.types import Batch, Task


def plain_name(name: str) -> str:
    """Return the plain model's name of a parameter of the suite's model."""
    return name.replace("ahead.", "").replace("back.", "") + "_reverse" * ("back." in name)


def load(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load the weights of the suite's model into the plain one."""
    model.load_state_dict({plain_name(name): value for name, value in state.items()})


class Attention(nn.Module):
    def __init__(self, width: int, num_codes: int) -> None:
        super().__init__()
        self.U = nn.Linear(width, num_codes, bias=False)

    def forward(self, keys_BFT: Tensor, values_BHT: Tensor) -> Tensor:
        return attention(self.U.weight, keys_BFT, values_BHT)


def attention(queries_LF: Tensor, keys_BFT: Tensor, values_BHT: Tensor) -> Tensor:
    """Return the attended values [B, L, H]."""
    return (queries_LF @ keys_BFT).softmax(2) @ values_BHT.transpose(1, 2)


class Output(nn.Module):
    def __init__(self, width: int, num_codes: int) -> None:
        super().__init__()
        self.final = nn.Linear(width, num_codes)

    def forward(self, codes_BLF: Tensor) -> Tensor:
        return (self.final.weight * codes_BLF).sum(2) + self.final.bias


def packed(layer: nn.LSTM | nn.GRU, hidden_BTE: Tensor, lengths_B: Tensor) -> Tensor:
    """Run a recurrence over packed sequences; returns states [B, T, 2H]."""
    sequence = pack_padded_sequence(hidden_BTE, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
    hidden_BTK: Tensor = pad_packed_sequence(layer(sequence)[0], batch_first=True, total_length=hidden_BTE.shape[1])[0]
    return hidden_BTK


class Embedded(nn.Module):
    """The base of all models here: word vectors and dropout."""

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(task.num_tokens, config.embedding_size, padding_idx=0)
        self.dropout = nn.Dropout(config.model_dump().get("dropout", 0.0))

    def words(self, batch: Batch) -> Tensor:
        """Return the word vectors [B, E, T]."""
        embedded_BTE: Tensor = self.dropout(self.embedding(batch.tokens_BT))
        return embedded_BTE.transpose(1, 2)


class Caml(Embedded):
    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        width, kernel = config.filters, config.kernel_size
        self.conv = nn.Conv1d(config.embedding_size, width, kernel, padding=kernel // 2)
        self.attention = Attention(width, task.num_codes)
        self.output = Output(width, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        hidden_BFT = self.conv(self.words(batch)).tanh()
        logits_BL: Tensor = self.output(self.attention(hidden_BFT, hidden_BFT))
        return logits_BL


class DrCaml(Caml):
    """Embeds the titles of a document's codes for each document separately. All titles must have the same length."""

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        width, kernel = config.filters, config.kernel_size
        self.register_buffer("titles_LT", torch.tensor([title.tolist() for title in task.descriptions or ()]), False)
        self.weight = config.description_weight or (10.0 if task.num_codes <= 50 else 0.01)
        self.title_embedding = nn.Embedding(task.num_tokens, config.embedding_size, padding_idx=0)
        self.title_conv = nn.Conv1d(config.embedding_size, width, kernel, padding=kernel // 2)
        self.title_linear = nn.Linear(width, width)

    def penalty(self, batch: Batch) -> Tensor:
        titles_LT = self.get_buffer("titles_LT")
        penalty = torch.zeros((), device=titles_LT.device)
        for labels_L in batch.labels_BL:
            codes_N = labels_L.nonzero()[:, 0]
            if len(codes_N):
                hidden_NFT = self.title_conv(self.title_embedding(titles_LT[codes_N]).transpose(1, 2)).tanh()
                distance_NF = self.output.final.weight[codes_N] - self.title_linear(hidden_NFT.amax(2))
                penalty = penalty + distance_NF.square().mean(1).sum()
        return torch.mul(penalty, self.weight / len(batch.labels_BL))


class Cnn(Embedded):
    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        self.conv = nn.Conv1d(config.embedding_size, config.filters, config.kernel_size)
        self.output = nn.Linear(config.filters, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        hidden_BFT = self.conv(self.words(batch)).tanh()
        logits_BL: Tensor = self.output(functional.max_pool1d(hidden_BFT, hidden_BFT.shape[2])[:, :, 0])
        return logits_BL


class BiGru(Embedded):
    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        self.gru = nn.GRU(config.embedding_size, config.hidden_size, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * config.hidden_size, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        _, last_2BH = self.gru(self.words(batch).transpose(1, 2))  # packed, torch 2.13 takes over a minute per step
        logits_BL: Tensor = self.output(torch.cat((last_2BH[0], last_2BH[1]), 1))
        return logits_BL


class Leam(Embedded):
    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        width = config.embedding_size
        self.C = nn.Parameter(torch.empty(task.num_codes, width))
        self.conv = nn.Conv1d(width, width, config.kernel_size)
        self.output = Output(width, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        reach = self.config.kernel_size - 1
        embedded_BET = self.embedding(batch.tokens_BT).transpose(1, 2)
        hidden_BET = self.conv(functional.pad(embedded_BET, (reach // 2, reach - reach // 2))).relu()
        logits_BL: Tensor = self.output(self.dropout(attention(self.C, hidden_BET, hidden_BET)))
        return logits_BL


class Residual(nn.Module):
    """One channel of MultiResCNN."""

    def __init__(self, width: int, filters: int, kernel: int, dropout: float) -> None:
        super().__init__()
        same = kernel // 2
        self.base = nn.Conv1d(width, width, kernel, padding=same)
        self.conv1 = nn.Conv1d(width, filters, kernel, padding=same, bias=False)
        self.norm1 = nn.BatchNorm1d(filters)
        self.conv2 = nn.Conv1d(filters, filters, kernel, padding=same, bias=False)
        self.norm2 = nn.BatchNorm1d(filters)
        self.shortcut = nn.Conv1d(width, filters, 1, bias=False)
        self.shortcut_norm = nn.BatchNorm1d(filters)
        self.dropout = nn.Dropout(dropout)

    def forward(self, embedded_BET: Tensor) -> Tensor:
        base_BET = self.base(embedded_BET).tanh()
        inner_BFT = self.norm2(self.conv2(self.norm1(self.conv1(base_BET)).tanh()))
        result_BFT: Tensor = self.dropout((inner_BFT + self.shortcut_norm(self.shortcut(base_BET))).tanh())
        return result_BFT


class Encoder(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.channels = nn.ModuleList(
            Residual(config.embedding_size, config.filters, kernel, config.dropout) for kernel in config.kernel_sizes
        )

    def forward(self, embedded_BET: Tensor) -> Tensor:
        return torch.cat([channel(embedded_BET) for channel in self.channels], 1)


class MultiResCnn(Embedded):
    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        width = config.filters * len(config.kernel_sizes)
        self.encoder = Encoder(config)
        self.attention = Attention(width, task.num_codes)
        self.output = Output(width, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        hidden_BFT = self.encoder(self.words(batch))
        logits_BL: Tensor = self.output(self.attention(hidden_BFT, hidden_BFT))
        return logits_BL


class JlanReleased(Embedded):
    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        width = config.filters * len(config.kernel_sizes)
        self.encoder = Encoder(config)
        self.label_attention = Attention(width, task.num_codes)
        self.W1 = nn.Linear(width, config.attention_size)
        self.W2 = nn.Linear(config.attention_size, task.num_codes, bias=False)
        self.w1, self.w2 = nn.Linear(width, 1), nn.Linear(width, 1)
        self.output = Output(width, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        hidden_BFT = self.encoder(self.words(batch))
        label_BLF = self.label_attention(hidden_BFT, hidden_BFT)
        keys_BFT = self.W1(hidden_BFT.transpose(1, 2)).tanh().transpose(1, 2)
        self_BLF = attention(self.W2.weight, keys_BFT, hidden_BFT)
        alpha_BL1, beta_BL1 = self.w1(label_BLF).sigmoid(), self.w2(self_BLF).sigmoid()
        whole_BL1 = alpha_BL1 + beta_BL1
        logits_BL: Tensor = self.output(alpha_BL1 / whole_BL1 * label_BLF + beta_BL1 / whole_BL1 * self_BLF)
        return logits_BL


class Laat(Embedded):
    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        self.embedding.weight.requires_grad = not config.static_embeddings
        both = 2 * config.hidden_size
        self.lstm = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True, bidirectional=True)
        self.W = nn.Linear(both, config.attention_size, bias=False)
        self.U = nn.Linear(config.attention_size, task.num_codes, bias=False)
        self.output = Output(both, task.num_codes)

    def forward(self, batch: Batch) -> Tensor:
        hidden_BTK = packed(self.lstm, self.words(batch).transpose(1, 2), batch.lengths_B)
        keys_BTF = self.W(hidden_BTK).tanh()
        codes_BLK = attention(self.U.weight, keys_BTF.transpose(1, 2), hidden_BTK.transpose(1, 2))
        logits_BL: Tensor = self.output(codes_BLK)
        return logits_BL


class TextLstm(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True, bidirectional=True)


class SharedOutput(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, codes_BLK: Tensor) -> Tensor:
        logits_BL1: Tensor = self.output(self.hidden(codes_BLK).relu())
        return logits_BL1[:, :, 0]


class DualLaat(Embedded):
    """Encodes the titles of all codes in every step. All titles must have the same length."""

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        both = 2 * config.hidden_size
        self.register_buffer("titles_LT", torch.tensor([title.tolist() for title in task.descriptions or ()]), False)
        self.text, self.title = TextLstm(config), TextLstm(config)
        self.W_c = nn.Linear(both, config.attention_size, bias=False)
        self.W_t = nn.Linear(both, config.attention_size, bias=False)
        self.scorer = SharedOutput(both)

    def forward(self, batch: Batch) -> Tensor:
        hidden_BTK = packed(self.text.lstm, self.words(batch).transpose(1, 2), batch.lengths_B)
        _, (last_2LH, _) = self.title.lstm(self.dropout(self.embedding(self.get_buffer("titles_LT"))))
        queries_LA = self.W_c(torch.cat((last_2LH[0], last_2LH[1]), 1)).tanh()
        keys_BAT = self.W_t(hidden_BTK).tanh().transpose(1, 2)
        logits_BL: Tensor = self.scorer(attention(queries_LA, keys_BAT, hidden_BTK.transpose(1, 2)))
        return logits_BL


class Msmn(Embedded):
    """Encodes the titles of all codes in every step, for all heads. All titles must have the same length."""

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        both, part = 2 * config.hidden_size, max(1, config.attention_size // config.synonyms)
        self.register_buffer("title_tokens_LKW", torch.zeros(task.num_codes, config.synonyms, config.title_words).int())
        self.lstms = nn.ModuleList(
            nn.LSTM(both if layer else config.embedding_size, config.hidden_size, batch_first=True, bidirectional=True)
            for layer in range(config.layers)
        )
        self.W, self.U = nn.Linear(both, part * config.synonyms, bias=False), nn.Linear(both, part, bias=False)
        self.weight, self.bias = nn.Linear(both, both), nn.Linear(both, 1)

    def encoded(self, tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
        hidden_BTH: Tensor = self.dropout(self.embedding(tokens_BT))
        for lstm in self.lstms:
            assert isinstance(lstm, nn.LSTM)
            hidden_BTH = self.dropout(packed(lstm, hidden_BTH, lengths_B))
        return hidden_BTH

    def names(self) -> Tensor:
        tokens_LKW = self.get_buffer("title_tokens_LKW").long()
        words = int((tokens_LKW[0, 0] > 0).sum())
        tokens_XW = tokens_LKW[:, :, :words].flatten(0, 1)
        return self.encoded(tokens_XW, (tokens_XW > 0).sum(1)).amax(1).view(*tokens_LKW.shape[:2], -1)

    def forward(self, batch: Batch) -> Tensor:
        names_LKH, hidden_BTH = self.names(), self.encoded(batch.tokens_BT, batch.lengths_B)
        keys = self.W(hidden_BTH).tanh().transpose(1, 2).chunk(self.config.synonyms, 1)
        queries = self.U(names_LKH).unbind(1)
        heads = [attention(*each, hidden_BTH.transpose(1, 2)) for each in zip(queries, keys, strict=True)]
        whole_LH = names_LKH.amax(1)
        scores_BL: Tensor = (torch.stack(heads).amax(0) * self.weight(whole_LH)).sum(2)
        bias_L1: Tensor = self.bias(whole_LH)
        return scores_BL + bias_L1[:, 0]


class Relations(nn.Module):
    """The transformer convolution of two heads; the width must be even."""

    def __init__(self, width: int, types: int, edge_size: int) -> None:
        super().__init__()
        self.types, self.edge = nn.Parameter(torch.empty(types, edge_size)), nn.Linear(edge_size, width, bias=False)
        self.Q, self.root = nn.Linear(width, width), nn.Linear(width, width)
        self.K, self.V = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, codes_BLD: Tensor, sources_BND: Tensor, types_LN: Tensor) -> Tensor:
        mapped = self.Q(codes_BLD), self.K(sources_BND), self.V(sources_BND), self.edge(self.types)
        heads = []
        for query_BLd, key_BNd, value_BNd, edge_Rd in zip(*(each.chunk(2, -1) for each in mapped), strict=True):
            kinds_RLN = [(types_LN == kind).float() for kind in range(len(edge_Rd))]
            by_edge = (
                kind_LN * (query_BLd @ each_d)[:, :, None] for kind_LN, each_d in zip(kinds_RLN, edge_Rd, strict=True)
            )
            weights_BLN = ((query_BLd @ key_BNd.mT + sum(by_edge)) / query_BLd.shape[2] ** 0.5).softmax(2)
            edges = (
                (kind_LN * weights_BLN).sum(2, keepdim=True) * each_d
                for kind_LN, each_d in zip(kinds_RLN, edge_Rd, strict=True)
            )
            heads.append(weights_BLN @ value_BNd + sum(edges))
        root_BLD: Tensor = self.root(codes_BLD)
        return torch.cat(heads, 2) + root_BLD


class CoRelation(Msmn):
    """Trains on all codes in every step. Its graph is that of the suite's model."""

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        assert task.hierarchy is not None
        both, width = 2 * config.hidden_size, config.attention_size
        del self.W, self.U
        self.Q, self.K = nn.Linear(both, config.head_size, bias=False), nn.Linear(both, config.head_size, bias=False)
        self.V, self.weight = nn.Linear(both, width, bias=False), nn.Linear(both, width)
        self.relations, self.related = Relations(width, 11, config.edge_size), nn.Linear(width, 1, bias=False)
        self.share = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.register_buffer("seen_L", torch.zeros(task.num_codes).long())
        nodes_N, self.category_L = categories(task, task.hierarchy)
        self.types_LN = edge_types(task.hierarchy.parents, task.num_codes, nodes_N)
        self.mean_share = torch.zeros(())

    def forward(self, batch: Batch) -> Tensor:
        names_LKH, hidden_BTH = self.names(), self.encoded(batch.tokens_BT, batch.lengths_B)
        keys_BAT, values_BDT = self.K(hidden_BTH).transpose(1, 2), self.V(hidden_BTH).transpose(1, 2)
        queries = (self.Q(names_LKH) / self.config.head_size**0.5).unbind(1)
        largest_BLD = torch.stack([attention(each, keys_BAT, values_BDT) for each in queries]).amax(0)
        whole_LH = names_LKH.mean(1)
        codes_BLD, bias_L = largest_BLD * self.weight(whole_LH), self.bias(whole_LH)[:, 0]
        member_NL = functional.one_hot(self.category_L).T.to(codes_BLD)
        sources_BND = member_NL @ codes_BLD / member_NL.sum(1, keepdim=True)
        related_BL = self.related(self.relations(codes_BLD, sources_BND, self.types_LN.to(codes_BLD.device)).relu())[
            :, :, 0
        ]
        share_BL = self.share(codes_BLD)[:, :, 0].sigmoid()
        self.mean_share = share_BL.mean()
        first_BL, second_BL = (codes_BLD.sum(2) + bias_L).sigmoid(), (related_BL + bias_L).sigmoid()
        logits_BL: Tensor = torch.logit((1 - share_BL) * first_BL + share_BL * second_BL)
        return logits_BL

    def penalty(self, _batch: Batch) -> Tensor:
        return (
            self.mean_share
            * (self.config.share_penalty or (0.001 if len(self.category_L) <= 50 else 0.01))
            * self.training
        )


class Block(nn.Module):
    def __init__(self, width_in: int, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width_in, width, kernel, padding=kernel // 2)
        self.shortcut = nn.Identity() if width_in == width else nn.Conv1d(width_in, width, 1)

    def forward(self, hidden_BFT: Tensor) -> Tensor:
        mapped_BFT: Tensor = (self.conv(hidden_BFT).relu() + self.shortcut(hidden_BFT)).relu()
        return mapped_BFT


class Jlan(Embedded):
    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        width, both = config.hidden_size, 2 * config.hidden_size
        widths = itertools.pairwise([config.embedding_size] + [width] * config.blocks)
        self.blocks = nn.Sequential(*(Block(*pair, config.kernel_size) for pair in widths))
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.W1 = nn.Linear(both, config.attention_size, bias=False)
        self.self_attention = Attention(config.attention_size, task.num_codes)
        self.C = nn.Parameter(torch.empty(task.num_codes, width))
        self.w3, self.w4 = nn.Linear(both, 1, bias=False), nn.Linear(both, 1, bias=False)
        self.hidden, self.pooled = nn.Linear(both, width), nn.Linear(width, width)

    def forward(self, batch: Batch) -> Tensor:
        hidden_BTK = packed(self.lstm, self.blocks(self.words(batch)).transpose(1, 2), batch.lengths_B)
        hidden_BKT = hidden_BTK.transpose(1, 2)
        self_BLK = self.self_attention(self.W1(hidden_BTK).tanh().transpose(1, 2), hidden_BKT)
        label_BLK = torch.cat([attention(self.C, side_BHT, side_BHT) for side_BHT in hidden_BKT.chunk(2, 1)], 2)
        alpha_BL1, beta_BL1 = self.w3(self_BLK).sigmoid(), self.w4(label_BLK).sigmoid()
        whole_BL1 = alpha_BL1 + beta_BL1
        joint_BLK = alpha_BL1 / whole_BL1 * self_BLK + beta_BL1 / whole_BL1 * label_BLK
        logits_BL: Tensor = self.pooled(self.hidden(joint_BLK).relu()).sum(2)
        return logits_BL


class Graph(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, nodes_NE: Tensor, parents_N: Tensor) -> Tensor:
        child_M = (parents_N >= 0).nonzero()[:, 0]
        parent_M = parents_N[child_M]
        above_NE = torch.zeros_like(nodes_NE).index_add(0, child_M, nodes_NE[parent_M])
        below_NE = torch.zeros_like(nodes_NE).index_add(0, parent_M, nodes_NE[child_M])
        children_N = torch.bincount(parent_M, minlength=len(parents_N)).clamp(min=1)
        mixed_NE: Tensor = self.own(nodes_NE) + self.up(above_NE) + self.down(below_NE / children_N[:, None])
        return mixed_NE.relu()


class MsattKg(Embedded):
    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        assert task.hierarchy is not None
        width, filters = config.embedding_size, config.filters
        self.convs = nn.ModuleList(
            nn.Conv1d(filters * scale or width, filters, config.kernel_size, padding=config.kernel_size // 2)
            for scale in range(config.scales)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(filters) for _ in range(config.scales))
        self.scale_attention = nn.Sequential(
            nn.Linear(config.scales, config.attention_size), nn.ReLU(), nn.Linear(config.attention_size, config.scales)
        )
        self.register_buffer("parents_N", torch.tensor(task.hierarchy.parents.tolist()), False)
        self.nodes = nn.Parameter(torch.empty(len(task.hierarchy.parents), width))
        self.graph = nn.ModuleList(Graph(width) for _ in range(2))
        self.projection = nn.Linear(width, filters)
        self.bias = nn.Parameter(torch.empty(task.num_codes))

    def forward(self, batch: Batch) -> Tensor:
        words_BET = self.words(batch)
        scales: list[Tensor] = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            scales.append(norm(conv(torch.cat(scales, 1) if scales else words_BET)).relu())
        all_BNFT = torch.stack(scales, 1)
        weights_BTN = self.scale_attention(all_BNFT.sum(2).transpose(1, 2)).softmax(2)
        hidden_BFT = (weights_BTN.transpose(1, 2)[:, :, None] * all_BNFT).sum(1)
        nodes_NE: Tensor = self.nodes
        for layer in self.graph:
            nodes_NE = layer(nodes_NE, self.parents_N)
        codes_LF = self.projection(nodes_NE[: len(self.bias)])
        logits_BL: Tensor = (codes_LF * attention(codes_LF, hidden_BFT, hidden_BFT)).sum(2) + self.bias
        return logits_BL


class PlmIcd(nn.Module):
    def __init__(self, config: Any, task: Task) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        assert task.encoder is not None
        model = AutoModel.from_config(AutoConfig.for_model(**task.encoder.config))  # type: ignore[no-untyped-call]
        width = model.config.hidden_size
        self.chunk_size = config.chunk_size
        self.embedding = nn.Embedding(task.num_tokens, width, padding_idx=0)
        model.set_input_embeddings(nn.Identity())
        model.pooler = None
        self.encoder = nn.ModuleDict({"model": model})
        self.decoder = nn.ModuleDict(
            {
                "W": nn.Linear(width, config.attention_size, bias=False),
                "U": nn.Linear(config.attention_size, task.num_codes, bias=False),
                "output": Output(width, task.num_codes),
            }
        )

    def forward(self, batch: Batch) -> Tensor:
        chunks = self.embedding(batch.tokens_BT).split(self.chunk_size, dim=1)
        states = [self.encoder["model"](inputs_embeds=chunk).last_hidden_state for chunk in chunks]
        hidden_BHT = torch.cat(states, dim=1).transpose(1, 2)
        keys_BFT = self.decoder["W"](hidden_BHT.transpose(1, 2)).tanh().transpose(1, 2)
        queries_LF = self.decoder.get_parameter("U.weight")
        logits_BL: Tensor = self.decoder["output"](attention(queries_LF, keys_BFT, hidden_BHT))
        return logits_BL


PLAIN: dict[str, Callable[[Any, Task], nn.Module]] = {
    "bigru": BiGru,
    "caml": Caml,
    "cnn": Cnn,
    "corelation": CoRelation,
    "dr-caml": DrCaml,
    "duallaat": DualLaat,
    "jlan": Jlan,
    "jlan-released": JlanReleased,
    "laat": Laat,
    "leam": Leam,
    "msatt-kg": MsattKg,
    "msmn": Msmn,
    "multirescnn": MultiResCnn,
    "plm-icd": PlmIcd,
}
TIMED = [name for name in PLAIN if name != "plm-icd"]  # whose time is that of its encoder, another library's
