"""The trace of a symmetric operator from random probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, Estimate, Status
from hesscope.spectrum.adaptive import FIRST_LOOK, look_counts, look_level
from hesscope.spectrum.deflation import Remainder
from hesscope.spectrum.probing import BATCH, NonFiniteError, Prober, check_eigenpairs, dots, project
from hesscope.spectrum.sampling import CONFIDENCE, half_width
from hesscope.spectrum.scale import STEPS, nuclear_norm_scale
from hesscope.spectrum.sketch import Sketch, xtrace

METHODS = ("auto", "rademacher", "deflated", "xtrace", "hutch++")
_WHERE = "trace"
_LEAST = {"auto": 1, "rademacher": 1, "deflated": 1, "xtrace": 4, "hutch++": 4}
_ROUNDINGS = 4
_PRODUCTS, _MOST = 32, 1024
_DIRECTIONS = 8  # of the sketch that "auto" makes with a tolerance
# The sketch that "auto" decides by has an eighth as many directions as there are products. If it holds a
# share h of |H|_F^2, sampling outside it has a variance of 1 - h, in units of sampling alone; if four times
# as many directions hold 1 - (1 - h)^4, XTrace has about 1.5 (1 - h)^4, which is less from h = 0.13 on. Above
# that by a margin, for spectra that flatten. (Hutch++, 2.2 (1 - h)^2.7, is never the least of the three.)
# Where eigenpairs are given, the rest is likely flat: the sketch is half as large, and half of that share
# decides.
_PILOT, _HELD = 8, 0.25
_PILOT_GIVEN, _HELD_GIVEN = 16, 0.12


def trace(
    operator: SymmetricOperator,
    *,
    method: str = "auto",
    products: int | None = None,
    tol: float | None = None,
    eigenpairs: Eigenpairs | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate ``tr H`` with a 95 % interval, or an error estimate.

    Parameters
    ----------
    operator
        n x n and symmetric, positive or not.
    method
        "rademacher": mean of z'Hz over random signs z; the variance is twice the sum of squares of the
        off-diagonal entries. "deflated": the same for what is left of H without ``eigenpairs``. "hutch++": a
        third of the products finds a basis, a third measures H on it, a third samples outside. "xtrace":
        half finds a basis, half measures, each probe in turn is left out of the basis and samples outside it.
        "auto": exact where n is at most ``products``; else a sketch with a quarter of the products measures
        the variance that is left outside it (an eighth and H without ``eigenpairs``, where they are given):
        if it holds a quarter (an eighth) of ``|H|_F^2``, it grows into "xtrace"; if not, it stays, and fresh
        probes sample outside it, so that the interval owes nothing to the choice. For few products
        "rademacher" or "deflated".
    products
        How many may be spent; at least 4 for "xtrace" and "hutch++". 32 by default, 1024 with ``tol``.
    tol
        Stop when the half-width is at most ``tol * tr|H|``, tr|H| as 8 steps of Lanczos see it (8 products):
        look at 8, 16, 32, ... samples. Each look has its share of the 5 %, so that looking does not spoil the
        interval. "auto", unless eigenpairs are given, first looks at 8 plain samples; if those are not enough
        it measures H on a sketch of 8 directions and samples outside it, afresh. "hutch++" and "xtrace" fix
        their number of products.
    eigenpairs
        Of this operator, from :func:`hesscope.eigenpairs`. The estimate is unbiased even if they are not
        accurate, or belong to another operator; only the variance suffers.
    seed
        Of the probes.

    Returns
    -------
    Estimate
        ``interval`` is Student's t over independent samples, at 95 %; for "xtrace" it is an error
        estimate, as ``method`` says: its samples are exchangeable, not independent, so that it is not
        calibrated. One sample alone gives an infinite error. ``status`` COMPLETE; with ``tol`` CONVERGED or
        MAX_PRODUCTS; INTERRUPTED or NONFINITE_OPERATOR, with what was sampled before.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value, or products of the first batch or of a sketch are not
        finite.
    RuntimeError
        If the weights or the data behind the operator change during the run.

    Notes
    -----
    Memory: 16 vectors of length n for "rademacher", and k for "deflated"; 2 ``products`` for "xtrace",
    up to as many for "auto", and 1.5 ``products`` for "hutch++". For an indefinite H compare the error with
    ``|H|_F``, not with the trace, which may be zero.

    References
    ----------
    Hutchinson (1989); Meyer, Musco, Musco and Woodruff (2021), Hutch++; Epperly, Tropp and Webber (2024),
    SIAM J. Matrix Anal. Appl. 45, 1-23, XTrace.
    """
    method = _checks.choice(_WHERE, "method", method, METHODS)
    if products is None:
        products = _PRODUCTS if tol is None else _MOST
    prober = Prober(_WHERE, operator, products=products, seed=seed, least=_LEAST[method])
    pairs = None if eigenpairs is None else check_eigenpairs(_WHERE, eigenpairs, prober.operator)
    if method == "deflated" and pairs is None:
        msg = f"{_WHERE}: eigenpairs must be given for method='deflated'"
        raise ValueError(msg)
    if pairs is not None and method not in ("auto", "deflated"):
        msg = f"{_WHERE}: eigenpairs must be None for method={method!r}, which finds its own basis"
        raise ValueError(msg)
    if tol is not None:
        return _until(prober, method, _tolerance(tol, method), pairs)
    if method == "auto":
        return _auto(prober, pairs)
    if pairs is not None:
        return _without(prober, pairs).estimate(prober)
    return {"rademacher": _rademacher, "xtrace": _xtrace, "hutch++": _hutchpp}[method](prober)


