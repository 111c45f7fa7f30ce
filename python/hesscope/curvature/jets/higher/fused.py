"""Elementwise functions above first order in one pass over memory, by the core's ``pointwise_jet``.

It serves functions of one argument that carries coefficients, and products of a gradient with such a
function, which the backward passes of activations are. Small tensors are better off with torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.jets import kernels
from hesscope.curvature.jets.call import Call, Step
from hesscope.curvature.jets.higher.algebra import CUBE, MIXED, SQUARE, Algebra, Jet

aten = torch.ops.aten

_LEAST = 1 << 13  # elements of a result, of one vector; measured
_SERVED = (SQUARE, MIXED, CUBE)
# g f(x), given g as the first argument and x in this place
_PRODUCTS = {
    aten.tanh_backward.default: 1,
    aten.sigmoid_backward.default: 1,
    aten.gelu_backward.default: 1,
    aten.silu_backward.default: 1,
    aten.softplus_backward.default: 1,
    aten.log_sigmoid_backward.default: 1,
    aten.elu_backward.default: 5,
}

Derivatives = Callable[[Call, Any, int], tuple[tuple[tuple[int, ...], Tensor], ...]]


def fused(
    call: Call,
    algebra: Algebra,
    wanted: Sequence[int],
    out: Any,
    function: Callable[..., Tensor],
    derivatives: Derivatives,
) -> Step | None:
    """Build the step of an elementwise operator by the kernel, or return None where it does not fit."""
    arguments = [call.at(position) for position in call.carries]
    if algebra not in _SERVED or not kernels.served(arguments[0]) or math.prod(out.shape) < _LEAST:
        return None
    if any(tuple(t.shape) != tuple(out.shape) or t.dtype != out.dtype for t in arguments):
        return None
    place = _PRODUCTS.get(call.target)
    product = call.carries == (0, place)
    if len(arguments) > 1 and not product:
        return None
    order = kernels.memory_order(arguments[-1])
    value = None
    if product and place is not None:
        value = _ordered(call.args[0], order).flatten()
        call = replace(call, args=[torch.ones_like(call.args[0]), *call.args[1:]], carries=(place,))
    found = dict(derivatives(call, out, algebra.order))
    rows = arguments[0].new_zeros(algebra.order + 1, math.prod(out.shape))
    for degree in range(1, algebra.order + 1):
        if (0,) * degree in found:
            rows[degree] = _ordered(found[(0,) * degree], order).flatten()
    if product:
        rows[0] = _ordered(function(*call.args, **call.kwargs), order).flatten()
    mixed = algebra is MIXED
    step = functools.partial(_step, tuple(wanted), rows, value, mixed)
    return functools.partial(_in_order, step, tuple(out.shape), order)


def _ordered(t: Tensor, order: tuple[int, ...] | None) -> Tensor:
    """Return a tensor with its dimensions as they lie in memory."""
    return (t if order is None else t.permute(order)).contiguous()


def _in_order(
    step: Callable[..., Jet], shape: tuple[int, ...], order: tuple[int, ...] | None, *jets: Jet
) -> Jet:
    """Pass coefficients as they lie in memory, so that none is rearranged, and return such."""
    if order is None:
        return step(shape, *jets)
    places = (0, *(d + 1 for d in order))
    found = step(
        tuple(shape[d] for d in order),
        *(tuple(None if t is None else t.permute(places) for t in jet) for jet in jets),
    )
    back = kernels.inverse(places)
    return tuple(None if t is None else t.permute(back) for t in found)


def _step(
    wanted: tuple[int, ...],
    taylor: Tensor,
    g_value: Tensor | None,
    mixed: bool,
    shape: tuple[int, ...],
    *jets: Jet,
) -> Jet:
    x, g = jets[-1], jets[0] if g_value is not None else ()
    moving = [any(jet[i] is not None for jet in jets) for i in range(len(x))]
    lowest = 2 if mixed else 1  # monomials that only a coefficient of their own reaches
    kept = [i for i in wanted if moving[i] or (i >= lowest and any(moving[:i]))]
    out: list[Tensor | None] = [None] * len(x)
    if all(t is None for t in x):
        first = taylor[0].view(shape)
        for i in kept:
            moved = g[i] if g else None
            out[i] = None if moved is None else moved * first
        return tuple(out)
    rows = [max(0 if t is None else len(t) for t in parts) for parts in zip(*jets, strict=True)]
    most = max(rows)
    found = _ops.pointwise_jet(taylor, _flat(x, most), g_value, _flat(g, most), mixed=mixed, wanted=kept)
    if mixed:  # one direction beside many: its own coefficients stay one row
        found = [*(t if t is None else t[:k] for t, k in zip(found[:2], rows, strict=False)), found[2]]
    return tuple(None if t is None else t.view(-1, *shape) for t in found)


def _flat(jet: Sequence[Tensor | None], rows: int) -> list[Tensor | None]:
    """Return coefficients as rows of one length, as many as the coefficient of most rows has."""
    return [None if t is None else t.expand(rows, *t.shape[1:]).contiguous().flatten(1) for t in jet]
