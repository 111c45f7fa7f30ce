"""Errors from having few probes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

CONFIDENCE = 0.95


def half_width(values: Tensor, level: float = CONFIDENCE) -> Tensor:
    """Half-width of the t-interval of a mean: ``[K, ...] -> [...]``; ``inf`` for K = 1.

    Right for linear functionals of the measure, whose values are independent across probes.
    """
    count = values.shape[0]
    if count < 2:
        return torch.full_like(values[0], torch.inf)
    return student(count - 1, level) * values.std(dim=0) / math.sqrt(count)


def jackknife_error(statistic: Callable[[Tensor], Tensor], values: Tensor) -> float:
    """Standard error of a smooth nonlinear function of means (Efron and Stein 1981); ``inf`` for one probe.

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
    away = left_out - left_out.mean()
    largest = float(away.abs().max())  # whose square float64 may not hold
    if largest == 0:
        return 0.0
    return largest * math.sqrt(float((away / largest).square().sum()) * (count - 1) / count)


def count_interval(lower: Tensor, upper: Tensor, n: int, level: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a number of eigenvalues, from what K probes see of it.

    A probe sees N eigenvalues as a sum of squares with mean N and variance at most 2 N, for random signs
    as for Gaussian probes: chi-square with N degrees of freedom where the eigenvectors are spread out. For
    small N it is skewed, and a t-interval alone covers too little. So both ends are the wider of a t-interval
    and of the N for which the mean seen is in a tail of chi-square, 2.5 % at a level of 95 %.

    Parameters
    ----------
    lower, upper
        Shape ``[K]``: bounds of what each probe sees, in ``[0, n]``.
    n
        Number of all eigenvalues.
    level
        Of the interval.
    """
    if lower.shape[0] < 2:
        return 0.0, float(n)
    low, high = float(lower.mean()), float(upper.mean())
    tails = (low - float(half_width(lower, level)), high + float(half_width(upper, level)))
    tail = (1 - level) / 2
    skewed = (
        _seen(low, n, lower.shape[0], tail, above=False),
        _seen(high, n, lower.shape[0], tail, above=True),
    )
    return max(0.0, min(tails[0], skewed[0])), min(float(n), max(tails[1], skewed[1]))


def _seen(mean: float, n: int, probes: int, tail: float, *, above: bool) -> float:
    """Return the N for which a mean this small (``above``) or this large has probability ``tail``."""
    from scipy.special import chdtriv

    if mean > n / 2:  # the others are the few, and the skewed ones
        return n - _seen(n - mean, n, probes, tail, above=not above)
    if mean <= 0:
        return 0.0
    return float(chdtriv(tail if above else 1 - tail, mean * probes)) / probes


def student(freedom: int, level: float = CONFIDENCE) -> float:
    """Two-sided quantile of Student's distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2))
