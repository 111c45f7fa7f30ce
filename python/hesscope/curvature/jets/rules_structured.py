"""Rules of operators with an inner structure: softmax, pooling by selection, our normalisation."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets import kernels
from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.primitives import ops, project

aten = torch.ops.aten


def _behind(dim: int, ndim: int) -> int:
    """Return a dimension counted from the last, which a new first one does not move."""
    return dim % ndim - ndim if ndim else -1


def _softmax(call: Call) -> Step:
    dim = _behind(call.args[1], call.out.ndim)
    return kernels.softmax(functools.partial(_softmax_step, call.out, None, dim), call.out, dim)


def _softmax_step(p: Tensor, w: Tensor | None, dim: int, t: Tensor) -> Tensor:
    """Return the coefficient of w * p; w has length 1 in ``dim``."""
    scaled = p if w is None else p * w
    along = (t * p).sum(dim, keepdim=True)
    return (t * scaled).addcmul_(scaled, along, value=-1)


def _softmax_backward(call: Call) -> Step:
    """Build for p * (g - sum(g p)), given (g, p)."""
    g, p, dim = call.args[:3]
    dim = _behind(dim, p.ndim)
    along = (g * p).sum(dim, keepdim=True)
    step = functools.partial(_softmax_backward_step, g, p, along, call.carries, dim)
    return kernels.softmax_backward(step, call, along, dim)


def _softmax_backward_step(
    g: Tensor,
    p: Tensor,
    along: Tensor,
    carries: tuple[int | tuple[int, int], ...],
    dim: int,
    *coefficients: Tensor,
) -> Tensor:
    found = dict(zip(carries, coefficients, strict=True))
    dg, dp = found.get(0), found.get(1)
    out = None if dg is None else dg * p
    moved = None if out is None else out.sum(dim, keepdim=True)
    if dp is not None:
        second = (dp * g).sum(dim, keepdim=True)
        moved = second if moved is None else moved.add_(second)
        out = dp * (g - along) if out is None else out.addcmul_(dp, g - along)
    assert out is not None
    assert moved is not None
    return out.addcmul_(p, moved, value=-1)


def _log_softmax(call: Call) -> Step:
    p, dim = call.out.exp(), _behind(call.args[1], call.out.ndim)
    return kernels.softmax(functools.partial(_log_softmax_step, p, dim), p, dim, logarithm=True)


def _log_softmax_step(p: Tensor, dim: int, t: Tensor) -> Tensor:
    return t - (t * p).sum(dim, keepdim=True)


def _log_softmax_backward(call: Call) -> Step:
    """Build for g - exp(y) * sum(g), given (g, y)."""
    g, y, dim = call.args[:3]
    dim = _behind(dim, y.ndim)
    p = y.exp()
    pull = p * g.sum(dim, keepdim=True) if 1 in call.carries else None
    return functools.partial(_log_softmax_backward_step, p if 0 in call.carries else None, pull, dim)


def _log_softmax_backward_step(
    p: Tensor | None, pull: Tensor | None, dim: int, *coefficients: Tensor
) -> Tensor:
    if p is None:
        assert pull is not None
        return (coefficients[0] * pull).neg_()
    dg = coefficients[0]
    out = torch.addcmul(dg, p, dg.sum(dim, keepdim=True), value=-1)
    return out if pull is None else out.addcmul_(pull, coefficients[1], value=-1)


def _through_logits(call: Call) -> Step:
    """Build for g - w * softmax(x), w = sum(g), given (g, x) and log_softmax(x)."""
    g, _, y, dim = call.args
    dim = _behind(dim, y.ndim)
    p = y.exp()
    of_g = functools.partial(_log_softmax_backward_step, p, None, dim) if 0 in call.carries else None
    if 1 not in call.carries:
        assert of_g is not None
        return of_g
    w = g.sum(dim, keepdim=True).neg_()
    of_x = kernels.softmax(functools.partial(_softmax_step, p, w, dim), p, dim, w)
    return of_x if of_g is None else functools.partial(_both, of_g, of_x)


def _both(first: Step, second: Step, a: Tensor, b: Tensor) -> Tensor:
    total: Tensor = first(a)
    return total.add_(second(b))


def _max_pool(call: Call) -> Step:
    """Build for pooling over the last two dimensions, along the primal's selection."""
    return functools.partial(_select, call.out[1].flatten(-2), tuple(call.out[1].shape))


def _select(index: Tensor, shape: tuple[int, ...], t: Tensor) -> tuple[Tensor, None]:
    chosen = t.flatten(-2).gather(-1, index.expand(t.shape[0], *index.shape))
    return chosen.view(t.shape[0], *shape), None


