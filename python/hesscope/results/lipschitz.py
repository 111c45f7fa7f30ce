"""How fast a Hessian changes along a segment."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hesscope.results.estimate import Estimate


@dataclass(frozen=True, eq=False)
class LipschitzEstimate(Estimate):
    """An :class:`Estimate` of the largest ``|H(b) - H(a)| / |b - a|`` on a segment, from below.

    Attributes
    ----------
    positions
        Shape ``[S + 1]``, float64: distances from the start at which the Hessian was compared.
    rates, errors
        Shape ``[S]``, float64: ``|H(b) - H(a)| / |b - a|`` of neighbouring positions, and how far they may be
        off by the residual of the eigenvalue and by rounding.
    """

    positions: Tensor = field(default_factory=lambda: torch.empty(0))
    rates: Tensor = field(default_factory=lambda: torch.empty(0))
    errors: Tensor = field(default_factory=lambda: torch.empty(0))
