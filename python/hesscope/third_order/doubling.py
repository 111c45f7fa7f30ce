"""Where the largest eigenvalue has doubled along its gradient: predicted, and found by evaluating."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope.krylov.eigen import eigenpairs
from hesscope.objective import Objective
from hesscope.operators import SymmetricOperator
from hesscope.results import Eigenpairs, Status
from hesscope.results.gradient import EigenvalueGradient
from hesscope.third_order.displaced import displaced

_CLOSE = 0.05  # of the distance: a bracket as narrow as this will do
_LEAST, _MOST = 1.25, 4.0  # how much farther to go while it has not doubled
_INSIDE = 0.1  # of the bracket: no evaluation nearer to its ends
_TWICE = 2.0


@dataclass(frozen=True, eq=False)
class Doubling:
    """Distances along the gradient of the largest eigenvalue.

    Attributes
    ----------
    predicted
        ``eigenvalue / |gradient|``; ``inf`` for a gradient of zero.
    bracket
        Where it had not doubled, and where it had (``inf`` if nowhere).
    interpolated
        Between the two.
    positions, sharpnesses
        Shape ``[E]``, float64: what was evaluated, in the order of the positions.
    products
        Products with H that it took.
    """

    predicted: float
    bracket: tuple[float, float]
    interpolated: float
    positions: Tensor
    sharpnesses: Tensor
    products: int


def find_doubling(
    objective: Objective,
    operator: SymmetricOperator,
    pairs: Eigenpairs,
    slope: EigenvalueGradient,
    *,
    tol: float,
    max_evaluations: int,
    seed: int,
) -> Doubling:
    """Evaluate the largest eigenvalue along its gradient until the place where it doubles is bracketed."""
    start, steepness, before = float(pairs.values[0]), slope.norm, operator.products
    predicted = start / steepness if steepness > 0 else math.inf
    known = {0.0: start}
    if steepness > 0:
        direction = slope.value / steepness
        guess = pairs.vectors[:2]
        with displaced(objective, direction) as displacement:

            def sharpness(t: float) -> float:
                nonlocal guess
                displacement.move(t)
                found = _largest(operator, guess, tol, seed)
                if found is None:
                    return math.inf
                guess = found.vectors
                return float(found.values[0])

            squares = sum(float(p.detach().double().square().sum()) for p in objective.parameter_set.tensors)
            reach = max(math.sqrt(squares), predicted)
            known |= search(sharpness, start, predicted, max_evaluations, reach=reach)
    positions = sorted(known)
    low, high = bracket(known, _TWICE * start)
    return Doubling(
        predicted,
        (low, high),
        _interpolated(low, high, known, _TWICE * start),
        torch.tensor(positions, dtype=torch.float64),
        torch.tensor([known[t] for t in positions], dtype=torch.float64),
        operator.products - before,
    )


def search(
    sharpness: Callable[[float], float],
    start: float,
    first: float,
    evaluations: int,
    *,
    reach: float = math.inf,
) -> dict[float, float]:
    """Evaluate until the first position known at which ``sharpness`` has doubled is bracketed.

    No farther than ``reach``: beyond the length of the weights nothing is nearby.
    """
    known = {0.0: start}
    t = first
    for _ in range(evaluations):
        known[t] = sharpness(t)
        low, high = bracket(known, _TWICE * start)
        if math.isfinite(high) and high - low <= _CLOSE * high:
            break
        if math.isinf(high):
            risen = known[low] - start
            aim = low * start / risen if risen > 0 else math.inf
            if low >= reach:
                break
            t = min(max(aim, _LEAST * low), _MOST * low, reach)
        else:
            width = high - low
            aim = _interpolated(low, high, known, _TWICE * start)
            # One step beyond the interpolation, so that the next bracket is narrow on both sides.
            aim += math.copysign(_CLOSE / 2 * high, (low + high) / 2 - aim)
            t = min(max(aim, low + _INSIDE * width), high - _INSIDE * width)
    return known


def bracket(known: dict[float, float], goal: float) -> tuple[float, float]:
    """Return the first position at or above the goal (``inf`` if none), and the last one before it."""
    high = min((t for t, value in known.items() if value >= goal), default=math.inf)
    return max(t for t in known if t < high), high


def _interpolated(low: float, high: float, known: dict[float, float], goal: float) -> float:
    if math.isinf(high):
        return low
    if math.isinf(known[high]):
        return (low + high) / 2
    return low + (high - low) * (goal - known[low]) / (known[high] - known[low])


def _largest(operator: SymmetricOperator, guess: Tensor, tol: float, seed: int) -> Eigenpairs | None:
    """Return the largest eigenpairs where the weights are now; None where the loss is not finite."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "eigenpairs: ", RuntimeWarning)  # a Ritz value is a lower bound
        try:
            found = eigenpairs(
                operator, len(guess), initial=guess, tol=tol, seed=seed, check_missed=False, verify=False
            )
        except ValueError as error:
            if "finite" not in str(error):
                raise
            return None
    if found.status is Status.NONFINITE_OPERATOR:
        return None
    if found.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return found
