"""Gauss quadrature of Lanczos coefficients, and how far it can be from the measure that the probe sees.

One probe z sees the measure that puts ``(q_i' z)^2 / |z|^2`` on eigenvalue i. m Lanczos steps give its
m-point Gauss quadrature, whose distribution function interlaces the true one (Chebyshev, Markov and
Stieltjes; Chen, Trogdon and Ubaru 2021): that is where the bounds here come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope import _ops


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Quadratures of K probes.

    Attributes
    ----------
    nodes, weights
        Shape ``[K, m]``, float64: ascending Ritz values, and weights that sum to one. A recurrence that
        ended early is padded with its last node at weight 0.
    residuals
        Shape ``[K, m]``: an eigenvalue lies within this distance of the node.
    ended
        Shape ``[K]``, bool: the recurrence ended, so the quadrature is the probe's measure itself.
    """

    nodes: Tensor
    weights: Tensor
    residuals: Tensor
    ended: Tensor


def gauss(alpha: Tensor, beta: Tensor) -> Quadrature:
    """Nodes, weights and residuals of the coefficients of K recurrences (Golub and Welsch 1969).

    Parameters
    ----------
    alpha, beta
        Shape ``[K, m]``, float64; ``beta[r, m - 1]`` enters the residuals only.
    """
    nodes, first, last = _ops.tridiagonal_eigen(alpha, beta)
    ended = (beta == 0).any(dim=1)
    final = torch.where(ended, 0.0, beta[:, -1])
    return Quadrature(nodes, first**2, (final[:, None] * last).abs(), ended)


def cdf(quadrature: Quadrature, x: Tensor) -> Tensor:
    """Return the weight at or below x: ``[P] -> [K, P]``."""
    return _step(quadrature.nodes, quadrature.weights, x)


def cdf_bounds(
    quadrature: Quadrature, x: Tensor, *, slack: float, support: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Bound the distribution function of each probe's measure, and its limit from the left.

    ``sum_j w_j [t_{j+1} <= x] <= F(x-) <= F(x) <= w_1 + sum_{j>=2} w_j [t_{j-1} <= x]``
    (Chebyshev, Markov and Stieltjes; Szegő 1939, theorem 3.41.1).

    Parameters
    ----------
    quadrature
        K quadratures.
    x
        Shape ``[P]``.
    slack
        How far rounding may have moved a node, in the units of x: the bounds are taken at x ∓ slack.
    support
        An interval known to hold the spectrum; infinite where nothing is known.

    Returns
    -------
    lower, upper
        Shape ``[K, P]``. Where the recurrence ended both are the step function itself, up to ``slack``.
    """
    nodes, weights = quadrature.nodes, quadrature.weights
    infinity = torch.full_like(nodes[:, :1], torch.inf)
    # Padding repeats the last node at weight 0, so shifted nodes there change nothing.
    after = torch.cat([nodes[:, 1:], infinity], dim=1)
    before = torch.cat([-infinity, nodes[:, :-1]], dim=1)
    ended = quadrature.ended[:, None]
    lower = _step(torch.where(ended, nodes, after), weights, x - slack)
    upper = _step(torch.where(ended, nodes, before), weights, x + slack)
    below, above = (x < support[0]) | (x == -torch.inf), x >= support[1]
    return torch.where(above, 1.0, lower), torch.where(below, 0.0, upper)


def wasserstein_bound(quadrature: Quadrature, a: float, b: float) -> Tensor:
    """Bound the Wasserstein-1 distance of each quadrature to its probe's measure on ``[a, b]``.

    ``sum_{j=0}^{m} max(w_j, w_{j+1}) (t_{j+1} - t_j)`` with ``w_0 = w_{m+1} = 0``, ``t_0 = a``,
    ``t_{m+1} = b`` (Chen, Trogdon and Ubaru 2021); 0 where the recurrence ended.

    Returns
    -------
    Tensor
        Shape ``[K]``; ``inf`` where a or b is infinite.
    """
    nodes, weights = quadrature.nodes, quadrature.weights
    edges = torch.cat([nodes[:, :1].clamp(max=a), nodes, nodes[:, -1:].clamp(min=b)], dim=1)
    zero = torch.zeros_like(weights[:, :1])
    padded = torch.cat([zero, weights, zero], dim=1)
    heights = torch.maximum(padded[:, 1:], padded[:, :-1])
    gaps = edges.diff(dim=1)
    # A node of weight 0 beside an infinite gap: 0 * inf is no distance.
    return torch.where(quadrature.ended, 0.0, torch.where(heights > 0, heights * gaps, 0.0).sum(dim=1))


def _step(nodes: Tensor, weights: Tensor, x: Tensor) -> Tensor:
    # nodes are ascending in each row: [K, m]; x: [P]
    total = torch.cat([torch.zeros_like(weights[:, :1]), weights.cumsum(dim=1)], dim=1)
    where = x.expand(nodes.shape[0], -1).contiguous()
    index = torch.searchsorted(nodes.contiguous(), where, right=True)
    return total.gather(1, index).clamp(0.0, 1.0)
