"""Other densities from the same recurrences: kernel polynomials and continued fractions. No products.

Where eigenvalues are known, only the rest is expanded, on its own range; each known one is added as a bump as
wide as the expansion resolves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.results import Band
from hesscope.spectrum import bands
from hesscope.spectrum.sampling import half_width

if TYPE_CHECKING:
    from hesscope.spectrum.result import SpectralDensity


def kpm(rho: SpectralDensity, grid: Tensor, num_moments: int | None = None) -> Band:
    """Expand the density in Chebyshev polynomials, damped by Jackson's kernel.

    The moments are those of the Gauss rules, which are exact up to degree 2m - 1, so that nothing had to be
    known of the interval before the run. Jackson's kernel is positive: so is the density, without ripples.

    Parameters
    ----------
    rho
        From :func:`hesscope.spectral_density`.
    grid
        Shape ``[G]``: where. Outside the interval of the expansion the density is 0.
    num_moments
        N, at most 2m (which is the default): fewer smooth more.

    Returns
    -------
    Band
        With 95 % t-intervals across probes. ``sigma`` is the resolution in the middle of the interval,
        ``pi/N`` of half its length; towards the ends it falls as ``sqrt(1 - t^2)``, t being x mapped to
        [-1, 1]. The interval reaches from the lowest to the highest node, and 1/N of its length beyond.

    Raises
    ------
    ValueError, TypeError
        If the grid is no vector, or the number of moments is out of range.

    References
    ----------
    Weisse, Wellein, Alvermann and Fehske (2006); from Lanczos coefficients: Chen (2023), J. Chem. Phys. 159,
    114101.
    """
    points = bands.checked_points("kpm", "grid", grid)
    most = 2 * rho.num_steps
    count = most if num_moments is None else _checks.integer("kpm", "num_moments", num_moments, least=2)
    if count > most and not bool(rho.sampled.ended.all()):
        msg = f"kpm: num_moments must be at most {most}, twice the steps taken, got {count}"
        raise ValueError(msg)
    low, high = float(rho.sampled.nodes.min()), float(rho.sampled.nodes.max())
    middle, half = (low + high) / 2, (high - low) / 2 * (1 + 2 / count)
    half = max(half, rho.rounding, math.ulp(0.0)) if high > low else max(abs(middle), 1.0) * 0.01
    order = torch.arange(count, dtype=torch.float64)
    angles = ((rho.sampled.nodes - middle) / half).clamp(-1, 1).acos()
    moments = torch.einsum("km,kmj->kj", rho.sampled.weights, torch.cos(angles[:, :, None] * order))
    factors = _jackson(count) * torch.where(order == 0, 1.0, 2.0)
    t = (points - middle) / half
    inside = t.abs() < 1
    t = t.clamp(-1, 1)
    curves = (moments * factors) @ torch.cos(order[:, None] * t.acos())
    root = (1 - t.square()).sqrt().clamp(min=torch.finfo(torch.float64).eps)
    curves = torch.where(inside, curves.clamp(min=0.0) / (math.pi * half * root), 0.0)
    sigma = math.pi / count * half
    distance = (points[:, None] - _known(rho)) / sigma
    bumps = torch.exp(-0.5 * distance.square()) / (sigma * math.sqrt(2 * math.pi))
    return _band(rho, points, curves, bumps, sigma)


def haydock(rho: SpectralDensity, grid: Tensor, eta: float | None = None, terminator: str = "none") -> Band:
    """Evaluate the resolvent as a continued fraction of the coefficients: ``-Im G(x + i eta) / pi``.

    Parameters
    ----------
    rho
        From :func:`hesscope.spectral_density`.
    grid
        Shape ``[G]``: where.
    eta
        Half-width at half-maximum of the Lorentz curve around each node, positive; the default is what m
        steps resolve, the range of the nodes over m. Its tails are long: the integral over the range is
        below 1.
    terminator
        "none": the fraction ends with the coefficients, so the density is that of the nodes, broadened.
        "square_root": it goes on with the mean of the second half of the coefficients for ever, as for a
        spectrum without gaps; eta may then be far smaller. Right where the coefficients have settled.

    Returns
    -------
    Band
        With 95 % t-intervals across probes; ``sigma`` is eta.

    Raises
    ------
    ValueError, TypeError
        If the grid is no vector, eta not positive or the terminator unknown.

    References
    ----------
    Haydock, Heine and Kelly (1972); square-root terminator: Turchi, Ducastelle and Treglia (1982).
    """
    points = bands.checked_points("haydock", "grid", grid)
    _checks.choice("haydock", "terminator", terminator, ("none", "square_root"))
    width = bands.default_sigma(rho) if eta is None else _checks.real("haydock", "eta", eta)
    if not 0 < width < math.inf:
        msg = f"haydock: eta must be positive and finite, got {width}"
        raise ValueError(msg)
    z = torch.complex(points, torch.full_like(points, width))
    alpha, square = rho.alpha[:, :, None], rho.beta.square()[:, :, None]
    m = rho.num_steps
    below = torch.zeros(rho.num_probes, len(points), dtype=z.dtype)
    going_on = ~rho.sampled.ended
    if terminator == "square_root" and bool(going_on.any()):
        centre, coupling = (float(x[going_on, m // 2 :].mean()) for x in (rho.alpha, rho.beta))
        edge = 2 * coupling
        # Two roots, so that the branch is the one that decays at infinity.
        tail = (z - centre) - torch.sqrt(z - centre - edge) * torch.sqrt(z - centre + edge)
        below = torch.where(going_on[:, None], square[:, m - 1] * tail / (2 * coupling**2), 0.0)
    for j in range(m - 1, -1, -1):
        resolvent = 1 / (z - alpha[:, j] - below)
        below = square[:, j - 1] * resolvent if j > 0 else below
    curves = -resolvent.imag / math.pi
    distance = points[:, None] - _known(rho)
    bumps = width / math.pi / (distance.square() + width**2)
    return _band(rho, points, curves, bumps, width)


def _jackson(count: int) -> Tensor:
    """Jackson's damping factors ``[N]`` (Weisse et al. 2006, equation 71)."""
    j = torch.arange(count, dtype=torch.float64)
    q = math.pi / (count + 1)
    return ((count - j + 1) * torch.cos(q * j) + torch.sin(q * j) / math.tan(q)) / (count + 1)


def _known(rho: SpectralDensity) -> Tensor:
    return torch.empty(0, dtype=torch.float64) if rho.deflation is None else rho.deflation.values


def _band(rho: SpectralDensity, points: Tensor, curves: Tensor, bumps: Tensor, sigma: float) -> Band:
    """Mean and t-interval of curves ``[K, G]`` of what was sampled, with bumps ``[G, k]`` of mass 1/n."""
    whole = curves * (rho.num_sampled / rho.n) + bumps.sum(dim=1) / rho.n
    mean, half = whole.mean(dim=0), half_width(whole, rho.level)
    return Band(points, mean, (mean - half).clamp(min=0.0), mean + half, sigma)
