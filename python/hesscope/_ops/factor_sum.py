"""Sums of products with saved factors: ``factor_sum``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register


def factor_sum(
    factors: Sequence[Tensor],
    tangents: Sequence[Tensor],
    out: Tensor,
    *,
    scale: float = 1.0,
    add: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Sum products with factors that K probes share: ``out[k] = scale * sum_j factors[j] * tangents[j][k]``.

    Parameters
    ----------
    factors
        One to three of shape ``[A, B, C]``, float32 or float64; a dimension of 1 is broadcast. Contiguous
        in the last dimension, as all arguments.
    tangents
        As many of shape ``[K, A, B, C]``, broadcast likewise except in K.
    out
        Shape ``[K, A, B, C]``: where the sum goes; may be one of ``tangents``.
    scale
        Factor of the whole sum.
    add
        Add the sum to ``out`` instead of replacing it.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        ``out``.
    """
    _core.factor_sum(factors, tangents, scale=scale, add=add, out=out, call=call(out.device, backend))
    return out


def _factor_sum_impl(
    factors: list[Tensor], tangents: list[Tensor], out: Tensor, scale: float, add: bool
) -> None:
    factor_sum([f.detach() for f in factors], [t.detach() for t in tangents], out, scale=scale, add=add)


register(
    "factor_sum(Tensor[] factors, Tensor[] tangents, Tensor(a!) out, float scale, bool add) -> ()",
    _factor_sum_impl,
    lambda factors, tangents, out, scale, add: None,  # noqa: ARG005
)
