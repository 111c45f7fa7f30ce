"""Sparse matrices in compressed rows: ``csr_matvec`` and ``csr_check``."""

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
