"""A function of an operator applied to vectors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hesscope.results.estimate import Status


@dataclass(frozen=True, eq=False)
class FunctionProduct:
    """``x = f(H + shift I) b``.

    Attributes
    ----------
    x
        The shape, dtype and device of b: ``[n]`` or ``[K, n]``.
    estimate
        Shape ``[K]``, float64, CPU: estimate of ``|x - f(H + shift I) b|``. No bound: it extrapolates how the
        iterates changed, and adds what rounding may do. ``inf`` after one step, and while x changes by as
        much as its size.
    relative
        Shape ``[K]``: ``estimate / |x|``; 0 where b is zero.
    nodes
        Shape ``[K, m]``, float64, CPU: the Ritz values of H on which f was evaluated, ascending; a row that
        ended early repeats its last one.
    steps
        Shape ``[K]``, int64: steps after which each recurrence ended, or all m.
    products
        Products with H, those of a second pass included.
    basis
        Where the Lanczos vectors were kept, or that they were computed twice, and why, in a sentence.
    status, message
        Why it stopped, and what that means here.
    """

    x: Tensor
    estimate: Tensor
    relative: Tensor
    nodes: Tensor
    steps: Tensor
    products: int
    basis: str
    status: Status
    message: str

    def __str__(self) -> str:
        worst = float(self.relative.max())
        return f"f(H) b: error about {worst:.2g} |x|, {self.products} products; {self.message}"
