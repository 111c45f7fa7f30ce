"""Operators from matrices that are held in memory, dense or sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.operators.base import FusedSteps, SymmetricOperator
from hesscope.operators.sparse_steps import SparseSteps

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse

_WHERE = "from_matrix"
_INT32_COLUMNS = 2**31


def from_matrix(
    matrix: Any,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> SymmetricOperator:
    """Make an operator of a symmetric matrix.

    Parameters
    ----------
    matrix
        Shape ``[n, n]``: a dense or sparse (COO, CSR, CSC) torch tensor, a NumPy array, or a SciPy sparse
        matrix or array. Copied. Real; integers become float64.
    dtype
        float32 or float64: of the vectors and of the stored matrix; default: the matrix's own.
    device
        Where to keep it; default: where it is.

    Returns
    -------
    SymmetricOperator
        With ``bitwise_rows``. A dense matrix is read in float64 precision at ``n^2`` elements a product; a
        sparse one is read once for 8 vectors, in Lanczos runs on the CPU together with the recurrence, which
        then keeps a second copy of its vectors.

    Raises
    ------
    TypeError
        If the matrix is complex, of low precision, or no matrix at all.
    ValueError
        If it is not square, not symmetric (asymmetry above the square root of its precision, relative to
        its largest entry), or holds NaN or inf. Smaller asymmetry, as rounding leaves it, is averaged out.
    """
    if isinstance(matrix, Tensor):
        place = matrix.device if device is None else torch.device(device)
        if matrix.layout == torch.strided:
            return _Dense(_symmetric_dense(matrix.detach().cpu(), dtype).to(place))
        return _sparse(_to_scipy(matrix.detach().cpu()), dtype, place)
    place = torch.device("cpu" if device is None else device)
    if hasattr(matrix, "tocsr"):
        return _sparse(matrix, dtype, place)
    if type(matrix).__module__.partition(".")[0] != "numpy" or getattr(matrix, "ndim", 0) != 2:
        got = f"{type(matrix).__name__} {list(getattr(matrix, 'shape', []))}"
        msg = f"{_WHERE}: matrix must be a torch tensor, NumPy array or SciPy sparse matrix [n, n], got {got}"
        raise TypeError(msg)
    return _Dense(_symmetric_dense(_from_numpy(matrix), dtype).to(place))


class _Dense(SymmetricOperator):
    """A dense matrix; products are sums in float64 in an order that depends on n only."""

    bitwise_rows = True

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)
        self._matrix = matrix  # [n, n]

    def _rows(self, vectors: Tensor) -> Tensor:
        basis = self._matrix.expand(vectors.shape[0], -1, -1)
        return _ops.multi_dot(basis, vectors).to(self.dtype)

    def description(self) -> dict[str, object]:
        return {**super().description(), "operator": "dense matrix"}


class _Sparse(SymmetricOperator):
    """A matrix in compressed rows."""

    bitwise_rows = True

    def __init__(self, row_start: Tensor, columns: Tensor, values: Tensor) -> None:
        super().__init__(row_start.shape[0] - 1, dtype=values.dtype, device=values.device)
        self._parts = row_start, columns, values  # [n + 1] int64, [nnz] int32 or int64, [nnz]
        self._spare: list[Tensor] = []  # workspace of an earlier product; popped while in use

    writes_into = True

    def _rows(self, vectors: Tensor) -> Tensor:
        return _ops.csr_matvec(*self._parts, vectors)

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        needed = _ops.csr_matvec_workspace_bytes(vectors, self._parts[2])
        try:
            scratch = self._spare.pop()
        except IndexError:
            scratch = torch.empty(0, dtype=torch.uint8, device=self.device)
        if scratch.numel() < needed:
            scratch = torch.empty(needed, dtype=torch.uint8, device=self.device)
        _ops.csr_matvec(*self._parts, vectors, out=out, scratch=scratch)
        self._spare[:] = [scratch]

    def fused_steps(self, v: Tensor, v_prev: Tensor, scalars: Tensor) -> FusedSteps | None:
        # On CUDA several threads share a long row in csr_matvec; a fused step gives it to one.
        return SparseSteps(self._parts, v, v_prev, scalars) if self.device.type == "cpu" else None

    def description(self) -> dict[str, object]:
        return {**super().description(), "operator": "sparse matrix", "nonzeros": self._parts[2].shape[0]}


def _symmetric_dense(matrix: Tensor, dtype: torch.dtype | None) -> Tensor:
    _check_square(matrix.shape)
    matrix = matrix.to(_vector_dtype(matrix.dtype, dtype), copy=True)
    difference = matrix - matrix.T
    largest, asymmetry = (float(x.abs().max()) if x.numel() else 0.0 for x in (matrix, difference))
    _check_symmetric(largest, asymmetry, matrix.dtype)
    if asymmetry > 0:
        matrix -= difference / 2
    return matrix.contiguous()


def _sparse(
    matrix: scipy.sparse.sparray, dtype: torch.dtype | None, device: torch.device
) -> SymmetricOperator:
    import numpy as np

    _check_square(matrix.shape)
    source = torch.from_numpy(np.empty(0, _numeric(matrix.dtype))).dtype
    target = _vector_dtype(source, dtype)
    csr = matrix.tocsr().astype(np.float32 if target == torch.float32 else np.float64, copy=True)
    csr.sum_duplicates()  # sorts, too
    difference = csr - csr.T.tocsr()
    largest, asymmetry = (float(abs(x.data).max()) if x.nnz else 0.0 for x in (csr, difference))
    _check_symmetric(largest, asymmetry, target)
    if asymmetry > 0:
        csr = (csr - difference * 0.5).tocsr()
        csr.sort_indices()
    row_start = torch.from_numpy(csr.indptr.astype(np.int64))
    index = np.int32 if csr.shape[1] < _INT32_COLUMNS else np.int64
    columns, values = torch.from_numpy(csr.indices.astype(index)), torch.from_numpy(csr.data)
    _ops.csr_check(row_start, columns, csr.shape[1])
    return _Sparse(row_start.to(device), columns.to(device), values.to(device))


def _to_scipy(matrix: Tensor) -> scipy.sparse.sparray:
    import scipy.sparse

    if matrix.layout not in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
        msg = f"{_WHERE}: matrix must be dense, COO, CSR or CSC, got {matrix.layout}"
        raise TypeError(msg)
    if matrix.ndim != 2:
        _check_square(matrix.shape)
    if matrix.dtype.is_floating_point and matrix.dtype not in (torch.float32, torch.float64):
        _vector_dtype(matrix.dtype, None)
    coo = matrix.to_sparse_coo().coalesce()
    indices, values = coo.indices().numpy(), coo.values().numpy()
    return scipy.sparse.coo_array((values, (indices[0], indices[1])), shape=tuple(matrix.shape))


def _check_square(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        msg = f"{_WHERE}: matrix must be square, got shape {list(shape)}"
        raise ValueError(msg)


def _check_symmetric(largest: float, asymmetry: float, dtype: torch.dtype) -> None:
    # A difference is NaN wherever an entry is NaN or inf.
    if not largest < float("inf") or not asymmetry < float("inf"):
        msg = f"{_WHERE}: matrix must be finite, but holds NaN or inf"
        raise ValueError(msg)
    allowed = torch.finfo(dtype).eps ** 0.5
    if asymmetry > allowed * largest:
        msg = (
            f"{_WHERE}: matrix must be symmetric, but the largest |a_ij - a_ji| is {asymmetry / largest:.3g} "
            f"of the largest entry (allowed: {allowed:.1g}). Use (A + A.T) / 2 if that is what you mean"
        )
        raise ValueError(msg)


def _vector_dtype(source: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    if source.is_complex or (source.is_floating_point and source.itemsize < 4 and wanted is None):
        msg = f"{_WHERE}: matrix must be real, float32 or float64, got {source}"
        raise TypeError(msg + ("" if source.is_complex else "; give dtype=torch.float32 to convert"))
    if wanted is not None and wanted not in (torch.float32, torch.float64):
        msg = f"{_WHERE}: dtype must be torch.float32 or torch.float64, got {wanted}"
        raise TypeError(msg)
    if wanted is not None:
        return wanted
    return source if source.is_floating_point else torch.float64


def _from_numpy(matrix: np.ndarray[Any, Any]) -> Tensor:
    import numpy as np

    return torch.from_numpy(np.array(matrix, dtype=_numeric(matrix.dtype)))


def _numeric(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype itself, in native byte order, or float64 for integers of any size and longdouble."""
    import numpy as np

    if dtype.kind not in "fiubc":
        msg = f"{_WHERE}: matrix must hold numbers, got dtype {dtype}"
        raise TypeError(msg)
    if dtype.kind in "iub" or (dtype.itemsize > 8 and dtype.kind == "f"):
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")
