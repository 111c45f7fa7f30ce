"""What autograd takes for a constant while a loss is traced: ``detach``, ``no_grad``.

A traced graph does not tell it: there, autograd's own detaching of what it saves looks the same. So
while the loss runs, every tensor that does not ask for a gradient is marked in the graph; but not inside
of a ``torch.autograd.Function``, whose results get their derivative afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from hesscope.curvature.jets.trace import STOPS

_DETACHING = {torch.Tensor.detach, torch.Tensor.detach_, torch.detach, torch.Tensor.data.__get__}  # type: ignore[attr-defined]
_READING = {torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist}


def mark_stops(read: Callable[[Tensor, Callable[[Tensor], Any]], Any]) -> TorchFunctionMode:
    """Return a context in which constants of autograd are marked in the graph that is being traced.

    ``read(tensor, reader)`` is called for a function that reads all values of a tensor.
    """
    return _Marker(read)


class _Marker(TorchFunctionMode):
    def __init__(self, read: Callable[[Tensor, Callable[[Tensor], Any]], Any]) -> None:
        super().__init__()
        self.read = read

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in _READING:
            return self.read(args[0], lambda t: func(t, *args[1:], **named))
        if not torch.is_grad_enabled() and _inside_function():
            return func(*args, **named)
        for tensor in _tensors((args, named)):
            _mark(tensor)
        result = func(*args, **named)
        for tensor in _tensors(result):
            _mark(tensor, wrapped=func in _DETACHING)
        return result


_APPLY = torch.autograd.Function.apply.__func__.__code__  # type: ignore[attr-defined]


def _inside_function() -> bool:
    """Tell whether a ``torch.autograd.Function`` is being applied."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is _APPLY:
            return True
        frame = frame.f_back
    return False


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor)]


def _mark(tensor: Tensor, *, wrapped: bool = False) -> None:
    """Mark a tensor that needs no gradient; ``wrapped``: also inside a transform of ``torch.func``."""
    while wrapped and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    if tensor.is_floating_point() and (wrapped or not tensor.requires_grad):
        node = node_of(tensor)
        if node is not None and node.op == "call_function":
            node.meta[STOPS] = True


def node_of(tensor: Tensor) -> torch.fx.Node | None:
    """Return what a tensor is in the graph that is being traced."""
    mode = get_proxy_mode()
    slot = None if mode is None else mode.tracer.tensor_tracker.get(tensor)
    return None if slot is None else slot.proxy.node
