"""Functions of an operator applied to vectors, with a basis or without one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hesscope import _checks
from hesscope.krylov import memory
from hesscope.krylov.arguments import finite, function, positive
from hesscope.krylov.basis_plan import BasisPlan, plan_basis
from hesscope.krylov.function_passes import Passes, Request
from hesscope.krylov.recurrence import row_stride
from hesscope.krylov.right_hand_sides import right_hand_sides
from hesscope.operators.base import SymmetricOperator
from hesscope.results import FunctionProduct, Status

_WHERE = "apply_function"
BASES = ("float32", "float64", "host", "disk", "recompute")
_STEPS, _LIMIT = 100, 500
_VECTORS = 5  # a right-hand side: v, v_prev, the product, x, and b itself


@dataclass(frozen=True)
class _Storage:
    plan: BasisPlan | None
    reason: str


def apply_function(
    operator: SymmetricOperator,
    f: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    shift: float = 0.0,
    num_steps: int | None = None,
    tol: float | None = None,
    basis: str | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
) -> FunctionProduct:
    """Compute ``f(H + shift I) b`` by Lanczos for one or K vectors at once.

    Parameters
    ----------
    operator
        n x n and symmetric, positive or not.
    f
        Elementwise on float64 tensors of eigenvalues, such as ``torch.exp``.
    b
        Shape ``[n]``, or rows ``[K, n]``; the dtype and device of the operator. Rows of zeros give zeros.
    shift
        Added to every eigenvalue before f is applied.
    num_steps
        Lanczos steps for each vector, at most n: exactly so many (default 100) unless the Krylov space is
        exhausted; with ``tol`` the limit (default 500).
    tol
        Stop when the estimated error is at most ``tol |x|`` for every vector.
    basis
        Where the Lanczos vectors go from which x is put together: "float32" or "float64" (which must be the
        dtype; in memory), "host", "disk", or "recompute": nowhere. The recurrence is then run twice, and the
        second time each vector is added to x as it comes. Default: memory, then host, if they have room for
        ``num_steps`` vectors each; else "recompute".
    memory_budget
        Bytes on the device of the operator. Default: what is free.
    progress
        Show a bar on stderr.

    Returns
    -------
    FunctionProduct
        ``x`` with an estimate of its error. ``status`` COMPLETE, or INVARIANT_SUBSPACE, where x is exact to
        rounding; with ``tol`` CONVERGED. Each with a warning: MAX_PRODUCTS, NOISE_FLOOR, where rounding alone
        exceeds ``tol``, INTERRUPTED, NONFINITE_OPERATOR.

    Raises
    ------
    NotDefinedError
        If f is not finite on a Ritz value, which is named. A ValueError whose ``partial`` is the
        :class:`KrylovSpace` of b: its ``apply`` takes another f or shift.
    ValueError
        If an argument has a wrong value, or the very first product is not finite.
    TypeError
        If an argument has the wrong type.
    MemoryError
        If the vectors do not fit; raised before any product.
    RunFailed
        If a product raises an error, the disk fails, what the operator depends on changes, or the second
        pass does not find the coefficients of the first again. ``partial`` is the FunctionProduct so far:
        with a basis the iterate of the steps before, without one what of it had been added up.

    Notes
    -----
    Products: one a step and vector; two with "recompute". Memory: 5 vectors of length n for each of b, and
    with a basis one more a step. A second pass needs products that are the same twice: to the bit for
    operators with ``bitwise_rows``, else to the square root of the precision, and what differs counts as
    rounding.

    Without reorthogonalisation Lanczos converges later, not to something else (Druskin and Knizhnerman 1991;
    Musco, Musco and Sidford 2018). Where f is smooth on the spectrum the error falls geometrically; like
    ``1 / m`` for one with a kink inside it (``torch.abs`` of an indefinite H).

    References
    ----------
    Saad (1992), SIAM J. Numer. Anal. 29, 209-228; two passes: Borici (2000), Frommer and Simoncini (2008).

    Examples
    --------
    >>> H = from_matrix(torch.diag(torch.linspace(1, 4, 64, dtype=torch.float64)))
    >>> x = apply_function(H, torch.sqrt, torch.ones(64, dtype=torch.float64), tol=1e-10).x
    >>> bool((x[-1] - 2).abs() < 1e-8)
    True
    """
    if not isinstance(operator, SymmetricOperator):
        msg = (
            f"{_WHERE}: operator must be a SymmetricOperator (hesscope.from_matrix, from_function and "
            f"from_scipy make one), got {type(operator).__name__}"
        )
        raise TypeError(msg)
    f = function(_WHERE, f)
    rows = right_hand_sides(_WHERE, "b", b, operator)
    steps = _STEPS if tol is None else _LIMIT
    if num_steps is not None:
        steps = _checks.integer(_WHERE, "num_steps", num_steps, least=1)
    steps = min(steps, operator.shape[0])
    allowed = None if tol is None else positive(_WHERE, "tol", tol)
    request = Request(f, finite(_WHERE, "shift", shift), steps, allowed)
    storage = _storage(operator, rows.shape[0], steps, basis, memory_budget)
    passes = Passes(operator, rows, request, storage.plan, storage.reason, shape=b.shape)
    result = passes.run(progress=progress)
    if result.status not in (Status.COMPLETE, Status.CONVERGED, Status.INVARIANT_SUBSPACE):
        warnings.warn(f"{_WHERE}: {result.message}", RuntimeWarning, stacklevel=2)
    return result


def _storage(
    operator: SymmetricOperator, k: int, steps: int, basis: str | None, budget: int | None
) -> _Storage:
    """Choose where the Lanczos vectors go, or raise MemoryError before any product."""
    n, dtype, device = operator.shape[0], operator.dtype, operator.device
    own = str(dtype).removeprefix("torch.")
    if basis is not None:
        _checks.choice(_WHERE, "basis", basis, BASES)
    if budget is not None:
        budget = _checks.integer(_WHERE, "memory_budget", budget, least=1)
    candidates = [basis] if basis is not None else [own, *(["host"] if device.type != "cpu" else [])]
    shortage = ""
    for storage in candidates:
        if storage == "recompute":
            break
        try:
            plan = plan_basis(
                n,
                k * steps,
                dtype=dtype,
                device=device,
                working_vectors=_VECTORS * k,
                basis=storage,
                memory_budget=budget,
                where=_WHERE,
            )
        except MemoryError as error:
            if basis is not None:
                raise
            shortage = str(error).removeprefix(f"{_WHERE}: ")
        else:
            return _Storage(plan, plan.reason)
    memory.check(_WHERE, k * _VECTORS * row_stride(n) * dtype.itemsize, device, budget=budget)
    return _Storage(None, "recomputed in a second pass" + (f": {shortage}" if shortage else ", as asked for"))
