"""Large memory of the host, in pages of 2 MB."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _core


def empty_in_huge_pages(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Allocate ``shape``, uninitialised; on a CPU in pages of 2 MB, where it is large and there are any.

    What streams through gigabytes then waits less often for addresses, and for fresh pages.
    """
    out = torch.empty(shape, dtype=dtype, device=device)
    if device.type == "cpu" and out.numel():
        _core.prefer_huge_pages(out)
    return out
