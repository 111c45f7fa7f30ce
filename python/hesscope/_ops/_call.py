"""What every op shares: where it runs, and its workspace."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _core

MINIMUM_WORKSPACE = 16  # bytes; so that an op always gets an aligned pointer


def call(device: torch.device, backend: str = "auto") -> _core.Call:
    """Describe a call on the current stream of a device, with torch's number of threads."""
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    return _core.Call(backend=backend, stream=stream, num_threads=torch.get_num_threads())


def workspace(num_bytes: int, device: torch.device) -> Tensor:
    """Allocate scratch memory. torch hands it out again only to later work on the same stream."""
    return torch.empty(max(num_bytes, MINIMUM_WORKSPACE), dtype=torch.uint8, device=device)
