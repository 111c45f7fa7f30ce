"""Known eigenpairs taken out of a spectrum: they become exact atoms, and only the rest is sampled.

With orthonormal rows U, values L and P = I - U'U, the eigenvalues of H are L and those of P H P on the
range of P, up to the squares of the residuals over the gap; the trace is right even so, L being Rayleigh
quotients.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.recurrence import Recurrence, squared_norms
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs
from hesscope.spectrum.probing import check_eigenpairs, check_residual, dots, project
from hesscope.spectrum.quadrature import Quadrature


@dataclass(frozen=True, eq=False)
class Deflation:
    """Eigenvalues that are known: atoms of weight 1/n each.

    Attributes
    ----------
    values
        Shape ``[k]``, float64, CPU.
    residuals
        Shape ``[k]``: an eigenvalue lies within this distance of each.
    shift
        What the run has put in place of these eigenvalues, see :class:`DeflatedOperator`.
    """

    values: Tensor
    residuals: Tensor
    shift: float

    def __len__(self) -> int:
        return self.values.shape[0]

    def merge(self, sampled: Quadrature, n: int) -> Quadrature:
        """Add the atoms to quadratures ``[K, m]`` of the rest: ``[K, m + k]``, nodes ascending."""
        rows, k = sampled.nodes.shape[0], len(self)
        atoms = torch.full((rows, k), 1 / n, dtype=torch.float64)
        nodes, order = torch.cat([sampled.nodes, self.values.expand(rows, k)], dim=1).sort(dim=1)
        weights = torch.cat([sampled.weights * ((n - k) / n), atoms], dim=1).gather(1, order)
        residuals = torch.cat([sampled.residuals, self.residuals.expand(rows, k)], dim=1).gather(1, order)
        return Quadrature(nodes, weights, residuals, sampled.ended)

    def below(self, x: Tensor, slack: float) -> tuple[Tensor, Tensor]:
        """Count the atoms that are surely, and possibly, at or below points: ``[P] -> [P], [P]``."""
        surely = self.values + self.residuals <= x[:, None] - slack
        possibly = self.values - self.residuals <= x[:, None] + slack
        return surely.sum(dim=1).double(), possibly.sum(dim=1).double()

    def inside(self, a: float, b: float, slack: float) -> tuple[int, int]:
        """Count the atoms that are surely, and possibly, in ``[a, b]``."""
        error = self.residuals + slack
        surely = (self.values - error >= a) & (self.values + error <= b)
        possibly = (self.values + error >= a) & (self.values - error <= b)
        return int(surely.sum()), int(possibly.sum())


class DeflatedOperator(SymmetricOperator):
    """``P H P + shift (I - P)`` for vectors in the range of P, its products counted by H as well.

    Rounding leaves the range of P by one part in 1/eps each step, and the recurrence carries that along as
    if the operator had the eigenvalue ``shift`` there. Zero, what ``P H P`` itself has, may lie outside the
    rest of the spectrum, where what is carried along grows fastest and would be its end. So the shift is
    the Rayleigh quotient of the first vector of the first product, which is inside.

    Parameters
    ----------
    operator
        H.
    vectors
        Shape ``[k, n]``: orthonormal rows.
    values, residuals
        Shape ``[k]``, float64, CPU.
    shift
        Of the run that is continued; None to begin.
    """

    def __init__(
        self,
        operator: SymmetricOperator,
        vectors: Tensor,
        values: Tensor,
        residuals: Tensor,
        *,
        shift: float | None = None,
    ) -> None:
        super().__init__(operator.shape[0], dtype=operator.dtype, device=operator.device)
        self._operator, self._vectors = operator, vectors
        self._values, self._residuals, self._shift = values, residuals, shift
        self.bitwise_rows, self.writes_into = operator.bitwise_rows, operator.writes_into

    @property
    def rank(self) -> int:
        """Number of eigenpairs taken out, k."""
        return self._vectors.shape[0]

    def deflation(self) -> Deflation:
        """Return what is known, with the shift of the run so far."""
        return Deflation(self._values, self._residuals, self._shift or 0.0)

    def enter(self, recurrence: Recurrence) -> None:
        """Project the starting vectors, twice so that rounding is all that is left, and scale them anew."""
        for _ in range(2):
            self._subtract(project(self._vectors, recurrence.v), recurrence.v)
        recurrence.scalars[:, _ops.LanczosState.SCALE] = squared_norms(recurrence.v).rsqrt()

    def _rows(self, vectors: Tensor) -> Tensor:
        products = self._operator.rows(vectors).detach().clone()  # it may be memory of the operator
        return self._projected(vectors, products)

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        self._projected(vectors, self._operator.rows(vectors, out=out).detach())

    def _projected(self, vectors: Tensor, products: Tensor) -> Tensor:
        before, after = project(self._vectors, vectors), project(self._vectors, products)
        if self._shift is None:
            first = slice(0, 1)
            outside = dots(vectors[first], products[first]) - (before[0] @ after[0])
            quotient = float(outside / squared_norms(vectors[first]))
            self._shift = quotient if math.isfinite(quotient) else 0.0
        self._subtract(after - self._shift * before, products)
        return products

    def _subtract(self, coefficients: Tensor, rows: Tensor) -> None:
        _ops.multi_axpy(self._vectors.expand(rows.shape[0], -1, -1), coefficients, rows, scale=-1.0)

    def fingerprint(self) -> Hashable:
        """Return that of H."""
        return self._operator.fingerprint()

    def description(self) -> dict[str, object]:
        """Return that of H: the density is that of all its eigenvalues."""
        return self._operator.description()


class Remainder(SymmetricOperator):
    """``H - U' diag(values) U``: symmetric, and right to add up with the pairs, however wrong they are."""

    def __init__(self, operator: SymmetricOperator, pairs: Eigenpairs) -> None:
        super().__init__(operator.shape[0], dtype=operator.dtype, device=operator.device)
        self._operator, self._vectors = operator, pairs.vectors
        self._values = pairs.values.to(operator.device)

    def _rows(self, vectors: Tensor) -> Tensor:
        products = self._operator.rows(vectors).detach().clone()  # it may be memory of the operator
        inside = project(self._vectors, vectors) * self._values
        basis = self._vectors.expand(vectors.shape[0], -1, -1)
        return _ops.multi_axpy(basis, inside, products, scale=-1.0)

    def _forms(self, vectors: Tensor) -> Tensor:
        inside = project(self._vectors, vectors).square() @ self._values
        return self._operator.quadratic_forms(vectors) - inside

    def fingerprint(self) -> Hashable:
        """Return that of H."""
        return self._operator.fingerprint()


