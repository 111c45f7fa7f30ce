"""The sum of the bits of tensors, by which a change of them is noticed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import torch
from torch import Tensor

_SMALL = 1 << 16  # bytes: cheaper to copy than to sum by a call of its own
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}


def checksum(watched: Iterable[Tensor]) -> int:
    """Return the sum of the bits of tensors, as 64-bit words; one synchronisation per device."""
    return Checksum()(list(watched))


class Checksum:
    """The sum of the bits of tensors, as 64-bit words; one synchronisation per device.

    Small tensors are summed together, and how they are read is remembered while they stay where they are:
    a product of a small network takes a tenth of a millisecond, and every call of torch a microsecond.
    """

    def __init__(self) -> None:
        self._key: list[Hashable] = []
        self._views: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}  # of small tensors
        self._others: list[int] = []  # which tensors are summed one by one

    def __call__(self, watched: Sequence[Tensor]) -> int:
        """Return the sum for these tensors; it changes with any one word of them."""
        used = [t for t in watched if t.layout == torch.strided and t.numel() > 0]
        key: list[Hashable] = [(t.data_ptr(), t.shape, t.stride(), t.dtype) for t in used]
        if key != self._key:
            self._look_at(used)
            self._key = key
        sums: dict[torch.device, list[Tensor]] = {}
        for (device, _), views in self._views.items():
            sums.setdefault(device, []).append(torch.cat(views).sum())
        for i in self._others:
            sums.setdefault(used[i].device, []).append(_bit_sum(used[i].detach().contiguous()))
        return sum(int(parts[0] if len(parts) == 1 else torch.stack(parts).sum()) for parts in sums.values())

    def _look_at(self, tensors: Sequence[Tensor]) -> None:
        self._views, self._others = {}, []
        for i, t in enumerate(tensors):
            if t.numel() * t.element_size() > _SMALL or not t.is_contiguous():
                self._others.append(i)
                continue
            for view in _views(t.detach()):
                self._views.setdefault((view.device, view.dtype), []).append(view)


def _views(tensor: Tensor) -> list[Tensor]:
    """Return the memory of a contiguous tensor as integers: 64-bit words, and elements where none fit."""
    flat = tensor.as_strided((tensor.numel(),), (1,))  # a stride of 1 even for one entry
    size = flat.element_size()
    element = _INTEGERS.get(size, torch.int64)
    if flat.storage_offset() * size % 8:  # words must start at multiples of 8 within the storage
        return [flat.view(element)]
    rest = flat.numel() * size % 8 // size
    if rest == 0:
        return [flat.view(torch.int64)]
    last = flat[-rest:].view(element)
    return [last] if rest == flat.numel() else [flat[:-rest].view(torch.int64), last]


def _bit_sum(tensor: Tensor) -> Tensor:
    first, *rest = (view.sum() for view in _views(tensor))
    return first + rest[0] if rest else first
