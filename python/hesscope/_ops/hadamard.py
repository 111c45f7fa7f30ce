"""Walsh-Hadamard transforms: ``walsh_hadamard``."""

from __future__ import annotations

from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register


def walsh_hadamard(x: Tensor, *, scale: float = 1.0, backend: str = "auto") -> Tensor:
    """Transform K vectors in place, ``x <- scale * W x``, and return ``x``.

    ``W[i, j] = (-1)^popcount(i & j)`` is the Hadamard matrix of Sylvester.

    Parameters
    ----------
    x
        Shape ``[K, n]``, float32 or float64, ``n`` a power of two. Rows may be strided, elements may
        not. Overwritten.
    scale
        Factor, rounded to the dtype of ``x``; ``1 / sqrt(n)`` makes the transform its own inverse.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        ``x`` itself.

    Raises
    ------
    ValueError
        If ``n`` is not a power of two, or rows overlap or are not contiguous.
    TypeError
        If the dtype is neither float32 nor float64.

    Notes
    -----
    ``log2(n)`` additions an element; no workspace. Error at most ``(log2(n) + 2) eps |scale| |x|_1``.
    The same bits for any K and number of threads, on the CPU and on CUDA.
    """
    _core.walsh_hadamard(x.detach(), scale=scale, call=call(x.device, backend))
    return x


def _impl(x: Tensor, scale: float) -> None:
    walsh_hadamard(x, scale=scale)


register("walsh_hadamard(Tensor(a!) x, float scale) -> ()", _impl, lambda x, scale: None)  # noqa: ARG005
