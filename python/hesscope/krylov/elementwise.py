"""Functions of eigenvalues that a user gives: evaluated in float64, and refused where they are not finite."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Function = Callable[[Tensor], Tensor]


def checked(where: str, f: Function, *, shift: float, rounding: float) -> Function:
    """Return ``x -> f(x + shift)`` in float64, which refuses shapes of its own and what is not finite.

    Parameters
    ----------
    where
        The function that was called, for messages.
    f
        Elementwise on float64 tensors.
    shift
        Added to every node.
    rounding
        How far rounding may have moved a node, for messages.
    """

    def function(nodes: Tensor) -> Tensor:
        values = evaluate(where, "f", f, nodes + shift)
        wrong = ~values.isfinite()
        if bool(wrong.any()):
            node = float(nodes[wrong].min())
            msg = (
                f"{where}: f must be finite on the spectrum, but is {float(values[wrong][0])} at the node "
                f"{node:.6g}{f' + shift {shift:.6g}' if shift else ''} (rounding moves nodes by up to "
                f"{rounding:.2g}). Move the spectrum to where f is defined (shift=, or hesscope.shifted), or "
                "pass an f that is defined there"
            )
            raise ValueError(msg)
        return values.double()

    return function


def evaluate(where: str, name: str, f: Function, points: Tensor) -> Tensor:
    """Return ``f(points)``; raise ValueError unless it is a real tensor of their shape."""
    values = f(points)
    if not isinstance(values, Tensor) or values.shape != points.shape:
        got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        msg = f"{where}: {name} must map a tensor {list(points.shape)} to one of the same shape, got {got}"
        raise ValueError(msg)
    if values.is_complex():
        msg = f"{where}: {name} must be real, got {values.dtype}; pass its real and imaginary parts apart"
        raise ValueError(msg)
    return values
