"""Linear and bilinear operators at any order, from their steps of order 1.

The coefficient of ``L(a, b)`` at an index is the step of order 1 on the coefficients that are there; a
bilinear operator adds the products of coefficients of its two factors.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from hesscope.curvature.jets.call import Call, Step
from hesscope.curvature.jets.higher.algebra import Algebra, Jet

# Adds the product of coefficients ``a [K, ...]`` and ``b [K, ...]``, times a number, to what is there
# (None: nothing yet); with True in the end summed over K.
Cross = Callable[[Any, Tensor, Tensor, float, bool], Any]
_MOST = 3  # with more arguments, zeros stand for coefficients that are missing
Parts = dict[tuple[bool, ...], Step]


def parts(call: Call, build: Callable[[Call], Step]) -> Parts:
    """Build the steps of order 1 for every choice of arguments that carry."""
    count = len(call.carries)
    choices = itertools.product((False, True), repeat=count) if count <= _MOST else [(True,) * count]
    found: Parts = {}
    for present in choices:
        if any(present):
            carries = tuple(p for p, there in zip(call.carries, present, strict=True) if there)
            found[present] = build(replace(call, carries=carries))
    return found


def linear(call: Call, algebra: Algebra, wanted: Sequence[int], build: Callable[[Call], Step]) -> Step:
    """Build the step of an operator that is linear in the arguments that carry, jointly."""
    shapes = tuple(tuple(call.at(p).shape) for p in call.carries)
    outputs = len(call.out) if isinstance(call.out, (tuple, list)) else None
    return functools.partial(
        _step, parts(call, build), shapes, algebra.size, tuple(wanted), outputs, algebra, None, 1.0, (0, 0)
    )


def bilinear(
    call: Call,
    algebra: Algebra,
    wanted: Sequence[int],
    build: Callable[[Call], Step],
    *,
    positions: tuple[int, int],
    cross: Cross,
    alpha: float = 1.0,
) -> Step:
    """Build the step of an operator bilinear in the arguments at two positions.

    Other arguments that carry are added (the shift of addmm, the bias of a convolution).
    """
    both = all(p in call.carries for p in positions)
    places = tuple(call.carries.index(p) for p in positions) if both else (0, 0)
    outputs = len(call.out) if isinstance(call.out, (tuple, list)) else None
    return functools.partial(
        _step,
        parts(call, build),
        None,
        algebra.size,
        tuple(wanted),
        outputs,
        algebra,
        cross if both else None,
        alpha,
        places,
    )


def _step(
    steps: Parts,
    shapes: tuple[tuple[int, ...], ...] | None,
    size: int,
    wanted: tuple[int, ...],
    outputs: int | None,
    algebra: Algebra,
    cross: Cross | None,
    alpha: float,
    places: tuple[int, ...],
    *jets: Jet,
) -> Any:
    rows: list[Any] = [None] * size
    for i in wanted:
        given = [jet[i] for jet in jets]
        present = [t for t in given if t is not None]
        total: Any = None
        if present:
            if len(given) > _MOST:
                given = _filled(given, present[0], shapes or ())
                present = given  # type: ignore[assignment]
            total = steps[tuple(t is not None for t in given)](*present)
        if cross is not None:
            first, second = jets[places[0]], jets[places[1]]
            for j, k in algebra.pairs[i]:
                a, b = first[j], second[k]
                if a is not None and b is not None:
                    total = cross(total, a, b, alpha, algebra.sums(i))
        rows[i] = total
    if outputs is None:
        return tuple(rows)
    return tuple(tuple(None if row is None else row[o] for row in rows) for o in range(outputs))


def _filled(given: list[Tensor | None], like: Tensor, shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
    """Put zeros, which take no memory, in place of coefficients that are missing."""
    return [
        like.new_zeros(()).expand(like.shape[0], *shape) if t is None else t
        for t, shape in zip(given, shapes, strict=True)
    ]


def adding(
    call: Call,
    algebra: Algebra,
    add: Callable[[Call], Step],
    *,
    positions: tuple[int, int] | None = None,
    cross: Cross | None = None,
) -> Step:
    """Build the step that adds the last coefficient to a target; it returns whether there is one."""
    both = positions is not None and all(p in call.carries for p in positions)
    places = tuple(call.carries.index(p) for p in positions) if both and positions is not None else (0, 0)
    return functools.partial(_adding_step, parts(call, add), algebra, cross if both else None, places)


def _adding_step(
    steps: Parts,
    algebra: Algebra,
    cross: Cross | None,
    places: tuple[int, ...],
    target: Tensor,
    scale: float,
    overwrite: bool,
    *jets: Jet,
) -> bool:
    top = algebra.top
    present = tuple(jet[top] is not None for jet in jets)
    if any(present):
        steps[present](target, scale, overwrite, *(jet[top] for jet in jets if jet[top] is not None))
        overwrite = False
    if cross is not None:
        first, second = jets[places[0]], jets[places[1]]
        for j, k in algebra.pairs[top]:
            a, b = first[j], second[k]
            if a is not None and b is not None:
                if overwrite:
                    target.zero_()
                cross(target, a, b, scale, algebra.sums(top))
                overwrite = False
    return not overwrite
