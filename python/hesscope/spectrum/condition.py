"""The condition number, from both ends of the spectrum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.krylov.arguments import finite
from hesscope.krylov.eigen import eigenpairs as find_eigenpairs
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, Estimate, Status
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.sampler import Source

_WHERE = "condition_number"


def condition_number(
    operator: Source | Eigenpairs,
    *,
    shift: float = 0.0,
    tol: float | None = None,
    max_products: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Estimate:
    """Bracket ``max |lambda| / min |lambda|`` of ``H + shift I``.

    Parameters
    ----------
    operator
        n x n and symmetric; or, without further products, a :class:`SpectralDensity`, or the
        :class:`Eigenpairs` of both ends (``which="both_ends"``).
    shift
        Added to every eigenvalue.
    tol, max_products, seed, progress
        Of the search for the two ends, as :func:`hesscope.eigenpairs`: ``tol`` is relative to ``|H|``, so
        condition numbers beyond ``1 / tol`` are not resolved. Not with a density or eigenpairs.

    Returns
    -------
    Estimate
        Of a definite operator the ratio of the two ends; each is known to its residual, which gives the
        interval, given that no eigenvalue lies beyond the ends found (a density instead uses its ``bounds``;
        a search that was stopped has none). The upper end is ``inf``, with the reason in ``method``, where
        the end nearer to zero is not known to be away from it; the value is ``inf`` too if it is zero to
        rounding. Of an indefinite operator the eigenvalue nearest to zero is in the interior, where Krylov
        methods resolve nothing: the value is then a lower bound, from a Ritz value and its residual, and the
        upper end ``inf``.

    Raises
    ------
    TypeError, ValueError, MemoryError, RunFailed
        As :func:`hesscope.eigenpairs`; ValueError for eigenpairs of one end only.

    Notes
    -----
    Products and memory: those of two eigenpairs.
    """
    moved = finite(_WHERE, "shift", shift)
    if isinstance(operator, SymmetricOperator):
        k = min(2, operator.shape[0])
        operator = find_eigenpairs(
            operator,
            k,
            which="both_ends",
            tol=tol,
            max_products=max_products,
            seed=_checks.integer(_WHERE, "seed", seed),
            progress=progress,
        )
    elif tol is not None or max_products is not None:
        name = "tol" if tol is not None else "max_products"
        msg = f"{_WHERE}: {name} must be None with {type(operator).__name__}, whose run is over"
        raise ValueError(msg)
    if isinstance(operator, Eigenpairs):
        return _of_pairs(operator, moved)
    if isinstance(operator, SpectralDensity):
        return _of_density(operator, moved)
    msg = (
        f"{_WHERE}: operator must be a SymmetricOperator, a SpectralDensity or an Eigenpairs, got "
        f"{type(operator).__name__}"
    )
    raise TypeError(msg)


def _of_pairs(eig: Eigenpairs, shift: float) -> Estimate:
    n = eig.vectors.shape[1]
    if eig.which != "both_ends" and len(eig) < n:
        msg = f"{_WHERE}: eigenpairs must be of both ends (which='both_ends'), got which={eig.which!r}"
        raise ValueError(msg)
    unfinished = eig.status not in (Status.CONVERGED, Status.NOISE_FLOOR)
    if len(eig) < min(2, n) and not unfinished:
        msg = f"{_WHERE}: eigenpairs must hold one of each end, k=2 or more, got {len(eig)}"
        raise ValueError(msg)
    nodes, residuals = eig.values + shift, eig.residuals
    rounding = 8 * torch.finfo(eig.vectors.dtype).eps * eig.norm
    low, high = int(nodes.argmin()), int(nodes.argmax())
    ends = (float(nodes[low] - residuals[low]), float(nodes[high] + residuals[high]))
    if unfinished:  # eigenvalues may lie anywhere beyond
        ends = (-math.inf, math.inf)
    return _judge(nodes, residuals, ends, rounding, eig.products, eig.status, "ends to their residuals")


def _of_density(rho: SpectralDensity, shift: float) -> Estimate:
    nodes, residuals = rho.nodes.flatten() + shift, rho.quadrature.residuals.flatten()
    ends = (rho.bounds.lower + shift, rho.bounds.upper + shift)
    bounds = f"outermost Ritz values, beyond them bounds ({rho.bounds.method})"
    return _judge(nodes, residuals, ends, rho.rounding, rho.products, rho.status, bounds)


def _judge(
    nodes: Tensor,
    residuals: Tensor,
    ends: tuple[float, float],
    rounding: float,
    products: int,
    status: Status,
    how: str,
) -> Estimate:
    """Bracket the ratio: an eigenvalue lies within ``residuals`` of each node, and all within ``ends``."""
    nearest, largest = float(nodes.abs().min()), float(nodes.abs().max())
    # Some eigenvalue is at most that far from zero.
    smallest = float((nodes.abs() + residuals).min()) + rounding
    # Ritz values lie within the spectrum, so that the largest modulus is at least that of each.
    lower = max(1.0, (largest - rounding) / smallest) if smallest > 0 else 1.0  # zero itself
    if nearest <= 4 * rounding:
        why = f"singular to rounding: a Ritz value is {nearest:.2g} from zero, rounding is {rounding:.2g}"
        return Estimate(math.inf, math.inf, (lower, math.inf), products, why, status)
    if float(nodes.min()) < 0 < float(nodes.max()):
        why = f"lower bound; indefinite: the eigenvalue nearest to zero is at most {smallest:.3g} from it"
        return Estimate(lower, math.inf, (lower, math.inf), products, why, status)
    value = largest / nearest
    outer = max(abs(ends[0]), abs(ends[1])) + rounding
    inner = (ends[0] if float(nodes.min()) > 0 else -ends[1]) - rounding
    if inner <= 0:
        reach = f"the spectrum may reach zero or {-inner:.3g} beyond"
        if math.isinf(inner):
            reach = "the search was stopped, or took too few steps"
        why = f"{how}; upper end unknown: {reach}"
        return Estimate(value, math.inf, (min(lower, value), math.inf), products, why, status)
    upper = outer / inner
    interval = (min(lower, value), max(upper, value))
    return Estimate(value, (interval[1] - interval[0]) / 2, interval, products, how, status)
