"""How tr f(H) changes with the parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from hesscope import _checks
from hesscope.krylov.apply_function import apply_function
from hesscope.krylov.arguments import finite
from hesscope.krylov.elementwise import evaluate
from hesscope.results import FunctionProduct, Status
from hesscope.results.gradient import GradientEstimate
from hesscope.spectrum.sampler import ROUNDINGS
from hesscope.spectrum.sampling import student
from hesscope.third_order.form import TrilinearForm
from hesscope.third_order.groups import ProbeGroups, Running, group_size

Function = Callable[[Tensor], Tensor]
_AT_ONCE = 4  # probes whose Lanczos vectors are kept at a time, where there is room


def spectral_sum_gradient(
    third: TrilinearForm,
    f: Function,
    *,
    derivative: Function | None,
    shift: float,
    num_probes: int,
    num_steps: int,
    seed: int,
    progress: bool,
) -> GradientEstimate:
    """Estimate the gradient of ``tr f(H + shift I)``; see ``ThirdOrder.spectral_sum_gradient``."""
    where = "spectral_sum_gradient"
    for name, function in (("f", f), ("derivative", derivative)):
        if not callable(function) and not (name == "derivative" and function is None):
            msg = f"{where}: {name} must be callable, got {type(function).__name__}"
            raise TypeError(msg)
    moved = finite(where, "shift", shift)
    slope = _checked(where, f, derivative, moved)
    return _sampled(where, third, slope, num_probes, num_steps, seed, progress=progress)


def logdet_gradient(
    third: TrilinearForm, *, shift: float, num_probes: int, num_steps: int, seed: int, progress: bool
) -> GradientEstimate:
    """Estimate the gradient of ``log det(H + shift I)``; see ``ThirdOrder.logdet_gradient``."""
    where = "logdet_gradient"
    moved = finite(where, "shift", shift)

    def inverse(x: Tensor) -> Tensor:
        lowest = float(x.min()) + moved
        rounding = 4 * torch.finfo(third.objective.dtype).eps * float(x.abs().max())
        zero = ROUNDINGS * rounding
        if lowest <= zero:
            what = "zero to rounding" if lowest >= -zero else "negative"
            msg = (
                f"{where}: H + shift I must be positive definite, but has the Ritz value {lowest:.6g}, "
                f"{what}. Pass a shift above {moved - lowest + zero:.6g}"
            )
            raise ValueError(msg)
        return 1 / (x + moved)

    return _sampled(where, third, inverse, num_probes, num_steps, seed, progress=progress)


def _sampled(
    where: str,
    third: TrilinearForm,
    slope: Function,
    num_probes: int,
    num_steps: int,
    seed: int,
    *,
    progress: bool,
) -> GradientEstimate:
    """Average ``T[z, f'(H) z, .]`` over groups of probes."""
    count = _checks.integer(where, "num_probes", num_probes, least=1, below=2**31)
    steps = _checks.integer(where, "num_steps", num_steps, least=1, below=2**31)
    groups = ProbeGroups(where, third, seed, progress=progress)
    number, size = group_size(count)
    operator, before = third.hessian, third.contractions
    products = operator.products
    left: list[Tensor] = []

    def applied(z: Tensor, count: int) -> FunctionProduct:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "apply_function: ", RuntimeWarning)  # the status says it
            found = apply_function(operator, slope, z, num_steps=count)
        groups.stopped |= found.status is Status.INTERRUPTED
        if found.status is Status.NONFINITE_OPERATOR:
            found.x.fill_(torch.nan)
        return found

    def sample() -> Tensor:
        total = torch.zeros(third.objective.n, dtype=torch.float64, device=third.objective.device)
        change = torch.zeros_like(total)
        for first in range(0, size, _AT_ONCE):
            z = groups.probes(min(_AT_ONCE, size - first))
            found = applied(z, steps)
            total += third.contract(z, found.x, reduction="sum")
            if not left and found.status is not Status.INVARIANT_SUBSPACE:
                shorter = applied(z, max(found.nodes.shape[1] * 3 // 4, 1))
                change += third.contract(z, found.x - shorter.x, reduction="sum")
        if not left:
            left.append(change.abs() / size)
        return total / size

    found = Running(torch.empty(third.objective.n, device=third.objective.device))
    for group in groups.each(number, sample):
        found.add(group)
    words = (
        f"mean of T[z, f'(H) z, .] over random signs, f'(H) z by {min(steps, third.objective.n)} steps of "
        f"Lanczos; t-interval of each entry over {found.count} groups of {size}, and what a quarter "
        "fewer steps change in the first"
    )
    return GradientEstimate(
        found.mean,
        found.half_width(student) + left[0],
        operator.products - products,
        words,
        groups.status,
        contractions=third.contractions - before,
        quadrature=left[0],
    )


def _checked(where: str, f: Function, derivative: Function | None, shift: float) -> Function:
    """Return ``x -> f'(x + shift)``, by autograd for want of a derivative; f and f' must be finite."""

    def function(nodes: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            points = (nodes + shift).requires_grad_()
            values = evaluate(where, "f", f, points)
            if derivative is not None:
                slope = evaluate(where, "derivative", derivative, points.detach())
            elif not values.requires_grad:
                msg = f"{where}: f must be made of differentiable operations; pass its derivative="
                raise ValueError(msg)
            else:
                (slope,) = torch.autograd.grad(values.sum(), points)
        _require_finite(where, "f", values.detach(), nodes, shift)
        _require_finite(where, "f'", slope, nodes, shift)
        return slope.double()

    return function


def _require_finite(where: str, name: str, values: Tensor, nodes: Tensor, shift: float) -> None:
    wrong = ~values.isfinite()
    if bool(wrong.any()):
        node = float(nodes[wrong].min())
        added = f" + shift {shift:.6g}" if shift else ""
        msg = (
            f"{where}: {name} must be finite on the spectrum, but is {float(values[wrong][0])} at the node "
            f"{node:.6g}{added}. Pass a shift= that moves the spectrum to where f is smooth"
        )
        raise ValueError(msg)
