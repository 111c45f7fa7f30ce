"""Curves with error bands: smoothed densities and distribution functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope import _checks, _ops
from hesscope.results import Band, Status
from hesscope.spectrum import quadrature
from hesscope.spectrum.sampling import half_width
from hesscope.spectrum.skewness import MOST, hall_shift

if TYPE_CHECKING:
    from hesscope.spectrum.result import SpectralDensity

_MARGIN = 4  # sigmas beyond the outermost nodes: a Gaussian is below 4e-4 of its height there
POINTS = 1024  # of the default grid
_FINE = 100  # an exact spectrum is drawn as if 100 steps had been taken


def default_sigma(rho: SpectralDensity) -> float:
    """Return range of the nodes over the steps; a spectrum of one point gets a hundredth of its size."""
    steps = rho.num_steps
    if rho.status is Status.INVARIANT_SUBSPACE:
        steps = max(steps, _FINE)
    low, high = float(rho.nodes.min()), float(rho.nodes.max())
    if high - low > rho.rounding:
        resolved = float(rho.sampled.nodes.max() - rho.sampled.nodes.min()) / steps
        return max(resolved, (high - low) / max(steps, POINTS))
    return max(abs(low), abs(high)) / _FINE or 1.0


def default_grid(rho: SpectralDensity, num_points: int, sigma: float | None) -> Tensor:
    """Return evenly spaced points from 4 sigma below the lowest node to 4 above the highest."""
    count = _checks.integer("grid", "num_points", num_points, least=2)
    width = _sigma(rho, "grid", sigma)
    low, high = float(rho.nodes.min()), float(rho.nodes.max())
    return torch.linspace(low - _MARGIN * width, high + _MARGIN * width, count, dtype=torch.float64)


def density_band(rho: SpectralDensity, grid: Tensor, sigma: float | None) -> Band:
    """Return mean and t-interval of the smoothed densities of the probes, longer where samples are skewed."""
    width = _sigma(rho, "density", sigma)
    points = checked_points("density", "grid", grid)
    per_probe = _ops.smoothed_density(rho.nodes, rho.weights, points, sigma=width)
    mean, half = per_probe.mean(dim=0), half_width(per_probe, rho.level)
    if rho.num_probes == 1:
        return Band(points, mean, (mean - half).clamp(min=0.0), mean + half, width)
    longer = hall_shift(_smoothed_skewness(rho, points, width), rho.num_probes, rho.level)
    spread = per_probe.std(dim=0) / math.sqrt(rho.num_probes)
    above, below = spread * longer.clamp(min=0.0), spread * (-longer).clamp(min=0.0)
    return Band(points, mean, (mean - half - below).clamp(min=0.0), mean + half + above, width)


def _smoothed_skewness(rho: SpectralDensity, points: Tensor, sigma: float) -> Tensor:
    """Skewness of what one probe sees of the smoothed density: ``[G] -> [G]``; see ``skewness``."""
    q, powers = rho.sampled, []
    for p in (1, 2, 3):  # a power of a Gaussian is a narrower one
        factor = (2 * math.pi * sigma**2) ** (-(p - 1) / 2) / math.sqrt(p)
        narrow = _ops.smoothed_density(q.nodes, q.weights, points, sigma=sigma / math.sqrt(p))
        powers.append(factor * narrow.mean(dim=0))
    first, second, third = powers
    squares = rho.num_sampled * (second - first**2).clamp(min=0.0)
    cubes = rho.num_sampled * (third - 3 * first * second + 2 * first**3)
    skew = MOST * cubes / squares.pow(1.5)
    return torch.where(squares > 0, skew.nan_to_num(0.0), 0.0).clamp(-MOST, MOST)


def cdf_band(rho: SpectralDensity, x: Tensor) -> Band:
    """Return the mean distribution function, between the sandwich's ends widened by their t-intervals."""
    points = checked_points("cdf_band", "x", x)
    lower, upper = bounds(rho, points)
    return Band(
        points,
        quadrature.cdf(rho.quadrature, points).mean(dim=0),
        (lower.mean(dim=0) - half_width(lower, rho.level)).clamp(min=0.0),
        (upper.mean(dim=0) + half_width(upper, rho.level)).clamp(max=1.0),
        0.0,
    )


def sampling_distance(rho: SpectralDensity) -> float:
    """Half-width of the distribution function's t-interval, integrated over the eigenvalues."""
    if rho.num_probes == 1:
        return float("inf")
    points = rho.sampled.nodes.flatten().sort().values
    half = half_width(quadrature.cdf(rho.sampled, points), rho.level)[:-1]
    return float((half * points.diff()).sum()) * rho.num_sampled / rho.n


def wasserstein(rho: SpectralDensity) -> Tensor:
    """Bound the quadrature's distance of each probe; see :meth:`SpectralDensity.wasserstein`."""
    if rho.deflation is None:
        return quadrature.wasserstein_bound(rho.sampled, rho.bounds.lower, rho.bounds.upper)
    outer = rho.bounds if rho.bounds.method == "given" else rho.random_start_bounds(known=False)
    bound = quadrature.wasserstein_bound(rho.sampled, outer.lower, outer.upper)
    return bound * (rho.num_sampled / rho.n) + float(rho.deflation.residuals.sum()) / rho.n


def bounds(rho: SpectralDensity, points: Tensor) -> tuple[Tensor, Tensor]:
    """Sandwich of each probe's distribution function: two tensors ``[K, P]``."""
    lower, upper = sampled_bounds(rho, points)
    if rho.deflation is None:
        return lower, upper
    share = rho.num_sampled / rho.n
    surely, possibly = rho.deflation.below(points, rho.rounding)
    return share * lower + surely / rho.n, share * upper + possibly / rho.n


def sampled_bounds(rho: SpectralDensity, points: Tensor) -> tuple[Tensor, Tensor]:
    """Sandwich of each probe's distribution function of what was sampled, with mass 1: ``[K, P]`` twice."""
    given = rho.bounds.method == "given"
    support = (rho.bounds.lower, rho.bounds.upper) if given else (-torch.inf, torch.inf)
    return quadrature.cdf_bounds(rho.sampled, points, slack=rho.rounding, support=support)


def _sigma(rho: SpectralDensity, where: str, sigma: float | None) -> float:
    if sigma is None:
        return default_sigma(rho)
    width = _checks.real(where, "sigma", sigma)
    if not 0 < width < float("inf"):
        msg = f"{where}: sigma must be positive and finite, got {width}"
        raise ValueError(msg)
    return width


def checked_points(where: str, name: str, points: Tensor) -> Tensor:
    """Return a vector of float64 on the CPU, or raise ValueError."""
    points = torch.as_tensor(points, dtype=torch.float64, device="cpu")
    if points.ndim != 1 or len(points) == 0:
        msg = f"{where}: {name} must have shape [G] with G at least 1, got {list(points.shape)}"
        raise ValueError(msg)
    if bool(points.isnan().any()):
        msg = f"{where}: {name} must not contain NaN"
        raise ValueError(msg)
    return points.contiguous()
