"""MSATT-KG: n-grams of several lengths, weighted at each token, and code vectors propagated over the ICD hierarchy.

Xie, Xiong, Yu, Zhu: EHR Coding with Multi-scale Feature Attention and Structured Knowledge Graph Propagation, CIKM
2019, https://doi.org/10.1145/3357384.3357897. There is no public code.

    X_1 = f(conv(x)), X_i = f(conv([X_1; …; X_{i-1}]))  [T, F]    i ≤ N, f = ReLU of batch norm, kernel 3
    s_t = (Σ_F X_1t, …, Σ_F X_Nt)                      [N]       token t at each scale
    a_t = softmax(MLP(s_t))                            [N]
    h_t = Σ_i a_ti X_it                                [F]
    v ← ReLU(W_self v + W_p mean v_parents + W_c mean v_children + b), twice, over the codes and all their ancestors
    g_l = W v_l + b                                    [F]
    α_l = softmax over tokens of g_lᵀ h                [T]
    m_l = Σ_t α_lt h_t                                 [F]
    logit_l = <g_l, m_l> + b_l

What the paper leaves open, and what was chosen:
- N = 5 scales, F = 100 filters, E = 100. Dropout (0.2) is on the word vectors only, as in CAML; learning rate and batch
  size are the suite's defaults. Small training sets have the best of 16 trials on codiesp-d50, where scales and filters were
  held fixed.
- The MLP of the scale attention has one hidden layer (ReLU) of `attention_size`.
- The graph's nodes are the codes of the label set, their headings, sections and chapters, and one root each for
  diagnoses and procedures. In a tree a node has at most one parent; a mean over no neighbours is zero. Node vectors
  start as the mean word vector of the title (random without one) and are trained; the two layers keep their width E.
- The same propagated vector g_l is the attention query and the output weight vector. b_l is a bias per code.
- Weights of graph and output projection start Xavier-uniform.

Batch norm covers tokens only, never padding; in training it uses the statistics of the batch, as usual.

Variants show what the graph brings: `no-graph` takes v as it is (g_l = W v_l + b), `no-titles` starts v at random.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from icdbench.nn import Attention, BatchNorm, Dropout, Linear, description_means, embedding, mask, untitled_notices
from icdbench.nn.kernels import convolve
from icdbench.registry import register
from icdbench.spec import Layers, Odd, Positive, Rate, Settings, Study, Variant, tunable
from icdbench.types import Batch, Hierarchy, IntArray, Task


class Config(Settings):
    embedding_size: Positive = 100
    kernel_size: Odd = tunable(3, choices=(3, 5, 9, 15, 25))
    scales: Layers = tunable(5, 2, 8, about="N, convolutions that each read all previous ones")
    filters: Positive = tunable(100, 30, 500, log=True)
    attention_size: Positive = tunable(50, 10, 200, about="hidden width of the MLP that weights the scales")
    dropout: Rate = tunable(0.2, 0.0, 0.8)
    graph: bool = Field(True, description="propagate code vectors over the hierarchy")
    titles: bool = Field(True, description="start code vectors from titles, not at random")


@register(
    "msatt-kg",
    config=Config,
    paper="Xie et al., CIKM 2019",
    version="1",
    small={
        "attention_size": 21,
        "dropout": 0.638,
        "learning_rate": 1.26e-3,
        "weight_decay": 1e-5,
        "monitor": "map",
    },
    study=Study(trials=16, dataset="codiesp-d50"),
    needs=("hierarchy",),
    variants=[
        Variant(name="no-graph", about="code vectors are not propagated over the hierarchy", model={"graph": False}),
        Variant(name="no-titles", about="code vectors start at random", model={"titles": False}),
    ],
)
class MsattKg(nn.Module):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        assert task.hierarchy is not None
        self.config = config
        width, filters = config.embedding_size, config.filters
        self.embedding = embedding(task, width)
        self.dropout = Dropout(config.dropout)
        self.convs = nn.ModuleList(
            nn.Conv1d(filters * scale or width, filters, config.kernel_size, padding=config.kernel_size // 2)
            for scale in range(config.scales)
        )
        self.norms = nn.ModuleList(BatchNorm(filters) for _ in range(config.scales))
        self.scale_attention = nn.Sequential(
            Linear(config.scales, config.attention_size), nn.ReLU(), Linear(config.attention_size, config.scales)
        )
        nodes_NE = _node_vectors(task, task.hierarchy, self.embedding.weight.detach(), titled=config.titles)
        self.nodes = nn.Parameter(nodes_NE if config.graph else nodes_NE[: task.num_codes].clone())
        up_NN, down_NN = neighbour_means(task.hierarchy.parents)
        self.register_buffer("parents_NN", up_NN, persistent=False)
        self.register_buffer("children_NN", down_NN, persistent=False)
        self.graph = nn.ModuleList(GraphConvolution(width) for _ in range(2 * config.graph))
        self.projection = _xavier(Linear(width, filters))
        self.attention = Attention()
        self.bias = nn.Parameter(torch.zeros(task.num_codes))

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits_BL."""
        mask_BT = mask(batch.lengths_B, batch.tokens_BT.shape[1])
        hidden_BTF = self._text(self.dropout(self.embedding(batch.tokens_BT)), mask_BT)
        codes_LF = self._codes()
        found_BLF: Tensor = self.attention(codes_LF.to(hidden_BTF.dtype), hidden_BTF, hidden_BTF, mask_BT)
        return (found_BLF * codes_LF).sum(-1) + self.bias

    @staticmethod
    def notices(config: Config, task: Task) -> list[str]:
        """Warn if node vectors cannot start from titles."""
        assert task.hierarchy is not None
        if not config.titles:
            return []
        return untitled_notices([*(task.descriptions or ()), *task.hierarchy.descriptions])

    def _text(self, embedded_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        """Compute h, each token's mixture of scales [B, T, F]."""
        scales: list[Tensor] = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            assert isinstance(conv, nn.Conv1d)
            before_BTC = torch.cat(scales, 2) if scales else embedded_BTE
            scales.append(norm(convolve(conv, before_BTC), mask_BT).relu())
        shown_BTN = torch.stack([scale_BTF.sum(2) for scale_BTF in scales], -1)
        weights_BTN = self.scale_attention(shown_BTN).softmax(-1)
        mixed_BTF = torch.zeros_like(scales[0])
        for scale, scale_BTF in enumerate(scales):  # stacking all of them would take N times the memory
            mixed_BTF = mixed_BTF + weights_BTN[:, :, scale, None] * scale_BTF
        return mixed_BTF

    def _codes(self) -> Tensor:
        """Compute g [L, F], always in 32 bits, as sparse products require."""
        with torch.autocast(self.nodes.device.type, enabled=False):
            nodes_NE: Tensor = self.nodes
            for layer in self.graph:
                nodes_NE = layer(nodes_NE, self.parents_NN, self.children_NN)
            codes_LF: Tensor = self.projection(nodes_NE[: len(self.bias)])
        return codes_LF


class GraphConvolution(nn.Module):
    """`ReLU(W_self v + W_p mean of parents + W_c mean of children + b)`, [N, E] to [N, E]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = _xavier(Linear(width, width))
        self.up = _xavier(Linear(width, width, bias=False))
        self.down = _xavier(Linear(width, width, bias=False))

    def forward(self, nodes_NE: Tensor, parents_NN: Tensor, children_NN: Tensor) -> Tensor:
        above_NE, below_NE = torch.sparse.mm(parents_NN, nodes_NE), torch.sparse.mm(children_NN, nodes_NE)
        mixed_NE: Tensor = self.own(nodes_NE) + self.up(above_NE) + self.down(below_NE)
        return mixed_NE.relu()


def neighbour_means(parents_N: IntArray) -> tuple[Tensor, Tensor]:
    """Make sparse matrices [N, N] that average over each node's parents and over its children."""
    parents = torch.tensor(parents_N.tolist())
    children = (parents >= 0).nonzero()[:, 0]
    above, size = parents[children], (len(parents), len(parents))
    families_N = torch.bincount(above, minlength=len(parents))
    up_NN = torch.sparse_coo_tensor(
        torch.stack((children, above)), torch.ones(len(children)), size, check_invariants=True
    )
    down_NN = torch.sparse_coo_tensor(
        torch.stack((above, children)), 1 / families_N[above], size, check_invariants=True
    )
    return up_NN.coalesce(), down_NN.coalesce()


def _node_vectors(task: Task, hierarchy: Hierarchy, vectors_VE: Tensor, *, titled: bool) -> Tensor:
    """Compute the mean word vector of each node's title [N, E], random if not `titled`."""
    titles = task.descriptions or tuple(hierarchy.parents[:0] for _ in range(task.num_codes))
    descriptions = (*titles, *hierarchy.descriptions) if titled else None
    return description_means(Task(task.num_tokens, len(hierarchy.parents), descriptions=descriptions), vectors_VE)


def _xavier(layer: Linear) -> Linear:
    nn.init.xavier_uniform_(layer.weight)
    return layer
