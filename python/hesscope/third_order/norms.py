"""The Frobenius norm of the third derivative from random pairs of directions."""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.krylov.recurrence import squared_norms
from hesscope.results import Estimate
from hesscope.spectrum.sampling import CONFIDENCE
from hesscope.third_order.form import TrilinearForm
from hesscope.third_order.groups import ProbeGroups

_WHERE = "frobenius_norm"
_BATCH = 8
_RESAMPLES, _AT_ONCE = 2000, 250


def frobenius_norm(third: TrilinearForm, *, num_pairs: int, seed: int, progress: bool = False) -> Estimate:
    """Estimate ``|T|_F`` from ``|T[u, v, .]|^2``; see ``ThirdOrder.frobenius_norm``."""
    count = _checks.integer(_WHERE, "num_pairs", num_pairs, least=1, below=2**30)
    groups = ProbeGroups(_WHERE, third, seed, progress=progress)
    before = third.contractions

    def sample() -> Tensor:
        u, v = groups.probes(_BATCH), groups.probes(_BATCH)
        return squared_norms(third.contract(u, v)).cpu()

    squares = torch.cat(list(groups.each(-(-count // _BATCH), sample)))[:count]
    mean = float(squares.mean())
    lower, upper = log_bootstrap(squares, groups.seed)
    interval = (math.sqrt(lower), math.sqrt(upper))
    error = (interval[1] - interval[0]) / 2
    return Estimate(
        math.sqrt(mean),
        error,
        interval,
        third.contractions - before,
        f"root of the mean of |T[u, v, .]|^2 over {len(squares)} pairs of random signs; bootstrap-t interval "
        "of its logarithm",
        groups.status,
        sampling=error,
    )


def log_bootstrap(samples: Tensor, seed: int) -> tuple[float, float]:
    """Return the bootstrap-t interval at 95 % of a positive mean, on the scale of its logarithm.

    For samples that are skewed, as squares are, where a t-interval covers too little (Efron and Tibshirani
    1993, section 12.5; the standard error of a logarithm is that of the mean, divided by the mean).

    Parameters
    ----------
    samples
        Shape ``[N]``, float64, CPU, not negative.
    seed
        Of the resampling.
    """
    count, mean = len(samples), float(samples.mean())
    if count < 2:
        return 0.0, math.inf
    spread = float(samples.std()) / math.sqrt(count)
    if mean == 0 or spread <= 4 * torch.finfo(torch.float64).eps * mean:
        return mean, mean
    generator = torch.Generator().manual_seed(seed % 2**63)
    deviations = []
    for _ in range(0, _RESAMPLES, _AT_ONCE):
        drawn = samples[torch.randint(count, (_AT_ONCE, count), generator=generator)]
        means, deviation = drawn.mean(dim=1), drawn.std(dim=1) / math.sqrt(count)
        deviations.append((means / mean).log() * means / deviation)
    sorted_ = torch.cat(deviations).nan_to_num(nan=0.0).sort().values
    tail = round((1 - CONFIDENCE) / 2 * len(sorted_))
    low, high = float(sorted_[tail]), float(sorted_[-1 - tail])
    return mean * math.exp(-high * spread / mean), mean * _exponential(-low * spread / mean)


def _exponential(x: float) -> float:
    """Return ``exp(x)``, ``inf`` where two samples say so little that it is beyond all numbers."""
    return math.exp(x) if x < math.log(sys.float_info.max) else math.inf
