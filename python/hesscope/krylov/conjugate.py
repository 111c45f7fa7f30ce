"""Conjugate gradients and MINRES for K right-hand sides in lockstep, with float64 coefficients.

Each right-hand side has its own recurrence; one that is done leaves the batch, and costs no further product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from hesscope import _ops

Map = Callable[[Tensor], Tensor]
GOING, CONVERGED, INDEFINITE, SINGULAR = range(4)


class Recurrence(ABC):
    """K recurrences for ``A d = r``, from ``d = 0``.

    Attributes
    ----------
    d
        Shape ``[K, n]``: the solutions so far.
    state
        Shape ``[K]``, int64: GOING, CONVERGED, INDEFINITE or SINGULAR, as the recurrence sees it.
    negative
        Shape ``[K]``, bool: negative curvature was met.
    indefinite
        Shape ``[K]``, bool: so was negative curvature of the preconditioner, which must have none.
    """

    # Everything that a step reads or writes, one row per right-hand side.
    names: tuple[str, ...] = ("d", "state", "negative", "indefinite", "target", "size")

    def __init__(self, product: Map, precondition: Map | None, r: Tensor, target: Tensor) -> None:
        """``target [K]``: residual norms at which a recurrence is done; relative to its own norm."""
        self.product, self.precondition = product, precondition or (lambda rows: rows)
        self.preconditioned = precondition is not None
        self.eps = torch.finfo(r.dtype).eps
        self.d = torch.zeros_like(r)
        self.state = torch.zeros(r.shape[0], dtype=torch.int64, device=r.device)
        self.negative = torch.zeros(r.shape[0], dtype=torch.bool, device=r.device)
        self.indefinite = self.negative.clone()
        self.target = target
        self.size = torch.zeros_like(target)  # estimate of |A| from below

    @abstractmethod
    def step(self) -> None:
        """Take one step of every recurrence: K products."""

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the right-hand sides only."""
        for name in self.names:
            setattr(self, name, getattr(self, name)[rows].contiguous())

    def _energy(self, r: Tensor, z: Tensor) -> Tensor:
        """Return ``r' M^-1 r`` of residuals and ``z = M^-1 r``, row by row."""
        energy = dots(r, z)
        if self.preconditioned:
            self.indefinite |= energy < -16 * self.eps * (dots(r, r) * dots(z, z)).sqrt()
        return energy

    def _settle(self, state: int, rows: Tensor) -> None:
        self.state = torch.where(rows & (self.state == GOING), state, self.state)


class ConjugateGradients(Recurrence):
    """Hestenes and Stiefel (1952). Needs a positive definite A, and notices if it is not."""

    names = (*Recurrence.names, "r", "p", "rz")

    def __init__(self, product: Map, precondition: Map | None, r: Tensor, target: Tensor) -> None:
        super().__init__(product, precondition, r, target)
        self.r = r.clone()
        z = self.precondition(self.r)
        self.p, self.rz = z.clone(), self._energy(self.r, z)

    def step(self) -> None:
        """Take one step of every recurrence: K products."""
        q = self.product(self.p)
        curvature, pp = dots(self.p, q), dots(self.p, self.p)
        self.size = torch.maximum(self.size, (dots(q, q) / pp).sqrt().nan_to_num())
        zero = 16 * self.eps * self.size * pp
        self.negative |= curvature < -zero
        self._settle(INDEFINITE, curvature < -zero)
        self._settle(SINGULAR, curvature <= zero)
        step = torch.where(self.state == GOING, self.rz / curvature, 0.0)
        axpy(step, self.p, self.d)
        axpy(-step, q, self.r)
        self._settle(CONVERGED, dots(self.r, self.r).sqrt() <= self.target)
        z = self.precondition(self.r)
        rz = self._energy(self.r, z)
        ratio = (rz / self.rz).nan_to_num(0.0, 0.0, 0.0)
        self.p = z.addcmul(ratio[:, None].to(z.dtype), self.p)
        self.rz = rz


