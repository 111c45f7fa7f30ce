"""Where the core's kernels serve a rule: one pass over memory instead of several.

A rule builds its step of torch operators first. The functions here return a step that calls a kernel for
large coefficients and the given one otherwise, or the given one where no kernel fits. A call of the core
costs about 5 us more than one of torch, so that small tensors are better off there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.jets.call import Call, Step, align

_LEAST = 1 << 17  # elements of a sum of products, of all vectors; measured, as the others
LEAST_NORM = 1 << 15
LEAST_SOFTMAX = 1 << 16
_LEAST_ROW = 16  # elements in a row of a group: shorter ones do not fill a register
_LEAST_SOFTMAX_ROW = 32
_CUDA = _ops.build_info()["cuda"] not in ("off", "emulated")


def served(t: Tensor) -> bool:
    """Tell whether the core has kernels for a tensor's dtype and device."""
    return t.dtype in (torch.float32, torch.float64) and (t.is_cpu or (_CUDA and t.is_cuda))


def sum_of_products(plain: Step, call: Call, factors: Sequence[Tensor | float]) -> Step:
    """Serve ``sum_j factors[j] * coefficient_j`` of an elementwise operator."""
    out = call.out[0] if isinstance(call.out, tuple) else call.out
    shape = tuple(out.shape)
    arguments = [call.at(position) for position in call.carries]
    tensors = [f for f in factors if isinstance(f, Tensor)]
    if not tensors or len(factors) > 3 or not served(tensors[0]):
        return plain
    if any(t.dtype != out.dtype for t in tensors):
        return plain
    numbers = [tensors[0].new_tensor(f) if not isinstance(f, Tensor) else _compact(f) for f in factors]
    padded = [_pad(t.shape, len(shape)) for t in (*numbers, *arguments)]
    # the result's, or, where only its shape is known, that of the largest factor
    order = memory_order(out if isinstance(out, Tensor) else max(numbers, key=Tensor.numel))
    if order is not None:
        numbers = [t.view(sizes).permute(order) for t, sizes in zip(numbers, padded, strict=False)]
        shape = tuple(shape[d] for d in order)
        padded = [tuple(sizes[d] for d in order) for sizes in padded]
    axes = _axes(shape, padded)
    if axes is None or not all(t.is_contiguous() for t in numbers):
        return plain
    folded = [_fold(sizes, axes) for sizes in padded]
    saved = tuple(t.view(sizes) for t, sizes in zip(numbers, folded[: len(numbers)], strict=True))
    views = tuple(folded[len(numbers) :])
    places = None if order is None else tuple((0, *(d + 1 for d in order)))
    return functools.partial(_sum_of_products_step, plain, saved, views, _fold(shape, axes), shape, places)


def memory_order(t: Tensor) -> tuple[int, ...] | None:
    """Return in which order the dimensions of an image with its channels last lie in memory; else None."""
    last = t.ndim == 4 and t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous()
    return (0, 2, 3, 1) if last else None


def _sum_of_products_step(
    plain: Step,
    factors: tuple[Tensor, ...],
    views: tuple[tuple[int, ...], ...],
    folded: tuple[int, ...],
    shape: tuple[int, ...],
    places: tuple[int, ...] | None,
    *coefficients: Tensor,
) -> Tensor:
    k = coefficients[0].shape[0]
    given = coefficients
    if places is not None:
        given = tuple(align(t, len(shape)).permute(places) for t in coefficients)
    if k * math.prod(folded) < _LEAST or not all(t.is_contiguous() for t in given):
        result: Tensor = plain(*coefficients)
        return result
    tangents = [t.view(k, *sizes) for t, sizes in zip(given, views, strict=True)]
    out = _ops.factor_sum(factors, tangents, factors[0].new_empty(k, *folded)).view(k, *shape)
    return out if places is None else out.permute(inverse(places))


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """Return the permutation that undoes one."""
    return tuple(order.index(d) for d in range(len(order)))


def _compact(t: Tensor) -> Tensor:
    """Return a tensor without the repetitions that ``expand`` made: dimensions of length 1 instead."""
    return t[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in t.stride())]


def _pad(shape: Sequence[int], ndim: int) -> tuple[int, ...]:
    return (*[1] * (ndim - len(shape)), *shape)


def _axes(shape: tuple[int, ...], operands: list[tuple[int, ...]]) -> list[list[int]] | None:
    """Return three runs of dimensions, in each of which every operand is whole or broadcast; else None."""
    runs: list[list[int]] = []
    last: tuple[bool, ...] | None = None
    for d, size in enumerate(shape):
        if size == 1:
            continue
        whole = tuple(sizes[d] == size for sizes in operands)
        if whole == last:
            runs[-1].append(d)
        else:
            runs.append([d])
        last = whole
    return None if len(runs) > 3 else [[] for _ in range(3 - len(runs))] + runs


def _fold(sizes: Sequence[int], axes: list[list[int]]) -> tuple[int, ...]:
    return tuple(math.prod(sizes[d] for d in run) for run in axes)


