"""The injective norm of the third derivative: the largest T[x, x, x] over unit vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.krylov.recurrence import squared_norms
from hesscope.results import Estimate, Status
from hesscope.results.injective_norm import InjectiveNorm
from hesscope.spectrum.probing import dots
from hesscope.third_order.directions import rows
from hesscope.third_order.form import TrilinearForm
from hesscope.third_order.groups import ProbeGroups
from hesscope.third_order.norms import frobenius_norm

_WHERE = "injective_norm"
_ROUNDINGS = 16


def injective_norm(
    third: TrilinearForm,
    *,
    num_starts: int,
    num_steps: int,
    tol: float,
    initial: Tensor | None,
    frobenius: Estimate | None,
    num_pairs: int,
    seed: int,
    progress: bool,
) -> InjectiveNorm:
    """Search for ``max T[x, x, x]``; see ``ThirdOrder.injective_norm``."""
    starts = _checks.integer(_WHERE, "num_starts", num_starts, least=0 if initial is not None else 1)
    steps = _checks.integer(_WHERE, "num_steps", num_steps, least=1)
    pairs = _checks.integer(_WHERE, "num_pairs", num_pairs)
    aim = _checks.real(_WHERE, "tol", tol)
    if not 0 < aim < math.inf:
        msg = f"{_WHERE}: tol must be positive and finite, got {aim}"
        raise ValueError(msg)
    if frobenius is not None and not isinstance(frobenius, Estimate):
        msg = f"{_WHERE}: frobenius must be what frobenius_norm returns, got {type(frobenius).__name__}"
        raise TypeError(msg)
    groups = ProbeGroups(_WHERE, third, seed, progress=progress)
    before = third.contractions
    x = groups.probes(starts, kind="gaussian")
    if initial is not None:
        x = torch.cat([*rows(third.objective, _WHERE, initial=initial), x])
    climb = _Climb(third, x, aim)
    for _ in groups.each(steps, climb.step):
        if climb.arrived():
            groups.status = Status.CONVERGED
            break
    if frobenius is None and pairs:
        frobenius = frobenius_norm(third, num_pairs=pairs, seed=groups.seed, progress=progress)
    return climb.result(groups.status, frobenius, third.contractions - before)


class _Climb:
    """SS-HOPM from many starts, each with a shift that grows where its value would fall."""

    def __init__(self, third: TrilinearForm, x: Tensor, tol: float) -> None:
        self.third, self.tol = third, tol
        sizes = squared_norms(x).sqrt()
        if not bool((sizes > 0).all() & torch.isfinite(sizes).all()):
            msg = f"{_WHERE}: initial must hold finite rows that are not zero"
            raise ValueError(msg)
        self.x = x / sizes.to(x.dtype)[:, None]
        self.y = torch.zeros_like(self.x)
        self.value = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
        self.residual = torch.full_like(self.value, math.inf)
        self.shift = torch.zeros_like(self.value)
        self.active = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.started = False

    def step(self) -> Tensor:
        """Take one step of every start that still moves; return the new values."""
        rows = self.active.nonzero()[:, 0]
        trial = self.x[rows]
        if self.started:
            trial = self.y[rows] + self.shift[rows].to(trial.dtype)[:, None] * trial
            sizes = squared_norms(trial).sqrt().clamp_min(torch.finfo(trial.dtype).tiny)
            trial = trial / sizes.to(trial.dtype)[:, None]
        y = self.third.contract(trial, trial)
        value = dots(y, trial)
        if not self.started:  # of x and -x one has a value that is not negative
            sign = torch.where(value < 0, -1.0, 1.0).to(trial.dtype)
            trial, value, self.started = trial * sign[:, None], value.abs(), True
        size = squared_norms(y).sqrt()
        slack = _ROUNDINGS * torch.finfo(trial.dtype).eps * size
        rises = value >= self.value[rows] - slack
        good, bad = rows[rises], rows[~rises]
        self.x[good], self.y[good], self.value[good] = trial[rises], y[rises], value[rises]
        self.residual[good] = (size[rises].square() - value[rises].square()).clamp_min(0).sqrt()
        self.shift[good] *= 0.5
        self.shift[bad] = torch.maximum(2 * self.shift[bad], 0.5 * squared_norms(self.y[bad]).sqrt())
        self.active[good] = self.residual[good] > self.tol * size[rises]
        return value

    def arrived(self) -> bool:
        """Tell whether every start is at a stationary value."""
        return not bool(self.active.any())

    def result(self, status: Status, frobenius: Estimate | None, contractions: int) -> InjectiveNorm:
        """Return the best."""
        best = int(self.value.argmax())
        x, value = self.x[best].clone(), float(self.value[best])
        size = float(squared_norms(self.y[best : best + 1]).sqrt())
        lower = max(value - _ROUNDINGS * torch.finfo(x.dtype).eps * size, 0.0)
        upper = math.inf if frobenius is None else max(frobenius.interval[1], value)
        bound = "no upper bound" if frobenius is None else "up to the interval of the Frobenius norm"
        return InjectiveNorm(
            value,
            (upper - lower) / 2,
            (lower, upper),
            contractions,
            f"shifted symmetric power method from {len(self.value)} starts: a lower bound; {bound}",
            status,
            vector=x,
            residual=float(self.residual[best]),
            values=self.value.sort(descending=True).values.cpu(),
        )
