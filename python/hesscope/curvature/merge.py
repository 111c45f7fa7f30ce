"""Merging small batches, so that a product runs few large matrix products instead of many small ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope.curvature.allocations import gradient_bytes
from hesscope.curvature.graph import build_graph
from hesscope.curvature.plan import Group, Plan
from hesscope.objective import Objective
from hesscope.objective.data import Batch, concatenate, signature, tensors

# Rows (samples, tokens, lines of pixels) beyond which matrix products gain nothing from more of them:
# measured for dense layers on one core between 128 and 256.
_ROWS = {"cpu": 256, "cuda": 4096}


def merge_small(plan: Plan, budget: int, *, gradients: float | None = None) -> None:
    """Merge consecutive batches of a plan where that gives the same H, and say so in ``plan.merging``.

    It does if the criterion is a counted mean, or a sum, over the samples and the model treats samples
    apart. The first cannot be known for an unknown loss. The second is measured: the gradient of the
    first merged group must be that of its batches, to rounding; so a model that takes its batch in
    another dimension, or normalises over it, keeps its batches.

    Costs one gradient of the first group's batches, and a graph of the first batch, once; a gradient
    instead, if ``gradients`` says how many times its memory a batch needs.
    """
    if len(plan.groups) < 2:
        plan.merging = "there is one batch"
        return
    reason = obstacle(plan.objective)
    if reason:
        plan.merging = f"not merged: {reason}"
        return
    groups = _group(plan, _ROWS.get(plan.objective.device.type, 4096), budget, gradients)
    if len(groups) == len(plan.groups):
        plan.merging = "not merged: large enough, of different shapes, or beyond memory_budget together"
    elif not _agrees(plan, groups):
        plan.merging = "not merged: the model mixes samples (the merged gradient is another)"
    else:
        plan.merging = f"merged into {len(groups)}"
        plan.groups = groups


def join(objective: Objective, batches: list[Batch]) -> Batch:
    """Make one batch of a group's batches, on the device of the parameters."""
    return concatenate([objective.prepare(batch) for batch in batches])


def obstacle(objective: Objective) -> str:
    """Say why samples of different batches cannot be told to add up, or return an empty string."""
    criterion = objective.criterion
    if criterion is None or not criterion.separable:
        return "the loss is not a known criterion"
    if objective.weight is not None:
        return "weight= is given per batch"
    if objective.state.live_dropout():
        return "dropout draws one mask per batch"
    mixing = objective.state.mixes_samples()
    return f"{', '.join(mixing[:3])} normalises over the batch" if mixing else ""


def _rows(batch: Batch) -> int:
    """Return the rows that a layer's matrix product has for a batch."""
    first = tensors(batch)[0]
    has_features = first.is_floating_point() and first.ndim > 1
    return first.numel() // max(first.shape[-1], 1) if has_features else first.numel()


def _group(plan: Plan, limit: int, budget: int, gradients: float | None) -> list[Group]:
    """Return groups of consecutive batches of one signature with at most ``limit`` rows each."""
    described = [(signature(batches[0]), _rows(batches[0]), group) for group, batches in plan.walk()]
    if all(rows + following > limit for (_, rows, _), (_, following, _) in itertools.pairwise(described)):
        return plan.groups
    limit = min(limit, _affordable_rows(plan, budget, gradients))
    adds = plan.objective.criterion is not None and plan.objective.criterion.reduction == "sum"
    merged: list[Group] = []
    last, filled = None, 0
    for shape, rows, group in described:
        if merged and shape is not None and shape == last and filled + rows <= limit:
            merged[-1].entries.extend(group.entries)
            merged[-1].scale += 0.0 if adds else group.scale
            filled += rows
        else:
            merged.append(Group(list(group.entries), group.scale))
            last, filled = shape, rows
    return merged


def _affordable_rows(plan: Plan, budget: int, gradients: float | None) -> int:
    """Return how many rows half of the budget has room for, from the first batch."""
    group, batches = next(plan.walk())
    batch, index = join(plan.objective, batches), group.entries[0].index
    if gradients is None:
        size = float(build_graph(plan.objective, batch, index).size)
    else:
        size = gradients * gradient_bytes(plan.objective, batch, index)
    return int(budget / 2 / max(size, 1) * _rows(batch))


def _agrees(plan: Plan, groups: list[Group]) -> bool:
    """Compare the gradient of the first merged group with that of its batches."""
    objective = plan.objective
    group = next(group for group in groups if len(group.entries) > 1)
    members = {entry.index for entry in group.entries}
    apart = torch.zeros(objective.n, dtype=objective.dtype, device=objective.device)
    size = 0.0
    batches: list[Batch] = []
    for single, sources in plan.walk():
        entry = single.entries[0]
        if entry.index in members:
            batches += [objective.prepare(source) for source in sources]
            part = torch.zeros_like(apart)
            objective.add_gradient(part, batches[-1], entry.index, single.scale)
            size += float(part.norm())
            apart += part
            if len(batches) == len(members):
                break
    try:
        together = torch.zeros_like(apart)
        objective.add_gradient(together, concatenate(batches), group.entries[0].index, group.scale)
    except (RuntimeError, ValueError, IndexError, TypeError):  # the model insists on its batch size
        return False
    return float((together - apart).norm()) <= rounding(objective.parameter_set.tensors) * size


def rounding(parameters: Sequence[Tensor]) -> float:
    """Return how far two orders of summation may be apart, relative to what is summed.

    A few hundred roundings on the way through a deep model. Too small a bound costs speed only; in low
    precision, where that would admit anything, half of the digits.
    """
    eps = max(torch.finfo(p.dtype).eps for p in parameters)
    return float(min(256 * eps, eps**0.5))