def deflated(
    where: str, operator: SymmetricOperator, eigenpairs: object, *, known: Deflation | None = None
) -> DeflatedOperator:
    """Return the operator without the converged ones of its eigenpairs.

    Parameters
    ----------
    where
        Name of the function, for messages.
    operator
        n x n.
    eigenpairs
        Of this operator.
    known
        What a density that is to be continued was computed with.

    Raises
    ------
    TypeError, ValueError
        If they are no eigenpairs, do not fit, none has converged, they are as many as n, they are another
        operator's (one product tells), or others than before.
    """
    pairs: Eigenpairs = check_eigenpairs(where, eigenpairs, operator)
    keep, n = pairs.converged, operator.shape[0]
    count = int(keep.sum())
    if not 0 < count < n:
        msg = (
            f"{where}: eigenpairs must hold at least one converged pair and fewer than n = {n}, got {count} "
            f"of {len(pairs)}"
        )
        raise ValueError(msg)
    vectors = pairs.vectors if count == len(pairs) else pairs.vectors[keep.to(pairs.vectors.device)]
    values, residuals = pairs.values[keep], pairs.residuals[keep]
    if known is not None and not torch.equal(values, known.values):
        msg = (
            f"{where}: eigenpairs must be those that density was computed with, {_few(known.values)}, got "
            f"{_few(values)}"
        )
        raise ValueError(msg)
    if known is None:  # a run that is continued compares its first product anyway
        check_residual(where, pairs, operator)
    shift = None if known is None else known.shift
    return DeflatedOperator(operator, vectors, values, residuals, shift=shift)


def _few(values: Tensor) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values[:3].tolist())
    return f"{len(values)} ({shown}{', ...' if len(values) > 3 else ''})"
