"""Results that are computed a second time instead of being held between the forward and the backward pass.

What enters a layer is needed again for the gradient of its weight. Where it is an activation or an affine map
of something that is held anyway, as behind a normalisation, it costs a pass over memory to have it again, and
a layer's coefficients to keep it (Griewank and Walther 2008, chapter 12: checkpointing).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from hesscope.curvature.jets.higher.rules import PIECEWISE_LINEAR
from hesscope.curvature.jets.partition import Partition, coefficient_bytes

aten = torch.ops.aten

_CHEAP = frozenset([*PIECEWISE_LINEAR, aten.mul.Tensor, aten.addcmul.default])
_GAP = 8  # instructions between two uses; nearer ones are served by the same result
_SMALL = 64  # what is so many times smaller than the largest result is held

Schedule = list[tuple[int, tuple[int, ...]]]
"""Instructions in their order, some of them twice, each with the values that end there."""


def schedule(parts: Partition) -> Schedule:
    """Return in which order to run so that cheap results are not held where most is."""
    most = _fullest(parts)
    return _with_ends(parts, _order(parts, most))


def _fullest(parts: Partition) -> int:
    """Return after how many instructions most bytes of coefficients are alive."""
    owner: dict[int, int] = {}  # of the memory that a view shows
    last: dict[int, int] = {}
    for position, (index, item) in enumerate(parts.moving.items()):
        view = not (item.rule.reads or item.rule.reads_output) and len(item.sources) == 1
        owner[index] = owner.get(item.sources[0], item.sources[0]) if view else index
        last.update((owner.get(source, source), position) for source in item.sources)
    ends: dict[int, int] = defaultdict(int)
    now = peak = most = 0
    for position, (index, item) in enumerate(parts.moving.items()):
        if owner[index] == index and not item.adds:
            size = coefficient_bytes(item.instruction.value)
            now += size
            ends[last.get(index, position)] += size
        if now > peak:
            peak, most = now, position
        now -= ends[position]
    return most


def _order(parts: Partition, most: int) -> list[int]:
    """Return the order, with cheap results of before ``most`` computed again for what uses them after it."""
    moving = parts.moving
    places = {index: position for position, index in enumerate(moving)}
    last: dict[int, int] = {}
    before: dict[int, int] = {}  # the last use that is not after ``most``
    for index, item in moving.items():
        last.update((source, places[index]) for source in item.sources)
        if places[index] <= most:
            before.update((i, places[index]) for i in (*item.sources, index) if i in moving)
    largest = max((coefficient_bytes(item.instruction.value) for item in moving.values()), default=0)

    def is_small(index: int) -> bool:
        return coefficient_bytes(moving[index].instruction.value) * _SMALL < largest

    def chain(index: int, place: int) -> set[int] | None:
        """Return what is computed again to have a result once more at a place; None if that is not cheap."""
        item = moving[index]
        if item.instruction.target not in _CHEAP or item.terms or places[index] > most or is_small(index):
            return None
        found = {index}
        for source in item.sources:
            if source in moving and last[source] < place and not is_small(source):
                more = chain(source, place)
                if more is None:
                    return None
                found |= more
        return found

    dropped: set[int] = set()
    order: list[int] = []

    def emit(index: int) -> None:
        for source in moving[index].sources:
            if source in dropped:
                dropped.discard(source)
                emit(source)
        order.append(index)

    for place, index in enumerate(moving):
        emit(index)
        if place == most:
            later = [(p, s) for p, i in enumerate(moving) if p > most for s in moving[i].sources]
            first = {s: p for p, s in reversed(later) if s in before}
            for source, use in first.items():
                if use - before[source] > _GAP:
                    dropped |= chain(source, use) or set()
    return order


def _with_ends(parts: Partition, order: Sequence[int]) -> Schedule:
    """Add which values are not used any more, or not before they are computed again."""
    found: Schedule = []
    alive: set[int] = set()
    for index in reversed(order):
        sources = set(parts.moving[index].sources)
        found.append((index, tuple({index, *sources} - alive)))
        alive.discard(index)
        alive |= sources
    return found[::-1]
