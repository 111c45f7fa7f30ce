"""Which Ritz values are eigenvalues of their own: the sticks of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from hesscope.spectrum import SpectralDensity

# A Ritz value counts as an eigenvalue when its residual is below this share of the gap to its neighbour.
_RESIDUAL_SHARE = 0.1
# Copies ("ghosts") of one eigenvalue, which recurrences without reorthogonalisation make, agree to a few
# roundings once they carry weight.
_COPY_ROUNDINGS = 16.0
# A node with less weight than this share of 1 / n is a copy on its way. A single eigenvalue's weight,
# chi-squared with one degree of freedom times 1 / n, is below it with probability 3 %.
_MASS_SHARE = 1e-3


@dataclass(frozen=True)
class ResolvedEigenvalue:
    """One eigenvalue (or several too close to tell apart) that stands alone in the spectrum.

    Attributes
    ----------
    value
        The mean Ritz value over the probes that found it; 0 if zero to rounding.
    count
        Weight times n: an estimate of how many eigenvalues sit there, noisy for few probes.
    """

    value: float
    count: float


def distinct_nodes(rho: SpectralDensity) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return nodes, weights and residuals of each probe, copies merged: K triples of ``[g]``, float64."""
    q, tol = rho.quadrature, _COPY_ROUNDINGS * rho.rounding
    return [merge_copies(*row, tol) for row in zip(q.nodes, q.weights, q.residuals, strict=True)]


def merge_copies(
    nodes: Tensor, weights: Tensor, residuals: Tensor, tol: float
) -> tuple[Tensor, Tensor, Tensor]:
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
    zeros = torch.zeros(int(group[-1]) + 1, dtype=torch.float64)
    # Weights may vanish, all of them in a group: a mean then needs something to weigh with.
    padded = weights + torch.finfo(torch.float64).tiny
    mean = zeros.index_add(0, group, padded * nodes) / zeros.index_add(0, group, padded)
    smallest = torch.full_like(zeros, torch.inf).scatter_reduce(0, group, residuals, "amin")
    return mean, zeros.index_add(0, group, weights), smallest


def resolved_eigenvalues(rho: SpectralDensity) -> list[ResolvedEigenvalue]:
    """Find the eigenvalues that at least half of the probes resolve, ascending."""
    tol = _COPY_ROUNDINGS * rho.rounding
    found: list[tuple[float, float, float]] = []
    for node, weight, residual in distinct_nodes(rho):
        keep = weight * rho.n > _MASS_SHARE
        value, mass, error = node[keep], weight[keep], residual[keep]
        gap = _gap(value)
        alone = (error < _RESIDUAL_SHARE * gap) | (error <= tol)
        # Kato and Temple: the value is this close to the eigenvalue.
        slack = tol + (error**2 / gap.clamp(min=tol or 1.0)).nan_to_num(0.0)
        found += zip(value[alone].tolist(), mass[alone].tolist(), slack[alone].tolist(), strict=True)
    return _pool(sorted(found), rho)


def _gap(value: Tensor) -> Tensor:
    """Distance of ascending ``value [g]`` to the nearest neighbour; 0 if there is none: nothing is known."""
    if len(value) < 2:
        return torch.zeros_like(value)
    gap, none = value.diff(), torch.full((1,), torch.inf, dtype=torch.float64)
    return torch.minimum(torch.cat([none, gap]), torch.cat([gap, none]))


def _pool(found: list[tuple[float, float, float]], rho: SpectralDensity) -> list[ResolvedEigenvalue]:
    """Group ascending (value, mass, slack) of all probes; keep what half of the probes agree on."""
    groups: list[list[tuple[float, float, float]]] = []
    for item in found:
        if groups and item[0] - groups[-1][-1][0] <= item[2] + groups[-1][-1][2]:
            groups[-1].append(item)
        else:
            groups.append([item])
    agreed = [group for group in groups if 2 * len(group) >= rho.num_probes]
    result = []
    for group in agreed:
        value = sum(item[0] for item in group) / len(group)
        count = rho.n * sum(item[1] for item in group) / len(group)
        result.append(ResolvedEigenvalue(0.0 if abs(value) <= rho.rounding else value, count))
    return result
