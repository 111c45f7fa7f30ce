"""Checks of what an objective is given, and their messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from hesscope.objective.criteria import Criterion, is_criterion, make_criterion


def check_options(model: object, reduction: str, mode: str, l2: float) -> None:
    """Raise if an option of Objective is none of those it takes."""
    if not isinstance(model, nn.Module):
        msg = f"Objective: model must be an nn.Module, got {type(model).__name__}"
        raise TypeError(msg)
    if reduction not in ("mean", "sum"):
        msg = f"Objective: reduction must be 'mean' or 'sum', got {reduction!r}"
        raise ValueError(msg)
    if mode not in ("keep", "eval", "train"):
        msg = f"Objective: mode must be 'keep', 'eval' or 'train', got {mode!r}"
        raise ValueError(msg)
    if not math.isfinite(l2):
        msg = f"Objective: l2 must be finite, got {l2}"
        raise ValueError(msg)


def choose_loss(
    loss: Callable[..., Any] | None, criterion: Callable[[Any, Any], Tensor] | None
) -> tuple[Criterion | None, Callable[..., Any]]:
    """Return (criterion or None, the callable that was given)."""
    if (loss is None) == (criterion is None):
        which = "neither" if loss is None else "both"
        msg = f"Objective: one of loss and criterion must be given, got {which}"
        raise ValueError(msg)
    given = loss if criterion is None else criterion
    if given is None or not callable(given):
        msg = f"Objective: loss must be callable, got {type(given).__name__}"
        raise TypeError(msg)
    if criterion is not None or is_criterion(given):
        return make_criterion(given), given
    return None, given


def check_loss(loss: object, index: int) -> None:
    """Raise unless a loss is a finite real scalar that something was differentiated for."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        msg = f"Objective: loss must return a scalar tensor, got {what} for batch {index}; take its mean"
        raise ValueError(msg)
    if not loss.dtype.is_floating_point:
        msg = f"Objective: loss must be a real floating-point tensor, got {loss.dtype}"
        raise TypeError(msg)
    if not loss.requires_grad:
        msg = f"Objective: loss must depend on the selected parameters, got a constant for batch {index}"
        raise ValueError(msg)
    if not math.isfinite(float(loss.detach())):
        msg = (
            f"Objective: loss must be finite, got {float(loss.detach())} for batch {index}; "
            "check the data and the weights, or compute in float64"
        )
        raise ValueError(msg)


def refuse_constant(gradients: Sequence[Tensor | None], index: int) -> None:
    """Raise if no parameter has a gradient."""
    if all(gradient is None for gradient in gradients):
        msg = f"Objective: loss must depend on the selected parameters, got a constant for batch {index}"
        raise ValueError(msg)
