"""Rows of K bases on the device of the operator: where Krylov vectors are kept, and what they are for."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.recurrence import basis_stride, squared_norms

COLUMNS = 2**16  # converted or rotated at a time, so that no second basis is needed; whole slabs
_CACHED = 2**13  # columns of which some dozens of rows stay in the cache of a core


class Rows(Protocol):
    """Vectors ``[K, capacity, n]`` in some storage; K is 1 for a basis that any number of vectors share.

    Every kind of storage gives the same bits for the same stored numbers: dot products take whole rows, and
    everything else is elementwise in n.
    """

    capacity: int
    exact: bool
    """Whether a row that is read is the row that was stored."""

    def put(self, start: int, rows: Tensor, *, scale: Tensor | None = None) -> None:
        """Store ``rows [K, n]`` (or ``[p, n]`` if K = 1) from row ``start`` on; ``scale [K]`` times them."""

    def get(self, start: int, stop: int) -> Tensor:
        """Return rows ``[stop - start, n]`` of a basis with K = 1, in the dtype of the vectors."""

    def dot(self, w: Tensor, stop: int, *, start: int = 0) -> Tensor:
        """Return the coefficients of ``w [B, n]`` in rows start to stop: ``[B, stop - start]``, float64."""

    def axpy(self, c: Tensor, w: Tensor, *, start: int = 0) -> None:
        """Subtract ``sum_j c[b, j] q_(start + j)`` from ``w [B, n]`` in place."""

    def extend(self, j: int, v: Tensor, w: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Write row j and the vectors after it, ``v [K, n]``, and project those: ``_ops.extend_basis``.

        Reads the basis once. Only where ``exact``.
        """

    def combine(self, coefficients: Tensor, out: Tensor | None) -> None:
        """Write ``coefficients [l, m] @ rows[:m]`` to ``out [l, n]``, or over the first l rows; K = 1."""

    def normalize(self, count: int) -> None:
        """Scale the first rows to norm 1, where the storage is precise enough for that to help; K = 1."""

    def defect(self, length: int) -> float:
        """Return the largest ``|q_i . q_j - delta_ij|`` among the first rows; rows of zeros do not count."""

    def close(self) -> None:
        """Give back what the storage holds."""


class MemoryRows:
    """In the memory of the device, in the dtype of the vectors or in bfloat16."""

    def __init__(
        self, k: int, capacity: int, n: int, *, storage: torch.dtype, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.capacity, self.dtype, self.exact = capacity, dtype, storage == dtype
        stride = basis_stride(n, storage.itemsize)
        rows = _ops.empty_in_huge_pages(k, capacity, stride, dtype=storage, device=device)
        self.tensor = rows[..., :n]

    def put(self, start: int, rows: Tensor, *, scale: Tensor | None = None) -> None:
        """Store rows."""
        p = rows.shape[0] if self.tensor.shape[0] == 1 else 1
        target = self.tensor[0, start : start + p] if self.tensor.shape[0] == 1 else self.tensor[:, start]
        if scale is None:
            target.copy_(rows)
            return
        for begin in range(0, rows.shape[1], COLUMNS):  # scaled in float64, without a copy of all of it
            part = slice(begin, begin + COLUMNS)
            target[:, part] = (rows[:, part] * scale[:, None]).to(self.dtype)

    def get(self, start: int, stop: int) -> Tensor:
        """Return rows; a view where nothing is to be converted."""
        return self.tensor[0, start:stop].to(self.dtype)

    def _shared(self, batch: int, start: int, stop: int) -> Tensor:
        basis = self.tensor[:, start:stop]
        return basis.expand(batch, -1, -1) if basis.shape[0] == 1 else basis

    def dot(self, w: Tensor, stop: int, *, start: int = 0) -> Tensor:
        """Return coefficients."""
        return _ops.multi_dot(self._shared(w.shape[0], start, stop), w)

    def axpy(self, c: Tensor, w: Tensor, *, start: int = 0) -> None:
        """Subtract a combination."""
        _ops.multi_axpy(self._shared(w.shape[0], start, start + c.shape[1]), c, w, scale=-1.0)

    def extend(self, j: int, v: Tensor, w: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Write row j and the vectors after it, and project those."""
        return _ops.extend_basis(self.tensor[:, : j + 1], v, w, before, after)

    def combine(self, coefficients: Tensor, out: Tensor | None) -> None:
        """Combine rows, a strip of columns at a time."""
        count, m = coefficients.shape
        target = self.tensor[0, :count] if out is None else out
        combine(coefficients, self.tensor[0, :m], out=target, dtype=self.dtype)

    def normalize(self, count: int) -> None:
        """Scale the first rows to norm 1; a row of bfloat16 numbers has its norm from their rounding."""
        if self.exact:
            rows = self.tensor[0, :count]
            rows /= squared_norms(rows).sqrt().to(rows.dtype)[:, None]

    def defect(self, length: int) -> float:
        """Measure the orthogonality; half the arithmetic of projecting every row once, m n reads."""
        return max(gram_defect(_ops.gram(basis[:length])) for basis in self.tensor)

    def close(self) -> None:
        """Give the memory back."""
        self.tensor = self.tensor[:, :0].clone()


def combine(coefficients: Tensor, rows: Tensor, *, out: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return ``coefficients [l, m] @ rows [m, n]``, sums in float64; ``out [l, n]`` may overlap ``rows``."""
    count, (m, n) = coefficients.shape[0], rows.shape
    coefficients = coefficients.to(rows.device).contiguous()
    # On a CPU, so few columns that the sums of each thread stay in its cache.
    columns = min(COLUMNS, _CACHED * torch.get_num_threads()) if rows.device.type == "cpu" else COLUMNS
    for begin in range(0, n, columns):
        part = rows[:, begin : begin + columns]
        total = torch.zeros(count, part.shape[1], dtype=dtype or rows.dtype, device=rows.device)
        _ops.multi_axpy(part.expand(count, m, -1), coefficients, total)
        out[:, begin : begin + columns] = total
    return out


def gram_defect(gram: Tensor) -> float:
    """Return the largest ``|G - I|`` of the inner products of rows, without those that are zero."""
    living = gram.diagonal() > 0
    gram = gram[living][:, living]
    if gram.numel() == 0:
        return 0.0
    return float((gram - torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)).abs().max())
