"""Softmax and coefficients through it: ``softmax``, ``softmax_jet`` and ``softmax_jet_backward``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register


def softmax(x: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Softmax of the rows of ``x [B, C]``, and the logarithm of their sums of exponentials.

    Parameters
    ----------
    x
        Shape ``[B, C]``, float32 or float64, rows contiguous, C at least 1.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    p
        Shape ``[B, C]``.
    log_sum
        Shape ``[B, 1]``.
    """
    x = x.detach()
    p, log_sum = x.new_empty(x.shape), x.new_empty((*x.shape[:1], 1))
    _core.softmax(x, p=p, log_sum=log_sum, call=call(x.device, backend))
    return p, log_sum


def softmax_jet(
    x: Sequence[Tensor],
    p: Tensor,
    w: Tensor | None = None,
    *,
    logarithm: bool = False,
    backend: str = "auto",
) -> list[Tensor]:
    """Coefficients of ``w * softmax(x)``, or of ``w * log_softmax(x)``, over the last dimension.

    Parameters
    ----------
    x
        Coefficients 1 to p of x, p at most 3: shape ``[K, B, C]``, float32 or float64, contiguous.
    p
        The value of the softmax: shape ``[B, C]``.
    w
        Factors of the rows, without coefficients: shape ``[B]``; ones if None. With the weights of the
        samples this is what moves in the gradient of a cross entropy.
    logarithm
        Take the logarithm of the softmax.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    list of Tensor
        Coefficients 1 to p: shape ``[K, B, C]``.

    Raises
    ------
    ValueError
        If shapes, strides, devices or the number of coefficients are wrong.
    TypeError
        If the dtype is neither float32 nor float64, or dtypes differ.

    References
    ----------
    Griewank and Walther (2008), Evaluating Derivatives, tables 13.1 and 13.2.
    """
    out = [torch.empty_like(t) for t in x]
    _core.softmax_jet(x, p, w=w, logarithm=logarithm, out=out, call=call(p.device, backend))
    return out


def softmax_jet_backward(
    dg: Tensor | None,
    dp: Tensor | None,
    g: Tensor,
    p: Tensor,
    along: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """Coefficient 1 of ``p * (g - sum(p * g))``, the backward of a softmax over the last dimension.

    Parameters
    ----------
    dg, dp
        Coefficients of g and p, those that there are: shape ``[K, B, C]``.
    g, p
        The values: shape ``[B, C]``.
    along
        Shape ``[B]``: sum(p * g).
    backend
        As in :func:`softmax_jet`.

    Returns
    -------
    Tensor
        Shape ``[K, B, C]``.
    """
    some = dp if dg is None else dg
    out = p.new_empty(0 if some is None else some.shape[0], *p.shape)
    _core.softmax_jet_backward(dg, dp, g, p, along, out=out, call=call(p.device, backend))
    return out


def _softmax_jet_impl(x: list[Tensor], p: Tensor, w: Tensor | None, logarithm: bool) -> list[Tensor]:
    w = None if w is None else w.detach()
    return softmax_jet([t.detach() for t in x], p.detach(), w, logarithm=logarithm)


def _softmax_jet_backward_impl(
    dg: Tensor | None, dp: Tensor | None, g: Tensor, p: Tensor, along: Tensor
) -> Tensor:
    dg, dp = (None if t is None else t.detach() for t in (dg, dp))
    return softmax_jet_backward(dg, dp, g.detach(), p.detach(), along.detach())


def _softmax_jet_backward_fake(
    dg: Tensor | None, dp: Tensor | None, g: Tensor, p: Tensor, *_: object
) -> Tensor:
    some = next(t for t in (dg, dp) if t is not None)
    return g.new_empty(some.shape[0], *p.shape)


register(
    "softmax(Tensor x) -> (Tensor, Tensor)",
    softmax,
    lambda x: (x.new_empty(x.shape), x.new_empty((*x.shape[:1], 1))),
)
register(
    "softmax_jet(Tensor[] x, Tensor p, Tensor? w, bool logarithm) -> Tensor[]",
    _softmax_jet_impl,
    lambda x, p, w, logarithm: [torch.empty_like(t) for t in x],  # noqa: ARG005
)
register(
    "softmax_jet_backward(Tensor? dg, Tensor? dp, Tensor g, Tensor p, Tensor along) -> Tensor",
    _softmax_jet_backward_impl,
    _softmax_jet_backward_fake,
)
