"""The diagonal preconditioner of an adaptive optimizer, from its state."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hesscope.objective.objective import Objective

_WHERE = "adam_preconditioner"


def adam_preconditioner(objective: Objective, optimizer: torch.optim.Optimizer) -> Tensor:
    """Read the diagonal P by which an adaptive optimizer divides its steps.

    ``hs.eigenpairs(hs.preconditioned(H, P), 1)`` is then the preconditioned sharpness: gradient descent with
    momentum beta1, preconditioned by P, is stable on a quadratic up to ``(2 + 2 beta1) / ((1 - beta1) lr)``
    (38 / lr for Adam's 0.9), and training tends to hover there (Cohen et al. 2022).

    Parameters
    ----------
    objective
        Whose parameters, in whose order.
    optimizer
        A ``torch.optim.Adam`` or ``AdamW`` (amsgrad or not): ``P = (1 - beta1^t) (sqrt(v / (1 - beta2^t)) +
        eps)``, bias corrections included, v the running mean of squared gradients after t steps. Or an
        ``RMSprop`` (centered or not): ``P = sqrt(v) + eps``. It must have taken a step.

    Returns
    -------
    Tensor
        Shape ``[n]``, the dtype and device of the objective, positive. A copy.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If the optimizer maximizes, lacks a parameter of the objective, has no state for one, or an entry of P
        is zero (``eps = 0`` and no gradient so far) or not finite.

    Notes
    -----
    The learning rate is not part of P. Where groups of parameters have different ones, multiply P by
    ``lr / lr_of_group`` before comparing eigenvalues with a threshold.

    References
    ----------
    Kingma and Ba (2015); Cohen, Ghorbani, Krishnan, Agarwal, Medapati, Badura, Suo, Cardoze, Nado, Dahl and
    Gilmer (2022), Adaptive Gradient Methods at the Edge of Stability.
    """
    if not isinstance(objective, Objective):
        msg = f"{_WHERE}: objective must be an Objective, got {type(objective).__name__}"
        raise TypeError(msg)
    kinds = (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
    if not isinstance(optimizer, kinds):
        msg = f"{_WHERE}: optimizer must be a torch.optim Adam, AdamW or RMSprop, got {_name(optimizer)}"
        raise TypeError(msg)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    parts = {}
    for name, parameter in objective.parameters.items():
        group = groups.get(id(parameter))
        if group is None:
            msg = f"{_WHERE}: optimizer must hold every parameter of the objective, but lacks {name}"
            raise ValueError(msg)
        if group.get("maximize"):
            msg = f"{_WHERE}: optimizer must minimize, got maximize=True for {name}"
            raise ValueError(msg)
        state = optimizer.state.get(parameter)
        if not state:
            msg = (
                f"{_WHERE}: optimizer must have taken a step, but has no state for {name}; a parameter "
                "without a gradient gets none"
            )
            raise ValueError(msg)
        rms = isinstance(optimizer, torch.optim.RMSprop)
        diagonal = (_rmsprop(group, state) if rms else _adam(group, state)).to(objective.dtype)
        if not bool((diagonal.isfinite() & (diagonal > 0)).all()):
            least = float(diagonal.min())
            msg = (
                f"{_WHERE}: the preconditioner must be positive and finite, got {least} in {name}; with "
                "eps=0 an entry whose gradients were all zero is not preconditioned"
            )
            raise ValueError(msg)
        parts[name] = diagonal
    return objective.flatten(parts)


def _adam(group: dict[str, Any], state: dict[str, Any]) -> Tensor:
    beta1, beta2 = (float(beta) for beta in group["betas"])
    t = float(state["step"])
    v: Tensor = state["max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"].double()
    first, second = 1 - math.pow(beta1, t), 1 - math.pow(beta2, t)
    return ((v / second).sqrt() + float(group["eps"])) * first


def _rmsprop(group: dict[str, Any], state: dict[str, Any]) -> Tensor:
    v: Tensor = state["square_avg"].double()
    if group.get("centered"):
        v = (v - state["grad_avg"].double().square()).clamp(min=0.0)  # of both signs by rounding
    return v.sqrt() + float(group["eps"])


def _name(kind: object) -> str:
    return f"{type(kind).__module__}.{type(kind).__qualname__}"
