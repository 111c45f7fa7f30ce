"""Small symmetric tensors of order 3: ``contract3``, ``contract3_scalar`` and ``higher_order_power``.

A tensor ``T [k, k, k]``, ``k <= 64``, is stored packed: ``T[i, j, l]`` with ``i <= j <= l``, l fastest and i
slowest, ``k (k + 1) (k + 2) / 6`` numbers. All tensors are float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register


def contract3(t: Tensor, u: Tensor, v: Tensor, *, backend: str = "auto") -> Tensor:
    """Contract a tensor with pairs of vectors: ``out[b, l] = sum_ij T[i, j, l] u[b, i] v[b, j]``.

    Parameters
    ----------
    t
        Shape ``[k (k + 1) (k + 2) / 6]``, float64, contiguous, packed as above.
    u, v
        Shape ``[B, k]``, float64. Rows may be strided, elements may not.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        Shape ``[B, k]``, float64.

    Raises
    ------
    ValueError
        If shapes, strides or devices disagree, or ``k`` is above 64.
    TypeError
        If a tensor is not float64.

    Notes
    -----
    About ``k^3`` operations a row, which depends on its own inputs only.
    """
    out = torch.empty_like(u, memory_format=torch.contiguous_format)
    _core.contract3(t, u, v, out=out, call=call(u.device, backend))
    return out


def contract3_scalar(t: Tensor, u: Tensor, v: Tensor, w: Tensor, *, backend: str = "auto") -> Tensor:
    """Contract a tensor with triples of vectors: ``out[b] = sum_ijl T[i, j, l] u[b, i] v[b, j] w[b, l]``.

    Parameters and errors as in :func:`contract3`.

    Returns
    -------
    Tensor
        Shape ``[B]``, float64.
    """
    out = u.new_empty(u.shape[:1])
    _core.contract3_scalar(t, u, v, w, out=out, call=call(u.device, backend))
    return out


def higher_order_power(
    t: Tensor, x: Tensor, *, shift: float, num_steps: int, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Shifted symmetric higher-order power iteration from many starts: SS-HOPM.

    ``x[b] <- y / |y|`` with ``y = T[x, x, .] + shift x``, in place.

    Parameters
    ----------
    t
        Packed tensor, as in :func:`contract3`.
    x
        Shape ``[B, k]``, float64: starts, of any length; unit vectors at the end. A row that is zero, or
        whose y vanishes, stays as it is.
    shift
        With ``2 max_x |T[x, ., .]|`` or more (twice the Frobenius norm is enough) the values rise from step
        to step and converge to an eigenvalue of T. Less is faster and promises nothing.
    num_steps
        Steps to take, at least 0.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    value
        Shape ``[B]``, float64: ``T[x, x, x]`` at the end, for any x a lower bound of the injective norm.
    residual
        Shape ``[B]``, float64: ``|T[x, x, .] - value x|``; zero at an eigenvector.

    Raises
    ------
    ValueError
        If shapes, strides or devices disagree, or an option is out of range.
    TypeError
        If a tensor is not float64.

    Notes
    -----
    ``num_steps + 1`` contractions a row.

    References
    ----------
    Kolda, Mayo (2011), SIAM J. Matrix Anal. Appl. 32, 1095-1124.
    """
    value, residual = x.new_empty(x.shape[:1]), x.new_empty(x.shape[:1])
    _core.higher_order_power(
        t, x, shift=shift, num_steps=num_steps, value=value, residual=residual, call=call(x.device, backend)
    )
    return value, residual


register(
    "contract3(Tensor t, Tensor u, Tensor v) -> Tensor",
    contract3,
    lambda t, u, v: torch.empty_like(u, memory_format=torch.contiguous_format),  # noqa: ARG005
)
register(
    "contract3_scalar(Tensor t, Tensor u, Tensor v, Tensor w) -> Tensor",
    contract3_scalar,
    lambda t, u, v, w: u.new_empty(u.shape[:1]),  # noqa: ARG005
)
register(
    "higher_order_power(Tensor t, Tensor(a!) x, float shift, int num_steps) -> (Tensor, Tensor)",
    lambda t, x, shift, num_steps: higher_order_power(t, x, shift=shift, num_steps=num_steps),
    lambda t, x, shift, num_steps: (x.new_empty(x.shape[:1]), x.new_empty(x.shape[:1])),  # noqa: ARG005
)
