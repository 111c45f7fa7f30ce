"""Sparse matrices in compressed rows: ``csr_matvec``, ``csr_lanczos_update`` and ``csr_check``."""

from __future__ import annotations

from torch import Tensor

from hesscope import _core
from hesscope._ops._call import MINIMUM_WORKSPACE, call, workspace
from hesscope._ops._library import register


def csr_matvec_workspace_bytes(x: Tensor, values: Tensor) -> int:
    """Bytes of scratch memory that :func:`csr_matvec` needs for ``x [K, cols]``."""
    if x.ndim != 2:
        return MINIMUM_WORKSPACE
    k, cols = x.shape
    return max(_core.csr_matvec_workspace_bytes(k, cols, values), MINIMUM_WORKSPACE)


def csr_matvec(
    row_start: Tensor,
    columns: Tensor,
    values: Tensor,
    x: Tensor,
    *,
    out: Tensor | None = None,
    scratch: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Multiply K vectors by one sparse matrix, reading it once for every 8 of them.

    Parameters
    ----------
    row_start
        Shape ``[rows + 1]``, int64, contiguous.
    columns
        Shape ``[nnz]``, int32 or int64, contiguous; in any order within a row. Not validated here:
        see :func:`csr_check`.
    values
        Shape ``[nnz]``, float32 or float64, contiguous.
    x
        Shape ``[K, cols]``, the dtype of the values. Rows may be strided, elements may not.
    out
        Shape ``[K, rows]``: where the products go; must not overlap ``x``. New if ``None``.
    scratch
        At least :func:`csr_matvec_workspace_bytes` of uint8, to be used again by a loop. New if ``None``.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        Shape ``[K, rows]``, the dtype of the values.

    Raises
    ------
    ValueError
        If shapes, strides or devices disagree.
    TypeError
        If a dtype is not one of the above.

    Notes
    -----
    Row sums stay in the dtype of the values; the same bits for any K and number of threads.
    Workspace: ``cols * 8`` elements at most, for K > 1.
    """
    values, x = values.detach(), x.detach()
    if out is None:
        out = values.new_empty((*x.shape[:1], max(row_start.numel() - 1, 0)))
    if scratch is None:
        scratch = workspace(csr_matvec_workspace_bytes(x, values), values.device)
    _core.csr_matvec(
        row_start, columns, values, x, out=out, workspace=scratch, call=call(values.device, backend)
    )
    return out


def csr_lanczos_lanes(k: int) -> int:
    """Return W, the width of interleaved storage for ``k <= 8`` recurrences; ValueError for more."""
    return _core.csr_lanczos_lanes(k)


def csr_lanczos_update(
    row_start: Tensor,
    columns: Tensor,
    values: Tensor,
    v: Tensor,
    v_prev: Tensor,
    state: Tensor,
    alpha: Tensor,
    beta: Tensor,
    *,
    breakdown_tolerance: float,
    backend: str = "auto",
) -> None:
    """Take one step of K <= 8 Lanczos recurrences with a sparse matrix, in place.

    :func:`csr_matvec` and :func:`hesscope._ops.lanczos_update` at once, in about half of their memory
    traffic: the vectors stay interleaved between steps, and the residual is stored, rounded to the dtype,
    instead of being computed twice.

    Parameters
    ----------
    row_start, columns, values
        As for :func:`csr_matvec`; n x n and symmetric.
    v
        Shape ``[n, W]`` with ``W = csr_lanczos_lanes(K)``, contiguous, the dtype of the values: the current
        Lanczos vectors, not normalised, column r being that of recurrence r.
    v_prev
        Shape ``[n, W]``: the previous ones, not read in the first step; on return the next ones, and zeros
        in the columns past K.
    state
        Shape ``[K, 4]``, float64, read and written: see :class:`hesscope._ops.LanczosState`.
    alpha, beta
        Shape ``[K]``, float64, any stride, written.
    breakdown_tolerance
        As for :func:`hesscope._ops.lanczos_update`.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Raises
    ------
    ValueError
        If shapes, strides or devices disagree, K > 8, or v and v_prev share memory.
    TypeError
        If a dtype is not one of the above.

    Notes
    -----
    Sums are float64; a recurrence has the same bits for any K and number of threads.
    """
    values, v, v_prev = values.detach(), v.detach(), v_prev.detach()
    k, n = state.shape[0] if state.ndim == 2 else 0, max(row_start.numel() - 1, 0)
    needed = _core.csr_lanczos_update_workspace_bytes(k, n)
    _core.csr_lanczos_update(
        row_start,
        columns,
        values,
        v,
        v_prev,
        state,
        alpha,
        beta,
        breakdown_tolerance=breakdown_tolerance,
        workspace=workspace(needed, values.device),
        call=call(values.device, backend),
    )


def _csr_lanczos_update_impl(
    row_start: Tensor,
    columns: Tensor,
    values: Tensor,
    v: Tensor,
    v_prev: Tensor,
    state: Tensor,
    alpha: Tensor,
    beta: Tensor,
    breakdown_tolerance: float,
) -> None:
    csr_lanczos_update(
        row_start, columns, values, v, v_prev, state, alpha, beta, breakdown_tolerance=breakdown_tolerance
    )


def csr_check(row_start: Tensor, columns: Tensor, cols: int) -> None:
    """Raise ``ValueError``, naming the first bad entry, unless a sparsity pattern is valid.

    Parameters
    ----------
    row_start
        Shape ``[rows + 1]``, int64, on the CPU: must rise from 0 to nnz.
    columns
        Shape ``[nnz]``, int32 or int64, on the CPU: must lie in ``[0, cols)``.
    cols
        Number of columns of the matrix.

    Raises
    ------
    ValueError
        As said, or if a tensor has a wrong shape or is not on the CPU.
    TypeError
        If a dtype is not one of the above.

    Notes
    -----
    O(rows + nnz), once per matrix.
    """
    _core.csr_check(row_start, columns, cols)


register(
    "csr_matvec(Tensor row_start, Tensor columns, Tensor values, Tensor x) -> Tensor",
    csr_matvec,
    lambda row_start, columns, values, x: values.new_empty((x.shape[0], row_start.shape[0] - 1)),  # noqa: ARG005
)
register(
    "csr_lanczos_update(Tensor row_start, Tensor columns, Tensor values, Tensor v, Tensor(a!) v_prev, "
    "Tensor(b!) state, Tensor(c!) alpha, Tensor(d!) beta, float breakdown_tolerance) -> ()",
    _csr_lanczos_update_impl,
    lambda row_start, columns, values, v, v_prev, state, alpha, beta, breakdown_tolerance: None,  # noqa: ARG005
)
