"""Stochastic Lanczos quadrature: the density of the eigenvalues of a symmetric operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hesscope import _checks
from hesscope.krylov import memory
from hesscope.krylov.arguments import positive
from hesscope.krylov.basis_plan import BASES
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs
from hesscope.spectrum.adaptive import check_until, measure_until
from hesscope.spectrum.deflation import deflated
from hesscope.spectrum.measure import measure, report
from hesscope.spectrum.result import SpectralDensity

REORTHOGONALIZE = ("none", "full", "selective")
_WHERE = "spectral_density"


def spectral_density(
    operator: SymmetricOperator,
    *,
    num_probes: int = 4,
    num_steps: int = 100,
    seed: int = 0,
    reorthogonalize: str = "none",
    distribution: str = "rademacher",
    tol: float | None = None,
    bounds: tuple[float, float] | None = None,
    eigenpairs: Eigenpairs | None = None,
    until: float | Callable[[SpectralDensity], bool] | None = None,
    max_probes: int = 64,
    progress: bool = False,
    keep_state: bool = False,
    basis: str | None = None,
    memory_budget: int | None = None,
) -> SpectralDensity:
    """Estimate the distribution of the eigenvalues by stochastic Lanczos quadrature.

    Parameters
    ----------
    operator
        n x n and symmetric, positive or not.
    num_probes
        Independent random vectors. One gives the density at large n; error bars need several.
    num_steps
        Products for each probe; exactly so many unless the recurrence ends, or ``tol`` is given. More than
        n are never taken.
    seed
        Of the probes: the same seed, the same probes, on every device.
    reorthogonalize
        "none" is right for densities, traces and counts: rounding duplicates nodes and splits their weight,
        but adds none. "full" keeps every Lanczos vector and projects every step on them, so that each
        eigenvalue appears once; "selective" projects where orthogonality would fall below sqrt(eps), which
        is enough for that, in a fraction of the steps.
    distribution
        "rademacher" (smaller variance) or "gaussian".
    tol
        Stop when the bound on the quadrature's Wasserstein-1 error changes by less than ``tol`` times the
        range over 10 steps.
    bounds
        An interval known to hold every eigenvalue, if one is known; it sharpens error bounds.
    eigenpairs
        Of this operator, from :func:`hesscope.eigenpairs`: the converged ones become exact atoms of weight
        1/n, and only the rest of the spectrum is sampled. Outliers carry most of the sampling error and,
        being far away, most of the quadrature's; without them fewer probes and steps give the same error.
        One product checks that they are this operator's.
    until
        Add probes until this is reached: look at 8 (or ``num_probes``, if more), then twice as many, and so
        on, to ``max_probes``. A number: until the half-width of the distribution function, integrated
        (``sampling_distance``), is at most ``until`` times the range. A function of the density so far:
        until it returns True. So that looking does not spoil the intervals, each look has its share of the
        5 % (a union bound), in all intervals of the result: they hold at 95 % or more whichever look is last.
    max_probes
        With ``until``, the last look.
    progress
        Show a bar on stderr.
    keep_state
        Keep 2n numbers a probe, so that ``resume`` can add steps without repeating products.
    basis, memory_budget
        Where the vectors are kept with "full" and "selective", and the bytes they may take: see
        :func:`hesscope.plan_basis`, which says beforehand what this run will do.

    Returns
    -------
    SpectralDensity
        With ``status`` COMPLETE, CONVERGED, MAX_PRODUCTS (``until`` is not reached), INVARIANT_SUBSPACE,
        INTERRUPTED or NONFINITE_OPERATOR; the last two come with a warning, and what was computed before is
        in the result.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value, the very first product is NaN or infinite, or the
        eigenpairs are those of another operator.
    MemoryError
        If the vectors cannot fit the memory or the disk; raised before any product.
    RunFailed
        If a product raises an error, the weights or the data behind the operator change, or the disk that
        holds the vectors fails, after the first step. Its ``partial`` is the SpectralDensity of the steps
        before.

    Notes
    -----
    ``num_probes * num_steps`` products, one more with eigenpairs; 3 vectors of length n a probe, and
    num_steps more with "full" and "selective". With k eigenpairs each step reads them three times for each
    probe. What is sampled then is a ratio, the norm of a projected probe being random: for Rademacher probes
    its bias is of order k / n^2 of the value.

    References
    ----------
    Golub and Welsch (1969); Lin, Saad and Yang (2016); Chen, Trogdon and Ubaru (2021). Without
    reorthogonalisation: Greenbaum (1989), Knizhnerman (1996). Deflation: Bhattacharjee, Jayaram, Musco,
    Musco and Ray (2024).
    """
    settings = _settings(operator, num_probes, num_steps, seed, reorthogonalize, distribution, tol, bounds)
    if keep_state and reorthogonalize != "none":
        vectors = num_probes * min(num_steps, operator.shape[0])
        size = memory.gigabytes(vectors * operator.shape[0] * operator.dtype.itemsize)
        msg = (
            f"{_WHERE}: keep_state must be False with reorthogonalize={reorthogonalize!r}, whose state is "
            f"the whole basis: {vectors} vectors of length {operator.shape[0]}, {size}. hesscope.resume adds "
            f"steps without it, by repeating {vectors} products; reorthogonalize='none' needs two vectors a "
            "probe, and is right for densities"
        )
        raise ValueError(msg)
    if basis is not None:
        settings["basis"] = _checks.choice(_WHERE, "basis", basis, BASES)
        if reorthogonalize == "none":
            msg = f"{_WHERE}: basis must be None with reorthogonalize='none', which keeps none, got {basis!r}"
            raise ValueError(msg)
    if memory_budget is not None:
        settings["memory_budget"] = _checks.integer(_WHERE, "memory_budget", memory_budget, least=1)
    driven = operator if eigenpairs is None else deflated(_WHERE, operator, eigenpairs)
    if until is None:
        density = measure(driven, settings, progress=progress, keep_state=keep_state)
    else:
        settings |= check_until(_WHERE, until, max_probes)
        density = measure_until(driven, settings, until, progress=progress, keep_state=keep_state)
    report(density)
    return density if eigenpairs is None else replace(density, products=density.products + 1)  # the check


def _settings(
    operator: SymmetricOperator,
    num_probes: int,
    num_steps: int,
    seed: int,
    reorthogonalize: str,
    distribution: str,
    tol: float | None,
    bounds: tuple[float, float] | None,
) -> dict[str, Any]:
    if not isinstance(operator, SymmetricOperator):
        msg = (
            f"{_WHERE}: operator must be a SymmetricOperator (hesscope.from_matrix, from_function and "
            f"from_scipy make one), got {type(operator).__name__}"
        )
        raise TypeError(msg)
    return {
        "num_probes": _checks.integer(_WHERE, "num_probes", num_probes, least=1, below=2**32),
        "num_steps": _checks.integer(_WHERE, "num_steps", num_steps, least=1),
        "seed": _checks.integer(_WHERE, "seed", seed),
        "reorthogonalize": _checks.choice(_WHERE, "reorthogonalize", reorthogonalize, REORTHOGONALIZE),
        "distribution": _checks.choice(_WHERE, "distribution", distribution, ("rademacher", "gaussian")),
        "tol": None if tol is None else positive(_WHERE, "tol", tol),
        "bounds": None if bounds is None else _bounds(bounds),
    }


def _bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (_checks.real(_WHERE, "bounds", end) for end in bounds)
    except (TypeError, ValueError) as error:
        msg = f"{_WHERE}: bounds must be two numbers (lower, upper), got {bounds!r}"
        raise ValueError(msg) from error
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        msg = f"{_WHERE}: bounds must be finite with lower < upper, got {bounds!r}"
        raise ValueError(msg)
    return low, high
