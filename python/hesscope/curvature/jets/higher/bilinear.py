"""Products of two coefficients by bilinear operators: matrices and convolutions.

Both factors have K, so nothing is shared between the vectors; convolutions go one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.higher.algebra import Algebra
from hesscope.curvature.jets.higher.parts import Cross, adding, bilinear

aten = torch.ops.aten


def _paired(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat the factor that all vectors share, as a view."""
    k = max(a.shape[0], b.shape[0])
    return a.expand(k, *a.shape[1:]), b.expand(k, *b.shape[1:])


def matrices(total: Tensor | None, a: Tensor, b: Tensor, alpha: float, summed: bool) -> Tensor:
    """Add ``alpha a @ b`` for ``a [K, n, k]`` and ``b [K, k, m]``."""
    a, b = _paired(a, b)
    if summed:
        if total is None:
            total = a.new_zeros(1, a.shape[1], b.shape[2])
        for x, y in zip(a, b, strict=True):
            total[0].addmm_(x, y, alpha=alpha)
        return total
    if total is not None:
        return total.baddbmm_(a, b, alpha=alpha)
    total = torch.bmm(a, b)
    return total if alpha == 1 else total.mul_(alpha)


def batches(total: Tensor | None, a: Tensor, b: Tensor, alpha: float, summed: bool) -> Tensor:
    """Add ``alpha a @ b`` for ``a [K, batch, n, k]`` and ``b [K, batch, k, m]``."""
    a, b = _paired(a, b)
    if total is None:
        total = a.new_zeros(1 if summed else a.shape[0], *a.shape[1:3], b.shape[3])
    for k, (x, y) in enumerate(zip(a, b, strict=True)):
        total[0 if summed else k].baddbmm_(x, y, alpha=alpha)
    return total


def one_by_one(
    product: Callable[[Tensor, Tensor], Any],
    total: Any,
    a: Tensor,
    b: Tensor,
    alpha: float,
    summed: bool,
) -> Any:
    """Add ``alpha product(a_k, b_k)`` of every vector; a product may be a tuple with None in it."""
    rows = [product(x, y) for x, y in zip(*_paired(a, b), strict=True)]
    if not isinstance(rows[0], tuple):
        return _gathered(total, rows, alpha, summed)
    before = (None,) * len(rows[0]) if total is None else total
    return tuple(
        old if column[0] is None else _gathered(old, list(column), alpha, summed)
        for old, column in zip(before, zip(*rows, strict=True), strict=True)
    )


def _gathered(total: Tensor | None, rows: list[Tensor], alpha: float, summed: bool) -> Tensor:
    if total is None:
        total = rows[0].new_zeros(1 if summed else len(rows), *rows[0].shape)
    for k, row in enumerate(rows):
        total[0 if summed else k].add_(row, alpha=alpha)
    return total


def _convolve(settings: tuple[Any, ...], x: Tensor, w: Tensor) -> Tensor:
    return torch.convolution(x, w, None, *settings)


def _convolution(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:
    product = functools.partial(_convolve, tuple(call.args[3:]))
    cross = functools.partial(one_by_one, product)
    return bilinear(call, algebra, wanted, rule.build, positions=(0, 1), cross=cross)


def _input_part(shape: tuple[int, ...], settings: tuple[Any, ...], g: Tensor, w: Tensor) -> tuple[Any, ...]:
    mask = [True, False, False]
    found = aten.convolution_backward(g, g.new_empty(shape), w, None, *settings, mask)
    return found[0], None, None


def _weight_part(shape: tuple[int, ...], settings: tuple[Any, ...], g: Tensor, x: Tensor) -> tuple[Any, ...]:
    mask = [False, True, False]
    found = aten.convolution_backward(g, x, x.new_empty(shape), None, *settings, mask)
    return None, found[1], None


def _convolution_backward(call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule) -> Step:
    """Build for the parts of the input, bilinear in (g, w), and of the weight, bilinear in (g, x)."""
    _, x, w, _, *settings, mask = call.args
    asked = [bool(m) and i in call.used for i, m in enumerate(mask)]
    linear = rule.build
    steps = []
    for number, other, shape, part in (
        (0, 2, tuple(x.shape), _input_part),
        (1, 1, tuple(w.shape), _weight_part),
    ):
        if asked[number] and 0 in call.carries and other in call.carries:
            product = functools.partial(part, shape, tuple(settings))
            steps.append(((0, other), functools.partial(one_by_one, product)))
    first = steps[0] if steps else ((0, 0), _nothing)
    step = bilinear(call, algebra, wanted, linear, positions=first[0], cross=first[1])
    if len(steps) < 2:
        return step
    places = tuple(call.carries.index(p) for p in steps[1][0])
    return functools.partial(_second_cross, step, algebra, tuple(wanted), places, steps[1][1])


def _nothing(total: Any, *_: Any) -> Any:
    return total


def _second_cross(
    step: Step,
    algebra: Algebra,
    wanted: tuple[int, ...],
    places: tuple[int, ...],
    cross: Cross,
    *jets: Any,
) -> Any:
    columns = step(*jets)
    rows = [list(row) for row in zip(*columns, strict=True)]
    first, second = jets[places[0]], jets[places[1]]
    for i in wanted:
        for j, k in algebra.pairs[i]:
            if first[j] is not None and second[k] is not None:
                rows[i] = cross(tuple(rows[i]), first[j], second[k], 1.0, algebra.sums(i))
    return tuple(zip(*rows, strict=True))


def _product(
    cross: Cross, first: int, call: Call, algebra: Algebra, wanted: Sequence[int], rule: Rule
) -> Step:
    alpha = call.kwargs.get("alpha", 1)
    positions = (first, first + 1)
    return bilinear(call, algebra, wanted, rule.build, positions=positions, cross=cross, alpha=alpha)


def add_matrices(call: Call, algebra: Algebra, rule: Rule) -> Step:
    """Build the step that adds the product of matrices to a target."""
    assert rule.add is not None
    return adding(call, algebra, rule.add, positions=(0, 1), cross=matrices)


_SMALL = functools.partial(one_by_one, torch.matmul)

TABLE: dict[Any, Any] = {
    aten.mm.default: functools.partial(_product, matrices, 0),
    aten.addmm.default: functools.partial(_product, matrices, 1),
    aten.bmm.default: functools.partial(_product, batches, 0),
    aten.baddbmm.default: functools.partial(_product, batches, 1),
    aten.mv.default: functools.partial(_product, _SMALL, 0),
    aten.dot.default: functools.partial(_product, _SMALL, 0),
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
}
ADD: dict[Any, Any] = {aten.mm.default: add_matrices}
