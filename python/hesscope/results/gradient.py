"""Gradients of numbers that belong to the spectrum of H, and how far they can be trusted."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope.results.estimate import Status
from hesscope.results.files import Description, register, write
from hesscope.results.vector_estimate import VectorEstimate

KIND = "eigenvalue_gradient"
_NUMBERS = ("error", "eigenvalue", "gap", "residual", "slope")


@dataclass(frozen=True, eq=False)
class GradientEstimate(VectorEstimate):
    """A gradient from random probes, with an error for each of its entries.

    ``products`` counts the products with H, 0 for a trace.

    Attributes
    ----------
    contractions
        Contractions of the third derivative.
    quadrature
        Shape ``[n]``: the part of the errors that more Lanczos steps reduce; None where there is none.
    """

    contractions: int = 0
    quadrature: Tensor | None = None

    @property
    def norm(self) -> float:
        """The norm of the estimate; it contains that of the errors, and so is too large by them."""
        return float(self.value.norm())

    @property
    def norm_error(self) -> float:
        """The norm of the errors: how far the whole vector is from the gradient, at least at 95 %."""
        return float(self.error.norm())

    def __str__(self) -> str:
        return f"gradient of norm {self.norm:.6g}, off by at most {self.norm_error:.2g}: {self.method}"


@dataclass(frozen=True, eq=False)
class EigenvalueGradient:
    """The gradient of an eigenvalue, or of the mean of a cluster.

    Attributes
    ----------
    value
        Shape ``[n]``, the dtype and device of the objective.
    error
        Bound of ``|value - gradient|`` that residual and gap imply, of first order; ``inf`` where the gap
        is not known, or not larger than the residual.
    eigenvalue
        The eigenvalue, or the mean of the cluster.
    members
        Indices of the eigenpairs it belongs to.
    gap
        Distance of the members from all other eigenvalues, computed or not, at least; 0 where unknown.
    residual
        Root of the sum of the members' squared residuals, as claimed or as found, whichever is larger.
    slope
        Estimate, from below, of the largest ``|T[x, ., .]|`` of the members' eigenvectors x.
    contractions
        Contractions of the third derivative.
    products
        Products with H, which measured the residuals.
    method
        How value and error were obtained, in words.
    status
        Why the computation of the eigenpairs stopped.
    """

    value: Tensor
    error: float
    eigenvalue: float
    members: tuple[int, ...]
    gap: float
    residual: float
    slope: float
    contractions: int
    products: int
    method: str
    status: Status

    @property
    def norm(self) -> float:
        """The norm of the gradient: how fast the eigenvalue changes with distance, at most."""
        return float(self.value.double().norm())

    def predict(self, step: Tensor) -> float:
        """Return what the eigenvalue will be after a step, to first order: ``eigenvalue + value . step``.

        Parameters
        ----------
        step
            ``[n]``: the change of the parameters.

        Raises
        ------
        TypeError, ValueError
            If it is no tensor of this shape.
        """
        if not isinstance(step, Tensor):
            msg = f"predict: step must be a tensor, got {type(step).__name__}"
            raise TypeError(msg)
        if step.shape != self.value.shape:
            msg = f"predict: step must have shape {list(self.value.shape)}, got {list(step.shape)}"
            raise ValueError(msg)
        return self.eigenvalue + float(self.value.double() @ step.double())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a results file, beside ``path`` and then renamed; read it with ``hesscope.load``.

        Raises
        ------
        OSError
            If the file cannot be written; a file that was there before is intact.
        """
        description: Description = {"members": list(self.members), "contractions": self.contractions}
        description |= {"products": self.products, "method": self.method, "status": self.status.name}
        numbers = torch.tensor([getattr(self, name) for name in _NUMBERS], dtype=torch.float64)
        write(path, KIND, description, {"value": self.value, "numbers": numbers})

    def __str__(self) -> str:
        error = f"± {self.error:.2g}" if math.isfinite(self.error) else "(error unknown)"
        return f"eigenvalue {self.eigenvalue:.6g}, gradient of norm {self.norm:.6g} {error}: {self.method}"


def _read(description: Description, tensors: dict[str, Tensor]) -> EigenvalueGradient:
    return EigenvalueGradient(
        value=tensors["value"],
        **dict(zip(_NUMBERS, tensors["numbers"].tolist(), strict=True)),
        members=tuple(description["members"]),
        contractions=description["contractions"],
        products=description.get("products", 0),
        method=description["method"],
        status=Status[description["status"]],
    )


register(KIND, _read)
