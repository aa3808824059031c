"""CoRelation: what a note says of each code is read again beside what it says of all categories of codes.

Luo, Wang, Wang, Chang, Wang, Ma: CoRelation: Boosting Automatic ICD Coding Through Contextualized Code Relation Learning,
LREC-COLING 2024, https://arxiv.org/abs/2402.15700.

    h = BiLSTM(x)                                                  [T, 2H]
    q_lk = maximum over words of BiLSTM(name k of l)               [2H]     the same BiLSTM, as in MSMN
    α_lk = softmax over T of (Q q_lk)ᵀ (K h_t) / √A                [T]
    m_l = maximum over k of Σ_t α_lkt V h_t                        [D]
    w_l [D], b_l: linear maps with bias of the mean of q_lk over k
    c_l = m_l ∘ w_l                                                [D]      the code in this note
    g_j = mean of c_l over the codes l of category j               [D]      the category in this note
    r_l = W c_l + u + Σ_j β_lj (V' g_j + e_lj)                     [D]      two heads side by side
    β_lj = softmax over j of (Q' c_l + q)ᵀ (K' g_j + e_lj) / √d             d: the width of a head
    p_l = (1 - s_l) σ(Σ c_l + b_l) + s_l σ(<r, ReLU(r_l)> + b_l)   s_l = σ(MLP(c_l))

The logit is log p - log(1 - p). r_l is a transformer convolution (Shi et al. 2021, https://arxiv.org/abs/2009.03509) over a graph
of each note, whose nodes are the codes and their categories. Names are those of MSMN (models/msmn.py): titles, then other names
with `data.code_terms`, repeated if there are fewer than K; a repeated name is attended with once. No weights belong to a code.
`penalty` is the mean of s_l times `share_penalty`.

With more than `frequent_codes` + `sampled_codes` codes, each training step draws its own: those most frequent in the batches so
far, and others at random. All other pairs of a document and a code have no loss and no gradient. The penalty's share in the
objective stays the same.

Of the paper only the abstract and introduction could be read, and the published program has no licence and was not read; sizes
and training follow its documented command. What that leaves open, and what was chosen:
- The graph is complete between codes and categories, so that every code may hear of every other through its category. Only codes
  are scored, so nothing is sent to categories. With a part of the codes drawn, categories are the means of that part.
- An edge's type, one of 11, is the number of steps between code and category in the code system's tree, at most 9; 10 if they are
  in different trees. A code's category is the node that is spelled as the code before its dot, or as its first three characters;
  if the tree has none, the node above the code. e_lj is the type's vector (64 numbers) times a matrix, in keys and values.
- K, V, Q, K' and V' have no bias (that of K or K' would cancel in the softmax); MLP has one hidden layer of D (ReLU).
  All matrices but the BiLSTM's start Xavier-uniform.
- The published names are synonyms of UMLS, as in MSMN. AdamW, weight decay, linear schedule and dropout are those of MSMN.

Variant `full` has R-Drop and epochs of MIMIC-III with all codes; `share_penalty` is .001 up to 50 codes and .01 beyond.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, cat, logaddexp, nn, split
from torch.nn.functional import logsigmoid

from icdbench.nn import Inspectable, Linear, Shown, kernels, mask
from icdbench.nn.attention import weights_by_code
from icdbench.nn.label_texts import NameReader, categories_of
from icdbench.registry import register
from icdbench.spec import Layers, Positive, PositiveFloat, Rate, Settings, Variant, tunable
from icdbench.types import Batch, Hierarchy, IntArray, Task

HEADS = 2  # of the transformer convolution
STEPS = 9  # most steps between a code and a category that edge types tell apart
APART = STEPS + 1  # the edge type of different trees
CODES = 512  # codes whose relations are computed at a time
SILENT = 100.0  # size of the logits of pairs without a loss: their cross-entropy, exp(-100), is 0 but for rounding


class Config(Settings):
    embedding_size: Positive = 100
    hidden_size: Positive = tunable(512, 64, 512, log=True, about="recurrent width per direction")
    layers: Layers = 1
    attention_size: Positive = tunable(512, 64, 512, log=True, about="D, width of a code and a category in a note")
    head_size: Positive = tunable(256, 32, 512, log=True, about="A, rows of Q and K")
    edge_size: Positive = Field(64, description="width of the vector of an edge's type")
    synonyms: Positive = tunable(8, 1, 8, about="K, names of a code")
    title_words: Positive = 30
    dropout: Rate = tunable(0.2, 0.0, 0.8)
    share_penalty: PositiveFloat | None = Field(
        None, description="of the mean s_l; none: .001 up to 50 codes, else .01"
    )
    frequent_codes: Positive = Field(300, description="codes that every training step has")
    sampled_codes: Positive = Field(1000, description="codes that a training step draws from the others")


@register(
    "corelation",
    config=Config,
    paper="Luo et al., LREC-COLING 2024",
    version="1",
    data={"max_tokens": 4000, "code_terms": True},
    train={
        "optimizer": "adamw",
        "learning_rate": 5e-4,
        "weight_decay": 0.01,
        "batch_size": 16,
        "max_epochs": 40,
        "scheduler": "linear",
        "warmup": 0.0,
        "r_drop": 12.5,
    },
    small={
        "hidden_size": 128,
        "attention_size": 256,
        "learning_rate": 2e-3,
        "batch_size": 4,
        "r_drop": 0.0,
        "monitor": "map",
    },
    variants=(
        Variant(
            name="full",
            about="the published training on all codes of MIMIC-III",
            train={"r_drop": 5.0, "max_epochs": 30},
        ),
    ),
    needs=("titles", "hierarchy"),
)
class CoRelation(NameReader):
    seen_L: Tensor
    category_L: Tensor
    types_LN: Tensor

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__(config, task)
        assert task.hierarchy is not None
        both, width = 2 * config.hidden_size, config.attention_size
        self.Q = Linear(both, config.head_size, bias=False)
        self.K = Linear(both, config.head_size, bias=False)
        self.V = Linear(both, width, bias=False)
        self.weight, self.bias = Linear(both, width), Linear(both, 1)
        self.attention = NamesAttention()
        self.relations = TransformerConv(width, APART + 1, config.edge_size)
        self.related = Linear(self.relations.width, 1, bias=False)
        self.share = nn.Sequential(Linear(width, width), nn.ReLU(), Linear(width, 1))
        self.share_penalty = config.share_penalty or (0.001 if task.num_codes <= 50 else 0.01)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        self._mean_share: Tensor | None = None  # of the last training pass
        self.register_buffer("seen_L", torch.zeros(task.num_codes, dtype=torch.long))
        # These come from the task and are not stored with the weights.
        nodes_N, category_L = categories(task, task.hierarchy)
        self.register_buffer("category_L", category_L, persistent=False)
        self.register_buffer("types_LN", edge_types(task.hierarchy.parents, task.num_codes, nodes_N), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL; in training those of codes that are not drawn have no loss."""
        hidden_BTH = self.read(batch)
        mask_BT = mask(batch.lengths_B, hidden_BTH.shape[1])
        if self.training:
            self.seen_L.add_((batch.labels_BL > 0).sum(0))
        codes_C = self.drawn()
        queries_NA, place_CK, weights_CD, bias_C = self.of_names(lambda: self._named(codes_C))
        attended_BCD = self.attention(queries_NA, place_CK, self.K(hidden_BTH), self.V(hidden_BTH), mask_BT)
        with torch.autocast(hidden_BTH.device.type, enabled=False):  # 16-bit logits would have many ties
            logits_BC = self._logits(attended_BCD.float() * weights_CD.float(), bias_C.float(), codes_C)
        if len(codes_C) == len(self.seen_L):
            return logits_BC
        silent_BL = torch.where(batch.labels_BL > 0, SILENT, -SILENT).to(logits_BC)
        return silent_BL.index_copy(1, codes_C, logits_BC)

    def penalty(self, _batch: Batch) -> Tensor:
        """Compute the penalty of the last pass, which read this batch; a scalar, 0 in evaluation."""
        mean, self._mean_share = self._mean_share, None  # frees the graph
        return self.seen_L.new_zeros((), dtype=torch.float) if mean is None else self.share_penalty * mean

    def drawn(self) -> Tensor:
        """The codes of this pass [C], in order: all, or in training the most frequent so far and others drawn at random."""
        every, frequent = len(self.seen_L), self.config.frequent_codes
        if not self.training or every <= frequent + self.config.sampled_codes:
            return torch.arange(every, device=self.seen_L.device)
        order_L = self.seen_L.argsort(descending=True, stable=True)
        others_M = frequent + torch.randperm(every - frequent)[: self.config.sampled_codes]
        return cat((order_L[:frequent], order_L[others_M.to(order_L.device)])).sort().values

    def _named(self, codes_C: Tensor) -> tuple[Tensor, ...]:
        """Queries of the N distinct names [N, A], the place of each code's names among them [C, K], w_l [C, D], b_l [C]."""
        names_NH, place_CK = self.read_names(self.title_tokens_LKW[codes_C])
        whole_CH = names_NH[place_CK[:, 0]]
        for place_C in place_CK.T[1:]:
            whole_CH = whole_CH + names_NH[place_C]
        whole_CH = whole_CH / place_CK.shape[1]
        queries_NA = self.Q(names_NH) / self.config.head_size**0.5
        return queries_NA, place_CK, self.weight(whole_CH), self.bias(whole_CH)[:, 0]

    def _logits(self, codes_BCD: Tensor, bias_C: Tensor, codes_C: Tensor) -> Tensor:
        """Compute logits_BC, given c_l and b_l."""
        nodes_N, category_C = torch.unique(self.category_L[codes_C], return_inverse=True)
        sums_BND = codes_BCD.new_zeros(len(codes_BCD), len(nodes_N), codes_BCD.shape[2]).index_add(
            1, category_C, codes_BCD
        )
        categories_BND = sums_BND / category_C.bincount(minlength=len(nodes_N))[:, None]
        types_CN = self.types_LN[codes_C][:, nodes_N]
        blocks = zip(split(codes_BCD, CODES, 1), split(types_CN, CODES), split(bias_C, CODES), strict=True)
        logits, shares = [], []
        for vectors_BXD, types_XN, bias_X in blocks:
            first_BX = vectors_BXD.sum(2) + bias_X
            related_BXD = self.relations(vectors_BXD, categories_BND, types_XN.long()).relu()
            second_BX = self.related(related_BXD)[:, :, 0] + bias_X
            share_BX = self.share(vectors_BXD)[:, :, 0]
            logits.append(mixed(first_BX, second_BX, share_BX))
            shares.append(share_BX.sigmoid())
        if self.training:
            self._mean_share = cat(shares, dim=1).mean() * len(codes_C) / len(self.seen_L)
        return cat(logits, dim=1)


