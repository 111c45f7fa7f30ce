"""Eigenvalues with eigenvectors, and how far each pair can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from hesscope.results.estimate import Status


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenpairs of a symmetric operator.

    Fewer than the k asked for are here only if the run was cut off before its basis held k vectors.

    Attributes
    ----------
    values
        Shape ``[k]``, float64, CPU. "largest", "both_ends": descending; "smallest": ascending;
        "magnitude": by falling modulus.
    vectors
        Shape ``[k, n]``, the dtype and device of the operator: orthonormal rows.
    residuals
        Shape ``[k]``, float64, CPU: ``|H x - value x|``. Some eigenvalue is that close to the value.
    converged
        Shape ``[k]``, bool: ``residuals <= tol * norm``.
    products
        All products with H: the sum of the next three.
    search_products, check_products, verification_products
        Spent on finding the pairs, on looking for missed ones, and on measuring the residuals.
    norm
        Estimate of ``|H|`` from below: the largest modulus of a Ritz value seen. Tolerances refer to it.
    tol
        The relative tolerance asked for.
    verified
        True if the residuals were measured with fresh products; False if they are those of the
        recurrence, as after an interruption.
    missed
        "none found": a Krylov space started at random, orthogonal to the pairs, held nothing that
        belongs to them; "unfinished": it was cut off; "not checked".
    status
        Why the run stopped.
    message
        The sentence of the status, with the numbers of this run.
    which, restarts, seconds, memory_bytes, operator
        End of the spectrum, restarts of the basis, wall time, bytes of the vectors kept, description.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    products: int
    search_products: int
    check_products: int
    verification_products: int
    norm: float
    tol: float
    verified: bool
    missed: str
    status: Status
    message: str
    which: str
    restarts: int
    seconds: float
    memory_bytes: int
    operator: Mapping[str, object] = field(repr=False)

    def __len__(self) -> int:
        return self.values.shape[0]

    def __str__(self) -> str:
        pairs = zip(self.values.tolist(), self.residuals.tolist(), strict=True)
        return "\n".join([*(f"{value:14.6g} ± {residual:.1g}" for value, residual in pairs), self.message])