@dataclass(frozen=True)
class _Plan:
    """What is sampled, the part of the trace that is known besides, and what to call it."""

    statistic: Callable[[Tensor, Tensor], Tensor]
    known: float
    method: str

    def estimate(self, prober: Prober) -> Estimate:
        """Spend the products that are left."""
        samples = prober.samples(prober.budget - prober.used, self.statistic)
        return _sampled(prober, samples, self.known, self.method)


def _plain() -> _Plan:
    return _Plan(dots, 0.0, "mean of z'Hz over random signs, t-interval")


def _rademacher(prober: Prober) -> Estimate:
    return _plain().estimate(prober)


def _without(prober: Prober, pairs: Eigenpairs) -> _Plan:
    vectors, values = pairs.vectors, pairs.values.to(prober.device)

    def remainder(z: Tensor, w: Tensor) -> Tensor:
        return dots(z, w) - project(vectors, z).square() @ values

    known = float(values @ dots(vectors, vectors))
    return _Plan(remainder, known, f"{len(pairs)} eigenpairs, and mean of z'Hz without them, t-interval")


def _until(prober: Prober, method: str, tol: float, pairs: Eigenpairs | None) -> Estimate:
    """Sample until the half-width is below the tolerance, looking at doubling numbers."""
    if prober.n <= prober.budget // 2 and prober.n <= 2 * _DIRECTIONS + STEPS + FIRST_LOOK:
        return _exact(prober)
    needed = STEPS + FIRST_LOOK
    if prober.budget < needed:
        msg = f"{_WHERE}: products must be at least {needed} with tol, got {prober.budget}"
        raise ValueError(msg)
    target = tol * nuclear_norm_scale(prober, pairs)
    plan = _plain() if pairs is None else _without(prober, pairs)
    # Where a first look at plain samples is not enough, a sketch takes out what varies most.
    first = FIRST_LOOK + 2 * min(_DIRECTIONS, prober.n)
    sketching = method == "auto" and pairs is None and prober.budget >= needed + first
    counts = look_counts(FIRST_LOOK, prober.budget - prober.used - (first if sketching else 0))
    looks = len(counts) + sketching
    level = look_level(looks)
    samples = _looked_at(prober, plan, target, [FIRST_LOOK] if sketching else counts, level)
    if sketching and prober.status is Status.MAX_PRODUCTS:
        prober.status = Status.COMPLETE
        plan = _beyond(Sketch(prober, min(_DIRECTIONS, prober.n), kind="gaussian"), "small sketch")
        samples = _looked_at(prober, plan, target, counts, level)
    method = f"{plan.method}, at {100 * level:.3g} % for each of {looks} looks"
    return _sampled(prober, samples, plan.known, method, level=level)


def _looked_at(prober: Prober, plan: _Plan, target: float, counts: list[int], level: float) -> Tensor:
    samples = prober.samples(counts[0], plan.statistic)
    for count in counts[1:]:
        if prober.status is not Status.COMPLETE or float(half_width(samples, level)) <= target:
            break
        try:
            samples = torch.cat([samples, prober.samples(count - len(samples), plan.statistic)])
        except NonFiniteError:
            prober.status = Status.NONFINITE_OPERATOR
    if prober.status is Status.COMPLETE:
        reached = float(half_width(samples, level)) <= target
        prober.status = Status.CONVERGED if reached else Status.MAX_PRODUCTS
    return samples


