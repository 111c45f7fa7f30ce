"""Elementwise products and quotients at second and third order."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.higher.algebra import Algebra, Jet, aligned, converted, cross, multiply, plus

aten = torch.ops.aten


def product(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for ``a * b``."""
    a, b = (call.args[p] for p in (0, 1))
    saved = (a if 1 in call.carries else None, b if 0 in call.carries else None)
    form = (call.out.ndim, call.out.dtype)  # not the result, which would be held
    return functools.partial(_product_step, algebra, tuple(wanted), saved, call.carries, *form)


def _product_step(
    algebra: Algebra,
    wanted: tuple[int, ...],
    saved: tuple[Any, Any],
    carries: tuple[Any, ...],
    ndim: int,
    dtype: torch.dtype,
    *jets: Jet,
) -> Jet:
    found = {p: converted(aligned(jet, ndim), dtype) for p, jet in zip(carries, jets, strict=True)}
    return multiply(algebra, wanted, saved[0], found.get(0), saved[1], found.get(1))


def quotient(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for ``q = a / b``: ``q_i = (a_i - q b_i - sum q_j b_k) / b``, lower coefficients first."""
    a, b = call.args[:2]
    if not isinstance(b, Tensor):
        return functools.partial(_scaled, algebra.size, tuple(wanted), 1 / b)
    inverse = b.to(call.out.dtype).reciprocal()  # of integers it would be float32
    return functools.partial(_quotient_step, algebra, inverse, a * inverse, call.carries, call.out.dtype)


def _scaled(size: int, wanted: tuple[int, ...], factor: float, x: Jet) -> Jet:
    return tuple(None if t is None or i not in wanted else t * factor for i, t in enumerate(x[:size]))


def _quotient_step(
    algebra: Algebra,
    inverse: Tensor,
    value: Tensor,
    carries: tuple[Any, ...],
    dtype: torch.dtype,
    *jets: Jet,
) -> Jet:
    found = {p: converted(aligned(jet, value.ndim), dtype) for p, jet in zip(carries, jets, strict=True)}
    a, b = found.get(0), found.get(1)
    out: list[Tensor | None] = [None] * algebra.size
    for i in algebra.all:
        total: Tensor | None = None
        if b is not None:
            here = b[i]
            total = None if here is None else here * value
            total = plus(total, cross(algebra, i, tuple(out), b))
        above = None if a is None else a[i]
        if above is not None:
            total = above * inverse if total is None else (above - total).mul_(inverse)
        elif total is not None:
            total = total.mul_(-inverse)
        out[i] = total
    return tuple(out)


def shifted_product(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:  # noqa: ARG001
    """Build for addcmul: ``c + value * a * b``."""
    _, a, b = call.args[:3]
    value = call.kwargs.get("value", 1)
    saved = (a if 2 in call.carries else None, b if 1 in call.carries else None)
    shape = tuple(call.out.shape)
    return functools.partial(
        _shifted_step, algebra, tuple(wanted), saved, value, call.carries, shape, call.out.dtype
    )


def _shifted_step(
    algebra: Algebra,
    wanted: tuple[int, ...],
    saved: tuple[Any, Any],
    value: float,
    carries: tuple[Any, ...],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    *jets: Jet,
) -> Jet:
    found = {p: converted(aligned(jet, len(shape)), dtype) for p, jet in zip(carries, jets, strict=True)}
    inner = multiply(algebra, wanted, saved[0], found.get(1), saved[1], found.get(2))
    shift = found.get(0)
    out: list[Tensor | None] = []
    for i in algebra.all:
        part, above = inner[i], None if shift is None or i not in wanted else shift[i]
        if part is None:
            out.append(None if above is None else above.expand(above.shape[0], *shape))
        else:
            part = part if value == 1 else part.mul_(value)
            if above is not None:
                whole = part.shape == (max(len(part), len(above)), *shape)
                part = part.add_(above) if whole else part + above
            out.append(part.expand(part.shape[0], *shape))
    return tuple(out)


TABLE: dict[Any, Any] = {
    aten.mul.Tensor: product,
    aten.div.Tensor: quotient,
    aten.addcmul.default: shifted_product,
}