def norm_layout(shape: Sequence[int], dims: Sequence[int]) -> tuple[int, int, int] | None:
    """Return [O, G, I] of a tensor normalised over ``dims``: over its last ones, or over all but one."""
    ndim = len(shape)
    places = sorted(d % ndim for d in dims)
    first = ndim - len(places)
    if places == list(range(first, ndim)):
        found = (1, math.prod(shape[:first]), math.prod(shape[first:]))
    elif ndim > 2 and places == [0, *range(2, ndim)]:
        found = (shape[0], shape[1], math.prod(shape[2:]))
    else:
        return None
    return found if found[2] >= _LEAST_ROW and min(found) > 0 else None


def norm(plain: Step, y: Tensor, rstd: Tensor, dims: Sequence[int], centred: bool) -> Step:
    """Serve ``normalize``: coefficients of y, mean and rstd."""
    layout = norm_layout(y.shape, dims)
    if layout is None or not served(y) or not y.is_contiguous():
        return plain
    return functools.partial(_norm_step, plain, layout, y, rstd, centred)


def _norm_step(
    plain: Step, layout: tuple[int, int, int], y: Tensor, rstd: Tensor, centred: bool, t: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    if t.numel() < LEAST_NORM or not t.is_contiguous():
        result: tuple[Tensor | None, Tensor | None, Tensor | None] = plain(t)
        return result
    coefficients, values = [t.view(len(t), *layout)], y.view(layout)
    out, mean, inverse = _ops.norm_jet(coefficients, values, rstd.flatten(), centred=centred)
    moments = (len(t), *rstd.shape)
    return out[0].view(t.shape), mean[0].view(moments), inverse[0].view(moments)


def norm_backward(plain: Step, call: Call, along: Tensor) -> Step:
    """Serve ``normalize_backward``, given mean(y g)."""
    g, y, rstd, dims, centred = call.args
    layout = norm_layout(y.shape, dims)
    if layout is None or not served(y) or not (g.is_contiguous() and y.is_contiguous()):
        return plain
    mean = g.mean(dims, keepdim=True) if centred else torch.zeros_like(along)
    moments = torch.stack([mean.flatten(), along.flatten()])
    saved = (g.view(layout), y.view(layout), rstd.flatten(), moments)
    return functools.partial(_norm_backward_step, plain, tuple(y.shape), saved, centred, call.carries)


def _norm_backward_step(
    plain: Step,
    shape: tuple[int, ...],
    saved: tuple[Tensor, Tensor, Tensor, Tensor],
    centred: bool,
    carries: tuple[int | tuple[int, int], ...],
    *coefficients: Tensor,
) -> Tensor:
    k = coefficients[0].shape[0]
    large = k * saved[0].numel() >= LEAST_NORM
    if not large or not all(t.is_contiguous() for t in coefficients):
        result: Tensor = plain(*coefficients)
        return result
    found = dict(zip(carries, coefficients, strict=True))
    dg, dy = (None if found.get(i) is None else found[i].view(k, *saved[0].shape) for i in (0, 1))
    drstd = None if found.get(2) is None else found[2].reshape(k, -1)
    return _ops.norm_jet_backward(dg, dy, drstd, *saved, centred=centred).view(k, *shape)


def softmax(plain: Step, p: Tensor, dim: int, w: Tensor | None = None, *, logarithm: bool = False) -> Step:
    """Serve the softmax p over ``dim`` (counted from the last), or its logarithm, times w."""
    if not in_rows(p, dim):
        return plain
    rows = None if w is None else w.flatten()
    return functools.partial(_softmax_step, plain, p, rows, logarithm)


def in_rows(p: Tensor, dim: int) -> bool:
    """Tell whether kernels serve a softmax p over ``dim``, counted from the last."""
    return served(p) and p.is_contiguous() and p.ndim > 0 and dim == -1 and p.shape[-1] >= _LEAST_SOFTMAX_ROW


def _softmax_step(plain: Step, p: Tensor, w: Tensor | None, logarithm: bool, t: Tensor) -> Tensor:
    if t.numel() < LEAST_SOFTMAX or not t.is_contiguous():
        result: Tensor = plain(t)
        return result
    rows = p.view(-1, p.shape[-1])
    (out,) = _ops.softmax_jet([t.view(len(t), *rows.shape)], rows, w, logarithm=logarithm)
    return out.view(t.shape)


def softmax_backward(plain: Step, call: Call, along: Tensor, dim: int) -> Step:
    """Serve the backward of a softmax, given sum(p g)."""
    g, p = call.args[:2]
    if not in_rows(p, dim) or not g.is_contiguous():
        return plain
    return functools.partial(_softmax_backward_step, plain, g, p, along.flatten(), call.carries)


def _softmax_backward_step(
    plain: Step,
    g: Tensor,
    p: Tensor,
    along: Tensor,
    carries: tuple[int | tuple[int, int], ...],
    *coefficients: Tensor,
) -> Tensor:
    k = coefficients[0].shape[0]
    if k * p.numel() < LEAST_SOFTMAX or not all(t.is_contiguous() for t in coefficients):
        result: Tensor = plain(*coefficients)
        return result
    shape = (-1, p.shape[-1])
    found = dict(zip(carries, coefficients, strict=True))
    dg, dp = (None if found.get(i) is None else found[i].view(k, *shape) for i in (0, 1))
    return _ops.softmax_jet_backward(dg, dp, g.view(shape), p.view(shape), along).view(k, *p.shape)
