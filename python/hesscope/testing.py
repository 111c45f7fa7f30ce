"""Helpers for tests of hesscope and of code that uses it: error bounds and operators with known spectra."""

from __future__ import annotations

import torch
from torch import Tensor


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
    """Bound the rounding errors of a step of ``lanczos_update``: alpha ``[K]``, beta ``[K]``, next ``[K, n]``.

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
