"""One run of stochastic Lanczos quadrature with checked settings, and when it may stop."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from hesscope.krylov import memory
from hesscope.krylov.basis_plan import BasisPlan, plan_basis
from hesscope.krylov.lanczos import LanczosRun, lanczos
from hesscope.krylov.recurrence import Recurrence, from_probes
from hesscope.operators.base import SymmetricOperator
from hesscope.results import RunFailed, Status
from hesscope.spectrum import quadrature
from hesscope.spectrum.bounds import random_start_bounds
from hesscope.spectrum.deflation import DeflatedOperator, Deflation
from hesscope.spectrum.result import SpectralDensity

WINDOW = 10  # steps over which the error bound must have settled
_WHERE = "spectral_density"


def measure(
    operator: SymmetricOperator,
    settings: dict[str, Any],
    *,
    first_probe: int = 0,
    progress: bool,
    keep_state: bool,
) -> SpectralDensity:
    """Run with checked settings, probes ``first_probe`` to ``first_probe + num_probes``.

    ``operator`` may be a :class:`DeflatedOperator`: the density is then that of the whole operator.
    """
    n, k = operator.shape[0], settings["num_probes"]
    known = operator if isinstance(operator, DeflatedOperator) else None
    free = n if known is None else n - known.rank
    steps = min(settings["num_steps"], free)
    needed, plan = _memory(operator, settings, steps)
    began, products = time.perf_counter(), operator.products
    start = begin(operator, settings, k, first_probe=first_probe)

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
            deflation=None if known is None else known.deflation(),
        )

    try:
        run = lanczos(
            operator,
            start,
            num_steps=steps,
            reorthogonalize=settings["reorthogonalize"],
            plan=plan,
            converged=settled(settings, n, None if known is None else known.deflation()),
            progress=progress,
            keep_state=keep_state,
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


def begin(
    operator: SymmetricOperator, settings: dict[str, Any], num_probes: int, *, first_probe: int = 0
) -> Recurrence:
    """Start recurrences from probes, in the range that the operator leaves."""
    start = from_probes(
        num_probes,
        operator.shape[0],
        seed=settings["seed"],
        first_probe=first_probe,
        kind=settings["distribution"],
        dtype=operator.dtype,
        device=operator.device,
    )
    if isinstance(operator, DeflatedOperator):
        operator.enter(start)
    return start


def settled(
    settings: dict[str, Any], n: int, deflation: Deflation | None
) -> Callable[[Tensor, Tensor], bool] | None:
    """Return the test of ``tol``, whether the error bound has stopped changing."""
    tol = settings["tol"]
    if tol is None:
        return None
    known = 0 if deflation is None else len(deflation)
    share = (n - known) / n

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
            outer = random_start_bounds(now.nodes, n=n - known, steps=steps)
            low, high = outer.lower, outer.upper
        if not math.isfinite(high - low):
            return False
        errors = [share * quadrature.wasserstein_bound(q, low, high).mean() for q in (before, now)]
        if deflation is not None:  # the range is that of the whole spectrum
            low, high = min(low, float(deflation.values.min())), max(high, float(deflation.values.max()))
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
