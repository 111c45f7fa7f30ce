"""How fast the Hessian changes along a segment, by Lanczos on differences of Hessians."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.krylov.eigen import eigenpairs
from hesscope.results import Status
from hesscope.results.lipschitz import LipschitzEstimate
from hesscope.third_order.directions import rows
from hesscope.third_order.displaced import HessianDifference, displaced
from hesscope.third_order.form import TrilinearForm

_WHERE = "lipschitz"
_ROUNDINGS = 8
_PRODUCTS = 60  # with a difference, for each segment


def lipschitz(
    third: TrilinearForm, d: Tensor, radius: float, *, num_segments: int, tol: float, seed: int
) -> LipschitzEstimate:
    """Measure ``|H(b) - H(a)| / |b - a|`` along d; see ``ThirdOrder.lipschitz``."""
    objective = third.objective
    direction = _direction(third, d)
    reach, aim = (_positive(name, value) for name, value in (("radius", radius), ("tol", tol)))
    count = _checks.integer(_WHERE, "num_segments", num_segments, least=1, below=2**31)
    positions = torch.linspace(0, reach, count + 1, dtype=torch.float64)
    operator = third.hessian
    before = operator.products
    rates, errors, status = [], [], Status.CONVERGED
    with displaced(objective, direction) as displacement:
        for a, b in zip(positions[:-1].tolist(), positions[1:].tolist(), strict=True):
            difference = HessianDifference(operator, displacement, a, b)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "eigenpairs: ", RuntimeWarning)  # the status says it
                found = eigenpairs(
                    difference,
                    1,
                    which="magnitude",
                    tol=aim,
                    seed=seed,
                    check_missed=False,
                    max_products=_PRODUCTS,
                    verify=False,
                )
            rounding = _ROUNDINGS * torch.finfo(operator.dtype).eps * difference.size
            rates.append(abs(float(found.values[0])) / (b - a))
            errors.append((float(found.residuals[0]) + rounding) / (b - a))
            if found.status not in (Status.CONVERGED, Status.NOISE_FLOOR):
                status = found.status
            if found.status in (Status.INTERRUPTED, Status.NONFINITE_OPERATOR):
                break
    best = max(range(len(rates)), key=lambda i: rates[i])
    return LipschitzEstimate(
        rates[best],
        math.inf,
        (max(rates[best] - errors[best], 0.0), math.inf),
        operator.products - before,
        f"largest |H(b) - H(a)| / |b - a| of {len(rates)} segments, each by Lanczos on the difference: a "
        "lower bound",
        status,
        positions=positions[: len(rates) + 1],
        rates=torch.tensor(rates, dtype=torch.float64),
        errors=torch.tensor(errors, dtype=torch.float64),
    )


def _direction(third: TrilinearForm, d: Tensor) -> Tensor:
    if isinstance(d, Tensor) and d.ndim != 1:
        msg = f"{_WHERE}: d must have shape [{third.objective.n}], got {list(d.shape)}"
        raise ValueError(msg)
    (row,) = rows(third.objective, _WHERE, d=d)
    length = float(row[0].double().norm())
    if not 0 < length < math.inf:
        msg = f"{_WHERE}: d must be finite and not zero, got a norm of {length}"
        raise ValueError(msg)
    return row[0] / length


def _positive(name: str, value: float) -> float:
    number = _checks.real(_WHERE, name, value)
    if not 0 < number < math.inf:
        msg = f"{_WHERE}: {name} must be positive and finite, got {number}"
        raise ValueError(msg)
    return number
