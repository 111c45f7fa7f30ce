"""Coefficients through a normalisation: ``norm_jet`` and ``norm_jet_backward``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register


def norm_jet(
    x: Sequence[Tensor], y: Tensor, rstd: Tensor, *, centred: bool = True, backend: str = "auto"
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Coefficients of ``y = (x - mean) * rstd``, normalised over the outer and inner dimension.

    Parameters
    ----------
    x
        Coefficients 1 to p of x, p at most 3: shape ``[K, O, G, I]``, float32 or float64, contiguous.
    y, rstd
        The values: shapes ``[O, G, I]`` and ``[G]``.
    centred
        False for RMS norm, which subtracts no mean.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    y, mean, rstd : list of Tensor
        Their coefficients 1 to p: shapes ``[K, O, G, I]``, ``[K, G]`` and ``[K, G]``.
    """
    out = [torch.empty_like(t) for t in x]
    mean, inverse = ([t.new_empty(t.shape[0], y.shape[1]) for t in x] for _ in range(2))
    where = call(y.device, backend)
    _core.norm_jet(x, y, rstd, centred=centred, out=out, mean_out=mean, rstd_out=inverse, call=where)
    return out, mean, inverse


def norm_jet_backward(
    dg: Tensor | None,
    dy: Tensor | None,
    drstd: Tensor | None,
    g: Tensor,
    y: Tensor,
    rstd: Tensor,
    moments: Tensor,
    *,
    centred: bool = True,
    backend: str = "auto",
) -> Tensor:
    """Coefficient 1 of ``rstd * (g - mean(g) - y * mean(y * g))``, the backward of a normalisation.

    Parameters
    ----------
    dg, dy, drstd
        Coefficients of g, y and rstd, those that there are: shapes ``[K, O, G, I]``, the same, ``[K, G]``.
    g, y, rstd
        The values: shapes ``[O, G, I]``, the same, ``[G]``.
    moments
        Shape ``[2, G]``: mean(g), 0 where not centred, and mean(y * g).
    centred, backend
        As in :func:`norm_jet`.

    Returns
    -------
    Tensor
        Shape ``[K, O, G, I]``.
    """
    some = next((t for t in (dg, dy, drstd) if t is not None), None)
    probes = 0 if some is None else some.shape[0]
    out = y.new_empty(probes, *y.shape)
    where = call(y.device, backend)
    _core.norm_jet_backward(dg, dy, drstd, g, y, rstd, moments, centred=centred, out=out, call=where)
    return out


def _norm_jet_impl(
    x: list[Tensor], y: Tensor, rstd: Tensor, centred: bool
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    return norm_jet([t.detach() for t in x], y.detach(), rstd.detach(), centred=centred)


def _norm_jet_fake(
    x: list[Tensor],
    y: Tensor,
    rstd: Tensor,  # noqa: ARG001
    centred: bool,  # noqa: ARG001
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    rows = [[t.new_empty(t.shape[0], y.shape[1]) for t in x] for _ in range(2)]
    return [torch.empty_like(t) for t in x], rows[0], rows[1]


def _norm_jet_backward_impl(
    dg: Tensor | None,
    dy: Tensor | None,
    drstd: Tensor | None,
    g: Tensor,
    y: Tensor,
    rstd: Tensor,
    moments: Tensor,
    centred: bool,
) -> Tensor:
    dg, dy, drstd = (None if t is None else t.detach() for t in (dg, dy, drstd))
    g, y, rstd, moments = (t.detach() for t in (g, y, rstd, moments))
    return norm_jet_backward(dg, dy, drstd, g, y, rstd, moments, centred=centred)


def _norm_jet_backward_fake(
    dg: Tensor | None, dy: Tensor | None, drstd: Tensor | None, g: Tensor, y: Tensor, *_: object
) -> Tensor:
    some = next(t for t in (dg, dy, drstd) if t is not None)
    return g.new_empty(some.shape[0], *y.shape)


register(
    "norm_jet(Tensor[] x, Tensor y, Tensor rstd, bool centred) -> (Tensor[], Tensor[], Tensor[])",
    _norm_jet_impl,
    _norm_jet_fake,
)
register(
    "norm_jet_backward(Tensor? dg, Tensor? dy, Tensor? drstd, Tensor g, Tensor y, Tensor rstd,"
    " Tensor moments, bool centred) -> Tensor",
    _norm_jet_backward_impl,
    _norm_jet_backward_fake,
)
