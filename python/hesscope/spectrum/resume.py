"""More probes, or more steps, for a density that was computed before."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.krylov.lanczos import LanczosRun, lanczos
from hesscope.krylov.recurrence import Recurrence
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, RunFailed, Status
from hesscope.spectrum.deflation import deflated
from hesscope.spectrum.measure import begin, report, settled
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.widen import measured, widened

_WHERE = "resume"


def resume(
    density: SpectralDensity,
    operator: SymmetricOperator,
    *,
    num_steps: int | None = None,
    num_probes: int | None = None,
    eigenpairs: Eigenpairs | None = None,
    progress: bool = False,
    keep_state: bool = False,
) -> SpectralDensity:
    """Add steps, probes or both to a density; the result equals a fresh run of the larger size.

    Bitwise for operators with ``bitwise_rows``, to rounding otherwise.

    Parameters
    ----------
    density
        From :func:`spectral_density` or a file. Not modified.
    operator
        The one it was computed from: one product checks that.
    num_steps, num_probes
        New totals; default: what the run was asked for, so that an interrupted one is completed.
    eigenpairs
        Those that ``density`` was computed with, if it was: a result does not hold them.
    progress
        Show a bar.
    keep_state
        Keep the vectors to continue from.

    Returns
    -------
    SpectralDensity
        ``products`` and ``seconds`` include those of ``density``.

    Raises
    ------
    TypeError, ValueError
        If a total is below what is there, or the operator is another.
    MemoryError, RunFailed
        As :func:`spectral_density`; ``partial`` is what there is by then, at least ``density``.

    Notes
    -----
    New probes cost their own products only. New steps need the state (``keep_state=True``, saved with
    ``state=True``); without it, or with reorthogonalisation, all steps are replayed, and a UserWarning says
    how many products that repeats before they begin.
    """
    if not isinstance(density, SpectralDensity):
        msg = f"{_WHERE}: density must be a SpectralDensity, got {type(density).__name__}"
        raise TypeError(msg)
    if not isinstance(operator, SymmetricOperator):
        msg = f"{_WHERE}: operator must be a SymmetricOperator, got {type(operator).__name__}"
        raise TypeError(msg)
    wanted = dict(density.settings)
    if num_steps is not None:
        wanted["num_steps"] = _checks.integer(_WHERE, "num_steps", num_steps, least=density.num_steps)
        wanted["tol"] = None  # so many steps, exactly
    if num_probes is not None:
        wanted["num_probes"] = _checks.integer(
            _WHERE, "num_probes", num_probes, least=density.num_probes, below=2**32
        )
    operator = _driven(density, operator, eigenpairs)
    began, products = time.perf_counter(), operator.products
    _check_operator(density, operator)
    converged = density.status is Status.CONVERGED and num_steps is None
    ended = bool(density.quadrature.ended.all()) or converged
    steps_missing = not ended and density.num_steps < min(wanted["num_steps"], density.num_sampled)
    if keep_state and density.state is None and not steps_missing:
        msg = f"{_WHERE}: keep_state=True needs the state of the probes that are there, which density lacks"
        raise ValueError(msg)
    whole = density.status if ended else Status.COMPLETE
    longer = density if steps_missing else replace(density, status=whole)
    longer = replace(longer, settings=wanted)
    if steps_missing and density.state is None:
        longer = _replayed(longer, operator, progress=progress, keep_state=keep_state)
    elif steps_missing:
        longer = _continued(longer, operator, density.state, progress=progress)
    if longer.num_probes < wanted["num_probes"] and longer.status not in (
        Status.INTERRUPTED,
        Status.NONFINITE_OPERATOR,
    ):
        longer = widened(_WHERE, longer, operator, progress=progress, keep_state=keep_state)
    result = replace(
        longer,
        products=density.products + operator.products - products,
        seconds=density.seconds + time.perf_counter() - began,
        state=longer.state if keep_state else None,
    )
    report(result)
    return result


def _driven(
    density: SpectralDensity, operator: SymmetricOperator, eigenpairs: Eigenpairs | None
) -> SymmetricOperator:
    """Return the operator that the recurrences go on with."""
    if (density.deflation is None) != (eigenpairs is None):
        needed = "be None" if density.deflation is None else "be given"
        there = "none" if density.deflation is None else str(len(density.deflation))
        msg = f"{_WHERE}: eigenpairs must {needed}: density was computed with {there}"
        raise ValueError(msg)
    if eigenpairs is None:
        return operator
    return deflated(_WHERE, operator, eigenpairs, known=density.deflation)


def _check_operator(density: SpectralDensity, operator: SymmetricOperator) -> None:
    """Compare size, dtype and the first coefficients with the operator's: one product."""
    was, now = (density.n, density.operator["dtype"]), (operator.shape[0], str(operator.dtype))
    if was != now:
        msg = f"{_WHERE}: operator must have n={was[0]} and dtype {was[1]}, got n={now[0]} and {now[1]}"
        raise ValueError(msg)
    first = lanczos(operator, begin(operator, dict(density.settings), 1), num_steps=1)
    stored = torch.stack([density.alpha[0, 0], density.beta[0, 0]])
    found = torch.cat([first.alpha[0], first.beta[0]])
    # Rounding of a product is far below this even in low precision, where its errors average out.
    allowed = 1e-3 if operator.dtype == torch.float32 else 1e-6
    if found.numel() < 2 or not bool((found - stored).abs().max() <= allowed * stored.abs().sum()):
        msg = (
            f"{_WHERE}: operator must be the one that density was computed from, but the first step of probe "
            f"0 gives (alpha, beta) = {found.tolist()} where density has {stored.tolist()}; load the same "
            "parameters and data"
        )
        raise ValueError(msg)


