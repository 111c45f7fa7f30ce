"""Which coefficients of every result something needs; the others are not computed."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from hesscope.curvature.jets.higher.algebra import Algebra
from hesscope.curvature.jets.higher.rules import LINEAR
from hesscope.curvature.jets.partition import Moving, Partition

aten = torch.ops.aten

# The arguments whose coefficients such an operator multiplies; all others are added to the product.
_FACTORS: dict[Any, tuple[int, int]] = {
    aten.mm.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.bmm.default: (0, 1),
    aten.baddbmm.default: (1, 2),
    aten.mv.default: (0, 1),
    aten.dot.default: (0, 1),
    aten.mul.Tensor: (0, 1),
    aten.addcmul.default: (1, 2),
    aten.convolution.default: (0, 1),
}
# for each entry of a tuple
_FACTORS_OF_OUTPUTS: dict[Any, tuple[tuple[int, ...], ...]] = {
    aten.convolution_backward.default: ((0, 2), (0, 1), (0,)),
}

ByOutput = dict[int, dict[int, set[int]]]


def coefficients_wanted(parts: Partition, algebra: Algebra) -> tuple[dict[int, set[int]], ByOutput]:
    """Return which coefficients of every result something needs, and of every entry of a tuple.

    A coefficient of a product needs all of both factors where both move, and that of the same index alone
    where only one does.
    """
    by_output: ByOutput = {}
    wanted: dict[int, set[int]] = {index: set() for index in parts.moving}
    for index, moving in reversed(parts.moving.items()):
        here = wanted[index]
        if moving.terms:
            here.add(algebra.top)
        if moving.instruction.target is operator.getitem:
            source, output = moving.sources[0], moving.instruction.args[1]
            by_output.setdefault(source, {}).setdefault(output, set()).update(here)
        for source, needed in _needs(moving, here, by_output.get(index, {}), algebra):
            if source in wanted:
                wanted[source].update(needed)
    return wanted, by_output


def _needs(
    moving: Moving, here: set[int], by_output: Mapping[int, set[int]], algebra: Algebra
) -> Iterator[tuple[int, set[int]]]:
    """Yield every source with the coefficients of it that those of the result are made of."""
    target = moving.instruction.target
    every = set(algebra.all)
    if target in _FACTORS_OF_OUTPUTS:
        for output, needed in by_output.items():
            factors = _FACTORS_OF_OUTPUTS[target][output]
            product = len(factors) > 1 and all(p in moving.carries for p in factors)
            for position, source in zip(moving.carries, moving.sources, strict=True):
                if position in factors:
                    yield source, every if product else needed
        return
    factors = _FACTORS.get(target, ())
    product = target in _FACTORS and all(p in moving.carries for p in factors)
    passes = target in LINEAR or target is operator.getitem
    for position, source in zip(moving.carries, moving.sources, strict=True):
        alone = passes or (target in _FACTORS and not (product and position in factors))
        yield source, here if alone else every
