"""Splitting large batches, so that a product fits a memory budget."""

from __future__ import annotations

from dataclasses import replace

import torch

from hesscope.curvature.merge import join, obstacle, rounding
from hesscope.curvature.plan import Group, Plan
from hesscope.objective import Objective
from hesscope.objective.data import Batch, concatenate, narrowed, signature, tensors


def samples(batch: Batch) -> int:
    """Return how many samples a batch can be cut into: 1 where its tensors have no common length."""
    return 1 if signature(batch) is None else int(tensors(batch)[0].shape[0])


def why_whole(objective: Objective) -> str:
    """Say why the batches of an objective cannot be cut, or return an empty string."""
    return obstacle(objective)


def split_large(plan: Plan, rows: int) -> Plan:
    """Return a plan whose groups have at most ``rows`` samples each, with the same H.

    That is the same if the criterion is a counted mean, or a sum, over the samples and the model treats
    samples apart. As for merging, the second is measured: on the first batch that is cut, the gradient of
    two parts together must be the sum of theirs, to rounding. Costs 4 parts of a gradient.

    Raises
    ------
    ValueError
        If it is not the same; the message is the reason, for a person to read.
    """
    reason = why_whole(plan.objective)
    if reason:
        raise ValueError(reason)
    plan = replace(plan, groups=plan.uncut or plan.groups)  # parts of parts would be of many shapes
    groups: list[Group] = []
    checked = False
    for group, batches in plan.walk():
        whole = concatenate(batches)
        if samples(whole) <= rows:
            groups.append(group)
            continue
        if not checked and not _adds_up(plan.objective, whole, rows, group.entries[0].index):
            msg = "the model mixes samples (the gradient of a batch is not the sum of its parts')"
            raise ValueError(msg)
        checked = True
        groups += _parts(plan.objective, group, whole, rows)
    return replace(plan, groups=groups, limit=rows, uncut=plan.groups)


def _parts(objective: Objective, group: Group, whole: Batch, rows: int) -> list[Group]:
    adds = objective.criterion is not None and objective.criterion.reduction == "sum"
    scale, _ = objective.coefficients(objective.prepare(whole))
    total = (1.0 if adds else scale) / group.scale
    found = []
    for start in range(0, samples(whole), rows):
        part = slice(start, min(start + rows, samples(whole)))
        scale, _ = objective.coefficients(objective.prepare(narrowed(whole, part)))
        if scale != 0:
            found.append(Group(group.entries, scale / total, part=part))
    return found


def _adds_up(objective: Objective, whole: Batch, rows: int, index: int) -> bool:
    """Compare the gradient of the first two parts with that of both together."""
    both = slice(0, min(2 * rows, samples(whole)))
    parts = (slice(0, rows), slice(rows, both.stop))
    scales = [objective.coefficients(objective.prepare(narrowed(whole, p)))[0] for p in (*parts, both)]
    if 0 in scales:
        return True  # nothing counts in one of them
    adds = objective.criterion is not None and objective.criterion.reduction == "sum"
    apart = torch.zeros(objective.n, dtype=objective.dtype, device=objective.device)
    together, size = torch.zeros_like(apart), 0.0
    try:
        for part, scale in zip(parts, scales[:2], strict=True):
            piece = torch.zeros_like(apart)
            batch = join(objective, [narrowed(whole, part)])
            objective.add_gradient(piece, batch, index, 1.0 if adds else scale / scales[2])
            size += float(piece.norm())
            apart += piece
        objective.add_gradient(together, join(objective, [narrowed(whole, both)]), index, 1.0)
    except (RuntimeError, ValueError, IndexError, TypeError):  # the model insists on its batch size
        return False
    return float((together - apart).norm()) <= rounding(objective.parameter_set.tensors) * size
