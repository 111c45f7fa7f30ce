"""Smoothed densities and distribution functions of quadratures."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call
from hesscope._ops._library import register


def smoothed_density(
    nodes: Tensor, weights: Tensor, grid: Tensor, *, sigma: float, backend: str = "auto"
) -> Tensor:
    """Sum Gaussian densities of width ``sigma`` around the nodes of each quadrature.

    Parameters
    ----------
    nodes, weights
        Shape ``[B, m]``, float64, rows contiguous.
    grid
        Shape ``[G]``, float64, in any order: where the densities are evaluated.
    sigma
        Standard deviation of the smoothing, positive, in the units of the nodes.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        Shape ``[B, G]``, float64. The integral of a row is the sum of its weights.

    Raises
    ------
    ValueError
        If shapes or devices disagree, or ``sigma`` is not positive and finite.
    TypeError
        If a tensor is not float64.
    """
    out = _empty(nodes, grid)
    _core.smoothed_density(nodes, weights, grid, sigma=sigma, out=out, call=call(nodes.device, backend))
    return out


def smoothed_cdf(
    nodes: Tensor, weights: Tensor, grid: Tensor, *, sigma: float, backend: str = "auto"
) -> Tensor:
    """Sum normal distribution functions of width ``sigma`` around the nodes of each quadrature.

    Parameters and errors as in :func:`smoothed_density`, whose integral this is. ``sigma=0`` is the step
    function: the weight of the nodes that are at most ``grid``.

    Returns
    -------
    Tensor
        Shape ``[B, G]``, float64.
    """
    out = _empty(nodes, grid)
    _core.smoothed_cdf(nodes, weights, grid, sigma=sigma, out=out, call=call(nodes.device, backend))
    return out


def _empty(nodes: Tensor, grid: Tensor) -> Tensor:
    return nodes.new_empty([*nodes.shape[:1], grid.numel()], dtype=torch.float64)


def _fake(nodes: Tensor, weights: Tensor, grid: Tensor, sigma: float) -> Tensor:  # noqa: ARG001
    return _empty(nodes, grid)


register(
    "smoothed_density(Tensor nodes, Tensor weights, Tensor grid, float sigma) -> Tensor",
    lambda nodes, weights, grid, sigma: smoothed_density(nodes, weights, grid, sigma=sigma),
    _fake,
)
register(
    "smoothed_cdf(Tensor nodes, Tensor weights, Tensor grid, float sigma) -> Tensor",
    lambda nodes, weights, grid, sigma: smoothed_cdf(nodes, weights, grid, sigma=sigma),
    _fake,
)
