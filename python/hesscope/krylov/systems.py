"""K linear systems from start to measured residuals: recurrences, restarts, and why each one stopped."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope.krylov.conjugate import (
    CONVERGED,
    GOING,
    INDEFINITE,
    SINGULAR,
    ConjugateGradients,
    Minres,
    Recurrence,
    dots,
)
from hesscope.krylov.interrupt import Interruption, deferred_interrupt
from hesscope.krylov.progress import Bar, progress_bar
from hesscope.operators.base import SymmetricOperator
from hesscope.results import RunFailed, Solution, Status

_WHERE = "solve"
_HELPS = 0.5  # a restart that leaves more than this of the residual is the last
_LOOK_EVERY = 8  # steps between looks of the host at a device
_METHODS: dict[str, type[Recurrence]] = {"minres": Minres, "cg": ConjugateGradients}
_NAMES = {"minres": "MINRES", "cg": "conjugate gradients"}


@dataclass(frozen=True)
class Options:
    """Checked options of :func:`hesscope.solve`."""

    method: str
    shift: float
    tol: float
    limit: int
    preconditioner: SymmetricOperator | None


class _StopError(Exception):
    """Ends the run with a status."""

    def __init__(self, status: Status) -> None:
        self.status = status


class Systems:
    """The systems and how far they are.

    Attributes
    ----------
    x
        Shape ``[K, n]``.
    residual
        Shape ``[K, n]``: ``b - (H + shift I) x``, measured.
    norms, targets
        Shape ``[K]``, float64: the norms of the residuals, and those to reach.
    """

    def __init__(
        self, operator: SymmetricOperator, b: Tensor, initial: Tensor | None, options: Options
    ) -> None:
        self.operator, self.options, self.b = operator, options, b
        self.before, self.fingerprint = operator.products, operator.fingerprint()
        self.x = torch.zeros_like(b) if initial is None else initial.clone()
        self.start = initial is not None
        self.residual = b.clone()
        self.norms = dots(b, b).sqrt()
        self.scales, self.targets = self.norms.clone(), options.tol * self.norms
        self.state = torch.where(self.norms <= self.targets, CONVERGED, GOING)
        self.stalled = torch.zeros_like(self.state, dtype=torch.bool)
        self.steps, self.negative = torch.zeros_like(self.state), torch.zeros_like(self.stalled)

    @property
    def products(self) -> int:
        """Products with H so far."""
        return self.operator.products - self.before

    def run(self, *, progress: bool) -> Solution:
        """Solve; see :func:`hesscope.solve`."""
        label = f"{_NAMES[self.options.method]}, {self.b.shape[0]} right-hand sides"
        with (
            deferred_interrupt() as interruption,
            progress_bar(label, self.options.limit, shown=progress) as bar,
        ):
            try:
                if self.start:
                    self._measure(torch.arange(self.b.shape[0], device=self.b.device))
                while True:
                    rows = (self.state == GOING).nonzero()[:, 0]
                    if len(rows) == 0:
                        return self._solution(None)
                    self._attempt(rows, interruption, bar)
            except _StopError as stop:
                return self._solution(stop.status)
            except Exception as error:
                if self.products == 0 or (isinstance(error, ValueError) and self.products <= len(self.b)):
                    raise
                msg = (
                    f"{_WHERE}: the operator failed after {self.products} products: {type(error).__name__}: "
                    f"{error}. What was found before is in this error's `partial`"
                )
                raise RunFailed(msg, self._solution(Status.OPERATOR_FAILED)) from error

    def _product(self, rows: Tensor) -> Tensor:
        products = self.operator.rows(rows).detach()
        if self.operator.fingerprint() != self.fingerprint:
            msg = "operator must not change during a run, but its parameters, buffers or data did"
            raise RuntimeError(msg)
        if self.options.shift:
            products = products.add(rows, alpha=self.options.shift)
        return products.contiguous()

    def _attempt(self, rows: Tensor, interruption: Interruption, bar: Bar) -> None:
        """Run the recurrences of some systems from their residuals, and add what they find."""
        preconditioner = self.options.preconditioner
        recurrence = _METHODS[self.options.method](
            self._product,
            None if preconditioner is None else preconditioner.rows,
            self.residual[rows],
            self.targets[rows] * torch.where(self.steps[rows] > 0, _HELPS, 1.0),
        )
        self._require_positive(recurrence)
        stop: Status | None = None
        every, done = 1 if self.b.device.type == "cpu" else _LOOK_EVERY, 0
        try:
            while len(rows) and stop is None:
                active = len(rows)
                if self.products + 2 * active > self.options.limit:
                    stop = Status.MAX_PRODUCTS
                    break
                recurrence.step()
                done += 1
                bar.update(active)
                self.steps[rows] += 1
                if done % every and not interruption.requested:
                    continue
                self._require_positive(recurrence)
                if not bool(recurrence.d.isfinite().all()):
                    stop = self._nonfinite()
                    break
                if interruption.requested:
                    stop = Status.INTERRUPTED
                rows = self._take(recurrence, rows)
        finally:
            self._collect(recurrence, rows)
        if stop is not None:
            raise _StopError(stop)

    def _require_positive(self, recurrence: Recurrence) -> None:
        if recurrence.preconditioned and bool(recurrence.indefinite.any()):
            msg = f"{_WHERE}: preconditioner must be positive definite, got one with negative curvature"
            raise ValueError(msg)

    def _nonfinite(self) -> Status:
        if self.products <= 2 * len(self.b):
            msg = f"{_WHERE}: operator must return finite products. {Status.NONFINITE_OPERATOR.value}"
            raise ValueError(msg)
        return Status.NONFINITE_OPERATOR

    def _take(self, recurrence: Recurrence, rows: Tensor) -> Tensor:
        """Take out the systems that are done; return those that go on."""
        going = recurrence.state == GOING
        if bool(going.all()):
            return rows
        done = (~going).nonzero()[:, 0]
        self._add(rows[done], recurrence.d[done], recurrence.state[done], recurrence.negative[done])
        recurrence.keep(going.nonzero()[:, 0])
        return rows[going]

    def _collect(self, recurrence: Recurrence, rows: Tensor) -> None:
        """Keep what an attempt that was cut off has found, where it is finite."""
        finite = recurrence.d.isfinite().all(dim=1).nonzero()[:, 0] if len(rows) else rows
        if len(finite):
            self.x[rows[finite]] += recurrence.d[finite]
            self.negative[rows[finite]] |= recurrence.negative[finite]

    def _add(self, rows: Tensor, d: Tensor, state: Tensor, negative: Tensor) -> None:
        """Add corrections, measure the residuals, and judge."""
        before, x = self.norms[rows], self.x[rows]
        residual = self.residual[rows]
        self.x[rows] = x + d
        self.negative[rows] |= negative
        self._measure(rows)
        worse = self.norms[rows] > before  # by rounding, near singularity
        if bool(worse.any()):
            back = rows[worse]
            self.x[back], self.residual[back] = x[worse], residual[worse]
            self.norms[back] = before[worse]
        solved, helped = self.norms[rows] <= self.targets[rows], self.norms[rows] <= _HELPS * before
        final = torch.where(state == CONVERGED, GOING, state)  # the recurrence's word is not the last
        final = torch.where(solved, CONVERGED, final)
        stalled = (final == GOING) & ~helped
        self.stalled[rows] |= stalled
        self.state[rows] = torch.where(stalled, CONVERGED, final)

    def _measure(self, rows: Tensor) -> None:
        residual = self.b[rows] - self._product(self.x[rows])
        norms = dots(residual, residual).sqrt()
        if not bool(norms.isfinite().all()):
            raise _StopError(self._nonfinite())
        self.residual[rows], self.norms[rows] = residual, norms
        if self.start:
            self.start = False
            self.state[rows] = torch.where(norms <= self.targets[rows], CONVERGED, GOING)

    def _solution(self, status: Status | None) -> Solution:
        """Measure what an interruption left unmeasured, and say how it ended."""
        left = (self.state == GOING).nonzero()[:, 0]
        if len(left) and status in (Status.INTERRUPTED, Status.MAX_PRODUCTS):
            residual = self.b[left] - self._product(self.x[left])
            self.norms[left] = dots(residual, residual).sqrt()
        elif len(left):
            self.norms[left] = torch.nan
        converged = self.norms <= self.targets
        if status is None or bool(converged.all()):
            status = self._status(converged)
        relative = torch.where(self.scales > 0, self.norms / self.scales, 0.0)
        message = status.value
        if status is not Status.CONVERGED:
            message += (
                f" {int(converged.sum())} of {len(converged)} systems are solved to {self.options.tol:g}."
            )
        known = "" if self.options.preconditioner is None else ", preconditioned"
        return Solution(
            x=self.x,
            residuals=self.norms.cpu(),
            relative=relative.cpu(),
            converged=converged.cpu(),
            steps=self.steps.cpu(),
            negative_curvature=self.negative.cpu(),
            products=self.products,
            method=_NAMES[self.options.method] + known,
            status=status,
            message=message,
        )

    def _status(self, converged: Tensor) -> Status:
        if bool(converged.all()):
            return Status.CONVERGED
        if bool((self.state == INDEFINITE).any()):
            return Status.INDEFINITE
        if bool((self.state == SINGULAR).any()):
            return Status.SINGULAR
        return Status.NOISE_FLOOR
