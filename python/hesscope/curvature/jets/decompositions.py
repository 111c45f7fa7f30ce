"""What a capture puts in place of norms and composite losses: primitives and elementary operators."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions

from hesscope.curvature.jets import elementary
from hesscope.curvature.jets.primitives import ops

aten = torch.ops.aten


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Sequence[int]) -> Tensor:
    """Return y * weight + bias, with the vectors viewed in ``shape``."""
    scale = None if weight is None else weight.view(shape)
    shift = None if bias is None else bias.view(shape)
    if scale is None:
        return y if shift is None else y + shift
    return y * scale if shift is None else torch.addcmul(shift, y, scale)


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, rstd = ops.normalize(x, list(range(-len(shape), 0)), eps)
    return _affine(y, weight, bias, shape), mean, rstd


def _layer_norm_backward(
    g: Tensor,
    x: Tensor,
    shape: Sequence[int],
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    y = ops.normalized(x, mean, rstd)
    outer, inner = list(range(x.ndim - len(shape))), list(range(-len(shape), 0))
    h = g if weight is None else g * weight
    dx = ops.normalize_backward(h, y, rstd, inner) if mask[0] else None
    dw = _sum(g * y, outer) if mask[1] and weight is not None else None
    db = _sum(g, outer) if mask[2] and bias is not None else None
    return dx, dw, db


def _rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    y, _, rstd = ops.normalize(x, list(range(-len(shape), 0)), eps, False)
    return _affine(y, weight, None, shape), rstd


def _rms_norm_backward(
    g: Tensor,
    x: Tensor,
    shape: Sequence[int],
    rstd: Tensor,
    weight: Tensor | None,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    y = x * rstd
    h = g if weight is None else g * weight
    dx = ops.normalize_backward(h, y, rstd, list(range(-len(shape), 0)), False) if mask[0] else None
    dw = _sum(g * y, list(range(x.ndim - len(shape)))) if mask[1] and weight is not None else None
    return dx, dw


def _sum(x: Tensor, dims: Sequence[int]) -> Tensor:
    return x.sum(list(dims)) if dims else x


def _group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    c: int,
    hw: int,  # noqa: ARG001 - PyTorch's signature
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, rstd = ops.normalize(x.reshape(n, groups, -1), [-1], eps)
    out = _affine(y.view(x.shape), weight, bias, _channels(c, x.ndim))
    return out, mean.view(n, groups), rstd.view(n, groups)


def _group_norm_backward(
    g: Tensor,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    n: int,
    c: int,
    hw: int,  # noqa: ARG001 - PyTorch's signature
    groups: int,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    rstd = rstd.view(n, groups, 1)
    y = ops.normalized(x.reshape(n, groups, -1), mean.view(n, groups, 1), rstd)
    h = g if weight is None else g * weight.view(_channels(c, x.ndim))
    grouped = h.reshape(n, groups, -1)
    dx = ops.normalize_backward(grouped, y, rstd, [-1]).view(x.shape) if mask[0] else None
    outer = [d for d in range(x.ndim) if d != 1]
    dw = (g * y.view(x.shape)).sum(outer) if mask[1] else None
    return dx, dw, g.sum(outer) if mask[2] else None


def _channels(c: int, ndim: int) -> list[int]:
    return [1, c] + [1] * (ndim - 2)


def _batch_dims(ndim: int) -> list[int]:
    return [d - ndim for d in range(ndim) if d != 1]


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,  # noqa: ARG001 - running statistics are put back after every evaluation
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = _channels(x.shape[1], x.ndim)
    if training:
        y, mean, rstd = ops.normalize(x, _batch_dims(x.ndim), eps)
        return _affine(y, weight, bias, shape), mean.flatten(), rstd.flatten()
    assert running_mean is not None
    assert running_var is not None
    scale = torch.rsqrt(running_var + eps)
    scale = scale if weight is None else weight * scale
    return _affine(x - running_mean.view(shape), scale, bias, shape), x.new_empty(0), x.new_empty(0)


def _batch_norm_backward(
    g: Tensor,
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor | None,  # noqa: ARG001 - PyTorch's signature
    rstd: Tensor | None,  # noqa: ARG001
    training: bool,
    eps: float,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    shape, dims = _channels(x.shape[1], x.ndim), _batch_dims(x.ndim)
    dx = None
    if training:
        y, _, inverse = ops.normalize(x, dims, eps)
        if mask[0]:
            dx = ops.normalize_backward(g if weight is None else g * weight.view(shape), y, inverse, dims)
        dw = (g * y).sum(dims) if mask[1] else None
    else:  # what goes over all of x are one sum and one product: the rest is done with one number a channel
        assert running_mean is not None
        assert running_var is not None
        inverse = torch.rsqrt(running_var + eps)
        if mask[0]:
            dx = g * (inverse if weight is None else weight * inverse).view(shape)
        dw = (g * (x - running_mean.view(shape))).sum(dims) * inverse if mask[1] else None
    return dx, dw, g.sum(dims) if mask[2] else None


def _variance(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    dims = list(dim) if dim else list(range(x.ndim))
    count = 1
    for d in dims:
        count *= x.shape[d]
    centred = x - x.mean(dims, keepdim=True)
    return (centred * centred).sum(dims, keepdim=keepdim) / (
        count - (1 if correction is None else correction)
    )


def _deviation(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return _variance(x, dim, correction=correction, keepdim=keepdim).sqrt()


def _mean(
    x: Tensor,
    dim: Sequence[int] | None = None,
    *,
    correction: float | None = None,  # noqa: ARG001 - PyTorch's signature
    keepdim: bool = False,
) -> Tensor:
    return x.mean(list(dim) if dim else list(range(x.ndim)), keepdim=keepdim)


@functools.cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return what ``make_fx`` replaces while it captures: norms by our primitives, losses by elements."""
    table: dict[Any, Callable[..., Any]] = dict(get_decompositions(_ELEMENTARY))
    table |= {
        aten.native_layer_norm.default: _layer_norm,
        aten.native_layer_norm_backward.default: _layer_norm_backward,
        aten._fused_rms_norm.default: _rms_norm,
        aten._fused_rms_norm_backward.default: _rms_norm_backward,
        aten.native_group_norm.default: _group_norm,
        aten.native_group_norm_backward.default: _group_norm_backward,
        aten.native_batch_norm.default: _batch_norm,
        aten.native_batch_norm_backward.default: _batch_norm_backward,
        aten.var.correction: _variance,
        aten.std.correction: _deviation,
        aten.var_mean.correction: lambda x, *a, **k: (_variance(x, *a, **k), _mean(x, *a, **k)),
        aten.std_mean.correction: lambda x, *a, **k: (_deviation(x, *a, **k), _mean(x, *a, **k)),
    }
    table |= elementary.TABLE
    return table


_ELEMENTARY = [
    aten.mse_loss,
    aten.mse_loss_backward,
    aten.smooth_l1_loss,
    aten.smooth_l1_loss_backward,
    aten.huber_loss,
    aten.huber_loss_backward,
    aten.binary_cross_entropy,
    aten.binary_cross_entropy_backward,
    aten.binary_cross_entropy_with_logits,
    aten.soft_margin_loss,
    aten.soft_margin_loss_backward,
    aten.glu,
    aten.glu_backward,
    aten.logsumexp,
    aten.native_dropout_backward,
    aten.mish_backward,
    aten.hardsigmoid_backward,
    aten.linalg_vector_norm,
    aten._prelu_kernel,
    aten._prelu_kernel_backward,
    aten.logit_backward,
]