class Minres(Recurrence):
    """Paige and Saunders (1975). A may be indefinite; the residual never grows.

    With a preconditioner M^-1 the norm that falls is ``sqrt(r' M^-1 r)``.
    """

    names = (
        *Recurrence.names,
        *("r1", "r2", "y", "w1", "w2", "beta", "oldb", "dbar", "eps_k", "phi", "cs", "sn", "start"),
    )

    def __init__(self, product: Map, precondition: Map | None, r: Tensor, target: Tensor) -> None:
        super().__init__(product, precondition, r, target)
        self.r1, self.r2 = torch.zeros_like(r), r.clone()
        self.y = self.precondition(self.r2)
        self.w1, self.w2 = torch.zeros_like(r), torch.zeros_like(r)
        self.beta = self._energy(self.r2, self.y).clamp(min=0.0).sqrt()
        zeros = torch.zeros_like(self.beta)
        self.oldb, self.dbar, self.eps_k = zeros + 1, zeros.clone(), zeros.clone()
        self.phi, self.cs, self.sn = self.beta.clone(), zeros - 1, zeros.clone()
        # The residual's norm at the start over its own norm turns one into the other.
        self.start = self.beta / dots(r, r).sqrt()

    def step(self) -> None:
        """Take one step of every recurrence: K products."""
        going = self.state == GOING  # others may wait here for a look of the host; their steps are zeros
        scale = torch.where(going, 1 / self.beta, 0.0)
        v = self.y * scale.to(self.y.dtype)[:, None]
        y = self.product(v)
        y = y.addcmul(torch.where(going, -self.beta / self.oldb, 0.0).to(y.dtype)[:, None], self.r1)
        alpha = dots(v, y)
        axpy(-alpha * scale, self.r2, y)
        self.r1, self.r2, self.y = self.r2, y, self.precondition(y)
        self.oldb, self.beta = self.beta, self._energy(y, self.y).clamp(min=0.0).sqrt()
        self.size = torch.maximum(self.size, (alpha.square() + self.beta.square()).sqrt())

        oldeps, delta = self.eps_k, self.cs * self.dbar + self.sn * alpha
        gbar = self.sn * self.dbar - self.cs * alpha
        # r' A r = -cs gbar |r|^2 of the residual before this step.
        self.negative |= self.cs * gbar > 16 * self.eps * self.size
        self.eps_k, self.dbar = self.sn * self.beta, -self.cs * self.beta
        slope = (gbar.square() + self.dbar.square()).sqrt()  # |A r| / |r| before this step
        # The gradient is as small as rounding lets it become, and grows again after that, while the residual
        # is not: a least-squares solution.
        self._settle(SINGULAR, slope <= 2 * self.eps**0.5 * self.size)
        gamma = (gbar.square() + self.beta.square()).sqrt().clamp(min=torch.finfo(torch.float64).tiny)
        self.cs, self.sn = gbar / gamma, self.beta / gamma
        going = self.state == GOING
        step = torch.where(going, self.cs * self.phi, 0.0)
        self.phi = torch.where(going, self.sn * self.phi, self.phi)
        w = v.addcmul((-oldeps).to(v.dtype)[:, None], self.w1)
        axpy(-delta, self.w2, w)
        w *= torch.where(going, 1 / gamma, 0.0).to(w.dtype)[:, None]
        self.w1, self.w2 = self.w2, w
        axpy(step, w, self.d)
        self._settle(CONVERGED, self.phi <= self.target * self.start)
        self._settle(CONVERGED, self.beta <= 16 * self.eps * self.size)  # the Krylov space is exhausted


def dots(a: Tensor, b: Tensor) -> Tensor:
    """Row by row ``<a_r, b_r>``, summed in float64: ``[K, n], [K, n] -> [K]``."""
    return _ops.multi_dot(a[:, None, :], b)[:, 0]


def axpy(c: Tensor, x: Tensor, y: Tensor) -> None:
    """``y_r += c_r x_r`` in place: ``[K], [K, n], [K, n]``."""
    _ops.multi_axpy(x[:, None, :], c[:, None], y)
