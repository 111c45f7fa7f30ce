"""Norms as elementary functions, for derivatives by nested autograd.

PyTorch's own derivatives of layer norm and of batch norm in training mode are silently wrong from the
third on: the saved moments count as constants (pytorch issues 175754, 186256).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class ElementaryNorms(TorchFunctionMode):
    """A context in which norms are computed, and differentiated, as elementary functions.

    Running statistics are read but not updated.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the replacement of a norm, and everything else as it is."""
        return _REPLACED.get(func, func)(*args, **(kwargs or {}))


def _normalized(x: Tensor, dims: Sequence[int], eps: float) -> Tensor:
    centred = x - x.mean(list(dims), keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(list(dims), keepdim=True) + eps)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Sequence[int]) -> Tensor:
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


def _channels(x: Tensor) -> list[int]:
    return [1, x.shape[1]] + [1] * (x.ndim - 2)


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    dims = range(-len(normalized_shape), 0)
    return _affine(_normalized(input, dims, eps), weight, bias, list(normalized_shape))


def _rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    dims = list(range(-len(normalized_shape), 0))
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    y = input * torch.rsqrt((input * input).mean(dims, keepdim=True) + eps)
    return y if weight is None else y * weight


def _group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    grouped = input.reshape(input.shape[0], num_groups, -1)
    return _affine(_normalized(grouped, [-1], eps).view(input.shape), weight, bias, _channels(input))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,  # noqa: ARG001
    eps: float = 1e-5,
) -> Tensor:
    shape = _channels(input)
    if training or running_mean is None or running_var is None:
        y = _normalized(input, [d for d in range(input.ndim) if d != 1], eps)
    else:
        y = (input - running_mean.view(shape)) * torch.rsqrt(running_var + eps).view(shape)
    return _affine(y, weight, bias, shape)


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats:
        return _batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    y = _normalized(input, list(range(2, input.ndim)), eps)
    return _affine(y, weight, bias, _channels(input))


def _torch_order(norm: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a norm with the order of arguments of ``torch.batch_norm`` and ``torch.instance_norm``."""

    def call(
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        own_statistics: bool,
        momentum: float,
        eps: float,
        cudnn_enabled: bool,  # noqa: ARG001
    ) -> Tensor:
        return norm(input, running_mean, running_var, weight, bias, own_statistics, momentum, eps)

    return call


_REPLACED: dict[Any, Callable[..., Any]] = {
    F.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    torch.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
    torch.batch_norm: _torch_order(_batch_norm),
    F.instance_norm: _instance_norm,
    torch.instance_norm: _torch_order(_instance_norm),
}
