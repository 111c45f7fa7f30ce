"""Orthogonalisation against a basis, and of a block of vectors among themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.recurrence import squared_norms
from hesscope.krylov.rows import Rows, combine

_PASSES = 3  # two are enough for anything that is not inside the span (Giraud and others 2005)
_AMPLIFIED = 0.1  # a share of a row that is scaled up tenfold brings its rounding along
_REMOVED = 0.5  # of a squared norm: a pass that removed more is followed by another


def orthogonalize(basis: Rows, rows: Tensor, length: int, *, norms: Tensor | None = None) -> Tensor:
    """Remove the first ``length`` basis rows from ``rows``, in place.

    Classical Gram-Schmidt, repeated while it removes more than half of the squared norm of a row (Daniel,
    Gragg, Kaufman and Stewart 1976): a pass leaves rounding relative to what it began with. A vector whose
    large components are subtracted before, as the Lanczos recurrence does, needs one pass.

    Parameters
    ----------
    basis
        Orthonormal rows: K = 1 for a shared one, else one for each row.
    rows
        Shape ``[B, n]``, written.
    length
        Rows of the basis to remove.
    norms
        Shape ``[B]``, float64: the squared norms of ``rows``, where they are known.

    Returns
    -------
    Tensor
        Shape ``[B, length]``, float64: what was removed along each basis row.

    Notes
    -----
    Reads the basis twice a pass, and waits for the device once.
    """
    total = torch.zeros(rows.shape[0], length, dtype=torch.float64, device=rows.device)
    if length == 0:
        return total
    before = squared_norms(rows) if norms is None else norms
    for _ in range(_PASSES):
        coefficients = basis.dot(rows, length)
        basis.axpy(coefficients, rows)
        total += coefficients
        removed = coefficients.square().sum(dim=1)
        if not bool((removed > _REMOVED * before).any()):
            break
        before = squared_norms(rows)
    return total


def orthonormalize(rows: Tensor, *, negligible: float, basis: Rows | None = None, length: int = 0) -> Tensor:
    """Make ``rows [p, n]`` orthonormal in place, the first ``kept`` of them, by Cholesky-QR twice.

    Rows so dependent that their inner products cannot tell (a condition number of 1e5 in float32, 1e7 in
    float64), or so small that one may be negligible, are taken one after the other instead, and those of
    which at most ``negligible`` is left are dropped: that reveals the rank.

    Parameters
    ----------
    rows
        Shape ``[p, n]``, float32 or float64, orthogonal to the basis; written. Rows from ``kept`` on are
        left without meaning.
    negligible
        Smallest norm of what a row adds.
    basis, length
        What the rows must stay orthogonal to, although small differences of rows are scaled up.

    Returns
    -------
    Tensor
        R, shape ``[kept, p]``, float64, CPU: ``rows before = R' rows after``, but for what was dropped.

    References
    ----------
    Yamamoto, Nakatsukasa, Yanagisawa and Fukaya (2015), ETNA 44, 306-326.
    """
    eps = torch.finfo(rows.dtype).eps
    least = max(1e2 * eps, 1e-7)
    r = torch.eye(rows.shape[0], dtype=torch.float64)
    for _ in range(_PASSES):
        factor = _cholesky(_ops.gram(rows).cpu())
        shares = factor.diagonal() / factor.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        small = factor.diagonal() <= 10 * negligible
        if bool(small.any()) or bool((shares <= least).any()):
            return _one_by_one(rows, negligible, basis, length) @ r
        identity = torch.eye(rows.shape[0], dtype=torch.float64)
        combine(torch.linalg.solve_triangular(factor, identity, upper=False), rows, out=rows)
        r, negligible = factor.T @ r, 0.0
        smallest = float(shares.min()) if len(shares) else 1.0
        if smallest < _AMPLIFIED and basis is not None:
            orthogonalize(basis, rows, length)
        if smallest > 1 - 1e2 * eps:
            break
    return r


def _cholesky(gram: Tensor) -> Tensor:
    """Return the lower factor of inner products ``[p, p]``; zero where there is none."""
    sizes = gram.diagonal().clamp(min=0.0).sqrt()
    safe = torch.where(sizes > 0, sizes, 1.0)
    factor, info = torch.linalg.cholesky_ex(gram / safe[:, None] / safe[None, :])
    return sizes[:, None] * factor if int(info) == 0 else torch.zeros_like(gram)


def _one_by_one(rows: Tensor, negligible: float, basis: Rows | None, length: int) -> Tensor:
    p, kept = rows.shape[0], 0
    r = torch.zeros(p, p, dtype=torch.float64)
    for a in range(p):
        row = rows[kept : kept + 1]
        row.copy_(rows[a : a + 1].clone())
        for _ in range(2 if kept else 0):  # the basis again: what is left of a row may be little
            found = _ops.multi_dot(rows[None, :kept], row)
            _ops.multi_axpy(rows[None, :kept], found, row, scale=-1.0)
            r[:kept, a] += found[0].cpu()
            if basis is not None:
                orthogonalize(basis, row, length)
        norm = float(squared_norms(row).sqrt())
        if norm > negligible:
            row /= norm
            r[kept, a] = norm
            kept += 1
    return r[:kept]
