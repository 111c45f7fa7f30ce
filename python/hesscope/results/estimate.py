"""What every computation returns: a value, its error, and why it stopped."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from torch import Tensor

_CENTRAL = 0.5  # how long the shorter side of an interval must be to be printed as its half


class Status(enum.Enum):
    """Why an iteration stopped. The value is the sentence a person reads."""

    COMPLETE = "All requested steps were taken."
    CONVERGED = "Every requested quantity reached its tolerance."
    INVARIANT_SUBSPACE = "The residual vanished: the Krylov space is exhausted and the Ritz values are exact."
    MAX_PRODUCTS = "The limit on products was reached before every quantity reached its tolerance."
    NOISE_FLOOR = "Products with H are too noisy to go on: the error left is noise, not convergence."
    INDEFINITE = "H + shift I has negative curvature, but the method needs a positive definite operator."
    SINGULAR = "H + shift I is singular and b leaves its range: there is a least-squares solution only."
    OPERATOR_FAILED = "A product raised an error. What was computed before is valid and can be resumed."
    STORAGE_FAILED = (
        "The storage of the basis failed: the disk may be full. What was computed before is valid and can be "
        "resumed."
    )
    INTERRUPTED = "Stopped by the user. What was computed is valid and can be resumed."
    NONFINITE_OPERATOR = (
        "The operator returned NaN or inf. Check the loss at these parameters, or compute the products in "
        "float64."
    )


@dataclass(frozen=True)
class Estimate:
    """A number with its error.

    Attributes
    ----------
    value
        The estimate.
    error
        Half the width of ``interval``; ``inf`` where only one side, or none, is known.
    interval
        (lower, upper), at 95 %. It contains ``value`` but need not be centred on it.
    products
        Products with the operator that the estimate rests on.
    method
        How value and interval were obtained, in words.
    status
        Why the computation behind it stopped.
    sampling
        The part of the error that more probes reduce (``inf`` with a single probe).
    quadrature
        The part of the error that more steps reduce.
    """

    value: float
    error: float
    interval: tuple[float, float]
    products: int
    method: str
    status: Status
    sampling: float = 0.0
    quadrature: float = 0.0

    def __str__(self) -> str:
        lower, upper = self.interval
        # Half of the width says where the truth is only for a value near the middle: a bound is at an end.
        shorter = min(self.value - lower, upper - self.value)
        if math.isfinite(self.error) and shorter >= _CENTRAL * self.error:
            return f"{self.value:.6g} ± {self.error:.2g}"
        return f"{self.value:.6g} in ({lower:.6g}, {upper:.6g})"


@dataclass(frozen=True, eq=False)
class Band:
    """A curve with an error band: one value per point of a grid.

    Attributes
    ----------
    grid, value, lower, upper
        Shape ``[G]``, float64, on the CPU. ``lower`` and ``upper`` hold pointwise at 95 %, and are the
        widest possible (0 or the range of a distribution function, inf for a density) where one probe
        leaves the sampling error unknown.
    sigma
        Width of the Gaussian that smooths the curve, in the units of the grid; 0 for a step function.
    """

    grid: Tensor
    value: Tensor
    lower: Tensor
    upper: Tensor
    sigma: float
