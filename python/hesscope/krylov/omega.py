"""Simon's recurrence: how far Lanczos vectors have lost their orthogonality, from alpha and beta alone."""

from __future__ import annotations

import torch
from torch import Tensor


class OmegaRecurrence:
    """Estimates of ``q_i . q_(j+1)`` for K recurrences, on the host.

    Rounding of size eps |H| in a step is carried on by the same three-term recurrence as the vectors, and
    grows as Ritz values converge. Semi-orthogonality, all estimates below sqrt(eps), is enough for T to be
    the projection of H to rounding. When one exceeds that, the next vector and the one after it are
    projected: both enter the recurrence.

    Parameters
    ----------
    k, num_steps
        Recurrences, and steps at most.
    eps
        Unit roundoff of the vectors.

    References
    ----------
    Simon (1984), Math. Comp. 42, 115-142; Larsen (1998), the code PROPACK.
    """

    def __init__(self, k: int, num_steps: int, *, eps: float) -> None:
        self.eps, self.level = eps, eps**0.5
        self._alpha = torch.zeros(k, num_steps, dtype=torch.float64)
        self._beta = torch.zeros(k, num_steps, dtype=torch.float64)
        self._omega = torch.zeros(k, num_steps + 1, dtype=torch.float64)  # of q_j with q_0 ... q_j
        self._omega[:, 0] = 1.0
        self._before = torch.zeros_like(self._omega)  # of q_(j-1)
        self._again = False
        self._j = 0

    def needs_projection(self, alpha: Tensor, beta: Tensor) -> bool:
        """Take the coefficients ``[K]`` of a step; return whether the next vectors must be projected.

        An answer of True is taken to be acted upon; :meth:`projected` then says what came of it.
        """
        j = self._j
        self._alpha[:, j], self._beta[:, j] = alpha, beta
        following, size = self._next(j)
        living = beta > 0
        # The next step multiplies what is lost by |H| / beta. Where couplings are small, that can take it
        # from below sqrt(eps) to everything at once: so its outcome is limited, too.
        now = following[:, : j + 1].abs().amax(dim=1)
        soon = now * size[:, 0] / beta
        lost = bool(((now > self.level) | (soon > self.level**0.5))[living].any())
        project = lost or self._again
        self._again = lost and not self._again
        if project:
            following[:, : j + 1] = self.eps
        self._before, self._omega, self._j = self._omega, following, j + 1
        return project

    def projected(self, alpha: Tensor, beta: Tensor) -> None:
        """Take the coefficients of the step as they are after the projection."""
        self._alpha[:, self._j - 1], self._beta[:, self._j - 1] = alpha, beta

    def _next(self, j: int) -> tuple[Tensor, Tensor]:
        """Return the estimates for ``q_(j+1)``, ``[K, m + 1]``, and the norm of H, ``[K, 1]``."""
        a, b, now, before = self._alpha, self._beta, self._omega, self._before
        beta = b[:, j].clamp(min=torch.finfo(torch.float64).tiny)[:, None]
        out = torch.zeros_like(now)
        size = (a[:, : j + 1].abs() + b[:, : j + 1]).amax(dim=1, keepdim=True)
        if j > 0:
            i = torch.arange(j)
            carried = b[:, :j] * now[:, 1 : j + 1] + (a[:, :j] - a[:, j : j + 1]) * now[:, :j]
            carried[:, 1:] += b[:, : j - 1] * now[:, : j - 1]
            carried -= b[:, j - 1 : j] * before[:, :j]
            # Rounding, of an unknown sign, is taken to make it worse.
            out[:, i] = (carried + torch.where(carried < 0, -1.0, 1.0) * self.eps * size) / beta
        out[:, j] = self.eps * size[:, 0] / beta[:, 0]
        out[:, j + 1] = 1.0
        return out, size
