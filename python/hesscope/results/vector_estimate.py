"""A vector with an error for each of its entries."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hesscope.results.estimate import Status


@dataclass(frozen=True, eq=False)
class VectorEstimate:
    """Numbers with their errors.

    Attributes
    ----------
    value, error
        Shape ``[n]``, float64, the device of the operator: the estimate, and the half-width of an interval
        around each entry, each at 95 % by itself; ``method`` says where it is less than an interval.
        ``inf`` where the error is unknown.
    products
        Products with the operator that the estimate rests on.
    method
        How value and error were obtained, in words.
    status
        Why the computation behind it stopped.
    """

    value: Tensor
    error: Tensor
    products: int
    method: str
    status: Status
