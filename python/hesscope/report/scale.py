"""The eigenvalue axis of a picture: linear, or linear near zero and logarithmic beyond (asinh)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# An axis is linear unless the widest eigenvalue is this many times the 90 % quantile of |eigenvalue|.
_OUTLIER_RATIO = 20.0
_BULK_QUANTILE = 0.9
# At most this many decades between the linear part and the widest eigenvalue: the rest is one blob.
_MAX_DECADES = 5.0


@dataclass(frozen=True)
class Scale:
    """A monotone map of eigenvalues to the coordinate in which density is measured and drawn.

    Attributes
    ----------
    linear_width
        Half-width of the part around zero that is close to linear, for the map
        ``log10(e) * asinh(x / linear_width)``; ``inf`` is the identity.
    """

    linear_width: float

    @property
    def is_linear(self) -> bool:
        """True for the identity."""
        return math.isinf(self.linear_width)

    def forward(self, x: Tensor) -> Tensor:
        """Map eigenvalues to the axis; beyond the linear part, one unit is one decade."""
        return x if self.is_linear else torch.asinh(x / self.linear_width) / math.log(10)

    def inverse(self, u: Tensor) -> Tensor:
        """Map the axis back to eigenvalues."""
        return u if self.is_linear else torch.sinh(u * math.log(10)) * self.linear_width


def quantile_of_size(nodes: Tensor, weights: Tensor, q: float) -> float:
    """Return the q-quantile of |node| under the weights; any common shape, weights of any positive sum."""
    size, order = nodes.abs().flatten().sort()
    mass = weights.flatten()[order].cumsum(0)
    index = int(torch.searchsorted(mass, q * mass[-1]))
    return float(size[min(index, len(size) - 1)])


def choose_scale(nodes: Tensor, weights: Tensor, x_scale: str) -> Scale:
    """Choose the axis for pooled quadratures.

    Parameters
    ----------
    nodes, weights
        Shape ``[K, m]``.
    x_scale
        "linear", "asinh", or "auto": linear unless outliers would squeeze the bulk into one column.

    Returns
    -------
    Scale

    Raises
    ------
    ValueError
        For any other name.
    """
    if x_scale not in ("auto", "linear", "asinh"):
        msg = f"plot: x_scale must be 'auto', 'linear' or 'asinh', got {x_scale!r}"
        raise ValueError(msg)
    widest = float(nodes.abs().max())
    bulk = quantile_of_size(nodes, weights, _BULK_QUANTILE)
    if x_scale == "linear" or widest == 0 or (x_scale == "auto" and widest <= _OUTLIER_RATIO * bulk):
        return Scale(math.inf)
    return Scale(max(_resolution(nodes, weights), widest * 10**-_MAX_DECADES))


def _resolution(nodes: Tensor, weights: Tensor) -> float:
    """Return what the recurrence resolves: the typical distance of neighbouring nodes where the mass is."""
    gap = (nodes[:, 2:] - nodes[:, :-2]) / 2
    return quantile_of_size(gap, weights[:, 1:-1], 0.5) if gap.numel() else 0.0


def ticks(scale: Scale, lower: float, upper: float) -> tuple[list[float], list[float]]:
    """Return major ticks (zero and signed powers of ten) and minor ticks (2 to 9 times those), asinh only."""
    first = math.ceil(math.log10(scale.linear_width))
    last = math.floor(math.log10(max(abs(lower), abs(upper)))) if lower or upper else first
    powers = [10.0**k for k in range(first, last + 1)]
    signed = [s * p for p in powers for s in (-1.0, 1.0)]
    minor = [d * t for t in signed for d in range(2, 10)]
    inside = [t for t in sorted([0.0, *signed]) if lower <= t <= upper]
    return inside, [t for t in sorted(minor) if lower <= t <= upper]
