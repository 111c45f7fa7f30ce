"""The autograd engine: double backward on graphs that are built once per batch."""

from __future__ import annotations

from torch import Tensor

from hesscope.curvature.custom_functions import require_second_derivatives
from hesscope.curvature.graph import Graph, build_graph
from hesscope.curvature.merge import join
from hesscope.curvature.plan import Group
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective
from hesscope.objective.data import Batch


class AutogradHessian(PlannedHessian):
    """The Hessian of an objective, by differentiating its gradient once more.

    Works wherever double backward does. The gradient's graph of every batch is kept between calls
    within ``memory_budget`` and built again for the rest; all K vectors of a call share it. Changed
    weights, buffers, modes or data are noticed at the next call, and everything is built anew.

    Parameters
    ----------
    objective
        What is differentiated.
    memory_budget
        Bytes for kept graphs and for batches read from a DataLoader; half of the free memory by
        default, 0 to keep nothing. One graph at a time exists in any case.

    Raises
    ------
    ValueError
        A negative budget; at a product, whatever the loss is refused for, or data that changes between
        passes although it does not fit the budget.
    RuntimeError
        At a product, if an operation of the model has no second derivative, or the backward of a custom
        function hides what it depends on.

    Notes
    -----
    Cost of a product: about 2 gradients on a kept graph, 3 otherwise; memory 3 to 5 times that of a
    gradient. Where a derivative does not exist (relu at 0) it is that of the selected branch. Products
    are computed in the precision of the model; those of bfloat16 parameters round the vectors to
    bfloat16. A NaN in a product is returned as it is. A custom function that is met for the first time
    costs two gradients and four evaluations of its batch.
    """

    def __init__(self, objective: Objective, *, memory_budget: int | None = None) -> None:
        super().__init__(objective, memory_budget=memory_budget)
        self._trusted: frozenset[type] = frozenset()  # custom functions whose second derivatives were checked

    @property
    def memory(self) -> int:
        """Bytes that kept graphs and batches occupy now."""
        if self._plan is None:
            return 0
        return self._plan.held + sum(g.graph.size for g in self._plan.groups if g.graph is not None)

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return super().description() | {
            "operator": "hessian",
            "engine": "autograd",
            "objective": self.objective.description(),
        }

    def explain(self) -> str:
        """Say how products are computed: engine, batches, merging, graphs kept, memory, cost."""
        plan = self._plan
        lines = ["engine: autograd (double backward; all vectors of a call share a batch's graph)"]
        if plan is None:
            return "\n".join([*lines, "nothing is built yet: the first product reads the data"])
        kept = sum(group.graph is not None for group in plan.groups)
        total = len(plan.groups)
        again = "" if kept == total else f"; {total - kept} are built again for every call"
        reading = "; read again for every call" if plan.streams else ""
        lines += [
            f"batches: {plan.count}, {plan.merging}{reading}",
            f"graphs: {kept} of {total} kept{again}",
            f"memory: {self.memory / 2**20:.1f} MiB held of a budget of {self.memory_budget / 2**20:.1f} MiB",
            "cost of a product: about 2 gradients of a kept graph, 3 of one that is built again",
        ]
        return "\n".join(lines)

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        vectors = vectors.detach()
        if vectors.stride(1) != 1:
            vectors = vectors.contiguous()
        plan = self._current_plan()
        held = self.memory
        for number, (group, batches) in enumerate(plan.walk()):
            if group.graph is not None and not group.graph.reaches_parameters():
                held -= group.graph.size
                group.graph = None
            graph = group.graph
            if graph is None:
                graph = self._build(group, join(self.objective, batches))
            keep = group.graph is not None or held + graph.size <= self.memory_budget
            graph.add_products(vectors, out, scale=group.scale, overwrite=number == 0, retain=keep)
            if keep and group.graph is None:
                group.graph = graph
                held += graph.size
        if self.objective.l2 != 0:
            out.add_(vectors, alpha=self.objective.l2)

    def _build(self, group: Group, batch: Batch) -> Graph:
        graph = build_graph(self.objective, batch, group.entries[0].index)
        if graph.custom <= self._trusted:
            return graph
        custom, index = graph.custom, graph.index
        del graph  # its memory, and the check may cut it off from the parameters
        require_second_derivatives(self.objective, batch, index)
        self._trusted |= custom
        return build_graph(self.objective, batch, index)
