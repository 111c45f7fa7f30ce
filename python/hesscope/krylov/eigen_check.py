"""The check for eigenpairs that the Krylov spaces so far could not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hesscope.krylov.thick_restart import ThickRestartBasis
from hesscope.krylov.wanted import differ, select


class Stepping(Protocol):
    """What the check needs of a search."""

    basis: ThickRestartBasis

    @property
    def tol(self) -> float:
        """The residual that counts as none, relative to the norm of H."""

    def wanted(self, values: Tensor) -> Tensor:
        """Return the indices of the wanted values."""

    def step(self) -> None:
        """Expand the basis, after a restart where it is full."""

    def must_stop(self) -> bool:
        """Whether the user or the limit on products ends the run."""


@dataclass
class MissedCheck:
    """A Krylov space from a random vector orthogonal to the pairs found.

    At least one cycle of fresh steps; more, up to half of what the search took, while the outermost of the
    new Ritz values could still move past the pairs.

    Attributes
    ----------
    known
        Values of the pairs when the check began, ``[k]``.
    steps
        Taken so far.
    least, most
        Steps to take.
    """

    known: Tensor
    steps: int
    least: int
    most: int

    @classmethod
    def begin(cls, search: Stepping, *, spent: int, k: int) -> MissedCheck:
        """Reduce the basis to the pairs found, and start from a random vector."""
        basis = search.basis
        values, _, _ = basis.ritz()
        wanted = search.wanted(values)
        basis.begin_anew(wanted)
        least = basis.capacity - k
        return cls(values[wanted], 0, least, max(least, spent // 2))

    def run(self, search: Stepping, *, which: str, k: int) -> str:
        """Go on; return "none found", "unfinished", or "some" where wanted pairs were missed."""
        basis = search.basis
        margin = 2 * search.tol * basis.norm
        while self.steps < self.most and not basis.exhausted:
            if search.must_stop():
                return "unfinished"
            before = basis.length
            search.step()
            self.steps += 1
            values, _, residuals = basis.ritz()
            if differ(self.known, values[search.wanted(values)], which, margin):
                return "some"
            if self.steps >= self.least and before < basis.length:
                wanted = search.wanted(values)
                if _settled(values, residuals, wanted, which=which, k=k):
                    break
        return "none found"


def _settled(values: Tensor, residuals: Tensor, wanted: Tensor, *, which: str, k: int) -> bool:
    """Whether the first Ritz values beyond the wanted ones are closer to an eigenvalue than to those."""
    if values.shape[0] <= k + 1:
        return False
    beyond = [i for i in select(values, which, k + 2).tolist() if i not in wanted.tolist()]
    gaps = torch.stack([(values[wanted] - values[i]).abs().min() for i in beyond])
    return bool((residuals[beyond] < gaps).all())