def mixed(one_X: Tensor, other_X: Tensor, share_X: Tensor) -> Tensor:
    """The logit of `(1 - σ(share)) σ(one) + σ(share) σ(other)`."""
    kept_X, given_X = logsigmoid(-share_X), logsigmoid(share_X)
    yes_X = logaddexp(kept_X + logsigmoid(one_X), given_X + logsigmoid(other_X))
    return yes_X - logaddexp(kept_X + logsigmoid(-one_X), given_X + logsigmoid(-other_X))


class NamesAttention(Inspectable):
    """Attention with each name of a code, and the maximum over names."""

    def forward(
        self, queries_NA: Tensor, place_LK: Tensor, keys_BTA: Tensor, values_BTD: Tensor, mask_BT: Tensor
    ) -> Tensor:
        """m_l [B, L, D]; `place_LK` gives the query of each name."""
        largest_BLD = kernels.attention(queries_NA[place_LK[:, 0]], keys_BTA, values_BTD, mask_BT)
        repeated_LK = (place_LK == place_LK[:, :1]).cumsum(1) > 1
        for place_L, repeated_L in zip(place_LK.T[1:], repeated_LK.T[1:], strict=True):
            rows_X = (~repeated_L).nonzero()[:, 0]
            if len(rows_X):
                attended_BXD = kernels.attention(queries_NA[place_L[rows_X]], keys_BTA, values_BTD, mask_BT)
                attended_BXD = torch.maximum(largest_BLD[:, rows_X], attended_BXD)
                largest_BLD = largest_BLD.index_copy(1, rows_X, attended_BXD)
        return largest_BLD

    def shown(self, inputs: tuple[Any, ...], output: Any) -> Iterable[Shown]:  # noqa: ARG002
        """Recompute the weights of one code for each of its names."""
        queries_NA, place_LK, keys_BTA, _, mask_BT = inputs
        for place_L in place_LK.T:
            yield Shown("label", weights_by_code(queries_NA[place_L], keys_BTA, mask_BT))


