"""The state of a search for eigenpairs: from it a run goes on as if it had not been stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hesscope.krylov.basis_plan import BasisPlan
from hesscope.krylov.eigen_check import MissedCheck
from hesscope.krylov.eigen_report import Settings
from hesscope.krylov.thick_restart import ThickRestartBasis

_TENSORS = ("rows", "front", "recent", "matrix", "coupling", "along", "known")
_BASIS = ("norm", "restarts", "neglected", "next_probe", "scale")
_AGREED = ("k", "which", "tol", "seed", "block")


class Searching(Protocol):
    """What the state holds of a search."""

    basis: ThickRestartBasis
    settings: Settings
    plan: BasisPlan
    check: MissedCheck | None
    spent: dict[str, int]
    phase: str
    missed: str
    refined: bool
    best: float
    patience: int


@dataclass(frozen=True, eq=False)
class EigenState:
    """Where a search stands.

    Attributes
    ----------
    rows, front, recent
        Shape ``[m, n]``, ``[p, n]`` and ``[r, n]``: the basis, the pending rows, and the last rows that went
        into the basis, as they were before they were stored, where that is another thing.
    matrix, coupling
        Shape ``[m, m]`` and ``[p, m]``, float64: H on the basis.
    along
        Shape ``[m]`` or ``[0]``, float64: what the pending row still has along the basis.
    known
        Shape ``[k]`` or ``[0]``: the values that a check for missed pairs began with.
    numbers
        Counters, and what must agree to go on: k, which, tol, seed, block, capacity, storage.
    """

    rows: Tensor
    front: Tensor
    recent: Tensor
    matrix: Tensor
    coupling: Tensor
    along: Tensor
    known: Tensor
    numbers: dict[str, Any]

    @classmethod
    def of(cls, search: Searching) -> EigenState:
        """Copy the state of a search."""
        basis, check = search.basis, search.check
        m = basis.length
        numbers: dict[str, Any] = {name: getattr(basis, name) for name in _BASIS}
        numbers |= {name: getattr(search.settings, name) for name in _AGREED}
        numbers |= {
            "capacity": search.plan.num_vectors,
            "storage": search.plan.storage,
            "defects": list(basis.defects),
            "spent": dict(search.spent),
            "missed": search.missed,
            "refined": search.refined,
            "best": search.best if math.isfinite(search.best) else None,
            "patience": search.patience,
            "check": None if check is None else [check.steps, check.least, check.most],
        }
        return cls(
            rows=basis.store.get(0, m).clone(),
            front=basis.front.clone(),
            recent=basis.recent.clone(),
            matrix=basis.matrix[:m, :m].clone(),
            coupling=basis.coupling.clone(),
            along=basis.along.clone(),
            known=torch.zeros(0, dtype=torch.float64) if check is None else check.known,
            numbers=numbers,
        )

    def restore(self, search: Searching) -> None:
        """Put this state into a search for the same pairs, whose basis has the same capacity."""
        basis, numbers = search.basis, self.numbers
        device, m = basis.operator.device, self.rows.shape[0]
        basis.store.put(0, self.rows.to(device))
        basis.front, basis.recent = self.front.to(device).clone(), self.recent.to(device).clone()
        basis.matrix.zero_()
        basis.matrix[:m, :m] = self.matrix
        basis.coupling, basis.length, basis.along = self.coupling.clone(), m, self.along.clone()
        for name in _BASIS:
            setattr(basis, name, numbers[name])
        basis.defects = list(numbers["defects"])
        search.spent = dict(numbers["spent"])
        search.missed, search.patience = numbers["missed"], numbers["patience"]
        search.best = math.inf if numbers["best"] is None else numbers["best"]
        if numbers["check"] is not None:
            search.check, search.phase = MissedCheck(self.known, *numbers["check"]), "check"

    def check_operator(self, basis: ThickRestartBasis) -> int:
        """Raise ValueError if a restored basis is that of another operator; return the products that took."""
        if len(basis.recent):
            index, row = basis.length - basis.recent.shape[0], basis.recent[:1]
        elif basis.store.exact and basis.length:
            index, row = basis.length - 1, self.rows[-1:].to(basis.operator.device)
        else:
            return 0
        was = float(basis.matrix[index, index])
        found = float((basis.operator.rows(row).detach().double() * row.double()).sum())
        # Rounding of a product is far below this even in low precision, where its errors average out.
        allowed = 1e-3 if row.dtype == torch.float32 else 1e-6
        if not abs(found - was) <= allowed * basis.norm:
            msg = (
                "eigenpairs: initial must be the state of a run with the same operator, but the last product "
                f"has {found:.6g} along its vector where the state has {was:.6g}; load the same parameters "
                "and data"
            )
            raise ValueError(msg)
        return 1

    def must_agree(self, settings: Settings, plan: BasisPlan) -> None:
        """Raise ValueError unless a run asks for what the run of this state asked for."""
        wanted = {name: getattr(settings, name) for name in _AGREED}
        wanted |= {"capacity": plan.num_vectors, "storage": plan.storage}
        for name, value in wanted.items():
            if self.numbers[name] != value:
                msg = (
                    f"eigenpairs: initial holds the state of a run with {name}={self.numbers[name]!r}, got "
                    f"{value!r}; pass its vectors to start another search from them"
                )
                raise ValueError(msg)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors, for a file."""
        return {f"state_{name}": getattr(self, name) for name in _TENSORS}

    @classmethod
    def read(cls, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> EigenState:
        """Rebuild from the parts of a file."""
        return cls(**{name: tensors[f"state_{name}"] for name in _TENSORS}, numbers=numbers)
