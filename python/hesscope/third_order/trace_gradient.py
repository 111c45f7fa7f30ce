"""How the trace of H changes with the parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.results.gradient import GradientEstimate
from hesscope.spectrum.sampling import student
from hesscope.third_order.form import TrilinearForm
from hesscope.third_order.groups import ProbeGroups, Running, group_size

_WHERE = "trace_gradient"
_ROUNDINGS = 16


def trace_gradient(
    third: TrilinearForm, *, num_probes: int, seed: int, progress: bool = False
) -> GradientEstimate:
    """Estimate ``sum_i T[e_i, e_i, .]``; see ``ThirdOrder.trace_gradient``."""
    count = _checks.integer(_WHERE, "num_probes", num_probes, least=1, below=2**31)
    groups = ProbeGroups(_WHERE, third, seed, progress=progress)
    before = third.contractions
    if third.objective.n <= count:
        return _exact(third, groups)
    number, size = group_size(count)

    def sample() -> Tensor:
        z = groups.probes(size)
        return third.contract(z, z, reduction="sum") / size

    found = Running(torch.empty(third.objective.n, device=third.objective.device))
    for group in groups.each(number, sample):
        found.add(group)
    words = f"mean of T[z, z, .] over random signs, t-interval of each entry over {found.count} groups"
    return GradientEstimate(
        found.mean,
        found.half_width(student),
        0,
        f"{words} of {size}",
        groups.status,
        contractions=third.contractions - before,
    )


def _exact(third: TrilinearForm, groups: ProbeGroups) -> GradientEstimate:
    n, before = third.objective.n, third.contractions
    units = torch.eye(n, dtype=third.objective.dtype, device=third.objective.device)
    (value,) = groups.each(1, lambda: third.contract(units, units, reduction="sum").double())
    rounding = _ROUNDINGS * torch.finfo(third.objective.dtype).eps * float(value.norm())
    return GradientEstimate(
        value,
        torch.full_like(value, rounding),
        0,
        "sum of T[e, e, .] over all units, exact",
        groups.status,
        contractions=third.contractions - before,
    )
