"""The change of the Hessian along a direction, as an operator."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from torch import Tensor

from hesscope.curvature.fingerprint import address_key, fingerprint
from hesscope.objective.checksum import checksum
from hesscope.operators import SymmetricOperator
from hesscope.third_order.directions import rows

if TYPE_CHECKING:
    from hesscope.third_order.contract import ThirdOrder


class HessianChange(SymmetricOperator):
    """``dH/dd``: the derivative of an objective's Hessian along a direction d.

    Parameters
    ----------
    third
        The third derivative.
    direction
        ``[n]``; it is copied and not normalised.

    Raises
    ------
    ValueError, TypeError
        If the direction has another shape, device or dtype.
    """

    def __init__(self, third: ThirdOrder, direction: Tensor) -> None:
        objective = third.objective
        if isinstance(direction, Tensor) and direction.ndim != 1:
            msg = f"operator: d must have shape [{objective.n}], got {list(direction.shape)}"
            raise ValueError(msg)
        (row,) = rows(objective, "operator", d=direction)
        super().__init__(objective.n, dtype=objective.dtype, device=objective.device)
        self.third = third
        self.direction = row[0].clone()

    def _rows(self, vectors: Tensor) -> Tensor:
        return self.third.contract(self.direction, vectors)

    def fingerprint(self) -> Hashable:
        """Return a key of weights, buffers, modes, data and direction."""
        here = [self.direction]
        return (fingerprint(self.third.objective), address_key(here), checksum(here))

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return super().description() | {
            "operator": "hessian_change",
            "engine": self.third.engine,
            "direction_norm": float(self.direction.norm()),
            "objective": self.third.objective.description(),
        }
