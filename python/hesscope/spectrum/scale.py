"""The size of an operator that tolerances of a trace refer to."""

from __future__ import annotations

import torch

from hesscope.krylov.lanczos import lanczos
from hesscope.krylov.recurrence import Recurrence, squared_norms
from hesscope.results import Eigenpairs
from hesscope.spectrum import quadrature
from hesscope.spectrum.deflation import DeflatedOperator
from hesscope.spectrum.probing import Prober

STEPS = 8  # the Gauss rule of |x| is then right to a few percent, and exact where one sign prevails


def nuclear_norm_scale(prober: Prober, pairs: Eigenpairs | None) -> float:
    """Estimate ``tr|H|`` from one probe and 8 steps of Lanczos, known eigenpairs taken out.

    An estimate without an interval: what a tolerance is relative to, no more.

    Raises
    ------
    ValueError
        If the first product is not finite.
    """
    operator, known, rank = prober.operator, 0.0, 0
    if pairs is not None and 0 < len(pairs) < prober.n:
        operator = DeflatedOperator(operator, pairs.vectors, pairs.values, pairs.residuals)
        known, rank = float(pairs.values.abs().sum()), len(pairs)
    v = prober.probes(1)
    scalars = torch.zeros(1, 4, dtype=torch.float64, device=v.device)
    scalars[:, 0] = squared_norms(v).rsqrt()
    start = Recurrence(v, torch.empty_like(v), scalars)
    if isinstance(operator, DeflatedOperator):
        operator.enter(start)
    before = operator.products
    run = lanczos(operator, start, num_steps=min(STEPS, prober.n - rank))
    prober.used += operator.products - before
    if run.alpha.shape[1] == 0:
        msg = f"{prober.where}: operator must return finite products. {run.status.value}"
        raise ValueError(msg)
    rule = quadrature.gauss(run.alpha, run.beta)
    return known + (prober.n - rank) * float((rule.weights * rule.nodes.abs()).sum())
