"""Rules of products of matrices.

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
}