class TransformerConv(nn.Module):
    """`W x_i + b + Σ_j β_ij (V y_j + e_ij)` with `β_i = softmax over j of (Q x_i)ᵀ (K y_j + e_ij) / √d`, of each head.

    Nodes x hear of all nodes y over edges of R types; e_ij is the type's vector times a matrix. `width` is that of the output:
    `width_in`, rounded up to a multiple of the heads.
    """

    def __init__(self, width_in: int, types: int, edge_size: int) -> None:
        super().__init__()
        self.width = HEADS * -(-width_in // HEADS)
        self.types = nn.Parameter(torch.randn(types, edge_size))
        self.edge = Linear(edge_size, self.width, bias=False)
        self.Q = Linear(width_in, self.width)
        self.K, self.V = Linear(width_in, self.width, bias=False), Linear(width_in, self.width, bias=False)
        self.root = Linear(width_in, self.width)

    def forward(self, nodes_BCD: Tensor, sources_BND: Tensor, types_CN: Tensor) -> Tensor:
        """[B, C, width]."""
        queries_BHCd, keys_BHNd, values_BHNd, edges_HRd = (
            each.unflatten(-1, (HEADS, -1)).transpose(-3, -2)
            for each in (self.Q(nodes_BCD), self.K(sources_BND), self.V(sources_BND), self.edge(self.types))
        )
        types_BHCN = types_CN.expand(*queries_BHCd.shape[:2], -1, -1)
        by_type_BHCR = queries_BHCd @ edges_HRd.mT
        scores_BHCN = queries_BHCd @ keys_BHNd.mT + by_type_BHCR.gather(3, types_BHCN)
        weights_BHCN = (scores_BHCN / queries_BHCd.shape[3] ** 0.5).softmax(3)
        of_type_BHCR = torch.zeros_like(by_type_BHCR).scatter_add(3, types_BHCN, weights_BHCN)
        heard_BHCd = weights_BHCN @ values_BHNd + of_type_BHCR @ edges_HRd
        heard_BCD: Tensor = heard_BHCd.transpose(1, 2).flatten(2) + self.root(nodes_BCD)
        return heard_BCD


def categories(task: Task, hierarchy: Hierarchy) -> tuple[IntArray, Tensor]:
    """The tree's nodes that are categories [N], and the position among them of each code's category [L]."""
    codes = task.codes or ("",) * task.num_codes
    names = [name.rstrip("-").upper() for name in (*codes, *hierarchy.ancestors)]
    found = []
    for code, spelled in enumerate(categories_of(codes)):
        path = path_of(code, hierarchy.parents)
        above = [node for node in path if names[node] == spelled.upper()]
        found.append([*above, *path[-2:-1], code][0])
    nodes_N, category_L = np.unique(np.array(found), return_inverse=True)
    return nodes_N, torch.from_numpy(category_L)


def path_of(node: int, parents: IntArray) -> list[int]:
    """The nodes from the root to a node of the tree."""
    path = [node]
    while (above := int(parents[path[-1]])) >= 0:
        path.append(above)
    return path[::-1]


def edge_types(parents: IntArray, num_codes: int, nodes_N: IntArray) -> Tensor:
    """The steps in the tree between each code and category [L, N], at most STEPS; APART if they are in different trees."""
    paths = [path_of(node, parents) for node in (*range(num_codes), *nodes_N.tolist())]
    depths = np.array([len(path) for path in paths], np.int16)
    padded = np.full((len(paths), depths.max()), -1)
    for row, path in enumerate(paths):
        padded[row, : len(path)] = path
    shared_LN = np.zeros((num_codes, len(nodes_N)), np.int16)
    for ours, theirs in zip(padded[:num_codes].T, padded[num_codes:].T, strict=True):
        shared_LN += (ours[:, None] == theirs) & (theirs >= 0)
    steps_LN = depths[:num_codes, None] + depths[num_codes:] - 2 * shared_LN
    return torch.from_numpy(np.where(shared_LN == 0, APART, steps_LN.clip(max=STEPS)).astype(np.uint8))
