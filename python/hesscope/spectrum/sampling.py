"""Errors from having few probes: Student intervals across probes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

CONFIDENCE = 0.95


def half_width(values: Tensor) -> Tensor:
    """Half-width of the 95 % t-interval of a mean: ``[K, ...] -> [...]``; ``inf`` for K = 1.

    Right for linear functionals of the measure, whose values are independent across probes.
    """
    count = values.shape[0]
    if count < 2:
        return torch.full_like(values[0], torch.inf)
    return student(count - 1) * values.std(dim=0) / math.sqrt(count)


def jackknife(statistic: Callable[[Tensor], Tensor], values: Tensor) -> float:
    """Half-width for a smooth nonlinear function of means (Efron and Stein 1981).

    Parameters
    ----------
    statistic
        Maps means ``[...]`` to a scalar.
    values
        Shape ``[K, ...]``, one entry per probe.
    """
    count = values.shape[0]
    if count < 2:
        return math.inf
    total = values.sum(dim=0)
    left_out = torch.stack([statistic((total - value) / (count - 1)) for value in values])
    spread = (left_out - left_out.mean()).square().sum() * (count - 1) / count
    return student(count - 1) * math.sqrt(float(spread))


def student(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
