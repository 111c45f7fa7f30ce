"""Linear systems with a symmetric operator."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.krylov import memory
from hesscope.krylov.low_rank import low_rank_inverse
from hesscope.krylov.recurrence import row_stride
from hesscope.krylov.right_hand_sides import right_hand_sides
from hesscope.krylov.systems import Options, Systems
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, RunFailed, Solution, Status

_WHERE = "solve"
METHODS = ("auto", "minres", "cg")
_TOL = {torch.float32: 1e-4, torch.float64: 1e-8}
_STEPS = 1000
_VECTORS = {"minres": 12, "cg": 8}  # a right-hand side, temporaries included


def solve(
    operator: SymmetricOperator,
    b: Tensor,
    *,
    shift: float = 0.0,
    method: str = "auto",
    preconditioner: Eigenpairs | SymmetricOperator | None = None,
    tol: float | None = None,
    max_products: int | None = None,
    least_squares: bool = False,
    initial: Tensor | None = None,
    progress: bool = False,
) -> Solution:
    """Solve ``(H + shift I) x = b`` for one or K right-hand sides at once.

    Parameters
    ----------
    operator
        n x n and symmetric.
    b
        Shape ``[n]``, or rows ``[K, n]``; the dtype and device of the operator.
    shift
        Added to every eigenvalue: damping.
    method
        "minres" (Paige and Saunders 1975) takes indefinite operators, and its residual never grows. "cg"
        (Hestenes and Stiefel 1952) needs a positive definite one, keeps four vectors less, and stops with an
        error where it meets negative curvature. "auto" is "minres": at every step its residual is at most
        that of "cg".
    preconditioner
        Eigenpairs of H, of which :func:`hesscope.low_rank_inverse` with this shift makes one in closed
        form; or a positive definite operator close to the inverse of ``H + shift I``.
    tol
        A system is solved when ``|b - (H + shift I) x| <= tol |b|``. Default: 1e-4 in float32, 1e-8 in
        float64.
    max_products
        Limit; default: 1000 a right-hand side.
    least_squares
        Return the least-squares solution of a singular system instead of an error.
    initial
        The shape of b: where to start.
    progress
        Show a bar on stderr.

    Returns
    -------
    Solution
        With residuals measured by fresh products. ``status`` CONVERGED; or, each with a warning,
        MAX_PRODUCTS, NOISE_FLOOR, where starting anew from the residual measured no longer helps,
        INTERRUPTED, NONFINITE_OPERATOR, and with ``least_squares`` SINGULAR.

    Raises
    ------
    RunFailed
        If the operator is indefinite (with "cg") or singular and b leaves its range, or a product raises an
        error, or the weights or the data behind the operator change. ``partial`` is the Solution so far.
    TypeError, ValueError
        If an argument has the wrong type or value, the very first product is not finite, or the
        preconditioner shows negative curvature.
    MemoryError
        If the vectors cannot fit the free memory; raised before any product.

    Notes
    -----
    One product a step and system; a system that is solved takes part no longer. Then one product each for the
    residual, and the same again where the residual measured is larger than the recurrence's. Memory: 12
    vectors of length n a right-hand side, or 8 with "cg".

    A singular system whose b lies in the range is solved like any other: MINRES then stays in the range. One
    whose condition number exceeds about ``1 / (2 sqrt(eps))`` may be called singular by "minres": use "cg", a
    preconditioner or float64.

    References
    ----------
    Paige and Saunders (1975), SIAM J. Numer. Anal. 12, 617-629; Fong and Saunders (2012), CG versus MINRES.
    """
    options = _options(operator, shift, method, tol, max_products, preconditioner)
    rows = right_hand_sides(_WHERE, "b", b, operator)
    start = None if initial is None else right_hand_sides(_WHERE, "initial", initial, operator)
    if start is not None and initial is not None and initial.shape != b.shape:
        msg = f"{_WHERE}: initial must have the shape of b, {list(b.shape)}, got {list(initial.shape)}"
        raise ValueError(msg)
    count, n = rows.shape
    needed = count * _VECTORS[options.method] * row_stride(n) * operator.dtype.itemsize
    free = memory.available(operator.device)
    if free is not None and needed > free:
        msg = (
            f"{_WHERE}: {count} right-hand sides need {needed / 1e9:.3g} GB, but {operator.device} has "
            f"{free / 1e9:.3g} GB free; solve fewer at once"
        )
        raise MemoryError(msg)
    systems = Systems(operator, rows, start, replace(options, limit=options.limit or _STEPS * count))
    try:
        solution = systems.run(progress=progress)
    except RunFailed as failure:
        failure.partial = _shaped(failure.partial, b)
        raise
    solution = _shaped(solution, b)
    if solution.status is Status.INDEFINITE or (solution.status is Status.SINGULAR and not least_squares):
        advice = "Pass a shift above the modulus of the most negative eigenvalue, or method='minres'"
        if solution.status is Status.SINGULAR:
            advice = "Pass a shift, or least_squares=True"
        msg = f"{_WHERE}: {solution.message} {advice}. What was found is in this error's `partial`"
        raise RunFailed(msg, solution)
    if solution.status is not Status.CONVERGED:
        warnings.warn(f"{_WHERE}: {solution.message}", RuntimeWarning, stacklevel=2)
    return solution


def _shaped(solution: Solution, b: Tensor) -> Solution:
    return replace(solution, x=solution.x.reshape(b.shape))


def _options(
    operator: object,
    shift: object,
    method: str,
    tol: object,
    max_products: object,
    preconditioner: object,
) -> Options:
    if not isinstance(operator, SymmetricOperator):
        msg = (
            f"{_WHERE}: operator must be a SymmetricOperator (hesscope.from_matrix, from_function and "
            f"from_scipy make one), got {type(operator).__name__}"
        )
        raise TypeError(msg)
    chosen = _checks.choice(_WHERE, "method", method, METHODS)
    moved, precision = _positive("shift", shift, any_sign=True), _TOL[operator.dtype]
    if tol is not None:
        precision = _positive("tol", tol)
    limit = 0 if max_products is None else _checks.integer(_WHERE, "max_products", max_products, least=1)
    return Options(
        method="minres" if chosen == "auto" else chosen,
        shift=moved,
        tol=precision,
        limit=limit,
        preconditioner=_preconditioner(operator, preconditioner, moved),
    )


def _positive(name: str, number: object, *, any_sign: bool = False) -> float:
    value = _checks.real(_WHERE, name, number)
    if math.isinf(value) or not (any_sign or value > 0):
        msg = f"{_WHERE}: {name} must be {'' if any_sign else 'positive and '}finite, got {value}"
        raise ValueError(msg)
    return value


def _preconditioner(
    operator: SymmetricOperator, preconditioner: object, shift: float
) -> SymmetricOperator | None:
    if preconditioner is None:
        return None
    if isinstance(preconditioner, Eigenpairs):
        preconditioner = low_rank_inverse(preconditioner, shift=shift, absolute=True)
    if not isinstance(preconditioner, SymmetricOperator):
        got = type(preconditioner).__name__
        msg = f"{_WHERE}: preconditioner must be an Eigenpairs or a SymmetricOperator, got {got}"
        raise TypeError(msg)
    want = (operator.shape[0], operator.dtype, operator.device)
    have = (preconditioner.shape[0], preconditioner.dtype, preconditioner.device)
    if want != have:
        msg = (
            f"{_WHERE}: preconditioner must be as the operator, n = {want[0]}, {want[1]} on {want[2]}, got "
            f"n = {have[0]}, {have[1]} on {have[2]}"
        )
        raise ValueError(msg)
    return preconditioner
