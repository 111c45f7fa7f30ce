"""Operators, right-hand sides and the dense truth of f(H) b."""

from __future__ import annotations

import torch

N = 256


def definite(n=N):
    return torch.linspace(0.01, 1, n, dtype=torch.float64)


def indefinite(n=N):
    """Mean near zero, outliers of both signs."""
    values = torch.linspace(-1, 1, n, dtype=torch.float64)
    values[:3] = torch.tensor([6.0, -5.0, 3.0])
    return values - values.mean()


def rhs(k=3, n=N, dtype=torch.float64):
    return torch.randn(k, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def dense(h, f, b):
    """f(H) b by the eigenvectors of H in float64: rows of the transform are its columns."""
    values, vectors = torch.linalg.eigh(h.rows(torch.eye(h.shape[0], dtype=h.dtype)).double())
    return (b.double() @ vectors * f(values)) @ vectors.T
