"""The block of an operator on a subset of the coordinates."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from hesscope.operators.base import SymmetricOperator

Indices = slice | Tensor | Sequence[int]
Coordinates = slice | Tensor  # checked: a slice with both ends and step 1, or int64 on the device


def block(operator: SymmetricOperator, indices: Indices) -> SymmetricOperator:
    """Return the principal submatrix ``H[indices, indices]``: curvature while all else stands still.

    Parameters
    ----------
    operator
        n x n.
    indices
        Which coordinates, in the order in which the block shall have them: a slice with step 1, or distinct
        integers in ``[0, n)``. ``objective.slices`` and :func:`hesscope.parameter_groups` name them.

    Returns
    -------
    SymmetricOperator
        b x b for b indices. A product costs one product of ``operator``, where it counts too, and 2 vectors
        of length n.

    Raises
    ------
    TypeError, ValueError
        If the indices are none, repeat, or lie outside.
    """
    if not isinstance(operator, SymmetricOperator):
        msg = f"block: operator must be a SymmetricOperator, got {type(operator).__name__}"
        raise TypeError(msg)
    return _Block(operator, coordinates("block", "indices", indices, operator))


class _Block(SymmetricOperator):
    """What :func:`block` returns."""

    def __init__(self, operator: SymmetricOperator, indices: Coordinates) -> None:
        super().__init__(size(indices), dtype=operator.dtype, device=operator.device)
        self._operator, self._indices = operator, indices
        self.bitwise_rows = operator.bitwise_rows

    def _rows(self, vectors: Tensor) -> Tensor:
        shape = (vectors.shape[0], self._operator.shape[0])
        whole = torch.zeros(shape, dtype=self.dtype, device=self.device)
        whole[:, self._indices] = vectors
        return self._operator.rows(whole)[:, self._indices].contiguous()

    def fingerprint(self) -> Hashable:
        """Return that of the whole operator."""
        return self._operator.fingerprint()

    def description(self) -> dict[str, object]:
        """Return the size of the block, and what it is of."""
        return {**super().description(), "operator": "block", "of": self._operator.description()}


def size(indices: Coordinates) -> int:
    """Return how many coordinates there are."""
    return indices.stop - indices.start if isinstance(indices, slice) else indices.shape[0]


def coordinates(where: str, name: str, indices: object, operator: SymmetricOperator) -> Coordinates:
    """Return checked indices; raise TypeError or ValueError if they are no subset of the coordinates."""
    n = operator.shape[0]
    if isinstance(indices, slice):
        start, stop = indices.start or 0, n if indices.stop is None else indices.stop
        if not 0 <= start < stop <= n or indices.step not in (None, 1):
            msg = f"{where}: {name} must lie within [0, {n}) with step 1 and not be empty, got {indices}"
            raise ValueError(msg)
        return slice(start, stop)
    try:
        found = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"{where}: {name} must be a slice or integers, got {type(indices).__name__}"
        raise TypeError(msg) from error
    if (
        found.ndim != 1
        or found.dtype.is_floating_point
        or found.dtype.is_complex
        or found.dtype == torch.bool
    ):
        msg = f"{where}: {name} must be a slice or integers [b], got {found.dtype} {list(found.shape)}"
        raise TypeError(msg)
    if found.numel() == 0 or int(found.min()) < 0 or int(found.max()) >= n:
        ends = "none" if found.numel() == 0 else f"{int(found.min())} to {int(found.max())}"
        msg = f"{where}: {name} must lie within [0, {n}) and not be empty, got {ends}"
        raise ValueError(msg)
    if found.unique().numel() < found.numel():
        msg = f"{where}: {name} must be distinct, got {found.numel() - found.unique().numel()} twice or more"
        raise ValueError(msg)
    return found.to(operator.device, torch.int64)
