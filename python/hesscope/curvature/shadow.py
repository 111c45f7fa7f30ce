"""A copy of a model's weights that the model computes with for a while; its own are never written to."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from hesscope.objective import Objective
from hesscope.objective.data import Batch


class Shadow:
    """Puts other tensors behind the parameters of a model, and the old ones back in the end.

    The parameters stay the same objects, so that whatever refers to them sees the shadow. Their own
    memory is not written to: what is put back is the same to the bit and at the same address, whatever
    happens in between.

    Parameters
    ----------
    objective
        Whose selected parameters are moved.
    precision
        Of the shadow, at least; floating-point tensors of lower precision (all parameters, buffers and
        batches) are converted.
    """

    def __init__(self, objective: Objective, precision: torch.dtype) -> None:
        self._objective = objective
        self._precision = precision
        selected = objective.parameter_set.tensors
        self._points = [p.detach() for p in selected]
        self._moved: list[Tensor] = []
        chosen = {id(p) for p in selected}
        others = [p for _, _, _, p in objective.parameter_set.watched if id(p) not in chosen]
        self._others = [p for p in others if self._is_low(p)]
        self._saved = [(p, p.data) for p in (*selected, *self._others)]

    def __enter__(self) -> Shadow:
        """Put the shadow behind the parameters."""
        try:
            for p in self._objective.parameter_set.tensors:
                self._moved.append(self._converted(p.detach()).clone())
                p.data = self._moved[-1]
            for p in self._others:
                p.data = self._converted(p.detach())
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the model's own tensors back."""
        self._restore()

    def move(self, pieces: Sequence[Tensor], step: float) -> None:
        """Set the selected parameters to their own values plus ``step`` times ``pieces``."""
        for moved, point, piece in zip(self._moved, self._points, pieces, strict=True):
            moved.copy_(point).add_(piece.view(moved.shape), alpha=step)

    def convert(self, batch: Batch) -> Batch:
        """Return a batch in the precision of the shadow."""
        return pytree.tree_map(self._converted, batch)

    def convert_buffers(self) -> None:
        """Convert the copies of the buffers that the model works on; call it where it is evaluated."""
        for module in self._objective.state.modules:
            for name, buffer in module._buffers.items():
                module._buffers[name] = self._converted(buffer)

    def _restore(self) -> None:
        interrupted: KeyboardInterrupt | None = None
        while True:
            try:
                for p, data in self._saved:
                    p.data = data
                break
            except KeyboardInterrupt as error:  # once more from the start
                interrupted = error
        self._moved.clear()
        if interrupted is not None:
            raise interrupted

    def _is_low(self, tensor: Any) -> bool:
        return (
            isinstance(tensor, Tensor)
            and tensor.is_floating_point()
            and torch.promote_types(tensor.dtype, self._precision) != tensor.dtype
        )

    def _converted(self, tensor: Any) -> Any:
        return tensor.to(self._precision) if self._is_low(tensor) else tensor
