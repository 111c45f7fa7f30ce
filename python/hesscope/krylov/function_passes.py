"""One or two Lanczos runs that put f(H) b together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.basis_plan import BasisPlan
from hesscope.krylov.elementwise import checked
from hesscope.krylov.function_iterate import Iterate, iterate
from hesscope.krylov.function_space import KrylovSpace
from hesscope.krylov.lanczos import LanczosRun, lanczos
from hesscope.krylov.recurrence import Recurrence, aligned_rows, squared_norms
from hesscope.krylov.rows import Rows
from hesscope.operators.base import SymmetricOperator
from hesscope.results import FunctionProduct, NotDefinedError, RunFailed, Status

_WHERE = "apply_function"
_SCALE = _ops.LanczosState.SCALE
_GROWTH = 1.25  # of the steps between looks at the error, whose cost grows with their square


@dataclass(frozen=True)
class Request:
    """Checked arguments of :func:`hesscope.apply_function`."""

    f: Callable[[Tensor], Tensor]
    shift: float
    num_steps: int
    tol: float | None


class _ChangedError(Exception):
    """The second pass does not repeat the first."""


class Passes:
    """The run: a first pass for the coefficients; x from its basis, or from a second pass.

    Parameters
    ----------
    operator
        n x n.
    rows
        Shape ``[K, n]``: b.
    request
        What to compute.
    plan
        Where the basis is kept, or None for two passes.
    reason
        Why, in a sentence.
    shape
        Of x.
    """

    def __init__(
        self,
        operator: SymmetricOperator,
        rows: Tensor,
        request: Request,
        plan: BasisPlan | None,
        reason: str,
        *,
        shape: torch.Size,
    ) -> None:
        self.operator, self.rows, self.request, self.plan = operator, rows, request, plan
        self.reason, self.shape = reason, shape
        largest = rows.abs().amax(dim=1).double()  # squares of small numbers vanish
        self.living = (largest > 0).nonzero()[:, 0]
        self.largest = largest[self.living]
        self.norms = self.largest * squared_norms(self._scaled()).sqrt()
        self.before = operator.products
        self.fingerprint = operator.fingerprint()
        self.eps = torch.finfo(operator.dtype).eps
        self.next_look = 0
        self.noise = False
        self.added = 0  # terms of x that the second pass has added

    def run(self, *, progress: bool) -> FunctionProduct:
        """Compute; see :func:`hesscope.apply_function`.

        Raises NotDefinedError with a KrylovSpace, which then owns the stored vectors.
        """
        if len(self.living) == 0:
            return self._result(None, torch.zeros_like(self._scaled()), Status.COMPLETE)
        k, n = len(self.living), self.rows.shape[1]
        stored: Rows | None = None
        if self.plan is not None:
            stored = self.plan.rows(k, n, dtype=self.rows.dtype, device=self.rows.device)
        try:
            result = self._run(stored, progress=progress)
        except NotDefinedError:
            raise
        except BaseException:
            self._close(stored)
            raise
        self._close(stored)
        return result

    def _close(self, stored: Rows | None) -> None:
        if stored is not None:
            stored.close()

    def _run(self, stored: Rows | None, *, progress: bool) -> FunctionProduct:
        def store(j: int, r: Recurrence) -> None:
            if stored is not None:
                stored.put(j, r.v, scale=r.scalars[:, _SCALE])

        try:
            run = lanczos(
                self.operator,
                self._start(),
                num_steps=self.request.num_steps,
                converged=None if self.request.tol is None else self._converged,
                visit=store,
                progress=progress,
            )
        except RunFailed as failure:
            try:
                first = self._iterate(failure.partial)
            except ValueError as error:
                raise self._not_defined(error, failure.partial, stored) from error
            partial = self._result(first, self._combined(stored, first), failure.partial.status)
            raise RunFailed(str(failure), partial) from failure.__cause__
        if run.alpha.shape[1] == 0:
            msg = f"{_WHERE}: operator must return finite products, but the first is not. {run.status.value}"
            raise ValueError(msg)
        try:
            return self.finish(run, stored, progress=progress)
        except NotDefinedError as error:
            raise self._not_defined(error, run, stored) from error.__cause__

    def finish(self, run: LanczosRun, stored: Rows | None, *, progress: bool) -> FunctionProduct:
        """Put x together after the first pass.

        Raises NotDefinedError, with the run, if f is not defined on a node.
        """
        try:
            status, first = self._status(run), self._iterate(run)
        except ValueError as error:
            raise NotDefinedError(str(error), run) from error
        if stored is not None:
            return self._result(first, self._combined(stored, first), status)
        return self._second_pass(run, first, status, progress=progress)

    def nodes(self, run: LanczosRun) -> Tensor:
        """Return the Ritz values of a run, ``[K, m]``."""
        return iterate(run.alpha, run.beta, torch.zeros_like, drift=0.0, eps=self.eps).nodes

    def _not_defined(self, error: Exception, run: LanczosRun, stored: Rows | None) -> NotDefinedError:
        space = KrylovSpace(self, run, stored)
        what = f"The {run.alpha.shape[1]} steps of {len(self.living)} vectors are kept"
        return NotDefinedError(f"{error}. {what}: this error's `partial` applies another f", space)

    def _scaled(self) -> Tensor:
        living = self.rows[self.living]
        return living / self.largest[:, None].to(living.dtype)

    def _start(self) -> Recurrence:
        scaled = self._scaled()
        v, v_prev = (aligned_rows(*scaled.shape, dtype=scaled.dtype, device=scaled.device) for _ in "vp")
        v.copy_(scaled)
        scalars = torch.zeros(len(v), len(_ops.LanczosState), dtype=torch.float64, device=v.device)
        scalars[:, _SCALE] = squared_norms(v).rsqrt()
        return Recurrence(v, v_prev, scalars)

    def _iterate(self, run: LanczosRun, *, drift: float = 0.0) -> Iterate:
        return self._evaluate(run.alpha, run.beta, drift)

    def _evaluate(self, alpha: Tensor, beta: Tensor, drift: float = 0.0) -> Iterate:
        size = float((alpha.abs() + beta).max())
        rounding = 2 * self.eps * size + drift
        f = checked(_WHERE, self.request.f, shift=self.request.shift, rounding=rounding)
        return iterate(alpha, beta, f, drift=rounding, eps=self.eps)

    def _converged(self, alpha: Tensor, beta: Tensor) -> bool:
        steps = alpha.shape[1]
        if steps < self.next_look:
            return False
        self.next_look = int(_GROWTH * steps)
        tol = self.request.tol or 0.0
        try:
            now = self._evaluate(alpha.cpu(), beta.cpu())
        except ValueError:
            return True  # more steps do not define f; the run ends, and says so with what it has
        allowed = tol * now.sizes
        self.noise = bool((now.rounding > allowed).any())
        return self.noise or bool((now.truncation + now.rounding <= allowed).all())

    def _status(self, run: LanczosRun) -> Status:
        if run.status is Status.CONVERGED and self.noise:
            return Status.NOISE_FLOOR
        if run.status is Status.COMPLETE and self.request.tol is not None:
            # The last steps may not have been looked at.
            self.next_look = 0
            if not self._converged(run.alpha, run.beta):
                return Status.MAX_PRODUCTS
            return Status.NOISE_FLOOR if self.noise else Status.CONVERGED
        return run.status

    def _combined(self, stored: Rows | None, first: Iterate) -> Tensor:
        x = torch.zeros_like(self._scaled())
        if stored is not None:
            coefficients = self.norms.cpu()[:, None] * first.coefficients
            stored.axpy(-coefficients.to(x.device).contiguous(), x)
            self.added = coefficients.shape[1]
        return x

    def _second_pass(
        self, run: LanczosRun, first: Iterate, status: Status, *, progress: bool
    ) -> FunctionProduct:
        x = torch.zeros_like(self._scaled())
        coefficients = self.norms[:, None] * first.coefficients.to(x.device)

        def add(j: int, r: Recurrence) -> None:
            weights = (coefficients[:, j] * r.scalars[:, _SCALE])[:, None].contiguous()
            _ops.multi_axpy(r.v[:, None, :], weights, x)
            self.added = j + 1

        def compare(alpha: Tensor, beta: Tensor) -> bool:
            self._drift(run, alpha.cpu(), beta.cpu())
            return False

        what = "operator must return the same products in the second pass as in the first"
        try:
            self._same_operator()
            again = lanczos(
                self.operator,
                self._start(),
                num_steps=run.alpha.shape[1],
                converged=compare,
                visit=add,
                progress=progress,
            )
            drift = self._drift(run, again.alpha, again.beta, status=again.status)
        except _ChangedError as error:
            self.added = 0  # a sum that mixes two operators is worth nothing
            partial = self._result(first, torch.zeros_like(x), Status.OPERATOR_FAILED)
            msg = f"{_WHERE}: {what}, but the coefficients differ; basis='host' or 'disk' needs one pass only"
            raise RunFailed(msg, partial) from error
        except Exception as error:
            partial = self._result(first, x, Status.OPERATOR_FAILED)
            msg = f"{_WHERE}: the operator failed in step {self.added} of the second pass: {error}"
            raise RunFailed(msg, partial) from error
        if again.status is Status.INTERRUPTED:
            status = Status.INTERRUPTED
        return self._result(self._iterate(run, drift=drift) if drift > 0 else first, x, status)

    def _same_operator(self) -> None:
        if self.operator.fingerprint() != self.fingerprint:
            raise _ChangedError

    def _drift(self, run: LanczosRun, alpha: Tensor, beta: Tensor, status: Status | None = None) -> float:
        """Return how far the coefficients are from those of the first pass, or raise if that is too far."""
        m = alpha.shape[1]
        if status is Status.NONFINITE_OPERATOR:
            raise _ChangedError
        if m == 0:
            return 0.0
        size = float((run.alpha.abs() + run.beta).max())
        off = float(torch.maximum((alpha - run.alpha[:, :m]).abs(), (beta - run.beta[:, :m]).abs()).max())
        if not off <= (0.0 if self.operator.bitwise_rows else self.eps**0.5 * size):  # NaN too
            raise _ChangedError
        return off

    def _result(self, first: Iterate | None, x: Tensor, status: Status) -> FunctionProduct:
        """Put the rows where they belong, and say how far x is from f(H) b."""
        count = self.rows.shape[0]
        whole, at = torch.zeros_like(self.rows), self.living.cpu()
        whole[self.living] = x
        estimate, steps = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.int64)
        nodes = torch.zeros(count, 0 if first is None else first.nodes.shape[1], dtype=torch.float64)
        if first is not None:
            missing = first.coefficients[:, self.added :].norm(dim=1)
            estimate[at] = self.norms.cpu() * (first.truncation + first.rounding + missing)
            nodes[at], steps[at] = first.nodes, first.steps
        sizes = squared_norms(whole).sqrt().cpu()
        relative = torch.where(estimate > 0, estimate / sizes, 0.0)
        worst = f"The largest estimate of an error is {float(relative.max()):.2g} of |x|."
        return FunctionProduct(
            x=whole.reshape(self.shape),
            estimate=estimate,
            relative=relative,
            nodes=nodes,
            steps=steps,
            products=self.operator.products - self.before,
            basis=self.reason,
            status=status,
            message=f"{status.value} {worst}",
        )
