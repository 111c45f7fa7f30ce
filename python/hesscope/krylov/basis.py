"""Lanczos vectors kept in memory, for full reorthogonalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.recurrence import Recurrence, aligned_rows, squared_norms

_STATE = _ops.LanczosState


class Basis:
    """The normalised Lanczos vectors of K recurrences: ``[K, m, n]``, in the dtype of the vectors.

    Orthogonalises by classical Gram-Schmidt applied twice, each projection reading the basis once
    (Giraud, Langou, Rozložník and van den Eshof 2005).
    """

    def __init__(self, num_steps: int, like: Tensor) -> None:
        k, n = like.shape
        self.rows = aligned_rows(k, num_steps, n, dtype=like.dtype, device=like.device)
        self.length = 0

    def append(self, recurrence: Recurrence) -> None:
        """Add the current Lanczos vectors ``q = scale v``; a row of zeros where a recurrence has ended."""
        torch.mul(recurrence.v, recurrence.scalars[:, _STATE.SCALE, None], out=self.rows[:, self.length])
        self.length += 1

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
        basis, v, scalars = self.rows[:, : self.length], recurrence.v, recurrence.scalars
        for _ in range(2):
            coefficients = _ops.multi_dot(basis, v)
            _ops.multi_axpy(basis, coefficients, v, scale=-1.0)
            # What was found along q_j belongs to alpha_j: the recurrence then holds to rounding.
            alpha += coefficients[:, -1]
        norm = squared_norms(v).sqrt()
        largest = torch.maximum(scalars[:, _STATE.LARGEST], alpha.abs() + norm)
        ended = norm <= breakdown_tolerance * largest
        beta.copy_(norm.masked_fill(ended, 0.0))
        v.masked_fill_(ended[:, None], 0.0)
        scalars[:, _STATE.SCALE] = norm.reciprocal().masked_fill(ended, 0.0)
        scalars[:, _STATE.BETA_PREV] = beta
        scalars[:, _STATE.LARGEST] = largest

    def orthogonality(self) -> float:
        """Largest ``|q_i . q_j - delta_ij|``. Reads the basis m/2 times, a quarter of what cleaning did."""
        worst = 0.0
        for j in range(self.length):
            products = _ops.multi_dot(self.rows[:, : j + 1], self.rows[:, j])
            living = products[:, j] > 0  # rows of zeros come after the end of a recurrence
            products[:, j] -= 1.0
            worst = max(worst, float(products[living].abs().max()) if bool(living.any()) else 0.0)
        return worst
