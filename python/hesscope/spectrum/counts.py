"""The number of eigenvalues in an interval."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from hesscope import _checks
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, Estimate
from hesscope.spectrum import bands, quadrature, sampler, sums
from hesscope.spectrum.probing import check_residual
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.sampler import Source
from hesscope.spectrum.sampling import count_interval

_WHERE = "count"


def count(
    operator: Source,
    a: float,
    b: float,
    *,
    eigenpairs: Eigenpairs | None = None,
    num_probes: int | None = None,
    num_steps: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Estimate:
    """Estimate the number of eigenvalues in ``[a, b]``, ends included.

    Parameters
    ----------
    operator
        n x n and symmetric, positive or not; or a :class:`SpectralDensity` of it, which costs no product.
    a, b
        The interval; may be infinite.
    eigenpairs
        Of the operator: pairs that lie in the interval by more than their residual are counted exactly,
        and taken out of the samples. One product checks that they are the operator's; a density has none
        to spend on that.
    num_probes, num_steps, seed, progress
        As :func:`hesscope.spectral_sum`.

    Returns
    -------
    Estimate
        The interval holds what each probe sees between the sandwich of its quadrature (Chebyshev, Markov,
        Stieltjes), and t- and chi-square intervals across probes: it covers at least 95 %.

    Raises
    ------
    TypeError, ValueError, MemoryError, RunFailed
        As :func:`hesscope.spectral_sum`; ValueError if ``a > b``, or the eigenpairs are those of
        another operator.
    """
    low, high = _checks.real(_WHERE, "a", a), _checks.real(_WHERE, "b", b)
    if low > high:
        msg = f"{_WHERE}: a must be at most b, got a={low} and b={high}"
        raise ValueError(msg)
    options = sampler.sampling_of(
        _WHERE,
        operator,
        num_probes=num_probes,
        num_steps=num_steps,
        tol=None,
        max_products=None,
        seed=seed,
        progress=progress,
    )
    pairs = sampler.pairs_of(_WHERE, operator, eigenpairs)
    if pairs is None:
        return sampler.sample(operator, options).count(low, high)
    checks = int(isinstance(operator, SymmetricOperator))
    if isinstance(operator, SymmetricOperator):
        check_residual(_WHERE, pairs, operator)
    counted = _without(sampler.sample(operator, options), pairs, low, high)
    return replace(counted, products=counted.products + checks)


def _without(rho: SpectralDensity, pairs: Eigenpairs, a: float, b: float) -> Estimate:
    """Count with eigenpairs taken out: what a probe sees of them is known.

    Those inside, if few eigenvalues are; those outside, if few are outside: the many vary less, together.
    """
    known, slack = sums.known_pairs(rho, pairs), pairs.residuals + rho.rounding
    edges = torch.tensor([math.nextafter(a, -math.inf), b], dtype=torch.float64)
    at = rho.n * quadrature.cdf(rho.quadrature, edges).diff(dim=1)[:, 0]
    lower_cdf, upper_cdf = bands.bounds(rho, torch.tensor([a, b], dtype=torch.float64))
    lower, upper = (
        rho.n * (top[:, 1] - bottom[:, 0]) for top, bottom in ((lower_cdf, upper_cdf), (upper_cdf, lower_cdf))
    )
    many = float(at.mean()) > rho.n / 2
    if many:
        taken = (pairs.values + slack < a) | (pairs.values - slack > b)
    else:
        taken = (pairs.values - slack > a) & (pairs.values + slack < b)
    seen, number = known.squares[:, taken].sum(dim=1), int(taken.sum())
    rest = rho.n - number
    change, added = (seen - number, 0) if many else (-seen, number)
    at, lower, upper = ((x + change).clamp(0.0, rest) for x in (at, lower, upper))
    ends = count_interval(lower, upper, rest)
    interval = (added + ends[0], added + ends[1])
    value = min(max(added + float(at.mean()), interval[0]), interval[1])
    low, high = added + float(lower.mean()), added + float(upper.mean())
    several = rho.num_probes > 1
    method = (
        f"{number} eigenpairs {'outside' if many else 'inside'} counted; the rest: weight of the nodes, "
        "sandwich of each probe, t- and chi-square intervals of its ends"
    )
    return Estimate(
        value,
        (interval[1] - interval[0]) / 2 if several else math.inf,
        interval,
        rho.products,
        method,
        rho.status,
        sampling=max(low - interval[0], interval[1] - high) if several else math.inf,
        quadrature=max(value - low, high - value, 0.0),
    )
