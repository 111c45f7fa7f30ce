"""Activations with their derivatives: ``activation_derivatives``."""

from __future__ import annotations

from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register


def activation_derivatives(name: str, x: Tensor, *, order: int = 3, backend: str = "auto") -> Tensor:
    """Evaluate an activation and its derivatives up to an order: ``out[d] = f^(d)(x)``.

    Parameters
    ----------
    name
        ``"identity"``, ``"relu"``, ``"tanh"``, ``"sigmoid"``, ``"gelu"``, ``"gelu_tanh"``, ``"silu"``,
        ``"softplus"``, ``"elu"``, ``"exp"``, ``"log"``, ``"erf"``, ``"sin"``, ``"cos"``, ``"sqrt"``,
        ``"rsqrt"``, ``"reciprocal"`` or ``"square"``.
    x
        Shape ``[B, C]``, float32 or float64, rows contiguous.
    order
        0 to 3.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        Shape ``[order + 1, B, C]``, the dtype of ``x``.

    Raises
    ------
    ValueError
        If the name is not known, the order is out of range, or shapes or strides are wrong.
    TypeError
        If the dtype is neither float32 nor float64.

    Notes
    -----
    float64 arithmetic, rounded once. The derivatives of relu are those of its two half lines, 0 at 0.
    """
    x = x.detach()
    out = x.new_empty((order + 1, *x.shape))
    _core.activation_derivatives(name, x, out=out, call=call(x.device, backend))
    return out


register(
    "activation_derivatives(str name, Tensor x, int order) -> Tensor",
    lambda name, x, order: activation_derivatives(name, x, order=order),
    lambda name, x, order: x.new_empty((order + 1, *x.shape)),  # noqa: ARG005
)
