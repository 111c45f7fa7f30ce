"""Coefficients through elementwise functions: ``pointwise_jet``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register

_MONOMIALS = {1: _core.Monomials.one, 2: _core.Monomials.two, 3: _core.Monomials.three}


def pointwise_jet(
    taylor: Tensor,
    x: Sequence[Tensor | None],
    g_value: Tensor | None = None,
    g: Sequence[Tensor | None] = (),
    *,
    mixed: bool = False,
    wanted: Sequence[int] | None = None,
    backend: str = "auto",
) -> list[Tensor | None]:
    """Coefficients of ``f(x)``, or of ``g * f(x)``, for an elementwise f given by its derivatives.

    Parameters
    ----------
    taylor
        Shape ``[D, N]``, float32 or float64, rows contiguous: ``f^(d)(x_0) / d!`` up to the order, 2 if
        ``mixed``. Without ``g`` the first row is not read.
    x
        Coefficients of s, s^2, s^3, one to three of them, or with ``mixed`` of s, t and st: shape
        ``[K, N]``, contiguous; None where one is zero, but not all.
    g_value
        The value of g, shape ``[N]``.
    g
        As many coefficients of g as of x, None where one is zero.
    mixed
        Whether the coefficients are those of s, t and st, s^2 and t^2 being cut off.
    wanted
        The entries that are computed; all if None.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    list of Tensor or None
        As many as x: shape ``[K, N]``, None where not wanted.

    Raises
    ------
    ValueError
        If shapes, strides, devices or the numbers of coefficients are wrong.
    TypeError
        If the dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    One pass over memory. Error at most 16 eps of the sum of absolute terms.

    References
    ----------
    Griewank and Walther (2008), Evaluating Derivatives, section 13.2: Faa di Bruno's formula.
    """
    if (mixed and len(x) != 3) or len(x) not in _MONOMIALS:
        msg = f"pointwise_jet: x must have 1 to 3 coefficients, 3 if mixed, got {len(x)}"
        raise ValueError(msg)
    monomials = _core.Monomials.mixed if mixed else _MONOMIALS[len(x)]
    like = next((t for t in x if t is not None), taylor)
    out = [torch.empty_like(like) if wanted is None or i in wanted else None for i in range(len(x))]
    where = call(taylor.device, backend)
    _core.pointwise_jet(monomials, taylor, list(x), g_value=g_value, g=list(g), out=out, call=where)
    return out


def _detached(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else t.detach() for t in tensors]


def _impl(
    taylor: Tensor, x: list[Tensor | None], g_value: Tensor | None, g: list[Tensor | None], mixed: bool
) -> list[Tensor | None]:
    g_value = None if g_value is None else g_value.detach()
    return pointwise_jet(taylor.detach(), _detached(x), g_value, _detached(g), mixed=mixed)


def _fake(taylor: Tensor, x: list[Tensor | None], *_: object) -> list[Tensor]:
    like = next((t for t in x if t is not None), taylor)
    return [torch.empty_like(like) for _ in x]


register(
    "pointwise_jet(Tensor taylor, Tensor?[] x, Tensor? g_value, Tensor?[] g, bool mixed) -> Tensor[]",
    _impl,
    _fake,
)
