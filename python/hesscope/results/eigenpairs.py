"""Eigenvalues with eigenvectors, and how far each pair can be trusted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hesscope.results.estimate import Status
from hesscope.results.files import Description, register, write

KIND = "eigenpairs"
_TENSORS = ("values", "vectors", "residuals", "converged")
_FIELDS = (
    "products",
    "search_products",
    "check_products",
    "verification_products",
    "norm",
    "tol",
    "verified",
    "missed",
    "message",
    "which",
    "restarts",
    "seconds",
    "memory_bytes",
)


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenpairs of a symmetric operator.

    Fewer than the k asked for are here only if the run was cut off before its basis held k vectors.

    Attributes
    ----------
    values
        Shape ``[k]``, float64, CPU. "largest", "both_ends": descending; "smallest": ascending;
        "magnitude": by falling modulus.
    vectors
        Shape ``[k, n]``, the dtype and device of the operator: orthonormal rows.
    residuals
        Shape ``[k]``, float64, CPU: ``|H x - value x|``. Some eigenvalue is that close to the value.
    converged
        Shape ``[k]``, bool: ``residuals <= tol * norm``.
    products
        All products with H: the sum of the next three.
    search_products, check_products, verification_products
        Spent on finding the pairs, on looking for missed ones, and on measuring the residuals.
    norm
        Estimate of ``|H|`` from below: the largest modulus of a Ritz value seen. Tolerances refer to it.
    tol
        The relative tolerance asked for.
    verified
        True if the residuals were measured with fresh products; False if they are those of the
        recurrence, as after an interruption.
    missed
        "none found": a Krylov space started at random, orthogonal to the pairs, held nothing that
        belongs to them; "unfinished": it was cut off; "not checked".
    status
        Why the run stopped.
    message
        The sentence of the status, with the numbers of this run.
    basis
        Where the basis was kept and why, in a sentence.
    state
        What a run can be continued from (``initial=``), with ``keep_state=True``.
    which, restarts, seconds, memory_bytes, operator
        End of the spectrum, restarts of the basis, wall time, bytes of the vectors kept, description.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    products: int
    search_products: int
    check_products: int
    verification_products: int
    norm: float
    tol: float
    verified: bool
    missed: str
    status: Status
    message: str
    which: str
    restarts: int
    seconds: float
    memory_bytes: int
    operator: Mapping[str, object] = field(repr=False)
    basis: str = ""
    state: Any = field(default=None, repr=False)

    def save(self, path: str | os.PathLike[str], *, state: bool = False) -> None:
        """Write a results file, beside ``path`` and then renamed; read it with ``hesscope.load``.

        Holds the vectors, k n numbers, so that ``eigenpairs(..., initial=eig.vectors)`` can go on from it.

        Parameters
        ----------
        path
            The file, by custom ``*.safetensors``; replaced if it exists.
        state
            Also write the basis, so that ``initial=`` can continue the run. Needs ``keep_state=True``.

        Raises
        ------
        ValueError
            If ``state=True`` and the result holds no state.
        OSError
            If the file cannot be written; a file that was there before is intact.
        """
        description = {name: getattr(self, name) for name in _FIELDS}
        description |= {"status": self.status.name, "operator": dict(self.operator)}
        tensors = {name: getattr(self, name) for name in _TENSORS}
        description["basis"] = self.basis
        if state:
            if self.state is None:
                msg = "save: state=True needs a result that holds its state; run with keep_state=True"
                raise ValueError(msg)
            description["state"] = self.state.numbers
            tensors |= self.state.tensors()
        write(path, KIND, description, tensors)

    def __len__(self) -> int:
        return self.values.shape[0]

    def __str__(self) -> str:
        pairs = zip(self.values.tolist(), self.residuals.tolist(), strict=True)
        return "\n".join([*(f"{value:14.6g} ± {residual:.1g}" for value, residual in pairs), self.message])


def _read(description: Description, tensors: dict[str, Tensor]) -> Eigenpairs:
    fields: dict[str, Any] = {name: tensors[name] for name in _TENSORS}
    fields |= {name: description[name] for name in _FIELDS}
    status, operator = Status[description["status"]], dict(description["operator"])
    basis, numbers, state = description.get("basis", ""), description.get("state"), None
    if numbers is not None:
        from hesscope.krylov.eigen_state import EigenState

        state = EigenState.read(tensors, numbers)
    return Eigenpairs(**fields, status=status, operator=operator, basis=basis, state=state)


register(KIND, _read)
