"""Products of two coefficients by bilinear operators: matrices and convolutions.

Both factors have K, so nothing is shared between the vectors; convolutions go one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.higher.algebra import Algebra
from hesscope.curvature.jets.higher.parts import Cross, adding, bilinear, linear
from hesscope.curvature.jets.layout import shaped_like, stacked

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
    if total is None and not summed:
        k, batch = a.shape[:2]
        total = torch.bmm(a.reshape(-1, *a.shape[2:]), b.reshape(-1, *b.shape[2:]))
        total = total.view(k, batch, *total.shape[1:])
        return total if alpha == 1 else total.mul_(alpha)
    if total is None:
        total = a.new_zeros(1, *a.shape[1:3], b.shape[3])
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
    if total is None and not summed:
        total = stacked(rows)
        return total if alpha == 1 else total.mul_(alpha)
    if total is None:
        first, rows = rows[0][None], rows[1:]
        total = first if alpha == 1 else first.mul_(alpha)
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
    found = aten.convolution_backward(g, shaped_like(g, shape), w, None, *settings, mask)
    return found[0], None, None


def _weight_part(shape: tuple[int, ...], settings: tuple[Any, ...], g: Tensor, x: Tensor) -> tuple[Any, ...]:
    mask = [False, True, False]
    found = aten.convolution_backward(g, x, x.new_empty(shape), None, *settings, mask)
    return None, found[1], None


def convolution_backward(
    call: Call, algebra: Algebra, wanted: Mapping[int, Sequence[int]], rule: Rule
) -> Step:
    """Build for the parts of the input, bilinear in (g, w), of the weight, in (g, x), and of the bias.

    Each has its own ``wanted``: what goes to a parameter needs the last coefficient only.
    """
    _, x, w, _, *settings, _ = call.args
    factors = {
        0: ((0, 2), functools.partial(_input_part, tuple(x.shape), tuple(settings))),
        1: ((0, 1), functools.partial(_weight_part, tuple(w.shape), tuple(settings))),
    }
    steps: list[Step | None] = [None, None, None]
    for output in call.used:
        alone = replace(call, used=frozenset([output]))
        if output in factors:
            positions, product = factors[output]
            cross = functools.partial(one_by_one, product)
            steps[output] = bilinear(
                alone, algebra, wanted[output], rule.build, positions=positions, cross=cross
            )
        else:
            steps[output] = linear(alone, algebra, wanted[output], rule.build)
    return functools.partial(_by_output, tuple(steps), algebra.size)


def _by_output(steps: tuple[Step | None, ...], size: int, *jets: Any) -> tuple[Any, ...]:
    return tuple((None,) * size if step is None else step(*jets)[output] for output, step in enumerate(steps))


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
}
# with several results, each of which has coefficients of its own that are wanted
BY_OUTPUT: dict[Any, Any] = {aten.convolution_backward.default: convolution_backward}
ADD: dict[Any, Any] = {aten.mm.default: add_matrices}
