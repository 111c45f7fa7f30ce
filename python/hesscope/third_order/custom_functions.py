"""Custom autograd functions, whose derivatives of higher order may be wrong without a sign of it.

A backward that detaches what it saved, or calls code that autograd does not see, differentiates to zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.custom_functions import custom_nodes
from hesscope.objective import Objective
from hesscope.third_order.displaced import displaced

_ALLOWED = 0.1  # of the larger of the two: wrong derivatives are off by all of it
_NOISES = 16


def custom_functions(gradients: Sequence[Tensor | None]) -> list[str]:
    """Return the names of the custom functions in the graph of gradients."""
    return sorted({type(node).__name__.removesuffix("Backward") for node in custom_nodes(gradients)})


def require_derivatives(
    objective: Objective, names: Sequence[str], contract: Callable[[Tensor], Tensor]
) -> None:
    """Compare a product with H and a contraction T[z, z, .] with differences of the gradient.

    Parameters
    ----------
    objective
        What is differentiated.
    names
        The custom functions it contains, for the message.
    contract
        Maps z ``[1, n]`` to ``H z`` and ``T[z, z, .]`` without the part of l2, as rows ``[2, n]``.

    Raises
    ------
    RuntimeError
        If they disagree.

    Notes
    -----
    Cost: 3 gradients, a product and a contraction, once.
    """
    signs = _ops.probes(1, objective.n, dtype=objective.dtype, device=objective.device)
    squares = sum(float(p.detach().double().square().sum()) for p in objective.parameter_set.tensors)
    size = (squares / objective.n) ** 0.5 or 1.0
    eps = max(torch.finfo(p.dtype).eps for p in objective.parameter_set.tensors)
    step = eps**0.25 * size
    with displaced(objective, signs[0]) as displacement:
        found = []
        for t in (-step, 0.0, step):
            displacement.move(t)
            found.append(objective.gradient().double())
    behind, here, ahead = found
    noise = _NOISES * eps * float(here.norm() + ahead.norm())
    computed = contract(signs).double()
    computed[0] += objective.l2 * signs[0]
    differences = ((ahead - behind) / (2 * step), (ahead - 2 * here + behind) / step**2)
    for order, got, expected in zip((2, 3), computed, differences, strict=True):
        off, larger = float((got - expected).norm()), max(float(got.norm()), float(expected.norm()))
        if not off <= _ALLOWED * larger + noise / step ** (order - 1):
            msg = (
                f"third_order: every operation of the model must have derivatives up to the third, but with "
                f"{', '.join(names)} that of order {order} is off by {off / larger:.0%} from differences of "
                "the gradient: a backward does not let autograd see what it depends on. Replace it by "
                "elementary operations"
            )
            raise RuntimeError(msg)
