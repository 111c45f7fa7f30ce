"""How many eigenvalues carry an operator."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.results import Eigenpairs, Estimate
from hesscope.spectrum import sampler, sums
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.sampler import Source

_RANKS = ("entropy", "participation")


def effective_rank(
    operator: Source,
    *,
    kind: str = "entropy",
    eigenpairs: Eigenpairs | None = None,
    num_probes: int | None = None,
    num_steps: int | None = None,
    tol: float | None = None,
    max_products: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Estimate:
    """Estimate how many eigenvalues carry the operator, as a number between 1 and n.

    Parameters
    ----------
    operator
        n x n and symmetric, positive or not, or a :class:`SpectralDensity`: moduli of eigenvalues count.
    kind
        With ``p_i = |lambda_i| / tr |H|``: "entropy" is ``exp(-sum_i p_i log p_i)`` (Roy and Vetterli 2007),
        "participation" is ``1 / sum_i p_i^2 = (tr |H|)^2 / |H|_F^2``. The second is never the larger one.
    eigenpairs, num_probes, num_steps, tol, max_products, seed, progress
        As :func:`hesscope.spectral_sum`; ``tol`` is relative to the rank.

    Returns
    -------
    Estimate
        The interval is that of the logarithm, a jackknife t-interval, longer on the side on which what the
        probes see is skewed; with truncation and rounding. It and the value are kept within ``[1, n]``.

    Raises
    ------
    ValueError
        If the operator is zero on every probe: the rank of zero is not defined.
    TypeError, ValueError, MemoryError, RunFailed
        As :func:`hesscope.spectral_sum`.

    References
    ----------
    Roy and Vetterli (2007), EUSIPCO, 606-610.
    """
    where = "effective_rank"
    _checks.choice(where, "kind", kind, _RANKS)
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

    def entropy(means: Tensor) -> Tensor:  # tr |H|, tr |H| log |H|
        return means[0].log() - means[1] / means[0]

    def participation(means: Tensor) -> Tensor:  # tr |H|, tr H^2
        return 2 * means[0].log() - means[1].log()

    def evaluate(rho: SpectralDensity, known: sums.Known | None, level: float) -> sums.Errors:
        largest = float(rho.nodes.abs().max())
        if largest == 0:
            msg = f"{where}: operator must not be zero, whose effective rank is not defined"
            raise ValueError(msg)

        # Ranks do not depend on the scale of H; logarithms of moduli near one lose no digits.
        def modulus(x: Tensor) -> Tensor:
            return x.abs() / largest

        def second(x: Tensor) -> Tensor:
            size = modulus(x)
            return torch.special.xlogy(size, size) if kind == "entropy" else size.square()

        statistic = entropy if kind == "entropy" else participation
        errors = sums.estimate(rho, [modulus, second], statistic, known=known, level=level)
        return replace(errors, scale=1.0)

    rho, errors = sampler.run(operator, options, pairs, evaluate)
    rank = sampler.multiplicative(rho, errors, pairs, of=f"effective rank ({kind}), jackknife of its log")
    value, low, high = (min(max(x, 1.0), float(rho.n)) for x in (rank.value, *rank.interval))
    error = (high - low) / 2 if math.isfinite(rank.error) else math.inf
    return replace(rank, value=value, interval=(low, high), error=error)
