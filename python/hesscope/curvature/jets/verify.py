"""Checking a captured gradient against autograd before it is trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope.curvature.finite_difference import FiniteDifferenceHessian
from hesscope.curvature.graph import Graph
from hesscope.curvature.jets.capture import CaptureError
from hesscope.curvature.output_graph import OutputGraph
from hesscope.objective import Objective
from hesscope.objective.data import Batch

MakeGraph = Callable[[], Graph | OutputGraph]

if TYPE_CHECKING:
    from hesscope.curvature.jets.higher.program import HigherPrepared


def check_gradient(
    objective: Objective, captured: Sequence[Tensor | None], expected: Tensor, index: int
) -> None:
    """Raise unless the captured gradient of a batch is autograd's ``expected [n]``.

    It is not if the path through the Python code depends on values in a way that tracing cannot see.

    Raises
    ------
    CaptureError
        If it is not.
    """
    parts = objective.parameter_set
    difference = expected.clone()
    for gradient, part in zip(captured, parts.slices, strict=True):
        if gradient is not None:
            difference[part].sub_(gradient.reshape(-1))
    size = float(expected.norm())
    error = float(difference.norm())
    # Near a minimum a gradient is the small difference of large terms; what it does to the loss when a
    # weight changes by its own size is compared with rounding then.
    weights = sum(float(p.detach().double().square().sum()) for p in parts.tensors) ** 0.5
    if error <= _tolerance(objective) * size or error * weights <= 1024 * _eps(objective):
        return
    msg = (
        f"the captured gradient of batch {index} is off by {error:.1e} of {size:.1e}: the code behind the "
        "loss depends on values (control flow, numbers read from tensors) in a way that tracing cannot see"
    )
    raise CaptureError(msg)


def require_finite(objective: Objective, gradient: Tensor, index: int) -> None:
    """Raise ValueError if the gradient ``[n]`` of a batch is not finite: products would not be either.

    The message names the parameters.
    """
    parts = objective.parameter_set
    bad = [
        name
        for name, part in zip(parts.names, parts.slices, strict=True)
        if not bool(gradient[part].isfinite().all())
    ]
    if bad:
        msg = (
            f"Objective: gradient must be finite, got NaN or infinity for {', '.join(bad[:5])} in batch "
            f"{index} although the loss is finite; look for a root, logarithm or quotient at zero"
        )
        raise ValueError(msg)


def double_backward(make_graph: MakeGraph, vector: Tensor) -> tuple[Tensor | None, bool]:
    """Return the product of a batch's matrix with ``vector [1, n]`` by autograd; None where it has none.

    An operation without a second derivative need not have one here. Also tells whether custom functions
    take part, of which autograd may miss a part. Costs about 4 gradients.
    """
    expected = torch.empty_like(vector)
    try:
        graph = make_graph()
        graph.add_products(vector, expected, scale=1.0, overwrite=True, retain=False)
    except RuntimeError:
        return None, False
    return expected, isinstance(graph, Graph) and len(graph.custom) > 0


def check_product(objective: Objective, got: Tensor, expected: Tensor, index: int, gradient: Tensor) -> None:
    """Raise CaptureError unless a product ``[1, n]`` is autograd's ``expected``."""
    error, size = float((got - expected).norm()), float(expected.norm())
    if not error <= _tolerance(objective) * (size + float(gradient.norm())):
        raise CaptureError(_taken_for_constant(index, "double backward", error, size))


def trial_vector(objective: Objective, seed: int) -> Tensor:
    """Return random signs ``[1, n]`` of the size of the weights."""
    weights = sum(float(p.detach().double().square().sum()) for p in objective.parameter_set.tensors) ** 0.5
    return _signs(objective, seed).mul_(max(weights, 1.0) / objective.n**0.5)


def check_difference(objective: Objective, got: Tensor, vector: Tensor, batch: Batch, index: int) -> None:
    """Raise unless ``got [1, n]`` is the difference of a batch's gradients along a vector.

    For want of double backward. In float64 if the model can be evaluated in it: a step in float32 crosses
    many kinks. Costs 2 or 4 gradients.

    Raises
    ------
    CaptureError
        If it is not, far beyond the error of the difference.
    """
    try:
        engine = FiniteDifferenceHessian(objective, memory_budget=0, precision=torch.float64)
        expected, noise = engine.batch_product(batch, index, vector[0])
        tolerance = 0.01
    except (RuntimeError, TypeError, ValueError, NotImplementedError):  # kernels of one precision
        engine = FiniteDifferenceHessian(objective, memory_budget=0)
        expected, noise = engine.batch_product(batch, index, vector[0])
        tolerance = 0.1
    error, size = float((got[0] - expected).norm()), float(expected.norm())
    if not error <= tolerance * size + 64 * noise:
        raise CaptureError(_taken_for_constant(index, "the difference of gradients", error, size))


def _signs(objective: Objective, seed: int) -> Tensor:
    """Return a vector ``[1, n]`` of random signs."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (1, objective.n), generator=generator, dtype=torch.int8) * 2 - 1
    return signs.to(objective.device, objective.dtype)


def _taken_for_constant(index: int, other: str, error: float, size: float) -> str:
    return (
        f"a product by the captured gradient of batch {index} differs from {other} by {error:.1e} of "
        f"{size:.1e}: some value that depends on the parameters was taken for a constant"
    )


def check_loss_coefficients(
    objective: Objective,
    prepared: HigherPrepared,
    value: Tensor | None,
    batch: Batch,
    index: int,
    gradient: Tensor,
) -> None:
    """Raise unless a captured loss has the objective's value and, along a random vector, its slope.

    Costs a forward pass; ``gradient [n]`` is autograd's, ``prepared`` of first order.
    """
    with objective.evaluating(index), torch.enable_grad():  # it may contain derivatives itself
        loss = float(objective.raw_loss(batch).detach())
    vector = _signs(objective, index)
    slope = vector.new_zeros(1, 1)
    prepared.add([vector], slope, scale=1.0, overwrite=True)
    got = float("nan") if value is None else float(value)
    error = abs(float(slope) - float(vector[0] @ gradient))
    size = float(gradient.abs().sum())
    tolerance = _tolerance(objective)
    if not (abs(got - loss) <= tolerance * max(abs(loss), size) and error <= tolerance * size):
        msg = (
            f"the captured loss of batch {index} is off by {abs(got - loss):.1e} of {abs(loss):.1e}, its "
            f"slope by {error:.1e} of {size:.1e}: the loss depends on values in a way that tracing cannot see"
        )
        raise CaptureError(msg)


def curvature_tolerance(objective: Objective) -> float:
    """Return how far ``v'Hv`` may be from ``v`` times the product, relative to ``|v| |Hv|``."""
    return 64 * _eps(objective)


def _eps(objective: Objective) -> float:
    return max(torch.finfo(p.dtype).eps for p in objective.parameter_set.tensors)


def _tolerance(objective: Objective) -> float:
    """Return how far two evaluations may be apart, relative to their size.

    Far more than rounding: it may put a relu on its other branch, which changes a gradient by 0.001 for
    a convolutional network in float32. What is looked for changes it by its own size.
    """
    return float(min(32 * _eps(objective) ** 0.5, 0.1))
