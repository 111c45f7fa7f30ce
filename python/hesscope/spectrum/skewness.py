"""Intervals for means of skewed samples, whose skewness the spectrum tells.

A probe's value ``z' f(H) z`` is close to ``sum_i f(lambda_i) chi_i^2`` with independent chi-square variables
of one degree of freedom, as it is for Gaussian probes: its cumulants are ``2^(p-1) (p-1)! sum_i
f(lambda_i)^p``, and the quadratures that estimate ``tr f(H)`` estimate ``tr f(H)^2`` and ``tr f(H)^3`` too. A
few outliers make it as skewed as one chi-square variable, of which 8 samples give a t-interval that holds in
87 % of cases, not 95 %.
"""

from __future__ import annotations

import math
from functools import lru_cache

from torch import Tensor

from hesscope.spectrum.sampling import student

MOST = math.sqrt(8)  # of one eigenvalue alone: sum f^3 <= (sum f^2)^(3/2)
_BELIEVED = 0.6  # of the skewness estimated, which goes up and down with the samples themselves
_GRID = 0.1  # of skewnesses, so that few distributions are drawn
_DRAWS, _SAMPLES = 2**20, 256
_MANY = 10**6  # degrees of freedom: the normal distribution


def skewness(squares: float, cubes: float) -> float:
    """Return that of ``sum_i c_i chi_i^2`` from ``sum c_i^2`` and ``sum c_i^3``; 0 where nothing varies.

    Estimated sums may give more than ``MOST``, where samples happen to see little of an outlier: then the
    truth lies far above them, and the excess is of use.
    """
    return MOST * (cubes / squares) / math.sqrt(squares) if squares > 0 else 0.0


def reaches(count: int, skew: float, level: float) -> tuple[float, float]:
    """Return how many standard errors an interval of a mean goes below and above it; ``inf`` for one sample.

    The quantiles of Student's statistic of ``count`` samples of a gamma distribution with that skewness, and
    at least Student's own: the longer end is what skewness makes longer, the shorter end is not shortened.

    Parameters
    ----------
    count
        Number of samples.
    skew
        Of one sample, as estimated; six tenths of it are believed, up to ``MOST``.
    level
        Of the interval.
    """
    if count < 2:
        return math.inf, math.inf
    plain = student(count - 1, level)
    rounded = round(min(_BELIEVED * abs(skew), MOST) / _GRID) * _GRID
    if rounded == 0:
        return plain, plain
    lower, upper = _quantiles(count, rounded, (1 - level) / 2)
    # mean - t se: a low statistic is what a mean above the samples' looks like.
    below, above = max(plain, upper), max(plain, -lower)
    return (below, above) if skew > 0 else (above, below)


@lru_cache(maxsize=1024)
def _quantiles(count: int, skew: float, tail: float) -> tuple[float, float]:
    """Return the two quantiles of the studentised mean of ``count`` gamma samples, by drawing them."""
    import numpy as np

    if count > _SAMPLES:  # the first term of Hall's expansion (1992): what is left is of order 1 / count
        plain = student(count - 1, 1 - 2 * tail)
        shift = skew * (2 * plain**2 + 1) / (6 * math.sqrt(count))
        return -plain - shift, plain - shift
    shape = 4 / skew**2
    draws = np.random.default_rng(0).standard_gamma(shape, (_DRAWS // count, count)) - shape
    spread = np.maximum(draws.std(axis=1, ddof=1), np.finfo(np.float64).tiny)
    lower, upper = np.quantile(math.sqrt(count) * draws.mean(axis=1) / spread, (tail, 1 - tail))
    return float(lower), float(upper)


def hall_shift(skew: Tensor, count: int, level: float) -> Tensor:
    """Return by how many standard errors skewness moves an interval's ends, in the direction of its sign.

    The first term of Hall's expansion (1992), for many means at once: ``skew (2 z^2 + 1) / (6 sqrt(count))``.
    Added to the longer end alone, intervals of sums of 1 to 1000 chi-square variables hold in 93 to 97 % of
    cases with 4 to 32 samples.
    """
    z = student(_MANY, level)
    return skew * (2 * z**2 + 1) / (6 * math.sqrt(count))
