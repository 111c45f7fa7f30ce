"""Sums of a function over the spectrum: tr f(H), tr |H|, tr H^-1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hesscope.krylov.arguments import finite
from hesscope.results import Eigenpairs, Estimate
from hesscope.spectrum import sampler, sums
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.sampler import Source


def spectral_sum(
    operator: Source,
    f: Callable[[Tensor], Tensor],
    *,
    shift: float = 0.0,
    eigenpairs: Eigenpairs | None = None,
    num_probes: int | None = None,
    num_steps: int | None = None,
    tol: float | None = None,
    max_products: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Estimate:
    """Estimate ``tr f(H + shift I)``, the sum of f over all eigenvalues, by stochastic Lanczos quadrature.

    Parameters
    ----------
    operator
        n x n and symmetric, positive or not; or a :class:`SpectralDensity` of it, which is used as it is:
        no product is spent.
    f
        Elementwise on float64 tensors, such as ``torch.exp``.
    shift
        Added to every eigenvalue before f is applied.
    eigenpairs
        Of the operator (without the shift), from :func:`hesscope.eigenpairs`: what they contribute is taken
        out of every sample and added exactly. The estimate is unbiased even if they are not accurate.
    num_probes, num_steps
        Random vectors (default 8) and products for each (default 100, at most n); to start with, if
        ``tol`` is given. Not with a density.
    tol
        Go on until the error is at most ``tol * tr |f(H + shift I)|``, which unlike the sum itself vanishes
        for no operator that matters: steps are doubled while the quadrature needs it, then probes.
    max_products
        Limit with ``tol``; default: 64 times ``num_probes * num_steps``.
    seed
        Of the probes; a density has its own.
    progress
        Show a bar on stderr.

    Returns
    -------
    Estimate
        The interval adds up a t-interval across probes, longer on the side on which what they see is skewed,
        what is left of the quadrature's error as its changes suggest, and rounding. ``status`` COMPLETE or
        INVARIANT_SUBSPACE; with ``tol`` CONVERGED, MAX_PRODUCTS, or NOISE_FLOOR where rounding alone exceeds
        it; INTERRUPTED, NONFINITE_OPERATOR.

    Raises
    ------
    ValueError
        If f is not finite on a node, which is named; or an argument has a wrong value.
    TypeError, MemoryError, RunFailed
        As :func:`hesscope.spectral_density`.

    Notes
    -----
    Products: ``num_probes * num_steps``; memory: 3 vectors of length n a probe, 5 with ``tol``. With ``tol``
    each look at the interval has its share of the 5 % (Bonferroni), so that stopping early does not make it
    too narrow.

    References
    ----------
    Golub and Meurant (2010); Ubaru, Chen and Saad (2017), SIAM J. Matrix Anal. Appl. 38, 1075-1099.

    Examples
    --------
    >>> H = from_matrix(torch.diag(torch.linspace(1, 2, 64, dtype=torch.float64)))
    >>> print(spectral_sum(H, torch.sqrt, num_steps=8).method[:8])
    sum of f
    """
    where = "spectral_sum"
    if not callable(f):
        msg = f"{where}: f must be callable, got {type(f).__name__}"
        raise TypeError(msg)
    options = sampler.sampling_of(
        where,
        operator,
        num_probes=num_probes,
        num_steps=num_steps,
        tol=tol,
        max_products=max_products,
        seed=seed,
        progress=progress,
    )
    return summed(where, operator, f, shift, eigenpairs, options, of="sum of f")


def summed(
    where: str,
    operator: Source,
    f: Callable[[Tensor], Tensor],
    shift: float,
    eigenpairs: Eigenpairs | None,
    options: sampler.Sampling,
    *,
    of: str,
) -> Estimate:
    """Estimate ``tr f(H + shift I)`` with checked options."""
    moved = finite(where, "shift", shift)
    pairs = sampler.pairs_of(where, operator, eigenpairs)

    def evaluate(rho: SpectralDensity, known: sums.Known | None, level: float) -> sums.Errors:
        return sums.estimate(rho, [sums.checked(where, f, rho, moved)], known=known, level=level)

    rho, errors = sampler.run(operator, options, pairs, evaluate)
    return sampler.additive(rho, errors, pairs, of=of)


def nuclear_norm(
    operator: Source,
    *,
    eigenpairs: Eigenpairs | None = None,
    num_probes: int | None = None,
    num_steps: int | None = None,
    tol: float | None = None,
    max_products: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Estimate:
    """Estimate ``|H|_* = tr |H|``, the sum of the moduli of all eigenvalues.

    Parameters, errors and cost are those of :func:`hesscope.spectral_sum`; ``tol`` is relative to the norm
    itself. Where eigenvalues of both signs meet at zero, quadrature converges like ``1 / num_steps^2`` only,
    and the interval says how far it is.

    Returns
    -------
    Estimate
        As :func:`hesscope.spectral_sum`.
    """
    where = "nuclear_norm"
    options = sampler.sampling_of(
        where,
        operator,
        num_probes=num_probes,
        num_steps=num_steps,
        tol=tol,
        max_products=max_products,
        seed=seed,
        progress=progress,
    )
    return summed(where, operator, torch.abs, 0.0, eigenpairs, options, of="tr |H|")


def trace_inverse(
    operator: Source,
    *,
    shift: float = 0.0,
    eigenpairs: Eigenpairs | None = None,
    num_probes: int | None = None,
    num_steps: int | None = None,
    tol: float | None = None,
    max_products: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Estimate:
    """Estimate ``tr (H + shift I)^-1`` of a definite operator.

    Parameters, errors and cost are those of :func:`hesscope.spectral_sum`.

    Returns
    -------
    Estimate
        As :func:`hesscope.spectral_sum`. Where the density's ``bounds`` do not keep the spectrum away from
        zero, one eigenvalue there could be any part of the sum: the interval is then open on that side,
        ``error`` is ``inf`` and ``method`` says so. More steps, a shift, or bounds that are known
        (``spectral_density(H, bounds=...)``) close it.

    Raises
    ------
    ValueError
        If ``H + shift I`` has Ritz values on both sides of zero, or within rounding of it: the sum is then
        dominated by eigenvalues that no number of steps resolves.
    """
    where = "trace_inverse"
    moved = finite(where, "shift", shift)
    options = sampler.sampling_of(
        where,
        operator,
        num_probes=num_probes,
        num_steps=num_steps,
        tol=tol,
        max_products=max_products,
        seed=seed,
        progress=progress,
    )
    pairs = sampler.pairs_of(where, operator, eigenpairs)

    def evaluate(rho: SpectralDensity, known: sums.Known | None, level: float) -> sums.Errors:
        low, high = float(rho.nodes.min()) + moved, float(rho.nodes.max()) + moved
        zero = sampler.ROUNDINGS * rho.rounding
        if low <= zero and high >= -zero:
            what = "indefinite" if low < -zero and high > zero else "singular to rounding"
            msg = (
                f"{where}: H + shift I must be definite, but is {what}: its Ritz values span ({low:.6g}, "
                f"{high:.6g}). Pass a shift above {moved - low + zero:.6g}"
            )
            raise ValueError(msg)
        reciprocal = sums.checked(where, torch.reciprocal, rho, moved)
        errors = sums.estimate(rho, [reciprocal], known=known, level=level)
        if _reach(rho, moved) > 0:
            return errors
        return replace(errors, **{"above" if low > 0 else "below": math.inf})

    rho, errors = sampler.run(operator, options, pairs, evaluate)
    of, reach = "tr (H + shift I)^-1", _reach(rho, moved)
    if reach <= 0:
        end = "upper" if errors.value > 0 else "lower"
        of += f" ({end} end unknown: the spectrum may reach zero or {-reach:.3g} beyond, as far as bounds go)"
    return sampler.additive(rho, errors, pairs, of=of)


def _reach(rho: SpectralDensity, shift: float) -> float:
    """Return how far the bounds of a definite operator stay away from zero; negative if they do not."""
    low, high = rho.bounds.lower + shift, rho.bounds.upper + shift
    return max(low, -high) - sampler.ROUNDINGS * rho.rounding
