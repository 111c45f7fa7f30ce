"""The basis of thick-restart block Lanczos, and the small matrix that H becomes on it.

Relation kept (Wu and Simon 2000; blocks: Ruhe 1979), with Q ``[m, n]`` and pending rows P ``[p, n]``
orthonormal together, S = T's eigenvectors: ``H Q' = Q' T + P' coupling``. So a Ritz pair (theta, Q's) has
the residual ``|coupling s|``, and after a restart T is diagonal with one coupling row (an arrow).
T is filled with the coefficients that Gram-Schmidt measures, not with those the recurrence predicts:
then it is the Rayleigh quotient of whatever basis there is, of random vectors added after a breakdown
and of vectors from an earlier run as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.recurrence import aligned_rows, squared_norms
from hesscope.operators.base import SymmetricOperator

BREAKDOWN_ROUNDINGS = 8  # a residual of so many eps |H| is rounding
_COLUMNS = 2**16  # rotated at a time, so that a restart needs no second basis
_ATTEMPTS = 5  # random vectors tried before a space counts as full


Wanted = Callable[[Tensor], Tensor]  # ascending values -> indices of the wanted ones


class NonFiniteError(ArithmeticError):
    """A product holds NaN or inf; the basis is what it was before it."""


class ThickRestartBasis:
    """Orthonormal rows, pending rows and the projected matrix.

    Parameters
    ----------
    operator
        n x n.
    capacity
        Most rows before a restart, at most n.
    block
        Most pending rows.
    seed
        Of random starts.
    """

    def __init__(self, operator: SymmetricOperator, *, capacity: int, block: int, seed: int) -> None:
        n = operator.shape[0]
        self.operator, self.capacity, self.seed = operator, capacity, seed
        self.rows = aligned_rows(capacity + block, n, dtype=operator.dtype, device=operator.device)
        self.matrix = torch.zeros(capacity, capacity, dtype=torch.float64)
        self.coupling = torch.zeros(0, 0, dtype=torch.float64)  # [pending, length]
        self.length = 0
        self.norm = 0.0
        self.restarts = 0
        self.neglected = 0.0  # size of the couplings dropped so far: what residuals may lack
        self._defects = [0.0, 0]  # sum of squares and number of q'Hp - p'Hq seen before any were dropped
        self._next_probe = 0
        self._eps = torch.finfo(operator.dtype).eps

    @property
    def pending(self) -> int:
        """Number of pending rows."""
        return self.coupling.shape[0]

    @property
    def exhausted(self) -> bool:
        """Whether the basis spans everything, or nothing is left to extend it with."""
        return self.pending == 0

    @property
    def noise(self) -> float:
        """Norm of the error of a product, from the asymmetry seen, were it spread evenly over n entries."""
        total, count = self._defects
        return math.sqrt(self.operator.shape[0] * total / count) if count else 0.0

    @property
    def full(self) -> bool:
        """Whether the next expansion needs a restart before."""
        return self.length + 2 * self.pending > self.rows.shape[0]

    def expand(self) -> int:
        """Multiply the pending rows, move them into the basis, return the number of products.

        Raises
        ------
        NonFiniteError
            If a product is not finite.
        """
        p, end = self.pending, self.length + self.pending
        fresh = self.rows[end : end + p]
        fresh.copy_(self.operator.rows(self.rows[self.length : end]))
        coefficients = self._orthogonalize(fresh, end).cpu()  # [p, end]
        if not bool(coefficients.isfinite().all()):
            raise NonFiniteError
        if self.neglected == 0.0:  # what Gram-Schmidt measures was known from products before
            self._see(coefficients[:, : self.length] - self.coupling)
        self.matrix[: self.length, self.length : end] = coefficients[:, : self.length].T
        self.matrix[self.length : end, : self.length] = coefficients[:, : self.length]
        square = coefficients[:, self.length :]
        self.matrix[self.length : end, self.length : end] = (square + square.T) / 2
        self.norm = max(self.norm, float(square.diagonal().abs().max()))
        within = self._orthonormalize(fresh, end, BREAKDOWN_ROUNDINGS * self._eps * self.norm)
        self.coupling = torch.zeros(within.shape[0], end, dtype=torch.float64)
        self.coupling[:, self.length :] = within
        self.length = end
        if self.pending == 0:
            self.add_random(1)
        return p

    def add_random(self, count: int) -> None:
        """Make random rows, orthogonal to the basis and uncoupled from it, the pending ones."""
        n, got, attempts = self.operator.shape[0], 0, 0
        count = min(count, n - self.length)
        while got < count and attempts < _ATTEMPTS * count:
            row = self.rows[self.length + got : self.length + got + 1]
            _ops.probes(1, n, kind="gaussian", seed=self.seed, first_probe=self._next_probe, out=row)
            row /= squared_norms(row).sqrt().to(row.dtype)
            # Nearly full spaces leave little of a random vector, and twice is then not enough.
            for _ in range(2):
                self._orthogonalize(row, self.length + got)
                norm = squared_norms(row).sqrt()
                if float(norm) <= BREAKDOWN_ROUNDINGS * self._eps:
                    break
                row /= norm.to(row.dtype)
            else:
                got += 1
            self._next_probe += 1
            attempts += 1
        self.coupling = torch.zeros(got, self.length, dtype=torch.float64)

    def begin_anew(self, kept: Tensor) -> None:
        """Keep the Ritz vectors ``kept``, neglect what they are coupled to, go on from a random vector."""
        _, _, residuals = self.ritz()
        self._neglect(float(residuals[kept].max()))
        self.restart(kept)
        self.add_random(1)

    def ritz(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return Ritz values ``[m]``, ascending, their vectors in the basis ``[m, m]``, residuals ``[m]``."""
        m = self.length
        values, vectors = torch.linalg.eigh(self.matrix[:m, :m])
        self.norm = max(self.norm, float(values.abs().max()))
        return values, vectors, (self.coupling @ vectors).norm(dim=0)

    def restart(self, kept: Tensor, *, matters: Tensor | None = None, negligible: float = 0.0) -> None:
        """Replace the basis by the Ritz vectors ``kept`` (indices).

        Pending directions that reach each Ritz vector of ``matters`` with at most ``negligible`` are dropped:
        a block that has done its work becomes narrower.
        """
        values, vectors, _ = self.ritz()
        count, m, p = len(kept), self.length, self.pending
        pending = self.rows[m : m + p].clone()
        coupling = self.coupling @ vectors
        if p > 1 and matters is not None:
            left, sizes, _ = torch.linalg.svd(coupling[:, matters], full_matrices=True)
            self._neglect(negligible)
            useful = left[:, : max(int((sizes > negligible).sum()), 1)]
            pending = self.combine(useful.T.contiguous(), pending)
            coupling = useful.T @ coupling
        self.ritz_vectors(vectors[:, kept], out=self.rows[:count])
        self.rows[count : count + pending.shape[0]] = pending
        self.matrix.zero_()
        self.matrix[:count, :count] = torch.diag(values[kept])
        self.coupling, self.length = coupling[:, kept].contiguous(), count
        self.restarts += 1

    def adopt(self, vectors: Tensor, products: Tensor, *, wanted: Wanted, negligible: float) -> Tensor:
        """Begin from orthonormal ``vectors`` ``[j, n]`` and their products: one Rayleigh-Ritz step.

        Returns the residuals of the wanted Ritz vectors, in their order.

        The pending rows become the directions in which the residuals of the wanted Ritz vectors point;
        directions that hold at most ``negligible`` times the norm of H are dropped.

        Raises
        ------
        NonFiniteError
            If a product is not finite.
        """
        j, images = vectors.shape[0], products.clone(memory_format=torch.contiguous_format)
        self.rows[:j] = vectors
        self.length, self.coupling = j, torch.zeros(0, j, dtype=torch.float64)
        square = self._orthogonalize(images, j).cpu()
        if not bool(square.isfinite().all()):
            raise NonFiniteError
        self.matrix.zero_()
        self._defects = [0.0, 0]
        self._see((square - square.T)[*torch.triu_indices(j, j, 1)])
        self.matrix[:j, :j] = (square + square.T) / 2
        values, ritz, _ = self.ritz()
        chosen = ritz[:, wanted(values)]  # [j, k]
        gram = chosen.T @ _ops.multi_dot(images.expand(j, -1, -1), images).cpu() @ chosen
        squares, directions = torch.linalg.eigh((gram + gram.T) / 2)  # of the residuals, ascending
        least = max(negligible, BREAKDOWN_ROUNDINGS * self._eps) * self.norm
        self.neglected = least
        p = min(int((squares > least**2).sum()), (self.rows.shape[0] - j) // 2)
        fresh = self.rows[j : j + p]
        if p:
            self.combine((chosen @ directions.flip(1)[:, :p]).T.contiguous(), images, out=fresh)
        kept = self._orthonormalize(fresh, j, BREAKDOWN_ROUNDINGS * self._eps * self.norm).shape[0]
        self.coupling = torch.zeros(kept, j, dtype=torch.float64)
        if kept:
            pending = self.rows[j : j + kept].expand(j, -1, -1)
            self.coupling[:] = _ops.multi_dot(pending, images).cpu().T
        return gram.diagonal().clamp(min=0.0).sqrt()

    def ritz_vectors(self, chosen: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Return the rows whose coefficients in the basis are the columns of ``chosen [m, k]``: ``[k, n]``.

        Normalised afresh: every rotation rounds, and a long run has hundreds.
        """
        rows = self.combine(chosen.T.contiguous(), self.rows[: self.length], out=out)
        rows /= squared_norms(rows).sqrt().to(rows.dtype)[:, None]
        return rows

    def combine(self, coefficients: Tensor, rows: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Return ``coefficients [l, m] @ rows [m, n]``, summed in float64; ``out`` may overlap ``rows``."""
        count, (m, n) = coefficients.shape[0], rows.shape
        out = aligned_rows(count, n, dtype=rows.dtype, device=rows.device) if out is None else out
        coefficients = coefficients.to(rows.device)
        for begin in range(0, n, _COLUMNS):
            part = rows[:, begin : begin + _COLUMNS]
            total = torch.zeros(count, part.shape[1], dtype=rows.dtype, device=rows.device)
            _ops.multi_axpy(part.expand(count, m, -1), coefficients, total)
            out[:, begin : begin + _COLUMNS] = total
        return out

    def _see(self, defects: Tensor) -> None:
        self._defects[0] += float(defects.square().sum())
        self._defects[1] += defects.numel()

    def _neglect(self, size: float) -> None:
        self.neglected = math.hypot(self.neglected, size)

    def _orthogonalize(self, rows: Tensor, length: int) -> Tensor:
        """Remove the first ``length`` basis rows from ``rows [p, n]``, twice; return what was there."""
        basis = self.rows[:length].expand(rows.shape[0], -1, -1)
        total = torch.zeros(rows.shape[0], length, dtype=torch.float64, device=rows.device)
        for _ in range(2 if length else 0):
            coefficients = _ops.multi_dot(basis, rows)
            _ops.multi_axpy(basis, coefficients, rows, scale=-1.0)
            total += coefficients
        return total

    def _orthonormalize(self, rows: Tensor, length: int, negligible: float) -> Tensor:
        """Make ``rows [p, n]``, which follow the first ``length`` of the basis, orthonormal in place.

        Rows of which at most ``negligible`` is left are dropped: all of them, where the basis is full.
        Returns R ``[kept, p]`` with ``rows before = R' rows after``.
        """
        p, kept = rows.shape[0], 0
        r = torch.zeros(p, p, dtype=torch.float64)
        for a in range(p):
            row = rows[kept : kept + 1]
            row.copy_(rows[a : a + 1].clone())
            found = self._orthogonalize(row, length + kept)[0, length:] if kept else row.new_zeros(0)
            norm = float(squared_norms(row).sqrt())
            r[:kept, a] = found.cpu()
            if norm > negligible:
                row /= norm
                r[kept, a] = norm
                kept += 1
        return r[:kept]
