"""What values and coefficients cost, in memory and operations: counted once per captured gradient."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hesscope.curvature.graph import saved_tensors
from hesscope.curvature.jets.call import Call


@dataclass(frozen=True)
class Footprint:
    """Bytes that a batch needs beyond its own tensors, the weights, the vectors and the products; operations.

    Attributes
    ----------
    values
        Bytes kept between products.
    primal
        Bytes at most while the values are computed, and, unless ``exact``, the gradient with them.
    probe
        Bytes of the coefficients of one vector, at most.
    gradient_flops, product_flops
        Floating-point operations in the matrix products and convolutions of a gradient, and of a product
        on kept values.
    """

    values: int
    primal: int
    probe: int
    gradient_flops: int
    product_flops: int
    exact: bool = False

    def peak(self, vectors: int, *, kept: bool) -> int:
        """Return the most bytes during a product with so many vectors at once, the values included.

        ``kept``: the values are there already.
        """
        product = self.values + vectors * self.probe
        return product if kept else max(self.primal, product)


def held_bytes(steps: Iterable[Any], outside: set[int]) -> int:
    """Return the bytes of the storages that steps hold, graphs of autograd included.

    ``outside``: addresses of storages that do not count.
    """
    found: dict[int, int] = {}
    for tensor in _tensors(steps):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
    return sum(size for address, size in found.items() if address not in outside)


def _tensors(steps: Iterable[Any]) -> Iterator[Tensor]:
    stack: list[Any] = list(steps)
    while stack:
        entry = stack.pop()
        if isinstance(entry, Tensor):
            yield entry
            if entry.grad_fn is not None:
                yield from saved_tensors([entry])
        elif isinstance(entry, functools.partial):
            stack += [entry.args, entry.keywords]
        elif isinstance(entry, (tuple, list)):
            stack += entry
        elif isinstance(entry, dict):
            stack += entry.values()
        elif isinstance(entry, Call):
            stack += [entry.args, entry.kwargs]
