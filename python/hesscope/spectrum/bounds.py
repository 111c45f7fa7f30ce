"""Intervals that hold the spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

FAILURE = 0.05  # unless an adaptive run shares it out among its looks


@dataclass(frozen=True)
class SpectrumBounds:
    """An interval [lower, upper] for all eigenvalues, and where it comes from.

    Attributes
    ----------
    lower, upper
        May be infinite where too few steps say nothing.
    method
        "given" by the caller, "exact" where a recurrence ended, or "probabilistic": a random-start bound
        that fails with probability at most 5 % for starts uniform on the sphere.
    """

    lower: float
    upper: float
    method: str


def random_start_bounds(nodes: Tensor, *, n: int, steps: int, failure: float = FAILURE) -> SpectrumBounds:
    """Bound the spectrum from outside, from the extreme Ritz values of K independent random starts.

    For one start uniform on the sphere and m steps, ``lambda_max <= theta_max + eps (lambda_max -
    lambda_min)`` fails with probability at most ``1.648 sqrt(n) exp(-(2m - 1) sqrt(eps))`` (Kuczyński and
    Woźniakowski 1992, theorem 4.2, applied to ``H - lambda_min``). The largest Ritz value of K starts fails
    only if all do. Each end takes half of ``failure``. Starts of random signs are not uniform: for an
    eigenvector with few entries that differ from zero the probability is larger.

    Parameters
    ----------
    nodes
        Shape ``[K, m]``: Ritz values.
    n, steps
        Size of the operator, and steps of each recurrence.
    failure
        Probability that the interval may miss an eigenvalue.
    """
    low, high = float(nodes.min()), float(nodes.max())
    per_start = (failure / 2) ** (1 / nodes.shape[0])
    exponent = math.log(1.648 * math.sqrt(n) / per_start) / (2 * steps - 1)
    eps = max(exponent, 0.0) ** 2
    if eps >= 0.5:
        return SpectrumBounds(-math.inf, math.inf, "probabilistic")
    # Both ends together: spread <= (high - low) + 2 eps spread.
    margin = eps * (high - low) / (1 - 2 * eps)
    return SpectrumBounds(low - margin, high + margin, "probabilistic")
