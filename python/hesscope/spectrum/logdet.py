"""The log-determinant, which an indefinite operator does not have."""

from __future__ import annotations

import math
from dataclasses import asdict

from torch import Tensor

from hesscope.krylov.arguments import finite
from hesscope.results import Eigenpairs
from hesscope.results.log_determinant import LogDeterminant
from hesscope.spectrum import sampler, sums
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.sampler import ROUNDINGS, Source

_WHERE = "logdet"


def logdet(
    operator: Source,
    *,
    shift: float = 0.0,
    absolute: bool = False,
    eigenpairs: Eigenpairs | None = None,
    num_probes: int | None = None,
    num_steps: int | None = None,
    tol: float | None = None,
    max_products: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> LogDeterminant:
    """Estimate ``log det(H + shift I)`` of a positive definite ``H + shift I``.

    Parameters
    ----------
    operator
        n x n and symmetric; or a :class:`SpectralDensity` of it, which costs no product.
    shift
        Added to every eigenvalue; must exceed the most negative one's modulus.
    absolute
        Estimate ``log |det|`` of an indefinite operator instead of refusing it.
    eigenpairs, num_probes, num_steps, tol, max_products, seed, progress
        As :func:`hesscope.spectral_sum`; ``tol`` is relative to ``tr |log(H + shift I)|``, since the
        log-determinant itself may be zero.

    Returns
    -------
    LogDeterminant
        An Estimate with ``sign``, and with ``lower_bound``: Ritz values lie inside the spectrum, so that
        positive ones show definiteness for certain only where that bound is positive too.

    Raises
    ------
    ValueError
        If a Ritz value of ``H + shift I`` is negative (then so is an eigenvalue), or zero to rounding.
        Negative nodes are never left out.
    TypeError, ValueError, MemoryError, RunFailed
        As :func:`hesscope.spectral_sum`.

    References
    ----------
    Ubaru, Chen and Saad (2017), SIAM J. Matrix Anal. Appl. 38, 1075-1099.
    """
    options = sampler.sampling_of(
        _WHERE,
        operator,
        num_probes=num_probes,
        num_steps=num_steps,
        tol=tol,
        max_products=max_products,
        seed=seed,
        progress=progress,
    )
    moved = finite(_WHERE, "shift", shift)
    pairs = sampler.pairs_of(_WHERE, operator, eigenpairs)

    def evaluate(rho: SpectralDensity, known: sums.Known | None, level: float) -> sums.Errors:
        _check_definite(rho, moved, absolute=absolute)
        function = sums.checked(_WHERE, _log_modulus, rho, moved)
        return sums.estimate(rho, [function], known=known, level=level)

    rho, errors = sampler.run(operator, options, pairs, evaluate)
    lowest, bound = float(rho.nodes.min()) + moved, rho.bounds.lower + moved
    of = "sum of log"
    if lowest > 0:
        sign = 1
        if bound <= 0:
            of += f" (all nodes positive; the spectrum is at or above {bound:.3g} as far as bounds go)"
    else:
        sign, of = _sign(rho, moved), "sum of log of the moduli"
    estimate = sampler.additive(rho, errors, pairs, of=of)
    return LogDeterminant(**asdict(estimate), sign=sign, shift=moved, lowest=lowest, lower_bound=bound)


def _log_modulus(x: Tensor) -> Tensor:
    return x.abs().log()


def _check_definite(rho: SpectralDensity, shift: float, *, absolute: bool) -> None:
    """Refuse eigenvalues that have no logarithm, or only one made of rounding."""
    moved = rho.nodes + shift
    lowest, nearest = float(moved.min()), float(moved.abs().min())
    zero = ROUNDINGS * rho.rounding
    least = shift - lowest + zero
    advice = f"Pass a shift above {max(least, shift - rho.bounds.lower):.6g}"
    if not math.isfinite(rho.bounds.lower):
        advice = f"Pass a shift above {least:.6g}, or take more num_steps to see how far above"
    if nearest <= zero:
        msg = (
            f"{_WHERE}: H + shift I must not be singular, but has the Ritz value {nearest:.3g}, zero to "
            f"rounding ({rho.rounding:.2g}). {advice}"
        )
        raise ValueError(msg)
    if lowest < 0 and not absolute:
        msg = (
            f"{_WHERE}: H + shift I must be positive definite, but has the Ritz value {lowest:.6g}, and so "
            f"an eigenvalue at or below it. {advice}; absolute=True estimates log |det| instead"
        )
        raise ValueError(msg)


def _sign(rho: SpectralDensity, shift: float) -> int:
    """Sign of the determinant, or 0 if the number of negative eigenvalues is not known to the unit."""
    low, high = rho.count(-math.inf, -shift).interval
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if first != last:
        return 0
    return -1 if first % 2 else 1
