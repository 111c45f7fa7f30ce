"""In which order the values of convolutions lie in memory: channels first, or last where that is faster.

The library that convolves on a CPU rearranges channels-first tensors on every call; values that lie with
their channels last go in and out as they are, and elementwise operators keep the order. A captured listing
is functional, so the order of its values is free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Shape
from hesscope.curvature.jets.trace import Listing, references

aten = torch.ops.aten

_CONVOLUTIONS = {aten.convolution.default: (0, 1), aten.convolution_backward.default: (0, 1, 2)}
_DTYPES = (torch.float32, torch.bfloat16)  # others are not convolved by that library
_RUNS = 2  # of which the faster counts: the first prepares the library
_chosen: dict[Hashable, bool] = {}


def convolved(listing: Listing) -> frozenset[int]:
    """Return what convolutions over two dimensions read; nothing where the order in memory is read, too."""
    found: set[int] = set()
    for instruction in listing.code:
        if instruction.target is aten.as_strided.default:
            return frozenset()
        for position in _CONVOLUTIONS.get(instruction.target, ()):
            found.update(references(instruction.args[position]))
    shapes = {(s.shape, s.dtype) for s in (listing.shapes[i] for i in found)}
    shapes = {(shape, dtype) for shape, dtype in shapes if len(shape) == 4 and dtype in _DTYPES}
    return frozenset(
        i for i, s in enumerate(listing.shapes) if isinstance(s, Shape) and (s.shape, s.dtype) in shapes
    )


def channels_last(value: Any) -> Any:
    """Return a tensor with its channels last in memory."""
    return value.contiguous(memory_format=torch.channels_last) if isinstance(value, Tensor) else value


def faster_last(listing: Listing, device: torch.device, run: Callable[[bool], object]) -> bool:
    """Tell whether ``run(True)``, with channels last, is faster than ``run(False)``.

    Measured once per process for the same convolutions and number of threads.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    key = (torch.get_num_threads(), _signature(listing))
    if key not in _chosen:
        seconds = {last: min(_seconds(run, last) for _ in range(_RUNS)) for last in (False, True)}
        _chosen[key] = seconds[True] < seconds[False]
    return _chosen[key]


def _seconds(run: Callable[[bool], object], last: bool) -> float:
    start = time.perf_counter()
    run(last)
    return time.perf_counter() - start


def _signature(listing: Listing) -> Hashable:
    def describe(argument: Any) -> Hashable:
        found = references(argument)
        shape = listing.shapes[found[0]] if found else None
        return (shape.shape, shape.dtype) if isinstance(shape, Shape) else str(argument)

    code = [item for item in listing.code if item.target in _CONVOLUTIONS]
    return tuple((str(item.target), *map(describe, item.args)) for item in code)


def shaped_like(t: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a tensor of which only the shape, and the order in memory, counts: that of ``t``."""
    last = t.ndim == 4 and t.is_contiguous(memory_format=torch.channels_last)
    return (
        t.new_empty(shape)
        if not last
        else torch.empty(tuple(shape), dtype=t.dtype, device=t.device, memory_format=torch.channels_last)
    )


def rows_like(part: Tensor, k: int) -> Tensor:
    """Return an empty ``[K, *shape]`` whose rows lie in memory as ``part`` does."""
    return part.new_empty_strided((k, *part.shape), (part.numel(), *part.stride()))


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Stack, with rows that lie in memory as the parts do."""
    if len(parts) == 1:
        return parts[0][None]
    out = rows_like(parts[0], len(parts))
    for row, part in zip(out, parts, strict=True):
        row.copy_(part)
    return out
