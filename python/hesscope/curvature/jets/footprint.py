"""How much memory values and coefficients need: counted once per captured gradient, known from then on."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from hesscope.curvature.graph import saved_tensors
from hesscope.curvature.jets.call import Call


@dataclass(frozen=True)
class Footprint:
    """Bytes that a batch needs beyond its own tensors, the weights, the vectors and the products.

    Attributes
    ----------
    values
        Kept between products.
    primal
        At most while the values are computed.
    probe
        Coefficients of one vector, at most.
    """

    values: int
    primal: int
    probe: int

    def peak(self, vectors: int, *, kept: bool) -> int:
        """Return the most bytes during a product with so many vectors at once, the values included.

        ``kept``: the values are there already.
        """
        product = self.values + vectors * self.probe
        return product if kept else max(self.primal, product)


class Allocations(TorchDispatchMode):
    """Counts the bytes of tensors that operators make while this is active, on any device.

    Not seen is what a kernel takes for itself while it runs: a convolution's copies in another layout.

    Attributes
    ----------
    now, peak
        Bytes that are alive, and that were alive at once at most.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.peak: int = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given: set[int] | None = None
        for tensor in pytree.tree_leaves(out):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._alive:
                continue
            if given is None:  # views and results in place are no new memory
                leaves = pytree.tree_leaves((args, kwargs))
                given = {t.untyped_storage()._cdata for t in leaves if isinstance(t, Tensor)}
            if key not in given:
                size = storage.nbytes()
                self._alive[key] = weakref.ref(storage, functools.partial(self._freed, key, size))
                self.now += size
                self.peak = max(self.peak, self.now)
        return out

    def _freed(self, key: int, size: int, _: object) -> None:
        self.now -= size
        self._alive.pop(key, None)


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
