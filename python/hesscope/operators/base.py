"""Symmetric operators: what every Krylov method in the package works on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from hesscope import _ops

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

_VECTOR_DTYPES = (torch.float32, torch.float64)


class FusedSteps(Protocol):
    """K Lanczos recurrences whose steps an operator takes itself, product included.

    What they hold is a copy: the rows they started from are not written before ``hand_back``.
    """

    def step(self, alpha: Tensor, beta: Tensor, *, breakdown_tolerance: float) -> None:
        """Take a step of every recurrence; its coefficients go to ``alpha, beta [K]``."""

    def hand_back(self, v: Tensor, v_prev: Tensor) -> None:
        """Write where the recurrences stand now to rows ``[K, n]``."""


class SymmetricOperator(ABC):
    """A symmetric linear map on vectors of length n, known by its products.

    Subclasses implement :meth:`_rows`; everything else is shared: checks of the input, the count of
    products, ``@`` and the conversion to SciPy. Those that find ``v'Hv`` without a product override
    :meth:`_forms`.

    Parameters
    ----------
    n
        Number of rows and columns, at least 1.
    dtype
        float32 or float64: the dtype of the vectors.
    device
        Where the vectors live.

    Attributes
    ----------
    products
        Products with the operator since creation, one per vector; a quadratic form counts as one.
    bitwise_rows
        True if the product of a vector has the same bits whatever vectors it is batched with.
    """

    bitwise_rows: bool = False
    writes_into: bool = False  # _rows_into saves memory: a Krylov run then keeps one buffer for all products

    def __init__(self, n: int, *, dtype: torch.dtype, device: torch.device | str) -> None:
        if n < 1:
            msg = f"{type(self).__name__}: n must be at least 1, got {n}"
            raise ValueError(msg)
        if dtype not in _VECTOR_DTYPES:
            msg = f"{type(self).__name__}: dtype must be torch.float32 or torch.float64, got {dtype}"
            raise TypeError(msg)
        self.shape: tuple[int, int] = (n, n)
        self.dtype = dtype
        self.device = torch.device(device)
        self.products = 0

    @abstractmethod
    def _rows(self, vectors: Tensor) -> Tensor:
        """Multiply checked rows ``[K, n]``; the result has the same shape, dtype and device."""

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        """Write the products of checked rows to ``out [K, n]``; overridden with ``writes_into = True``."""
        out.copy_(self._rows(vectors))

    def fused_steps(self, v: Tensor, v_prev: Tensor, scalars: Tensor) -> FusedSteps | None:  # noqa: ARG002
        """Return a faster way to take Lanczos steps than one product after another, or None.

        ``v, v_prev [K, n]`` and ``scalars [K, 4]``, which each step writes, are those of a
        ``krylov.recurrence.Recurrence``. Whoever takes a step counts its K products.
        """
        return None

    def _forms(self, vectors: Tensor) -> Tensor:
        """Return ``v'Hv`` of checked rows ``[K, n]``, each contiguous, as ``[K]``, float64."""
        products = self._rows(vectors).detach().contiguous()
        return _ops.multi_dot(vectors[:, None, :], products)[:, 0]

    def layers(self) -> tuple[slice, ...]:
        """Return ranges of coordinates that belong together, in order, covering all n: here a single one.

        Entries of H between layers can be kept out of an estimate of its trace, see :func:`hesscope.trace`.
        """
        return (slice(0, self.shape[0]),)

    def quadratic_forms(self, vectors: Tensor) -> Tensor:
        """Return ``v'Hv`` for every row of ``vectors [K, n]``: ``[K]``, float64.

        Cheaper than products where the operator knows how; Hessians of captured losses take one forward pass
        with derivatives, about half of a product.

        Parameters
        ----------
        vectors
            As for :meth:`rows`.

        Returns
        -------
        Tensor
            Shape ``[K]``, on the device of the operator.

        Raises
        ------
        ValueError, TypeError
            As :meth:`rows`.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.shape[0]:
            shape = list(vectors.shape)
            msg = f"quadratic_forms: vectors must have shape [K, {self.shape[0]}], got {shape}"
            raise ValueError(msg)
        self._check(vectors, "quadratic_forms")
        if vectors.shape[0] == 0:
            return torch.zeros(0, dtype=torch.float64, device=self.device)
        vectors = vectors.detach()
        forms = self._forms(vectors if vectors.stride(1) == 1 else vectors.contiguous())
        self.products += vectors.shape[0]
        return forms

    def rows(self, vectors: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Multiply every row: ``[K, n] -> [K, n]``, row r of the result being ``H @ vectors[r]``.

        Parameters
        ----------
        vectors
            Shape ``[K, n]``, the dtype and device of the operator. Not modified.
        out
            Where the products go, of the same shape, dtype and device and not overlapping ``vectors``: new
            memory if None. Fresh memory of this size costs more than many a product.

        Returns
        -------
        Tensor
            Shape ``[K, n]``: ``out``, if given.

        Raises
        ------
        ValueError
            If the shape or the device is another.
        TypeError
            If the dtype is another.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.shape[0]:
            msg = f"rows: vectors must have shape [K, {self.shape[0]}], got {list(vectors.shape)}"
            raise ValueError(msg)
        self._check(vectors, "rows")
        if out is not None:
            if out.shape != vectors.shape:
                msg = (
                    f"rows: out must have the shape of vectors, {list(vectors.shape)}, got {list(out.shape)}"
                )
                raise ValueError(msg)
            self._check(out, "rows", "out")
        if vectors.shape[0] == 0:
            return vectors.clone() if out is None else out
        if out is None:
            out = self._rows(vectors)
        else:
            self._rows_into(vectors, out)
        self.products += vectors.shape[0]
        return out

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Multiply ``v [n] -> [n]`` or the columns of ``V [n, K] -> [n, K]``, as NumPy does."""
        if vectors.ndim not in (1, 2) or vectors.shape[0] != self.shape[0]:
            n = self.shape[0]
            msg = f"@: the right operand must have shape [{n}] or [{n}, K], got {list(vectors.shape)}"
            raise ValueError(msg)
        self._check(vectors, "@")
        if vectors.ndim == 1:
            return self.rows(vectors[None, :])[0]
        return self.rows(vectors.T.contiguous()).T

    def _check(self, vectors: Tensor, where: str, name: str = "vectors") -> None:
        if vectors.dtype != self.dtype:
            msg = f"{where}: {name} must be {self.dtype}, got {vectors.dtype}"
            raise TypeError(msg)
        if vectors.device != self.device:
            msg = f"{where}: {name} must be on {self.device}, got {vectors.device}"
            raise ValueError(msg)

    def fingerprint(self) -> Hashable:
        """Return a key that changes when what the operator depends on (weights, data) changes.

        A Krylov run records it at the start and stops with an error if it has changed midway.
        """
        return None

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator: JSON-able, no tensors."""
        return {"operator": type(self).__name__, "n": self.shape[0], "dtype": str(self.dtype)}

    def __repr__(self) -> str:
        words = self.description()
        return f"<{words['operator']}, {self.shape[0]} x {self.shape[1]}, {words['dtype']}, {self.device}>"

    def to_scipy(self) -> LinearOperator:
        """Return a ``scipy.sparse.linalg.LinearOperator`` on NumPy arrays of the same dtype.

        Products through it are counted like all others; tensors move to and from the host.
        """
        import numpy as np
        from scipy.sparse.linalg import LinearOperator

        def matmat(block: np.ndarray) -> np.ndarray:
            columns = torch.from_numpy(np.ascontiguousarray(block)).to(self.device, self.dtype)
            return (self @ columns).cpu().numpy()

        numpy_dtype = np.float32 if self.dtype == torch.float32 else np.float64
        return LinearOperator(
            self.shape, matvec=matmat, matmat=matmat, rmatvec=matmat, rmatmat=matmat, dtype=numpy_dtype
        )
