"""Projections on a basis: ``multi_dot`` and ``multi_axpy``."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call, workspace
from hesscope._ops._library import register


def multi_dot(q: Tensor, w: Tensor, *, backend: str = "auto") -> Tensor:
    """Coefficients ``c[b, j] = <q[b, j], w[b]>``.

    Parameters
    ----------
    q
        Shape ``[B, k, n]``, bfloat16, float32 or float64; rows contiguous; ``expand`` shares one basis.
    w
        Shape ``[B, n]``, float32 or float64.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        Shape ``[B, k]``, float64.
    """
    q, w = q.detach(), w.detach()
    out = torch.empty(q.shape[:2], dtype=torch.float64, device=q.device)
    scratch = workspace(_core.multi_dot_workspace_bytes(*q.shape) if q.ndim == 3 else 0, q.device)
    _core.multi_dot(q, w, out=out, workspace=scratch, call=call(q.device, backend))
    return out


def multi_axpy(q: Tensor, c: Tensor, w: Tensor, *, scale: float = 1.0, backend: str = "auto") -> Tensor:
    """Add combinations of basis rows in place: ``w[b] += scale * sum_j c[b, j] q[b, j]``; return ``w``.

    Shapes and dtypes as in :func:`multi_dot`.
    """
    _core.multi_axpy(q.detach(), c, w.detach(), scale=scale, call=call(q.device, backend))
    return w


def _multi_axpy_impl(q: Tensor, c: Tensor, w: Tensor, scale: float) -> None:
    multi_axpy(q, c, w, scale=scale)


register(
    "multi_dot(Tensor q, Tensor w) -> Tensor",
    multi_dot,
    lambda q, w: w.new_empty(q.shape[:2], dtype=torch.float64),
)
register(
    "multi_axpy(Tensor q, Tensor c, Tensor(a!) w, float scale) -> ()",
    _multi_axpy_impl,
    lambda q, c, w, scale: None,  # noqa: ARG005
)
