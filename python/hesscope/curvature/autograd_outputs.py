"""Products with JᵀMJ by autograd, on graphs that are built once per batch."""

from __future__ import annotations

from torch import Tensor

from hesscope.curvature.merge import join
from hesscope.curvature.output_graph import OutputGraph, build_output_graph
from hesscope.curvature.outputs import OutputMatrix
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective


class AutogradOutputs(PlannedHessian):
    """JᵀMJ of an objective with a criterion, by differentiating its outputs.

    Jv is the derivative of Jᵀw with respect to w, so that nothing but backward passes is needed: nested
    forward mode is wrong through some norms in torch (pytorch issues 196700, 196699). The graphs of
    every batch are kept between calls within ``memory_budget`` and built again for the rest; all K
    vectors of a call share them.

    Parameters
    ----------
    objective
        What is differentiated.
    matrix
        M.
    memory_budget
        As in :class:`hesscope.curvature.AutogradHessian`.

    Raises
    ------
    ValueError
        A negative budget; at a product, whatever the loss is refused for.
    RuntimeError
        At a product, if the backward pass of the model or the gradient of the criterion cannot be
        differentiated.

    Notes
    -----
    Cost of a product: about 1.3 gradients on kept graphs, 2.5 otherwise; memory 2 to 3 times that of a
    gradient.
    """

    def __init__(
        self, objective: Objective, matrix: OutputMatrix, *, memory_budget: int | None = None
    ) -> None:
        self.matrix = matrix.name
        self.merges = matrix.merges
        super().__init__(objective, memory_budget=memory_budget)
        self.output_matrix = matrix
        self.l2 = objective.l2 if matrix.regularised else 0.0
        self._graphs: dict[int, OutputGraph] = {}

    @property
    def memory(self) -> int:
        """Bytes that kept graphs and batches occupy now."""
        return super().memory + sum(graph.size for graph in self._graphs.values())

    def release(self) -> None:
        """Free everything that is kept; the next product builds it again."""
        super().release()
        self._graphs.clear()

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return (
            super().description()
            | self.output_matrix.description()
            | {"engine": "autograd", "objective": self.objective.description()}
        )

    def explain(self) -> str:
        """Say how products are computed: engine, batches, merging, graphs kept, memory, cost."""
        lines = [
            f"{self.matrix}, engine: autograd (Jv, M and Jᵀ; all vectors of a call share a batch's graphs)"
        ]
        plan = self._plan
        if plan is None:
            return "\n".join([*lines, "nothing is built yet: the first product reads the data"])
        kept, total = len(self._graphs), len(plan.groups)
        again = "" if kept == total else f"; {total - kept} are built again for every call"
        reading = "; read again for every call" if plan.streams else ""
        lines += [
            f"batches: {plan.count}, {plan.merging}{reading}",
            f"graphs: {kept} of {total} kept{again}",
            f"memory: {self.memory / 2**20:.1f} MiB held of a budget of {self.memory_budget / 2**20:.1f} MiB",
            "cost of a product: about 1.3 gradients of a kept graph, 2.5 of one that is built again",
        ]
        return "\n".join(lines)

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        vectors = vectors.detach()
        if vectors.stride(1) != 1:
            vectors = vectors.contiguous()
        plan = self._current_plan()
        for number, (group, batches) in enumerate(plan.walk()):
            graph = self._graphs.get(number)
            if graph is None:
                batch = join(self.objective, batches)
                graph = build_output_graph(self.objective, self.output_matrix, batch, group.entries[0].index)
                if self.memory + graph.size <= self.memory_budget:
                    self._graphs[number] = graph
            keep = number in self._graphs
            graph.add_products(vectors, out, scale=group.scale, overwrite=number == 0, retain=keep)
        if self.l2 != 0:
            out.add_(vectors, alpha=self.l2)
