"""Lanczos recurrences in lockstep: K vectors, one product of K rows a step, float64 coefficients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.basis import make_basis
from hesscope.krylov.basis_plan import BasisPlan
from hesscope.krylov.far_rows import StorageError
from hesscope.krylov.interrupt import deferred_interrupt
from hesscope.krylov.progress import progress_bar
from hesscope.krylov.recurrence import Recurrence, is_extreme, normalize
from hesscope.operators.base import SymmetricOperator
from hesscope.results import RunFailed, Status

LOOK_EVERY = 8  # steps between looks of the host at the device's coefficients
BREAKDOWN_ROUNDINGS = 8  # a residual of so many eps of the operator's size is rounding

Converged = Callable[[Tensor, Tensor], bool]
Visit = Callable[[int, Recurrence], None]


@dataclass(frozen=True, eq=False)
class LanczosRun:
    """Coefficients of K recurrences.

    Attributes
    ----------
    alpha, beta
        Shape ``[K, m]``, float64, CPU: the diagonal and the couplings, ``beta[:, m - 1]`` the norm of the
        last residual. A beta of exactly 0 ends a recurrence; zeros follow it.
    status
        Why the run stopped.
    orthogonality
        Largest ``|q_i . q_j - delta_ij|`` of the vectors with reorthogonalisation, else None.
    projections
        Steps in which the vectors were projected: all with "full", few with "selective".
    """

    alpha: Tensor
    beta: Tensor
    status: Status
    orthogonality: float | None
    projections: int = 0


def lanczos(
    operator: SymmetricOperator,
    recurrence: Recurrence,
    *,
    num_steps: int,
    reorthogonalize: str = "none",
    plan: BasisPlan | None = None,
    converged: Converged | None = None,
    visit: Visit | None = None,
    progress: bool = False,
    keep_state: bool = True,
) -> LanczosRun:
    """Take up to ``num_steps`` steps of K recurrences (Paige 1972, variant A27).

    Stops early when every recurrence has ended, the operator returns NaN or inf, ``converged`` says so,
    or the user presses Ctrl-C (once; what is done is returned).

    Parameters
    ----------
    operator
        n x n.
    recurrence
        Where to start, on the device of the operator. Written: at the end it holds the state to go on from.
    num_steps
        At least 1.
    reorthogonalize
        "none": three vectors a recurrence. "full": all m vectors, projected in every step. "selective":
        all m, projected where Simon's recurrence asks for it. The last two must start afresh.
    plan
        Where the m vectors are kept; default: in the memory of the device.
    converged
        Called every 8 steps with alpha and beta so far, ``[K, j]`` on the device.
    visit
        Called before step j, from 0 on, with j and the recurrence, whose vectors are then ``scale * v``.
    progress
        Show a bar.
    keep_state
        Whether ``recurrence`` will be used again; what its vectors hold is undefined if not.

    Raises
    ------
    RunFailed
        If a product raises an error, or what the operator depends on changes, after the first step;
        ``partial`` is the LanczosRun of the steps before.

    Notes
    -----
    K products a step. Without reorthogonalisation a step moves 28 bytes an element in float32, beside the
    product; 24 with it where the operator has fused steps.
    """
    run = _Run(
        operator, recurrence, num_steps, reorthogonalize, converged, plan, visit, keep_state=keep_state
    )
    label = f"Lanczos, {recurrence.v.shape[0]} probes"
    with (
        contextlib.closing(run),
        deferred_interrupt() as interruption,
        progress_bar(label, num_steps, shown=progress) as bar,
    ):
        for done in range(1, num_steps + 1):
            with run.keeping(done - 1):
                run.step(done - 1)
            bar.update()
            if done % LOOK_EVERY == 0 or done == num_steps or interruption.requested:
                run.look(done, interrupted=interruption.requested)
            if run.status is not None:
                break
        return run.result()


class _Run:
    """A run in progress."""

    def __init__(
        self,
        operator: SymmetricOperator,
        recurrence: Recurrence,
        num_steps: int,
        reorthogonalize: str,
        converged: Converged | None,
        plan: BasisPlan | None,
        visit: Visit | None,
        *,
        keep_state: bool,
    ) -> None:
        self.operator, self.recurrence = operator, recurrence
        self.converged, self.visit, self.keep_state = converged, visit, keep_state
        like = recurrence.v
        self.alpha = torch.zeros(like.shape[0], num_steps, dtype=torch.float64, device=like.device)
        self.beta = torch.zeros_like(self.alpha)
        self.basis = (
            None
            if reorthogonalize == "none"
            else make_basis(num_steps, like, selective=reorthogonalize == "selective", plan=plan)
        )
        self.fused = None
        if self.basis is None and visit is None:
            self.fused = operator.fused_steps(like, recurrence.v_prev, recurrence.scalars)
        # Where the operator makes new memory for its products anyway, a buffer would only cost more.
        with torch.inference_mode(False):  # an engine writes in place, which inference tensors refuse
            self.product = torch.empty_like(like) if operator.writes_into and self.fused is None else None
        self.tolerance = BREAKDOWN_ROUNDINGS * torch.finfo(like.dtype).eps
        self.fingerprint = operator.fingerprint()
        self.extreme = False  # whether the product of an unnormalised vector may overflow or underflow
        self.status: Status | None = None
        self.steps = 0

    def step(self, j: int) -> None:
        """Take step j of every recurrence."""
        r, alpha, beta = self.recurrence, self.alpha[:, j], self.beta[:, j]
        if j < 2 and not self.extreme:  # the first product tells, or a run before
            self.extreme = is_extreme(r)
            if self.extreme:
                self._leave_fused()
        if self.extreme:
            normalize(r)
        if self.fused is not None:
            self.fused.step(alpha, beta, breakdown_tolerance=self.tolerance)
            self.operator.products += r.v.shape[0]
            return
        if self.visit is not None:
            self.visit(j, r)
        if self.basis is not None:
            self.basis.begin(r)
        product = self.operator.rows(r.v, out=self.product).detach()
        if product.stride(-1) != 1 and product.shape[-1] > 1:
            product = product.contiguous()
        if self.basis is not None:
            self.basis.advance(r, product, alpha, beta, breakdown_tolerance=self.tolerance)
            return
        _ops.lanczos_update(
            product, r.v, r.v_prev, r.v_prev, r.scalars, alpha, beta, breakdown_tolerance=self.tolerance
        )
        r.v, r.v_prev = r.v_prev, r.v

    @contextlib.contextmanager
    def keeping(self, done: int) -> Iterator[None]:
        """Turn an error of the operator, after the first step, into one that keeps ``done`` steps."""
        try:
            yield
        except Exception as error:
            if done == 0:
                raise
            self.judge(done, interrupted=False)
            if isinstance(error, StorageError):
                self._fail(f"the basis could not be stored in step {done + 1}: {error}", error)
            self._fail(f"the operator failed in step {done + 1}: {type(error).__name__}: {error}", error)

    def _fail(self, what: str, cause: Exception | None) -> NoReturn:
        if self.steps == 0:
            msg = f"lanczos: {what}"
            raise RuntimeError(msg) from cause
        stored = not isinstance(cause, StorageError)
        self.status = Status.OPERATOR_FAILED if stored else Status.STORAGE_FAILED
        msg = f"lanczos: {what}. The {self.steps} steps before are in this error's `partial`"
        raise RunFailed(msg, self.result()) from cause

    def _leave_fused(self) -> None:
        """Go on with separate steps, between which vectors can be scaled."""
        if self.fused is not None:
            self.fused.hand_back(self.recurrence.v, self.recurrence.v_prev)
            self.fused = None

    def close(self) -> None:
        """Give the basis back, and the recurrence what it is to go on from."""
        if self.fused is not None and self.keep_state:
            self.fused.hand_back(self.recurrence.v, self.recurrence.v_prev)
        if self.basis is not None:
            self.basis.rows.close()

    def look(self, done: int, *, interrupted: bool) -> None:
        """Let the host look at the first ``done`` steps and decide whether to stop."""
        if self.operator.fingerprint() != self.fingerprint:
            what = "operator must not change during a run, but its parameters, buffers or data did within the"
            self._fail(f"{what} last {done - self.steps} steps", None)
        self.judge(done, interrupted=interrupted)

    def judge(self, done: int, *, interrupted: bool) -> None:
        """Find the steps that are good, and whether to stop."""
        alpha, beta = self.alpha[:, :done], self.beta[:, :done]
        finite = (alpha.isfinite() & beta.isfinite()).all(dim=0)
        self.steps = done
        if not bool(finite.all()):
            self.steps = int(finite.long().argmin())
            self.status = Status.NONFINITE_OPERATOR
        elif bool((beta == 0).any(dim=1).all()):
            self.steps = int((beta == 0).long().argmax(dim=1).max()) + 1
            self.status = Status.INVARIANT_SUBSPACE
        elif interrupted:
            self.status = Status.INTERRUPTED
        elif self.converged is not None and self.converged(alpha, beta):
            self.status = Status.CONVERGED

    def result(self) -> LanczosRun:
        """Return what was computed."""
        orthogonality, projections = None, 0
        if self.basis is not None:
            orthogonality, projections = self.basis.orthogonality(), self.basis.projections
        return LanczosRun(
            self.alpha[:, : self.steps].cpu().contiguous(),
            self.beta[:, : self.steps].cpu().contiguous(),
            self.status or Status.COMPLETE,
            orthogonality,
            projections,
        )
