"""Operators from functions: a user's product with a symmetric matrix, or a SciPy operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope import _checks, _ops
from hesscope.operators.base import SymmetricOperator

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

_SYMMETRY_PROBES = 3  # three pairs: an asymmetric function passes by chance about once in 1e6
# Relative |u'Hv - v'Hu| above which a function is called asymmetric: far above the noise of finite
# differences and of low precision inside f, far below a wrong sign or a missing transpose.
_ALLOWED = {torch.float32: 1e-2, torch.float64: 1e-4}


def from_function(
    f: Callable[[Tensor], Tensor],
    n: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    batched: bool = False,
    check_symmetric: bool = True,
) -> SymmetricOperator:
    """Make an operator of a function that multiplies a vector by a symmetric matrix.

    Parameters
    ----------
    f
        Gets one vector ``[n]`` and returns ``H v [n]``; with ``batched=True`` rows ``[K, n]``. It must be
        linear, must not modify its argument, and must return the same dtype on the same device.
    n
        Length of the vectors.
    dtype, device
        Of the vectors.
    batched
        Whether f takes rows.
    check_symmetric
        Compare u'Hv with v'Hu for three random vectors, here and now: three products, which count.

    Raises
    ------
    ValueError
        If f is not symmetric, returns NaN or inf, a wrong shape or device, or modifies its argument.
    TypeError
        If f is not callable, n is no integer, or f returns something else than a tensor of ``dtype``.
    """
    if not callable(f):
        msg = f"from_function: f must be callable, got {type(f).__name__}"
        raise TypeError(msg)
    n = _checks.integer("from_function", "n", n, least=1)
    operator = _Function(f, n, dtype=dtype, device=device, batched=batched)
    if check_symmetric:
        _check_symmetric(operator)
    return operator


def from_scipy(
    operator: LinearOperator,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    check_symmetric: bool = True,
) -> SymmetricOperator:
    """Make an operator of a ``scipy.sparse.linalg.LinearOperator`` that is symmetric.

    Parameters
    ----------
    operator
        Anything ``aslinearoperator`` takes; K vectors go to its ``matmat`` as float64 or float32 columns.
    dtype
        Of the vectors; default: the operator's, integers becoming float64.
    device
        Where the vectors live; each product moves them to the host and back.
    check_symmetric
        As in :func:`from_function`.

    Raises
    ------
    TypeError, ValueError
        As :func:`from_function`; also if the operator is complex or not square.
    """
    import numpy as np
    from scipy.sparse.linalg import aslinearoperator

    linear = aslinearoperator(operator)
    if linear.shape[0] != linear.shape[1]:
        msg = f"from_scipy: operator must be square, got shape {list(linear.shape)}"
        raise ValueError(msg)
    if np.dtype(linear.dtype).kind == "c":
        msg = f"from_scipy: operator must be real, got dtype {linear.dtype}"
        raise TypeError(msg)
    vectors = dtype or (torch.float32 if np.dtype(linear.dtype) == np.float32 else torch.float64)

    def rows(block: Tensor) -> Tensor:
        columns = np.ascontiguousarray(block.cpu().numpy().T)
        products = np.ascontiguousarray(np.asarray(linear.matmat(columns)).T)
        return torch.from_numpy(products).to(block.device, vectors)

    made = _Function(rows, linear.shape[0], dtype=vectors, device=device, batched=True)
    made.name = f"scipy {type(linear).__name__}"
    if check_symmetric:
        _check_symmetric(made)
    return made


class _Function(SymmetricOperator):
    """What :func:`from_function` returns."""

    def __init__(
        self,
        f: Callable[[Tensor], Tensor],
        n: int,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
        batched: bool,
    ) -> None:
        super().__init__(n, dtype=dtype, device=device)
        self._f, self._batched = f, batched
        self.name = getattr(f, "__qualname__", type(f).__name__)

    def _rows(self, vectors: Tensor) -> Tensor:
        if self._batched:
            return self._call(vectors)
        products = torch.empty_like(vectors, memory_format=torch.contiguous_format)
        for vector, product in zip(vectors, products, strict=True):
            product.copy_(self._call(vector))
        return products

    def _call(self, argument: Tensor) -> Tensor:
        version = argument._version
        result = self._f(argument)
        what = f"from_function: f ({self.name})"
        if argument._version != version:
            msg = f"{what} must not modify its argument"
            raise ValueError(msg)
        if not isinstance(result, Tensor):
            msg = f"{what} must return a tensor, got {type(result).__name__}"
            raise TypeError(msg)
        if result.shape != argument.shape or result.device != argument.device:
            msg = (
                f"{what} must return {list(argument.shape)} on {argument.device}, got {list(result.shape)} "
                f"on {result.device}"
            )
            raise ValueError(msg)
        if result.dtype != argument.dtype:
            msg = f"{what} must return {argument.dtype}, got {result.dtype}"
            raise TypeError(msg)
        return result.detach()

    def description(self) -> dict[str, object]:
        return {**super().description(), "operator": self.name}


def _check_symmetric(operator: _Function) -> None:
    probes = _ops.probes(
        _SYMMETRY_PROBES, operator.shape[0], kind="gaussian", dtype=operator.dtype, device=operator.device
    )
    products = operator.rows(probes).double()
    what = f"from_function: f ({operator.name})"
    if not bool(products.isfinite().all()):
        msg = f"{what} must return finite products, got NaN or inf for a random vector"
        raise ValueError(msg)
    forms = probes.double() @ products.T  # [i, j] = u_i' H u_j
    norms = products.norm(dim=1)
    size = float(norms[:, None].add(norms).max())
    defect = float((forms - forms.T).abs().max()) / size if size > 0 else 0.0
    if defect > _ALLOWED[operator.dtype]:
        msg = (
            f"{what} must be symmetric, but |u'Hv - v'Hu| is {defect:.2g} of |Hu| + |Hv| for random u, v; "
            "check_symmetric=False skips this test"
        )
        raise ValueError(msg)
