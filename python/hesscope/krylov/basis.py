"""The Lanczos vectors of K recurrences, and reorthogonalisation against them."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.basis_plan import BasisPlan
from hesscope.krylov.delayed import DelayedBasis
from hesscope.krylov.omega import OmegaRecurrence
from hesscope.krylov.orthonormal import orthogonalize
from hesscope.krylov.recurrence import Recurrence, squared_norms
from hesscope.krylov.rows import MemoryRows, Rows

_STATE = _ops.LanczosState


def make_basis(
    num_steps: int, like: Tensor, *, selective: bool, plan: BasisPlan | None
) -> Basis | DelayedBasis:
    """Return the way to reorthogonalise ``num_steps`` Lanczos vectors of each row of ``like [K, n]``.

    Parameters
    ----------
    selective
        Reorthogonalise only when Simon's recurrence asks for it.
    plan
        Where the vectors are kept; default: in the memory of the device.
    """
    (k, n), dtype, device = like.shape, like.dtype, like.device
    rows: Rows = (
        MemoryRows(k, num_steps, n, storage=dtype, dtype=dtype, device=device)
        if plan is None
        else plan.rows(k, n, dtype=dtype, device=device)
    )
    if rows.exact and not selective:
        return DelayedBasis(rows, num_steps, like)
    return Basis(rows, num_steps, like, selective=selective)


class Basis:
    """The normalised Lanczos vectors of K recurrences.

    Orthogonalises by classical Gram-Schmidt: the recurrence has subtracted the large components, so that one
    pass leaves rounding, and where it does not, there is a second (Daniel, Gragg, Kaufman and Stewart 1976;
    Giraud, Langou, Rozloznik and van den Eshof 2005). A pass reads the basis twice.

    Parameters
    ----------
    rows
        Where the vectors are kept.
    num_steps
        Vectors of each recurrence.
    like
        Shape ``[K, n]``: the vectors of the recurrences.
    selective
        Reorthogonalise only when Simon's recurrence says that orthogonality is lost to sqrt(eps), and then
        in two steps that follow each other, not in every step.
    """

    def __init__(self, rows: Rows, num_steps: int, like: Tensor, *, selective: bool = False) -> None:
        eps = torch.finfo(like.dtype).eps
        self.rows = rows
        self.omega = OmegaRecurrence(like.shape[0], num_steps, eps=eps) if selective else None
        self.length = 0
        self.projections = 0  # steps in which the basis was projected out

    def begin(self, recurrence: Recurrence) -> None:
        """Add the current Lanczos vectors ``q = scale v``; a row of zeros where a recurrence has ended."""
        self.rows.put(self.length, recurrence.v, scale=recurrence.scalars[:, _STATE.SCALE])
        self.length += 1

    def advance(
        self,
        recurrence: Recurrence,
        product: Tensor,
        alpha: Tensor,
        beta: Tensor,
        *,
        breakdown_tolerance: float,
    ) -> None:
        """Take a step of every recurrence with the products of its vectors, and clean the next ones.

        Arguments as in :meth:`hesscope.krylov.delayed.DelayedBasis.advance`.
        """
        r = recurrence
        # With a tolerance of 0: a recurrence ends by what projecting leaves.
        _ops.lanczos_update(product, r.v, r.v_prev, r.v_prev, r.scalars, alpha, beta, breakdown_tolerance=0.0)
        r.v, r.v_prev = r.v_prev, r.v
        self.clean(r, alpha, beta, breakdown_tolerance=breakdown_tolerance)

    def clean(
        self, recurrence: Recurrence, alpha: Tensor, beta: Tensor, *, breakdown_tolerance: float
    ) -> None:
        """Make the next vectors orthogonal to the basis, and put alpha, beta and the state right.

        Parameters
        ----------
        recurrence
            After a step with breakdown tolerance 0: a recurrence ends by what is left here.
        alpha, beta
            Shape ``[K]``, float64: the coefficients of that step (read and written).
        breakdown_tolerance
            A recurrence ends when beta is at most this times the largest |alpha| + beta seen.
        """
        v, scalars = recurrence.v, recurrence.scalars
        norm = beta
        if self.omega is None or self.omega.needs_projection(alpha.cpu(), beta.cpu()):
            # What was found along q_j belongs to alpha_j: the recurrence then holds to rounding.
            alpha += orthogonalize(self.rows, v, self.length, norms=beta.square())[:, -1]
            norm = squared_norms(v).sqrt()
            self.projections += 1
        largest = torch.maximum(scalars[:, _STATE.LARGEST], alpha.abs() + norm)
        ended = norm <= breakdown_tolerance * largest
        beta.copy_(norm.masked_fill(ended, 0.0))
        v.masked_fill_(ended[:, None], 0.0)
        scalars[:, _STATE.SCALE] = norm.reciprocal().masked_fill(ended, 0.0)
        scalars[:, _STATE.BETA_PREV] = beta
        scalars[:, _STATE.LARGEST] = largest
        if self.omega is not None:
            self.omega.projected(alpha.cpu(), beta.cpu())

    def orthogonality(self) -> float:
        """Largest ``|q_i . q_j - delta_ij|`` of the vectors as they are stored. Reads the basis once."""
        return self.rows.defect(self.length)