def _replayed(
    density: SpectralDensity, operator: SymmetricOperator, *, progress: bool, keep_state: bool
) -> SpectralDensity:
    repeated = density.num_probes * density.num_steps
    msg = (
        f"{_WHERE}: density holds no state to continue from, so {repeated} products are repeated "
        f"({density.num_probes} probes, {density.num_steps} steps)"
    )
    warnings.warn(msg, UserWarning, stacklevel=3)
    settings = {**density.settings, "num_probes": density.num_probes}
    again = measured(_WHERE, density, operator, settings, progress=progress, keep_state=keep_state)
    if again.num_steps < density.num_steps and again.status is not Status.INVARIANT_SUBSPACE:
        return replace(density, status=again.status)  # stopped on the way: what was there is more
    return replace(again, settings=density.settings)


def _continued(
    density: SpectralDensity, operator: SymmetricOperator, state: Recurrence | None, *, progress: bool
) -> SpectralDensity:
    assert state is not None
    there = Recurrence(
        state.v.to(operator.device), state.v_prev.to(operator.device), state.scalars.to(operator.device)
    ).copy()
    test = settled(dict(density.settings), density.n, density.deflation)

    def converged(alpha: Tensor, beta: Tensor) -> bool:
        return test is not None and test(
            torch.cat([density.alpha, alpha.cpu()], dim=1), torch.cat([density.beta, beta.cpu()], dim=1)
        )

    missing = min(density.settings["num_steps"], density.num_sampled) - density.num_steps

    def longer(run: LanczosRun, state: Recurrence | None) -> SpectralDensity:
        return replace(
            density,
            alpha=torch.cat([density.alpha, run.alpha], dim=1),
            beta=torch.cat([density.beta, run.beta], dim=1),
            status=run.status,
            state=state,
        )

    try:
        run = lanczos(operator, there, num_steps=missing, converged=converged, progress=progress)
    except RunFailed as failure:
        resumable = there if failure.__cause__ is not None else None
        raise RunFailed(str(failure), longer(failure.partial, resumable)) from failure.__cause__
    return longer(run, None if run.status is Status.NONFINITE_OPERATOR else there)
