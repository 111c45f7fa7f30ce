"""The jets engine: products with H by Taylor coefficients through the captured gradient."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope.curvature.allocations import Allocations
from hesscope.curvature.autograd import AutogradHessian
from hesscope.curvature.jets.budget import GRADIENTS, TooLargeError, cut, cut_again, foresee, vectors_at_once
from hesscope.curvature.jets.capture import CaptureError
from hesscope.curvature.jets.capturing import Capturing
from hesscope.curvature.jets.explain import describe
from hesscope.curvature.jets.program import Prepared, Program
from hesscope.curvature.merge import join
from hesscope.curvature.plan import Plan
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective
from hesscope.objective.data import Batch

if TYPE_CHECKING:
    from hesscope.curvature.jets.forms import ForwardForms
    from hesscope.curvature.jets.higher.engine import JetsDerivatives


class JetsHessian(Capturing):
    """The Hessian of an objective, by pushing first-order coefficients through its captured gradient.

    The gradient of a batch's loss is captured once per signature of the batch as a list of operators.
    What does not depend on the vectors is computed once per batch and kept within ``memory_budget``;
    then K vectors go through the rest at once. Changed weights, buffers, modes or data are noticed at
    the next call.

    Parameters
    ----------
    objective
        What is differentiated.
    memory_budget
        Bytes for values kept between products, batches read from a DataLoader, and what a product needs
        beside them; half of the free memory by default. Vectors are taken in chunks and large batches
        in parts to stay within it; 0 keeps nothing and takes one vector at a time, whatever that needs.
    fallback
        If "autograd", a gradient that cannot be captured gives one warning, and products come from
        double backward; if None, an error.

    Raises
    ------
    CaptureError
        At a product, if the gradient cannot be captured or contains an operator without a rule, which
        the message names.
    ValueError
        A negative budget; at a product, whatever the loss is refused for.
    RuntimeError
        At a product, if the backward of a custom function hides from autograd what it depends on.
    MemoryError
        At a product, if one vector does not fit the budget, and the batch cannot be cut; the message says
        what would be enough.

    Notes
    -----
    Cost of a product: about 2 gradients, plus 1 for every batch that does not fit the budget. Once per
    signature: the capture, and a product by double backward to check it; once per batch: a gradient,
    to check it. Where a derivative does not exist (relu at 0, max-pool at a tie) it is that of the
    selected branch.
    """

    cost = 2.0  # of a product, in gradients
    gradients = GRADIENTS
    curves = True  # the matrix is the second derivative of the objective's loss

    def __init__(
        self, objective: Objective, *, memory_budget: int | None = None, fallback: str | None = None
    ) -> None:
        super().__init__(objective, memory_budget=memory_budget)
        self._prepared: dict[int, Prepared] = {}
        self._kept_bytes = 0
        self._foresees = True
        self._limit: int | None = None  # samples in a group, where large batches must be cut
        self._used: dict[int, Program] = {}  # by which program each group's values were computed last
        self.may_fall_back = fallback == "autograd"
        self._fallback: PlannedHessian | None = None
        self._why = ""

    @property
    def engine(self) -> str:
        """What computes the products: "jets", or "autograd" after falling back."""
        return "jets" if self._fallback is None else "autograd"

    @property
    def plan(self) -> Plan | None:
        """The batches of the last product."""
        return self._plan

    @cached_property
    def derivatives(self) -> JetsDerivatives:
        """Coefficients above first order of the same objective, within the same budget."""
        from hesscope.curvature.jets.higher.engine import JetsDerivatives

        return JetsDerivatives(self)

    @cached_property
    def _forward_forms(self) -> ForwardForms:
        from hesscope.curvature.jets.forms import ForwardForms

        return ForwardForms(self, self.derivatives)

    def _forms(self, vectors: Tensor) -> Tensor:
        forms = self._forward_forms.compute(vectors) if self.curves else None
        return super()._forms(vectors) if forms is None else forms

    @property
    def memory(self) -> int:
        """Bytes that kept values and batches occupy now."""
        if self._fallback is not None:
            return self._fallback.memory
        above = self.derivatives.kept if "derivatives" in self.__dict__ else 0
        return super().memory + self._kept_bytes + above

    def release(self) -> None:
        """Free all kept values and batches; captured gradients stay."""
        super().release()
        self._forget_values()
        self._used.clear()
        if self._fallback is not None:
            self._fallback.release()

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return super().description() | {
            "operator": self.matrix,
            "engine": self.engine,
            "objective": self.objective.description(),
        }

    def explain(self) -> str:
        """Say how products are computed: engine, captures, batches, memory, cost; see docs/jets.md."""
        if self._fallback is not None:
            return f"{self._fallback.explain()}\nwhy: {self._why}"
        return describe(self)

    def predicted_memory(self, num_vectors: int = 1) -> int:
        """Return the bytes that a product of so many vectors needs at most, its result included.

        Not counted are the weights, the data (but for what is kept of a DataLoader) and the vectors
        themselves, nor what a library takes inside of an operator. Captures the gradient and evaluates
        the batches, like a first product, if that was not done.
        """
        nothing = torch.empty(0, self.shape[0], dtype=self.dtype, device=self.device)
        for _ in range(2):  # values that are not kept are computed without a gradient from the second time on
            self._rows_into(nothing, torch.empty_like(nothing))
        if self._fallback is not None:
            result = num_vectors * self.shape[0] * self.dtype.itemsize
            return result + self._fallback.memory + self._measured_fallback()
        return self.peak(num_vectors)

    def peak(self, num_vectors: int) -> int:
        """Return :meth:`predicted_memory` as it is known from the last product."""
        beside = 0
        for number, program in self._used.items():
            kept = number in self._prepared
            footprint = program.footprint
            assert footprint is not None
            most = footprint.peak(self.at_once(program, num_vectors, kept=kept), kept=kept)
            beside = max(beside, most - footprint.values if kept else most)
        return num_vectors * self.shape[0] * self.dtype.itemsize + self.memory + beside

    def _measured_fallback(self) -> int:
        assert self._fallback is not None
        vector = torch.ones(1, self.shape[0], dtype=self.dtype, device=self.device)
        allocations = Allocations()
        with allocations:
            self._fallback._rows_into(vector, torch.empty_like(vector))
        return allocations.peak

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        if self._fallback is None:
            try:
                return self._jet_rows(vectors, out)
            except CaptureError as error:
                if not self.may_fall_back:
                    msg = f"{self.matrix}: engine='jets' must be able to capture the gradient, got: {error}"
                    raise CaptureError(msg) from error
                self._fall_back(error)
        assert self._fallback is not None
        return self._fallback._rows_into(vectors, out)

    def _fall_back(self, error: CaptureError) -> None:
        warnings.warn(
            f"{self.matrix}: falling back to engine='autograd', for the {self.captures} cannot be captured: "
            f"{error}. The products are those of engine='autograd', and slower; rewrite what is named, or "
            "pass engine='autograd' to choose it without this warning",
            stacklevel=5,
        )
        self.release()
        self._programs.clear()
        self._why = f"engine='jets' cannot capture the {self.captures}: {error}"
        self._fallback = self._by_autograd()

    def _by_autograd(self) -> PlannedHessian:
        """Return the operator that takes over where nothing can be captured."""
        return AutogradHessian(self.objective, memory_budget=self.memory_budget)

    def _jet_rows(self, vectors: Tensor, out: Tensor) -> None:
        vectors = vectors.detach()
        if vectors.stride(1) != 1:
            vectors = vectors.contiguous()
        plan = self._current_plan()
        with torch.inference_mode(False), torch.no_grad():
            while True:
                try:
                    self._walk(plan, vectors, out)
                    break
                except TooLargeError as error:
                    plan = self._smaller(plan, error)
            if self.l2 != 0:
                out.add_(vectors, alpha=self.l2)

    def _arranged(self, plan: Plan) -> Plan:
        return plan if self._limit is None else cut_again(plan, self._limit)

    def _foresee(self, number: int, batch: Batch, gradient: int) -> None:
        if self._foresees and self.merges and self._plan is not None:
            foresee(self._plan, number, batch, gradient, self.memory_budget)

    def _smaller(self, plan: Plan, error: TooLargeError) -> Plan:
        try:
            plan = cut(self.matrix, plan, error, self.memory_budget, may_cut=self.merges)
        except MemoryError:
            if not error.estimated:
                raise
            self._foresees = False  # left whole: what it needs will be measured
        self._replan(plan)
        return plan

    def _replan(self, plan: Plan) -> None:
        """Go on with other groups: nothing that was kept belongs to them."""
        self._forget_values()
        self._verified.clear()
        self._used.clear()
        self._plan = plan
        self._limit = plan.limit

    def _forget_values(self) -> None:
        self._prepared.clear()
        self._kept_bytes = 0
        if "derivatives" in self.__dict__:
            self.derivatives.forget()

    def _walk(self, plan: Plan, vectors: Tensor, out: Tensor) -> None:
        for number, (group, batches) in enumerate(plan.walk()):
            prepared = self._prepared.get(number)
            if prepared is None:
                prepared = self._prepare(number, group, join(self.objective, batches))
                self._used[number] = prepared.program
                self._keep(number, prepared, len(plan.groups))
            rows = self.at_once(prepared.program, len(vectors), kept=number in self._prepared)
            for start in range(0, len(vectors), max(rows, 1)):
                part = slice(start, start + rows)
                prepared.add_products(vectors[part], out[part], scale=group.scale, overwrite=number == 0)

    def _keep(self, number: int, prepared: Prepared, groups: int) -> None:
        """Keep the values of a group if the rest of a product still fits beside them.

        Raises
        ------
        TooLargeError
            If not even a vector on this group fits a budget above 0.
        """
        found = [program.footprint for program in self._programs.values() if program.footprint is not None]
        last = len(self._prepared) + 1 == groups
        rest = max((f.probe if last else f.peak(1, kept=False) for f in found), default=0)
        if self.memory + prepared.size + rest <= self.memory_budget:
            self._prepared[number] = prepared
            self._kept_bytes += prepared.size
            return
        if self.memory_budget == 0 or prepared.program.footprint is None:
            return
        needed = prepared.program.footprint.peak(1, kept=False)
        if self.memory + needed > self.memory_budget:  # of another shape than those that are kept
            self._forget_values()
        if self.memory + needed > self.memory_budget:
            raise TooLargeError(number, self.memory + needed)

    def at_once(self, program: Program, vectors: int, *, kept: bool) -> int:
        """Return how many of the vectors go through a batch at once."""
        footprint = program.footprint
        assert footprint is not None
        left = self.memory_budget - self.memory - (0 if kept else footprint.values)
        return min(vectors, vectors_at_once(left, footprint, program.parts.bytes_per_probe, self.device))
