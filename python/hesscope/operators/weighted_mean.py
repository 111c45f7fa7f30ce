"""The weighted mean of several operators."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from hesscope.operators.base import SymmetricOperator


class WeightedMean(SymmetricOperator):
    """``sum_g w_g H_g / sum_g w_g``. Each of its products is one of every operator.

    Parameters
    ----------
    operators
        At least one, all of the same size, dtype and device.
    weights
        Positive, one for each.
    """

    def __init__(self, operators: Sequence[SymmetricOperator], weights: Sequence[float]) -> None:
        first = operators[0]
        super().__init__(first.shape[0], dtype=first.dtype, device=first.device)
        total = sum(weights)
        self._operators, self._shares = list(operators), [weight / total for weight in weights]
        self.bitwise_rows = all(operator.bitwise_rows for operator in operators)

    def _rows(self, vectors: Tensor) -> Tensor:
        products = self._operators[0].rows(vectors).detach() * self._shares[0]
        for operator, share in zip(self._operators[1:], self._shares[1:], strict=True):
            products.add_(operator.rows(vectors).detach(), alpha=share)
        return products

    def _forms(self, vectors: Tensor) -> Tensor:
        forms = torch.zeros(vectors.shape[0], dtype=torch.float64, device=self.device)
        for operator, share in zip(self._operators, self._shares, strict=True):
            forms += share * operator.quadratic_forms(vectors)
        return forms

    def layers(self) -> tuple[slice, ...]:
        """Return those of the operators, which share their parameters."""
        return self._operators[0].layers()

    def fingerprint(self) -> Hashable:
        """Return those of the operators."""
        return tuple(operator.fingerprint() for operator in self._operators)

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return {
            **super().description(),
            "operator": "weighted mean",
            "shares": self._shares,
            "of": [operator.description() for operator in self._operators],
        }
