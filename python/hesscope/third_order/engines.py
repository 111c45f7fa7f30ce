"""What computes contractions: the jets engine, or nested autograd where it has to give up."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope.objective import Objective
from hesscope.third_order.directions import same
from hesscope.third_order.kinks import Kinks, find_kinks
from hesscope.third_order.nested import NestedDerivatives

if TYPE_CHECKING:
    from hesscope.curvature.jets.higher.engine import JetsDerivatives
    from hesscope.curvature.planned import PlannedHessian


class Engines:
    """Contractions of checked rows, by one engine.

    Parameters
    ----------
    objective
        What is differentiated.
    engine
        "jets", "autograd" or "auto".
    memory_budget
        Bytes that may be occupied between calls; None for half of the free memory.

    Attributes
    ----------
    contractions
        Contractions computed since creation, one per row.
    hessian
        The Hessian, from whose captures contractions are computed.
    """

    def __init__(self, objective: Objective, engine: str, memory_budget: int | None) -> None:
        self.objective = objective
        self.contractions = 0
        self._may_fall_back = engine == "auto"
        self._kinks: Kinks | None = None
        self._memory_budget = memory_budget
        self.now: JetsDerivatives | NestedDerivatives
        if engine == "autograd":
            self.now = NestedDerivatives(objective, memory_budget=memory_budget)
            self.hessian: PlannedHessian = self.now.hessian
        else:
            # importing fx takes half a second
            from hesscope.curvature.jets.engine import JetsHessian

            fallback = "autograd" if self._may_fall_back else None
            jets = JetsHessian(objective, memory_budget=memory_budget, fallback=fallback)
            self.now, self.hessian = jets.derivatives, jets

    def contract(self, u: Tensor, v: Tensor, *, summed: bool) -> Tensor:
        """Return ``T[u_k, v_k, .]`` as rows ``[K, n]``, or their sum as one row."""
        count = max(len(u), len(v)) if min(len(u), len(v)) else 0
        out = self._empty(1 if summed else count, self.objective.n)
        once = same(u, v)
        name = ("SUMMED_" if summed else "") + ("SQUARE" if once else "MIXED")
        if not self._by_jets(name, [u] if once else [u, v], count, out, scalar=False):
            apart = self._empty(count, self.objective.n) if summed else out
            self._nested().contract(u, v, apart)
            if summed:
                torch.sum(apart, 0, keepdim=True, out=out)
        return out

    def quadratic(self, v: Tensor, *, summed: bool) -> Tensor:
        """Return ``v_k' H v_k``, without the part of l2, as ``[K]``, or their sum as ``[1]``."""
        out = self._empty(1 if summed else len(v), 1)
        if not self._by_jets("SUMMED_SQUARE" if summed else "SQUARE", [v], len(v), out, scalar=True):
            products = self._empty(*v.shape)
            self._nested().products(v, products)
            values = (products * v).sum(1)
            return values.sum()[None] if summed else values
        return out[:, 0]

    def cubic(self, v: Tensor) -> Tensor:
        """Return ``T[v_k, v_k, v_k]`` as ``[K]``."""
        out = self._empty(len(v), 1)
        if not self._by_jets("CUBE", [v], len(v), out, scalar=True):
            products = self._empty(*v.shape)
            self._nested().contract(v, v, products)
            return (products * v).sum(1)
        return out[:, 0]

    def explain(self) -> str:
        """Say how contractions are computed, and what they do not see."""
        text = self.now.explain()
        if self._kinks is None or not self._kinks.names:
            return text
        kinks = ", ".join(self._kinks.names)
        return f"{text}\nkinks: {kinks}: along the branches selected here; how they move is not in T"

    def _empty(self, *shape: int) -> Tensor:
        with torch.inference_mode(False):  # engines write in place, which inference tensors refuse
            return torch.empty(shape, dtype=self.objective.dtype, device=self.objective.device)

    def _nested(self) -> NestedDerivatives:
        assert isinstance(self.now, NestedDerivatives)
        return self.now

    def _by_jets(
        self, algebra: str, directions: list[Tensor], count: int, out: Tensor, *, scalar: bool
    ) -> bool:
        """Compute by the jets engine; False if it is not, or from now on no longer, in use."""
        self.contractions += count
        if count == 0:
            out.zero_()
            return True
        if self._kinks is None:
            group, batches = next(self.hessian._current_plan().walk())
            first = self.objective.prepare(batches[0])
            self._kinks = find_kinks(self.objective, first, group.entries[0].index)
        self._kinks.require_bend()
        if isinstance(self.now, NestedDerivatives):
            return False
        from hesscope.curvature.jets.capture import CaptureError
        from hesscope.curvature.jets.higher import algebra as algebras

        try:
            self.now.add(getattr(algebras, algebra), directions, out, scalar=scalar)
        except CaptureError as error:
            if not self._may_fall_back:
                msg = f"third_order: engine='jets' must be able to capture the objective, got: {error}"
                raise CaptureError(msg) from error
            warnings.warn(
                "third_order: falling back to engine='autograd', for the objective cannot be captured: "
                f"{error}",
                stacklevel=5,
            )
            self.now = NestedDerivatives(self.objective, memory_budget=self._memory_budget)
            return False
        return True
