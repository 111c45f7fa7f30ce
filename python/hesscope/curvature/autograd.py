"""The autograd engine: double backward on graphs that are built once per batch."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from hesscope.curvature.fingerprint import fingerprint
from hesscope.curvature.graph import build_graph
from hesscope.curvature.memory import available_memory
from hesscope.curvature.merge import join, merge_small
from hesscope.curvature.plan import Plan, read_plan
from hesscope.objective import Objective
from hesscope.operators import SymmetricOperator


class AutogradHessian(SymmetricOperator):
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
        At a product, if an operation of the model has no second derivative.

    Notes
    -----
    Cost of a product: about 2 gradients on a kept graph, 3 otherwise; memory 3 to 5 times that of a
    gradient. Where a derivative does not exist (relu at 0) it is that of the selected branch. Products
    are computed in the precision of the model; those of bfloat16 parameters round the vectors to
    bfloat16. A NaN in a product is returned as it is.
    """

    def __init__(self, objective: Objective, *, memory_budget: int | None = None) -> None:
        super().__init__(objective.n, dtype=objective.dtype, device=objective.device)
        if memory_budget is None:
            memory_budget = available_memory(self.device) // 2
        if memory_budget < 0:
            msg = f"hessian: memory_budget must not be negative, got {memory_budget}"
            raise ValueError(msg)
        self.objective = objective
        self.memory_budget = memory_budget
        self._plan: Plan | None = None
        self._key: Hashable = None

    @property
    def memory(self) -> int:
        """Bytes that kept graphs and batches occupy now."""
        if self._plan is None:
            return 0
        return self._plan.held + sum(g.graph.size for g in self._plan.groups if g.graph is not None)

    def release(self) -> None:
        """Free all graphs and batches; the next product builds them again."""
        self._plan = None
        self._key = None

    def fingerprint(self) -> Hashable:
        """Return a key of weights, buffers, modes and data; see ``SymmetricOperator.fingerprint``.

        Data that comes from a DataLoader is not part of it: it is read once and kept.
        """
        return fingerprint(self.objective)

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

    def _rows(self, vectors: Tensor) -> Tensor:
        vectors = vectors.detach()
        if vectors.stride(1) != 1:
            vectors = vectors.contiguous()
        out = torch.empty(vectors.shape, dtype=self.dtype, device=self.device)
        plan = self._current_plan()
        held = self.memory
        for number, (group, batches) in enumerate(plan.walk()):
            graph = group.graph
            if graph is None:
                graph = build_graph(self.objective, join(self.objective, batches), group.entries[0].index)
            keep = group.graph is not None or held + graph.size <= self.memory_budget
            graph.add_products(vectors, out, scale=group.scale, overwrite=number == 0, retain=keep)
            if keep and group.graph is None:
                group.graph = graph
                held += graph.size
        if self.objective.l2 != 0:
            out.add_(vectors, alpha=self.objective.l2)
        return out

    def _current_plan(self) -> Plan:
        key = self.fingerprint()
        plan = self._plan
        if plan is not None and self._key == (key, plan.held_key()):
            return plan
        self.release()
        plan = read_plan(self.objective, self.memory_budget)
        merge_small(plan, self.memory_budget - plan.held)
        self._key = (key, plan.held_key())
        self._plan = plan
        return plan
