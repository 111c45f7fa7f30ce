"""A network's Hessian, known densely: real data with dead pixels, and so exact zeros in the spectrum."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import hesscope as hs
from hesscope import testing


def dense_hessian(hidden, num_examples):
    """Hessian of a trained 64-hidden-10 MLP in float64: ``[n, n]``."""
    images, labels = (torch.from_numpy(x) for x in load_digits(return_X_y=True))
    images, labels = images[:num_examples] / 16, labels[:num_examples]
    generator = torch.Generator().manual_seed(0)
    shapes = [(hidden, 64), (hidden,), (10, hidden), (10,)]
    sizes = [torch.Size(s).numel() for s in shapes]

    def loss(flat):
        w1, b1, w2, b2 = (p.view(s) for p, s in zip(flat.split(sizes), shapes, strict=True))
        return cross_entropy(torch.tanh(images @ w1.T + b1) @ w2.T + b2, labels)

    theta = 0.1 * torch.randn(sum(sizes), generator=generator, dtype=torch.float64)
    theta.requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=1e-2)
    for _ in range(50):
        optimizer.zero_grad()
        loss(theta).backward()
        optimizer.step()
    hessian = torch.autograd.functional.hessian(loss, theta.detach(), vectorize=True)
    return (hessian + hessian.T) / 2


@pytest.fixture(scope="module")
def small():
    """659 parameters, of which the weights of dead pixels have no curvature."""
    return dense_hessian(8, 200)


def check_full(hessian):
    eigenvalues = torch.linalg.eigvalsh(hessian)
    size = eigenvalues.abs().max()
    rho = hs.spectral_density(
        hs.from_matrix(hessian), num_probes=1, num_steps=2 * len(hessian), reorthogonalize="full"
    )
    dead = int((hessian.abs().sum(dim=1) == 0).sum())
    assert dead > 50
    assert rho.status is hs.Status.INVARIANT_SUBSPACE
    assert rho.num_steps <= len(hessian) - dead + 1  # the zeros are one eigenvalue
    apart = (rho.nodes[0][:, None] - eigenvalues).abs()
    assert apart.min(dim=1).values.max() <= 1e-10 * size
    assert apart.min(dim=0).values.max() <= 1e-10 * size
    zeros = rho.weights[0][rho.nodes[0].abs() <= 1e-10 * size].sum()
    assert zeros > 0.8 * dead / len(hessian)


def test_full_reorthogonalisation_finds_every_distinct_eigenvalue(small):
    check_full(small)


@pytest.mark.slow
def test_full_reorthogonalisation_with_two_thousand_parameters():
    check_full(dense_hessian(26, 200))


def test_moments_agree_within_their_own_error_bars(small):
    """20 runs with 64 probes each: 95 % intervals miss 5 or more of 20 with probability 0.3 %."""
    eigenvalues = torch.linalg.eigvalsh(small)
    many = hs.spectral_density(hs.from_matrix(small), num_probes=20 * 64, num_steps=3)
    runs = [
        replace(many, alpha=a, beta=b) for a, b in zip(many.alpha.split(64), many.beta.split(64), strict=True)
    ]
    for p in range(1, 5):
        truth = (eigenvalues**p).mean()
        got = [rho.moment(p) for rho in runs]
        assert sum(bool(g.interval[0] <= truth <= g.interval[1]) for g in got) >= 16
        assert all(g.error < 0.6 * abs(g.value) and g.quadrature == 0 for g in got)


def test_trace_counts_and_ends(small):
    eigenvalues = torch.linalg.eigvalsh(small)
    rho = hs.spectral_density(hs.from_matrix(small), num_probes=32, num_steps=100)
    low, high = eigenvalues[0].item(), eigenvalues[-1].item()
    assert rho.trace().interval[0] <= eigenvalues.sum() <= rho.trace().interval[1]
    for a, b in [(high / 10, high), (-1e-3 * high, 1e-3 * high), (low, -1e-3 * high)]:
        got = rho.count(a, b)
        assert got.interval[0] <= ((eigenvalues >= a) & (eigenvalues <= b)).sum() <= got.interval[1]
    assert rho.largest_eigenvalue().value == pytest.approx(high, rel=1e-10)
    assert rho.smallest_eigenvalue().value == pytest.approx(low, rel=1e-6)
    share = eigenvalues.clamp(max=0).abs().sum() / eigenvalues.abs().sum()
    got = rho.negative_curvature()
    assert got.interval[0] <= share <= got.interval[1]
    truth = torch.full((len(small),), 1 / len(small), dtype=torch.float64)
    distance = testing.wasserstein1(rho.nodes.flatten(), rho.weights.flatten() / 32, eigenvalues, truth)
    assert distance <= 0.005 * (high - low)
