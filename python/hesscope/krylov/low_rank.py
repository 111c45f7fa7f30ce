"""The inverse of what eigenpairs say about an operator: a preconditioner in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hesscope import _checks, _ops
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs

_WHERE = "low_rank_inverse"


def low_rank_inverse(
    eigenpairs: Eigenpairs, *, shift: float = 0.0, rest: float | None = None, absolute: bool = False
) -> SymmetricOperator:
    """Return ``X (T + shift I)^-1 X' + (I - X X') / rest``, exactly inverted, as an operator.

    With eigenpairs (T, X) of H it is the inverse of an operator that agrees with ``H + shift I`` on the
    eigenvectors and is ``rest`` times the identity beside them: a preconditioner for :func:`hesscope.solve`,
    or by itself an approximate Newton step, for ``rest = shift`` what damping leaves of directions without
    curvature.

    Parameters
    ----------
    eigenpairs
        k of them, from :func:`hesscope.eigenpairs`.
    shift
        Added to every eigenvalue.
    rest
        Not zero; default: the smallest ``|value + shift|`` of the pairs, the best that is known of the
        others where the pairs are the largest in modulus.
    absolute
        Use ``|value + shift|``: positive definite, as a preconditioner must be.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value, or a value of the pairs plus the shift is zero.

    Notes
    -----
    A product reads the k eigenvectors twice, and costs no product with H.

    References
    ----------
    Frangella, Tropp and Udell (2023), SIAM J. Matrix Anal. Appl. 44, 718-752, with pairs that are accurate
    in place of a random sketch.
    """
    if not isinstance(eigenpairs, Eigenpairs):
        msg = f"{_WHERE}: eigenpairs must be an Eigenpairs, got {type(eigenpairs).__name__}"
        raise TypeError(msg)
    moved = _checks.real(_WHERE, "shift", shift)
    values = eigenpairs.values.double() + moved
    if not bool(values.isfinite().all()):
        msg = f"{_WHERE}: shift must be finite, got {moved}"
        raise ValueError(msg)
    size = max(eigenpairs.norm, abs(moved))
    if float(values.abs().min()) <= torch.finfo(eigenpairs.vectors.dtype).eps * size:
        zero = float(eigenpairs.values[int(values.abs().argmin())])
        msg = f"{_WHERE}: shift must not make a value zero, but {zero:.6g} + {moved:.6g} is, to rounding"
        raise ValueError(msg)
    beside = float(values.abs().min()) if rest is None else _checks.real(_WHERE, "rest", rest)
    if beside == 0 or math.isinf(beside) or (absolute and beside < 0):
        msg = f"{_WHERE}: rest must be finite and {'positive' if absolute else 'not zero'}, got {beside}"
        raise ValueError(msg)
    return _LowRankInverse(eigenpairs.vectors, values.abs() if absolute else values, beside)


class _LowRankInverse(SymmetricOperator):
    """``V / rest + (V X') (1 / values - 1 / rest) X``."""

    bitwise_rows = True

    def __init__(self, vectors: Tensor, values: Tensor, rest: float) -> None:
        super().__init__(vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
        self._vectors, self._rest = vectors, rest
        self._weights = (values.reciprocal() - 1 / rest).to(vectors.device)

    def _rows(self, vectors: Tensor) -> Tensor:
        basis = self._vectors.expand(vectors.shape[0], -1, -1)
        coefficients = _ops.multi_dot(basis, vectors) * self._weights
        return _ops.multi_axpy(basis, coefficients, (vectors / self._rest).contiguous())

    def description(self) -> dict[str, object]:
        return {**super().description(), "operator": "low-rank inverse", "rank": self._vectors.shape[0]}
