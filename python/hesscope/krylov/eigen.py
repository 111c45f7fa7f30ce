"""Extreme eigenpairs by thick-restart Lanczos."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.krylov.basis_plan import BasisPlan, plan_basis
from hesscope.krylov.eigen_report import Settings, refined_capacity
from hesscope.krylov.eigen_search import Search
from hesscope.krylov.eigen_state import EigenState
from hesscope.krylov.recurrence import row_stride, squared_norms
from hesscope.krylov.right_hand_sides import require_like
from hesscope.krylov.wanted import WHICH
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, RunFailed, Status

_WHERE = "eigenpairs"
_TOL = {torch.float32: 1e-4, torch.float64: 1e-8}
_CYCLES = 100  # the default limit: so many times the basis


def eigenpairs(
    operator: SymmetricOperator,
    k: int = 10,
    *,
    which: str = "largest",
    tol: float | None = None,
    max_products: int | None = None,
    seed: int = 0,
    initial: Tensor | Eigenpairs | None = None,
    block_size: int = 1,
    check_missed: bool | None = None,
    progress: bool = False,
    keep_state: bool = False,
    verify: bool = True,
    basis: str | None = None,
    memory_budget: int | None = None,
) -> Eigenpairs:
    """Compute k extreme eigenpairs by thick-restart Lanczos, and measure their residuals.

    Parameters
    ----------
    operator
        n x n and symmetric, positive or not.
    k
        How many, at most n. Meant for k up to about 50.
    which
        "largest" or "smallest" (algebraically), "both_ends" (half from each, the odd one from the upper),
        or "magnitude".
    tol
        A pair has converged when ``|H x - value x| <= tol * |H|``. Default: 1e-4 in float32, 1e-8 in float64.
    max_products
        Limit of the search and the check together; default: 100 times the size of the basis. The k products
        that measure the residuals come on top.
    seed
        Of the random start.
    initial
        Shape ``[j, n]``, the dtype and device of the operator, rows independent: where to start, such as
        ``vectors`` of an earlier, similar operator. If they still hold, they cost j products. Or an
        Eigenpairs: one with a state (``keep_state=True``) is continued, with the same arguments and the same
        operator, as if it had not been stopped (bitwise for operators with ``bitwise_rows``; one product
        checks the operator); of another, the vectors are taken.
    block_size
        Vectors multiplied together. More than 1 needs more products; it pays where a batch of products is
        much cheaper than one after the other.
    check_missed
        Look for eigenpairs that one starting vector cannot see (copies of a multiple eigenvalue) by a
        Krylov space started at random, orthogonal to those found: at least ``max(k + 10, 20)`` products.
        Default: yes, but not with ``initial``.
    progress
        Show a bar on stderr.
    keep_state
        Keep the basis in the result, ``state``, so that a run that was stopped can be continued; ``save``
        writes it with ``state=True``.
    verify
        Measure the residuals with k fresh products at the end. Without, they are those of the recurrence:
        the cheaper check along a training run, ``verified`` is False.
    basis, memory_budget
        Where the basis is kept, and the bytes it may take: see :func:`hesscope.plan_basis`. A basis in
        bfloat16 leads to residuals of about 2^-8 |H|, from which a smaller one that is not rounded goes on.

    Returns
    -------
    Eigenpairs
        With ``status`` CONVERGED; MAX_PRODUCTS; NOISE_FLOOR, where the products are not precise enough
        for ``tol``; INTERRUPTED or NONFINITE_OPERATOR, where ``converged`` says which pairs can be used.
        All but the first come with a warning.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value, or the very first product is NaN or infinite.
    MemoryError
        If the basis fits neither the memory nor the disk; raised before any product.
    RunFailed
        If a product raises an error after the first; ``partial`` is the Eigenpairs found before, unverified.
    RuntimeError
        If the weights or the data behind the operator change during the run: what was found mixes the two.

    Notes
    -----
    ``max(2k + 10, k + 20)`` vectors of length n and a few more. A step reads the basis once, with blocks or
    a basis in bfloat16 twice.
    Where n is not larger than that, the basis grows to the whole space and the answer is that of a dense
    solver. Converged pairs stay in the basis and go on improving ("soft locking"): locking them out would
    save the projection on few vectors and freeze their errors into all that follow.

    References
    ----------
    Wu and Simon (2000), SIAM J. Matrix Anal. Appl. 22, 602-616.
    """
    began = time.perf_counter()
    settings = _settings(
        operator, k, which, tol, max_products, seed, block_size, keep_state=keep_state, verify=verify
    )
    start = _start(operator, initial)
    fresh = initial is None or isinstance(start, EigenState)
    check = fresh if check_missed is None else check_missed
    plan = _plan(operator, settings, start, basis, memory_budget)
    if isinstance(start, EigenState):
        start.must_agree(settings, plan)
    limit = _CYCLES * plan.num_vectors if settings.max_products is None else settings.max_products
    search = Search(operator, settings, limit=limit, plan=plan, progress=progress)

    def result_of(found: dict[str, Any]) -> Eigenpairs:
        return Eigenpairs(
            **found,
            which=settings.which,
            seconds=time.perf_counter() - began,
            memory_bytes=plan.device_bytes,
            operator=operator.description(),
        )

    try:
        result = result_of(search.run(check_missed=check, initial=start))
    except RunFailed as failure:
        failure.partial = result_of(failure.partial)
        raise
    if result.status is not Status.CONVERGED:
        warnings.warn(f"{_WHERE}: {result.message}", RuntimeWarning, stacklevel=2)
    return result


def _plan(
    operator: SymmetricOperator,
    settings: Settings,
    start: Tensor | EigenState | None,
    basis: str | None,
    memory_budget: int | None,
) -> BasisPlan:
    n, k, block = operator.shape[0], settings.k, settings.block
    given = start.shape[0] if isinstance(start, Tensor) else 0
    capacity = max(2 * k + 10, k + 20, given + k + 10 if given else 0) + 2 * (block - 1)
    if isinstance(start, EigenState):
        capacity = start.numbers["capacity"]
    plan = plan_basis(
        n,
        min(capacity, n),
        dtype=operator.dtype,
        device=operator.device,
        # Pending rows, the last ones, their products; the pairs and theirs.
        working_vectors=3 * block + 2 * k + given,
        basis=basis,
        memory_budget=memory_budget,
        where=_WHERE,
    )
    if plan.storage != "bfloat16":
        return plan
    row = row_stride(n) * operator.dtype.itemsize
    refining = (refined_capacity(k) + 3 * block + 3 * k) * row
    return replace(plan, device_bytes=max(plan.device_bytes, refining))


def _settings(
    operator: SymmetricOperator,
    k: int,
    which: str,
    tol: float | None,
    max_products: int | None,
    seed: int,
    block_size: int,
    *,
    keep_state: bool,
    verify: bool,
) -> Settings:
    if not isinstance(operator, SymmetricOperator):
        msg = (
            f"{_WHERE}: operator must be a SymmetricOperator (hesscope.from_matrix, from_function and "
            f"from_scipy make one), got {type(operator).__name__}"
        )
        raise TypeError(msg)
    n = operator.shape[0]
    number = _checks.integer(_WHERE, "k", k, least=1)
    if number > n:
        msg = f"{_WHERE}: k must be at most n = {n}, got {number}"
        raise ValueError(msg)
    limit = None if max_products is None else _checks.integer(_WHERE, "max_products", max_products, least=1)
    return Settings(
        k=number,
        which=_checks.choice(_WHERE, "which", which, WHICH),
        tol=_TOL[operator.dtype] if tol is None else _tolerance(tol),
        max_products=limit,
        seed=_checks.integer(_WHERE, "seed", seed),
        block=min(_checks.integer(_WHERE, "block_size", block_size, least=1, below=n + 1), n),
        keep_state=bool(keep_state),
        verify=bool(verify),
    )


def _tolerance(tol: float) -> float:
    value = _checks.real(_WHERE, "tol", tol)
    if value <= 0 or math.isinf(value):
        msg = f"{_WHERE}: tol must be positive and finite, got {value}"
        raise ValueError(msg)
    return value


def _start(operator: SymmetricOperator, initial: Tensor | Eigenpairs | None) -> Tensor | EigenState | None:
    if isinstance(initial, Eigenpairs):
        state: EigenState | None = initial.state
        if state is None:
            return _initial(operator, initial.vectors)
        if state.rows.shape[1] != operator.shape[0] or state.rows.dtype != operator.dtype:
            was, now = (state.rows.shape[1], state.rows.dtype), (operator.shape[0], operator.dtype)
            msg = f"{_WHERE}: initial holds a state with n={was[0]} and {was[1]}, got n={now[0]} and {now[1]}"
            raise ValueError(msg)
        return state
    return None if initial is None else _initial(operator, initial)


def _initial(operator: SymmetricOperator, initial: Tensor) -> Tensor:
    """Check the rows given as a start, and return them orthonormal: ``[j, n]``."""
    n = operator.shape[0]
    if not isinstance(initial, Tensor):
        msg = f"{_WHERE}: initial must be a tensor [j, {n}], got {type(initial).__name__}"
        raise TypeError(msg)
    if initial.ndim != 2 or initial.shape[1] != n or not 1 <= initial.shape[0] <= n:
        msg = f"{_WHERE}: initial must have shape [j, {n}] with 1 <= j <= n, got {list(initial.shape)}"
        raise ValueError(msg)
    require_like(_WHERE, "initial", initial, operator)
    initial = initial.detach().contiguous()
    norms = squared_norms(initial).sqrt().to(initial.dtype)[:, None]
    if not bool((norms > 0).all()):
        msg = f"{_WHERE}: initial must have no row of zeros"
        raise ValueError(msg)
    orthonormal, triangle = torch.linalg.qr((initial / norms).T)
    sizes = triangle.diagonal().abs()
    if float(sizes.min()) <= 1e2 * torch.finfo(initial.dtype).eps * float(sizes.max()):
        msg = f"{_WHERE}: initial must have independent rows, but one lies in the span of the others"
        raise ValueError(msg)
    rows: Tensor = orthonormal.T.contiguous()
    return rows
