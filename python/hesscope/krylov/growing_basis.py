"""A basis of block Lanczos that grows, and the small matrix that H becomes on it.

Relation kept (Wu and Simon 2000; blocks: Ruhe 1979), with Q ``[m, n]`` and pending rows P ``[p, n]``
orthonormal together, S = T's eigenvectors: ``H Q' = Q' T + P' coupling``. So a Ritz pair (theta, Q's) has
the residual ``|coupling s|``, and after a restart T is diagonal with one coupling row (an arrow).
T is filled with the coefficients that Gram-Schmidt measures, not with those the recurrence predicts:
then it is the Rayleigh quotient of whatever basis there is, of random vectors added after a breakdown
and of vectors from an earlier run as well.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.basis_plan import BasisPlan
from hesscope.krylov.delayed import delayed_step
from hesscope.krylov.orthonormal import orthogonalize, orthonormalize
from hesscope.krylov.recurrence import aligned_rows, squared_norms
from hesscope.krylov.rows import MemoryRows, Rows
from hesscope.operators.base import SymmetricOperator

BREAKDOWN_ROUNDINGS = 8  # a residual of so many eps |H| is rounding
_ATTEMPTS = 5  # random vectors tried before a space counts as full
_NOTHING = torch.zeros(0, dtype=torch.float64)


class NonFiniteError(ArithmeticError):
    """A product holds NaN or inf; the basis is what it was before it."""


class GrowingBasis:
    """Orthonormal rows, pending rows and the projected matrix.

    Parameters
    ----------
    operator
        n x n.
    capacity
        Most rows before a restart, at most n.
    block
        Most pending rows that are made from random vectors.
    seed
        Of random starts.
    plan
        Where the rows are kept; default: in the memory of the device.
    """

    def __init__(
        self,
        operator: SymmetricOperator,
        *,
        capacity: int,
        block: int,
        seed: int,
        plan: BasisPlan | None = None,
    ) -> None:
        n, dtype, device = operator.shape[0], operator.dtype, operator.device
        self.operator, self.capacity, self.block, self.seed = operator, capacity, block, seed
        self.store: Rows = (
            MemoryRows(1, capacity, n, storage=dtype, dtype=dtype, device=device)
            if plan is None
            else plan.rows(1, n, dtype=dtype, device=device)
        )
        # The recurrence itself is in the dtype of the operator, whatever the rows are stored in: the pending
        # rows, the last ones that went into the basis, and room for the next.
        self.front = aligned_rows(0, n, dtype=dtype, device=device)
        self.recent, self._spare = self.front, self.front
        self.matrix = torch.zeros(capacity, capacity, dtype=torch.float64)
        self.coupling = torch.zeros(0, 0, dtype=torch.float64)  # [pending, length]
        # A single pending row may wait for the next step to become clean: it is scale front - along Q.
        self.scale, self.along = 1.0, _NOTHING
        self.length = 0
        self.norm = 0.0
        self.restarts = 0
        self.neglected = 0.0  # size of the couplings dropped so far: what residuals may lack
        self.defects = [0.0, 0]  # sum of squares and number of q'Hp - p'Hq seen before any were dropped
        self.next_probe = 0
        self.turning = False  # rows are being rotated: if that fails, they mean nothing
        self._eps = torch.finfo(dtype).eps

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
        total, count = self.defects
        return math.sqrt(self.operator.shape[0] * total / count) if count else 0.0

    @property
    def full(self) -> bool:
        """Whether the next expansion needs a restart before."""
        return self.length + self.pending > self.capacity

    def expand(self) -> int:
        """Multiply the pending rows, move them into the basis, return the number of products.

        Raises
        ------
        NonFiniteError
            If a product is not finite.
        """
        p, begin, end = self.pending, self.length, self.length + self.pending
        if p == 1 and self.store.exact:
            return self._expand_delayed()
        pending, fresh = self.front, self._room(p)
        fresh.copy_(self.operator.rows(pending))
        self.store.put(begin, pending)
        coefficients = self._subtract_known(fresh)
        extra = orthogonalize(self.store, fresh, end).cpu()
        if not bool(coefficients.isfinite().all() and extra.isfinite().all()):
            raise NonFiniteError
        if self.neglected == 0.0:  # what Gram-Schmidt measures was known from products before
            self._see(extra[:, :begin])
        if self.store.exact:  # else it measures the rounding of the rows, too
            coefficients += extra
        self.matrix[:begin, begin:end] = coefficients[:, :begin].T
        self.matrix[begin:end, :begin] = coefficients[:, :begin]
        square = coefficients[:, begin:]
        self.matrix[begin:end, begin:end] = (square + square.T) / 2
        self.norm = max(self.norm, float(square.diagonal().abs().max()))
        within = self._orthonormalize(fresh, end)
        self.front, self.recent, self._spare = fresh[: within.shape[0]], pending, self.recent
        self.coupling = torch.zeros(within.shape[0], end, dtype=torch.float64)
        self.coupling[:, begin:] = within
        self.length = end
        if self.pending == 0:
            self.add_random(1)
        return p

    def _expand_delayed(self) -> int:
        """Expand by one row that becomes clean in the same reading of the basis as its product."""
        j, v, t, device = self.length, self.front, self.matrix, self.front.device
        product = self.operator.rows(v, out=self._room(1) if self.operator.writes_into else None).detach()
        if product.data_ptr() == v.data_ptr() or product.stride(-1) != 1:
            product = product.clone(memory_format=torch.contiguous_format)
        measured = _ops.multi_dot(v[:, None], product)[:, 0]
        if not bool(measured.isfinite().all()):
            raise NonFiniteError
        along = self.along if len(self.along) else torch.zeros(j, dtype=torch.float64)
        # A storage that fails halfway leaves the row half written: a run is then continued from it as it was.
        kept = None if isinstance(self.store, MemoryRows) else v.clone()
        try:
            step = delayed_step(
                self.store,
                j,
                v,
                product,
                measured=measured,
                scale=torch.tensor([self.scale], dtype=torch.float64, device=device),
                along=along[None].to(device),
                image=(t[:j, :j] @ along)[None].to(device),
                known=self.coupling.to(device),
            )
        except OSError:
            if kept is not None:
                v.copy_(kept)
            raise
        found, norm = step.found[0].cpu(), float(step.norm)
        if self.neglected == 0.0:
            self._see(found[:j])
        t[j, :j] = t[:j, j] = self.coupling[0] + found[:j]
        t[j, j] = float(step.alpha)
        self.norm = max(self.norm, abs(float(t[j, j])))
        self.recent, self.length = self.recent[:0], j + 1
        self.coupling = torch.zeros(1, j + 1, dtype=torch.float64)
        self.coupling[0, j] = norm
        if norm <= BREAKDOWN_ROUNDINGS * self._eps * self.norm or self.length >= self.operator.shape[0]:
            self.add_random(1)
        else:
            self.scale, self.along = 1 / norm, step.along[0].cpu() / norm
        return 1

    def clean_front(self) -> Tensor:
        """Make the pending rows ``[p, n]`` orthonormal and orthogonal to the basis, and return them."""
        if len(self.along):
            self.store.axpy((self.along / self.scale)[None].to(self.front.device), self.front)
            self.front *= self.scale
            self.scale, self.along = 1.0, _NOTHING
        return self.front

    def _subtract_known(self, fresh: Tensor) -> Tensor:
        """Subtract from products ``[p, n]`` what the recurrence knows, and their part in the pending rows.

        Returns all of it: ``[p, length + p]``, float64, CPU. What is left of a product is no larger than it
        should be, so that one pass of Gram-Schmidt cleans it; and it is subtracted with rows that were not
        rounded to a storage.
        """
        device, recent = fresh.device, self.recent.shape[0]
        known, far = self.coupling.to(device), self.length - recent
        if far and bool(self.coupling[:, :far].any()):
            self.store.axpy(known[:, :far].contiguous(), fresh)
        before, now = (rows.expand(fresh.shape[0], -1, -1) for rows in (self.recent, self.front))
        _ops.multi_axpy(before, known[:, far:].contiguous(), fresh, scale=-1.0)
        square = _ops.multi_dot(now, fresh)
        _ops.multi_axpy(now, square, fresh, scale=-1.0)
        return torch.cat([self.coupling, square.cpu()], dim=1)

    def _room(self, count: int) -> Tensor:
        """Return ``[count, n]`` that nothing refers to."""
        if self._spare.shape[0] < count:
            like = self.front
            self._spare = aligned_rows(count, like.shape[1], dtype=like.dtype, device=like.device)
        return self._spare[:count]

    def _orthonormalize(self, rows: Tensor, length: int) -> Tensor:
        """Make rows orthonormal in place, drop what is rounding, and all of it where the basis is full."""
        if length >= self.operator.shape[0]:
            return torch.zeros(0, rows.shape[0], dtype=torch.float64)
        negligible = BREAKDOWN_ROUNDINGS * self._eps * self.norm
        return orthonormalize(rows, negligible=negligible, basis=self.store, length=length)

    def add_random(self, count: int) -> None:
        """Make random rows, orthogonal to the basis and uncoupled from it, the pending ones."""
        n, got, attempts = self.operator.shape[0], 0, 0
        count = min(count, n - self.length)
        rows = self._room(count)
        while got < count and attempts < _ATTEMPTS * count:
            row = rows[got : got + 1]
            _ops.probes(1, n, kind="gaussian", seed=self.seed, first_probe=self.next_probe, out=row)
            row /= squared_norms(row).sqrt().to(row.dtype)
            # Nearly full spaces leave little of a random vector, and twice is then not enough.
            for _ in range(2):
                orthogonalize(self.store, row, self.length)
                if got:
                    known = _ops.multi_dot(rows[None, :got], row)
                    _ops.multi_axpy(rows[None, :got], known, row, scale=-1.0)
                norm = squared_norms(row).sqrt()
                if float(norm) <= BREAKDOWN_ROUNDINGS * self._eps:
                    break
                row /= norm.to(row.dtype)
            else:
                got += 1
            self.next_probe += 1
            attempts += 1
        self._make_pending(rows[:got])
        self.coupling = torch.zeros(got, self.length, dtype=torch.float64)

    def _make_pending(self, rows: Tensor) -> None:
        """Let clean rows, made in :meth:`_room`, be the pending ones."""
        self.front, self._spare = rows, self._spare[:0]
        self.scale, self.along = 1.0, _NOTHING

    def _see(self, defects: Tensor) -> None:
        self.defects[0] += float(defects.square().sum())
        self.defects[1] += defects.numel()

    def _neglect(self, size: float) -> None:
        self.neglected = math.hypot(self.neglected, size)