def _extremum(call: Call) -> Step:
    """Build for max and min along a dimension, by index."""
    x, dim, keep = call.args[:3]
    index = call.out[1] if keep or x.ndim == 0 else call.out[1].unsqueeze(dim)
    return functools.partial(_extremum_step, index, _behind(dim, x.ndim), tuple(call.out[0].shape))


def _extremum_step(index: Tensor, dim: int, shape: tuple[int, ...], t: Tensor) -> tuple[Tensor, None]:
    if t.ndim == 1:
        return t, None
    return t.gather(dim, index.expand(t.shape[0], *index.shape)).reshape(t.shape[0], *shape), None


def _extremal_values(call: Call) -> Step:
    """Build for amax and amin: ties share the derivative, as in autograd."""
    x, dims, keep = call.args[:3]
    places = [_behind(d, x.ndim) for d in dims] or [d - x.ndim for d in range(x.ndim)]
    operator = torch.amax if "amax" in str(call.target) else torch.amin
    chosen = (x == operator(x, places, keepdim=True)).to(x.dtype)
    share = chosen / chosen.sum(places, keepdim=True)
    return functools.partial(_weighted_sum, share, places, keep)


def _weighted_sum(share: Tensor, dims: list[int], keep: bool, t: Tensor) -> Tensor:
    return (t * share).sum(dims, keepdim=keep)


def _norm(call: Call) -> Step:
    """Build for ``normalize``: y' = rstd P(x'), mean' = mean(x'), rstd' = -rstd^2 mean(y x')."""
    y, _, rstd = call.out
    dims, centred = list(call.args[1]), call.args[3]
    step = functools.partial(_norm_step, y, rstd, dims, centred, call.used)
    return kernels.norm(step, y, rstd, dims, centred)


def _norm_step(
    y: Tensor, rstd: Tensor, dims: list[int], centred: bool, used: frozenset[int], t: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    along = (y * t).mean(dims, keepdim=True)
    mean = t.mean(dims, keepdim=True) if centred else None
    dy = None
    if 0 in used:
        dy = (t if mean is None else t - mean).addcmul(y, along, value=-1).mul_(rstd)
    drstd = along.mul_(rstd * rstd).neg_() if 2 in used else None
    return dy, mean if 1 in used else None, drstd


def _norm_backward(call: Call) -> Step:
    """Build for ``normalize_backward``: d = rstd P(g), P(g) = g - mean(g) - y mean(y g)."""
    g, y, rstd, dims, centred = call.args
    along = (y * g).mean(dims, keepdim=True)
    step = functools.partial(_norm_backward_step, g, y, rstd, along, list(dims), centred, call.carries)
    return kernels.norm_backward(step, call, along)


def _norm_backward_step(
    g: Tensor,
    y: Tensor,
    rstd: Tensor,
    along: Tensor,
    dims: list[int],
    centred: bool,
    carries: tuple[int | tuple[int, int], ...],
    *coefficients: Tensor,
) -> Tensor:
    found = dict(zip(carries, coefficients, strict=True))
    dg, dy, drstd = (found.get(i) for i in range(3))
    out: Tensor | None = None
    inner: Tensor | None = None
    if dg is not None:
        inner = y * dg
        out = dg - dg.mean(dims, keepdim=True) if centred else dg.clone()
    if dy is not None:
        inner = dy * g if inner is None else inner.addcmul_(dy, g)
        out = dy * -along if out is None else out.addcmul_(dy, along, value=-1)
    if out is not None and inner is not None:
        out = out.addcmul_(y, inner.mean(dims, keepdim=True), value=-1).mul_(rstd)
    if drstd is not None:
        projected = project(g, y, dims, centred)  # not kept: it would be one more value of the size of g
        out = projected * drstd if out is None else out.addcmul_(projected, drstd)
    assert out is not None
    return out


TABLE: dict[Any, Rule] = {
    aten._softmax.default: Rule(_softmax, reads_output=True),
    aten._safe_softmax.default: Rule(_softmax, reads_output=True),
    aten._softmax_backward_data.default: Rule(_softmax_backward),
    aten._log_softmax.default: Rule(_log_softmax, reads_output=True),
    aten._log_softmax_backward_data.default: Rule(_log_softmax_backward),
    ops.log_softmax_backward.default: Rule(_through_logits, positions=(0, 1)),
    aten.max_pool2d_with_indices.default: Rule(_max_pool, outputs=(0,), reads_output=True),
    aten.adaptive_max_pool2d.default: Rule(_max_pool, outputs=(0,), reads_output=True),
    aten.max.dim: Rule(_extremum, outputs=(0,), reads_output=True),
    aten.min.dim: Rule(_extremum, outputs=(0,), reads_output=True),
    aten.amax.default: Rule(_extremal_values),
    aten.amin.default: Rule(_extremal_values),
    ops.normalize.default: Rule(_norm, reads_output=True),
    ops.normalize_backward.default: Rule(_norm_backward, positions=(0, 1, 2)),
}
