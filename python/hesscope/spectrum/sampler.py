"""From an operator or a density to an estimate: probes and steps are added until a tolerance holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hesscope import _checks
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, Estimate, NotDefinedError, Status
from hesscope.spectrum import sums
from hesscope.spectrum.density import spectral_density
from hesscope.spectrum.probing import check_eigenpairs
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.resume import resume
from hesscope.spectrum.sampling import CONFIDENCE
from hesscope.spectrum.sums import Errors, Known, known_pairs

Source = SymmetricOperator | SpectralDensity
Evaluate = Callable[[SpectralDensity, Known | None, float], Errors]
PROBES, STEPS = 8, 100
ROUNDINGS = 4  # a node within so many roundings of zero is zero
_GROWTH = 64  # the default limit: so many times the products of the first sample
_LARGEST = 700.0  # whose exponential float64 holds
_STOPPED = (Status.INTERRUPTED, Status.NONFINITE_OPERATOR)


@dataclass(frozen=True)
class Sampling:
    """Checked options of a function that samples.

    Attributes
    ----------
    num_probes, num_steps
        Of the first sample.
    tol
        Relative tolerance, or None: then the first sample is all.
    max_products
        Limit with ``tol``.
    seed
        Of the probes.
    progress
        Show bars.
    """

    num_probes: int
    num_steps: int
    tol: float | None
    max_products: int
    seed: int
    progress: bool


def sampling_of(
    where: str,
    source: object,
    *,
    num_probes: int | None,
    num_steps: int | None,
    tol: float | None,
    max_products: int | None,
    seed: int,
    progress: bool,
) -> Sampling:
    """Check the options; with a density as the source those of a run must be left out."""
    given = {"num_probes": num_probes, "num_steps": num_steps, "tol": tol, "max_products": max_products}
    if isinstance(source, SpectralDensity):
        for name, value in given.items():
            if value is not None:
                msg = f"{where}: {name} must be None with a SpectralDensity, whose run is over, got {value!r}"
                raise ValueError(msg)
        return Sampling(source.num_probes, source.num_steps, None, 0, source.seed, progress=False)
    if not isinstance(source, SymmetricOperator):
        msg = (
            f"{where}: operator must be a SymmetricOperator (hesscope.from_matrix, from_function and "
            f"from_scipy make one) or a SpectralDensity, got {type(source).__name__}"
        )
        raise TypeError(msg)
    probes = PROBES if num_probes is None else num_probes
    steps = STEPS if num_steps is None else num_steps
    probes = _checks.integer(where, "num_probes", probes, least=1, below=2**32)
    steps = min(_checks.integer(where, "num_steps", steps, least=1), source.shape[0])
    if tol is None and max_products is not None:
        msg = f"{where}: max_products must be None without tol: num_probes * num_steps are spent"
        raise ValueError(msg)
    if tol is not None and probes < 2:
        msg = f"{where}: num_probes must be at least 2 with tol, got {probes}"
        raise ValueError(msg)
    first = probes * steps
    limit = _GROWTH * first
    if max_products is not None:
        limit = _checks.integer(where, "max_products", max_products, least=first)
    return Sampling(
        probes,
        steps,
        None if tol is None else tolerance(where, tol),
        limit,
        _checks.integer(where, "seed", seed),
        progress,
    )


def tolerance(where: str, tol: object) -> float:
    """Return a positive, finite tolerance, or raise TypeError or ValueError."""
    value = _checks.real(where, "tol", tol)
    if value <= 0 or math.isinf(value):
        msg = f"{where}: tol must be positive and finite, got {value}"
        raise ValueError(msg)
    return value


def pairs_of(where: str, source: Source, eigenpairs: Eigenpairs | None) -> Eigenpairs | None:
    """Return eigenpairs that fit the source, or raise TypeError or ValueError."""
    if eigenpairs is None:
        return None
    if isinstance(source, SymmetricOperator):
        return check_eigenpairs(where, eigenpairs, source)
    if source.deflation is not None:  # its probes were orthogonal to them
        msg = f"{where}: eigenpairs must be None with a density that was deflated, which holds them exactly"
        raise ValueError(msg)
    if not isinstance(eigenpairs, Eigenpairs) or eigenpairs.vectors.shape[1] != source.n:
        size = eigenpairs.vectors.shape[1] if isinstance(eigenpairs, Eigenpairs) else None
        got = type(eigenpairs).__name__ if size is None else f"n = {size}"
        msg = f"{where}: eigenpairs must be those of the density's operator, with n = {source.n}, got {got}"
        raise (TypeError if size is None else ValueError)(msg)
    dtype = str(eigenpairs.vectors.dtype)
    if dtype != source.operator["dtype"]:
        msg = f"{where}: eigenpairs must be {source.operator['dtype']} as the density, got {dtype}"
        raise TypeError(msg)
    return eigenpairs


def sample(source: Source, sampling: Sampling, *, keep_state: bool = False) -> SpectralDensity:
    """Return the density itself, or run the first sample of an operator."""
    if isinstance(source, SpectralDensity):
        return source
    return spectral_density(
        source,
        num_probes=sampling.num_probes,
        num_steps=sampling.num_steps,
        seed=sampling.seed,
        progress=sampling.progress,
        keep_state=keep_state,
    )


def run(
    source: Source, sampling: Sampling, pairs: Eigenpairs | None, evaluate: Evaluate
) -> tuple[SpectralDensity, Errors]:
    """Sample, and with ``tol`` go on until ``errors.total <= tol * errors.scale``.

    Steps are doubled while the quadrature's error takes more than half of the tolerance, then the probes.
    The interval is looked at after each doubling of the probes only, each of the L looks that the limit on
    products allows at a level of 5 % / L: so it holds at 95 % whenever it stops (Bonferroni).

    Returns
    -------
    SpectralDensity, Errors
        The density with status CONVERGED or MAX_PRODUCTS if ``tol`` is given.
    """
    tol = sampling.tol
    if tol is None or isinstance(source, SpectralDensity):
        rho = sample(source, sampling)
        return rho, _evaluated(evaluate, rho, pairs, 1 - CONFIDENCE)
    level = (1 - CONFIDENCE) / _looks(sampling)
    rho = sample(source, sampling, keep_state=True)
    while True:
        errors = _evaluated(evaluate, rho, pairs, level)
        if rho.status in _STOPPED:
            return rho, errors
        allowed = tol * errors.scale
        if errors.total <= allowed:
            return replace(rho, status=Status.CONVERGED), errors
        bigger: dict[str, Any] = {"num_probes": 2 * rho.num_probes}
        if errors.quadrature > allowed / 2 and rho.num_steps < rho.n:
            bigger = {"num_steps": min(2 * rho.num_steps, rho.n)}
        # Two more than that: the checks of resume.
        cost = 2 + rho.num_probes * rho.num_steps * (2 if "num_probes" in bigger else 1)
        if rho.products + cost > sampling.max_products or errors.rounding > allowed:
            return replace(rho, status=_why_not(errors, allowed)), errors
        rho = resume(rho, source, **bigger, progress=sampling.progress, keep_state=True)


def _evaluated(evaluate: Evaluate, rho: SpectralDensity, pairs: Eigenpairs | None, level: float) -> Errors:
    """Evaluate, and keep the density in the error if that is not possible."""
    known = None if pairs is None else known_pairs(rho, pairs)
    try:
        return evaluate(rho, known, level)
    except ValueError as error:
        raise NotDefinedError(str(error), rho) from error


def _why_not(errors: Errors, allowed: float) -> Status:
    return Status.NOISE_FLOOR if errors.rounding > allowed else Status.MAX_PRODUCTS


def _looks(sampling: Sampling) -> int:
    return 1 + int(math.log2(sampling.max_products / (sampling.num_probes * sampling.num_steps)))


def additive(rho: SpectralDensity, errors: Errors, pairs: Eigenpairs | None, *, of: str) -> Estimate:
    """Return value ± error as an Estimate."""
    return _made(rho, errors.value, errors.interval, errors, pairs, of)


def multiplicative(rho: SpectralDensity, errors: Errors, pairs: Eigenpairs | None, *, of: str) -> Estimate:
    """Return an Estimate of a positive number whose logarithm, with its errors, is given."""
    value = math.exp(errors.value)
    low, high = errors.interval
    # One probe knows nothing; what an exponential does not hold is as good as nothing.
    interval = (math.exp(low), math.exp(high) if high < _LARGEST else math.inf)
    return _made(rho, value, interval, errors, pairs, of)


def _made(
    rho: SpectralDensity,
    value: float,
    interval: tuple[float, float],
    errors: Errors,
    pairs: Eigenpairs | None,
    of: str,
) -> Estimate:
    known = "" if pairs is None else f"{len(pairs)} eigenpairs as a control variate; "
    width = (interval[1] - interval[0]) / 2
    return Estimate(
        value,
        width if math.isfinite(width) else math.inf,
        interval,
        rho.products,
        f"{of}: {known}{sums.METHOD}",
        rho.status,
        sampling=errors.sampling,
        quadrature=errors.quadrature,
    )
