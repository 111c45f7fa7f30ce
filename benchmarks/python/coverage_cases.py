"""The error bars that coverage.py runs, each as a function of a problem and a number of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

import hesscope as hs
from hesscope.testing import PrescribedSpectrum

PROBES, STEPS, PAIRS = 8, 30, 8
SMOOTH = 0.1  # of the range: width of the Gaussian of a density band
ROWS = 4096  # probes of one vectorised run


@dataclass(frozen=True)
class Outcome:
    """Whether intervals hold, ``[runs]`` or ``[runs, points]``, and how wide they are."""

    hits: Tensor
    relative_width: float
    claimed: float = 1.0  # share of the runs that claim an interval; if most do, the hits are theirs


class Problem:
    """An operator with a known spectrum, and what is computed from it once for many cases."""

    def __init__(self, operator: PrescribedSpectrum, name: str) -> None:
        self.operator, self.name = operator, name
        self.values = operator.eigenvalues
        self.n = operator.shape[0]
        self.spread = float(self.values.max() - self.values.min())
        self._runs: dict[tuple[object, ...], list[hs.SpectralDensity]] = {}

    @cached_property
    def pairs(self) -> hs.Eigenpairs:
        """The eigenpairs of largest modulus."""
        return hs.eigenpairs(self.operator, PAIRS, which="magnitude", tol=1e-8)

    @cached_property
    def shift(self) -> float:
        """What makes the operator definite, with a condition number of 20."""
        return float(-self.values.min()) + self.spread / 19

    @cached_property
    def points(self) -> Tensor:
        """Five points inside the spectrum, none of them an eigenvalue."""
        low = float(self.values.min())
        return low + self.spread * torch.tensor([0.13, 0.31, 0.47, 0.67, 0.83], dtype=torch.float64)

    def densities(self, runs: int, *, probes: int, steps: int, given: bool, tol: float | None = None):
        """Yield independent densities: long runs of many probes, cut into pieces."""
        key = (runs, probes, steps, given, tol)
        if key not in self._runs:
            self._runs[key] = list(self._cut(*key))
        return self._runs[key]

    def _cut(
        self, runs: int, probes: int, steps: int, given: bool, tol: float | None
    ) -> Iterator[hs.SpectralDensity]:
        at_once = ROWS // probes
        for first in range(0, runs, at_once):
            here = min(at_once, runs - first)
            rho = hs.spectral_density(
                self.operator,
                num_probes=here * probes,
                num_steps=steps,
                eigenpairs=self.pairs if given else None,
                tol=tol,
                seed=1000 + first,
            )
            for r in range(here):
                rows = slice(r * probes, (r + 1) * probes)
                yield replace(rho, alpha=rho.alpha[rows], beta=rho.beta[rows])

    def smoothed(self, x: Tensor) -> Tensor:
        """Return the true density smoothed by a Gaussian."""
        sigma = SMOOTH * self.spread
        z = (x[:, None] - self.values) / sigma
        return torch.exp(-z.square() / 2).mean(dim=1) / (sigma * math.sqrt(2 * math.pi))

    def below(self, x: Tensor) -> Tensor:
        """Return the true distribution function."""
        return (self.values <= x[:, None]).double().mean(dim=1)


@dataclass(frozen=True)
class Case:
    """One error bar.

    Attributes
    ----------
    name
        What the table calls it.
    kind
        "sampling" (pure: 93 to 97 %), "combined" or "adaptive" (at least 93 %), or "estimate".
    run
        Problem and number of runs to Outcome.
    """

    name: str
    kind: str
    run: Callable[[Problem, int], Outcome]


def _held(estimates: list[hs.Estimate], truth: float) -> Outcome:
    claiming = [e for e in estimates if "not calibrated" not in e.method]
    judged = claiming if 2 * len(claiming) > len(estimates) else estimates
    hits = torch.tensor([e.interval[0] <= truth <= e.interval[1] for e in judged])
    width = torch.tensor([e.error for e in judged], dtype=torch.float64).median()
    return Outcome(hits, float(width) / max(abs(truth), 1e-300), len(claiming) / len(estimates))


def _banded(bands: list[hs.Band], truth: Tensor) -> Outcome:
    hits = torch.stack([(b.lower <= truth) & (truth <= b.upper) for b in bands])
    width = torch.stack([(b.upper - b.lower) / 2 for b in bands]).median(dim=0).values
    return Outcome(hits, float((width / truth.clamp(min=1e-300)).median()))


def scalar(
    name: str,
    kind: str,
    of: Callable[..., hs.Estimate],
    truth: Callable[[Problem], float],
    *,
    probes: int = PROBES,
    given: bool = False,
    tol: float | None = None,
) -> Case:
    """Return a case for a number that a density gives."""

    def run(problem: Problem, runs: int) -> Outcome:
        rhos = problem.densities(runs, probes=probes, steps=STEPS, given=given, tol=tol)
        return _held([of(rho) for rho in rhos], truth(problem))

    return Case(name, kind, run)


def shifted_scalar(
    name: str, kind: str, of: Callable[[object, float], hs.Estimate], truth: Callable[[Tensor], Tensor]
) -> Case:
    """Return a case for a sum over the spectrum shifted to be definite."""

    def run(problem: Problem, runs: int) -> Outcome:
        rhos = problem.densities(runs, probes=PROBES, steps=STEPS, given=False)
        total = float(truth(problem.values + problem.shift).sum())
        return _held([of(rho, problem.shift) for rho in rhos], total)

    return Case(name, kind, run)


def curve(
    name: str, kind: str, *, smooth: bool = True, given: bool = False, tol: float | None = None
) -> Case:
    """Return a case for a curve at five points."""

    def run(problem: Problem, runs: int) -> Outcome:
        rhos = problem.densities(runs, probes=PROBES, steps=STEPS, given=given, tol=tol)
        x = problem.points
        if smooth:
            sigma = SMOOTH * problem.spread
            return _banded([rho.density_band(x, sigma=sigma) for rho in rhos], problem.smoothed(x))
        return _banded([rho.cdf_band(x) for rho in rhos], problem.below(x))

    return Case(name, kind, run)


def each(
    name: str,
    kind: str,
    call: Callable[[Problem, int], hs.Estimate],
    truth: Callable[[Problem], float],
) -> Case:
    """Return a case that calls a function once per seed."""

    def run(problem: Problem, runs: int) -> Outcome:
        return _held([call(problem, seed) for seed in range(runs)], truth(problem))

    return Case(name, kind, run)


def until(
    name: str, of: Callable[[hs.SpectralDensity], hs.Estimate], truth: Callable[[Problem], float]
) -> Case:
    """Return a case for a density that adds probes until it is content."""

    def run(problem: Problem, runs: int) -> Outcome:
        got = []
        for seed in range(runs):
            rho = hs.spectral_density(
                problem.operator, num_steps=STEPS // 2, until=0.01, max_probes=32, seed=seed
            )
            got.append(of(rho))
        return _held(got, truth(problem))

    return Case(name, "adaptive", run)


def entries(name: str, kind: str, *, method: str) -> Case:
    """Return a case for the entries of a diagonal, of a matrix with random eigenvectors."""

    def run(problem: Problem, runs: int) -> Outcome:
        size = 128
        picked = problem.values[:: problem.n // size][:size]
        gaussian = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        q = torch.linalg.qr(gaussian).Q
        a = (q * picked) @ q.T
        a = (a + a.T) / 2
        h = hs.from_matrix(a)
        pairs = hs.eigenpairs(h, PAIRS, which="magnitude", tol=1e-8) if method == "deflated" else None
        got = [hs.diagonal(h, method=method, products=32, eigenpairs=pairs, seed=s) for s in range(runs)]
        truth = a.diagonal()
        hits = torch.stack([(e.value - truth).abs() <= e.error for e in got])
        width = torch.stack([e.error for e in got]).median()
        return Outcome(hits, float(width / truth.abs().median()))

    return Case(name, kind, run)
