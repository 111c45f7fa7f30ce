"""Derivatives of an objective by nested autograd: the fallback, and what the jets engine is tested with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope.curvature import AutogradHessian
from hesscope.curvature.graph import build_graph
from hesscope.curvature.merge import join
from hesscope.objective import Objective
from hesscope.objective.data import Batch
from hesscope.third_order.custom_functions import custom_functions, require_derivatives
from hesscope.third_order.elementary_norms import ElementaryNorms


class NestedDerivatives:
    """Contractions of the second and third derivative, by differentiating the gradient again and again.

    Parameters
    ----------
    objective
        What is differentiated.
    memory_budget
        Bytes for batches read from a DataLoader. Graphs are not kept: every call builds them.

    Attributes
    ----------
    hessian
        By double backward; it plans the batches.
    """

    name = "autograd"

    def __init__(self, objective: Objective, *, memory_budget: int | None = None) -> None:
        self.objective = objective
        self.hessian = AutogradHessian(objective, memory_budget=memory_budget)
        self._trusted = False  # whether custom functions were looked for, and checked

    @property
    def memory(self) -> int:
        """Bytes that batches read from a DataLoader occupy now."""
        return self.hessian.memory

    def release(self) -> None:
        """Free the batches that are kept."""
        self.hessian.release()

    def explain(self) -> str:
        """Say how contractions are computed."""
        return (
            "engine: autograd (the gradient is differentiated twice more, one row at a time; norms as "
            "elementary functions)\ncost of T[u, v, .]: 5 to 10 gradients a row"
        )

    def contract(self, first: Tensor, second: Tensor, out: Tensor) -> None:
        """Write ``T[first_k, second_k, .]`` of rows ``[K, n]`` (or one for all) to ``out [K, n]``."""
        self._add((first, second), out)

    def products(self, vectors: Tensor, out: Tensor) -> None:
        """Write ``H v`` of rows ``[K, n]``, without the part of l2, to ``out [K, n]``."""
        self._add((vectors,), out)

    def _add(self, directions: Sequence[Tensor], out: Tensor) -> None:
        found = self._sum(directions, out)
        if found:
            require_derivatives(self.objective, sorted(found), self._both)
        self._trusted = True

    def _both(self, z: Tensor) -> Tensor:
        """Return ``H z`` and ``T[z, z, .]`` for one row."""
        out = torch.empty(2, z.shape[1], dtype=z.dtype, device=z.device)
        self._sum((z,), out[:1])
        self._sum((z, z), out[1:])
        return out

    def _sum(self, directions: Sequence[Tensor], out: Tensor) -> set[str]:
        """Add up all batches; return the custom functions that were met, as long as none is trusted."""
        out.zero_()
        found: set[str] = set()
        directions = [d.detach().expand(len(out), -1) for d in directions]
        with torch.inference_mode(False), torch.enable_grad():
            for group, batches in self.hessian._current_plan().walk():
                batch, index = join(self.objective, batches), group.entries[0].index
                with ElementaryNorms():
                    graph = build_graph(self.objective, batch, index)
                    if not self._trusted:
                        found.update(custom_functions([self._loss(batch, index), *graph.gradients]))
                for target, *row in zip(out, *directions, strict=True):
                    self._add_row(graph.gradients, row, target, group.scale)
        return found

    def _loss(self, batch: Batch, index: int) -> Tensor:
        """Return a loss with its graph: a function whose backward is cut off is in no gradient's."""
        with self.objective.evaluating(index):
            return self.objective.batch_loss(batch, index)

    def _add_row(
        self, gradients: Sequence[Tensor | None], row: list[Tensor], target: Tensor, scale: float
    ) -> None:
        parts = self.objective.parameter_set
        derivatives: Sequence[Tensor | None] = gradients
        for depth, direction in enumerate(row):
            pieces = direction.split_with_sizes(parts.numels)
            outputs, cotangents = [], []
            for derivative, piece in zip(derivatives, pieces, strict=True):
                if derivative is not None and derivative.requires_grad:
                    outputs.append(derivative)
                    cotangents.append(piece.view(derivative.shape).to(derivative.dtype))
            if not outputs:
                return
            derivatives = torch.autograd.grad(
                outputs,
                parts.tensors,
                cotangents,
                create_graph=depth + 1 < len(row),
                retain_graph=True,
                allow_unused=True,
            )
        with torch.no_grad():
            for derivative, part in zip(derivatives, parts.slices, strict=True):
                if derivative is not None:
                    target[part].add_(derivative.reshape(-1), alpha=scale)
