"""Rules of operators that pick entries by their size: the primal's choice is kept."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step

aten = torch.ops.aten


def _along(call: Call, position: int) -> Step:
    """Build for (values, indices) along the dimension that is argument ``position``."""
    x, index = call.args[0], call.out[1]
    shape = tuple(call.out[0].shape)
    dim = call.args[position]
    if index.ndim < x.ndim:
        index = index.unsqueeze(dim)
    return functools.partial(_take_along, index, dim % x.ndim - x.ndim if x.ndim else -1, shape)


def _take_along(index: Tensor, dim: int, shape: tuple[int, ...], t: Tensor) -> tuple[Tensor, None]:
    if t.ndim == 1:
        return t, None
    return t.gather(dim, index.expand(t.shape[0], *index.shape)).reshape(t.shape[0], *shape), None


def _pool3d(call: Call) -> Step:
    index = call.out[1]
    return functools.partial(_take_volume, index.flatten(-3), tuple(index.shape))


def _take_volume(index: Tensor, shape: tuple[int, ...], t: Tensor) -> tuple[Tensor, None]:
    chosen = t.flatten(-3).gather(-1, index.expand(t.shape[0], *index.shape))
    return chosen.view(t.shape[0], *shape), None


def _shared(call: Call) -> Step:
    """Build for an extremum of all entries, and the median: ties share the derivative."""
    x = call.args[0]
    chosen = (x == call.out).to(x.dtype)
    return functools.partial(_weighted, chosen / chosen.sum())


def _weighted(share: Tensor, t: Tensor) -> Tensor:
    return (t * share).flatten(1).sum(1)


def _extrema(call: Call) -> Step:
    """Build for (min, max), over a dimension or all."""
    dim, keep = call.kwargs.get("dim"), call.kwargs.get("keepdim", False)
    x = call.args[0]
    shares = []
    for extremum in call.out:
        values = extremum if dim is None or keep or x.ndim == 0 else extremum.unsqueeze(dim)
        chosen = (x == values).to(x.dtype)
        total = chosen.sum() if dim is None else chosen.sum(dim, keepdim=True)
        shares.append(chosen / total)
    shape = tuple(call.out[0].shape)
    place = None if dim is None or x.ndim == 0 else dim % x.ndim - x.ndim
    return functools.partial(_weighted_extrema, tuple(shares), place, shape)


def _weighted_extrema(
    shares: tuple[Tensor, ...], dim: int | None, shape: tuple[int, ...], t: Tensor
) -> tuple[Tensor, ...]:
    sums = [(t * share).flatten(1).sum(1) if dim is None else (t * share).sum(dim) for share in shares]
    return tuple(total.reshape(t.shape[0], *shape) for total in sums)


def _table() -> dict[Any, Rule]:
    places = {
        aten.sort.default: 1,
        aten.sort.stable: 2,
        aten.topk.default: 2,
        aten.kthvalue.default: 2,
        aten.median.dim: 1,
        aten.nanmedian.dim: 1,
        aten.mode.default: 1,
        aten.cummax.default: 1,
        aten.cummin.default: 1,
    }
    rules = {
        target: Rule(functools.partial(_along_keyword, position=place), outputs=(0,), reads_output=True)
        for target, place in places.items()
    }
    for target in (aten.max_pool3d_with_indices.default, aten.adaptive_max_pool3d.default):
        rules[target] = Rule(_pool3d, outputs=(0,), reads_output=True)
    for target in (aten.max.default, aten.min.default, aten.median.default, aten.nanmedian.default):
        rules[target] = Rule(_shared, reads_output=True)
    rules[aten.aminmax.default] = Rule(_extrema, reads_output=True)
    return rules


def _along_keyword(call: Call, position: int) -> Step:
    if len(call.args) > position:
        return _along(call, position)
    whole = Call(
        call.target, [*call.args, call.kwargs["dim"]], call.kwargs, call.out, call.carries, call.used
    )
    return _along(whole, len(call.args))


TABLE: dict[Any, Rule] = _table()
