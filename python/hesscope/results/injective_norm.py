"""The injective norm of a third derivative, and where it is attained."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hesscope.results.estimate import Estimate


@dataclass(frozen=True, eq=False)
class InjectiveNorm(Estimate):
    """An :class:`Estimate` of ``max T[x, x, x]`` over unit vectors; ``value`` is a lower bound.

    Attributes
    ----------
    vector
        Shape ``[n]``: the unit vector with the largest value that was found.
    residual
        ``|T[x, x, .] - value x|`` there: zero where the value is stationary.
    values
        Shape ``[S]``, float64, CPU: what the starts arrived at, descending. Several near the largest make it
        likely that none is missed; they do not prove it.
    """

    vector: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)
    residual: float = 0.0
    values: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)
