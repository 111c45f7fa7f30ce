"""Numbers with error bars from K quadratures: counts, moments, sums, extreme eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.results import Estimate
from hesscope.spectrum import bands, quadrature, sums
from hesscope.spectrum.sampling import count_interval, jackknife_error
from hesscope.spectrum.skewness import reaches

if TYPE_CHECKING:
    from hesscope.spectrum.result import SpectralDensity

_TRUNCATION = 5  # steps left out to see how much the last ones changed
_ROUNDINGS = 4  # a node this many roundings below zero is negative


def trace(rho: SpectralDensity) -> Estimate:
    """``n mean(alpha_1)``: no quadrature is involved, alpha_1 being z'Hz / z'z itself."""
    method = f"{_given(rho)}mean of n z'Hz / z'z, skewed t-interval across probes"
    skew = sums.skew_of(rho, lambda nodes: nodes)
    return _estimate(rho, _traces(rho), truncation=0.0, skew=skew, method=method)


def moment(rho: SpectralDensity, p: int) -> Estimate:
    """``tr(H^p) / n``; see :meth:`SpectralDensity.moment`."""
    power = _checks.integer("moment", "p", p)
    if power == 0:
        return _make(rho, 1.0, (1.0, 1.0), 0.0, 0.0, "exact")
    if power == 1:
        method = f"{_given(rho)}mean of z'Hz / z'z, skewed t-interval"
        skew = sums.skew_of(rho, lambda nodes: nodes)
        return _estimate(rho, _traces(rho) / rho.n, truncation=0.0, skew=skew, method=method)

    def power_of(nodes: Tensor) -> Tensor:
        return nodes**power

    if not bool(power_of(rho.nodes).isfinite().all()):
        largest = float(rho.nodes.abs().max())
        msg = f"moment: p must be small enough for float64 to hold {largest:.3g}^p, got {power}"
        raise ValueError(msg)
    exact = power <= 2 * rho.num_steps - 1
    truncation = 0.0 if exact else _truncation(rho, lambda q: _sums(q, power_of).mean())
    method = f"{_given(rho)}Gauss quadrature, skewed t-interval across probes" + (
        "" if exact else " + truncation"
    )
    values, skew = _sums(rho.quadrature, power_of), sums.skew_of(rho, power_of)
    return _estimate(rho, values, truncation=truncation, skew=skew, method=method)


def spectral_sum(rho: SpectralDensity, f: Callable[[Tensor], Tensor]) -> Estimate:
    """``tr f(H)``; see :meth:`SpectralDensity.spectral_sum`."""
    errors = sums.estimate(rho, [sums.checked("spectral_sum", f, rho, 0.0)], level=1 - rho.level)
    method = f"{_given(rho)}{sums.METHOD}"
    return _make(rho, errors.value, errors.interval, errors.sampling, errors.quadrature, method)


def count(rho: SpectralDensity, a: float, b: float) -> Estimate:
    """Count eigenvalues in ``[a, b]``; see :meth:`SpectralDensity.count`."""
    low, high = _checks.real("count", "a", a), _checks.real("count", "b", b)
    if low > high:
        msg = f"count: a must be at most b, got a={low} and b={high}"
        raise ValueError(msg)
    return _mass(rho, low, high, scale=float(rho.n))


def negative_mass(rho: SpectralDensity, threshold: float | None) -> Estimate:
    """Share of eigenvalues below zero; see :meth:`SpectralDensity.negative_mass`."""
    if threshold is None:
        threshold = _ROUNDINGS * rho.rounding
    limit = _checks.real("negative_mass", "threshold", threshold)
    if limit < 0:
        msg = f"negative_mass: threshold must be at least 0, got {limit}"
        raise ValueError(msg)
    return _mass(rho, -math.inf, math.nextafter(-limit, -math.inf), scale=1.0)


def negative_curvature(rho: SpectralDensity) -> Estimate:
    """Share of negative curvature; see :meth:`SpectralDensity.negative_curvature`."""

    def negative(nodes: Tensor) -> Tensor:
        return (-nodes).clamp(min=0.0)

    def parts(q: quadrature.Quadrature) -> Tensor:
        return torch.stack([_sums(q, negative), _sums(q, torch.abs)], dim=1)  # [K, 2]

    def ratio(means: Tensor) -> Tensor:
        return means[0] / means[1].clamp(min=torch.finfo(torch.float64).tiny)

    values = parts(rho.quadrature)
    value = float(ratio(values.mean(dim=0)))
    error = jackknife_error(ratio, values)
    skew = sums.skew_of_statistic(rho, [negative, torch.abs], ratio, values.mean(dim=0))
    truncation = _truncation(rho, lambda q: ratio(parts(q).mean(dim=0)))
    below, above = _reaches(rho, skew, error)
    interval = (max(0.0, value - below - truncation), min(1.0, value + above + truncation))
    method = f"{_given(rho)}ratio of sums, skewed jackknife + truncation"
    return _make(rho, value, interval, (below + above) / 2, truncation, method)


def extreme(rho: SpectralDensity, *, largest: bool) -> Estimate:
    """Bracket an end of the spectrum: the outermost Ritz value, and a random-start bound beyond it.

    ``quadrature`` is the residual: some eigenvalue, not always the outermost, is that close to the value.
    """
    q, slack = rho.quadrature, rho.rounding
    flat = int(q.nodes.argmax() if largest else q.nodes.argmin())
    value, residual = float(q.nodes.flatten()[flat]), float(q.residuals.flatten()[flat])
    if bool(q.ended.any()):
        beyond, method = value, "Ritz value of an exhausted Krylov space"
    else:
        outside = rho.random_start_bounds()
        beyond = outside.upper if largest else outside.lower
        method = "outermost Ritz value; beyond it a random-start bound (probabilistic)"
    interval = (value - slack, beyond + slack) if largest else (beyond - slack, value + slack)
    return _make(rho, value, interval, 0.0, residual, method)


def _mass(rho: SpectralDensity, a: float, b: float, *, scale: float) -> Estimate:
    # Per probe: the number of eigenvalues in [a, b] it sees, and the sandwich around it.
    edges = torch.tensor([math.nextafter(a, -math.inf), b], dtype=torch.float64)
    at = quadrature.cdf(rho.quadrature, edges).diff(dim=1)[:, 0]
    lower_cdf, upper_cdf = bands.sampled_bounds(rho, torch.tensor([a, b], dtype=torch.float64))
    lower = rho.num_sampled * (lower_cdf[:, 1] - upper_cdf[:, 0]).clamp(min=0.0)
    upper = rho.num_sampled * (upper_cdf[:, 1] - lower_cdf[:, 0])
    surely, possibly = (0, 0) if rho.deflation is None else rho.deflation.inside(a, b, rho.rounding)
    unit = scale / rho.n
    low, high = unit * (float(lower.mean()) + surely), unit * (float(upper.mean()) + possibly)
    ends = count_interval(lower, upper, rho.num_sampled, rho.level)
    interval = (unit * (ends[0] + surely), unit * (ends[1] + possibly))
    value = min(max(scale * float(at.mean()), interval[0]), interval[1])  # by rounding
    sampling = max(low - interval[0], interval[1] - high) if rho.num_probes > 1 else math.inf
    words = "weight of the nodes; sandwich of each probe, t- and chi-square intervals of its ends"
    method = f"{_given(rho)}{words}"
    return _make(rho, value, interval, sampling, max(value - low, high - value), method)


def _traces(rho: SpectralDensity) -> Tensor:
    """Per probe, the trace: ``[K]``. Known eigenvalues are Rayleigh quotients, so their part is exact."""
    known = 0.0 if rho.deflation is None else float(rho.deflation.values.sum())
    return known + rho.num_sampled * rho.alpha[:, 0]


def _given(rho: SpectralDensity) -> str:
    return "" if rho.deflation is None else f"{len(rho.deflation)} eigenpairs given, the rest: "


def _sums(q: quadrature.Quadrature, f: Callable[[Tensor], Tensor]) -> Tensor:
    """Per probe, the sum of f over the nodes with the weights: ``[K]``."""
    return (q.weights * f(q.nodes)).sum(dim=1)


def _truncation(rho: SpectralDensity, functional: Callable[[quadrature.Quadrature], Tensor]) -> float:
    """Change over the last five steps: 0 if every recurrence ended, inf if there is one step only."""
    if bool(rho.sampled.ended.all()):
        return 0.0
    if rho.num_steps == 1:
        return math.inf
    shorter = rho.shortened(max(rho.num_steps - _TRUNCATION, 1))
    return abs(float(functional(rho.quadrature) - functional(shorter)))


def _estimate(
    rho: SpectralDensity, values: Tensor, *, truncation: float, skew: float, method: str
) -> Estimate:
    """Mean of one value per probe ``[K]``; sampling and truncation errors added."""
    value = float(values.mean())
    largest = max(float(values.abs().max()), math.ulp(0.0))  # whose square float64 may not hold
    spread = largest * float((values / largest).std()) if values.shape[0] > 1 else math.inf
    below, above = _reaches(rho, skew, spread / math.sqrt(values.shape[0]))
    interval = (value - below - truncation, value + above + truncation)
    return _make(rho, value, interval, (below + above) / 2, truncation, method)


def _reaches(rho: SpectralDensity, skew: float, error: float) -> tuple[float, float]:
    """How far an interval of a statistic goes below and above it; ``inf`` for one probe."""
    if math.isinf(error):
        return error, error
    below, above = reaches(rho.num_probes, skew, rho.level)
    return below * error, above * error


def _make(
    rho: SpectralDensity,
    value: float,
    interval: tuple[float, float],
    sampling: float,
    quadrature_error: float,
    method: str,
) -> Estimate:
    known = math.isfinite(sampling) and math.isfinite(quadrature_error)
    error = (interval[1] - interval[0]) / 2 if known else math.inf
    return Estimate(
        value,
        error,
        interval,
        rho.products,
        method,
        rho.status,
        sampling=sampling,
        quadrature=quadrature_error,
    )
