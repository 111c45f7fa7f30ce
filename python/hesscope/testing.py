"""Helpers for tests of hesscope and of code that uses it: error bounds and operators with known spectra."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.operators.base import SymmetricOperator


def dot_bound(a: Tensor, b: Tensor) -> Tensor:
    """Rounding error bound of float64 dot products along the last dimension, for any order of summation.

    ``2 n eps sum_i |a_i b_i|``, broadcasting over the leading dimensions (Higham 2002, section 3.1).
    """
    n = a.shape[-1]
    return 2 * n * torch.finfo(torch.float64).eps * (a.double().abs() * b.double().abs()).sum(-1)


def axpy_bound(q: Tensor, c: Tensor, w: Tensor, scale: float) -> Tensor:
    """Rounding error bound of ``w + scale * sum_j c_j q_j``: one rounding to w's dtype, and float64 sums."""
    k = q.shape[-2]
    terms = abs(scale) * torch.einsum("bk,bkn->bn", c.double().abs(), q.double().abs())
    largest = w.double().abs() + terms
    return torch.finfo(w.dtype).eps * largest + 2 * (k + 2) * torch.finfo(torch.float64).eps * largest


def lanczos_bound(w: Tensor, v: Tensor, v_prev: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bound the rounding errors of a ``lanczos_update``: alpha ``[K]``, beta ``[K]``, next ``[K, n]``.

    float64 arithmetic with a sum over n for any order of summation; one rounding of next to its dtype,
    whose norm is the bound of beta. ``state`` as before the step; no row in its first step.
    """
    n, eps = w.shape[-1], torch.finfo(torch.float64).eps
    scale, scale_prev, beta_prev, _ = state.abs()[:, :, None].unbind(1)
    q = scale * v.double().abs()
    residual = scale * w.double().abs() + beta_prev * scale_prev * v_prev.double().abs()
    largest_alpha = (q * residual).sum(-1)
    alpha = (n + 8) * eps * largest_alpha
    size = residual + largest_alpha[:, None] * q
    following = (torch.finfo(w.dtype).eps + 8 * eps) * size + alpha[:, None] * q
    beta = following.norm(dim=-1) + (n + 4) * eps * size.norm(dim=-1)
    return alpha, beta, following


class PrescribedSpectrum(SymmetricOperator):
    """``H = Q diag(eigenvalues) Q'``, Q a Walsh-Hadamard transform with random signs.

    Any spectrum at any size 2^k, never stored as a matrix: a product is two transforms. Eigenvector i is
    row i of the transform, signed; all its entries have the same modulus.

    Parameters
    ----------
    eigenvalues
        Shape ``[n]``, n a power of two, in any order, on the device to use.
    seed
        Of the signs.
    dtype
        Of the vectors, float32 or float64. The eigenvalues are rounded to it.
    """

    bitwise_rows = True

    def __init__(self, eigenvalues: Tensor, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        n = eigenvalues.shape[0]
        if eigenvalues.ndim != 1 or n < 1 or n & (n - 1):
            got = list(eigenvalues.shape)
            msg = f"PrescribedSpectrum: eigenvalues must be [n] with n a power of two, got {got}"
            raise ValueError(msg)
        super().__init__(n, dtype=dtype, device=eigenvalues.device)
        self._values = eigenvalues.to(dtype)
        # The last probe of the seed, so that the signs are independent of every probe of a test.
        self._signs = _ops.probes(
            1, n, seed=seed, first_probe=2**32 - 1, dtype=dtype, device=eigenvalues.device
        )[0]

    @property
    def eigenvalues(self) -> Tensor:
        """The eigenvalues, ``[n]``, float64, in the order of :meth:`measure`."""
        return self._values.double()

    writes_into = True

    def _rows(self, vectors: Tensor) -> Tensor:
        out = torch.empty_like(vectors)
        self._rows_into(vectors, out)
        return out

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        scale = self.shape[0] ** -0.5
        _ops.scale_columns(self._signs, vectors, out=out)
        _ops.walsh_hadamard(out, scale=scale).mul_(self._values)
        _ops.walsh_hadamard(out, scale=scale).mul_(self._signs)

    def _transformed(self, vectors: Tensor) -> Tensor:
        return _ops.walsh_hadamard(vectors * self._signs, scale=self.shape[0] ** -0.5)

    def measure(self, vectors: Tensor) -> Tensor:
        """Return the weights ``(q_i' v)^2 / |v|^2`` of the eigenvalues: ``[K, n] -> [K, n]``, float64."""
        weights = self._transformed(vectors).double().square()
        return weights / weights.sum(dim=1, keepdim=True)


def prescribed_spectrum(
    eigenvalues: Tensor, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> PrescribedSpectrum:
    """Return an operator with these eigenvalues; see :class:`PrescribedSpectrum`."""
    return PrescribedSpectrum(eigenvalues, seed=seed, dtype=dtype)


def wasserstein1(x: Tensor, p: Tensor, y: Tensor, q: Tensor) -> float:
    """Wasserstein-1 distance of two discrete measures: the integral of ``|F - G|``.

    Parameters
    ----------
    x, p
        Shape ``[N]``: points, in any order, and their weights, which sum to one.
    y, q
        Shape ``[M]``: the other measure.
    """
    points = torch.cat([x, y]).double()
    jumps = torch.cat([p.double(), -q.double()])
    order = points.argsort()
    difference = jumps[order].cumsum(dim=0)[:-1].abs()
    return float((difference * points[order].diff()).sum())
