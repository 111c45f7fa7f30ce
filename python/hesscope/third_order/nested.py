"""Derivatives of an objective by nested autograd: the fallback, and what the jets engine is tested with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope.curvature import AutogradHessian
from hesscope.curvature.graph import build_graph
from hesscope.curvature.merge import join
from hesscope.objective import Objective
from hesscope.third_order.elementary_norms import ElementaryNorms


class NestedDerivatives:
    """Contractions of the second and third derivative, by differentiating the gradient again and again.

    Parameters
    ----------
    objective
        What is differentiated.
    memory_budget
        Bytes for batches read from a DataLoader. Graphs are not kept: every call builds them.
    """

    name = "autograd"

    def __init__(self, objective: Objective, *, memory_budget: int | None = None) -> None:
        self.objective = objective
        self._hessian = AutogradHessian(objective, memory_budget=memory_budget)

    @property
    def memory(self) -> int:
        """Bytes that batches read from a DataLoader occupy now."""
        return self._hessian.memory

    def release(self) -> None:
        """Free the batches that are kept."""
        self._hessian.release()

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
        out.zero_()
        directions = [d.detach().expand(len(out), -1) for d in directions]
        with torch.inference_mode(False), torch.enable_grad():
            for group, batches in self._hessian._current_plan().walk():
                with ElementaryNorms():
                    graph = build_graph(self.objective, join(self.objective, batches), group.entries[0].index)
                for target, *row in zip(out, *directions, strict=True):
                    self._add_row(graph.gradients, row, target, group.scale)

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
