"""The search behind ``eigenpairs``: expand, test, restart; check for missed pairs; measure residuals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.interrupt import Interruption, deferred_interrupt
from hesscope.krylov.progress import Bar, progress_bar
from hesscope.krylov.recurrence import squared_norms
from hesscope.krylov.thick_restart import NonFiniteError, ThickRestartBasis
from hesscope.krylov.wanted import differ, select
from hesscope.operators.base import SymmetricOperator
from hesscope.results import RunFailed, Status

_AIM = 0.9  # of the tolerance, so that measured residuals, with their rounding, meet it
_PROGRESS = 0.5  # a round that does not shrink the largest residual to this has met the noise
_PATIENCE = 3  # cycles without that progress, at a residual of so many
_NOISES = 4  # times the noise of products, and the search has met it, too
_LOOK_EVERY = 8  # products between looks at what the operator depends on
_FLOOR_ROUNDINGS = 8  # no residual is aimed at below so many eps |H|


@dataclass(frozen=True)
class Settings:
    """Checked arguments of ``eigenpairs``."""

    k: int
    which: str
    tol: float
    max_products: int | None
    seed: int
    block: int


class Search:
    """One run."""

    def __init__(
        self,
        operator: SymmetricOperator,
        settings: Settings,
        *,
        capacity: int,
        limit: int,
        memory_bytes: int,
        progress: bool,
    ) -> None:
        self.operator, self.settings, self.limit = operator, settings, limit
        self.memory_bytes, self.progress = memory_bytes, progress
        self.basis = ThickRestartBasis(operator, capacity=capacity, block=settings.block, seed=settings.seed)
        self.aim = max(_AIM * settings.tol, _FLOOR_ROUNDINGS * torch.finfo(operator.dtype).eps)
        self.fingerprint = operator.fingerprint()
        self.spent = {"search": 0, "check": 0, "verification": 0}
        self.phase = "search"
        self.missed = "not checked"
        self.unseen = 0  # products since the last look at the fingerprint
        self.interruption = Interruption()
        self.bar: Bar

    def run(self, *, check_missed: bool, initial: Tensor | None) -> dict[str, Any]:
        """Search, check and verify; return the fields of the result."""
        with (
            deferred_interrupt() as self.interruption,
            progress_bar("eigenpairs", self.limit, shown=self.progress) as self.bar,
        ):
            try:
                return self._run(check_missed=check_missed, initial=initial)
            except NonFiniteError:
                if self.basis.length == 0:
                    sentence = Status.NONFINITE_OPERATOR.value
                    msg = (
                        f"eigenpairs: operator must return finite products, but the first is not. {sentence}"
                    )
                    raise ValueError(msg) from None
                return self._unverified(Status.NONFINITE_OPERATOR)

    def _run(self, *, check_missed: bool, initial: Tensor | None) -> dict[str, Any]:
        if initial is None:
            self.basis.add_random(self.settings.block)
        else:
            products = self.operator.rows(initial).detach()
            self._count(initial.shape[0])
            residuals = self._adopt(initial, products)
            enough = residuals.shape[0] == self.settings.k
            if enough and not check_missed and float(residuals.max()) <= self.settings.tol * self.basis.norm:
                return self._fields(*self._extract(), residuals, Status.CONVERGED, verified=True)
        status = self._iterate()
        while status is Status.CONVERGED and check_missed and self._missing():
            self.phase = "search"
            status = self._iterate()
        if self.interruption.requested:
            return self._unverified(Status.INTERRUPTED)
        return self._verified(status)

    def _wanted(self, values: Tensor) -> Tensor:
        return select(values, self.settings.which, min(self.settings.k, values.shape[0]))

    def _adopt(self, vectors: Tensor, products: Tensor) -> Tensor:
        """Start from orthonormal rows; return the residuals of the wanted pairs among them."""
        residuals = self.basis.adopt(vectors, products, wanted=self._wanted, negligible=self.aim / 10)
        if self.basis.exhausted:
            self.basis.add_random(1)
        return residuals

    def _iterate(self) -> Status:
        """Expand and restart until the wanted pairs have converged or something stops it."""
        best, patience = torch.inf, 0
        while (worst := self._worst()) > self.aim * self.basis.norm:
            if self.interruption.requested:
                return Status.INTERRUPTED
            if self._spent_all():
                return Status.MAX_PRODUCTS
            if worst <= _PROGRESS * best:
                best, patience = worst, _PATIENCE * (self.basis.capacity - self.settings.k)
            if patience <= 0 and worst <= _NOISES * self.basis.noise:
                return Status.NOISE_FLOOR
            patience -= self.basis.pending
            self._step()
        return Status.CONVERGED

    def _step(self) -> None:
        basis, k = self.basis, self.settings.k
        if basis.full:
            # Half of the free rows keep what is known beyond the wanted pairs: measured best or near best.
            room = basis.capacity + basis.block - 2 * basis.pending - k
            kept = min(k + max(room // 2, 0), basis.length - 1)
            values, _, residuals = basis.ritz()
            wanted = self._wanted(values)
            unfinished = wanted[residuals[wanted] > self.aim * basis.norm]
            basis.restart(
                select(values, self.settings.which, kept),
                matters=unfinished,
                negligible=0.1 * self.aim * basis.norm,
            )
        with self._keeping():
            spent = basis.expand()
        self._count(spent)

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        """Turn an error of the operator into one that keeps the pairs found before."""
        try:
            yield
        except NonFiniteError:
            raise
        except Exception as error:
            if self.basis.length == 0:
                raise
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
        return float(residuals[self._wanted(values)].max())

    def _spent_all(self) -> bool:
        return self.spent["search"] + self.spent["check"] + self.basis.pending > self.limit

    def _missing(self) -> bool:
        """Look for wanted pairs outside the Krylov spaces seen; return whether there are any.

        At least one cycle of fresh steps from a random vector orthogonal to the pairs; more, up to half of
        what the search took, while the outermost of the new Ritz values could still move past the pairs.
        """
        basis, k = self.basis, self.settings.k
        if basis.exhausted:
            self.missed = "none found"
            return False
        self.phase, self.missed = "check", "unfinished"
        values, _, _ = basis.ritz()
        wanted = self._wanted(values)
        known = values[wanted]
        basis.begin_anew(wanted)
        least, most = basis.capacity - k, max(basis.capacity - k, self.spent["search"] // 2)
        margin = 2 * max(self.settings.tol, self.aim) * basis.norm
        steps = 0
        while steps < most and not basis.exhausted:
            if self.interruption.requested or self._spent_all():
                return False
            before = basis.length
            self._step()
            steps += 1
            values, _, residuals = basis.ritz()
            if differ(known, values[self._wanted(values)], self.settings.which, margin):
                self.missed = "not checked"
                return True
            if steps >= least and before < basis.length and self._settled(values, residuals):
                break
        self.missed = "none found"
        return False

    def _settled(self, values: Tensor, residuals: Tensor) -> bool:
        """Whether the first Ritz values beyond the wanted ones are closer to an eigenvalue than to those."""
        k, which = self.settings.k, self.settings.which
        if values.shape[0] <= k + 1:
            return False
        wanted = self._wanted(values)
        beyond = [i for i in select(values, which, k + 2).tolist() if i not in wanted.tolist()]
        gaps = [(values[wanted] - values[i]).abs().min() for i in beyond]
        return all(bool(residuals[i] < gap) for i, gap in zip(beyond, gaps, strict=True))

    def _verified(self, status: Status) -> dict[str, Any]:
        """Measure residuals; where they exceed what was aimed at, search on until that or the noise."""
        self.phase, before = "verification", torch.inf
        while True:
            values, vectors = self._extract()
            with self._keeping():
                products = self.operator.rows(vectors).detach()
            self._count(vectors.shape[0])
            residuals = self._residuals(values, vectors, products)
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
        wanted = self._wanted(values)
        lacking = torch.tensor(self.basis.neglected, dtype=torch.float64)
        return self._fields(*self._extract(), residuals[wanted].hypot(lacking), status, verified=False)

    def _extract(self) -> tuple[Tensor, Tensor]:
        """Return the wanted Ritz values ``[k]`` and vectors ``[k, n]``."""
        values, vectors, _ = self.basis.ritz()
        wanted = self._wanted(values)
        return values[wanted], self.basis.ritz_vectors(vectors[:, wanted])

    @staticmethod
    def _residuals(values: Tensor, vectors: Tensor, products: Tensor) -> Tensor:
        """``|H x - value x|`` with sums in float64: ``[k]``."""
        left = products.clone(memory_format=torch.contiguous_format)
        shifts = -values.to(left.device)[:, None]
        _ops.multi_axpy(vectors[:, None, :], shifts, left)
        return squared_norms(left).sqrt().cpu()

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
                raise RuntimeError(msg)

    def _fields(
        self, values: Tensor, vectors: Tensor, residuals: Tensor, status: Status, *, verified: bool
    ) -> dict[str, Any]:
        norm, tol = self.basis.norm, self.settings.tol
        converged = residuals <= tol * norm
        count, worst = int(converged.sum()), float(residuals.max()) / norm if norm > 0 else 0.0
        message = (
            f"{status.value} {count} of {self.settings.k} pairs converged to {tol:.2g} |H|; the largest "
            f"residual is {worst:.2g} |H|."
        )
        return {
            "values": values,
            "vectors": vectors,
            "residuals": residuals,
            "converged": converged,
            "products": sum(self.spent.values()),
            **{f"{phase}_products": number for phase, number in self.spent.items()},
            "norm": norm,
            "tol": tol,
            "verified": verified,
            "missed": self.missed,
            "status": status,
            "message": message,
            "restarts": self.basis.restarts,
        }
