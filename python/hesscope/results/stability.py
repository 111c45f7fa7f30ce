"""How stable the curvature at a minimum is: sharpness, its change, and what gradient descent does to it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.results.estimate import Estimate, Status
from hesscope.results.files import Description, register, write

KIND = "curvature_stability"
_COLUMN = 3  # spaces between columns of the table
_ESTIMATES = ("sharpness", "slope", "distance", "alpha", "alpha_beside", "beta")
_TENSORS = ("gradient", "eigenvalues", "positions", "sharpnesses")
_NUMBERS = ("predicted_distance", "loss", "loss_slope", "parameter_norm", "seconds")
_FIELDS = ("products", "contractions", "engine")


@dataclass(frozen=True, eq=False)
class CurvatureStability:
    """What :func:`hesscope.curvature_stability` found; ``print`` shows it as a table.

    Attributes
    ----------
    sharpness
        The largest eigenvalue of H, or the mean of the cluster it belongs to; ± its residual.
    members
        Indices of that cluster among ``eigenvalues``: ``(0,)`` if it is simple.
    slope
        The norm of its gradient: how fast the sharpness changes with distance, at most.
    distance
        How far one has to move along that gradient until the sharpness has doubled, as evaluations of the
        sharpness bracket it; its interval ends at ``inf`` if it had not doubled where they ended, at the
        length of the weights or before. A peak between two evaluations is not seen.
    predicted_distance
        The same to first order: ``sharpness / slope``.
    alpha
        ``-grad L . grad S``: how fast gradient descent, to first order, raises the sharpness per unit of
        step size ("progressive sharpening" where positive).
    alpha_beside
        ``-P grad L . grad S``, P the projection beside the eigenvectors: alpha without the oscillation along
        them that descent near the edge of stability goes through.
    beta
        ``|P grad S|^2``: how strongly an oscillation along them
        lowers the sharpness ("self-stabilisation").
    gradient
        Shape ``[n]``: of the sharpness.
    eigenvalues
        Shape ``[k]``, float64, CPU, descending: the largest of H.
    positions, sharpnesses
        Shape ``[E]``, float64: where the largest eigenvalue was evaluated along the gradient, 0 first; and
        what it was, ``inf`` where the loss was not finite.
    loss, loss_slope, parameter_norm
        L, ``|grad L|`` and ``|theta|`` here.
    products, contractions, seconds, engine
        Products with H, contractions of the third derivative, wall time, and what computed the latter.
    status
        CONVERGED, or how the computation of the eigenpairs ended.
    objective
        Its description.
    """

    sharpness: Estimate
    members: tuple[int, ...]
    slope: Estimate
    distance: Estimate
    predicted_distance: float
    alpha: Estimate
    alpha_beside: Estimate
    beta: Estimate
    gradient: Tensor
    eigenvalues: Tensor
    positions: Tensor
    sharpnesses: Tensor
    loss: float
    loss_slope: float
    parameter_norm: float
    products: int
    contractions: int
    seconds: float
    engine: str
    status: Status
    objective: Mapping[str, object] = field(repr=False)

    @property
    def relative_distance(self) -> float:
        """The distance to doubling, relative to the norm of the parameters."""
        return self.distance.value / self.parameter_norm if self.parameter_norm > 0 else math.inf

    @property
    def largest_stable_step(self) -> float:
        """``2 / sharpness``: the largest step size at which gradient descent is stable here."""
        return 2 / self.sharpness.value if self.sharpness.value > 0 else math.inf

    @property
    def oscillation(self) -> float:
        """``sqrt(2 alpha_beside / beta)``: the size of oscillations that hold sharpening up at the edge.

        0 where gradient descent does not sharpen; ``inf`` where nothing holds it up; NaN where the error of
        alpha or beta leaves open which. Damian, Nichani and Lee (2023), where alpha is taken at a point at
        which ``grad L`` has no part along the eigenvector.
        """
        rising, holding = self.alpha_beside, self.beta
        if not _determined(rising):
            return math.nan
        if rising.value <= 0:
            return 0.0
        if not _determined(holding):
            return math.nan
        return math.sqrt(2 * rising.value / holding.value) if holding.value > 0 else math.inf

    def steps_to_edge(self, learning_rate: float) -> float:
        """Return after how many steps of gradient descent the sharpness reaches ``2 / learning_rate``.

        To first order, as if alpha stayed what it is: 0 beyond the edge, ``inf`` where it is not approached,
        NaN where the error of alpha leaves open whether it is.

        Parameters
        ----------
        learning_rate
            The step size, positive.

        Raises
        ------
        TypeError, ValueError
            If it is not a number, positive and finite.
        """
        step = _checks.real("steps_to_edge", "learning_rate", learning_rate)
        if not 0 < step < math.inf:
            msg = f"steps_to_edge: learning_rate must be positive and finite, got {step}"
            raise ValueError(msg)
        missing = 2 / step - self.sharpness.value
        if missing <= 0:
            return 0.0
        if not _determined(self.alpha):
            return math.nan
        return missing / (step * self.alpha.value) if self.alpha.value > 0 else math.inf

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a results file, beside ``path`` and then renamed; read it with ``hesscope.load``.

        Holds the gradient, n numbers.

        Raises
        ------
        OSError
            If the file cannot be written; a file that was there before is intact.
        """
        description: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS}
        description |= {"members": list(self.members), "status": self.status.name}
        description["objective"] = dict(self.objective)
        tensors = {name: getattr(self, name) for name in _TENSORS}
        tensors["numbers"] = torch.tensor([getattr(self, name) for name in _NUMBERS], dtype=torch.float64)
        for name in _ESTIMATES:
            e: Estimate = getattr(self, name)
            description[name] = {"products": e.products, "method": e.method, "status": e.status.name}
            tensors[name] = torch.tensor([e.value, e.error, *e.interval], dtype=torch.float64)
        write(path, KIND, description, tensors)

    def __str__(self) -> str:
        rows = self._rows()
        first, second = (max(len(row[i]) for row in rows) + _COLUMN for i in (0, 1))
        return "\n".join(f"{name:<{first}}{value:<{second}}{note}".rstrip() for name, value, note in rows)

    def _rows(self) -> list[tuple[str, str, str]]:
        percent = f"{100 * self.relative_distance:.3g} % of |θ| = {self.parameter_norm:.4g}"
        if math.isinf(self.distance.interval[1]):
            percent = f"not doubled up to there; {percent}"
        cluster = "" if len(self.members) == 1 else f"mean of a cluster of {len(self.members)}"
        rising = f"gradient descent {'sharpens' if self.alpha.value > 0 else 'flattens'}"
        if not _determined(self.alpha):
            rising = "not determined whether gradient descent sharpens"
        edge = "not determined" if math.isnan(self.oscillation) else f"{self.oscillation:.4g}"
        return [
            ("loss", f"{self.loss:.6g}", f"|∇L| = {self.loss_slope:.3g}"),
            ("sharpness λ", _shown(self.sharpness), cluster),
            ("its slope |∇λ|", _shown(self.slope), "change of λ per unit of distance, at most"),
            ("distance to doubling, predicted", f"{self.predicted_distance:.4g}", "first order: λ / |∇λ|"),
            ("distance to doubling, evaluated", _shown(self.distance), percent),
            ("alpha = −∇L·∇λ", _shown(self.alpha), rising),
            ("alpha, P∇L for ∇L", _shown(self.alpha_beside), "without the oscillation along eigenvectors"),
            ("beta = |P∇λ|²", _shown(self.beta), "self-stabilisation"),
            ("largest stable step 2 / λ", f"{self.largest_stable_step:.4g}", ""),
            ("oscillation at the edge", edge, "√(2 alpha / beta), with P∇L"),
            ("products with H", f"{self.products:,}", f"and {self.contractions} contractions of T"),
        ]


def _determined(estimate: Estimate) -> bool:
    """Tell whether an estimate is told apart from zero, or is zero without an error."""
    return abs(estimate.value) > estimate.error or estimate.error == 0


def _shown(estimate: Estimate) -> str:
    if not math.isfinite(estimate.error):
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} ± {estimate.error:.1g}"


def _read(description: Description, tensors: dict[str, Tensor]) -> CurvatureStability:
    fields: dict[str, Any] = {name: tensors[name] for name in _TENSORS}
    fields |= dict(zip(_NUMBERS, tensors["numbers"].tolist(), strict=True))
    fields |= {name: description[name] for name in _FIELDS}
    for name in _ESTIMATES:
        value, error, lower, upper = tensors[name].tolist()
        said = description[name]
        fields[name] = Estimate(
            value, error, (lower, upper), said["products"], said["method"], Status[said["status"]]
        )
    return CurvatureStability(
        **fields,
        members=tuple(description["members"]),
        status=Status[description["status"]],
        objective=dict(description["objective"]),
    )


register(KIND, _read)