def _tolerance(tol: float, method: str) -> float:
    value = _checks.real(_WHERE, "tol", tol)
    if value <= 0:
        msg = f"{_WHERE}: tol must be positive, got {value}"
        raise ValueError(msg)
    if method in ("xtrace", "hutch++"):
        msg = (
            f"{_WHERE}: tol must be None for method={method!r}, whose number of products is fixed beforehand"
        )
        raise ValueError(msg)
    return value


def _hutchpp(prober: Prober) -> Estimate:
    count = min(prober.budget // 3, prober.n)
    return _beyond(Sketch(prober, count, kind="gaussian"), "Hutch++").estimate(prober)


def _xtrace(prober: Prober) -> Estimate:
    return _left_out(prober, Sketch(prober, min(prober.budget // 2, prober.n), kind="gaussian"))


def _auto(prober: Prober, pairs: Eigenpairs | None) -> Estimate:
    if prober.n <= prober.budget:
        return _exact(prober)
    share, enough = (_PILOT, _HELD) if pairs is None else (_PILOT_GIVEN, _HELD_GIVEN)
    if prober.budget < 2 * share:
        return (_plain() if pairs is None else _without(prober, pairs)).estimate(prober)
    known, given = 0.0, ""
    if pairs is not None:
        known = float(pairs.values.to(prober.device) @ dots(pairs.vectors, pairs.vectors))
        given = f"{len(pairs)} eigenpairs, and without them "
        prober.operator = Remainder(prober.operator, pairs)
    sketch = Sketch(prober, prober.budget // share, kind="gaussian")
    # |H - QQ'H - HQQ' + QQ'HQQ'|_F^2 of |H|_F^2, the latter from the norms of the images.
    whole = float(dots(sketch.images, sketch.images).mean())
    held = 2 * float(dots(sketch.basis_images, sketch.basis_images).sum())
    held -= float(sketch.compressed().square().sum())
    if held > enough * whole:
        sketch.grow(min(prober.budget // 2, prober.n) - sketch.basis.shape[0])
        return _left_out(prober, sketch, known, given)
    plan = _beyond(sketch, f"{given}small sketch, flat spectrum beyond it")
    return replace(plan, known=plan.known + known).estimate(prober)


def _exact(prober: Prober) -> Estimate:
    total = 0.0
    for first in range(0, prober.n, BATCH):
        rows = torch.arange(first, min(first + BATCH, prober.n), device=prober.device)
        units = torch.zeros(len(rows), prober.n, dtype=prober.dtype, device=prober.device)
        units[torch.arange(len(rows)), rows] = 1.0
        total += float(dots(units, prober.rows(units)).sum())
    return Estimate(total, 0.0, (total, total), prober.used, "sum of the diagonal, exact", prober.status)


def _left_out(prober: Prober, sketch: Sketch, known: float = 0.0, given: str = "") -> Estimate:
    method = f"{given}XTrace; error estimated by leaving out probes, not calibrated"
    return _sampled(prober, xtrace(sketch), known, method)


def _beyond(sketch: Sketch, name: str) -> _Plan:
    """Trace on the basis of the sketch, and samples with fresh probes outside it."""
    basis, images, square = sketch.basis, sketch.basis_images, sketch.compressed()

    def remainder(z: Tensor, w: Tensor) -> Tensor:
        # y'Hy for y = z - QQ'z, from Hz and HQ.
        inside = project(basis, z)
        cross = (project(images, z) * inside).sum(dim=1)
        return dots(z, w) - 2 * cross + ((inside @ square.to(inside.device)) * inside).sum(dim=1)

    method = f"{name}: {basis.shape[0]} directions measured, mean of z'Hz outside them, t-interval"
    return _Plan(remainder, float(torch.trace(square)), method)


def _sampled(
    prober: Prober, samples: Tensor, known: float, method: str, *, level: float = CONFIDENCE
) -> Estimate:
    value, sampling = known + float(samples.mean()), float(half_width(samples, level))
    # Of the products themselves: all that is left where a basis holds everything.
    rounding = _ROUNDINGS * torch.finfo(prober.dtype).eps * (abs(known) + float(samples.abs().mean()))
    error = sampling + rounding
    interval = (value - error, value + error)
    return Estimate(value, error, interval, prober.used, method, prober.status, sampling=sampling)
