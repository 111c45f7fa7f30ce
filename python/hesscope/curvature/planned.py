"""What all engines share: the plan of batches, built anew whenever weights or data have changed."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from hesscope.curvature.fingerprint import fingerprint
from hesscope.curvature.memory import available_memory
from hesscope.curvature.merge import merge_small
from hesscope.curvature.plan import Plan, read_plan
from hesscope.objective import Objective
from hesscope.objective.checksum import Checksum
from hesscope.operators import SymmetricOperator


class PlannedHessian(SymmetricOperator):
    """The Hessian of an objective by some engine, going through merged batches.

    Parameters
    ----------
    objective
        What is differentiated.
    memory_budget
        Bytes that the engine may hold between products; half of the free memory by default.
    """

    writes_into = True
    matrix = "hessian"  # what the operator is, for messages and descriptions
    merges = True  # small batches are evaluated together where that gives the same matrix
    gradients: float | None = None  # memory that a batch needs, in gradients; None: a graph, to be measured

    def _rows(self, vectors: Tensor) -> Tensor:
        with torch.inference_mode(False):  # engines write in place, which inference tensors refuse
            out = torch.empty(vectors.shape, dtype=self.dtype, device=self.device)
        self._rows_into(vectors, out)
        return out

    def __init__(self, objective: Objective, *, memory_budget: int | None = None) -> None:
        super().__init__(objective.n, dtype=objective.dtype, device=objective.device)
        if memory_budget is None:
            memory_budget = available_memory(self.device) // 2
        if memory_budget < 0:
            msg = f"{self.matrix}: memory_budget must not be negative, got {memory_budget}"
            raise ValueError(msg)
        self.objective = objective
        self.l2 = objective.l2
        self.memory_budget = memory_budget
        self._plan: Plan | None = None
        self._key: Hashable = None
        self._checksum = Checksum()

    @property
    def memory(self) -> int:
        """Bytes that batches read from a DataLoader, and what the engine keeps for them, occupy now."""
        return 0 if self._plan is None else self._plan.held

    def release(self) -> None:
        """Free everything that is kept; the next product builds it again."""
        self._plan = None
        self._key = None
        self._checksum = Checksum()

    def fingerprint(self) -> Hashable:
        """Return a key of weights, buffers, modes and data; see ``SymmetricOperator.fingerprint``.

        Data that comes from a DataLoader is not part of it: it is read once and kept.
        """
        return fingerprint(self.objective, self._checksum)

    def layers(self) -> tuple[slice, ...]:
        """Return the ranges of the layers: every matrix or kernel of the model with the vectors behind it."""
        parts = self.objective.parameter_set
        starts = [
            part.start
            for tensor, part in zip(parts.tensors, parts.slices, strict=True)
            if part.start > 0 and tensor.ndim > 1
        ]
        ends = [*starts, self.shape[0]]
        return tuple(slice(a, b) for a, b in zip([0, *starts], ends, strict=True))

    def explain(self) -> str:
        """Say how products are computed."""
        raise NotImplementedError

    def _current_plan(self) -> Plan:
        key = self.fingerprint()
        plan = self._plan
        if plan is not None and self._key == (key, plan.held_key()):
            return plan
        self.release()
        plan = read_plan(self.objective, self.memory_budget)
        if self.merges:
            merge_small(plan, self.memory_budget - plan.held, gradients=self.gradients)
        else:
            plan.merging = "not merged: each is evaluated on its own"
        plan = self._arranged(plan)
        self._key = (key, plan.held_key())
        self._plan = plan
        return plan

    def _arranged(self, plan: Plan) -> Plan:
        """Return a new plan, or another with the same H."""
        return plan
