"""Products of dense matrices: ``gemm``."""

from __future__ import annotations

from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call, workspace
from hesscope._ops._library import register


def gemm(
    a: Tensor,
    x: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    out: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Multiply batches of matrices: ``out[b] = alpha * a[b] @ x[b] + beta * out[b]``.

    Parameters
    ----------
    a
        Shape ``[B, m, k]``, float32 or float64, any strides: pass a transpose as a view, and ``expand``
        one matrix for the whole batch.
    x
        Shape ``[B, k, n]``, the dtype of ``a``, any strides.
    alpha, beta
        Factors, rounded to the dtype of ``a``. ``out`` is read only if ``beta`` is not 0.
    out
        Shape ``[B, m, n]``, rows contiguous; must not overlap the operands. New, of zeros if ``beta`` is not
        0, if ``None``.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        ``out``.

    Raises
    ------
    ValueError
        If shapes, strides or devices disagree, or a factor is not finite.
    TypeError
        If the dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    ``2 B m n k`` operations; sums in the dtype of ``a``, error at most ``(k + 3) eps`` of the sum of absolute
    terms. Elements do not depend on ``m``, ``n``, ``B`` or threads. At most 17 MB of workspace.
    """
    a, x = a.detach(), x.detach()
    if out is None:
        shape = (*a.shape[:-1], *x.shape[-1:])
        out = a.new_empty(shape) if beta == 0 else a.new_zeros(shape)
    whole = a.ndim == 3 and x.ndim == 3
    scratch = _core.gemm_workspace_bytes(a.shape[1], x.shape[2], a.shape[2], a) if whole else 0
    _core.gemm(
        a,
        x,
        out.detach(),
        alpha=alpha,
        beta=beta,
        workspace=workspace(scratch, a.device),
        call=call(a.device, backend),
    )
    return out


def _impl(a: Tensor, x: Tensor, c: Tensor, alpha: float, beta: float) -> None:
    gemm(a, x, alpha=alpha, beta=beta, out=c)


register(
    "gemm(Tensor a, Tensor x, Tensor(a!) c, float alpha, float beta) -> ()",
    _impl,
    lambda a, x, c, alpha, beta: None,  # noqa: ARG005
)
