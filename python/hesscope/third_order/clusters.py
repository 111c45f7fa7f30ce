"""Which eigenvalues belong together, and how far they are from all others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from hesscope.results import Eigenpairs

_RESIDUALS = 8  # eigenvalues closer than so many residuals are not told apart


def cluster_of(pairs: Eigenpairs, index: int, tol: float | None) -> tuple[int, ...]:
    """Return the indices of all pairs whose eigenvalues are near that of pair ``index``, itself included.

    Neighbours are near if they are closer than ``tol |H|``; by default, closer than 8 times their residuals,
    or the root of the rounding of the vectors times ``|H|``.
    """
    order = pairs.values.argsort().tolist()
    values, residuals = pairs.values.tolist(), pairs.residuals.tolist()
    rounding = math.sqrt(torch.finfo(pairs.vectors.dtype).eps) * pairs.norm

    def near(i: int, j: int) -> bool:
        unresolved = max(rounding, _RESIDUALS * (residuals[i] + residuals[j]))
        limit: float = unresolved if tol is None else tol * pairs.norm
        return bool(abs(values[i] - values[j]) <= limit)

    place = order.index(index)
    first = last = place
    while first > 0 and near(order[first - 1], order[first]):
        first -= 1
    while last + 1 < len(order) and near(order[last], order[last + 1]):
        last += 1
    return tuple(sorted(order[first : last + 1]))


def gap_around(pairs: Eigenpairs, members: Sequence[int]) -> float:
    """Return how far the values of members are, at least, from all other eigenvalues; 0 if not known.

    Eigenvalues that were not computed lie where ``which`` leaves room for them.
    """
    values, residuals = pairs.values.tolist(), pairs.residuals.tolist()
    own = [values[i] for i in members]
    gap = math.inf
    for j, (value, residual) in enumerate(zip(values, residuals, strict=True)):
        if j not in members:
            gap = min(gap, min(abs(x - value) for x in own) - residual)
    if len(pairs) < pairs.vectors.shape[1]:
        low, high = _unknown(pairs)
        gap = min(gap, min(max(low - x, x - high) for x in own))
    return max(gap, 0.0)


def _unknown(pairs: Eigenpairs) -> tuple[float, float]:
    """Return the interval in which eigenvalues that were not computed lie."""
    values = pairs.values
    if pairs.which == "largest":
        return -math.inf, float(values.min())
    if pairs.which == "smallest":
        return float(values.max()), math.inf
    if pairs.which == "magnitude":
        inner = float(values.abs().min())
        return -inner, inner
    upper = -(-len(pairs) // 2)  # both ends, descending; the odd one is from the upper
    low = float(values[upper]) if upper < len(pairs) else -math.inf
    return low, float(values[upper - 1])
