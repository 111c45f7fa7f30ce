"""The smoothed density of a picture, with its band across probes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope.report.resolved import distinct_nodes
from hesscope.report.scale import Scale

if TYPE_CHECKING:
    from hesscope.spectrum import SpectralDensity

_GRID = 1601
# The narrowest kernel, as a share of the axis: about what the eye separates in a picture of this width.
_NARROWEST = 0.004
# Kernel width over the distance of neighbouring nodes: evenly spaced nodes then ripple by less than 0.1 %.
_WIDTH_PER_GAP = 0.7
_REACH = 4.0  # the grid reaches this many kernel widths beyond the nodes


@dataclass(frozen=True)
class Curve:
    """A density on a grid.

    Attributes
    ----------
    grid
        Eigenvalues, shape ``[G]``, ascending and evenly spaced on the axis.
    density
        Mass per unit of the axis, shape ``[G]``: the mean over probes.
    lower, upper
        95 % t-interval across probes of the logarithm of the density, shape ``[G]``; None for one probe.
    narrowest
        Width of the narrowest kernel, in units of the axis.
    """

    grid: Tensor
    density: Tensor
    lower: Tensor | None
    upper: Tensor | None
    narrowest: float

    @property
    def peak(self) -> float:
        """Height of the narrowest kernel: the density of a point of mass one."""
        return 1 / (self.narrowest * math.sqrt(2 * math.pi))

    def at(self, x: float) -> float:
        """Return the density at the grid point next to x."""
        index = int(torch.searchsorted(self.grid, x))
        return float(self.density[min(index, len(self.grid) - 1)])


def smooth(rho: SpectralDensity, scale: Scale) -> Curve:
    """Smooth quadratures on the axis, with kernels as wide as the recurrence is unsure.

    A constant width would either ripple where nodes are sparse or blur where single eigenvalues are
    resolved. A kernel is as wide as its node's residual, but no wider than the surrounding gaps ask for.

    Parameters
    ----------
    rho
        The quadratures.
    scale
        The axis.

    Returns
    -------
    Curve
    """
    u = scale.forward(rho.nodes)
    lower, upper = float(u.min()), float(u.max())
    span = (upper - lower) or abs(upper) or 1.0
    narrowest = _NARROWEST * span
    kernels = []
    for value, mass, blur in distinct_nodes(rho):
        kernels.append((scale.forward(value), mass, _widths(scale, value, blur).clamp(min=narrowest)))
    first = min(float((at - _REACH * width).min()) for at, _, width in kernels)
    last = max(float((at + _REACH * width).max()) for at, _, width in kernels)
    axis = torch.linspace(first, last, _GRID, dtype=torch.float64)
    probes = torch.stack([_gaussians(axis, *kernel) for kernel in kernels])
    return Curve(scale.inverse(axis), probes.mean(0), *_log_band(probes, rho.level), narrowest)


def _widths(scale: Scale, value: Tensor, residual: Tensor) -> Tensor:
    """Widths on the axis of the kernels at ascending ``value [g]``, whose residuals are ``residual [g]``."""
    u = scale.forward(value)
    blur = torch.maximum(scale.forward(value + residual) - u, u - scale.forward(value - residual))
    if len(u) == 1:
        return blur
    gap = u.diff()
    left, right = torch.cat([gap[:1], gap]), torch.cat([gap, gap[-1:]])
    spacing = torch.minimum(torch.maximum(left, right), 2 * torch.minimum(left, right))
    return torch.minimum(_WIDTH_PER_GAP * spacing, blur)


def _gaussians(axis: Tensor, at: Tensor, mass: Tensor, width: Tensor) -> Tensor:
    """Sum on ``axis [G]`` of Gaussians with mass, centre and width ``[g]``."""
    return torch.exp(-0.5 * ((axis[:, None] - at) / width) ** 2) @ (mass / (width * math.sqrt(2 * math.pi)))


def _log_band(probes: Tensor, level: float) -> tuple[Tensor | None, Tensor | None]:
    """Return mean * exp(± t * standard error / mean) of ``probes [K, G]``: the interval of the logarithm.

    To first order the t-interval of the mean itself, but positive, as a logarithmic picture needs.
    """
    from scipy.stats import t

    k = probes.shape[0]
    if k < 2:
        return None, None
    mean = probes.mean(0)
    half = float(t.ppf(0.5 + level / 2, k - 1)) * probes.std(0) / math.sqrt(k)
    ratio = torch.where(mean > 0, torch.exp(half / mean), 1.0)
    return mean / ratio, mean * ratio
