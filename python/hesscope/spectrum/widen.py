"""More probes for a density, beside those that are there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hesscope.krylov.recurrence import Recurrence
from hesscope.operators.base import SymmetricOperator
from hesscope.results import RunFailed, Status
from hesscope.spectrum.measure import measure
from hesscope.spectrum.result import SpectralDensity


def widened(
    where: str, density: SpectralDensity, operator: SymmetricOperator, *, progress: bool, keep_state: bool
) -> SpectralDensity:
    """Add probes. A new probe that was stopped before the others' last step is dropped: no row is shorter."""
    all_ended = bool(density.quadrature.ended.all())
    steps = density.settings["num_steps"] if all_ended else density.num_steps
    settings = {
        **density.settings,
        "num_probes": density.settings["num_probes"] - density.num_probes,
        "num_steps": steps,
        "tol": None,
    }
    new = measured(
        where,
        density,
        operator,
        settings,
        first_probe=density.num_probes,
        progress=progress,
        keep_state=keep_state,
    )
    if new.status in (Status.INTERRUPTED, Status.NONFINITE_OPERATOR):
        return replace(density, status=new.status)
    state = None
    if keep_state and density.state is not None and new.state is not None:
        pairs = zip(_parts(density.state, operator), _parts(new.state, operator), strict=True)
        state = Recurrence(*(torch.cat(pair) for pair in pairs))
    return replace(beside(density, new), state=state)


def beside(density: SpectralDensity, new: SpectralDensity) -> SpectralDensity:
    """Append the probes of ``new``: as many steps as those of ``density``, unless all of one have ended."""
    width = max(density.num_steps, new.num_steps)
    orthogonality = [x for x in (density.orthogonality, new.orthogonality) if x is not None]
    ended = density.quadrature.ended.all() and new.status is Status.INVARIANT_SUBSPACE
    return replace(
        density,
        alpha=torch.cat([_padded(density.alpha, width), _padded(new.alpha, width)]),
        beta=torch.cat([_padded(density.beta, width), _padded(new.beta, width)]),
        status=Status.INVARIANT_SUBSPACE if ended else _unended(density.status),
        memory_bytes=max(density.memory_bytes, new.memory_bytes),
        orthogonality=max(orthogonality) if orthogonality else None,
        state=None,
    )


def measured(
    where: str,
    density: SpectralDensity,
    operator: SymmetricOperator,
    settings: dict[str, Any],
    **options: Any,
) -> SpectralDensity:
    """Run as :func:`measure` does; if that fails, what is kept is ``density``."""
    try:
        return measure(operator, settings, **options)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, RunFailed) else error
        msg = f"{where}: {cause or error}. What was there before is in this error's `partial`"
        raise RunFailed(msg, replace(density, status=Status.OPERATOR_FAILED)) from cause


def _unended(status: Status) -> Status:
    return status if status is Status.CONVERGED else Status.COMPLETE


def _parts(state: Recurrence, operator: SymmetricOperator) -> tuple[Tensor, Tensor, Tensor]:
    device = operator.device
    return state.v.to(device), state.v_prev.to(device), state.scalars.to(device)


def _padded(coefficients: Tensor, width: int) -> Tensor:
    """Append zeros, which are not read: only rows that ended are shorter."""
    return torch.nn.functional.pad(coefficients, (0, width - coefficients.shape[1]))
