"""Whether a minimum is robust: how large the curvature is, and whether it stays so nearby."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from hesscope import _checks
from hesscope.krylov.eigen import eigenpairs
from hesscope.objective import Objective
from hesscope.results import Eigenpairs, Estimate, Status
from hesscope.results.gradient import EigenvalueGradient
from hesscope.results.stability import CurvatureStability
from hesscope.third_order.clusters import cluster_of
from hesscope.third_order.contract import third_order
from hesscope.third_order.doubling import Doubling, find_doubling

_WHERE = "curvature_stability"


def curvature_stability(
    objective: Objective,
    *,
    k: int = 4,
    tol: float | None = None,
    max_evaluations: int = 6,
    engine: str = "auto",
    memory_budget: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> CurvatureStability:
    """Say how stable the curvature of a loss is where the weights are: the largest eigenvalue and its change.

    Parameters
    ----------
    objective
        What is differentiated, at the weights to ask about.
    k
        Largest eigenpairs to compute, at least 2: the gap to the next one is what the errors are made of.
    tol
        Of the eigenpairs, as in :func:`hesscope.eigenpairs`.
    max_evaluations
        How often the largest eigenvalue is computed elsewhere, to find where it has doubled; 0 for the
        prediction only.
    engine, memory_budget
        Of the third derivative, as in :func:`hesscope.third_order`.
    seed
        Of the random starts.
    progress
        Show a bar on stderr.

    Returns
    -------
    CurvatureStability
        Sharpness, the norm of its gradient, the distance at which it doubles (predicted and evaluated),
        alpha and beta of self-stabilisation. ``print`` shows a table.

    Raises
    ------
    TypeError
        If the objective is none, or an argument has a wrong type.
    ValueError
        If an argument has a wrong value, or the largest eigenvalue is not positive.
    CaptureError
        As :meth:`ThirdOrder.contract`.

    Warns
    -----
    RuntimeWarning
        If eigenpairs did not converge.

    Notes
    -----
    Cost: the eigenpairs (40 to 100 products with H), 5 or more gradients for the slope and 36 for its error,
    and 10 to 40 products an evaluation. Memory: about 40 vectors, and a copy of the weights, which are moved
    for the evaluations and put back bit for bit. With kinks (relu) the gradient is that of the branches
    selected here; evaluations see the kinks.

    References
    ----------
    Damian, Nichani and Lee (2023), Self-Stabilization, ICLR, arXiv:2209.15594. Cohen et al. (2021), ICLR,
    arXiv:2103.00065: the edge of stability.

    Examples
    --------
    >>> model = torch.nn.Linear(1, 1, bias=False).double()
    >>> _ = torch.nn.init.constant_(model.weight, 2.0)
    >>> loss = lambda m, x: (m(x) ** 4).sum()  # H = 12 theta^2, and so doubled at sqrt(2) theta
    >>> found = curvature_stability(Objective(model, loss, torch.ones(1, 1, dtype=torch.float64)))
    >>> round(found.sharpness.value, 6), round(found.slope.value, 6), round(found.predicted_distance, 6)
    (48.0, 48.0, 1.0)
    >>> found.distance.interval[0] <= 2 * (2**0.5 - 1) <= found.distance.interval[1]
    True
    """
    began = time.perf_counter()
    third = third_order(objective, engine=engine, memory_budget=memory_budget)
    count = min(_checks.integer(_WHERE, "k", k, least=2), objective.n)
    evaluations = _checks.integer(_WHERE, "max_evaluations", max_evaluations)
    operator = third.hessian
    pairs = eigenpairs(operator, count, tol=tol, seed=seed, progress=progress)
    if not float(pairs.values[0]) > 0:
        msg = (
            f"{_WHERE}: objective must have positive curvature here, but the largest eigenvalue of H is "
            f"{float(pairs.values[0]):.6g}"
        )
        raise ValueError(msg)
    slope = third.eigenvalue_gradient(pairs, cluster_of(pairs, 0, None), seed=seed)
    doubling = find_doubling(
        objective, operator, pairs, slope, tol=pairs.tol, max_evaluations=evaluations, seed=seed
    )
    numbers = _Numbers.of(objective, pairs, slope)
    return CurvatureStability(
        sharpness=_estimate(slope.eigenvalue, slope.residual, pairs, "largest eigenvalue of H, ± residual"),
        members=slope.members,
        slope=_estimate(slope.norm, slope.error, pairs, slope.method),
        distance=_distance(doubling),
        predicted_distance=doubling.predicted,
        alpha=_estimate(numbers.alpha, numbers.alpha_error, pairs, "-grad L . grad S"),
        alpha_beside=_estimate(numbers.alpha_beside, numbers.beside_error, pairs, "-P grad L . grad S"),
        beta=_estimate(numbers.beta, numbers.beta_error, pairs, "|P grad S|^2 beside the eigenvectors"),
        gradient=slope.value,
        eigenvalues=pairs.values,
        positions=doubling.positions,
        sharpnesses=doubling.sharpnesses,
        loss=objective.loss(),
        loss_slope=numbers.loss_slope,
        parameter_norm=numbers.parameter_norm,
        products=operator.products,
        contractions=third.contractions,
        seconds=time.perf_counter() - began,
        engine=third.engine,
        status=pairs.status,
        objective=objective.description(),
    )


@dataclass(frozen=True)
class _Numbers:
    """What gradient descent makes of the sharpness."""

    alpha: float
    alpha_error: float
    alpha_beside: float
    beside_error: float
    beta: float
    beta_error: float
    loss_slope: float
    parameter_norm: float

    @staticmethod
    def of(objective: Objective, pairs: Eigenpairs, slope: EigenvalueGradient) -> _Numbers:
        """Project the gradients of the loss and of the sharpness."""
        downhill, rising = objective.gradient().double(), slope.value.double()
        x = pairs.vectors[list(slope.members)].double()
        beside = rising - x.T @ (x @ rising)
        steepness, length = float(downhill.norm()), float(beside.norm())
        squares = sum(float(p.detach().double().square().sum()) for p in objective.parameter_set.tensors)
        # An eigenvector that is off turns the projection, too: by as much, relative to the gradient.
        turned = slope.residual / slope.gap if slope.gap > 0 else math.inf
        off = slope.error + turned * slope.norm
        return _Numbers(
            alpha=-float(downhill @ rising),
            alpha_error=steepness * slope.error if steepness > 0 else 0.0,
            alpha_beside=-float(downhill @ beside),
            beside_error=steepness * off if steepness > 0 else 0.0,
            beta=length**2,
            beta_error=2 * length * off + off**2,
            loss_slope=steepness,
            parameter_norm=math.sqrt(squares),
        )


def _estimate(value: float, error: float, pairs: Eigenpairs, method: str) -> Estimate:
    return Estimate(value, error, (value - error, value + error), pairs.products, method, pairs.status)


def _distance(found: Doubling) -> Estimate:
    lower, upper = found.bracket
    if math.isinf(upper):
        method = "the sharpness had not doubled at the farthest evaluation along its gradient"
        return Estimate(lower, math.inf, found.bracket, found.products, method, Status.MAX_PRODUCTS)
    method = "where the sharpness has doubled along its gradient, between two evaluations"
    value = found.interpolated
    return Estimate(value, (upper - lower) / 2, found.bracket, found.products, method, Status.COMPLETE)
