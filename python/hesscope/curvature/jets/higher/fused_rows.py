"""Softmax and normalisation above first order by the core's kernels, which push all orders at once.

For the coefficients of s, s^2 (and s^3) of large contiguous tensors; everything else is left to torch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.jets import kernels
from hesscope.curvature.jets.call import Step
from hesscope.curvature.jets.higher.algebra import CUBE, SQUARE, Algebra, Jet

_LEAST = 1 << 13  # elements of a result, of one vector; measured


def softmax(
    plain: Step, algebra: Algebra, p: Tensor, dim: int, w: Tensor | None = None, *, logarithm: bool = False
) -> Step:
    """Serve w times a softmax p over ``dim``, counted from the last, or times its logarithm."""
    if algebra not in (SQUARE, CUBE) or p.numel() < _LEAST or not kernels.in_rows(p, dim):
        return plain
    rows = None if w is None else w.flatten()
    return functools.partial(_softmax_step, p, rows, logarithm)


def _softmax_step(p: Tensor, w: Tensor | None, logarithm: bool, x: Jet) -> Jet:
    rows = p.view(-1, p.shape[-1])
    parts = _complete(x, rows.shape)
    if parts is None:
        return x
    return tuple(t.view(-1, *p.shape) for t in _ops.softmax_jet(parts, rows, w, logarithm=logarithm))


def norm(plain: Step, algebra: Algebra, y: Tensor, rstd: Tensor, dims: Sequence[int], centred: bool) -> Step:
    """Serve ``normalize``: coefficients of y, mean and rstd."""
    layout = kernels.norm_layout(y.shape, dims)
    large = algebra in (SQUARE, CUBE) and y.numel() >= _LEAST and y.is_contiguous()
    if not large or layout is None or not kernels.served(y):
        return plain
    return functools.partial(_norm_step, layout, y, rstd, centred)


def _norm_step(
    layout: tuple[int, int, int], y: Tensor, rstd: Tensor, centred: bool, x: Jet
) -> tuple[Jet, Jet, Jet]:
    parts = _complete(x, layout)
    if parts is None:
        return x, x, x
    found = _ops.norm_jet(parts, y.view(layout), rstd.flatten(), centred=centred)
    shapes = (y.shape, rstd.shape, rstd.shape)
    out, mean, inverse = (
        tuple(t.view(-1, *shape) for t in part) for part, shape in zip(found, shapes, strict=True)
    )
    return out, mean, inverse


def _complete(x: Jet, shape: Sequence[int]) -> list[Tensor] | None:
    """Return all coefficients in a shape, those that are zero written out; None if all are."""
    some = next((t for t in x if t is not None), None)
    if some is None:
        return None
    whole = [torch.zeros_like(some) if t is None else t.contiguous() for t in x]
    return [t.view(-1, *shape) for t in whole]
