"""The jets engine: products with H by Taylor coefficients through the captured gradient."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Hashable, Iterator

import torch
from torch import Tensor

from hesscope.curvature.autograd import AutogradHessian
from hesscope.curvature.graph import build_graph
from hesscope.curvature.jets.capture import CaptureError, capture, input_tensors, signature
from hesscope.curvature.jets.program import Prepared, Program
from hesscope.curvature.jets.reads import holds
from hesscope.curvature.jets.verify import (
    MakeGraph,
    check_difference,
    check_gradient,
    check_product,
    require_finite,
)
from hesscope.curvature.merge import join
from hesscope.curvature.plan import Group, Plan
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective
from hesscope.objective.data import Batch

# Bytes of coefficients at once. Beyond, tensors no longer fit the caches, and the allocator of the host
# returns them to the system after every operator: a small CNN takes 2.45 gradients a product with 2
# vectors (40 MiB) at once, 2.75 with 4, 3.25 with 8.
_WORKING_SET = {"cpu": 40 << 20}


def working_set(left: int, device: torch.device) -> int:
    """Return how many bytes of coefficients to have at once, of those that are left."""
    return min(left, _WORKING_SET.get(device.type, left))


@contextlib.contextmanager
def _naming_operators() -> Iterator[None]:
    """Turn what fails on the values of a first batch, where autograd does not, into a refusal."""
    try:
        yield
    except (CaptureError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        where = " ".join(getattr(error, "__notes__", []))
        msg = f"{type(error).__name__} {where}: {' '.join(str(error).split())[:300]}"
        raise CaptureError(msg) from error


class JetsHessian(PlannedHessian):
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
        Bytes for values kept between products, batches read from a DataLoader, and the coefficients of
        a chunk of vectors; half of the free memory by default, 0 to keep nothing.
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

    Notes
    -----
    Cost of a product: about 2 gradients, plus 1 for every batch that does not fit the budget. Once per
    signature: the capture, and a product by double backward to check it; once per batch: a gradient,
    to check it. Where a derivative does not exist (relu at 0, max-pool at a tie) it is that of the
    selected branch.
    """

    captures = "gradient"
    cost = 2.0  # of a product, in gradients

    def __init__(
        self, objective: Objective, *, memory_budget: int | None = None, fallback: str | None = None
    ) -> None:
        super().__init__(objective, memory_budget=memory_budget)
        self._programs: dict[Hashable, Program] = {}
        self._prepared: dict[int, Prepared] = {}
        self._verified: set[int] = set()  # batches whose gradient was checked since the last change
        self._trusted: set[Hashable] = set()  # signatures of those
        self._may_fall_back = fallback == "autograd"
        self._fallback: PlannedHessian | None = None
        self._why = ""
        self.capture_seconds = 0.0

    @property
    def engine(self) -> str:
        """What computes the products: "jets", or "autograd" after falling back."""
        return "jets" if self._fallback is None else "autograd"

    @property
    def memory(self) -> int:
        """Bytes that kept values and batches occupy now."""
        if self._fallback is not None:
            return self._fallback.memory
        return super().memory + sum(prepared.size for prepared in self._prepared.values())

    def release(self) -> None:
        """Free all kept values and batches; captured gradients stay."""
        super().release()
        self._prepared.clear()
        self._verified.clear()
        self._trusted.clear()
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
        """Say how products are computed: engine, captures, batches, memory, cost."""
        if self._fallback is not None:
            return f"{self._fallback.explain()}\nwhy: {self._why}"
        lines = [f"engine: jets (coefficients of all vectors of a call through the captured {self.captures})"]
        plan = self._plan
        if plan is None:
            return "\n".join([*lines, "nothing is captured yet: the first product reads the data"])
        total, kept = len(plan.groups), len(self._prepared)
        again = "" if kept == total else f"; {total - kept} are computed again for every call"
        reading = "; read again for every call" if plan.streams else ""
        moving = [len(program.parts.moving) for program in self._programs.values()]
        probe = max(program.parts.bytes_per_probe for program in self._programs.values())
        lines += [
            f"captured: {len(moving)} in {self.capture_seconds:.1f} s, with "
            f"{', '.join(map(str, moving))} operators that depend on the vectors",
            f"batches: {plan.count}, {plan.merging}{reading}",
            f"values: {kept} of {total} batches kept{again}",
            f"memory: {self.memory / 2**20:.1f} MiB held of a budget of {self.memory_budget / 2**20:.1f} MiB"
            f"; {probe / 2**20:.1f} MiB for each vector of a call",
            f"cost of a product: about {self.cost:g} gradients, {self.cost + 1:g} where values are not kept",
        ]
        return "\n".join(lines)

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        if self._fallback is None:
            try:
                return self._jet_rows(vectors, out)
            except CaptureError as error:
                if not self._may_fall_back:
                    msg = f"{self.matrix}: engine='jets' must be able to capture the gradient, got: {error}"
                    raise CaptureError(msg) from error
                self._fall_back(error)
        assert self._fallback is not None
        return self._fallback._rows_into(vectors, out)

    def _fall_back(self, error: CaptureError) -> None:
        warnings.warn(
            f"{self.matrix}: falling back to engine='autograd', for the {self.captures} cannot be captured: "
            f"{error}. The products are the same, but slower; rewrite what is named, or pass "
            "engine='autograd' to choose it without this warning",
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
            self._walk(plan, vectors, out)
            if self.l2 != 0:
                out.add_(vectors, alpha=self.l2)

    def _walk(self, plan: Plan, vectors: Tensor, out: Tensor) -> None:
        for number, (group, batches) in enumerate(plan.walk()):
            prepared = self._prepared.get(number)
            if prepared is None:
                prepared = self._prepare(number, group, join(self.objective, batches))
                if self.memory + prepared.size <= self.memory_budget:
                    self._prepared[number] = prepared
            rows = self._rows_at_once(prepared)
            for start in range(0, len(vectors), rows):
                part = slice(start, start + rows)
                prepared.add_products(vectors[part], out[part], scale=group.scale, overwrite=number == 0)

    def _rows_at_once(self, prepared: Prepared) -> int:
        left = working_set(self.memory_budget - self.memory, self.device)
        return max(1, left // max(prepared.program.parts.bytes_per_probe, 1))

    def verified(self, number: int, group: Group, batch: Batch) -> Program:
        """Return the captured gradient of a batch of the plan, checked against autograd."""
        key = self._variant(signature(self.objective, batch), batch, group.entries[0].index)
        if number not in self._verified or key not in self._programs:
            self._prepare(number, group, batch)
        return self._programs[key]

    def _prepare(self, number: int, group: Group, batch: Batch) -> Prepared:
        """Compute the values of a batch; the first time, check them against autograd."""
        index = group.entries[0].index
        key = self._variant(signature(self.objective, batch), batch, index)
        if number in self._verified:
            return self._evaluate(self._programs[key], batch, index, None)
        expected = self._gradient(batch, index)
        require_finite(self.objective, expected, index)
        prepared = self._recall(key, batch, index, expected)
        if prepared is None:
            program = self._capture(batch, index)
            with _naming_operators():
                prepared = self._evaluate(program, batch, index, expected)
                self._check_product(prepared, batch, index, expected)
            self._programs[key] = program
        self._trusted.add(key)
        self._verified.add(number)
        return prepared

    def _variant(self, base: Hashable, batch: Batch, index: int) -> Hashable:
        """Return the key of the captured path that a batch takes; of a new one if it takes no known path."""
        number = 0
        while (program := self._programs.get((base, number))) is not None:
            if not program.listing.guards:
                break
            constants = self._constants(batch, index)
            with self.objective.evaluating(index):
                if holds(program.listing, [*input_tensors(self.objective, batch), *constants]):
                    break
            number += 1
        return (base, number)

    def _gradient(self, batch: Batch, index: int) -> Tensor:
        """Return by autograd what is captured, for one batch."""
        expected = torch.zeros(self.objective.n, dtype=self.dtype, device=self.device)
        self.objective.add_gradient(expected, batch, index, 1.0)
        return expected

    def _graph(self, batch: Batch, index: int) -> MakeGraph:
        """Return a function that makes the graph of a batch, to check products with."""
        return functools.partial(build_graph, self.objective, batch, index)

    def _check_product(self, prepared: Prepared, batch: Batch, index: int, gradient: Tensor) -> None:
        if not check_product(self.objective, prepared, self._graph(batch, index), index, gradient):
            check_difference(self.objective, prepared, batch, index)

    def _constants(self, batch: Batch, index: int) -> list[Tensor]:  # noqa: ARG002
        """Return further inputs of what is captured."""
        return []

    def _recall(self, key: Hashable, batch: Batch, index: int, expected: Tensor) -> Prepared | None:
        """Use what was captured for a signature; None if there is nothing, or if it is out of date.

        Out of date is what was right before a change: the model may have numbers of its own (a
        temperature) that are part of the captured gradient.
        """
        program = self._programs.get(key)
        if program is None:
            return None
        try:
            return self._evaluate(program, batch, index, expected)
        except CaptureError:
            if key in self._trusted:
                raise
            return None

    def _capture(self, batch: Batch, index: int) -> Program:
        captured = capture(self.objective, batch, index)
        self.capture_seconds += captured.seconds
        return Program(captured.code, self.objective.parameter_set.numels)

    def _evaluate(self, program: Program, batch: Batch, index: int, expected: Tensor | None) -> Prepared:
        constants = self._constants(batch, index)
        with self.objective.evaluating(index), torch.no_grad():
            inputs = [*input_tensors(self.objective, batch), *constants]
            prepared, gradient = program.prepare(inputs, gradient=expected is not None)
        if expected is not None and gradient is not None:
            check_gradient(self.objective, gradient, expected, index)
        return prepared
