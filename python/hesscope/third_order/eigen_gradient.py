"""How an eigenvalue of H, or the mean of a cluster, changes with the parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope import _checks, _ops
from hesscope.krylov.recurrence import squared_norms
from hesscope.results import Eigenpairs
from hesscope.results.gradient import EigenvalueGradient
from hesscope.third_order.clusters import cluster_of, gap_around
from hesscope.third_order.form import TrilinearForm

_WHERE = "eigenvalue_gradient"
_ROUNDINGS = 16
_CLAIMS = 2  # residuals of an unfinished search are those of its recurrence


def eigenvalue_gradient(
    third: TrilinearForm,
    eigenpairs: Eigenpairs,
    index: int | Sequence[int],
    *,
    cluster_tol: float | None,
    norm_steps: int,
    seed: int,
) -> EigenvalueGradient:
    """Compute ``mean_i T[x_i, x_i, .]``; see ``ThirdOrder.eigenvalue_gradient``."""
    pairs = _checked_pairs(third, eigenpairs)
    members = _checked_members(pairs, index, cluster_tol)
    steps = _checks.integer(_WHERE, "norm_steps", norm_steps, below=2**31)
    _checks.integer(_WHERE, "seed", seed)
    residual = _measured_residual(third, pairs, members)
    before = third.contractions
    x = pairs.vectors[list(members)]
    value = third.contract(x, x, reduction="sum") / len(members)
    if not bool(value.isfinite().all()):
        msg = f"{_WHERE}: the third derivative must be finite, got NaN or inf along an eigenvector"
        raise ValueError(msg)
    slope = _slope(third, x, steps, seed) if steps else math.inf
    gap = gap_around(pairs, members)
    angle = residual / gap if gap > 0 else math.inf
    error = math.inf
    if angle < 1 and math.isfinite(slope):
        error = 2 * slope * (angle + angle**2) / math.sqrt(len(members))
        error += _ROUNDINGS * torch.finfo(x.dtype).eps * (slope + pairs.norm)
    return EigenvalueGradient(
        value=value,
        error=error,
        eigenvalue=float(pairs.values[list(members)].mean()),
        members=members,
        gap=gap,
        residual=residual,
        slope=slope,
        contractions=third.contractions - before,
        products=len(members),
        method=_words(pairs, members, gap, steps),
        status=pairs.status,
    )


def _words(pairs: Eigenpairs, members: tuple[int, ...], gap: float, steps: int) -> str:
    what = "T[x, x, .]" if len(members) == 1 else f"mean of T[x, x, .] over {len(members)} eigenvectors"
    if gap == 0:
        how = "no error without the gap to the next eigenvalue, which more eigenpairs would show"
    elif steps == 0:
        how = "no error without norm_steps"
    else:
        how = f"error 2 |T[x, ., .]| residual / gap, its norm from below by {steps} power steps"
    missed = "" if pairs.missed == "none found" else f"; missed copies of the eigenvalue: {pairs.missed}"
    return f"{what}; {how}{missed}"


def _slope(third: TrilinearForm, x: Tensor, steps: int, seed: int) -> float:
    """Return the largest ``|T[x_i, ., .]|``, from below, by power iteration from random starts."""
    z = _ops.probes(*x.shape, kind="gaussian", seed=seed, dtype=x.dtype, device=x.device)
    largest = 0.0
    for _ in range(steps):
        sizes = squared_norms(z).sqrt()
        if not bool((sizes > 0).any()):
            break
        z = third.contract(x, z / sizes.clamp_min(torch.finfo(x.dtype).tiny).to(x.dtype)[:, None])
        largest = max(largest, float(squared_norms(z).max().sqrt()))
    return largest


def _checked_pairs(third: TrilinearForm, eigenpairs: object) -> Eigenpairs:
    if not isinstance(eigenpairs, Eigenpairs):
        msg = (
            f"{_WHERE}: eigenpairs must be an Eigenpairs of the objective's Hessian, as hesscope.eigenpairs "
            f"returns, got {type(eigenpairs).__name__}"
        )
        raise TypeError(msg)
    objective, vectors = third.objective, eigenpairs.vectors
    same = vectors.dtype == objective.dtype and vectors.device == torch.device(objective.device)
    if vectors.shape[1] != objective.n or not same:
        msg = (
            f"{_WHERE}: eigenpairs must be those of the objective, {objective.dtype} on {objective.device} "
            f"with n = {objective.n}, got {vectors.dtype} on {vectors.device} with n = {vectors.shape[1]}"
        )
        raise ValueError(msg)
    return eigenpairs


def _measured_residual(third: TrilinearForm, pairs: Eigenpairs, members: tuple[int, ...]) -> float:
    """Return the root of the sum of squared residuals; refuse pairs that are not of this Hessian."""
    chosen = list(members)
    x, values, claimed = pairs.vectors[chosen], pairs.values[chosen], pairs.residuals[chosen]
    rest = third.hessian.rows(x).double() - values.to(x.device)[:, None] * x.double()
    found = rest.norm(dim=1).cpu()
    eps = max(torch.finfo(p.dtype).eps for p in third.objective.parameter_set.tensors)
    allowed = _CLAIMS * claimed + eps**0.5 * pairs.norm
    wrong = (~(found <= allowed)).nonzero()[:, 0].tolist()
    if wrong:
        i = wrong[0]
        msg = (
            f"{_WHERE}: eigenpairs must be those of the objective's Hessian at these weights and data, with "
            f"|H x - value x| of at most {float(allowed[i]):.3g} for pair {members[i]}, got "
            f"{float(found[i]):.3g}; compute them anew with ThirdOrder.hessian"
        )
        raise ValueError(msg)
    return float(torch.maximum(found, claimed).norm())


def _checked_members(
    pairs: Eigenpairs, index: int | Sequence[int], cluster_tol: float | None
) -> tuple[int, ...]:
    """Return the members; refuse a part of a cluster, of which there is no gradient."""
    given = list(index) if isinstance(index, Sequence) and not isinstance(index, str) else [index]
    members = [_checks.integer(_WHERE, "index", i, below=max(len(pairs), 1)) for i in given]
    if not members or len(set(members)) < len(members):
        msg = f"{_WHERE}: index must be one pair, or several that differ, got {index}"
        raise ValueError(msg)
    tol = None if cluster_tol is None else _checks.real(_WHERE, "cluster_tol", cluster_tol)
    if tol is not None and not 0 <= tol < math.inf:
        msg = f"{_WHERE}: cluster_tol must be finite and not negative, got {tol}"
        raise ValueError(msg)
    for i in members:
        cluster = cluster_of(pairs, i, tol)
        if set(cluster) - set(members):
            low, high = float(pairs.values[list(cluster)].min()), float(pairs.values[list(cluster)].max())
            msg = (
                f"{_WHERE}: index must hold whole clusters, got {index}, but the eigenvalues of pairs "
                f"{', '.join(map(str, cluster))}, {low:.8g} to {high:.8g}, are not told apart, and one of "
                f"them alone has no gradient; index={cluster} gives that of their mean"
            )
            raise ValueError(msg)
    return tuple(sorted(members))
