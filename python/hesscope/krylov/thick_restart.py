"""The basis of thick-restart Lanczos: Ritz pairs, and what is left of the basis between its growths.

Relation, notation and sources: :mod:`hesscope.krylov.growing_basis`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.growing_basis import BREAKDOWN_ROUNDINGS, GrowingBasis, NonFiniteError
from hesscope.krylov.orthonormal import orthogonalize
from hesscope.krylov.recurrence import aligned_rows, squared_norms
from hesscope.krylov.rows import combine

Wanted = Callable[[Tensor], Tensor]  # ascending values -> indices of the wanted ones


class ThickRestartBasis(GrowingBasis):
    """Orthonormal rows, pending rows and the projected matrix, which can be reduced to Ritz vectors."""

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
        count, p = len(kept), self.pending
        self.clean_front()
        coupling = self.coupling @ vectors
        if p > 1 and matters is not None:
            left, sizes, _ = torch.linalg.svd(coupling[:, matters], full_matrices=True)
            self._neglect(negligible)
            useful = left[:, : max(int((sizes > negligible).sum()), 1)]
            combine(useful.T.contiguous(), self.front, out=self.front[: useful.shape[1]])
            self.front = self.front[: useful.shape[1]]
            coupling = useful.T @ coupling
        self.turning = True
        self.store.combine(vectors[:, kept].T.contiguous(), None)
        self.store.normalize(count)
        self.turning = False
        self.recent = self.recent[:0]
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
        self.store.put(0, vectors)
        self.recent = self.recent[:0]
        self.length, self.coupling = j, torch.zeros(0, j, dtype=torch.float64)
        square = orthogonalize(self.store, images, j).cpu()
        if not bool(square.isfinite().all()):
            raise NonFiniteError
        self.matrix.zero_()
        self.defects = [0.0, 0]
        self._see((square - square.T)[*torch.triu_indices(j, j, 1)])
        self.matrix[:j, :j] = (square + square.T) / 2
        values, ritz, _ = self.ritz()
        chosen = ritz[:, wanted(values)]  # [j, k]
        gram = chosen.T @ _ops.gram(images).cpu() @ chosen
        squares, directions = torch.linalg.eigh((gram + gram.T) / 2)  # of the residuals, ascending
        least = max(negligible, BREAKDOWN_ROUNDINGS * self._eps) * self.norm
        self.neglected = least
        found = int((squares > least**2).sum())
        p = min(found, self.capacity - j)
        if p < found:
            self.neglected = max(least, float(squares.flip(0)[p].sqrt()))
        fresh = self._room(p)
        kept = 0
        if p:
            combine((chosen @ directions.flip(1)[:, :p]).T.contiguous(), images, out=fresh)
            kept = self._orthonormalize(fresh, j).shape[0]
        self._make_pending(fresh[:kept])
        self.coupling = _ops.gram(self.front, images).cpu()
        return gram.diagonal().clamp(min=0.0).sqrt()

    def ritz_vectors(self, chosen: Tensor) -> Tensor:
        """Return the rows whose coefficients in the basis are the columns of ``chosen [m, k]``."""
        like = self.front
        rows = aligned_rows(chosen.shape[1], like.shape[1], dtype=like.dtype, device=like.device)
        self.store.combine(chosen.T.contiguous(), rows)
        rows /= squared_norms(rows).sqrt().to(rows.dtype)[:, None]
        return rows
