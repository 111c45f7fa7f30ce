"""One step of the Lanczos recurrence: ``lanczos_update``."""

from __future__ import annotations

import enum

from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call, workspace
from hesscope._ops._library import register


class LanczosState(enum.IntEnum):
    """Columns of the state of a recurrence: ``state`` is ``[K, len(LanczosState)]``, float64.

    A recurrence starts from ``scale = 1 / norm(v)`` and zeros elsewhere.
    """

    SCALE = _core.LANCZOS_SCALE
    """The Lanczos vector is ``scale * v``; 0 marks a recurrence that has ended."""
    SCALE_PREV = _core.LANCZOS_SCALE_PREV
    """The previous one is ``scale_prev * v_prev``; 0 in the first step."""
    BETA_PREV = _core.LANCZOS_BETA_PREV
    """The coupling of the two; 0 in the first step."""
    LARGEST = _core.LANCZOS_LARGEST
    """The largest ``abs(alpha) + beta`` seen: the estimate of the norm of H."""


def lanczos_update(
    w: Tensor,
    v: Tensor,
    v_prev: Tensor,
    next: Tensor,
    state: Tensor,
    alpha: Tensor,
    beta: Tensor,
    *,
    breakdown_tolerance: float,
    backend: str = "auto",
) -> None:
    """Take one step of K Lanczos recurrences, in place (Paige 1972, variant A27).

    With ``q = scale * v`` and ``r = scale * w - beta_prev * scale_prev * v_prev``: ``alpha = <q, r>``,
    ``next = r - alpha * q``, ``beta = norm(next)``, and the state moves on, so that the next Lanczos
    vector is ``next / beta``. Nothing is synchronised.

    Parameters
    ----------
    w
        Shape ``[K, n]``, float32 or float64: the products ``H v``. Rows contiguous, here and below.
    v
        Shape ``[K, n]``: the current Lanczos vectors, not normalised.
    v_prev
        Shape ``[K, n]``: the previous ones. Not read in the first step.
    next
        Shape ``[K, n]``, written: the next ones. May be ``v_prev`` itself, and no other argument.
    state
        Shape ``[K, 4]``, float64, read and written: see :class:`LanczosState`.
    alpha, beta
        Shape ``[K]``, float64, any stride, written.
    breakdown_tolerance
        A recurrence ends where ``beta <= breakdown_tolerance * largest``: beta, scale and next are zero
        then, and in all steps that follow alpha too.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.
    """
    w, v, v_prev, next = w.detach(), v.detach(), v_prev.detach(), next.detach()
    scratch = workspace(_core.lanczos_update_workspace_bytes(*w.shape) if w.ndim == 2 else 0, w.device)
    _core.lanczos_update(
        w,
        v,
        v_prev,
        next,
        state,
        alpha,
        beta,
        breakdown_tolerance=breakdown_tolerance,
        workspace=scratch,
        call=call(w.device, backend),
    )


def _lanczos_update_impl(
    w: Tensor,
    v: Tensor,
    v_prev: Tensor,
    next: Tensor,
    state: Tensor,
    alpha: Tensor,
    beta: Tensor,
    breakdown_tolerance: float,
) -> None:
    lanczos_update(w, v, v_prev, next, state, alpha, beta, breakdown_tolerance=breakdown_tolerance)


register(
    "lanczos_update(Tensor w, Tensor v, Tensor v_prev, Tensor(a!) next, Tensor(b!) state, "
    "Tensor(c!) alpha, Tensor(d!) beta, float breakdown_tolerance) -> ()",
    _lanczos_update_impl,
    lambda w, v, v_prev, next, state, alpha, beta, breakdown_tolerance: None,  # noqa: ARG005
)
