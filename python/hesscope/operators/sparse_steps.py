"""Lanczos steps of a sparse matrix, on vectors that stay interleaved from step to step."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _ops

LANES = 8  # recurrences that share one reading of the matrix


class SparseSteps:
    """K recurrences with a matrix in compressed rows: ``operators.base.FusedSteps``.

    Parameters
    ----------
    parts
        ``row_start, columns, values`` of the matrix.
    v, v_prev
        Shape ``[K, n]``: where the recurrences stand. Copied, and not written before ``hand_back``.
    scalars
        Shape ``[K, 4]``: their state, written in every step.
    """

    def __init__(
        self, parts: tuple[Tensor, Tensor, Tensor], v: Tensor, v_prev: Tensor, scalars: Tensor
    ) -> None:
        self._parts = parts
        started = bool((scalars[:, _ops.LanczosState.BETA_PREV] != 0).any())
        self._scalars = scalars.split(LANES)
        self._v = [_interleaved(rows) for rows in v.split(LANES)]
        self._v_prev = [
            _interleaved(rows) if started else torch.empty_like(beside)
            for rows, beside in zip(v_prev.split(LANES), self._v, strict=True)
        ]

    def step(self, alpha: Tensor, beta: Tensor, *, breakdown_tolerance: float) -> None:
        """Take a step of every recurrence; its coefficients go to ``alpha, beta [K]``."""
        parts = zip(self._v, self._v_prev, self._scalars, alpha.split(LANES), beta.split(LANES), strict=True)
        for v, v_prev, scalars, a, b in parts:
            _ops.csr_lanczos_update(
                *self._parts, v, v_prev, scalars, a, b, breakdown_tolerance=breakdown_tolerance
            )
        self._v, self._v_prev = self._v_prev, self._v

    def hand_back(self, v: Tensor, v_prev: Tensor) -> None:
        """Write where the recurrences stand now to rows ``[K, n]``."""
        for rows, chunks in ((v, self._v), (v_prev, self._v_prev)):
            for part, chunk in zip(rows.split(LANES), chunks, strict=True):
                part.copy_(chunk[:, : len(part)].T)


def _interleaved(rows: Tensor) -> Tensor:
    """Copy ``[K, n]`` to ``[n, W]``; what lanes past K hold is never used."""
    k, n = rows.shape
    lanes = rows.new_empty(n, _ops.csr_lanczos_lanes(k))
    lanes[:, :k] = rows.T
    return lanes
