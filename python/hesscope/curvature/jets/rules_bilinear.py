"""Rules of bilinear operators: products of matrices and convolutions.

The coefficient of ``B(a, b)`` is ``B(a', b) + B(a, b')``. Where K can be folded into rows as a view it
is one product; elsewhere a batched one on views.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.rules_indexing import loop

aten = torch.ops.aten


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices of which one or both have K: ``[(K,) n, k] @ [(K,) k, m] -> [K, n, m]``."""
    if b.ndim == 2 and _folds(a):
        k, n, inner = a.shape
        return torch.mm(a.reshape(k * n, inner), b).view(k, n, b.shape[1])
    return torch.bmm(*_batched(a, b))


def add_product(target: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> None:
    """Set ``target [K, n, m]`` to ``beta * target + alpha * a @ b``."""
    if b.ndim == 2 and _folds(a) and target.is_contiguous():
        k, n, inner = a.shape
        target.view(k * n, -1).addmm_(a.reshape(k * n, inner), b, beta=beta, alpha=alpha)
    else:
        target.baddbmm_(*_batched(a, b), beta=beta, alpha=alpha)


def _folds(a: Tensor) -> bool:
    """Tell whether K and the rows of ``a [K, n, k]`` become one dimension without a copy."""
    return a.ndim == 3 and a.stride(0) == a.shape[1] * a.stride(1) and a.stride(2) == 1


def _batched(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    k = a.shape[0] if a.ndim == 3 else b.shape[0]
    return (a if a.ndim == 3 else a.expand(k, -1, -1)), (b if b.ndim == 3 else b.expand(k, -1, -1))


def _mm(call: Call) -> Step:
    a, b = call.args[:2]
    return functools.partial(_mm_step, *_saved(call, a, b, 0))


def _saved(call: Call, a: Tensor, b: Tensor, first: int) -> tuple[Tensor | None, Tensor | None]:
    """Return (a if b carries, b if a carries): what the other's coefficient is multiplied with."""
    return (a if first + 1 in call.carries else None), (b if first in call.carries else None)


def _mm_step(a: Tensor | None, b: Tensor | None, *coefficients: Tensor) -> Tensor:
    rest = iter(coefficients)
    da = None if b is None else next(rest)
    if a is None:
        assert da is not None
        assert b is not None
        return multiply(da, b)
    out = multiply(a, next(rest))
    if da is not None and b is not None:
        add_product(out, da, b)
    return out


def _mm_add(call: Call) -> Step:
    return functools.partial(_mm_add_step, *_saved(call, call.args[0], call.args[1], 0))


def _mm_add_step(
    a: Tensor | None, b: Tensor | None, target: Tensor, scale: float, overwrite: bool, *coefficients: Tensor
) -> None:
    rest = iter(coefficients)
    beta = 0 if overwrite else 1
    if b is not None:
        add_product(target, next(rest), b, beta=beta, alpha=scale)
        beta = 1
    if a is not None:
        add_product(target, a, next(rest), beta=beta, alpha=scale)


def _addmm(call: Call) -> Step:
    """Build for addmm and baddbmm: ``beta * c + alpha * a @ b``."""
    beta, alpha = call.kwargs.get("beta", 1), call.kwargs.get("alpha", 1)
    a, b = _saved(call, call.args[1], call.args[2], 1)
    inner = _mm_step if call.args[1].ndim == 2 else _bmm_step
    shape = tuple(call.out.shape)
    return functools.partial(_addmm_step, inner, a, b, 0 in call.carries, beta, alpha, shape)


def _addmm_step(
    inner: Any,
    a: Tensor | None,
    b: Tensor | None,
    shifts: bool,
    beta: float,
    alpha: float,
    shape: tuple[int, ...],
    *coefficients: Tensor,
) -> Tensor:
    shift = coefficients[0] if shifts else None
    products = coefficients[1:] if shifts else coefficients
    out: Tensor | None = inner(a, b, *products) if products else None
    if out is not None and alpha != 1:
        out.mul_(alpha)
    if shift is None:
        assert out is not None
        return out
    missing = len(shape) + 1 - shift.ndim
    shift = shift.reshape(shift.shape[0], *[1] * missing, *shift.shape[1:])
    return shift.expand(-1, *shape) * beta if out is None else out.add_(shift, alpha=beta)


def _bmm(call: Call) -> Step:
    return functools.partial(_bmm_step, *_saved(call, call.args[0], call.args[1], 0))


def _bmm_step(a: Tensor | None, b: Tensor | None, *coefficients: Tensor) -> Tensor:
    """Multiply probe by probe: folding K into the batch would copy the constant factor K times."""
    rest = iter(coefficients)
    da = None if b is None else next(rest)
    db = None if a is None else next(rest)
    some = da if da is not None else db
    rows = a if a is not None else da
    columns = b if b is not None else db
    assert some is not None
    assert rows is not None
    assert columns is not None
    out = some.new_empty(some.shape[0], some.shape[1], rows.shape[-2], columns.shape[-1])
    for k, target in enumerate(out):
        if da is not None and b is not None:
            torch.bmm(da[k], b, out=target)
        if db is not None and a is not None:
            target.baddbmm_(a, db[k], beta=0 if da is None else 1)
    return out


def _convolution(call: Call) -> Step:
    x, w, _, *settings = call.args
    return functools.partial(
        _convolution_step,
        x if 1 in call.carries else None,
        w if 0 in call.carries else None,
        2 in call.carries,
        tuple(settings),
    )


def _convolution_step(
    x: Tensor | None, w: Tensor | None, shifts: bool, settings: tuple[Any, ...], *coefficients: Tensor
) -> Tensor:
    rest = iter(coefficients)
    out: Tensor | None = None
    if w is not None:
        dx = next(rest)
        folded = torch.convolution(dx.reshape(-1, *dx.shape[2:]), w, None, *settings)
        out = folded.view(dx.shape[0], -1, *folded.shape[1:])
    dw = None if x is None else next(rest)
    shift = next(rest) if shifts else None
    if dw is not None and x is not None:
        for k, kernel in enumerate(dw):
            part = torch.convolution(x, kernel, None if shift is None else shift[k], *settings)
            if out is None:
                out = part.new_empty(dw.shape[0], *part.shape)
                out[k].copy_(part)
            elif w is None:
                out[k].copy_(part)
            else:
                out[k].add_(part)
        return out if out is not None else dw.new_empty(0)
    assert out is not None
    if shift is not None:
        out += shift.reshape(shift.shape[0], 1, -1, *[1] * (out.ndim - 3))
    return out


def _convolution_backward(call: Call) -> Step:
    g, x, w, _, *settings, mask = call.args
    wanted = [bool(m) and i in call.used for i, m in enumerate(mask)]
    carries = [i in call.carries for i in range(3)]
    saved = (
        g if carries[1] or carries[2] else None,
        x if carries[0] and wanted[1] else None,
        w if carries[0] and wanted[0] else None,
    )
    shapes = (tuple(x.shape), tuple(w.shape))
    return functools.partial(_conv_backward_step, saved, shapes, tuple(settings), wanted, carries)


def _convolution_backward_outputs(carries: tuple[Any, ...]) -> tuple[int, ...]:
    """Input, weight and bias parts depend on (g, w), (g, x) and g."""
    needs = ((0, 2), (0, 1), (0,))
    return tuple(i for i, positions in enumerate(needs) if any(p in carries for p in positions))


def _conv_backward_step(
    saved: tuple[Tensor | None, Tensor | None, Tensor | None],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    settings: tuple[Any, ...],
    wanted: list[bool],
    carries: list[bool],
    *coefficients: Tensor,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    rest = iter(coefficients)
    dg, dx, dw = (next(rest) if carried else None for carried in carries)
    g, x, w = saved
    inputs = _input_part(g, w, dg, dw, shapes[0], settings) if wanted[0] else None
    weights = _weight_part(g, x, dg, dx, shapes[1], settings) if wanted[1] else None
    bias = dg.sum([1, *range(3, dg.ndim)]) if wanted[2] and dg is not None else None
    return inputs, weights, bias


def _input_part(
    g: Tensor | None,
    w: Tensor | None,
    dg: Tensor | None,
    dw: Tensor | None,
    shape: tuple[int, ...],
    settings: tuple[Any, ...],
) -> Tensor | None:
    mask = [True, False, False]
    out: Tensor | None = None
    if dg is not None and w is not None:
        g_rows = dg.reshape(-1, *dg.shape[2:])
        like = dg.new_empty(g_rows.shape[0], *shape[1:])  # only its shape counts
        rows = aten.convolution_backward(g_rows, like, w, None, *settings, mask)[0]
        out = rows.view(dg.shape[0], *shape)
    if dw is not None and g is not None:
        like = g.new_empty(shape)
        parts = [aten.convolution_backward(g, like, k, None, *settings, mask)[0] for k in dw]
        out = _add_rows(out, parts)
    return out


def _weight_part(
    g: Tensor | None,
    x: Tensor | None,
    dg: Tensor | None,
    dx: Tensor | None,
    shape: tuple[int, ...],
    settings: tuple[Any, ...],
) -> Tensor | None:
    mask = [False, True, False]
    out: Tensor | None = None
    if dg is not None and x is not None:
        like = x.new_empty(shape)
        parts = [aten.convolution_backward(k, x, like, None, *settings, mask)[1] for k in dg]
        out = _add_rows(None, parts)
    if dx is not None and g is not None:
        like = g.new_empty(shape)
        parts = [aten.convolution_backward(g, k, like, None, *settings, mask)[1] for k in dx]
        out = _add_rows(out, parts)
    return out


def _add_rows(total: Tensor | None, parts: list[Tensor]) -> Tensor:
    if total is None:
        return parts[0][None] if len(parts) == 1 else torch.stack(parts)
    for row, part in zip(total, parts, strict=True):
        row.add_(part)
    return total


def _each(call: Call) -> Step:
    """Build for a small product, one probe and one argument at a time."""
    parts = []
    for number, position in enumerate(call.carries):
        alone = Call(call.target, call.args, call.kwargs, call.out, (position,), call.used)
        parts.append((number, loop(alone)))
    return functools.partial(_each_step, tuple(parts))


def _each_step(parts: tuple[tuple[int, Step], ...], *coefficients: Tensor) -> Tensor:
    total: Tensor | None = None
    for number, step in parts:
        part: Tensor = step(coefficients[number])
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


TABLE: dict[Any, Rule] = {
    aten.mm.default: Rule(_mm, add=_mm_add),
    aten.addmm.default: Rule(_addmm),
    aten.bmm.default: Rule(_bmm),
    aten.baddbmm.default: Rule(_addmm),
    aten.mv.default: Rule(_each),
    aten.dot.default: Rule(_each),
    aten.convolution.default: Rule(_convolution),
    aten.convolution_backward.default: Rule(
        _convolution_backward, positions=(0, 1, 2), outputs=_convolution_backward_outputs
    ),
}
