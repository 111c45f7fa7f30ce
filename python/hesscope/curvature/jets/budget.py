"""Keeping products within a memory budget: values that are kept, vectors at once, batches that are cut."""

from __future__ import annotations

import torch

from hesscope.curvature.jets.footprint import Footprint
from hesscope.curvature.plan import Group, Plan
from hesscope.curvature.split import samples, split_large, why_whole
from hesscope.objective.data import Batch, concatenate

# Bytes of coefficients at once. Beyond, tensors no longer fit the caches, and the allocator of the host
# returns them to the system after every operator: a small CNN takes 2.45 gradients a product with 2
# vectors (40 MiB) at once, 2.75 with 4, 3.25 with 8.
_WORKING_SET = {"cpu": 40 << 20}

# A product of one vector, and the first product's check by double backward, need up to this many times
# the memory of a gradient: 2.6 for a dense network, 3.2 for a convolutional one, 3.8 for a transformer.
GRADIENTS = 4.0


class TooLargeError(Exception):
    """A product of one vector on a group does not fit the budget.

    Parameters
    ----------
    number
        Of the group in the plan.
    needed
        Bytes that would be enough.
    estimated
        True if that was not measured, but follows from the memory of a gradient.
    """

    def __init__(self, number: int, needed: int, *, estimated: bool = False) -> None:
        super().__init__(number, needed)
        self.number = number
        self.needed = needed
        self.estimated = estimated


def working_set(left: int, device: torch.device) -> int:
    """Return how many bytes of coefficients to have at once, of those that are left."""
    return min(left, _WORKING_SET.get(device.type, left))


def vectors_at_once(left: int, footprint: Footprint, cached: int, device: torch.device) -> int:
    """Return how many vectors to push through a batch at once, at least 1.

    ``left`` bytes of the budget; ``cached`` are those of a vector that caches should hold.
    """
    return max(1, min(left // max(footprint.probe, 1), working_set(left, device) // max(cached, 1)))


def cut_again(plan: Plan, limit: int) -> Plan:
    """Cut the batches of a new plan as those of the one before it, if they still can be cut."""
    try:
        return split_large(plan, limit)
    except ValueError:
        return plan


def foresee(plan: Plan, number: int, batch: Batch, gradient: int, budget: int) -> None:
    """Raise TooLargeError before a batch is captured that can be cut, and is bound not to fit the budget.

    ``gradient`` bytes is what its gradient needed, parts that do not grow with the batch left out: products
    go straight to where they belong.
    """
    needed = plan.held + int(GRADIENTS * gradient)
    if needed > budget > 0 and samples(batch) > 1 and not why_whole(plan.objective):
        raise TooLargeError(number, needed, estimated=True)


def cut(matrix: str, plan: Plan, error: TooLargeError, budget: int, *, may_cut: bool) -> Plan:
    """Return a plan with parts of a group that did not fit.

    Raises
    ------
    MemoryError
        If it has one sample only, or cannot be cut; the message says what would be enough.
    """
    group, whole = _group(plan, error.number)
    count = samples(whole)
    reason = why_whole(plan.objective) if may_cut else "it is evaluated as one"
    if count > 1 and not reason:
        rows = int(count * 0.9 * (budget - plan.held) / (error.needed - plan.held))
        try:
            return split_large(plan, min(max(rows, 1), count - 1))
        except ValueError as refusal:
            reason = str(refusal)
    index = group.entries[0].index
    what = f"one sample of batch {index}" if count == 1 else f"batch {index}, which cannot be cut: {reason}"
    msg = (
        f"{matrix}: memory_budget must be at least {error.needed} bytes ({error.needed / 2**20:.1f} MiB) for "
        f"one vector on {what}; got {budget} ({budget / 2**20:.1f} MiB); raise it, or make batches smaller"
    )
    raise MemoryError(msg)


def _group(plan: Plan, number: int) -> tuple[Group, Batch]:
    for place, (group, batches) in enumerate(plan.walk()):
        if place == number:
            return group, concatenate(batches)
    raise IndexError(number)
