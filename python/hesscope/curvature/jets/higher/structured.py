"""Softmax and normalisation at second and third order, by arithmetic on all coefficients at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.higher import kernels
from hesscope.curvature.jets.higher.algebra import (
    Algebra,
    Jet,
    compose,
    cross,
    each,
    minus,
    multiply,
    plus,
    plus_product,
)
from hesscope.curvature.jets.primitives import ops

aten = torch.ops.aten

_EXP = (1.0, 1 / 2, 1 / 6)
_LOG = (1.0, -1 / 2, 1 / 3)  # of log(1 + x)
_INVERSE = (-1.0, 1.0, -1.0)  # of 1 / (1 + x)


def _behind(dim: int, ndim: int) -> int:
    """Return a dimension counted from the last, which a new first one does not move."""
    return dim % ndim - ndim if ndim else -1


def _sum(dim: int, t: Tensor) -> Tensor:
    return t.sum(dim, keepdim=True)


def _scaled(taylor: tuple[float, ...], p: Tensor) -> list[Tensor | float]:
    return [p if c == 1 else p * c for c in taylor]


def _softmax(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for ``p e / sum(p e)``, e the exponential of the coefficients of x."""
    dim = _behind(call.args[1], call.out.ndim)
    step = functools.partial(_softmax_step, algebra, tuple(wanted), call.out, dim)
    return kernels.softmax(step, algebra, call.out, dim)


def _softmax_step(algebra: Algebra, wanted: tuple[int, ...], p: Tensor, dim: int, x: Jet) -> Jet:
    raised = compose(algebra, algebra.all, _scaled(_EXP, p), x)
    total = each(algebra, algebra.all, functools.partial(_sum, dim), raised)
    inverse = compose(algebra, algebra.all, _INVERSE, total)
    out: list[Tensor | None] = [None] * algebra.size
    for i in reversed(wanted):  # a coefficient is changed after all that use it
        small = inverse[i]
        here = raised[i] if small is None else plus_product(raised[i], p, small)
        out[i] = plus(here, cross(algebra, i, raised, inverse))
    return tuple(out)


