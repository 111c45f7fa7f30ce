"""Truncated polynomials: which coefficients a value carries beside its primal, and how they multiply.

A value along theta + s u (+ t v) is a polynomial in s (and t). What is not asked for is cut off: s^3 = 0
for T[u, u, .], s^2 = t^2 = 0 for T[u, v, .] (polarisation-free: u and v never mix), s^4 = 0 for
T[u, u, u]. A coefficient that is zero is None and costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hesscope.curvature.jets.call import align

Jet = tuple[Tensor | None, ...]
"""Coefficients ``[K, *shape]`` of a value, one for each index of the algebra."""


@dataclass(frozen=True)
class Algebra:
    """The monomials beside 1, by index; the last one is what is asked for.

    Attributes
    ----------
    name
        The monomials, for a person.
    pairs, triples
        For every index the ordered pairs and triples of indices whose product it is.
    seeds
        For every index the direction that a parameter has there, or None.
    factor
        The derivative asked for is the last coefficient times this.
    collapsed
        True if the last coefficient is that of the sum over the K vectors (leading length 1).
    """

    name: str
    pairs: tuple[tuple[tuple[int, int], ...], ...]
    triples: tuple[tuple[tuple[int, int, int], ...], ...]
    seeds: tuple[int | None, ...]
    factor: float
    collapsed: bool = False

    @property
    def size(self) -> int:
        """Number of coefficients beside the primal."""
        return len(self.pairs)

    @property
    def top(self) -> int:
        """Index of the coefficient that is asked for."""
        return len(self.pairs) - 1

    @property
    def order(self) -> int:
        """Largest number of factors in a product that is not cut off."""
        return 3 if any(self.triples) else 2 if any(self.pairs) else 1

    @property
    def all(self) -> tuple[int, ...]:
        """Every index."""
        return tuple(range(self.size))

    @cached_property
    def squares(self) -> tuple[tuple[tuple[tuple[int, int], int], ...], ...]:
        """For every index the unordered pairs, with how often each occurs."""
        return tuple(tuple(Counter((min(p), max(p)) for p in products).items()) for products in self.pairs)

    def sums(self, index: int) -> bool:
        """Tell whether a product that lands on ``index`` is summed over the vectors."""
        return self.collapsed and index == self.top


FIRST = Algebra("s", ((),), ((),), (0,), 1.0)
SQUARE = Algebra("s, s^2", ((), ((0, 0),)), ((), ()), (0, None), 2.0)
MIXED = Algebra("s, t, st", ((), (), ((0, 1), (1, 0))), ((), (), ()), (0, 1, None), 1.0)
CUBE = Algebra(
    "s, s^2, s^3",
    ((), ((0, 0),), ((0, 1), (1, 0))),
    ((), (), ((0, 0, 0),)),
    (0, None, None),
    6.0,
)
SUMMED_SQUARE = replace(SQUARE, name="s, sum s^2", collapsed=True)
SUMMED_MIXED = replace(MIXED, name="s, t, sum st", collapsed=True)


def aligned(jet: Jet, ndim: int) -> Jet:
    """Insert dimensions behind the first of every coefficient, up to ``ndim + 1``."""
    return tuple(None if t is None else align(t, ndim) for t in jet)


def converted(jet: Jet, dtype: torch.dtype) -> Jet:
    """Convert every coefficient to a dtype."""
    return tuple(None if t is None else t.to(dtype) for t in jet)


def plus_product(total: Tensor | None, a: Tensor, b: Tensor | float) -> Tensor:
    """Return ``total + a * b``; ``total`` is changed."""
    if total is None:
        return a * b
    if isinstance(b, Tensor):
        return total.addcmul_(a, b)
    return total.add_(a, alpha=b)


def _added(algebra: Algebra, index: int, parts: Iterable[tuple[Tensor, Tensor, float]]) -> Tensor | None:
    total: Tensor | None = None
    for a, b, count in parts:
        if total is None:
            total = a * b
            if count != 1:
                total *= count
        else:
            total.addcmul_(a, b, value=count)
    if total is not None and algebra.sums(index) and len(total) > 1:
        total = total.sum(0, keepdim=True)
    return total


def cross(algebra: Algebra, index: int, a: Jet, b: Jet) -> Tensor | None:
    """Return what the coefficients of a and b, primals left out, contribute to ``a * b`` at an index."""
    if a is b:
        return _added(
            algebra,
            index,
            (
                (a[j], a[k], count)  # type: ignore[misc]
                for (j, k), count in algebra.squares[index]
                if a[j] is not None and a[k] is not None
            ),
        )
    return _added(
        algebra,
        index,
        (
            (a[j], b[k], 1)  # type: ignore[misc]
            for j, k in algebra.pairs[index]
            if a[j] is not None and b[k] is not None
        ),
    )


def triple(algebra: Algebra, index: int, a: Jet, b: Jet, c: Jet) -> Tensor | None:
    """Return what products of three coefficients contribute to ``a * b * c`` at an index."""
    return _added(
        algebra,
        index,
        (
            (a[i] * b[j], c[k], 1)  # type: ignore[misc, operator]
            for i, j, k in algebra.triples[index]
            if a[i] is not None and b[j] is not None and c[k] is not None
        ),
    )


def multiply(
    algebra: Algebra,
    wanted: Sequence[int],
    a0: Tensor | None,
    a: Jet | None,
    b0: Tensor | None,
    b: Jet | None,
) -> Jet:
    """Multiply ``(a0, a) * (b0, b)`` elementwise; a jet is None where a factor does not move.

    A primal may be missing where the other factor does not move.
    """
    out: list[Tensor | None] = [None] * algebra.size
    for i in wanted:
        total: Tensor | None = None
        if a is not None and a[i] is not None and b0 is not None:
            total = a[i] * b0  # type: ignore[operator]
        if b is not None and b[i] is not None and a0 is not None:
            total = plus_product(total, b[i], a0)  # type: ignore[arg-type]
        if a is not None and b is not None:
            total = plus(total, cross(algebra, i, a, b))
        out[i] = total
    return tuple(out)


def plus(total: Tensor | None, part: Tensor | None) -> Tensor | None:
    """Return ``total + part``; ``total`` is changed."""
    if total is None or part is None:
        return part if total is None else total
    return total.add_(part)


def minus(algebra: Algebra, wanted: Sequence[int], a: Jet, b: Jet) -> Jet:
    """Subtract; a is not changed, and b broadcasts to it."""
    out: list[Tensor | None] = [None] * algebra.size
    for i in wanted:
        x, y = a[i], b[i]
        out[i] = x if y is None else -y if x is None else x - y
    return tuple(out)


def compose(algebra: Algebra, wanted: Sequence[int], taylor: Sequence[Tensor | float], x: Jet) -> Jet:
    """Apply a function with Taylor coefficients ``f', f''/2, f'''/6`` at the primal of ``x``."""
    out: list[Tensor | None] = [None] * algebra.size
    for i in wanted:
        total: Tensor | None = None
        here = x[i]
        if here is not None:
            total = here * taylor[0]
        for factor, part in zip(
            taylor[1:], (cross(algebra, i, x, x), triple(algebra, i, x, x, x)), strict=False
        ):
            if part is not None:
                total = plus_product(total, part, factor)
        out[i] = total
    return tuple(out)


def each(algebra: Algebra, wanted: Sequence[int], function: object, x: Jet) -> Jet:
    """Apply a linear function to every coefficient."""
    assert callable(function)
    out: list[Tensor | None] = [None] * algebra.size
    for i in wanted:
        t = x[i]
        out[i] = None if t is None else function(t)
    return tuple(out)
