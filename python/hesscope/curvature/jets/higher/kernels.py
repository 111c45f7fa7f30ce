"""Where the core's kernels serve a rule above first order: norms and softmax along one direction.

As at first order, a rule builds its step of torch operators first, and the functions here return one that
calls kernels for large coefficients and the given one otherwise.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.jets.call import Call, Step
from hesscope.curvature.jets.higher.algebra import CUBE, SQUARE, Algebra, Jet
from hesscope.curvature.jets.kernels import LEAST_NORM, LEAST_SOFTMAX, in_rows, norm_layout, served

_POWERS = (SQUARE, CUBE)


def _large(least: int, *jets: Jet) -> bool:
    """Tell whether all coefficients are there, lie in rows and are worth a call."""
    found = [t for jet in jets for t in jet]
    return all(t is not None and t.is_contiguous() and t.numel() >= least for t in found)


def norm(plain: Step, algebra: Algebra, call: Call) -> Step:
    """Serve ``normalize`` for the powers of one parameter."""
    y, _, rstd = call.out
    layout = norm_layout(y.shape, call.args[1])
    if algebra not in _POWERS or layout is None or not served(y) or not y.is_contiguous():
        return plain
    return functools.partial(_norm_step, plain, layout, y.view(layout), rstd, call.args[3])


def _norm_step(
    plain: Step, layout: tuple[int, int, int], y: Tensor, rstd: Tensor, centred: bool, x: Jet
) -> tuple[Jet, Jet, Jet]:
    if not _large(LEAST_NORM, x):
        result: tuple[Jet, Jet, Jet] = plain(x)
        return result
    given = [t for t in x if t is not None]
    views = [t.view(len(t), *layout) for t in given]
    out, mean, inverse = _ops.norm_jet(views, y, rstd.flatten(), centred=centred)
    shape, moments = given[0].shape, (len(given[0]), *rstd.shape)
    return (
        tuple(t.view(shape) for t in out),
        tuple(t.view(moments) for t in mean),
        tuple(t.view(moments) for t in inverse),
    )


def norm_backward(
    plain: Step, algebra: Algebra, call: Call, mean: Tensor, along: Tensor, inner: Tensor
) -> Step:
    """Serve ``normalize_backward`` over rows, given mean(g), mean(y g) and P(g), where all arguments move."""
    g, y, rstd, dims, centred = call.args
    layout = norm_layout(y.shape, dims)
    if algebra != SQUARE or call.carries != (0, 1, 2) or layout is None or layout[0] != 1 or not served(y):
        return plain
    if not (g.is_contiguous() and y.is_contiguous()):
        return plain
    moments = torch.stack([mean.flatten(), along.flatten()])
    return functools.partial(
        _norm_backward_step,
        plain,
        g.view(layout),
        y.view(layout),
        inner.view(layout),
        rstd.flatten(),
        moments,
        centred,
    )


def _norm_backward_step(
    plain: Step,
    g0: Tensor,
    y0: Tensor,
    inner0: Tensor,
    rstd: Tensor,
    moments: Tensor,
    centred: bool,
    g: Jet,
    y: Jet,
    r: Jet,
) -> Jet:
    """Of d = r P(g), P(g) = i_0 + i_1 s + ..., the first coefficient gives the r_1 i_1 of the second."""
    if not _large(LEAST_NORM, g, y) or r[0] is None or r[1] is None:
        result: Jet = plain(g, y, r)
        return result
    given = [t for t in (*g, *y) if t is not None]
    shape, k = given[0].shape, len(given[0])
    g1, g2, y1, y2 = (t.view(k, *g0.shape) for t in given)
    r1, r2 = (t.reshape(k, -1) for t in (r[0], r[1]))
    first = _ops.norm_jet_backward(g1, y1, r1, g0, y0, rstd, moments, centred=centred)
    second = _ops.norm_jet_backward(g2, y2, r2, g0, y0, rstd, moments, centred=centred)
    along = (y1 * g0).add_(y0 * g1).mean(-1).view(k, -1)
    both = (y1 * g1).mean(-1).view(k, -1)
    ratio = r1 / rstd
    factors = [t.unsqueeze(-1) for t in (rstd * both, rstd * along, ratio, r1 * ratio)]
    full = [t.view(-1, *g0.shape[1:]) for t in (second, y0, y1, first, inner0)]
    terms = [[0], [1, 5], [2, 6], [3, 7], [4, 8]]
    _ops.product_sum([*full, *factors], [1.0, -1.0, -1.0, 1.0, -1.0], terms, out=full[0])
    return first.view(shape), second.view(shape)


def softmax(
    plain: Step, algebra: Algebra, p: Tensor, dim: int, w: Tensor | None = None, *, logarithm: bool = False
) -> Step:
    """Serve the softmax p over ``dim`` (counted from the last), or its logarithm, times w."""
    if algebra not in _POWERS or not in_rows(p, dim):
        return plain
    rows = None if w is None else w.flatten()
    return functools.partial(_softmax_step, plain, p.view(-1, p.shape[-1]), rows, logarithm)


def _softmax_step(plain: Step, p: Tensor, w: Tensor | None, logarithm: bool, x: Jet) -> Jet:
    if not _large(LEAST_SOFTMAX, x):
        result: Jet = plain(x)
        return result
    given = [t for t in x if t is not None]
    out = _ops.softmax_jet([t.view(len(t), *p.shape) for t in given], p, w, logarithm=logarithm)
    return tuple(t.view(given[0].shape) for t in out)


def softmax_backward(plain: Step, algebra: Algebra, call: Call, along: Tensor, dim: int) -> Step:
    """Serve the backward of a softmax, given sum(p g), where both arguments move."""
    g, p = call.args[:2]
    if algebra != SQUARE or call.carries != (0, 1) or not in_rows(p, dim) or not g.is_contiguous():
        return plain
    shape = (-1, p.shape[-1])
    return functools.partial(_softmax_backward_step, plain, g.view(shape), p.view(shape), along.flatten())


def _softmax_backward_step(plain: Step, g0: Tensor, p0: Tensor, along: Tensor, g: Jet, p: Jet) -> Jet:
    """To what is linear in g_2 and p_2 add ``p_1 (g_1 - sum(p g)_1) - p_0 sum(p_1 g_1)``."""
    if not _large(LEAST_SOFTMAX, g, p):
        result: Jet = plain(g, p)
        return result
    given = [t for t in (*g, *p) if t is not None]
    shape, k = given[0].shape, len(given[0])
    g1, g2, p1, p2 = (t.view(k, *g0.shape) for t in given)
    first = _ops.softmax_jet_backward(g1, p1, g0, p0, along)
    second = _ops.softmax_jet_backward(g2, p2, g0, p0, along)
    once = (p1 * g0).add_(p0 * g1).sum(-1, keepdim=True)
    both = (p1 * g1).sum(-1, keepdim=True)
    operands = [second, p1, g1, once, p0[None], both]
    _ops.product_sum(operands, [1.0, 1.0, -1.0, -1.0], [[0], [1, 2], [1, 3], [4, 5]], out=second)
    return first.view(shape), second.view(shape)
