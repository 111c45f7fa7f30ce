"""Rules of linear operators: the result's coefficient is the operator applied to the argument's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step, align, shifted, spread

aten = torch.ops.aten


def _identity(t: Tensor) -> Tensor:
    return t


def _reshape(shape: tuple[int, ...], t: Tensor) -> Tensor:
    return t.reshape(t.shape[0], *shape)


def reshape(call: Call) -> Step:
    """Build the rule of everything that only changes the shape."""
    return functools.partial(_reshape, tuple(call.out.shape))


def _transpose(call: Call) -> Step:
    ndim = call.args[0].ndim
    if ndim < 2:
        return _identity
    first, second = call.args[1:3] if len(call.args) > 1 else (0, 1)
    return functools.partial(_apply, aten.transpose.int, (shifted(first, ndim), shifted(second, ndim)))


def _permute(call: Call) -> Step:
    ndim = call.args[0].ndim
    return functools.partial(_apply, aten.permute.default, ([0, *(shifted(d, ndim) for d in call.args[1])],))


def _apply(operator: Any, rest: tuple[Any, ...], t: Tensor) -> Any:
    return operator(t, *rest)


def _expand(shape: tuple[int, ...], t: Tensor) -> Tensor:
    return spread(t, shape)


def _at_dimension(call: Call) -> Step:
    """Build for ``op(x, dim, ...)``."""
    ndim = call.args[0].ndim
    rest = (shifted(call.args[1], ndim), *call.args[2:])
    return functools.partial(_apply, call.target, rest)


def _split(call: Call) -> Step:
    """Build for ``op(x, sizes, dim)``."""
    rest = (call.args[1], shifted(call.args[2], call.args[0].ndim))
    return functools.partial(_apply, call.target, rest)


def _unbind(call: Call) -> Step:
    return functools.partial(_apply, call.target, (shifted(call.args[1], call.args[0].ndim),))


def _unchanged(call: Call) -> Step:
    """Build for elementwise linear operators and those that count dimensions from the last."""
    return functools.partial(_apply, call.target, tuple(call.args[1:]))


def _reduce(call: Call) -> Step:
    """Build for sum and mean."""
    ndim = call.args[0].ndim
    mean = "mean" in str(call.target)
    operator = aten.mean.dim if mean else aten.sum.dim_IntList
    dims = call.args[1] if len(call.args) > 1 and call.args[1] else range(ndim)
    places = [shifted(d, ndim) for d in dims]
    keep = bool(call.args[2]) if len(call.args) > 2 else False
    if not places:
        return functools.partial(_reshape, tuple(call.out.shape))
    return functools.partial(_reduced, operator, places, keep, call.out.dtype)


def _reduced(operator: Any, dims: list[int], keep: bool, dtype: torch.dtype, t: Tensor) -> Any:
    return operator(t, dims, keep, dtype=dtype)


def _repeat(call: Call) -> Step:
    return functools.partial(_repeat_aligned, list(call.args[1]))


def _repeat_aligned(repeats: list[int], t: Tensor) -> Tensor:
    return align(t, len(repeats)).repeat(1, *repeats)


def _pad_backward(call: Call) -> Step:
    """Build for ``op(g, sizes, dim, ...)`` that puts g into zeros."""
    sizes, dim = list(call.args[1]), shifted(call.args[2], len(call.args[1]))
    return functools.partial(_put, call.target, sizes, (dim, *call.args[3:]))


def _put(operator: Any, sizes: list[int], rest: tuple[Any, ...], t: Tensor) -> Any:
    return operator(t, [t.shape[0], *sizes], *rest)


def _convert(call: Call) -> Step:
    return functools.partial(_to, call.out.dtype)


def _to(dtype: torch.dtype, t: Tensor) -> Tensor:
    return t.to(dtype)


def _pad(call: Call) -> Step:
    return functools.partial(_apply, call.target, (call.args[1], 0))


def _masked_fill(call: Call) -> Step:
    return functools.partial(_fill, call.args[1], tuple(call.out.shape))


def _fill(mask: Tensor, shape: tuple[int, ...], t: Tensor) -> Tensor:
    return spread(t, shape).masked_fill(mask, 0)


def _where(call: Call) -> Step:
    first = call.carries[0] == 1
    if len(call.carries) == 2:
        return functools.partial(_choose, call.args[0], call.out.ndim)
    return functools.partial(_choose_one, call.args[0], tuple(call.out.shape), first)


def _choose(condition: Tensor, ndim: int, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, align(a, ndim), align(b, ndim))


def _choose_one(condition: Tensor, shape: tuple[int, ...], first: bool, t: Tensor) -> Tensor:
    return spread(t, shape).masked_fill(~condition if first else condition, 0)


def _add(call: Call) -> Step:
    """Build for add, sub and rsub."""
    alpha = call.kwargs.get("alpha", call.args[2] if len(call.args) > 2 else 1)
    factors: dict[Any, Any] = {0: 1, 1: alpha}
    name = call.target._schema.name
    if name.endswith("rsub"):
        factors = {0: -alpha, 1: 1}
    elif name.endswith("sub"):
        factors[1] = -alpha
    shape, dtype = tuple(call.out.shape), call.out.dtype
    if len(call.carries) == 1:
        return functools.partial(_scaled, factors[call.carries[0]], shape, dtype)
    return functools.partial(_sum, factors[0], factors[1], len(shape), dtype)


def _scaled(factor: float, shape: tuple[int, ...], dtype: torch.dtype, t: Tensor) -> Tensor:
    return spread(t if factor == 1 else t * factor, shape).to(dtype)


def _sum(p: float, q: float, ndim: int, dtype: torch.dtype, a: Tensor, b: Tensor) -> Tensor:
    a, b = align(a, ndim), align(b, ndim)
    total = torch.add(a, b, alpha=q) if p == 1 else torch.add(b, a, alpha=p)
    return total.to(dtype)


def _cat(call: Call) -> Step:
    tensors = call.args[0]
    carried = {position[1] for position in call.carries if isinstance(position, tuple)}
    gaps = [None if i in carried else tuple(t.shape) for i, t in enumerate(tensors)]
    ndim = len(call.out.shape)
    legacy = [i for i, t in enumerate(tensors) if t.shape == (0,) and ndim > 1]  # cat ignores them
    keep = [gap for i, gap in enumerate(gaps) if i not in legacy]
    return functools.partial(_join, call.target, keep, shifted(call.args[1], ndim))


def _join(operator: Any, gaps: list[tuple[int, ...] | None], dim: int, *parts: Tensor) -> Any:
    rest = iter(parts)
    k = parts[0].shape[0]
    blocks = [next(rest) if gap is None else parts[0].new_zeros(1).expand(k, *gap) for gap in gaps]
    return operator(blocks, dim)


def _flip(call: Call) -> Step:
    return functools.partial(_apply, call.target, ([shifted(d, call.args[0].ndim) for d in call.args[1]],))


_SHAPES: dict[Callable[[Call], Step], list[Any]] = {
    reshape: [
        aten.view.default,
        aten._unsafe_view.default,
        aten.reshape.default,
        aten.unsqueeze.default,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
    ],
    _transpose: [aten.t.default, aten.transpose.int],
    _permute: [aten.permute.default],
    _at_dimension: [aten.slice.Tensor, aten.select.int, aten.cumsum.default, aten.narrow.default],
    _split: [
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.unsafe_split.Tensor,
        aten.unsafe_split_with_sizes.default,
    ],
    _unbind: [aten.unbind.int],
    _unchanged: [aten.neg.default, aten.tril.default, aten.triu.default],
    _reduce: [aten.sum.default, aten.sum.dim_IntList, aten.mean.default, aten.mean.dim],
    _repeat: [aten.repeat.default],
    _pad_backward: [aten.slice_backward.default, aten.select_backward.default],
    _convert: [aten._to_copy.default],
    _pad: [aten.constant_pad_nd.default],
    _flip: [aten.flip.default],
    _cat: [aten.cat.default, aten.stack.default],
}


def _table() -> dict[Any, Rule]:
    rules = {target: Rule(build, reads=False) for build, targets in _SHAPES.items() for target in targets}
    for packet in (aten.clone, aten.alias, aten.detach, aten.lift_fresh, aten.lift_fresh_copy):
        rules[packet.default] = Rule(lambda _: _identity, reads=False)
    rules[aten.expand.default] = Rule(
        lambda call: functools.partial(_expand, tuple(call.out.shape)), reads=False
    )
    for target in (aten.add.Tensor, aten.sub.Tensor, aten.rsub.Tensor, aten.add.Scalar, aten.sub.Scalar):
        rules[target] = Rule(_add, reads=False)
    rules[aten.rsub.Scalar] = Rule(_add, positions=(0,), reads=False)
    rules[aten.masked_fill.Scalar] = Rule(_masked_fill, positions=(0,))
    rules[aten.where.self] = Rule(_where, positions=(1, 2))
    rules[aten.index_select.default] = Rule(_at_dimension, positions=(0,))
    return rules


TABLE: dict[Any, Rule] = _table()
