"""Elementwise sums of products: ``product_sum``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register


def product_sum(
    operands: Sequence[Tensor],
    scales: Sequence[float],
    factors: Sequence[Sequence[int]],
    *,
    out: Tensor,
    backend: str = "auto",
) -> Tensor:
    """Add products of operands: ``out = sum_t scales[t] * prod_j operands[factors[t][j]]``.

    Parameters
    ----------
    operands
        1 to 10 tensors ``[A, B, C]``, float32 or float64; a dimension that is 1 is broadcast. The last
        dimension is contiguous.
    scales
        One factor per term, 1 to 8 terms.
    factors
        For each term the numbers of 1 to 4 operands.
    out
        Shape ``[A, B, C]``, the dtype of the operands; may be one of them that is not broadcast.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        ``out``.

    Raises
    ------
    ValueError
        If shapes, strides, devices or the numbers of factors are wrong.
    TypeError
        If the dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    One pass over memory. Error at most ``(terms + 4) eps`` of the sum of absolute terms.
    """
    _core.product_sum(
        [operand.detach() for operand in operands],
        list(scales),
        [list(term) for term in factors],
        out=out.detach(),
        call=call(out.device, backend),
    )
    return out


def _impl(
    operands: list[Tensor], scales: list[float], factors: list[int], lengths: list[int], out: Tensor
) -> None:
    ends = [sum(lengths[: t + 1]) for t in range(len(lengths))]
    terms = [factors[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    product_sum(operands, scales, terms, out=out)


register(
    "product_sum(Tensor[] operands, float[] scales, int[] factors, int[] lengths, Tensor(a!) out) -> ()",
    _impl,
    lambda operands, scales, factors, lengths, out: None,  # noqa: ARG005
)
