"""Stochastic Lanczos quadrature: the density of the eigenvalues of a symmetric operator."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from hesscope import _checks
from hesscope.krylov import memory
from hesscope.krylov.basis_plan import BASES, BasisPlan, plan_basis
from hesscope.krylov.lanczos import LanczosRun, lanczos
from hesscope.krylov.recurrence import Recurrence, from_probes
from hesscope.operators.base import SymmetricOperator
from hesscope.results import RunFailed, Status
from hesscope.spectrum import quadrature
from hesscope.spectrum.bounds import random_start_bounds
from hesscope.spectrum.result import SpectralDensity

WINDOW = 10  # steps over which the error bound must have settled
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
        With ``status`` COMPLETE, CONVERGED, INVARIANT_SUBSPACE, INTERRUPTED or NONFINITE_OPERATOR; the last
        two come with a warning, and what was computed before is in the result.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value, or the very first product is NaN or infinite.
    MemoryError
        If the vectors cannot fit the memory or the disk; raised before any product.
    RunFailed
        If a product raises an error, the weights or the data behind the operator change, or the disk that
        holds the vectors fails, after the first step. Its ``partial`` is the SpectralDensity of the steps
        before.

    Notes
    -----
    ``num_probes * num_steps`` products; 3 vectors of length n a probe, and num_steps more with "full" and
    "selective".

    References
    ----------
    Golub and Welsch (1969); Lin, Saad and Yang (2016); Chen, Trogdon and Ubaru (2021). Without
    reorthogonalisation: Greenbaum (1989), Knizhnerman (1996).
    """
    settings = _settings(operator, num_probes, num_steps, seed, reorthogonalize, distribution, tol, bounds)
    if keep_state and reorthogonalize != "none":
        msg = (
            f"{_WHERE}: keep_state must be False with reorthogonalize={reorthogonalize!r}, whose state is "
            "the whole basis"
        )
        raise ValueError(msg)
    if basis is not None:
        settings["basis"] = _checks.choice(_WHERE, "basis", basis, BASES)
        if reorthogonalize == "none":
            msg = f"{_WHERE}: basis must be None with reorthogonalize='none', which keeps none, got {basis!r}"
            raise ValueError(msg)
    if memory_budget is not None:
        settings["memory_budget"] = _checks.integer(_WHERE, "memory_budget", memory_budget, least=1)
    density = measure(operator, settings, progress=progress, keep_state=keep_state)
    report(density)
    return density


def measure(
    operator: SymmetricOperator,
    settings: dict[str, Any],
    *,
    first_probe: int = 0,
    progress: bool,
    keep_state: bool,
) -> SpectralDensity:
    """Run with checked settings, probes ``first_probe`` to ``first_probe + num_probes``."""
    n, k = operator.shape[0], settings["num_probes"]
    steps = min(settings["num_steps"], n)
    needed, plan = _memory(operator, settings, steps)
    began, products = time.perf_counter(), operator.products
    start = from_probes(
        k,
        n,
        seed=settings["seed"],
        first_probe=first_probe,
        kind=settings["distribution"],
        dtype=operator.dtype,
        device=operator.device,
    )

    def result(run: LanczosRun, state: Recurrence | None) -> SpectralDensity:
        return SpectralDensity(
            alpha=run.alpha,
            beta=run.beta,
            n=n,
            products=operator.products - products,
            status=run.status,
            seconds=time.perf_counter() - began,
            memory_bytes=needed,
            orthogonality=run.orthogonality,
            projections=run.projections,
            basis=None if plan is None else plan.reason,
            settings=settings,
            operator=operator.description(),
            state=state,
        )

    try:
        run = lanczos(
            operator,
            start,
            num_steps=steps,
            reorthogonalize=settings["reorthogonalize"],
            plan=plan,
            converged=settled(settings, n),
            progress=progress,
        )
    except RunFailed as failure:
        # The state has gone on to another step than the coefficients if the operator changed.
        resumable = start if keep_state and failure.__cause__ is not None else None
        raise RunFailed(str(failure), result(failure.partial, resumable)) from failure.__cause__
    if run.alpha.shape[1] == 0:
        msg = f"{_WHERE}: operator must return finite products, but the first is not. {run.status.value}"
        raise ValueError(msg)
    return result(run, start if keep_state and run.status is not Status.NONFINITE_OPERATOR else None)


def _memory(
    operator: SymmetricOperator, settings: dict[str, Any], steps: int
) -> tuple[int, BasisPlan | None]:
    """Return the bytes a run keeps on the device and where its basis goes, or raise MemoryError."""
    n, k, budget = operator.shape[0], settings["num_probes"], settings.get("memory_budget")
    if settings["reorthogonalize"] == "none":
        needed = memory.run_bytes(k, steps, n, operator.dtype)
        memory.check(_WHERE, needed, operator.device, budget=budget)
        return needed, None
    plan = plan_basis(
        n,
        k * steps,
        dtype=operator.dtype,
        device=operator.device,
        working_vectors=memory.VECTORS * k,
        basis=settings.get("basis"),
        memory_budget=budget,
        where=_WHERE,
    )
    return plan.device_bytes + 2 * 8 * k * steps, plan


def settled(settings: dict[str, Any], n: int) -> Callable[[Tensor, Tensor], bool] | None:
    """Return the test of ``tol``, whether the error bound has stopped changing."""
    tol = settings["tol"]
    if tol is None:
        return None

    def converged(alpha: Tensor, beta: Tensor) -> bool:
        steps = alpha.shape[1]
        if steps <= WINDOW:
            return False
        alpha, beta = alpha.cpu(), beta.cpu()
        now = quadrature.gauss(alpha, beta)
        before = quadrature.gauss(alpha[:, :-WINDOW].contiguous(), beta[:, :-WINDOW].contiguous())
        if settings["bounds"] is not None:
            low, high = settings["bounds"]
        else:
            outer = random_start_bounds(now.nodes, n=n, steps=steps)
            low, high = outer.lower, outer.upper
        if not math.isfinite(high - low):
            return False
        errors = [quadrature.wasserstein_bound(q, low, high).mean() for q in (before, now)]
        return bool((errors[0] - errors[1]).abs() < tol * (high - low))

    return converged


def report(density: SpectralDensity) -> None:
    """Warn where a run did not do what was asked, or its result contradicts what was given."""
    if density.status in (Status.INTERRUPTED, Status.NONFINITE_OPERATOR):
        done = f"{density.num_probes} probes, {density.num_steps} steps"
        warnings.warn(f"{_WHERE}: {density.status.value} Returned: {done}.", RuntimeWarning, stacklevel=3)
    given = density.settings["bounds"]
    low, high = float(density.nodes.min()), float(density.nodes.max())
    if given is not None and not (given[0] - density.rounding <= low and high <= given[1] + density.rounding):
        seen = f"Ritz values span ({low:.6g}, {high:.6g})"
        msg = f"{_WHERE}: bounds {given} do not hold the spectrum, whose {seen}"
        warnings.warn(msg, RuntimeWarning, stacklevel=3)


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
        "tol": None if tol is None else _tolerance(tol),
        "bounds": None if bounds is None else _bounds(bounds),
    }


def _tolerance(tol: float) -> float:
    value = _checks.real(_WHERE, "tol", tol)
    if value <= 0:
        msg = f"{_WHERE}: tol must be positive, got {value}"
        raise ValueError(msg)
    return value


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
