"""Products with JᵀMJ by coefficients through the captured outputs and their backward pass."""

from __future__ import annotations

import functools

from torch import Tensor

from hesscope.curvature.autograd_outputs import AutogradOutputs
from hesscope.curvature.jets.engine import JetsHessian
from hesscope.curvature.jets.outputs import capture_outputs
from hesscope.curvature.jets.program import Program
from hesscope.curvature.jets.verify import MakeGraph
from hesscope.curvature.output_graph import build_output_graph
from hesscope.curvature.outputs import ModelOutput, OutputMatrix
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective
from hesscope.objective.data import Batch


class JetsOutputs(JetsHessian):
    """JᵀMJ of an objective with a criterion, by first-order coefficients through its captured outputs.

    Parameters
    ----------
    objective
        What is differentiated.
    matrix
        M.
    memory_budget, fallback
        As in :class:`hesscope.curvature.jets.engine.JetsHessian`.

    Raises
    ------
    CaptureError
        At a product, if the outputs cannot be captured or an operator has no rule, which is named.
    ValueError
        A negative budget; at a product, whatever the loss is refused for.

    Notes
    -----
    Cost of a product: about 1.3 gradients, plus 1 for every batch that does not fit the budget.
    """

    captures = "outputs and their backward pass"
    cost = 1.3
    differentiates = False
    curves = False

    def __init__(
        self,
        objective: Objective,
        matrix: OutputMatrix,
        *,
        memory_budget: int | None = None,
        fallback: str | None = None,
    ) -> None:
        self.matrix = matrix.name
        self.merges = matrix.merges
        super().__init__(objective, memory_budget=memory_budget, fallback=fallback)
        self.output_matrix = matrix
        self.l2 = objective.l2 if matrix.regularised else 0.0

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return super().description() | self.output_matrix.description()

    def _by_autograd(self) -> PlannedHessian:
        return AutogradOutputs(self.objective, self.output_matrix, memory_budget=self.memory_budget)

    def _gradient(self, batch: Batch, index: int) -> Tensor:
        return build_output_graph(self.objective, self.output_matrix, batch, index).gradient()

    def _graph(self, batch: Batch, index: int) -> MakeGraph:
        return functools.partial(build_output_graph, self.objective, self.output_matrix, batch, index)

    def _constants(self, batch: Batch, index: int) -> list[Tensor]:
        if type(self.output_matrix).constants is OutputMatrix.constants:
            return []  # a forward pass less
        with self.objective.evaluating(index):
            output = ModelOutput(self.objective, batch)
            return self.output_matrix.constants(output, index)

    def _capture(self, batch: Batch, index: int) -> Program:
        constants = self._constants(batch, index)
        captured = capture_outputs(self.objective, self.output_matrix, batch, index, constants)
        self.capture_seconds += captured.seconds
        return Program(captured.code, self.objective.parameter_set.numels)
