"""Vectors that an operator is applied to or inverted on: checked, and as rows."""

from __future__ import annotations

from torch import Tensor

from hesscope.operators.base import SymmetricOperator


def right_hand_sides(where: str, name: str, b: object, operator: SymmetricOperator) -> Tensor:
    """Return b ``[n]`` or ``[K, n]`` as contiguous rows ``[K, n]``, or raise TypeError or ValueError."""
    n = operator.shape[0]
    if not isinstance(b, Tensor):
        msg = f"{where}: {name} must be a tensor [{n}] or [K, {n}], got {type(b).__name__}"
        raise TypeError(msg)
    if b.ndim not in (1, 2) or b.shape[-1] != n or b.shape[0] == 0:
        msg = f"{where}: {name} must have shape [{n}] or [K, {n}], got {list(b.shape)}"
        raise ValueError(msg)
    require_like(where, name, b, operator)
    return b.detach().reshape(-1, n).contiguous()


def require_like(where: str, name: str, vectors: Tensor, operator: SymmetricOperator) -> None:
    """Raise TypeError or ValueError unless vectors are finite, in the operator's dtype and on its device."""
    if vectors.dtype != operator.dtype:
        msg = f"{where}: {name} must be {operator.dtype}, got {vectors.dtype}"
        raise TypeError(msg)
    if vectors.device != operator.device:
        msg = f"{where}: {name} must be on {operator.device}, got {vectors.device}"
        raise ValueError(msg)
    if not bool(vectors.isfinite().all()):
        msg = f"{where}: {name} must be finite, got NaN or inf"
        raise ValueError(msg)
