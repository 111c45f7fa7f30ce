"""A second interval: what a statistic of H may be for other data from the same source."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.operators.base import SymmetricOperator
from hesscope.operators.weighted_mean import WeightedMean
from hesscope.results import Band, Estimate
from hesscope.results.batch_interval import BatchInterval
from hesscope.spectrum.sampling import student

_WHERE = "batch_interval"
_LINEAR = 1e-3  # rounding of products is far below this part of the sizes


def batch_interval(
    operators: Sequence[SymmetricOperator],
    statistic: Callable[[SymmetricOperator], Estimate] | Callable[[SymmetricOperator], Band],
    *,
    weights: Sequence[float] | None = None,
    resample: str = "delete",
    fraction: float = 0.0,
) -> BatchInterval[Estimate] | BatchInterval[Band]:
    """Give a statistic of the Hessian an interval over its data beside the one over its probes.

    The population is that of the batches: they are taken for independent draws from one distribution, and
    the second interval is for the statistic of ``H = E[w_b H_b] / E[w_b]``, the Hessian of endlessly many.

    Parameters
    ----------
    operators
        One for each of G groups of batches: ``[hessian(o) for o in batch_groups(objective, G).objectives]``.
        More than 2; 8 give an interval a fifth wider than many would.
    statistic
        Maps an operator to an Estimate or a Band, smoothly: a trace, a moment, a spectral sum, a density
        smoothed by a given Gaussian on a given grid, an extreme eigenvalue that is simple. It must use the
        same seed every time, as functions of this package do, so that groups differ by their data alone.
    weights
        Of the groups, as ``batch_groups`` returns them; equal by default.
    resample
        "delete": the statistic of H without each group in turn; right for any smooth statistic. "group": of
        each group alone, a Gth of the products; right where it is linear in H (a trace or a diagonal's entry
        by plain probes), which is checked.
    fraction
        Share of a finite population that the batches are, if they were drawn from it without replacement:
        the variance over data is smaller by that. 0 for a population without end.

    Returns
    -------
    BatchInterval
        ``on_data`` as ``statistic`` returns it; ``population`` with the bias of order 1 / G taken out and an
        interval that holds at 95 % or a little more: the two half-widths are added in squares, that of the
        quadrature on top.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value, a value of the statistic is not finite, or it is not
        linear with ``resample="group"``.

    Notes
    -----
    Products, in passes over all the data: G for "delete" and 2 for "group", each times those of the
    statistic. The t-interval has G - 1 degrees of freedom. A mean of few Hessians has a wider spectrum than
    the one of many: what moments are too large by is the bias, and no number of probes reveals it.

    References
    ----------
    Efron and Stein (1981); Busing, Meijer and van der Leeden (1999), for groups of unequal weight.

    Examples
    --------
    >>> H = [from_matrix(torch.eye(4) * (1 + g)) for g in range(3)]
    >>> both = batch_interval(H, lambda h: trace(h, method="rademacher", products=2), resample="group")
    >>> both.population.value
    8.0
    """
    resample = _checks.choice(_WHERE, "resample", resample, ("delete", "group"))
    if not callable(statistic):
        msg = f"{_WHERE}: statistic must be callable, got {type(statistic).__name__}"
        raise TypeError(msg)
    groups, shares = _groups(operators, weights)
    part = _checks.real(_WHERE, "fraction", fraction)
    if not 0 <= part < 1:
        msg = f"{_WHERE}: fraction must be in [0, 1), got {part}"
        raise ValueError(msg)
    before = sum(operator.products for operator in groups)
    on_data = statistic(WeightedMean(groups, shares.tolist()))
    whole = _value(on_data, on_data)
    without = []
    for g in range(len(groups)):
        others = [i for i in range(len(groups)) if (i == g) == (resample == "group")]
        operator = WeightedMean([groups[i] for i in others], [float(shares[i]) for i in others])
        without.append(_value(statistic(operator), on_data))
    values = torch.stack(without)
    if resample == "group":
        values = _left_out(values, whole, shares)
    centre, error = delete_group_jackknife(whole, values, shares)
    products = math.ceil((sum(operator.products for operator in groups) - before) / len(groups))
    bias, half = (whole - centre) * (1 - part), error * math.sqrt(1 - part)
    words = f"{len(groups)} groups of batches, t-interval of a delete-group jackknife, bias taken out"
    if isinstance(on_data, Estimate):
        population = _estimate(on_data, float(bias), float(half), products, words)
        return BatchInterval(on_data, population, float(bias), float(half), len(groups))
    return BatchInterval(on_data, _band(on_data, bias, half), bias, half, len(groups))


def delete_group_jackknife(whole: Tensor, left_out: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bias-corrected value ``[...]`` and the half-width of its 95 % interval ``[...]``.

    Parameters
    ----------
    whole
        Shape ``[...]``: the statistic of all groups.
    left_out
        Shape ``[G, ...]``: without each group.
    shares
        Shape ``[G]``: of the groups; they sum to one.
    """
    count = len(shares)
    times = (1 / shares).reshape(-1, *([1] * whole.ndim))  # h of Busing and others
    centre = count * whole - ((1 - 1 / times) * left_out).sum(dim=0)
    pseudo = times * whole - (times - 1) * left_out
    variance = ((pseudo - centre).square() / (times - 1)).mean(dim=0)
    return centre, student(count - 1) * variance.sqrt()


