"""Symmetric tridiagonal matrices: ``tridiagonal_eigen`` and ``sturm_count``."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call, workspace
from hesscope._ops._library import register


def tridiagonal_eigen(alpha: Tensor, beta: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues of symmetric tridiagonal matrices, and two components of their eigenvectors.

    Implicit QL that carries the first and the last row of the eigenvectors (Golub & Welsch 1969).

    Parameters
    ----------
    alpha
        Shape ``[B, m]``, float64: diagonals, ``m >= 1``. Rows may be strided, elements may not.
    beta
        Shape ``[B, m]``, float64: ``beta[b, j]`` couples rows ``j`` and ``j + 1``; the last column is
        not read. A matrix ends at its first 0.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    nodes
        Shape ``[B, m]``, float64, ascending. After an early end: the last eigenvalue, repeated.
    first
        Shape ``[B, m]``: first components, ``>= 0``; squared, the weights of Gauss quadrature.
        After an early end 0.
    last
        Shape ``[B, m]``: last components (of the row where the matrix ends). After an early end 0.

    Raises
    ------
    ValueError
        If shapes, strides or devices disagree, or ``m == 0``.
    TypeError
        If a dtype is not float64.

    Notes
    -----
    Errors of the eigenvalues are of order ``eps`` times the norm, whatever the scale. A matrix with
    NaN or inf gives NaN in its own rows only. O(m²) a matrix; no product with H.
    """
    alpha, beta = alpha.detach(), beta.detach()
    nodes, first, last = (
        torch.empty(alpha.shape, dtype=torch.float64, device=alpha.device) for _ in range(3)
    )
    num_bytes = _core.tridiagonal_eigen_workspace_bytes(*alpha.shape) if alpha.ndim == 2 else 0
    _core.tridiagonal_eigen(
        alpha,
        beta,
        nodes=nodes,
        first=first,
        last=last,
        workspace=workspace(num_bytes, alpha.device),
        call=call(alpha.device, backend),
    )
    return nodes, first, last


def sturm_count(alpha: Tensor, beta: Tensor, x: Tensor, *, backend: str = "auto") -> Tensor:
    """Count the eigenvalues strictly below each point, by Sturm sequences (Givens 1954).

    Parameters
    ----------
    alpha, beta
        Shape ``[B, m]``, float64, as in :func:`tridiagonal_eigen`, early end included: the padding of
        its outputs is not counted.
    x
        Shape ``[P]``, float64, any stride; infinite points are allowed.
    backend
        As in :func:`tridiagonal_eigen`.

    Returns
    -------
    Tensor
        Shape ``[B, P]``, int64: ``#{theta_j < x_p}``; -1 where the matrix or the point is NaN.

    Raises
    ------
    ValueError
        If shapes, strides or devices disagree, or ``m == 0``.
    TypeError
        If a dtype is not float64.

    Notes
    -----
    The count is exact for a matrix whose entries differ from the given ones by a few ``eps`` each: a
    point within rounding of an eigenvalue may fall on either side of it, and one that is met exactly,
    pivot for pivot, is not counted. O(m) a point.
    """
    alpha, beta = alpha.detach(), beta.detach()
    out = torch.empty((*alpha.shape[:1], *x.shape), dtype=torch.int64, device=alpha.device)
    _core.sturm_count(alpha, beta, x.detach(), out=out, call=call(alpha.device, backend))
    return out


register(
    "tridiagonal_eigen(Tensor alpha, Tensor beta) -> (Tensor, Tensor, Tensor)",
    tridiagonal_eigen,
    lambda alpha, beta: (  # noqa: ARG005
        torch.empty_like(alpha, memory_format=torch.contiguous_format),
        torch.empty_like(alpha, memory_format=torch.contiguous_format),
        torch.empty_like(alpha, memory_format=torch.contiguous_format),
    ),
)
register(
    "sturm_count(Tensor alpha, Tensor beta, Tensor x) -> Tensor",
    sturm_count,
    lambda alpha, beta, x: alpha.new_empty((alpha.shape[0], x.shape[0]), dtype=torch.int64),  # noqa: ARG005
)
