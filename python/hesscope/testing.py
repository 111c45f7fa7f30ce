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
