"""The Lanczos iterate of f(H) b in its own basis, and how far it may be from f(H) b.

After m steps from ``q_1 = b / |b|`` the iterate is ``|b| Q_m f(T_m) e_1`` (Saad 1992; Druskin and Knizhnerman
1989). The basis being orthonormal up to what finite precision does to it, iterates differ by as much as their
coefficients ``f(T_m) e_1`` do: no vector of length n takes part in an estimate of the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope.krylov.elementwise import Function

_SLOWEST, _FASTEST = 0.9, 1 / 8  # ratios of successive changes that are believed
_GEOMETRIC, _LEAST, _LOCAL = 0.5, 8, 3.0  # when the last quarters are used: their ratio, steps, a margin


@dataclass(frozen=True, eq=False)
class Iterate:
    """The iterates of K recurrences.

    Attributes
    ----------
    coefficients
        Shape ``[K, m]``, float64: ``f(T) e_1``, zeros after an early end.
    truncation, rounding
        Shape ``[K]``: the two parts of the estimated error, relative to ``|b|``; ``inf`` while the iterate
        changes by its own size.
    nodes
        Shape ``[K, m]``: Ritz values, ascending; after an early end the last one, repeated.
    steps
        Shape ``[K]``, int64: rows of T.
    """

    coefficients: Tensor
    truncation: Tensor
    rounding: Tensor
    nodes: Tensor
    steps: Tensor

    @property
    def sizes(self) -> Tensor:
        """Norms of the iterates over ``|b|``: ``[K]``."""
        return self.coefficients.square().sum(dim=1).sqrt()


def iterate(alpha: Tensor, beta: Tensor, f: Function, *, drift: float, eps: float) -> Iterate:
    """Evaluate the iterates of coefficients ``[K, m]`` on the CPU, with errors.

    Parameters
    ----------
    alpha, beta
        Of K recurrences; a beta of exactly 0 ends one.
    f
        Elementwise; raises ValueError where it is not defined.
    drift
        How far rounding may have moved a node.
    eps
        Of the vectors, whose rounding is the least that iterates have.

    Notes
    -----
    The truncation is extrapolated from the changes of the iterate over the last half of the steps and the
    quarter before, exact for errors that fall with a power of the steps; where they fall much faster, the
    last two quarters are used, which see sooner that little is left.
    """
    k, m = alpha.shape
    coefficients, nodes = torch.zeros(k, m, dtype=torch.float64), torch.empty(k, m, dtype=torch.float64)
    truncation, rounding = torch.zeros(k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)
    steps = torch.full((k,), m)
    for r in range(k):
        ended = (beta[r] == 0).nonzero()[:, 0]
        length = int(ended[0]) + 1 if len(ended) else m
        matrix = _Tridiagonal(alpha[r, :length], beta[r, :length], f)
        steps[r] = length
        values, coefficients[r, :length] = matrix.solution(length)
        nodes[r, :length], nodes[r, length:] = values, values[-1]
        rounding[r] = matrix.rounding(length, drift) + eps * float(coefficients[r].norm())
        if not len(ended):
            truncation[r] = matrix.truncation(length)
    return Iterate(coefficients, truncation, rounding, nodes, steps)


class _Tridiagonal:
    """One recurrence; ``f(T_j) e_1`` of its leading parts."""

    def __init__(self, alpha: Tensor, beta: Tensor, f: Function) -> None:
        self.alpha, self.beta, self.f = alpha.numpy(), beta.numpy(), f
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def _eigen(self, size: int) -> tuple[Tensor, Tensor]:
        from scipy.linalg import eigh_tridiagonal

        if size == 1:
            return torch.from_numpy(self.alpha[:1].copy()), torch.ones(1, 1, dtype=torch.float64)
        values, vectors = eigh_tridiagonal(self.alpha[:size], self.beta[: size - 1])
        return torch.as_tensor(values), torch.as_tensor(vectors)

    def solution(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the Ritz values ``[size]`` and ``f(T) e_1 [size]``."""
        known = self._known.get(size)
        if known is None:
            values, vectors = self._eigen(size)
            known = self._known[size] = values, vectors @ (self.f(values) * vectors[0])
        return known

    def rounding(self, size: int, drift: float) -> float:
        """Return the change of ``f(T) e_1`` if every node moves by ``drift``, up or down."""
        values, vectors = self._eigen(size)
        there, worst = self.f(values), 0.0
        for sign in (1.0, -1.0):
            try:
                change = self.f(values + sign * drift) - there
            except ValueError:  # f ends within a rounding of the spectrum
                change = there
            worst = max(worst, float((change * vectors[0]).norm()))
        return worst

    def _distance(self, large: int, small: int) -> float:
        """Return how far two iterates are apart."""
        one, other = self.solution(large)[1].clone(), self.solution(small)[1]
        one[:small] -= other
        return float(one.norm())

    def truncation(self, size: int) -> float:
        """Extrapolate ``|f(T) e_1 - f(H) b / |b||``; ``inf`` after one step, or if as large as it.

        The iterate has not settled then. If f is large on a part of the spectrum that no Ritz value has come
        near yet, all that was seen may be smaller than what is missing by any factor.
        """
        if size == 1:
            return math.inf
        half, quarter = max(size // 2, 1), max(size // 4, 1)
        last = self._distance(size, size - 1)
        error, _ = self._extrapolated(size, half, quarter)
        near, ratio = self._extrapolated(size, size - max(size // 4, 1), half)
        if size >= _LEAST and ratio <= _GEOMETRIC:
            error = min(error, _LOCAL * near)
        error = max(error, last)
        return error if error < float(self.solution(size)[1].norm()) else math.inf

    def _extrapolated(self, size: int, middle: int, start: int) -> tuple[float, float]:
        """Extrapolate the changes over two stretches, and return by how much the second was smaller, too.

        Two neighbouring numbers of steps each: on a spectrum symmetric about zero errors alternate.
        """
        change = max(self._distance(size, j) for j in (middle, middle + 1) if j < size)
        before = max(self._distance(max(middle, j), min(middle, j)) for j in (start, start + 1))
        ratio = min(max(change / before, _FASTEST), _SLOWEST) if before > 0 else _SLOWEST
        return change * ratio / (1 - ratio), ratio
