"""Hessians beside where the weights are: the weights are moved, and put back."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hesscope.objective import Objective
from hesscope.operators import SymmetricOperator


class Displacement:
    """The weights of an objective on a line; made by :func:`displaced`.

    Attributes
    ----------
    at
        Where they are now: a multiple of the direction.
    """

    def __init__(self, objective: Objective, direction: Tensor) -> None:
        self._parts = objective.parameter_set
        self._base = [p.detach().clone() for p in self._parts.tensors]
        self._direction = direction
        self.at = 0.0

    def move(self, t: float) -> None:
        """Move the weights to ``theta + t d``; 0 puts them back bit for bit."""
        if t == self.at:
            return
        self.at = math.nan  # until it is done, so that a move that is cut off is put right by the next
        with torch.no_grad():
            for p, base, part in zip(self._parts.tensors, self._base, self._parts.slices, strict=True):
                if t == 0:
                    p.copy_(base)
                else:
                    piece = self._direction[part].view(p.shape)
                    p.copy_(torch.add(base.to(piece.dtype), piece, alpha=t))
        self.at = t


@contextmanager
def displaced(objective: Objective, direction: Tensor) -> Iterator[Displacement]:
    """Let the weights be moved along a direction ``[n]``, and put them back at the end.

    Memory: a copy of the weights.
    """
    displacement = Displacement(objective, direction)
    try:
        yield displacement
    finally:
        displacement.move(0.0)


class HessianDifference(SymmetricOperator):
    """``H(theta + b d) - H(theta + a d)``, while the weights may be moved.

    A product is one with each Hessian, and moves the weights once.

    Attributes
    ----------
    size
        The largest ``|H v| / |v|`` seen, which the rounding of a difference is relative to.
    """

    def __init__(self, hessian: SymmetricOperator, displacement: Displacement, a: float, b: float) -> None:
        super().__init__(hessian.shape[0], dtype=hessian.dtype, device=hessian.device)
        self._hessian, self._displacement, self._ends = hessian, displacement, (a, b)
        self.size = 0.0

    def _rows(self, vectors: Tensor) -> Tensor:
        a, b = self._ends
        order = (b, a) if self._displacement.at == b else (a, b)
        products = {}
        for t in order:
            self._displacement.move(t)
            products[t] = self._hessian.rows(vectors).detach()
            ratio = products[t].norm(dim=1) / vectors.norm(dim=1)
            self.size = max(self.size, float(ratio.nan_to_num().max()))
        return products[b] - products[a]

    def fingerprint(self) -> Hashable:
        """Return nothing that changes: the weights move on purpose."""
        return None
