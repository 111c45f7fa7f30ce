"""The diagonal of a symmetric operator from random probes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, VectorEstimate
from hesscope.spectrum.probing import Prober, check_eigenpairs, project
from hesscope.spectrum.sampling import student
from hesscope.spectrum.sketch import Sketch, xdiag

METHODS = ("xdiag", "rademacher", "deflated")
_WHERE = "diagonal"
_LEAST = {"xdiag": 4, "rademacher": 1, "deflated": 1}


def diagonal(
    operator: SymmetricOperator,
    *,
    method: str = "xdiag",
    products: int = 32,
    eigenpairs: Eigenpairs | None = None,
    seed: int = 0,
) -> VectorEstimate:
    """Estimate the diagonal of H, with an error for each entry.

    Parameters
    ----------
    operator
        n x n and symmetric, positive or not.
    method
        "xdiag": exact on the range of a sketch, leave-one-out samples outside it; best where the spectrum
        decays. "rademacher": mean of z * Hz over random signs; the variance of an entry is the sum of squares
        of the others in its row. "deflated": the same for what is left of H without ``eigenpairs``.
    products
        How many to spend; at least 4 for "xdiag".
    eigenpairs
        For "deflated". The estimate is unbiased even if they are not accurate.
    seed
        Of the probes.

    Returns
    -------
    VectorEstimate
        ``error``: half-widths of t-intervals, entry by entry, infinite for a single probe; with few probes an
        entry's samples take few values, and the interval is rough. For "xdiag" an error estimate that is not
        calibrated. ``status`` as for :func:`hesscope.trace`.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As :func:`hesscope.trace`.

    Notes
    -----
    Memory: 16 vectors, and two in float64; "xdiag": 2 ``products`` vectors, and once more in float64.

    References
    ----------
    Bekas, Kokiopoulou and Saad (2007); Epperly, Tropp and Webber (2024), XDiag.
    """
    method = _checks.choice(_WHERE, "method", method, METHODS)
    prober = Prober(_WHERE, operator, products=products, seed=seed, least=_LEAST[method])
    if (eigenpairs is None) == (method == "deflated"):
        needed = "be given" if eigenpairs is None else "be None"
        msg = f"{_WHERE}: eigenpairs must {needed} for method={method!r}"
        raise ValueError(msg)
    if method == "xdiag":
        sketch = Sketch(prober, min(prober.budget // 2, prober.n), kind="rademacher")
        value, deviation = xdiag(sketch)
        count = sketch.basis.shape[0]
        words = "XDiag; errors estimated by leaving out probes, not calibrated"
    else:
        pairs = None if eigenpairs is None else check_eigenpairs(_WHERE, eigenpairs, prober.operator)
        value, deviation, count = _sampled(prober, pairs)
        words = "mean of z * Hz over random signs, t-interval for each entry"
        words = words if pairs is None else f"{len(pairs)} eigenpairs, and {words} without them"
    width = student(count - 1) / math.sqrt(count) if count > 1 else math.inf
    error = deviation * width if count > 1 else torch.full_like(deviation, math.inf)
    return VectorEstimate(value, error, prober.used, words, prober.status)


def _sampled(prober: Prober, pairs: Eigenpairs | None) -> tuple[Tensor, Tensor, int]:
    """Mean and standard deviation of ``z * (H - known) z`` plus the known diagonal, and the number of z."""
    mean = torch.zeros(prober.n, dtype=torch.float64, device=prober.device)
    spread, count = torch.zeros_like(mean), 0
    for z, w in prober.pairs(prober.budget):
        rest = w.double() if pairs is None else w.double() - _known(pairs, z)
        for sample in z.double() * rest:  # Welford (1962): no sum of squares that cancels
            count += 1
            change = sample - mean
            mean += change / count
            spread += change * (sample - mean)
    if pairs is not None:
        for value, vector in zip(pairs.values.tolist(), pairs.vectors, strict=True):
            mean += value * vector.double().square()
    return mean, (spread / max(count - 1, 1)).sqrt(), count


def _known(pairs: Eigenpairs, z: Tensor) -> Tensor:
    """Multiply rows ``[K, n]`` by the part of H that the eigenpairs hold, in float64."""
    coefficients = project(pairs.vectors, z) * pairs.values.to(z.device)
    return coefficients @ pairs.vectors.double()
