"""The generalised eigenproblem H x = lambda M x for a positive diagonal M, as a symmetric operator."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor

from hesscope.operators.base import SymmetricOperator

_WHERE = "preconditioned"


def preconditioned(operator: SymmetricOperator, diagonal: Tensor) -> Preconditioned:
    """Return ``M^-1/2 H M^-1/2``, whose eigenvalues are those of ``H x = lambda M x`` and of ``M^-1 H``.

    Parameters
    ----------
    operator
        H, n x n.
    diagonal
        Shape ``[n]``, the device of the operator, floating: the diagonal of M, positive. Copied.
        :func:`hesscope.adam_preconditioner` reads the one of an optimizer.

    Returns
    -------
    Preconditioned
        A SymmetricOperator, for densities, eigenpairs, traces and everything else. Its
        ``to_parameters`` turns its eigenvectors y into those of the pair, ``x = M^-1/2 y``, for which
        ``x' M x = y' y``.

    Raises
    ------
    TypeError, ValueError
        If the diagonal is not such a tensor, or an entry is not positive and finite, or so small or large
        that the dtype of the operator does not hold its ``M^-1/2``.

    Notes
    -----
    A product costs one product with H, where it counts too, and a vector of length n for each row.

    References
    ----------
    Parlett (1998), The Symmetric Eigenvalue Problem, section 15.4. Adaptive optimizers: Cohen et al. (2022),
    Adaptive Gradient Methods at the Edge of Stability.

    Examples
    --------
    >>> H = from_matrix(torch.diag(torch.tensor([1.0, 8.0])))
    >>> preconditioned(H, torch.tensor([1.0, 2.0])) @ torch.ones(2)
    tensor([1., 4.])
    """
    if not isinstance(operator, SymmetricOperator):
        msg = f"{_WHERE}: operator must be a SymmetricOperator, got {type(operator).__name__}"
        raise TypeError(msg)
    n = operator.shape[0]
    if not isinstance(diagonal, Tensor) or not diagonal.dtype.is_floating_point:
        got = diagonal.dtype if isinstance(diagonal, Tensor) else type(diagonal).__name__
        msg = f"{_WHERE}: diagonal must be a floating tensor [{n}], got {got}"
        raise TypeError(msg)
    if diagonal.shape != (n,):
        msg = f"{_WHERE}: diagonal must have shape [{n}], got {list(diagonal.shape)}"
        raise ValueError(msg)
    if diagonal.device != operator.device:
        msg = f"{_WHERE}: diagonal must be on {operator.device}, got {diagonal.device}"
        raise ValueError(msg)
    scale = diagonal.detach().double().rsqrt().to(operator.dtype)
    wrong = ~(scale.isfinite() & (scale > 0))
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0, 0])
        msg = (
            f"{_WHERE}: diagonal must be positive and finite with a square root that {operator.dtype} holds, "
            f"got {float(diagonal[first])} in entry {first} and {int(wrong.sum())} such entries"
        )
        raise ValueError(msg)
    return Preconditioned(operator, scale)


class Preconditioned(SymmetricOperator):
    """``M^-1/2 H M^-1/2``; see :func:`hesscope.preconditioned`.

    Attributes
    ----------
    scale
        Shape ``[n]``, the dtype and device of the operator: ``M^-1/2``.
    """

    def __init__(self, operator: SymmetricOperator, scale: Tensor) -> None:
        super().__init__(operator.shape[0], dtype=operator.dtype, device=operator.device)
        self._operator, self.scale = operator, scale
        self.bitwise_rows = operator.bitwise_rows

    def _rows(self, vectors: Tensor) -> Tensor:
        return self._operator.rows(vectors * self.scale).mul_(self.scale)

    def _forms(self, vectors: Tensor) -> Tensor:
        return self._operator.quadratic_forms(vectors * self.scale)

    def layers(self) -> tuple[slice, ...]:
        """Return those of H."""
        return self._operator.layers()

    def to_parameters(self, vectors: Tensor) -> Tensor:
        """Return ``x = M^-1/2 y`` of rows y, ``[n]`` or ``[k, n]``: eigenvectors of ``H x = lambda M x``.

        Raises
        ------
        TypeError, ValueError
            If they are no tensor, or the last dimension is not n.
        """
        if not isinstance(vectors, Tensor):
            msg = f"to_parameters: vectors must be a tensor, got {type(vectors).__name__}"
            raise TypeError(msg)
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != self.shape[0]:
            n = self.shape[0]
            msg = f"to_parameters: vectors must have shape [{n}] or [k, {n}], got {list(vectors.shape)}"
            raise ValueError(msg)
        return vectors * self.scale

    def fingerprint(self) -> Hashable:
        """Return that of H: M is a copy."""
        return self._operator.fingerprint()

    def description(self) -> dict[str, object]:
        """Return what M is like, and what it is of."""
        low, high = (float(end.double()) ** -2 for end in (self.scale.max(), self.scale.min()))
        return {
            **super().description(),
            "operator": "preconditioned",
            "diagonal_range": [low, high],
            "of": self._operator.description(),
        }
