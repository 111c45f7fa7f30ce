"""Which Ritz values are eigenvalues of their own: the sticks of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# A Ritz value counts as an eigenvalue when its residual is below this share of the gap to its neighbour.
_RESIDUAL_SHARE = 0.1
# Copies ("ghosts") of one eigenvalue that recurrences without reorthogonalisation make agree to about this
# share of the largest |Ritz value|; values of different probes agree better.
_GHOST_SHARE = 1e-4
# A chi-squared weight with one degree of freedom is below this share of its mean with probability 3 %.
_MASS_SHARE = 1e-3


def copy_tolerance(nodes: Tensor) -> float:
    """Return how far apart two Ritz values ``[K, m]`` may be that belong to one eigenvalue."""
    return _GHOST_SHARE * float(nodes.abs().max())


@dataclass(frozen=True)
class ResolvedEigenvalue:
    """One eigenvalue (or a group too close to tell apart) that stands alone in the spectrum.

    Attributes
    ----------
    value
        The mean Ritz value over the probes that found it.
    count
        Weight times n: an estimate of how many eigenvalues sit there, noisy for few probes.
    """

    value: float
    count: float


def merge_copies(nodes: Tensor, weights: Tensor, residuals: Tensor, tol: float) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the Ritz values of one probe that lie within tol of their neighbour.

    Parameters
    ----------
    nodes, weights, residuals
        Shape ``[m]``, nodes ascending.
    tol
        Largest distance between neighbours of one group.

    Returns
    -------
    nodes, weights, residuals
        Shape ``[g]``: weighted means, sums, and the smallest residual of each group. One of two close
        Ritz values is always close to an eigenvalue (Paige 1980), whatever their own residuals say.
    """
    starts = torch.ones_like(nodes, dtype=torch.bool)
    starts[1:] = nodes.diff() > tol
    group = starts.cumsum(0) - 1
    size = int(group[-1]) + 1
    tiny = torch.finfo(torch.float64).tiny
    mass = torch.zeros(size, dtype=torch.float64).index_add_(0, group, weights)
    moment = torch.zeros(size, dtype=torch.float64).index_add_(0, group, (weights + tiny) * nodes)
    padded = torch.zeros(size, dtype=torch.float64).index_add_(0, group, weights + tiny)
    smallest = torch.full((size,), torch.inf, dtype=torch.float64)
    smallest = smallest.scatter_reduce(0, group, residuals, "amin")
    return moment / padded, mass, smallest


def resolved_eigenvalues(nodes: Tensor, weights: Tensor, residuals: Tensor, n: int) -> list[ResolvedEigenvalue]:
    """Find the eigenvalues that most probes resolve, ascending.

    Parameters
    ----------
    nodes, weights, residuals
        Shape ``[K, m]``, float64, nodes ascending; a residual bounds the distance of its node to an eigenvalue.
    n
        Size of the operator.

    Returns
    -------
    list of ResolvedEigenvalue
        Those that at least half of the probes (and at least one) found alone.
    """
    tol = copy_tolerance(nodes)
    found: list[tuple[float, float]] = []
    for node, weight, blur in zip(nodes, weights, residuals, strict=True):
        value, mass, residual = merge_copies(node, weight, blur, tol)
        keep = mass * n > _MASS_SHARE
        value, mass, residual = value[keep], mass[keep], residual[keep]
        wide = torch.full((1,), torch.inf, dtype=torch.float64)
        gap = torch.minimum(torch.cat([wide, value.diff()]), torch.cat([value.diff(), wide]))
        alone = residual < _RESIDUAL_SHARE * gap
        found += zip(value[alone].tolist(), mass[alone].tolist(), strict=True)
    return _pool(sorted(found), nodes.shape[0], n, tol)


def _pool(found: list[tuple[float, float]], probes: int, n: int, tol: float) -> list[ResolvedEigenvalue]:
    """Group (value, mass) pairs of all probes; keep what half of the probes agree on."""
    groups: list[list[tuple[float, float]]] = []
    for pair in found:
        if groups and pair[0] - groups[-1][-1][0] <= tol:
            groups[-1].append(pair)
        else:
            groups.append([pair])
    return [
        ResolvedEigenvalue(
            value=sum(value for value, _ in group) / len(group),
            count=n * sum(mass for _, mass in group) / len(group),
        )
        for group in groups
        if 2 * len(group) >= probes
    ]
