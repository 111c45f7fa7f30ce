"""The list of error bars that coverage.py measures, with the truth of each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

import hesscope as hs
from coverage_cases import PROBES, Case, Problem, curve, each, entries, scalar, shifted_scalar, until


def _trace(problem: Problem) -> float:
    return float(problem.values.sum())


def _moment(p: int) -> Callable[[Problem], float]:
    return lambda problem: float((problem.values**p).mean())


def _exponential(problem: Problem) -> float:
    return float(problem.values.exp().sum())


def _nuclear(problem: Problem) -> float:
    return float(problem.values.abs().sum())


def _entropy(problem: Problem) -> float:
    share = problem.values.abs() / _nuclear(problem)
    return float((-torch.special.xlogy(share, share).sum()).exp())


def _participation(problem: Problem) -> float:
    return _nuclear(problem) ** 2 / float(problem.values.square().sum())


def _frobenius(problem: Problem) -> float:
    return float(problem.values.norm())


def _above(problem: Problem) -> float:
    return float((problem.values >= 0.05).sum())


def _negative_share(problem: Problem) -> float:
    return float(problem.values.clamp(max=0).abs().sum()) / _nuclear(problem)


def _trace_with(method: str, *, given: bool = False, products: int = 48, tol: float | None = None):
    def call(problem: Problem, seed: int) -> hs.Estimate:
        pairs = problem.pairs if given else None
        return hs.trace(
            problem.operator, method=method, products=products, tol=tol, eigenpairs=pairs, seed=seed
        )

    return call


def _frobenius_with(*, given: bool):
    def call(problem: Problem, seed: int) -> hs.Estimate:
        return hs.frobenius_norm(
            problem.operator, products=32, eigenpairs=problem.pairs if given else None, seed=seed
        )

    return call


def _logdet_until(problem: Problem, seed: int) -> hs.Estimate:
    moved = hs.shifted(problem.operator, problem.shift)
    return hs.logdet(moved, num_probes=PROBES, num_steps=16, tol=0.02, seed=seed)


def _nuclear_until(problem: Problem, seed: int) -> hs.Estimate:
    return hs.nuclear_norm(problem.operator, num_probes=PROBES, num_steps=16, tol=0.05, seed=seed)


CASES: list[Case] = [
    scalar("density: trace, 8 probes", "sampling", hs.SpectralDensity.trace, _trace),
    scalar("density: trace, 32 probes", "sampling", hs.SpectralDensity.trace, _trace, probes=32),
    scalar("density: moment 2, 8 probes", "sampling", lambda r: r.moment(2), _moment(2)),
    scalar("density: moment 2, 32 probes", "sampling", lambda r: r.moment(2), _moment(2), probes=32),
    scalar("density: moment 4, 32 probes", "sampling", lambda r: r.moment(4), _moment(4), probes=32),
    curve("density_band, 8 probes, 5 points", "sampling"),
    curve("cdf_band, 8 probes, 5 points", "combined", smooth=False),
    scalar("count of the positive", "combined", lambda r: r.count(0.05, math.inf), _above),
    scalar("negative_curvature", "combined", hs.SpectralDensity.negative_curvature, _negative_share),
    scalar("density deflated: trace", "sampling", hs.SpectralDensity.trace, _trace, given=True),
    scalar("density deflated: moment 2", "sampling", lambda r: r.moment(2), _moment(2), given=True),
    curve("density_band, deflated", "sampling", given=True),
    curve("cdf_band, deflated", "combined", smooth=False, given=True),
    curve("cdf_band, deflated, tol", "combined", smooth=False, given=True, tol=0.01),
    scalar(
        "density deflated, tol: moment 2", "sampling", lambda r: r.moment(2), _moment(2), given=True, tol=0.01
    ),
    until("density until=: trace", hs.SpectralDensity.trace, _trace),
    scalar("spectral_sum(exp)", "combined", lambda r: hs.spectral_sum(r, torch.exp), _exponential),
    scalar("nuclear_norm", "combined", hs.nuclear_norm, _nuclear),
    each("nuclear_norm, tol=", "adaptive", _nuclear_until, _nuclear),
    shifted_scalar("logdet", "combined", lambda r, s: hs.logdet(r, shift=s), torch.log),
    shifted_scalar("trace_inverse", "combined", lambda r, s: hs.trace_inverse(r, shift=s), torch.reciprocal),
    each(
        "logdet, tol=",
        "adaptive",
        _logdet_until,
        lambda problem: float((problem.values + problem.shift).log().sum()),
    ),
    scalar("effective_rank, entropy", "combined", hs.effective_rank, _entropy),
    scalar(
        "effective_rank, participation",
        "combined",
        lambda r: hs.effective_rank(r, kind="participation"),
        _participation,
    ),
    each("trace, rademacher, 48 products", "sampling", _trace_with("rademacher"), _trace),
    each("trace, deflated, 48 products", "sampling", _trace_with("deflated", given=True), _trace),
    each("trace, hutch++, 48 products", "sampling", _trace_with("hutch++"), _trace),
    each("trace, xtrace, 48 products", "estimate", _trace_with("xtrace"), _trace),
    each("trace, auto, 48 products", "adaptive", _trace_with("auto"), _trace),
    each("trace, tol=0.05", "adaptive", _trace_with("auto", products=1000, tol=0.05), _trace),
    each(
        "trace, deflated, tol=0.02",
        "adaptive",
        _trace_with("auto", given=True, products=1000, tol=0.02),
        _trace,
    ),
    each("frobenius_norm, 32 products", "sampling", _frobenius_with(given=False), _frobenius),
    each("frobenius_norm, deflated", "sampling", _frobenius_with(given=True), _frobenius),
    entries("diagonal, rademacher, every entry", "sampling", method="rademacher"),
    entries("diagonal, deflated, every entry", "sampling", method="deflated"),
    entries("diagonal, xdiag, every entry", "estimate", method="xdiag"),
]
