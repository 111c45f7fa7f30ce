"""The graph of a batch's outputs and of Jᵀw: built once, used for every product with JᵀMJ."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope.curvature.graph import accumulate, backward, explain_missing_derivative, inspect_graph
from hesscope.curvature.outputs import ModelOutput, OutputMatrix
from hesscope.objective import Objective
from hesscope.objective.checks import check_loss, refuse_constant
from hesscope.objective.data import Batch


@dataclass
class OutputGraph:
    """A batch's outputs with the graphs that a product with JᵀMJ goes through.

    Attributes
    ----------
    leaves
        The outputs f(θ): their graph gives Jᵀu.
    weights
        w, one for each output: the derivative of ``pulled`` with respect to them gives Jv.
    pulled
        Jᵀw, for each parameter; None where no output depends on it.
    cut, cotangents
        The outputs once more, as inputs, and the function of them whose derivative is M.
    size
        Bytes that live as long as the graphs.
    replays
        True if products run parts of the model again (activation checkpointing).
    """

    objective: Objective
    index: int
    matrix: str
    leaves: list[Tensor]
    weights: list[Tensor]
    pulled: list[Tensor | None]
    cut: list[Tensor]
    cotangents: list[Tensor]
    size: int
    replays: bool

    def add_products(
        self, vectors: Tensor, out: Tensor, *, scale: float, overwrite: bool, retain: bool = True
    ) -> None:
        """Add ``scale`` times the products of this batch's JᵀMJ with rows ``[K, n]`` to ``out [K, n]``.

        With ``overwrite`` the old content of ``out`` does not count. Without ``retain`` the graphs are
        used up.
        """
        numels = self.objective.parameter_set.numels
        last = len(vectors) - 1
        held = self.objective.evaluating(self.index) if self.replays else contextlib.nullcontext()
        with held:
            for k, (vector, target) in enumerate(zip(vectors, out, strict=True)):
                products = self._multiply(vector.split_with_sizes(numels), retain=retain or k < last)
                accumulate(products, target.split_with_sizes(numels), scale, overwrite)

    def gradient(self) -> Tensor:
        """Return Jᵀ of the cotangents, ``[n]``; with those of a loss it is the gradient."""
        parts = self.objective.parameter_set
        found = torch.zeros(self.objective.n, dtype=self.objective.dtype, device=self.objective.device)
        pieces = backward(self.leaves, [c.detach() for c in self.cotangents], parts.tensors, retain=True)
        accumulate(pieces, found.split_with_sizes(parts.numels), 1.0, overwrite=True)
        return found

    def _multiply(self, pieces: Sequence[Tensor], *, retain: bool) -> Sequence[Tensor | None]:
        nothing: list[Tensor | None] = [None] * len(pieces)
        moved = self._differentiate(self.pulled, self._shaped(pieces), self.weights, retain=retain)
        if all(t is None for t in moved):
            return nothing
        turned = self._differentiate(self.cotangents, self._filled(moved), self.cut, retain=retain)
        if all(t is None for t in turned):
            return nothing
        inputs = self.objective.parameter_set.tensors
        return self._differentiate(self.leaves, self._filled(turned), inputs, retain=retain)

    def _filled(self, found: Sequence[Tensor | None]) -> list[Tensor]:
        return [torch.zeros_like(w) if t is None else t for t, w in zip(found, self.weights, strict=True)]

    def _shaped(self, pieces: Sequence[Tensor]) -> list[Tensor]:
        found = []
        for p, piece in zip(self.objective.parameter_set.tensors, pieces, strict=True):
            cut = piece.view(p.shape)
            found.append(cut if cut.dtype == p.dtype else cut.to(p.dtype))
        return found

    def _differentiate(
        self,
        outputs: Sequence[Tensor | None],
        cotangents: Sequence[Tensor],
        inputs: Sequence[Tensor],
        *,
        retain: bool,
    ) -> Sequence[Tensor | None]:
        pairs = [
            (t, c) for t, c in zip(outputs, cotangents, strict=True) if t is not None and t.requires_grad
        ]
        if not pairs:
            return [None] * len(inputs)
        try:
            return backward([t for t, _ in pairs], [c for _, c in pairs], inputs, retain=retain)
        except RuntimeError as error:
            explain_missing_derivative(error, self.matrix)
            raise


def build_output_graph(objective: Objective, matrix: OutputMatrix, batch: Batch, index: int) -> OutputGraph:
    """Evaluate a batch's outputs, the pull-back Jᵀw and the cotangents, with their graphs.

    Costs a little more than one gradient.
    """
    tensors = objective.parameter_set.tensors
    with objective.evaluating(index):
        output = ModelOutput(objective, batch)
        leaves = output.leaves
        loss = output.loss(leaves)
        check_loss(loss, index)
        value = float(loss.detach())
        del loss
        weights = [torch.zeros_like(leaf, requires_grad=True) for leaf in leaves]
        cut = [leaf.detach().requires_grad_() for leaf in leaves]
        constants = matrix.constants(output, index)
        try:
            pulled = torch.autograd.grad(leaves, tensors, weights, create_graph=True, allow_unused=True)
            cotangents = matrix.cotangents(output, cut, constants)
        except RuntimeError as error:
            explain_missing_derivative(error, matrix.name)
            raise
    objective.confirm(batch, index, value)
    refuse_constant(pulled, index)
    roots = [*leaves, *cotangents, *(t for t in pulled if t is not None)]
    size, replays, _ = inspect_graph(roots, objective, matrix.name)
    return OutputGraph(
        objective, index, matrix.name, leaves, weights, list(pulled), cut, cotangents, size, replays
    )
