"""Contractions of the third derivative of an objective, and of the second without a backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from hesscope import _checks
from hesscope.objective import Objective
from hesscope.third_order.directions import rows, same
from hesscope.third_order.engines import Engines
from hesscope.third_order.measures import ThirdOrderMeasures

if TYPE_CHECKING:
    from hesscope.operators import SymmetricOperator
    from hesscope.third_order.operator import HessianChange

_REDUCTIONS = ("none", "sum")


def third_order(
    objective: Objective, *, engine: str = "auto", memory_budget: int | None = None
) -> ThirdOrder:
    """Return the third derivative of an objective, to be contracted with directions.

    Parameters
    ----------
    objective
        What is differentiated.
    engine
        "jets" (coefficients through captured gradients and losses; an error where that is impossible),
        "autograd" (nested reverse mode) or "auto": jets, with one warning where it falls back.
    memory_budget
        Bytes that may be occupied between calls; half of the memory that is free when this is made by
        default, 0 to keep nothing.

    Returns
    -------
    ThirdOrder
        Nothing is computed before the first contraction.

    Raises
    ------
    TypeError
        If the objective is none.
    ValueError
        If the engine is unknown or the budget negative.

    Examples
    --------
    >>> model = torch.nn.Linear(1, 1, bias=False).double()
    >>> _ = torch.nn.init.constant_(model.weight, 3.0)
    >>> fourth = lambda m, x: (m(x) ** 4).sum()  # theta^4: H = 108, T = 72 at theta = 3
    >>> D3 = third_order(Objective(model, fourth, torch.ones(1, 1, dtype=torch.float64)))
    >>> v = torch.ones(1, dtype=torch.float64)
    >>> D3.contract(v, v).item(), D3.quadratic_form(v).item()
    (72.0, 108.0)
    """
    if not isinstance(objective, Objective):
        msg = f"third_order: objective must be an Objective, got {type(objective).__name__}"
        raise TypeError(msg)
    _checks.choice("third_order", "engine", engine, ("auto", "jets", "autograd"))
    if memory_budget is not None:
        memory_budget = _checks.integer("third_order", "memory_budget", memory_budget)
    return ThirdOrder(objective, engine=engine, memory_budget=memory_budget)


class ThirdOrder(ThirdOrderMeasures):
    """The third derivative T of an objective, known by its contractions; made by :func:`third_order`.

    T is symmetric in its three arguments. Weights of batches and l2 count as in :func:`hessian` (l2 has
    no third derivative). Where a derivative does not exist (relu at 0, max-pool at a tie) it is that of
    the selected branch: how often a kink is crossed nearby is not seen. A loss whose only nonlinear
    operations are such kinks is refused.

    Attributes
    ----------
    objective
        What is differentiated.
    """

    def __init__(self, objective: Objective, *, engine: str, memory_budget: int | None) -> None:
        self.objective = objective
        self._engines = Engines(objective, engine, memory_budget)

    @property
    def engine(self) -> str:
        """What computes the contractions: "jets" or "autograd"."""
        return self._engines.now.name

    @property
    def hessian(self) -> SymmetricOperator:
        """The Hessian of the objective; it shares captures and memory with the contractions."""
        return self._engines.hessian

    @property
    def contractions(self) -> int:
        """Contractions computed since creation, one per row."""
        return self._engines.contractions

    @property
    def memory(self) -> int:
        """Bytes that are kept between calls now."""
        return self._engines.now.memory

    def release(self) -> None:
        """Free everything that is kept; the next call builds it again."""
        self._engines.now.release()

    def contract(self, u: Tensor, v: Tensor, w: Tensor | None = None, *, reduction: str = "none") -> Tensor:
        """Contract T with two directions, or with three.

        Parameters
        ----------
        u, v, w
            ``[n]``, or rows ``[K, n]`` that are paired row by row; one vector goes with all rows of the
            others. The dtype and device of the objective. Two that are the same object or the same
            storage count as one direction, and cost less.
        reduction
            "none", or "sum": of the contractions over the K rows, which costs less still.

        Returns
        -------
        Tensor
            ``T[u, v, .]``: ``[n]``, or ``[K, n]`` for rows; with w ``T[u, v, w]``: a scalar, or ``[K]``.

        Raises
        ------
        ValueError
            If a shape or device does not fit, or the reduction is unknown; if the loss has kinks only.
        TypeError
            If a direction is no tensor or has another dtype.
        RuntimeError
            If an operation has no third derivative, or a custom function's is wrong.
        CaptureError
            With ``engine="jets"``, if an operator has no rule of this order, which the message names.

        Notes
        -----
        Cost in products of matrices (a gradient is 3 forward passes): 11/3 gradients a row for u = v,
        7/3 summed, 6 for two directions, 2 for u = v = w. Memory: two (three) times that of a product
        with H for each row.

        References
        ----------
        Griewank, Utke and Walther (2000), Math. Comp. 69, 1117-1130: Taylor coefficients. Dangel et
        al. (2025), arXiv:2505.13644: collapsed ones.
        """
        _checks.choice("contract", "reduction", reduction, _REDUCTIONS)
        given = {"u": u, "v": v} if w is None else {"u": u, "v": v, "w": w}
        found = rows(self.objective, "contract", **given)
        single = all(d.ndim == 1 for d in given.values())
        summed = reduction == "sum"
        if len(found) == 2:
            out = self._engines.contract(found[0], found[1], summed=summed)
            return out[0] if single or summed else out
        values = self._three(*found)
        return values.sum() if summed else values[0] if single else values

    def quadratic_form(self, v: Tensor, *, reduction: str = "none") -> Tensor:
        """Compute ``v' H v`` from the loss alone, without a backward pass.

        Parameters
        ----------
        v
            ``[n]`` or rows ``[K, n]``.
        reduction
            "none", or "sum": over the rows, which costs less.

        Returns
        -------
        Tensor
            A scalar, or ``[K]``.

        Raises
        ------
        ValueError, TypeError, CaptureError
            As :meth:`contract`.

        Notes
        -----
        Cost: 4/3 gradients a row, 1 summed; a product with H is 2.
        """
        _checks.choice("quadratic_form", "reduction", reduction, _REDUCTIONS)
        (found,) = rows(self.objective, "quadratic_form", v=v)
        values = self._engines.quadratic(found, summed=reduction == "sum")
        if self.objective.l2 != 0:
            squares = found.square().sum(1)
            values += self.objective.l2 * (squares.sum() if reduction == "sum" else squares)
        return values[0] if v.ndim == 1 or reduction == "sum" else values

    def cubic_form(self, v: Tensor) -> Tensor:
        """Compute ``T[v, v, v]`` from the loss alone, without a backward pass.

        Parameters
        ----------
        v
            ``[n]`` or rows ``[K, n]``.

        Returns
        -------
        Tensor
            A scalar, or ``[K]``.

        Raises
        ------
        ValueError, TypeError, CaptureError
            As :meth:`contract`.

        Notes
        -----
        Cost: 2 gradients a row.
        """
        (found,) = rows(self.objective, "cubic_form", v=v)
        values = self._engines.cubic(found)
        return values[0] if v.ndim == 1 else values

    def operator(self, d: Tensor) -> HessianChange:
        """Return how the Hessian changes along a direction, ``dH/dd``, as a symmetric operator.

        Parameters
        ----------
        d
            ``[n]``, copied.

        Returns
        -------
        HessianChange
            Its product with v is ``T[d, v, .]``; densities, eigenpairs and traces work on it.

        Raises
        ------
        ValueError, TypeError
            If d has another shape, device or dtype.

        Notes
        -----
        Cost of a product: 14/3 gradients with 8 vectors at once, 6 with one.
        """
        from hesscope.third_order.operator import HessianChange

        return HessianChange(self, d)

    def explain(self) -> str:
        """Say how contractions are computed: engine, captures, batches, memory, cost."""
        return self._engines.explain()

    def _three(self, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        if same(u, v) and same(v, w):
            return self._engines.cubic(u)
        if same(u, w):
            v, w = w, v
        elif same(v, w):
            u, w = w, u
        return (self._engines.contract(u, v, summed=False) * w).sum(1)
