"""Operators written out in others before a gradient is captured, where PyTorch's own form has no rule.

Their backward passes read results that are no derivatives of anything (factors, norms, offsets), so the
whole is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _others(v: Tensor, dim: int) -> list[int]:
    return [d for d in range(v.ndim) if d != dim % v.ndim]


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Salimans & Kingma (2016): g v / |v|, norms over all dimensions but one."""
    norm = (v * v).sum(_others(v, dim), keepdim=True).sqrt()
    return v * (g / norm), norm


def _weight_norm_backward(
    grad: Tensor, v: Tensor, g: Tensor, norm: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    along = (grad * v).sum(_others(v, dim), keepdim=True) / norm
    return (grad - v * (along / norm)) * (g / norm), along


def _embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,  # noqa: ARG001
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Any:
    """Add (mode 0) or average (mode 1) the rows of each bag."""
    if mode not in (_SUM, _MEAN) or scale_grad_by_freq:
        return NotImplemented
    starts = offsets[:-1] if include_last_offset else offsets
    bag = aten.searchsorted.Tensor(starts, torch.arange(len(indices), device=starts.device), right=True) - 1
    counts = indices != padding_idx
    size = torch.zeros_like(starts).index_add(0, bag, counts.to(starts.dtype))
    rows = weight.index_select(0, indices) * _shares(weight, bag, size, counts, mode, per_sample_weights)
    out = torch.zeros(len(starts), weight.shape[1], dtype=weight.dtype, device=weight.device)
    return out.index_add(0, bag, rows), bag, size, torch.zeros_like(size)


def _shares(
    like: Tensor, bag: Tensor, size: Tensor, counts: Tensor, mode: int, weights: Tensor | None
) -> Tensor:
    """Return what each row is multiplied by, as a column."""
    share = counts.to(like.dtype)
    if mode == _MEAN:
        share = share / size.clamp_min(1).to(like.dtype).index_select(0, bag)
    return (share if weights is None else share * weights).unsqueeze(1)


def _embedding_bag_backward(
    grad: Tensor,
    indices: Tensor,
    offsets: Tensor,  # noqa: ARG001
    bag: Tensor,
    size: Tensor,
    max_indices: Tensor,  # noqa: ARG001
    num_weights: int,
    scale_grad_by_freq: bool,
    mode: int,
    sparse: bool,  # noqa: ARG001
    per_sample_weights: Tensor | None,
    padding_idx: int = -1,
) -> Any:
    if mode not in (_SUM, _MEAN) or scale_grad_by_freq:
        return NotImplemented
    rows = grad.index_select(0, bag)
    rows = rows * _shares(grad, bag, size, indices != padding_idx, mode, per_sample_weights)
    return torch.zeros(num_weights, grad.shape[1], dtype=grad.dtype, device=grad.device).index_add(
        0, indices, rows
    )


def _embedding_bag_weights_backward(
    grad: Tensor,
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,  # noqa: ARG001
    bag: Tensor,
    mode: int,  # noqa: ARG001 - only sums have weights
    padding_idx: int = -1,
) -> Tensor:
    products = grad.index_select(0, bag) * weight.index_select(0, indices)
    return products.sum(1) * (indices != padding_idx).to(grad.dtype)


_SUM, _MEAN = 0, 1


def _rrelu(
    x: Tensor, noise: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *_: Any
) -> Any:
    """Outside of training, a leaky relu with the middle slope."""
    del noise
    return NotImplemented if training else aten.leaky_relu.default(x, (lower + upper) / 2)


def _rrelu_backward(
    grad: Tensor,
    x: Tensor,
    noise: Tensor,  # noqa: ARG001
    lower: float,
    upper: float,
    training: bool,
    self_is_result: bool,
) -> Any:
    if training:
        return NotImplemented
    return aten.leaky_relu_backward.default(grad, x, (lower + upper) / 2, self_is_result)


def _solve(
    a: Tensor, b: Tensor, *, left: bool = True, check_errors: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Solve A X = B by factors, which the backward pass uses again."""
    del check_errors
    factors, pivots, info = aten.linalg_lu_factor_ex.default(a)
    vector = b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1])
    columns = b.unsqueeze(-1) if vector else b
    x = aten.linalg_lu_solve.default(factors, pivots, columns, left=left)
    return (x.squeeze(-1) if vector else x), factors, pivots, info


def _parity(pivots: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the sign of the permutation that the pivots describe."""
    there = torch.arange(1, pivots.shape[-1] + 1, dtype=pivots.dtype, device=pivots.device)
    swaps = (pivots != there).sum(-1)
    return (1 - 2 * (swaps % 2)).to(dtype)


def _determinant(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    factors, pivots, _ = aten.linalg_lu_factor_ex.default(a.mT if a.is_contiguous() else a)
    return factors.diagonal(0, -2, -1).prod(-1) * _parity(pivots, a.dtype), factors, pivots


def _log_determinant(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    factors, pivots, _ = aten.linalg_lu_factor_ex.default(a.mT if a.is_contiguous() else a)
    diagonal = factors.diagonal(0, -2, -1)
    sign = diagonal.sign().prod(-1) * _parity(pivots, a.dtype)
    return sign, diagonal.abs().log().sum(-1), factors, pivots


def _p_norm(x: Tensor, p: Any, dim: Any = (), keepdim: bool = False) -> Any:
    dims = [dim] if isinstance(dim, int) else (list(dim) or None)
    return aten.linalg_vector_norm.default(x, 2 if p is None else p, dims, keepdim)


TABLE: dict[Any, Callable[..., Any]] = {
    aten._weight_norm_interface.default: _weight_norm,
    aten._weight_norm_interface_backward.default: _weight_norm_backward,
    aten._linalg_solve_ex.default: _solve,
    aten._linalg_det.default: _determinant,
    aten._linalg_slogdet.default: _log_determinant,
    aten.norm.ScalarOpt_dim: _p_norm,
    aten.rrelu_with_noise.default: _rrelu,
    aten.rrelu_with_noise_backward.default: _rrelu_backward,
    aten._embedding_bag.default: _embedding_bag,
    aten._embedding_bag_backward.default: _embedding_bag_backward,
    aten._embedding_bag_per_sample_weights_backward.default: _embedding_bag_weights_backward,
}
