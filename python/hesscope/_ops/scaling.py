"""Products with a diagonal matrix: ``scale_columns``."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register


def scale_columns(d: Tensor, x: Tensor, *, out: Tensor | None = None, backend: str = "auto") -> Tensor:
    """Scale the columns of a matrix: ``out[r, i] = d[i] * x[r, i]``.

    Parameters
    ----------
    d
        Shape ``[n]``, float32 or float64, contiguous.
    x
        Shape ``[K, n]`` and the dtype of ``d``; rows contiguous.
    out
        Where the result goes: new if ``None``; may be ``x`` itself.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        ``out``, shape ``[K, n]``.
    """
    d, x = d.detach(), x.detach()
    out = torch.empty_like(x, memory_format=torch.contiguous_format) if out is None else out
    _core.scale_columns(d, x, out=out, call=call(x.device, backend))
    return out


register(
    "scale_columns(Tensor d, Tensor x) -> Tensor",
    scale_columns,
    lambda d, x: torch.empty_like(x, memory_format=torch.contiguous_format),  # noqa: ARG005
)
