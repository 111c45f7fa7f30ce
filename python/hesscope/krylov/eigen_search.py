"""The search behind ``eigenpairs``: expand, test, restart; check for missed pairs; measure residuals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hesscope.krylov.basis_plan import BasisPlan
from hesscope.krylov.eigen_check import MissedCheck
from hesscope.krylov.eigen_report import Settings, described, measured_residuals, refined_capacity
from hesscope.krylov.eigen_state import EigenState
from hesscope.krylov.far_rows import StorageError
from hesscope.krylov.growing_basis import NonFiniteError
from hesscope.krylov.interrupt import Interruption, deferred_interrupt
from hesscope.krylov.orthonormal import orthonormalize
from hesscope.krylov.progress import Bar, progress_bar
from hesscope.krylov.thick_restart import ThickRestartBasis
from hesscope.krylov.wanted import select
from hesscope.operators.base import SymmetricOperator
from hesscope.results import RunFailed, Status

_AIM = 0.9  # of the tolerance, so that measured residuals, with their rounding, meet it
_PROGRESS = 0.5  # a round that does not shrink the largest residual to this has met the noise
_PATIENCE = 3  # cycles without that progress, at a residual of so many
_NOISES = 4  # times the noise of products, and the search has met it, too
_LOOK_EVERY = 8  # products between looks at what the operator depends on
_BFLOAT16_FLOOR = 2**-8  # of |H|: residuals of vectors made of rows in bfloat16, whose rounding is 2^-9
_FLOOR_ROUNDINGS = 8  # no residual is aimed at below so many eps |H|


class Search:
    """One run."""

    def __init__(
        self,
        operator: SymmetricOperator,
        settings: Settings,
        *,
        limit: int,
        plan: BasisPlan,
        progress: bool,
    ) -> None:
        self.operator, self.settings, self.limit, self.progress = operator, settings, limit, progress
        self.plan = plan
        self.basis = ThickRestartBasis(
            operator, capacity=plan.num_vectors, block=settings.block, seed=settings.seed, plan=plan
        )
        self.fine = max(_AIM * settings.tol, _FLOOR_ROUNDINGS * torch.finfo(operator.dtype).eps)
        self.aim = self.fine if self.basis.store.exact else max(self.fine, _BFLOAT16_FLOOR)
        self.refined = False
        self.check: MissedCheck | None = None  # one that is under way
        self.best, self.patience = torch.inf, 0
        self.fingerprint = operator.fingerprint()
        self.spent = {"search": 0, "check": 0, "verification": 0}
        self.phase = "search"
        self.missed = "not checked"
        self.unseen = 0  # products since the last look at the fingerprint
        self.interruption = Interruption()
        self.bar: Bar

    @property
    def tol(self) -> float:
        """The residual that counts as none, relative to the norm of H."""
        return max(self.settings.tol, self.aim)

    def run(self, *, check_missed: bool, initial: Tensor | EigenState | None) -> dict[str, Any]:
        """Search, check and verify; return the fields of the result."""
        with (
            deferred_interrupt() as self.interruption,
            progress_bar("eigenpairs", self.limit, shown=self.progress) as self.bar,
        ):
            try:
                return self._run(check_missed=check_missed, initial=initial)
            except NonFiniteError:
                if self.basis.length == 0:
                    msg = "eigenpairs: operator must return finite products, but the first is not. "
                    raise ValueError(msg + Status.NONFINITE_OPERATOR.value) from None
                return self._unverified(Status.NONFINITE_OPERATOR)
            finally:
                self.basis.store.close()

    def _run(self, *, check_missed: bool, initial: Tensor | EigenState | None) -> dict[str, Any]:
        if initial is None:
            self.basis.add_random(self.settings.block)
        elif isinstance(initial, EigenState):
            if initial.numbers["refined"] and not self.basis.store.exact:
                self._refined_basis()
            initial.restore(self)
            self._count(initial.check_operator(self.basis))
        else:
            products = self.operator.rows(initial).detach()
            self._count(initial.shape[0])
            residuals = self._adopt(initial, products)
            enough = residuals.shape[0] == self.settings.k
            if enough and not check_missed and float(residuals.max()) <= self.settings.tol * self.basis.norm:
                return self._fields(*self._extract(), residuals, Status.CONVERGED, verified=True)
        status = Status.CONVERGED if self.check is not None else self._iterate()
        while status is Status.CONVERGED and check_missed and self.missed != "none found" and self._missing():
            self.phase = "search"
            status = self._iterate()
        if not self.must_stop() and not self.basis.store.exact:
            status = self._refine()
        if self.interruption.requested:
            return self._unverified(Status.INTERRUPTED)
        if status is Status.CONVERGED and not self.settings.verify:
            return self._unverified(status)
        return self._verified(status)

    def wanted(self, values: Tensor) -> Tensor:
        """Return the indices of the wanted values, as many as there are yet."""
        return select(values, self.settings.which, min(self.settings.k, values.shape[0]))

    def _adopt(self, vectors: Tensor, products: Tensor) -> Tensor:
        """Start from orthonormal rows; return the residuals of the wanted pairs among them."""
        residuals = self.basis.adopt(vectors, products, wanted=self.wanted, negligible=self.aim / 10)
        if self.basis.exhausted:
            self.basis.add_random(1)
        return residuals

    def _iterate(self) -> Status:
        """Expand and restart until the wanted pairs have converged or something stops it."""
        while (worst := self._worst()) > self.aim * self.basis.norm:
            if self.interruption.requested:
                return Status.INTERRUPTED
            if self.must_stop():
                return Status.MAX_PRODUCTS
            if worst <= _PROGRESS * self.best:
                self.best = worst
                self.patience = _PATIENCE * (self.basis.capacity - self.settings.k)
            if self.patience <= 0 and worst <= _NOISES * self.basis.noise:
                return Status.NOISE_FLOOR
            self.patience -= self.basis.pending
            self.step()
        return Status.CONVERGED

    def _refine(self) -> Status:
        """Go on from the pairs of a basis in bfloat16 in a smaller one that is not rounded."""
        coarse, self.phase = self.basis, "search"
        _, vectors = self._extract()
        orthonormalize(vectors, negligible=0.0)  # rows in bfloat16 are orthogonal to 2^-9 / sqrt(n) only
        with self._keeping():
            products = self.operator.rows(vectors).detach()
        self._count(vectors.shape[0])
        coarse.store.close()
        self._refined_basis()
        self.basis.norm, self.basis.restarts = coarse.norm, coarse.restarts
        self.basis.next_probe = coarse.next_probe
        self._adopt(vectors, products)
        return self._iterate()

    def _refined_basis(self) -> None:
        capacity = min(refined_capacity(self.settings.k), self.operator.shape[0])
        self.basis = ThickRestartBasis(
            self.operator, capacity=capacity, block=self.settings.block, seed=self.settings.seed
        )
        self.refined, self.aim, self.best = True, self.fine, torch.inf

    def step(self) -> None:
        """Expand the basis, after a restart where it is full."""
        basis = self.basis
        with self._keeping():
            self._restart_if_full()
            spent = basis.expand()
        self._count(spent)

    def _restart_if_full(self) -> None:
        basis, k = self.basis, self.settings.k
        if basis.full:
            # Half of the free rows keep what is known beyond the wanted pairs: measured best or near best.
            room = basis.capacity + basis.block - 2 * basis.pending - k
            kept = min(k + max(room // 2, 0), basis.length - 1)
            values, _, residuals = basis.ritz()
            wanted = self.wanted(values)
            unfinished = wanted[residuals[wanted] > self.aim * basis.norm]
            basis.restart(
                select(values, self.settings.which, kept),
                matters=unfinished,
                negligible=0.1 * self.aim * basis.norm,
            )

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        """Turn an error of the operator into one that keeps the pairs found before."""
        try:
            yield
        except NonFiniteError:
            raise
        except Exception as error:
            if self.basis.length == 0 or self.basis.turning:
                raise
            if isinstance(error, StorageError):
                msg = f"eigenpairs: {error.strerror}. The pairs before are in this error's `partial`"
                raise RunFailed(msg, self._unverified(Status.STORAGE_FAILED)) from error
            what = f"product {sum(self.spent.values()) + 1}: {type(error).__name__}: {error}"
            msg = f"eigenpairs: the operator failed in {what}. The pairs before are in this error's `partial`"
            raise RunFailed(msg, self._unverified(Status.OPERATOR_FAILED)) from error

    def _worst(self) -> float:
        """Return the largest residual of a wanted pair, infinite while there are fewer than k."""
        basis = self.basis
        if basis.exhausted and basis.length > 0:
            return 0.0
        if basis.length < self.settings.k:
            return torch.inf
        values, _, residuals = basis.ritz()
        return float(residuals[self.wanted(values)].max())

    def must_stop(self) -> bool:
        """Whether the user or the limit on products ends the run."""
        spent = self.spent["search"] + self.spent["check"] + self.basis.pending
        return self.interruption.requested or spent > self.limit

    def _missing(self) -> bool:
        """Look for wanted pairs outside the Krylov spaces seen; return whether there are any."""
        if self.basis.exhausted:
            self.missed = "none found"
            return False
        settings = self.settings
        if self.check is None:
            with self._keeping():
                self.check = MissedCheck.begin(self, spent=self.spent["search"], k=settings.k)
        self.phase, self.missed = "check", "unfinished"
        found = self.check.run(self, which=settings.which, k=settings.k)
        if found == "unfinished":
            return False
        self.missed, self.check = ("not checked" if found == "some" else found), None
        self.best, self.patience = torch.inf, 0
        return found == "some"

    def _verified(self, status: Status) -> dict[str, Any]:
        """Measure residuals; where they exceed what was aimed at, search on until that or the noise."""
        self.phase, before = "verification", torch.inf
        while True:
            values, vectors = self._extract()
            with self._keeping():
                products = self.operator.rows(vectors).detach()
            self._count(vectors.shape[0])
            residuals = measured_residuals(values, vectors, products)
            if not bool(residuals.isfinite().all()):
                raise NonFiniteError
            worst = float(residuals.max())
            if worst <= self.settings.tol * self.basis.norm and len(values) == self.settings.k:
                status = Status.CONVERGED
                break
            if status not in (Status.CONVERGED, Status.NOISE_FLOOR):
                break
            if worst > _PROGRESS * before:
                status = Status.NOISE_FLOOR
                break
            before, self.phase = worst, "search"
            self._adopt(vectors, products)
            status = self._iterate()
            self.phase = "verification"
        return self._fields(values, vectors, residuals, status, verified=True)

    def _unverified(self, status: Status) -> dict[str, Any]:
        values, _, residuals = self.basis.ritz()
        wanted = self.wanted(values)
        lacking = torch.tensor(self.basis.neglected, dtype=torch.float64)
        return self._fields(*self._extract(), residuals[wanted].hypot(lacking), status, verified=False)

    def _extract(self) -> tuple[Tensor, Tensor]:
        """Return the wanted Ritz values ``[k]`` and vectors ``[k, n]``."""
        values, vectors, _ = self.basis.ritz()
        wanted = self.wanted(values)
        return values[wanted], self.basis.ritz_vectors(vectors[:, wanted])

    def _count(self, products: int) -> None:
        self.spent[self.phase] += products
        self.unseen += products
        self.bar.update(products)
        if self.unseen >= _LOOK_EVERY or self.phase == "verification":
            self.unseen = 0
            if self.operator.fingerprint() != self.fingerprint:
                msg = (
                    "eigenpairs: operator must not change during a run, but its parameters, buffers or data "
                    f"did within the last {_LOOK_EVERY} products"
                )
                if self.basis.length == 0:
                    raise RuntimeError(msg)
                raise RunFailed(msg, self._unverified(Status.OPERATOR_FAILED))

    def _fields(
        self, values: Tensor, vectors: Tensor, residuals: Tensor, status: Status, *, verified: bool
    ) -> dict[str, Any]:
        fields = described(
            self.settings, values, vectors, residuals, status, norm=self.basis.norm, spent=self.spent
        )
        state = EigenState.of(self) if self.settings.keep_state else None
        return fields | {
            "verified": verified,
            "missed": self.missed,
            "restarts": self.basis.restarts,
            "basis": self.plan.reason,
            "state": state,
        }
