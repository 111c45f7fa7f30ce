"""Elementwise operators at second and third order, by their partial derivatives (Faa di Bruno).

Derivatives come from differentiating the operator, alone, again and again. Only operators for which
that was checked against finite differences are here (tests/test_higher_rules.py); where PyTorch lacks a
derivative, a formula of elementary functions stands for the operator.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.higher.algebra import (
    Algebra,
    Jet,
    aligned,
    converted,
    cross,
    plus_product,
    triple,
)
from hesscope.curvature.jets.higher.fused import fused

aten = torch.ops.aten

Terms = tuple[tuple[tuple[int, ...], Tensor], ...]
"""Arguments, by their place among those that carry, with the derivative over the symmetry of the term."""


def pointwise(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build the step of an elementwise function from its derivatives at the primal."""
    out = call.out[0] if isinstance(call.out, tuple) else call.out
    function = FORMULAS.get(call.target, call.target)
    step = fused(call, algebra, wanted, out, function, _derivatives)
    if step is None:
        terms = _derivatives(call, out, algebra.order)
        step = functools.partial(_step, algebra, tuple(wanted), terms, out.ndim, out.dtype)
    return functools.partial(_in_tuple, step, len(call.out)) if isinstance(call.out, tuple) else step


def _in_tuple(step: Step, outputs: int, *jets: Jet) -> tuple[Jet, ...]:
    """Return the result as the first of several, of which the others do not move."""
    jet = step(*jets)
    return (jet, *[(None,) * len(jet)] * (outputs - 1))


def _step(
    algebra: Algebra,
    wanted: tuple[int, ...],
    terms: Terms,
    ndim: int,
    dtype: torch.dtype,
    *jets: Jet,
) -> Jet:
    jets = tuple(converted(aligned(jet, ndim), dtype) for jet in jets)
    out: list[Tensor | None] = [None] * algebra.size
    for i in wanted:
        total: Tensor | None = None
        for places, factor in terms:
            part: Tensor | None
            if len(places) == 1:
                part = jets[places[0]][i]
            elif len(places) == 2:
                part = cross(algebra, i, *(jets[p] for p in places))
            else:
                part = triple(algebra, i, *(jets[p] for p in places))
            if part is not None:
                total = plus_product(total, part, factor)
        out[i] = total
    return tuple(out)


def _derivatives(call: Call, out: Any, order: int) -> Terms:
    """Return all partial derivatives up to an order that are not zero everywhere."""
    function = FORMULAS.get(call.target, call.target)
    found: dict[tuple[int, ...], Tensor] = {}
    with torch.inference_mode(False), torch.enable_grad():
        leaves = [call.at(p).detach().expand(out.shape).requires_grad_() for p in call.carries]
        value = function(*call.with_arguments(leaves), **call.kwargs)
        value = value[0] if isinstance(value, tuple) else value
        _differentiate(value, leaves, (), order, found)
    return tuple((places, t * _share(places)) for places, t in found.items())


def _share(places: tuple[int, ...]) -> float:
    """Return how many different orders the arguments of a term have, over all orders of as many."""
    orders = list(itertools.permutations(places))
    return len(set(orders)) / len(orders)


def _differentiate(
    value: Tensor,
    leaves: list[Tensor],
    places: tuple[int, ...],
    order: int,
    found: dict[tuple[int, ...], Tensor],
) -> None:
    start = places[-1] if places else 0
    if not value.requires_grad:
        return
    derivatives = torch.autograd.grad(
        value,
        leaves[start:],
        torch.ones_like(value),
        retain_graph=True,
        create_graph=order > 1,
        allow_unused=True,
    )
    for place, derivative in enumerate(derivatives, start):
        if derivative is None:
            continue
        if bool(derivative.any()):
            found[*places, place] = derivative.detach()
        if order > 1:
            _differentiate(derivative, leaves, (*places, place), order - 1, found)


def _silu_backward(g: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return g * s * (1 + x * (1 - s))


FORMULAS: dict[Any, Callable[..., Tensor]] = {
    aten.hardsigmoid.default: lambda x: (x / 6 + 0.5).clamp(0, 1),
    aten.silu_backward.default: _silu_backward,
    aten.log_sigmoid_forward.default: F.logsigmoid,
    aten.log_sigmoid_backward.default: lambda g, x, _: g * torch.sigmoid(-x),
}

_SMOOTH = [
    aten.tanh.default,
    aten.tanh_backward.default,
    aten.sigmoid.default,
    aten.sigmoid_backward.default,
    aten.gelu.default,
    aten.gelu_backward.default,
    aten.silu.default,
    aten.silu_backward.default,
    aten.mish.default,
    aten.softplus.default,
    aten.softplus_backward.default,
    aten.elu.default,
    aten.elu_backward.default,
    aten.celu.default,
    aten.selu.default,
    aten.log_sigmoid_forward.default,
    aten.log_sigmoid_backward.default,
    aten.exp.default,
    aten.log.default,
    aten.log1p.default,
    aten.log2.default,
    aten.expm1.default,
    aten.sqrt.default,
    aten.rsqrt.default,
    aten.reciprocal.default,
    aten.square.default,
    aten.sin.default,
    aten.cos.default,
    aten.tan.default,
    aten.sinh.default,
    aten.cosh.default,
    aten.asin.default,
    aten.acos.default,
    aten.atan.default,
    aten.erf.default,
    aten.erfc.default,
    aten.pow.Tensor_Scalar,
    aten.pow.Tensor_Tensor,
    aten.pow.Scalar,
    aten.atan2.default,
    aten.xlogy.Tensor,
    aten.addcdiv.default,
    aten.acosh.default,
    aten.asinh.default,
    aten.atanh.default,
    aten.exp2.default,
    aten.log10.default,
    aten.logit.default,
    aten.sinc.default,
    aten.digamma.default,
    aten.lgamma.default,
    aten.polygamma.default,
    aten.erfinv.default,
    aten.i0.default,
    aten.special_i0e.default,
    aten.special_i1.default,
    aten.special_i1e.default,
    aten.special_erfcx.default,
    aten.special_entr.default,
    aten.special_log_ndtr.default,
    aten.special_ndtri.default,
    aten.special_xlog1py.default,
    aten.hypot.default,
    aten.logaddexp.default,
    aten.logaddexp2.default,
]
# by branches, the one that the primal selects; what is linear there is in rules.LINEAR
_PIECEWISE = [
    aten.hardsigmoid.default,
    aten.hardswish.default,
    aten.hardswish_backward.default,
    aten._prelu_kernel.default,
    aten.lerp.Tensor,
    aten.div.Tensor_mode,
]

TABLE: dict[Any, Any] = {target: pointwise for target in (*_SMOOTH, *_PIECEWISE)}
