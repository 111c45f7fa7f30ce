"""Tridiagonal matrices of every kind, and what their tests share."""

from __future__ import annotations

import numpy as np
import torch

EPS = np.finfo(np.float64).eps


def tensor(values, device="cpu"):
    return torch.as_tensor(np.array(values, dtype=np.float64), device=device)


def dense(alpha, beta):
    """One matrix from its diagonal [m] and couplings [m] (the last is not part of it)."""
    return np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)


def norm_of(alpha, beta):
    """Row-sum norm, an upper bound of the largest |eigenvalue|; no squares, so any scale."""
    couplings = np.abs(beta[:-1])
    return (np.abs(alpha) + np.append(couplings, 0) + np.append(0, couplings)).max()


def value_bound(alpha, beta):
    """Backward error of QL, and of what it is compared with: m eps |T| each, at least 8 (Wilkinson 1965)."""
    return 2 * max(alpha.shape[-1], 8) * EPS * norm_of(alpha, beta)


def random_matrix(m, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=m), rng.uniform(0.1, 1, size=m)


def wilkinson(half):
    return np.abs(np.arange(-half, half + 1.0)), np.ones(2 * half + 1)


def graded(m, ratio):
    powers = float(ratio) ** np.arange(m)
    return powers, powers / 2


MATRICES = {
    "one": (np.array([-3.0]), np.array([np.nan])),
    "two": (np.array([1.0, 3.0]), np.array([-2.0, np.nan])),
    "three": random_matrix(3),
    "random 32": random_matrix(32),
    "random 33": random_matrix(33),
    "random 100": random_matrix(100),
    "negative couplings": (random_matrix(20)[0], -random_matrix(20)[1]),
    "Wilkinson W21+": wilkinson(10),
    "second difference": (np.full(50, 2.0), np.full(50, -1.0)),
    "zero diagonal": (np.zeros(21), random_matrix(21)[1]),
    "zero but for one coupling": (np.zeros(2), np.array([0.5, 7.0])),
    "graded downwards": graded(30, 0.1),
    "graded upwards": graded(16, 10.0),
    "graded 1e-40": graded(7, 1e-40),
    "cluster": (np.ones(12), np.full(12, 1e-14)),
    "rank 1 and noise": (np.r_[1.0, np.full(39, 1e-17)], np.full(40, 1e-17)),
}
