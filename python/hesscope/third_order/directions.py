"""Checks of the directions that are contracted with, and when two of them are one."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope.objective import Objective


def rows(objective: Objective, where: str, **directions: Tensor) -> list[Tensor]:
    """Return directions ``[n]`` or ``[K, n]`` as rows; one row stands for all K of the others.

    Raises
    ------
    ValueError
        If a shape or a device does not fit, or two directions have different numbers of rows.
    TypeError
        If one is no tensor, or has another dtype than the objective.
    """
    found: list[Tensor] = []
    count, whose = 1, ""
    for name, direction in directions.items():
        _check(objective, where, name, direction)
        one = direction.detach()[None] if direction.ndim == 1 else direction.detach()
        if direction.ndim == 2:
            if whose and len(one) != count:
                msg = (
                    f"{where}: {name} must have as many rows as {whose}, {count}, or be one vector, "
                    f"got {len(one)} rows"
                )
                raise ValueError(msg)
            count, whose = len(one), name
        found.append(one if one.stride(1) == 1 else one.contiguous())
    return found


def _check(objective: Objective, where: str, name: str, direction: object) -> None:
    if not isinstance(direction, Tensor):
        msg = f"{where}: {name} must be a tensor, got {type(direction).__name__}"
        raise TypeError(msg)
    n = objective.n
    if direction.ndim not in (1, 2) or direction.shape[-1] != n:
        msg = f"{where}: {name} must have shape [{n}] or [K, {n}], got {list(direction.shape)}"
        raise ValueError(msg)
    if direction.dtype != objective.dtype:
        msg = f"{where}: {name} must be {objective.dtype}, got {direction.dtype}"
        raise TypeError(msg)
    if direction.device != torch.device(objective.device):
        msg = f"{where}: {name} must be on {objective.device}, got {direction.device}"
        raise ValueError(msg)


def same(u: Tensor, v: Tensor) -> bool:
    """Tell whether two directions are one: the same object, or the same storage seen alike."""
    if u is v:
        return True
    return u.data_ptr() == v.data_ptr() and u.shape == v.shape and u.stride() == v.stride()
