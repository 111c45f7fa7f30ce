"""A row more for a basis, and a vector projected on it, in one reading: ``extend_basis``."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call, workspace
from hesscope._ops._library import register


def extend_basis(
    q: Tensor,
    v: Tensor,
    w: Tensor,
    before: Tensor,
    after: Tensor,
    *,
    d: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Write the last row of bases and the vectors after it, and project those; return ``d``.

    With j rows before the last, for each b::

        q_j = sum_{i<j} before_i q_i + before_j v
        v   = sum_{i<=j} after_i q_i + after_{j+1} w
        d  += (<q_0, v>, ..., <q_j, v>, <v, v>)

    Parameters
    ----------
    q
        Shape ``[B, j + 1, n]``, float32 or float64; rows contiguous. The last row is written.
    v
        Shape ``[B, n]``, the dtype of q; overwritten.
    w
        Shape ``[B, n]``, the dtype of q.
    before, after
        Shapes ``[B, j + 1]`` and ``[B, j + 2]``, float64.
    d
        Shape ``[B, j + 2]``, float64: what is added to. Default: zeros.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        ``d``.
    """
    q = q.detach()
    if d is None:
        d = torch.zeros(after.shape, dtype=torch.float64, device=q.device)
    scratch = workspace(_core.extend_basis_workspace_bytes(*q.shape) if q.ndim == 3 else 0, q.device)
    _core.extend_basis(
        q,
        v.detach(),
        w.detach(),
        before=before,
        after=after,
        out=d,
        workspace=scratch,
        call=call(q.device, backend),
    )
    return d


def _extend_basis_impl(q: Tensor, v: Tensor, w: Tensor, before: Tensor, after: Tensor, d: Tensor) -> None:
    extend_basis(q, v, w, before, after, d=d)


register(
    "extend_basis(Tensor(a!) q, Tensor(b!) v, Tensor w, Tensor before, Tensor after, Tensor(c!) d) -> ()",
    _extend_basis_impl,
    lambda q, v, w, before, after, d: None,  # noqa: ARG005
)
