"""Tracing without what a captured listing does not use: the code of a module, fake tensors for results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import _lazy_graph_module
from torch.fx.experimental import proxy_tensor


@contextlib.contextmanager
def light() -> Iterator[None]:
    """Let ``make_fx`` describe results by tensors without data, and write no code.

    Its fake tensors, each with a mode and a stack trace of its own, and the code of the module take more
    than half of the capture of a small model. Where PyTorch's internals are not as expected, nothing is
    changed.
    """
    original = getattr(proxy_tensor, "extract_val", None)
    lazy = getattr(_lazy_graph_module, "_use_lazy_graph_module", None)
    with contextlib.ExitStack() as stack:
        if lazy is not None:
            stack.enter_context(lazy(True))
        if original is not None:
            stack.callback(setattr, proxy_tensor, "extract_val", original)
            proxy_tensor.extract_val = _described(original)
        yield


def _described(original: Callable[..., Any]) -> Callable[..., Any]:
    def extract(value: Any, *args: Any, **kwargs: Any) -> Any:
        if type(value) in (Tensor, torch.nn.Parameter) and value.layout == torch.strided:
            with torch._C.DisableTorchFunction():
                found = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
            found.traced_device = value.device  # type: ignore[attr-defined]
            return found
        if type(value) in (list, tuple):
            return type(value)(extract(entry, *args, **kwargs) for entry in value)
        return original(value, *args, **kwargs)

    return extract


def device_of(value: Tensor) -> torch.device:
    """Return where a traced result was, which its description does not show."""
    found: torch.device = getattr(value, "traced_device", value.device)
    return found
