"""Rules of linear operators that move entries: indexing, embedding, pooling; and the loop for all others."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step, shifted

aten = torch.ops.aten


def _apply(operator: Any, rest: tuple[Any, ...], t: Tensor) -> Any:
    return operator(t, *rest)


def _index(call: Call) -> Step:
    indices = list(call.args[1])
    places = [i for i, index in enumerate(indices) if index is not None]
    if places and places[-1] - places[0] + 1 != len(places):  # the result's order of dimensions differs
        return loop(call)
    return functools.partial(_apply, call.target, ([None, *indices],))


def _gather(call: Call) -> Step:
    return functools.partial(_gather_rows, shifted(call.args[1], call.args[0].ndim), call.args[2])


def _gather_rows(dim: int, index: Tensor, t: Tensor) -> Tensor:
    return t.gather(dim, index.expand(t.shape[0], *index.shape)) if t.ndim > 1 else t


def _embedding(call: Call) -> Step:
    index = call.args[1].flatten()
    return functools.partial(_take, index, _counted(index, call.args[2]), tuple(call.out.shape))


def _counted(index: Tensor, padding: int) -> Tensor | None:
    """Return which indices are not the padding, whose row has no derivative; None if all are."""
    return None if padding < 0 or not bool((index == padding).any()) else (index != padding)[:, None]


def _take(index: Tensor, counted: Tensor | None, shape: tuple[int, ...], t: Tensor) -> Tensor:
    rows = t.index_select(1, index)
    if counted is not None:
        rows.mul_(counted)
    return rows.view(t.shape[0], *shape)


def _add_embedding(call: Call) -> Step:
    """Build the step that adds ``embedding_dense_backward(g, indices, ...)`` row by row."""
    index, padding = call.args[1].flatten(), call.args[3]
    if call.args[4]:  # scaled by frequency
        return functools.partial(_add_result, loop(call))
    return functools.partial(_add_rows, index, _counted(index, padding))


def _add_result(step: Step, target: Tensor, scale: float, overwrite: bool, t: Tensor) -> None:
    if overwrite:
        target.zero_()
    target.add_(step(t), alpha=scale)


def _add_rows(
    index: Tensor, counted: Tensor | None, target: Tensor, scale: float, overwrite: bool, t: Tensor
) -> None:
    if overwrite:
        target.zero_()
    rows = t.reshape(t.shape[0], index.shape[0], *target.shape[2:])
    if counted is not None:
        rows = rows * counted
    target.index_add_(1, index, rows, alpha=scale)


def fold(call: Call) -> Step:
    """Build for ``op(x, ...)`` with a batch as first dimension, into which K is folded."""
    return functools.partial(_folded, call.target, tuple(call.args[1:]), dict(call.kwargs))


def _folded(operator: Any, rest: tuple[Any, ...], named: dict[str, Any], t: Tensor) -> Tensor:
    out: Tensor = operator(t.reshape(-1, *t.shape[2:]), *rest, **named)
    return out.view(t.shape[0], -1, *out.shape[1:])


def loop(call: Call) -> Step:
    """Build the rule that is right for every operator linear in what carries: one probe at a time."""
    args = call.with_arguments([None] * len(call.carries))
    for position in LOOPED.get(call.target, ()):  # linear in these as well, and they are constant
        if position not in call.carries and isinstance(args[position], Tensor):
            args[position] = torch.zeros_like(args[position])
    used = min(call.used) if isinstance(call.out, tuple) else None
    still = Call(call.target, args, call.kwargs, call.out, call.carries, call.used)
    return functools.partial(_looped, still, used)


def _looped(call: Call, used: int | None, *coefficients: Tensor) -> Any:
    rows = [call.target(*call.with_arguments(row), **call.kwargs) for row in zip(*coefficients, strict=True)]
    if used is None:
        return torch.stack(rows)
    columns = zip(*rows, strict=True)
    return tuple(torch.stack(c) if i in call.used else None for i, c in enumerate(columns))


# positions of the arguments an operator is jointly linear in
LOOPED: dict[Any, tuple[int, ...]] = {
    aten.embedding_dense_backward.default: (0,),
    aten.index_put.default: (0, 2),
    aten.scatter.src: (0, 3),
    aten.scatter_add.default: (0, 3),
    aten.index_add.default: (0, 3),
    aten.slice_scatter.default: (0, 1),
    aten.select_scatter.default: (0, 1),
    aten.roll.default: (0,),
    aten.unfold.default: (0,),
    aten.unfold_backward.default: (0,),
    aten.diagonal.default: (0,),
    aten.diagonal_backward.default: (0,),
    aten.masked_scatter.default: (0, 2),
    aten.im2col.default: (0,),
    aten.col2im.default: (0,),
    aten.copy.default: (1,),
    aten.nll_loss_backward.default: (0,),
    aten.nll_loss2d_backward.default: (0,),
    aten._adaptive_avg_pool2d_backward.default: (0,),
    aten.avg_pool2d_backward.default: (0,),
    aten.avg_pool3d_backward.default: (0,),
    aten.max_pool2d_with_indices_backward.default: (0,),
    aten.adaptive_max_pool2d_backward.default: (0,),
    aten.upsample_nearest2d_backward.default: (0,),
    aten.upsample_bilinear2d_backward.default: (0,),
    aten.reflection_pad1d_backward.default: (0,),
    aten.reflection_pad2d_backward.default: (0,),
    aten.replication_pad2d_backward.default: (0,),
    aten.native_dropout_backward.default: (0,),
    aten.as_strided.default: (0,),
}

_FOLDED = [
    aten.avg_pool2d.default,
    aten.avg_pool3d.default,
    aten._adaptive_avg_pool2d.default,
    aten.reflection_pad1d.default,
    aten.reflection_pad2d.default,
    aten.replication_pad2d.default,
    aten.upsample_nearest2d.default,
    aten.upsample_bilinear2d.default,
]


def _table() -> dict[Any, Rule]:
    rules = {target: Rule(fold, reads=False) for target in _FOLDED}
    for target, positions in LOOPED.items():
        rules[target] = Rule(loop, positions=positions)
    rules[aten.embedding_dense_backward.default] = Rule(loop, positions=(0,), add=_add_embedding)
    rules[aten.nll_loss_forward.default] = Rule(loop, positions=(0,), outputs=(0,))
    rules[aten.nll_loss2d_forward.default] = Rule(loop, positions=(0,), outputs=(0,))
    rules[aten.index.Tensor] = Rule(_index, positions=(0,))
    rules[aten.gather.default] = Rule(_gather, positions=(0,))
    rules[aten.embedding.default] = Rule(_embedding, positions=(0,))
    return rules


TABLE: dict[Any, Rule] = _table()
