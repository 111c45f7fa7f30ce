"""Solutions of linear systems."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hesscope.results.estimate import Status


@dataclass(frozen=True, eq=False)
class Solution:
    """Solutions x of ``(H + shift I) x = b``.

    Attributes
    ----------
    x
        The shape, dtype and device of b: ``[n]`` or ``[K, n]``.
    residuals
        Shape ``[K]``, float64, CPU: ``|b - (H + shift I) x|``, measured with fresh products at the end.
    relative
        Shape ``[K]``: ``residuals / |b|``; 0 where b is zero.
    converged
        Shape ``[K]``, bool: ``relative <= tol``.
    steps
        Shape ``[K]``, int64: steps that each right-hand side took, restarts included.
    negative_curvature
        Shape ``[K]``, bool: a direction u with ``u' (H + shift I) u < 0`` was met, so the operator is
        indefinite. False proves nothing.
    products
        Products with H, those that measured the residuals included.
    method
        What was run, in words.
    status, message
        Why it stopped: the worst of the right-hand sides; and what that means here.
    """

    x: Tensor
    residuals: Tensor
    relative: Tensor
    converged: Tensor
    steps: Tensor
    negative_curvature: Tensor
    products: int
    method: str
    status: Status
    message: str

    def __str__(self) -> str:
        return f"{self.method}: residual {float(self.relative.max()):.2g} |b|, {self.products} products"
