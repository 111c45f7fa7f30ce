"""Choosing the engine that computes products with H."""

from __future__ import annotations

from hesscope.curvature.autograd import AutogradHessian
from hesscope.curvature.finite_difference import FiniteDifferenceHessian
from hesscope.curvature.native import NativeHessian
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective

_ENGINES = ("auto", "jets", "autograd", "native", "finite_difference")


def hessian(
    objective: Objective, *, engine: str = "auto", memory_budget: int | None = None
) -> PlannedHessian:
    """Return the Hessian of an objective as an operator.

    Parameters
    ----------
    objective
        What is differentiated.
    engine
        "jets" (coefficients of all vectors of a call through the captured gradient; an error where that
        is impossible), "autograd" (double backward), "finite_difference" (central differences of
        gradients, for models without a second derivative), "native" (small dense networks, in C++; an
        error for any other model), or "auto": "jets", and "autograd" with one warning where the gradient
        cannot be captured.
    memory_budget
        Bytes that may be occupied between products, and with "jets" also by what a product needs beside
        its result; half of the memory that is free when the operator is made by default, 0 to keep nothing.

    Returns
    -------
    PlannedHessian
        A symmetric operator with n = ``objective.n``. Nothing is computed before the first product.

    Raises
    ------
    TypeError
        If the objective is none.
    ValueError
        If the engine is unknown or cannot differentiate the objective, or the budget is negative.
    RuntimeError
        At a product, if the backward of a custom function hides from autograd what it depends on, or with
        "autograd" has no derivative.
    MemoryError
        At a product, if the budget has no room for one vector on a batch that cannot be cut.

    Notes
    -----
    Cost of a product: about 2 gradients, all vectors of a call sharing what does not depend on them; see
    ``explain()``. The first product of "auto" captures the gradient, once per signature of a batch.
    """
    if not isinstance(objective, Objective):
        msg = f"hessian: objective must be an Objective, got {type(objective).__name__}"
        raise TypeError(msg)
    if engine not in _ENGINES:
        names = ", ".join(map(repr, _ENGINES))
        msg = f"hessian: engine must be one of {names}, got {engine!r}"
        raise ValueError(msg)
    if engine == "finite_difference":
        return FiniteDifferenceHessian(objective, memory_budget=memory_budget)
    if engine == "native":
        return NativeHessian(objective, memory_budget=memory_budget)
    if engine == "autograd":
        return AutogradHessian(objective, memory_budget=memory_budget)
    from hesscope.curvature.jets.engine import JetsHessian  # importing fx takes half a second

    fallback = "autograd" if engine == "auto" else None
    return JetsHessian(objective, memory_budget=memory_budget, fallback=fallback)
