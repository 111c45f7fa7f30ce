"""The Frobenius norm from random probes."""

from __future__ import annotations

import math

from torch import Tensor

from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, Estimate
from hesscope.spectrum.probing import Prober, check_eigenpairs, dots, project
from hesscope.spectrum.sampling import half_width

_WHERE = "frobenius_norm"


def frobenius_norm(
    operator: SymmetricOperator,
    *,
    products: int = 32,
    eigenpairs: Eigenpairs | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate ``|H|_F = sqrt(tr H^2)`` from ``|Hz|^2``.

    Parameters
    ----------
    operator
        n x n and symmetric, positive or not.
    products
        How many to spend, one a probe.
    eigenpairs
        Of this operator: their part is known, and only the rest is sampled.
    seed
        Of the probes.

    Returns
    -------
    Estimate
        The interval is a t-interval for the logarithm of the mean square, at 95 %: squares are skewed, and an
        interval symmetric about their mean covers too little. Without ``eigenpairs``, an H with a few
        outliers and few probes still covers less. ``status`` as for :func:`hesscope.trace`.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As :func:`hesscope.trace`.

    Notes
    -----
    Memory: 16 vectors of length n.
    """
    prober = Prober(_WHERE, operator, products=products, seed=seed, least=1)
    known, method = 0.0, "root of the mean of |Hz|^2, t-interval of its logarithm"
    if eigenpairs is None:
        samples = prober.samples(prober.budget, lambda _, w: dots(w, w))
    else:
        pairs = check_eigenpairs(_WHERE, eigenpairs, prober.operator)
        values = pairs.values.to(prober.device)
        known = float(values.square() @ dots(pairs.vectors, pairs.vectors))
        method = f"{len(pairs)} eigenpairs; the rest: {method}"

        def without(z: Tensor, w: Tensor) -> Tensor:
            return dots(w, w) - (project(pairs.vectors, z) * values).square().sum(dim=1)

        samples = prober.samples(prober.budget, without)
    mean, error = float(samples.mean()), float(half_width(samples))
    value = math.sqrt(max(known + mean, 0.0))
    if not math.isfinite(error) or mean <= 0.0:
        interval = (math.sqrt(known), math.inf) if math.isinf(error) else (value, value)
    else:
        factor = math.exp(error / mean)
        interval = (math.sqrt(known + mean / factor), math.sqrt(known + mean * factor))
    width = (interval[1] - interval[0]) / 2
    return Estimate(value, width, interval, prober.used, method, prober.status, sampling=width)