def _left_out(alone: Tensor, whole: Tensor, shares: Tensor) -> Tensor:
    """Return what a linear statistic is without each group, from what it is of each group alone."""
    parts = alone * shares.reshape(-1, *([1] * whole.ndim))
    difference = (parts.sum(dim=0) - whole).abs()
    if bool((difference > _LINEAR * parts.abs().sum(dim=0)).any()):
        msg = (
            f"{_WHERE}: statistic must be linear in H with resample='group', but its mean over the groups "
            f"differs from its value on all data by {float(difference.max()):.3g}; use resample='delete'"
        )
        raise ValueError(msg)
    rest = 1 - shares.reshape(-1, *([1] * whole.ndim))
    return (whole - parts) / rest


def _groups(
    operators: Sequence[SymmetricOperator], weights: Sequence[float] | None
) -> tuple[list[SymmetricOperator], Tensor]:
    if isinstance(operators, SymmetricOperator) or not isinstance(operators, Iterable):
        msg = f"{_WHERE}: operators must be a sequence of SymmetricOperators, got {type(operators).__name__}"
        raise TypeError(msg)
    if weights is not None and not isinstance(weights, Iterable):
        msg = f"{_WHERE}: weights must be a sequence of numbers, got {type(weights).__name__}"
        raise TypeError(msg)
    groups = list(operators)
    wrong = [type(x).__name__ for x in groups if not isinstance(x, SymmetricOperator)]
    if wrong:
        msg = f"{_WHERE}: operators must be SymmetricOperators, got {wrong[0]}"
        raise TypeError(msg)
    if len(groups) < 3:
        msg = f"{_WHERE}: operators must be at least 3, one for each group of batches, got {len(groups)}"
        raise ValueError(msg)
    kinds = {(operator.shape[0], str(operator.dtype), str(operator.device)) for operator in groups}
    if len(kinds) > 1:
        msg = f"{_WHERE}: operators must agree in size, dtype and device, got {sorted(kinds)}"
        raise ValueError(msg)
    given = [1.0] * len(groups) if weights is None else [_checks.real(_WHERE, "weights", w) for w in weights]
    if len(given) != len(groups) or not all(0 < weight < math.inf for weight in given):
        msg = f"{_WHERE}: weights must be {len(groups)} positive numbers, one for each operator, got {given}"
        raise ValueError(msg)
    shares = torch.tensor(given, dtype=torch.float64)
    return groups, shares / shares.sum()


def _value(result: object, like: Estimate | Band) -> Tensor:
    """Return the number or the curve as float64 on the CPU, or raise TypeError or ValueError."""
    if not isinstance(result, (Estimate, Band)) or type(result) is not type(like):
        msg = f"{_WHERE}: statistic must return an Estimate or a Band, got {type(result).__name__}"
        raise TypeError(msg)
    value = result.value
    if isinstance(result, Band) and isinstance(like, Band) and not torch.equal(result.grid, like.grid):
        msg = f"{_WHERE}: statistic must return every Band on one grid, given beforehand, got another one"
        raise ValueError(msg)
    number = torch.as_tensor(value, dtype=torch.float64)
    if not bool(number.isfinite().all()):
        msg = f"{_WHERE}: statistic must be finite for every group, got {value}"
        raise ValueError(msg)
    return number


def _estimate(on_data: Estimate, bias: float, half: float, products: int, words: str) -> Estimate:
    fixed = on_data.quadrature if math.isfinite(on_data.quadrature) else 0.0  # then so is the interval
    low = math.hypot(max(on_data.value - on_data.interval[0] - fixed, 0.0), half) + fixed
    high = math.hypot(max(on_data.interval[1] - on_data.value - fixed, 0.0), half) + fixed
    value = on_data.value - bias
    return replace(
        on_data,
        value=value,
        interval=(value - low, value + high),
        error=(low + high) / 2,
        sampling=math.hypot(on_data.sampling, half),
        products=products,
        method=f"{on_data.method}; {words}",
    )


def _band(on_data: Band, bias: Tensor, half: Tensor) -> Band:
    value = on_data.value - bias
    low, high = on_data.value - on_data.lower, on_data.upper - on_data.value
    # Densities and distribution functions are not negative.
    lower = (value - torch.hypot(low, half)).clamp(min=0.0)
    return replace(on_data, value=value.clamp(min=0.0), lower=lower, upper=value + torch.hypot(high, half))
