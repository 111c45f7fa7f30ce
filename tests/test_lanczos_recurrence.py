"""Whole recurrences made of lanczos_update steps: what must hold of T and of the Lanczos vectors."""

from __future__ import annotations

import pytest
import scipy.linalg
import torch

from hesscope import _ops
from hesscope._ops import LanczosState


def lanczos(matrix, start, num_steps, *, backend, tolerance=0.0):
    """Alpha, beta [K, m] and the Lanczos vectors [m + 1, K, n] of the rows of `start`."""
    v, v_prev = start.clone(), torch.full_like(start, torch.nan)
    state = torch.zeros(len(start), len(LanczosState), dtype=torch.float64, device=start.device)
    state[:, LanczosState.SCALE] = 1 / v.double().norm(dim=-1)
    alpha, beta = (
        torch.full((len(start), num_steps), torch.nan, dtype=torch.float64, device=start.device)
        for _ in range(2)
    )
    vectors = [state[:, :1] * v]
    for j in range(num_steps):
        _ops.lanczos_update(
            v @ matrix,
            v,
            v_prev,
            v_prev,
            state,
            alpha[:, j],
            beta[:, j],
            breakdown_tolerance=tolerance,
            backend=backend,
        )
        v, v_prev = v_prev, v
        vectors.append(state[:, :1] * v)
    return alpha, beta, torch.stack(vectors)


def symmetric(rng, n, dtype=torch.float64, device="cpu"):
    a = torch.randn(n, n, generator=rng, dtype=torch.float64)
    return ((a + a.T) / n**0.5).to(device=device, dtype=dtype)


def test_the_recurrence_holds_to_rounding_at_every_depth(backend, device, rng):
    n, m = 60, 40
    matrix, start = (
        symmetric(rng, n, device=device),
        torch.randn(2, n, generator=rng, dtype=torch.float64).to(device),
    )
    alpha, beta, q = lanczos(matrix, start, m, backend=backend)
    for j in range(m):
        terms = [q[j] @ matrix, -alpha[:, j : j + 1] * q[j], -beta[:, j : j + 1] * q[j + 1]]
        if j > 0:
            terms.append(-beta[:, j - 1 : j] * q[j - 1])
        # Every term of the sum is rounded a few times, those of the product n times.
        size = q[j].abs() @ matrix.abs() + sum(term.abs() for term in terms)
        assert (sum(terms).abs() <= (n + 8) * torch.finfo(torch.float64).eps * size).all(), j


def test_the_first_coefficients_are_those_of_a_householder_reduction(backend, device, rng):
    n, m = 60, 6
    matrix, start = symmetric(rng, n), torch.randn(1, n, generator=rng, dtype=torch.float64)
    alpha, beta, _ = lanczos(matrix.to(device), start.to(device), m, backend=backend)
    basis = torch.linalg.qr(torch.cat([start.T, torch.eye(n, dtype=torch.float64)], 1)).Q
    reduced = torch.from_numpy(scipy.linalg.hessenberg((basis.T @ matrix @ basis).numpy()))
    norm = torch.linalg.matrix_norm(matrix, 2)
    # A perturbation grows by at most a few times norm / beta in a step.
    growth = torch.cumprod(4 * norm / beta[0].cpu(), 0)
    bound = n * torch.finfo(torch.float64).eps * norm * growth
    assert ((alpha[0].cpu() - reduced.diagonal()[:m]).abs() <= bound).all()
    assert ((beta[0].cpu() - reduced.diagonal(1)[:m].abs()).abs() <= bound).all()


@pytest.mark.parametrize("exponent", [-40, 40])
def test_the_coefficients_scale_with_the_matrix(exponent, dtype, backend, device, rng):
    # Powers of two round nothing, so that breakdowns, too, must come at the same steps.
    matrix = symmetric(rng, 12, dtype, device)
    start = torch.randn(3, 12, generator=rng, dtype=torch.float64).to(device=device, dtype=dtype)
    matrix[2:, :] = matrix[:, 2:] = 0  # rank 2: three steps exhaust the space
    tolerance = 1024 * torch.finfo(dtype).eps
    alpha, beta, _ = lanczos(matrix, start, 5, backend=backend, tolerance=tolerance)
    scaled = lanczos(matrix * 2.0**exponent, start, 5, backend=backend, tolerance=tolerance)
    assert torch.equal(scaled[0], alpha * 2.0**exponent)
    assert torch.equal(scaled[1], beta * 2.0**exponent)
    assert (beta[:, -1] == 0).all()
    assert (beta[:, 0] > 0).all()
