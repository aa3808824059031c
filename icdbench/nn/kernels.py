"""Fast kernels: attention, convolutions and recurrences by the method that suits the device and the size.

Shapes in names as in layers.py. Each function computes the same as torch's own layer, up to rounding, and uses torch's where
that is fastest, as measured on a CPU (results/speed/training.md). On other devices all kernels are torch's.

In mixed precision (torch.autocast) products multiply 16-bit numbers and accumulate in 32 bits. On a CPU the results have 32
bits, because operations between products would be slower in 16; on a GPU they stay in 16 bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def _first_order(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a backward pass without a second derivative, to raise an error if one is requested.

    torch's own `once_differentiable` raises only if the upstream gradient is differentiable. That of a plain sum is not, and
    then anything derived from the gradient would silently have no gradient.
    """

    @functools.wraps(backward)
    def checked(ctx: Any, *upstream: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("icdbench.nn.kernels have no second derivative; leave create_graph out")
        return backward(ctx, *upstream)

    return checked


def product(rows_MK: Tensor, columns_NK: Tensor) -> Tensor:
    """`rows · columnsᵀ` [M, N], without a gradient.

    On a CPU it uses oneDNN, torch's library for convolutions, which is twice as fast as MKL, torch's library for products, on
    processors that MKL does not support (AMD's).
    """
    if _ONEDNN and rows_MK.dtype == torch.float32 and _plain(rows_MK, columns_NK):
        rows_MK, columns_NK = _dense(rows_MK), _dense(columns_NK)
        product_MN: Tensor = torch.ops.mkldnn._linear_pointwise(rows_MK, columns_NK, None, "none", [], "")  # noqa: SLF001
        return product_MN
    return rows_MK @ columns_NK.T


def _dense(matrix_MN: Tensor) -> Tensor:
    """Return the matrix without gaps in memory, for which oneDNN has only a slow reference implementation."""
    return matrix_MN if matrix_MN.is_contiguous() or matrix_MN.T.is_contiguous() else matrix_MN.contiguous()


_ONEDNN = bool(torch.backends.mkldnn.is_available()) and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
SMALL = 1 << 22  # multiplications up to which torch's own product is faster than calling oneDNN
FEW = 32  # with fewer rows or columns, reading the other factor takes longer than multiplying


def linear(hidden_XK: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
    """`hidden · weightᵀ + bias` over the last axis: [..., K] to [..., N].

    With few rows (one per document) or few columns it is always in 32 bits, because 16-bit logits would have many ties.
    """
    if _mixed(hidden_XK):
        if min(hidden_XK.shape[:-1].numel(), len(weight_NK)) >= FEW:
            return _widened(functional.linear(hidden_XK, weight_NK, bias_N))
        with torch.autocast(hidden_XK.device.type, enabled=False):
            return functional.linear(hidden_XK.to(weight_NK), weight_NK, bias_N)
    if not _plain(hidden_XK, weight_NK) or hidden_XK.numel() * len(weight_NK) <= SMALL:
        return functional.linear(hidden_XK, weight_NK, bias_N)
    mapped_MN: Tensor = _Linear.apply(hidden_XK.flatten(0, -2), weight_NK)  # type: ignore[no-untyped-call]
    mapped_XN = mapped_MN.view(*hidden_XK.shape[:-1], -1)
    return mapped_XN if bias_N is None else mapped_XN + bias_N


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_MK: Tensor, weight_NK: Tensor) -> Tensor:
        ctx.save_for_backward(rows_MK, weight_NK)
        return product(rows_MK, weight_NK)

    @staticmethod
    @_first_order
    def backward(ctx: Any, upstream_MN: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows_MK, weight_NK = ctx.saved_tensors
        by_row, by_weight = ctx.needs_input_grad
        return (
            product(upstream_MN, weight_NK.T) if by_row else None,
            product(upstream_MN.T, rows_MK.T) if by_weight else None,
        )


def dropout(hidden_X: Tensor, rate: float) -> Tensor:
    """Dropout: each number becomes zero with probability `rate`, and the others are scaled to keep the mean.

    On a CPU torch draws one number at a time; here a fast generator, seeded by torch's, draws all of them. `rate` is rounded to
    1/65,536.
    """
    if rate == 0 or hidden_X.device.type != "cpu":
        return functional.dropout(hidden_X, rate)
    dropped_X: Tensor = _Dropout.apply(hidden_X, rate)  # type: ignore[no-untyped-call]
    return dropped_X


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_X: Tensor, rate: float) -> Tensor:
        chances, size = 1 << 16, hidden_X.numel()
        dropped = round(rate * chances)
        generator = np.random.Generator(np.random.SFC64(int(torch.randint(1 << 62, ()))))
        drawn = generator.integers(0, 1 << 64, -(-size // 4), np.uint64).view(np.uint16)[:size]
        kept_X = torch.from_numpy(drawn >= dropped).view(hidden_X.shape)
        ctx.scale = chances / max(chances - dropped, 1)
        ctx.save_for_backward(kept_X)
        dropped_X: Tensor = (hidden_X * ctx.scale).mul_(kept_X)
        return dropped_X

    @staticmethod
    @_first_order
    def backward(ctx: Any, upstream_X: Tensor) -> tuple[Tensor, None]:
        (kept_X,) = ctx.saved_tensors
        return (upstream_X * ctx.scale).mul_(kept_X), None


def attention(queries_LF: Tensor, keys_BPF: Tensor, values_BPH: Tensor, mask_BP: Tensor | None) -> Tensor:
    """`softmax(queries · keysᵀ) · values` over the positions of each document: [B, L, H]."""
    # With a head axis and contiguous rows torch uses its fused kernels, which never store all weights; for the output of a
    # convolution (a transposed view) it would store them.
    same = keys_BPF is values_BPH
    keys_BPF = keys_BPF.contiguous()
    values_BPH = keys_BPF if same else values_BPH.contiguous()
    if len(queries_LF) * values_BPH.shape[1] > BLOCK_CELLS and keys_BPF.device.type == "cpu":
        if _mixed(keys_BPF) and not _AMX:
            with torch.autocast("cpu", enabled=False):
                return attention(queries_LF.float(), keys_BPF.float(), values_BPH.float(), mask_BP)
        if _plain(queries_LF, keys_BPF, values_BPH):
            attended_BLH: Tensor = _BlockedAttention.apply(queries_LF, keys_BPF, values_BPH, mask_BP)  # type: ignore[no-untyped-call]
            return attended_BLH
    width = values_BPH.shape[2]
    if not _plain(keys_BPF):
        queries_LF, keys_BPF, values_BPH = _for_fused_kernels(queries_LF, keys_BPF, values_BPH)
    tensors = queries_LF.expand(len(keys_BPF), 1, -1, -1), keys_BPF[:, None], values_BPH[:, None]
    mask_B11P = None if mask_BP is None else mask_BP[:, None, None]
    attended_B1LH = functional.scaled_dot_product_attention(*tensors, mask_B11P, scale=1.0)
    return _widened(attended_B1LH[:, 0, :, :width])


def _for_fused_kernels(queries_LF: Tensor, keys_BPF: Tensor, values_BPH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pad the arguments to one width (on a GPU a multiple of 8) and type; otherwise torch would store all attention weights."""
    device = keys_BPF.device.type
    kind = torch.get_autocast_dtype(device) if _mixed(keys_BPF) else keys_BPF.dtype
    width = max(keys_BPF.shape[2], values_BPH.shape[2])
    width += -width % (1 if device == "cpu" else 8)

    def fitted(tensor_XF: Tensor) -> Tensor:
        return functional.pad(tensor_XF.to(kind), (0, width - tensor_XF.shape[-1]))

    keys_BPX = fitted(keys_BPF)
    return fitted(queries_LF), keys_BPX, keys_BPX if keys_BPF is values_BPH else fitted(values_BPH)


# More weights are not stored but computed in blocks of so many: 4 MB, which fit into a core's cache. On a CPU torch's fused
# kernel uses slow products and needs equal widths; in 16 bits it is fast only on processors with AMX, so others use 32 bits.
BLOCK_CELLS = 1 << 20
_AMX = hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get("amx_bf16"))


class _BlockedAttention(torch.autograd.Function):
    """`attention` for one document and block of codes at a time, over the document's own positions; weights are recomputed for
    the gradient. With w = softmax(q·k), o = w·v and g the gradient of o: dv = wᵀg, ds = w (g·v - g·o), dq = ds·k, dk = dsᵀq.
    """

    @staticmethod
    def forward(ctx: Any, queries_LF: Tensor, keys_BPF: Tensor, values_BPH: Tensor, mask_BP: Tensor | None) -> Tensor:
        attended_BLH = values_BPH.new_empty(len(values_BPH), len(queries_LF), values_BPH.shape[2])
        for document, inside, blocks in _blocks(len(queries_LF), values_BPH, mask_BP):
            keys_NF, values_NH = keys_BPF[document][inside], values_BPH[document][inside]
            for block in blocks:
                weights_CN = product(queries_LF[block], keys_NF).softmax(1)
                attended_BLH[document, block] = product(weights_CN, values_NH.T)
        ctx.save_for_backward(queries_LF, keys_BPF, values_BPH, mask_BP, attended_BLH)
        return attended_BLH

    @staticmethod
    @_first_order
    def backward(ctx: Any, gradient_BLH: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        queries_LF, keys_BPF, values_BPH, mask_BP, attended_BLH = ctx.saved_tensors
        by_query_LF, by_key_BPF, by_value_BPH = map(torch.zeros_like, (queries_LF, keys_BPF, values_BPH))
        gradient_BLH = gradient_BLH.contiguous()
        along_BL1 = (gradient_BLH * attended_BLH).sum(2, keepdim=True)
        for document, inside, blocks in _blocks(len(queries_LF), values_BPH, mask_BP):
            keys_NF, values_NH = keys_BPF[document][inside], values_BPH[document][inside]
            by_key_NF, by_value_NH = torch.zeros_like(keys_NF), torch.zeros_like(values_NH)
            for block in blocks:
                weights_CN = product(queries_LF[block], keys_NF).softmax(1)
                by_value_NH += product(weights_CN.T, gradient_BLH[document, block].T)
                by_score_CN = product(gradient_BLH[document, block], values_NH)
                by_score_CN.sub_(along_BL1[document, block]).mul_(weights_CN)
                by_query_LF[block] += product(by_score_CN, keys_NF.T)
                by_key_NF += product(by_score_CN.T, queries_LF[block].T)
            by_key_BPF[document, inside], by_value_BPH[document, inside] = by_key_NF, by_value_NH
        return by_query_LF, by_key_BPF, by_value_BPH, None


def _blocks(num_codes: int, values_BPH: Tensor, mask_BP: Tensor | None) -> Iterator[tuple[int, Tensor, list[slice]]]:
    """Yield each document, the positions that it attends to, and its blocks of codes."""
    everywhere_P = torch.ones(values_BPH.shape[1], dtype=torch.bool)
    for document in range(len(values_BPH)):
        inside_P = everywhere_P if mask_BP is None else mask_BP[document]
        size = max(1, BLOCK_CELLS // max(1, int(inside_P.sum())))
        yield document, inside_P, [slice(first, first + size) for first in range(0, num_codes, size)]


# Measured on a CPU (results/speed/training.md).
NARROW = 128  # up to this number of features a convolution is faster with features contiguous in memory
LONG, LONG_OF_MANY = 12, 10  # from these kernel sizes spectra are faster, with at most NARROW and with more features


def convolve(layer: nn.Conv1d, hidden_BTE: Tensor) -> Tensor:
    """Apply `layer` over positions, with features last, by the fastest method: [B, T, E] to [B, P, F]."""
    kernel, padding = layer.kernel_size[0], layer.padding[0]
    assert isinstance(padding, int), padding
    if hidden_BTE.device.type == "cpu" and _mixed(hidden_BTE):
        return _widened(_convolve_image(layer, hidden_BTE.bfloat16(), padding))  # cast before the layout is changed
    plain = _plain(hidden_BTE, layer.weight) and hidden_BTE.dtype == torch.float32
    few = max(layer.in_channels, layer.out_channels) <= NARROW
    if plain and kernel >= (LONG if few else LONG_OF_MANY):
        convolved_BPF: Tensor = _SpectralConvolution.apply(hidden_BTE, layer.weight, padding)  # type: ignore[no-untyped-call]
        return convolved_BPF if layer.bias is None else convolved_BPF + layer.bias
    if plain and few:
        return _convolve_image(layer, hidden_BTE, padding)
    convolved_BFP: Tensor = layer(hidden_BTE.transpose(1, 2))
    return convolved_BFP.transpose(1, 2)


def _convolve_image(layer: nn.Conv1d, hidden_BTE: Tensor, padding: int) -> Tensor:
    """Apply `layer` with features contiguous in memory: [B, T, E] to [B, P, F]."""
    image_BE1T, filters_FE1K = hidden_BTE.contiguous().transpose(1, 2)[:, :, None], layer.weight[:, :, None]
    convolved_BF1P = functional.conv2d(image_BE1T, filters_FE1K, layer.bias, padding=(0, padding))
    return convolved_BF1P[:, :, 0].transpose(1, 2)


class _SpectralConvolution(torch.autograd.Function):
    """A convolution of [B, T, E] to [B, P, F] by products of spectra, of M blocks of N positions that overlap by K - 1, each
    with S = N - K + 1 results. Torch's own gradient would use complex transforms instead of real ones, and store spectra.
    """

    @staticmethod
    def forward(ctx: Any, hidden_BTE: Tensor, weight_FEK: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(hidden_BTE, weight_FEK)
        ctx.padding = padding
        (B, T, _), kernel = hidden_BTE.shape, weight_FEK.shape[2]
        positions = T + 2 * padding - kernel + 1
        N, S, _ = _blocking(positions, kernel)
        filters_CEF = _filters(weight_FEK, N).transpose(1, 2).conj().resolve_conj()
        convolved_NXF = torch.fft.irfft(_spectra(hidden_BTE, positions, kernel, padding) @ filters_CEF, n=N, dim=0)
        convolved_SBMF: Tensor = convolved_NXF[:S].unflatten(1, (B, -1))
        return convolved_SBMF.permute(1, 2, 0, 3).flatten(1, 2)[:, :positions]

    @staticmethod
    @_first_order
    def backward(ctx: Any, upstream_BPF: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_BTE, weight_FEK = ctx.saved_tensors
        (B, T, E), (positions, F), K = hidden_BTE.shape, upstream_BPF.shape[1:], weight_FEK.shape[2]
        N, S, M = _blocking(positions, K)
        upstream_BMSF = functional.pad(upstream_BPF, (0, 0, 0, M * S - positions)).view(B, M, S, F)
        upstream_CXF = torch.fft.rfft(upstream_BMSF, n=N, dim=2).flatten(0, 1).transpose(0, 1)
        by_filter_CFE = upstream_CXF.transpose(1, 2).conj() @ _spectra(hidden_BTE, positions, K, ctx.padding)
        by_weight_FEK = torch.fft.irfft(by_filter_CFE, n=N, dim=0)[:K].permute(1, 2, 0)
        by_block_NXE = torch.fft.irfft(upstream_CXF @ _filters(weight_FEK, N), n=N, dim=0)
        by_block_BMNE = by_block_NXE.view(N, B, M, E).permute(1, 2, 0, 3)
        by_padded_BUE = hidden_BTE.new_zeros(B, M * S + K - 1, E)
        by_padded_BUE[:, : M * S].view(B, M, S, E).copy_(by_block_BMNE[:, :, :S])
        by_padded_BUE[:, S:].unfold(1, K - 1, S).add_(by_block_BMNE[:, :, S:].transpose(2, 3))
        return by_padded_BUE[:, ctx.padding : ctx.padding + T], by_weight_FEK, None


def _blocking(positions: int, kernel: int) -> tuple[int, int, int]:
    """Return N, a power of two, S and M."""
    N = 1 << (4 * kernel).bit_length()
    S = N - kernel + 1
    return N, S, -(-positions // S)


def _spectra(hidden_BTE: Tensor, positions: int, kernel: int, padding: int) -> Tensor:
    """The spectrum of each block [C, X, E], with C = N / 2 + 1 frequencies and X = B · M blocks."""
    N, S, M = _blocking(positions, kernel)
    padded_BUE = functional.pad(hidden_BTE, (0, 0, padding, M * S + kernel - 1 - padding - hidden_BTE.shape[1]))
    spectra_BMCE: Tensor = torch.fft.rfft(padded_BUE.unfold(1, N, S).transpose(2, 3), dim=2)
    return spectra_BMCE.flatten(0, 1).transpose(0, 1)


def _filters(weight_FEK: Tensor, N: int) -> Tensor:
    """The spectrum of each filter [C, F, E]."""
    filters_CFE: Tensor = torch.fft.rfft(weight_FEK.permute(2, 0, 1), n=N, dim=0)
    return filters_CFE


def recur(layers: Sequence[nn.LSTM | nn.GRU], sequences_BTF: Sequence[Tensor]) -> Sequence[Tensor]:
    """The states [B, T, H] of layers of one kind and size, each over its own batch of sequences."""
    if isinstance(layers[0], nn.GRU) and _alike(*sequences_BTF, *layers[0].parameters()):
        return _gru(layers, torch.stack(tuple(sequences_BTF))).unbind()
    return [_widened(layer(hidden_BTF)[0]) for layer, hidden_BTF in zip(layers, sequences_BTF, strict=True)]


def _gru(layers: Sequence[nn.LSTM | nn.GRU], hidden_DBTF: Tensor) -> Tensor:
    """The states [D, B, T, H] of D GRUs.

    On a CPU torch computes a GRU's gradient step by step and operation by operation; here everything that does not depend on
    the previous step is computed for the whole sequence at once.
    """
    weights = (torch.stack([getattr(layer, f"{name}_l0") for layer in layers]) for name in _GRU_WEIGHTS)
    input_DGF, state_DGH, input_bias_DG, state_bias_DG = weights
    _, B, T, _ = hidden_DBTF.shape
    rows_DXF = hidden_DBTF.transpose(1, 2).flatten(1, 2)  # X = T · B
    given_DXG = torch.stack([linear(*each) for each in zip(rows_DXF, input_DGF, input_bias_DG, strict=True)])
    given_DTBG = given_DXG.reshape(len(layers), T, B, -1)
    with torch.autocast("cpu", enabled=False):  # a step has few rows
        states_DTBH: Tensor = _GatedSteps.apply(given_DTBG, state_DGH, state_bias_DG)  # type: ignore[no-untyped-call]
    return states_DTBH.transpose(1, 2)


_GRU_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class _GatedSteps(torch.autograd.Function):
    """The recurrence of a GRU, given the inputs' contributions to its G = 3H gates (reset r, update z, new n):

    r, z = σ(given_r + q_r), σ(given_z + q_z)     q = W h before + b
    n = tanh(given_n + r q_n)
    h = n + z (h before - n)
    """

    @staticmethod
    def forward(ctx: Any, given_DTBG: Tensor, weight_DGH: Tensor, bias_DG: Tensor) -> Tensor:
        (D, T, B, _), H = given_DTBG.shape, weight_DGH.shape[2]
        states_DTBH = given_DTBG.new_zeros(D, T + 1, B, H)
        gates_DTBG, queries_DTBH = torch.empty_like(given_DTBG), given_DTBG.new_empty(D, T, B, H)
        weight_DHG, bias_D1G = weight_DGH.transpose(1, 2).contiguous(), bias_DG[:, None]
        every = (states_DTBH, states_DTBH[:, 1:], given_DTBG, gates_DTBG, queries_DTBH)
        for before_DBH, after_DBH, given_DBG, gates_DBG, query_DBH in zip(
            *(each.unbind(1) for each in every), strict=False
        ):
            q_DBG = torch.baddbmm(bias_D1G, before_DBH, weight_DHG)
            both_DBG, new_DBH = gates_DBG[:, :, : 2 * H], gates_DBG[:, :, 2 * H :]
            torch.add(given_DBG[:, :, : 2 * H], q_DBG[:, :, : 2 * H], out=both_DBG).sigmoid_()
            query_DBH.copy_(q_DBG[:, :, 2 * H :])
            torch.addcmul(given_DBG[:, :, 2 * H :], both_DBG[:, :, :H], query_DBH, out=new_DBH).tanh_()
            torch.lerp(new_DBH, before_DBH, both_DBG[:, :, H:], out=after_DBH)
        ctx.save_for_backward(weight_DGH, states_DTBH, gates_DTBG, queries_DTBH)
        return states_DTBH[:, 1:]

    @staticmethod
    @_first_order
    def backward(ctx: Any, upstream_DTBH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight_DGH, states_DTBH, gates_DTBG, queries_DTBH = ctx.saved_tensors
        H, before_DTBH = upstream_DTBH.shape[3], states_DTBH[:, :-1]
        r, z, n = gates_DTBG.chunk(3, 3)
        # The factors by which the state's gradient is multiplied for the gates r, z and (for the weights) n.
        factors_DTBG, by_new_DTBH = torch.empty_like(gates_DTBG), (1 - z) * (1 - n * n)
        by_r, by_z, by_n = factors_DTBG.chunk(3, 3)
        torch.mul(by_new_DTBH, r, out=by_n)
        torch.mul(by_n, 1 - r, out=by_r).mul_(queries_DTBH)
        torch.mul(before_DTBH - n, z, out=by_z).mul_(1 - z)
        by_state_DTBH = torch.empty_like(queries_DTBH)
        later_DBH = torch.zeros_like(by_state_DTBH[:, 0])
        every = (by_state_DTBH, upstream_DTBH, factors_DTBG.view(*factors_DTBG.shape[:3], 3, H), factors_DTBG, z)
        for by_state_DBH, upstream_DBH, factors_DB3H, by_gate_DBG, z_DBH in zip(
            *(reversed(each.unbind(1)) for each in every), strict=True
        ):
            torch.add(later_DBH, upstream_DBH, out=by_state_DBH)
            factors_DB3H.mul_(by_state_DBH[:, :, None])  # now the gates' gradients
            later_DBH = torch.baddbmm(by_state_DBH * z_DBH, by_gate_DBG, weight_DGH)
        by_gate_DXG, before_DXH = factors_DTBG.flatten(1, 2), before_DTBH.flatten(1, 2)
        by_weight_DGH = torch.stack(
            [product(by_gate_XG.T, before_XH.T) for by_gate_XG, before_XH in zip(by_gate_DXG, before_DXH, strict=True)]
        )
        by_bias_DG = factors_DTBG.sum((1, 2))
        torch.mul(by_state_DTBH, by_new_DTBH, out=by_n)
        return factors_DTBG, by_weight_DGH, by_bias_DG


def _plain(*tensors: Tensor) -> bool:
    """Whether all have one type on a CPU, without mixed precision, and are computed, not traced for an export."""
    return not torch.compiler.is_compiling() and _alike(*tensors) and not _mixed(tensors[0])


def _alike(*tensors: Tensor) -> bool:
    return all(tensor.device.type == "cpu" and tensor.dtype == tensors[0].dtype for tensor in tensors)


def _mixed(tensor: Tensor) -> bool:
    device = tensor.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _widened(product_X: Tensor) -> Tensor:
    return product_X.float() if product_X.device.type == "cpu" and _mixed(product_X) else product_X
