"""Operators of our own that a captured gradient contains in place of PyTorch's norms.

PyTorch's nested derivatives through layer and batch norm are silently wrong beyond what a single
backward needs (pytorch issues 175754, 196700, 196699). So a norm is captured as one of the primitives
below, followed by elementary operators, and only the primitives have rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

aten = torch.ops.aten

_LIBRARY = torch.library.Library("hesscope_jets", "DEF")
_LIBRARY.define("normalize(Tensor x, int[] dims, float eps, bool centred=True) -> (Tensor, Tensor, Tensor)")
_LIBRARY.define("normalized(Tensor x, Tensor mean, Tensor rstd) -> Tensor")
_LIBRARY.define(
    "normalize_backward(Tensor g, Tensor y, Tensor rstd, int[] dims, bool centred=True) -> Tensor"
)
_LIBRARY.define("log_softmax_backward(Tensor g, Tensor x, Tensor y, int dim) -> Tensor")


def normalize(
    x: Tensor, dims: Sequence[int], eps: float, centred: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ((x - mean) * rstd, mean, rstd) over ``dims``, the moments with dimensions of length 1.

    Not ``centred`` (RMS norm; Zhang and Sennrich 2019), the mean is 0 and rstd that of the mean square.
    """
    if not centred:
        rstd = torch.rsqrt(x.pow(2).mean(list(dims), keepdim=True) + eps)
        return x * rstd, torch.zeros_like(rstd), rstd
    if x.numel() == 0:  # which var_mean warns of
        mean = x.mean(list(dims), keepdim=True)
        variance = (x - mean).square().mean(list(dims), keepdim=True)
    else:
        variance, mean = torch.var_mean(x, list(dims), correction=0, keepdim=True)
    rstd = torch.rsqrt(variance + eps)
    return (x - mean).mul_(rstd), mean, rstd


def normalized(x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """Return (x - mean) * rstd; a captured graph takes it from ``normalize`` instead."""
    return (x - mean) * rstd


def normalize_backward(
    g: Tensor, y: Tensor, rstd: Tensor, dims: Sequence[int], centred: bool = True
) -> Tensor:
    """Multiply ``g`` with the (symmetric) Jacobian of ``normalize``, whose output is ``y``."""
    return project(g, y, dims, centred).mul_(rstd)


def project(u: Tensor, y: Tensor, dims: Sequence[int], centred: bool = True) -> Tensor:
    """Return u - mean(u) - y * mean(y * u), a new tensor; negative ``dims``, so ``u`` may have more.

    Without mean(u) if not ``centred``.
    """
    places = list(dims)
    along = (y * u).mean(places, keepdim=True)
    if not centred:
        return u.addcmul(y, along, value=-1)
    return (u - u.mean(places, keepdim=True)).addcmul_(y, along, value=-1)


def log_softmax_backward(g: Tensor, x: Tensor, y: Tensor, dim: int) -> Tensor:
    """Return g - softmax(x) * sum(g), ``y`` being log_softmax(x): what moves with x and not with y.

    A captured graph has it in place of PyTorch's, which moves with y: so a cross entropy needs no
    coefficients of y, which are as large as the logits.
    """
    out: Tensor = aten._log_softmax_backward_data.default(g, y, dim, x.dtype)
    return out


for _name, _function in (
    ("normalize", normalize),
    ("normalized", normalized),
    ("normalize_backward", normalize_backward),
    ("log_softmax_backward", log_softmax_backward),
):
    _LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")
ops = torch.ops.hesscope_jets
