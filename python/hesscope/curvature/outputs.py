"""Matrices of the form JᵀMJ: J the derivative of a model's outputs, M a small matrix for each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from hesscope.objective import Objective
from hesscope.objective.data import Batch, call, split


class ModelOutput:
    """What a model returns for a batch, and the criterion as a function of it.

    Made where the model is evaluated.

    Attributes
    ----------
    leaves
        The tensors of the output that depend on the selected parameters.
    target
        The batch's target.
    """

    def __init__(self, objective: Objective, batch: Batch) -> None:
        inputs, self.target = split(batch)
        self._flat, self._nesting = pytree.tree_flatten(call(objective.model, inputs))
        self._places = [i for i, t in enumerate(self._flat) if isinstance(t, Tensor) and t.requires_grad]
        self.leaves: list[Tensor] = [self._flat[i] for i in self._places]
        assert objective.criterion is not None
        self._criterion = objective.criterion.function

    def loss(self, leaves: Sequence[Tensor]) -> Any:
        """Return the batch's loss with other tensors in place of ``leaves``, unchecked."""
        flat = list(self._flat)
        for place, leaf in zip(self._places, leaves, strict=True):
            flat[place] = leaf
        return self._criterion(pytree.tree_unflatten(flat, self._nesting), self.target)


class OutputMatrix(ABC):
    """M, as the derivative of cotangents that are a function of the outputs.

    Attributes
    ----------
    name
        Of the whole matrix, for messages and descriptions.
    merges
        True if batches may be evaluated together.
    regularised
        True if the ``l2`` of the objective adds its multiple of the identity.
    """

    name: str
    merges: bool = True
    regularised: bool = False

    def constants(self, output: ModelOutput, index: int) -> list[Tensor]:  # noqa: ARG002
        """Return tensors that M is made of, at the outputs of batch ``index``; they carry no graph."""
        return []

    @abstractmethod
    def cotangents(
        self, output: ModelOutput, leaves: Sequence[Tensor], constants: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return for each leaf a function of ``leaves``; the derivative of all of them is M.

        M belongs to the batch's loss as the criterion returns it.
        """

    def description(self) -> dict[str, object]:
        """Return what a results file says about the matrix."""
        return {"operator": self.name}


class LossHessian(OutputMatrix):
    """The second derivative of the criterion with respect to the outputs: JᵀMJ is the GGN."""

    name = "ggn"
    regularised = True

    def cotangents(
        self,
        output: ModelOutput,
        leaves: Sequence[Tensor],
        constants: Sequence[Tensor],  # noqa: ARG002
    ) -> list[Tensor]:
        """Return the gradient of the loss with respect to the outputs."""
        loss = output.loss(leaves)
        gradients = torch.autograd.grad(loss, list(leaves), create_graph=True, allow_unused=True)
        return [torch.zeros_like(t) if g is None else g for g, t in zip(gradients, leaves, strict=True)]


def require_criterion(objective: object, matrix: str) -> None:
    """Raise unless an objective says what the outputs of its model are.

    Raises
    ------
    TypeError
        If it is no Objective.
    ValueError
        If its loss is a function of (model, batch).
    """
    if not isinstance(objective, Objective):
        msg = f"{matrix}: objective must be an Objective, got {type(objective).__name__}"
        raise TypeError(msg)
    if objective.criterion is None:
        msg = (
            f"{matrix}: objective must have a criterion (output, target) -> scalar, which tells outputs from "
            "loss, got loss(model, batch); pass Objective(model, None, data, criterion=...)"
        )
        raise ValueError(msg)