def _softmax_backward(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for ``p (g - sum(g p))``, given (g, p)."""
    g, p, dim = call.args[:3]
    along = (g * p).sum(_behind(dim, p.ndim), keepdim=True)
    dim = _behind(dim, p.ndim)
    step = functools.partial(_softmax_backward_step, algebra, tuple(wanted), g, p, along, dim, call.carries)
    return kernels.softmax_backward(step, algebra, call, along, dim)


def _softmax_backward_step(
    algebra: Algebra,
    wanted: tuple[int, ...],
    g: Tensor,
    p: Tensor,
    along: Tensor,
    dim: int,
    carries: tuple[Any, ...],
    *jets: Jet,
) -> Jet:
    found = dict(zip(carries, jets, strict=True))
    weighted = multiply(algebra, algebra.all, g, found.get(0), p, found.get(1))
    moved = each(algebra, algebra.all, functools.partial(_sum, dim), weighted)
    return minus(algebra, wanted, weighted, multiply(algebra, wanted, p, found.get(1), along, moved))


def _log_softmax(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for ``x - log sum(p e)``."""
    p, dim = call.out.exp(), _behind(call.args[1], call.out.ndim)
    step = functools.partial(_log_softmax_step, algebra, tuple(wanted), p, dim)
    return kernels.softmax(step, algebra, p, dim, logarithm=True)


def _log_softmax_step(algebra: Algebra, wanted: tuple[int, ...], p: Tensor, dim: int, x: Jet) -> Jet:
    raised = compose(algebra, algebra.all, _scaled(_EXP, p), x)
    total = each(algebra, algebra.all, functools.partial(_sum, dim), raised)
    out = minus(algebra, wanted, x, compose(algebra, wanted, _LOG, total))
    # What x has no coefficient of is the same for all entries that are summed over.
    return tuple(None if t is None else t.expand(t.shape[0], *p.shape) for t in out)


def _log_softmax_backward(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for ``g - exp(y) sum(g)``, given (g, y)."""
    g, y, dim = call.args[:3]
    dim = _behind(dim, y.ndim)
    along = g.sum(dim, keepdim=True)
    p = y.exp()
    lift = functools.partial(compose, algebra, algebra.all, _scaled(_EXP, p))
    return functools.partial(_softmax_pull_step, algebra, tuple(wanted), p, along, dim, lift, call.carries)


def _softmax_pull_step(
    algebra: Algebra,
    wanted: tuple[int, ...],
    p: Tensor,
    along: Tensor,
    dim: int,
    lift: Callable[[Jet], Jet],
    carries: tuple[Any, ...],
    *jets: Jet,
) -> Jet:
    """Return ``g - p sum(g)``; ``lift`` turns coefficients of the second argument into those of p."""
    found = dict(zip(carries, jets, strict=True))
    g, argument = found.get(0), found.get(1)
    raised = None if argument is None else lift(argument)
    moved = None if g is None else each(algebra, algebra.all, functools.partial(_sum, dim), g)
    pulled = multiply(algebra, wanted, p, raised, along, moved)
    return minus(algebra, wanted, (None,) * algebra.size if g is None else g, pulled)


def _through_logits(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for ``g - p sum(g)``, p the softmax of x, given (g, x) and log_softmax(x)."""
    g, _, y, dim = call.args
    dim = _behind(dim, y.ndim)
    along, p = g.sum(dim, keepdim=True), y.exp()
    lift = functools.partial(_softmax_step, algebra, algebra.all, p, dim)
    step = functools.partial(_softmax_pull_step, algebra, tuple(wanted), p, along, dim, lift, call.carries)
    return step if 0 in call.carries else kernels.softmax(step, algebra, p, dim, -along)


def _mean(dims: list[int], t: Tensor) -> Tensor:
    return t.mean(dims, keepdim=True)


def _norm(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for ``normalize``: c = x - mean(x), rstd = (mean(c c) + eps)^(-1/2), y = c rstd."""
    _, mean, rstd = call.out
    subtracts = call.args[3]
    centred = call.args[0] - mean if subtracts else call.args[0]
    taylor = [rstd**3 * (-1 / 2), rstd**5 * (3 / 8), rstd**7 * (-5 / 16)]
    step = functools.partial(
        _norm_step, algebra, tuple(wanted), centred, rstd, taylor, list(call.args[1]), subtracts, call.used
    )
    return kernels.norm(step, algebra, call)


def _norm_step(
    algebra: Algebra,
    wanted: tuple[int, ...],
    centred: Tensor,
    rstd: Tensor,
    taylor: list[Tensor],
    dims: list[int],
    subtracts: bool,
    used: frozenset[int],
    x: Jet,
) -> tuple[Jet, Jet, Jet]:
    mean: Jet = (None,) * algebra.size
    if subtracts:
        mean = each(algebra, algebra.all, functools.partial(_mean, dims), x)
    c = minus(algebra, algebra.all, x, mean)
    squares = multiply(algebra, algebra.all, centred, c, centred, c)
    variance = each(algebra, algebra.all, functools.partial(_mean, dims), squares)
    inverse = compose(algebra, algebra.all, taylor, variance)
    y = multiply(algebra, wanted, centred, c, rstd, inverse) if 0 in used else (None,) * algebra.size
    return y, mean, inverse


def _norm_backward(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for ``normalize_backward``: rstd (g - mean(g) - y mean(y g))."""
    g, y, rstd, dims, subtracts = call.args
    dims = list(dims)
    along = (y * g).mean(dims, keepdim=True)
    mean = g.mean(dims, keepdim=True) if subtracts else torch.zeros_like(along)
    inner = g - mean - y * along
    step = functools.partial(
        _norm_backward_step, algebra, tuple(wanted), (g, y, rstd, along, inner), dims, subtracts, call.carries
    )
    return kernels.norm_backward(step, algebra, call, mean, along, inner)


def _norm_backward_step(
    algebra: Algebra,
    wanted: tuple[int, ...],
    primal: tuple[Tensor, ...],
    dims: list[int],
    subtracts: bool,
    carries: tuple[Any, ...],
    *jets: Jet,
) -> Jet:
    g0, y0, rstd0, along0, inner0 = primal
    found = dict(zip(carries, jets, strict=True))
    g, y, rstd = (found.get(i) for i in range(3))
    inner: Jet = (None,) * algebra.size
    mean = functools.partial(_mean, dims)
    if g is not None or y is not None:
        along = each(algebra, algebra.all, mean, multiply(algebra, algebra.all, y0, y, g0, g))
        if g is not None:
            inner = minus(algebra, algebra.all, g, each(algebra, algebra.all, mean, g)) if subtracts else g
        inner = minus(algebra, algebra.all, inner, multiply(algebra, algebra.all, y0, y, along0, along))
    return multiply(algebra, wanted, inner0, inner, rstd0, rstd)


TABLE: dict[Any, Any] = {
    aten._softmax.default: _softmax,
    aten._safe_softmax.default: _softmax,
    aten._softmax_backward_data.default: _softmax_backward,
    aten._log_softmax.default: _log_softmax,
    aten._log_softmax_backward_data.default: _log_softmax_backward,
    ops.log_softmax_backward.default: _through_logits,
    ops.normalize.default: _norm,
    ops.normalize_backward.default: _norm_backward,
}
