"""The generalised Gauss-Newton matrix of an objective."""

from __future__ import annotations

from hesscope.curvature.autograd_outputs import AutogradOutputs
from hesscope.curvature.outputs import LossHessian, OutputMatrix, require_criterion
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective


def ggn(objective: Objective, *, engine: str = "auto", memory_budget: int | None = None) -> PlannedHessian:
    r"""Return the generalised Gauss-Newton matrix of an objective as an operator.

    :math:`G = \sum_b w_b J_b^T \nabla^2 \ell_b J_b + \lambda I`, with :math:`J_b` the derivative of the
    outputs of the model on batch b, :math:`\ell_b` the criterion as a function of them, and the weights
    :math:`w_b` and :math:`\lambda` of the objective. It is the Hessian without the curvature of the model:
    positive semi-definite where the criterion is convex in the outputs, and equal to the Hessian where
    the outputs are linear in the parameters.

    Parameters
    ----------
    objective
        With a criterion (output, target); the output may be any nesting of tensors. What counts as output
        decides what G is: with ``nll_loss`` on log-probabilities, which is linear in them, G is zero.
    engine
        "jets" (coefficients of all vectors of a call through the captured outputs and backward pass; an
        error where they cannot be captured), "autograd" (graphs that are kept), or "auto": "jets", and
        "autograd" with a warning where that is impossible.
    memory_budget
        Bytes that may be occupied between products; half of the memory that is free when the operator
        is made by default, 0 to keep nothing.

    Returns
    -------
    PlannedHessian
        A symmetric operator with n = ``objective.n``. Nothing is computed before the first product.

    Raises
    ------
    TypeError
        If the objective is none.
    ValueError
        If its loss is a function of (model, batch), the engine is unknown or the budget negative.

    Notes
    -----
    Cost of a product: about 1.3 gradients, all vectors of a call sharing the forward pass.

    References
    ----------
    Schraudolph (2002), Neural Computation 14, 1723-1738; Martens (2020), JMLR 21 (146).

    Examples
    --------
    >>> import torch
    >>> model, loss = torch.nn.Linear(3, 1), torch.nn.MSELoss()
    >>> objective = Objective(model, loss, (torch.ones(5, 3), torch.zeros(5, 1)))
    >>> ggn(objective) @ torch.ones(4)
    tensor([8., 8., 8., 8.])
    """
    require_criterion(objective, "ggn")
    return output_operator(objective, LossHessian(), engine, memory_budget)


def output_operator(
    objective: Objective, matrix: OutputMatrix, engine: str, memory_budget: int | None
) -> PlannedHessian:
    """Return JᵀMJ by an engine.

    Raises
    ------
    ValueError
        If the engine is unknown.
    """
    if engine not in ("auto", "jets", "autograd"):
        msg = f"{matrix.name}: engine must be 'auto', 'jets' or 'autograd', got {engine!r}"
        raise ValueError(msg)
    if engine == "autograd":
        return AutogradOutputs(objective, matrix, memory_budget=memory_budget)
    from hesscope.curvature.jets.output_engine import JetsOutputs  # importing fx takes half a second

    fallback = "autograd" if engine == "auto" else None
    return JetsOutputs(objective, matrix, memory_budget=memory_budget, fallback=fallback)
