"""Sums over the spectrum from K quadratures: one value per probe, known eigenpairs taken out, and errors.

Eigenpairs that are known act as a control variate: ``z' f(H) z - sum_i (f(t_i) - c) (x_i' z)^2`` varies less
than its first term, and the mean of what is taken out, ``sum_i (f(t_i) - c) |x_i|^2``, is known. So the
estimate stays unbiased however inaccurate the pairs are, and the probes, addressed by their seed, need not be
stored. c is the mean of f over the other eigenvalues: a multiple of the identity has no variance, so what is
taken out should be how the pairs differ from the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov import elementwise
from hesscope.krylov.elementwise import Function
from hesscope.krylov.recurrence import squared_norms
from hesscope.results import Eigenpairs
from hesscope.spectrum import quadrature
from hesscope.spectrum.probing import BATCH, project
from hesscope.spectrum.sampling import CONFIDENCE, jackknife_error
from hesscope.spectrum.skewness import reaches, skewness

if TYPE_CHECKING:
    from hesscope.spectrum.result import SpectralDensity

Statistic = Callable[[Tensor], Tensor]
METHOD = "Gauss quadrature, skewed t-interval across probes + extrapolated truncation + rounding"
_SLOWEST, _FASTEST = 0.9, 1 / 8  # ratios of successive changes that are believed


@dataclass(frozen=True)
class Errors:
    """A number and the three parts of its error.

    Attributes
    ----------
    value
        The statistic.
    below, above
        How far the sampling interval reaches to either side; ``inf`` for one probe.
    quadrature
        What is left of the quadrature's error, extrapolated from a quarter, half and all of the steps.
    rounding
        Change of the sums if every node moves by one rounding of the operator.
    scale
        ``tr |f(H)|`` of the first function: what tolerances are relative to.
    """

    value: float
    below: float
    above: float
    quadrature: float
    rounding: float
    scale: float

    @property
    def sampling(self) -> float:
        """Half-width of the sampling interval."""
        return (self.below + self.above) / 2

    @property
    def total(self) -> float:
        """The parts, added: half-width of the interval."""
        return self.sampling + self.quadrature + self.rounding

    @property
    def interval(self) -> tuple[float, float]:
        """The interval, all parts included."""
        others = self.quadrature + self.rounding
        return self.value - self.below - others, self.value + self.above + others


@dataclass(frozen=True, eq=False)
class Known:
    """Eigenpairs, as the probes of a density see them.

    Attributes
    ----------
    values, sizes
        Shape ``[k]``, float64: the values, and ``|x_i|^2``.
    squares
        Shape ``[K, k]``, float64: ``n (x_i' z_r)^2 / |z_r|^2``.
    """

    values: Tensor
    sizes: Tensor
    squares: Tensor


def known_pairs(rho: SpectralDensity, pairs: Eigenpairs) -> Known:
    """Project the probes of a density, made anew from their seed, on eigenvectors."""
    vectors, squares = pairs.vectors, []
    for first in range(0, rho.num_probes, BATCH):
        z = _ops.probes(
            min(BATCH, rho.num_probes - first),
            rho.n,
            kind=rho.settings["distribution"],
            seed=rho.seed,
            first_probe=first,
            dtype=vectors.dtype,
            device=vectors.device,
        )
        squares.append(rho.n * (project(vectors, z).square() / squared_norms(z)[:, None]).cpu())
    return Known(pairs.values.double().cpu(), squared_norms(vectors).cpu(), torch.cat(squares))


def checked(where: str, f: Function, rho: SpectralDensity, shift: float) -> Function:
    """Return ``x -> f(x + shift)`` in float64, which refuses shapes of its own and sums that overflow."""
    finite = elementwise.checked(where, f, shift=shift, rounding=rho.rounding)

    def function(nodes: Tensor) -> Tensor:
        values = finite(nodes)
        largest = float(values.abs().max())
        if not math.isfinite(rho.n * largest):
            msg = (
                f"{where}: f must be small enough for float64 to hold n f, got {largest:.3g} with n = {rho.n}"
            )
            raise ValueError(msg)
        return values

    return function


def first(means: Tensor) -> Tensor:
    """Return the sum itself: the statistic of a spectral sum."""
    return means[0]


def estimate(
    rho: SpectralDensity,
    functions: Sequence[Function],
    statistic: Statistic = first,
    *,
    known: Known | None = None,
    level: float = 1 - CONFIDENCE,
) -> Errors:
    """Estimate a statistic of the sums ``tr f_j(H)``.

    Parameters
    ----------
    rho
        K quadratures.
    functions
        J of them, elementwise on float64 tensors.
    statistic
        A smooth function of the J sums ``[J]``, a scalar tensor.
    known
        Eigenpairs to take out.
    level
        Probability that the sampling interval misses.

    Notes
    -----
    The quadrature's error is measured by its change from a quarter of the steps over half of them to all, at
    two neighbouring numbers of steps each (on a spectrum symmetric about zero, errors alternate). If it falls
    with a power of the steps, the extrapolation is exact; if it falls faster, it is too large.
    """
    corrections = _corrections(rho, functions, known)

    def sums(q: quadrature.Quadrature) -> Tensor:
        return _plain(rho.n, q, functions) + corrections  # [K, J]

    def at(steps: int) -> float:
        return float(statistic(sums(rho.shortened(steps)).mean(dim=0)))

    values = sums(rho.quadrature)
    value = float(statistic(values.mean(dim=0)))
    error = jackknife_error(statistic, values)
    skew = skew_of_statistic(rho, functions, statistic, values.mean(dim=0), known)
    below, above = (
        error if math.isinf(error) else reach * error for reach in reaches(rho.num_probes, skew, 1 - level)
    )
    left = 0.0 if bool(rho.quadrature.ended.all()) else _left_over(at, rho.num_steps, value)
    nodes, weights = rho.quadrature.nodes, rho.quadrature.weights
    scale = rho.n * float((weights * functions[0](nodes).abs()).sum(dim=1).mean())
    return Errors(value, below, above, left, _rounding(rho, functions, statistic, values), scale)


def skew_of_statistic(
    rho: SpectralDensity,
    functions: Sequence[Function],
    statistic: Statistic,
    means: Tensor,
    known: Known | None = None,
) -> float:
    """Skewness of one probe's share in the statistic, linearised at the means: of a single function then."""
    at = means.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(statistic(at), at)

    def linear(x: Tensor) -> Tensor:
        return (torch.stack([f(x) for f in functions], dim=-1) * slope).sum(dim=-1)

    return skew_of(rho, linear, known)


def skew_of(rho: SpectralDensity, f: Function, known: Known | None = None) -> float:
    """Skewness of what one probe sees of ``tr f(H)``, eigenvalues that are known left out."""
    weights, values = rho.sampled.weights, f(rho.sampled.nodes)
    at_known = torch.empty(0, dtype=torch.float64) if known is None else f(known.values)
    # A skewness has no scale; cubes of what float64 holds do.
    largest = float(torch.cat([values.flatten(), at_known]).abs().max())
    if largest == 0:
        return 0.0
    values = values / largest
    centre = (weights * values).sum(dim=1).mean()
    away = values - centre
    squares, cubes = (float(rho.num_sampled * (weights * away**p).sum(dim=1).mean()) for p in (2, 3))
    if known is not None:  # what is taken out of every sample varies no more
        away = at_known / largest - centre
        squares, cubes = (s - float((known.squares @ away**p).mean()) for s, p in ((squares, 2), (cubes, 3)))
    return skewness(squares, cubes)


def _corrections(rho: SpectralDensity, functions: Sequence[Function], known: Known | None) -> Tensor:
    plain = _plain(rho.n, rho.quadrature, functions)
    if known is None:
        return torch.zeros_like(plain)
    at_pairs = torch.stack([f(known.values) for f in functions], dim=1)  # [k, J]
    others = rho.n - len(known.values)
    # One number for all probes, known to 1 / sqrt(n): the bias it brings is a part 1 / n of the sum.
    rest = (plain.mean(dim=0) - (known.squares @ at_pairs).mean(dim=0)) / max(others, 1)
    return (known.sizes - known.squares) @ (at_pairs - rest)


def _plain(n: int, q: quadrature.Quadrature, functions: Sequence[Function]) -> Tensor:
    """``n z' f(H) z / z' z`` of every probe and function: ``[K, J]``."""
    return n * torch.stack([(q.weights * f(q.nodes)).sum(dim=1) for f in functions], dim=1)


def _left_over(at: Callable[[int], float], steps: int, value: float) -> float:
    """Extrapolate the error after ``steps`` steps; ``inf`` after one."""
    if steps == 1:
        return math.inf
    half, quarter = max(steps // 2, 1), max(steps // 4, 1)
    at_half = {j: at(j) for j in (half, half + 1) if j < steps}
    change = max(abs(value - x) for x in at_half.values())
    before = max(abs(at_half[half] - at(j)) for j in (quarter, quarter + 1))
    ratio = min(max(change / before, _FASTEST), _SLOWEST) if before > 0 else _SLOWEST
    last = abs(value - at(steps - 1))
    return max(change * ratio / (1 - ratio), last)


def _rounding(
    rho: SpectralDensity, functions: Sequence[Function], statistic: Statistic, values: Tensor
) -> float:
    """Change of the statistic if all nodes move by one rounding, up or down, whichever is worse."""
    q = rho.quadrature
    step = rho.rounding / 8
    means, worst = values.mean(dim=0), 0.0
    for sign in (1.0, -1.0):
        moved = []
        for f in functions:
            there = f(q.nodes)
            try:
                change = (f(q.nodes + sign * step) - there).abs()
            except ValueError:  # f ends within a rounding of the spectrum
                change = there.abs()
            moved.append(rho.n * (q.weights * change).sum(dim=1).mean())
        for direction in (1.0, -1.0):
            other = float(statistic(means + direction * torch.stack(moved)))
            worst = max(worst, abs(other - float(statistic(means))) if math.isfinite(other) else 0.0)
    return worst + 4 * torch.finfo(torch.float64).eps * float(means.abs().max())
