"""What the code behind a loss reads from tensors while it is traced, and whether that still holds.

A captured gradient is that of one path through Python code. Every value that may have chosen the path
(a bool, an integer, the number of selected entries) is recorded with the tensor it was read from; before
the gradient is used for other values, those tensors are evaluated and compared. A floating-point number
that depends on the parameters is refused: it would be out of date after every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.utils._python_dispatch import TorchDispatchMode

from hesscope.curvature.jets.stops import node_of
from hesscope.curvature.jets.trace import Listing, Ref, is_random, references

aten = torch.ops.aten

_SELECTING = {aten.index.Tensor, aten.masked_select.default}


class Reads(TorchDispatchMode):
    """Records what is read while a loss is traced whose first ``selected`` inputs are parameters.

    Attributes
    ----------
    found
        (tensor of the trace, its value; None if only its shape counts).
    """

    def __init__(self, selected: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.selected = selected
        self.found: list[tuple[Tensor, Tensor | None]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is aten._local_scalar_dense.default:
            return self.read(args[0], aten._local_scalar_dense.default)
        if func is aten.equal.default:
            same = args[0].shape == args[1].shape
            return same and self.read((args[0] == args[1]).all(), aten._local_scalar_dense.default)
        out = func(*args, **(kwargs or {}))
        if torch.Tag.dynamic_output_shape in func.tags:
            self._note_shape(func, args, out)
        return out

    def read(self, tensor: Tensor, reader: Callable[[Tensor], Any]) -> Any:
        """Return ``reader(tensor)`` outside of the trace, and record it.

        Raises
        ------
        RuntimeError
            If it is a floating-point number that depends on the selected parameters.
        """
        node = node_of(tensor)
        if node is not None:
            if not _is_choice(tensor) and self._depends(node):
                msg = f"aten._local_scalar_dense: {VALUE_READ}"
                raise RuntimeError(msg)
            with disable_proxy_modes_tracing():
                self.found.append((tensor, tensor.detach().clone()))
        with disable_proxy_modes_tracing():
            return reader(tensor)

    def _note_shape(self, func: Any, args: Sequence[Any], out: Any) -> None:
        if func in _SELECTING:
            masks = [args[1]] if isinstance(args[1], Tensor) else args[1]
            for mask in masks:
                if mask is not None and mask.dtype in (torch.bool, torch.uint8):
                    count = mask.sum()
                    with disable_proxy_modes_tracing():
                        self.found.append((count, count.clone()))
        else:
            first = out[0] if isinstance(out, (tuple, list)) else out
            self.found.append((first, None))

    def _depends(self, node: fx.Node) -> bool:
        """Tell whether a node depends on the parameters."""
        inputs = node.graph.find_nodes(op="placeholder")[: self.selected]
        parameters = set(inputs)
        seen, stack = {node}, [node]
        while stack:
            current = stack.pop()
            if current in parameters:
                return True
            fresh = [n for n in current.all_input_nodes if n not in seen]
            seen.update(fresh)
            stack += fresh
        return False


VALUE_READ = (
    "the loss reads a number that depends on the parameters (.item(), float() or .tolist()), which would "
    "be a constant of the captured gradient; keep it a tensor, with .detach() if it is meant to be constant"
)


def _is_choice(tensor: Tensor) -> bool:
    return not (tensor.dtype.is_floating_point or tensor.dtype.is_complex)


def holds(listing: Listing, inputs: Sequence[Tensor]) -> bool:
    """Tell whether the path of a captured gradient is the one that ``inputs`` lead to.

    Costs what the recorded tensors depend on: nothing if nothing was read.
    """
    if not listing.guards:
        return True
    wanted = {index for index, _ in listing.guards}
    code = []
    for instruction in reversed(listing.code):
        if instruction.index in wanted or is_random(instruction.target):
            code.append(instruction)
            wanted.update(references(instruction.args))
            wanted.update(references(tuple(instruction.kwargs.values())))
    values: dict[int, Any] = dict(enumerate(inputs)) | dict(listing.constants)

    def value(entry: Any) -> Any:
        return values[entry.index] if isinstance(entry, Ref) else entry

    with torch.no_grad():
        for instruction in reversed(code):
            args = fx.node.map_aggregate(instruction.args, value)
            named = fx.node.map_aggregate(instruction.kwargs, value)
            try:
                values[instruction.index] = instruction.target(*args, **named)
            except (RuntimeError, IndexError):  # a shape that was another one when this was captured
                return False
    return all(_same(values[index], expected, listing.shapes[index]) for index, expected in listing.guards)


def _same(value: Tensor, expected: Tensor | None, shape: Any) -> bool:
    if expected is None:
        return bool(tuple(value.shape) == shape.shape)
    return torch.equal(value, expected)
