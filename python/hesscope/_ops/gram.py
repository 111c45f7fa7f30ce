"""Inner products of two sets of vectors: ``gram``."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call, workspace
from hesscope._ops._library import register


def gram(q: Tensor, w: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """Return ``Q W'``: the inner products of rows, summed in float64.

    Parameters
    ----------
    q
        Shape ``[k, n]``, bfloat16, float32 or float64; rows contiguous, any row stride.
    w
        Shape ``[b, n]``, the same choice of dtypes. Default: ``q``, at half the cost.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        Shape ``[k, b]``, float64.
    """
    q = q.detach()
    w = q if w is None else w.detach()
    k, b = (q.shape[0], w.shape[0]) if q.ndim == 2 and w.ndim == 2 else (0, 0)
    out = torch.empty(k, b, dtype=torch.float64, device=q.device)
    scratch = workspace(_core.gram_workspace_bytes(k, b, q.shape[-1] if k else 0), q.device)
    _core.gram(q, w, out=out, workspace=scratch, call=call(q.device, backend))
    return out


register(
    "gram(Tensor q, Tensor w) -> Tensor",
    gram,
    lambda q, w: q.new_empty(q.shape[0], w.shape[0], dtype=torch.float64),
)
