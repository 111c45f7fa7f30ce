"""Operators made of another by a shift or a factor."""

from __future__ import annotations

import math
from collections.abc import Hashable

from torch import Tensor

from hesscope import _checks
from hesscope.operators.base import SymmetricOperator


def shifted(operator: SymmetricOperator, shift: float) -> SymmetricOperator:
    """Return ``H + shift * I``. Its products count for both operators."""
    return _Affine(operator, 1.0, _finite("shifted", "shift", shift))


def scaled(operator: SymmetricOperator, factor: float) -> SymmetricOperator:
    """Return ``factor * H``. Its products count for both operators."""
    return _Affine(operator, _finite("scaled", "factor", factor), 0.0)


class _Affine(SymmetricOperator):
    """``factor * H + shift * I``."""

    def __init__(self, operator: SymmetricOperator, factor: float, shift: float) -> None:
        super().__init__(operator.shape[0], dtype=operator.dtype, device=operator.device)
        self._operator, self._factor, self._shift = operator, factor, shift
        self.bitwise_rows = operator.bitwise_rows

    def _rows(self, vectors: Tensor) -> Tensor:
        products = self._operator.rows(vectors)
        if self._factor != 1.0:
            products = products * self._factor
        return products.add(vectors, alpha=self._shift) if self._shift else products

    def _forms(self, vectors: Tensor) -> Tensor:
        forms = self._factor * self._operator.quadratic_forms(vectors)
        return forms + self._shift * vectors.double().square().sum(dim=1) if self._shift else forms

    def layers(self) -> tuple[slice, ...]:
        return self._operator.layers()

    def fingerprint(self) -> Hashable:
        return self._operator.fingerprint()

    def description(self) -> dict[str, object]:
        return {
            **super().description(),
            "operator": "affine",
            "factor": self._factor,
            "shift": self._shift,
            "of": self._operator.description(),
        }


def _finite(where: str, name: str, value: float) -> float:
    number = _checks.real(where, name, value)
    if not math.isfinite(number):
        msg = f"{where}: {name} must be finite, got {number}"
        raise ValueError(msg)
    return number
