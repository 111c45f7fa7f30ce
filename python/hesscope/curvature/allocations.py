"""Counting what operators allocate and compute while something runs."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from hesscope.objective import Objective
from hesscope.objective.data import Batch


class Allocations(TorchDispatchMode):
    """Counts the bytes of tensors that operators make while this is active, on any device; operations.

    Not seen is what a kernel takes for itself while it runs: a convolution's copies in another layout.

    Attributes
    ----------
    now, peak
        Bytes that are alive, and that were alive at once at most.
    flops
        Floating-point operations in matrix products and convolutions.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.peak: int = 0
        self.flops: int = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        count = _operations(func)
        if count is not None:
            self.flops += int(count(*args, **(kwargs or {}), out_val=out))
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


@functools.cache
def _operations(func: Any) -> Callable[..., Any] | None:
    """Return what counts the operations of an operator, or of that which it does in place."""
    packet = getattr(func, "_overloadpacket", None)
    if packet in flop_registry or packet is None:
        return flop_registry.get(packet)
    return flop_registry.get(getattr(torch.ops.aten, str(packet.__name__).rstrip("_"), None))


def gradient_bytes(objective: Objective, batch: Batch, index: int) -> int:
    """Return the bytes that the gradient of a prepared batch takes at most, its result not counted."""
    result = torch.zeros(objective.n, dtype=objective.dtype, device=objective.device)
    allocations = Allocations()
    with allocations:
        objective.add_gradient(result, batch, index, 1.0)
    return allocations.peak
