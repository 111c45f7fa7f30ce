"""The trace of a symmetric operator from random probes."""

from __future__ import annotations

from dataclasses import replace

import torch

from hesscope import _checks
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, Estimate
from hesscope.spectrum.deflation import Remainder
from hesscope.spectrum.probing import BATCH, Prober, check_eigenpairs, dots
from hesscope.spectrum.sketch import Sketch, xtrace
from hesscope.spectrum.trace_plans import beyond, plain, sampled, without
from hesscope.spectrum.trace_until import enough_rows, tolerance, until

METHODS = ("auto", "rademacher", "deflated", "xtrace", "hutch++")
_WHERE = "trace"
_LEAST = {"auto": 1, "rademacher": 1, "deflated": 1, "xtrace": 4, "hutch++": 4}
_PRODUCTS, _MOST = 32, 1024
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
        How many may be spent, a quadratic form z'Hz being one; at least 4 for "xtrace" and "hutch++". 32 by
        default, 1024 with ``tol``.
    tol
        Stop when the half-width is at most ``tol * tr|H|``, looking at 8, 16, 32, ... samples. Each look has
        its share of the 5 %, so that looking does not spoil the interval. tr|H| is bounded from below, by
        |tr H| or, where that is not enough, by up to 8 steps of Lanczos (8 products). Where the operator has
        layers, "auto" first looks at four groups of four signs that are balanced between the layers, so that
        entries of H between most of them cancel. If the first look is not enough, what varied in it decides:
        "auto" goes on, or changes to plain signs, or, where many samples are missing and no eigenpairs
        given, measures H on a sketch of 8 directions and samples outside it. "hutch++" and "xtrace" fix their
        number of products.
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
    Samples are quadratic forms, which Hessians find without a product, for about half its cost. Memory: 16
    vectors of length n for "rademacher", and k for "deflated"; 2 ``products`` for "xtrace",
    up to as many for "auto", and 1.5 ``products`` for "hutch++". For an indefinite H compare the error with
    ``|H|_F``, not with the trace, which may be zero.

    References
    ----------
    Hutchinson (1989); Meyer, Musco, Musco and Woodruff (2021), Hutch++; Epperly, Tropp and Webber (2024),
    SIAM J. Matrix Anal. Appl. 45, 1-23, XTrace; Stathopoulos, Laeuchli and Orginos (2013), SIAM J. Sci.
    Comput. 35, S299-S322, balanced signs.
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
        share = tolerance(_WHERE, tol, method)
        return _exact(prober) if enough_rows(prober) else until(prober, method, share, pairs)
    if method == "auto":
        return _auto(prober, pairs)
    if pairs is not None:
        return without(prober, pairs).estimate(prober)
    if method == "rademacher":
        return plain().estimate(prober)
    return {"xtrace": _xtrace, "hutch++": _hutchpp}[method](prober)


def _hutchpp(prober: Prober) -> Estimate:
    count = min(prober.budget // 3, prober.n)
    return beyond(Sketch(prober, count, kind="gaussian"), "Hutch++").estimate(prober)


def _xtrace(prober: Prober) -> Estimate:
    return _left_out(prober, Sketch(prober, min(prober.budget // 2, prober.n), kind="gaussian"))


def _auto(prober: Prober, pairs: Eigenpairs | None) -> Estimate:
    if prober.n <= prober.budget:
        return _exact(prober)
    share, enough = (_PILOT, _HELD) if pairs is None else (_PILOT_GIVEN, _HELD_GIVEN)
    if prober.budget < 2 * share:
        return (plain() if pairs is None else without(prober, pairs)).estimate(prober)
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
    plan = beyond(sketch, f"{given}small sketch, flat spectrum beyond it")
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
    return sampled(prober, xtrace(sketch), known, method)
