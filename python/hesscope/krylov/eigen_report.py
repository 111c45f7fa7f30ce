"""What a search for eigenpairs was asked for, and what it says about its pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.recurrence import squared_norms
from hesscope.results import Status


@dataclass(frozen=True)
class Settings:
    """Checked arguments of ``eigenpairs``."""

    k: int
    which: str
    tol: float
    max_products: int | None
    seed: int
    block: int
    keep_state: bool
    verify: bool


def refined_capacity(k: int) -> int:
    """Return the rows of the basis that refines k pairs of one in bfloat16."""
    return 2 * k + 4


def measured_residuals(values: Tensor, vectors: Tensor, products: Tensor) -> Tensor:
    """``|H x - value x|`` from values ``[k]``, vectors and products ``[k, n]``, sums in float64: ``[k]``."""
    left = products.clone(memory_format=torch.contiguous_format)
    shifts = -values.to(left.device)[:, None]
    _ops.multi_axpy(vectors[:, None, :], shifts, left)
    return squared_norms(left).sqrt().cpu()


def described(
    settings: Settings,
    values: Tensor,
    vectors: Tensor,
    residuals: Tensor,
    status: Status,
    *,
    norm: float,
    spent: dict[str, int],
) -> dict[str, Any]:
    """Return the fields of a result that follow from its pairs."""
    converged = residuals <= settings.tol * norm
    count, worst = int(converged.sum()), float(residuals.max()) / norm if norm > 0 else 0.0
    message = (
        f"{status.value} {count} of {settings.k} pairs converged to {settings.tol:.2g} |H|; the largest "
        f"residual is {worst:.2g} |H|."
    )
    return {
        "values": values,
        "vectors": vectors,
        "residuals": residuals,
        "converged": converged,
        "products": sum(spent.values()),
        **{f"{phase}_products": number for phase, number in spent.items()},
        "norm": norm,
        "tol": settings.tol,
        "status": status,
        "message": message,
    }
