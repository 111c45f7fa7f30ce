"""Coverage: how often intervals hold the truth. 1,000 runs each."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import scipy.stats
import torch

import hesscope as hs
from hesscope.spectrum import quadrature
from hesscope.spectrum.bounds import random_start_bounds
from hesscope.spectrum.sampling import count_interval, half_width, jackknife_error, student
from hesscope.testing import prescribed_spectrum, wasserstein1

RUNS = 1000


def mixed(n):
    """Zeros, a bulk of both signs, and outliers."""
    bulk = torch.linspace(-1, 1.2, n // 2 - 4, dtype=torch.float64)
    return torch.cat([torch.zeros(n // 2, dtype=torch.float64), bulk, torch.tensor([3.0, 4.0, 6.0, 9.0])])


def split(h, *, num_probes, num_steps, distribution="rademacher"):
    """Cut one run of 1,000 * K probes into 1,000 runs of K: rows are independent of their batch."""
    rho = hs.spectral_density(
        h, num_probes=RUNS * num_probes, num_steps=num_steps, distribution=distribution, seed=11
    )
    for r in range(RUNS):
        rows = slice(r * num_probes, (r + 1) * num_probes)
        yield replace(rho, alpha=rho.alpha[rows], beta=rho.beta[rows], products=num_probes * num_steps)


def covered(estimates, truth):
    return sum(e.interval[0] <= truth <= e.interval[1] for e in estimates) / RUNS


@pytest.mark.parametrize("num_probes", [4, 16])
def test_trace_intervals_cover_in_93_to_97_percent_of_seeded_runs(num_probes):
    h = prescribed_spectrum(torch.linspace(-1, 1.3, 256, dtype=torch.float64))
    truth = h.eigenvalues.sum().item()
    runs = (hs.spectral_density(h, num_probes=num_probes, num_steps=1, seed=seed) for seed in range(RUNS))
    assert 0.93 <= covered([rho.trace() for rho in runs], truth) <= 0.97


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_linear_functionals_cover(distribution):
    h = prescribed_spectrum(torch.linspace(-1, 1.3, 256, dtype=torch.float64))
    runs = list(split(h, num_probes=8, num_steps=12, distribution=distribution))
    second = (h.eigenvalues**2).mean().item()
    assert 0.93 <= covered([r.moment(2) for r in runs], second) <= 0.97
    # A smooth f: the truncation term is below the sampling error, so the sum covers hardly more.
    total = h.eigenvalues.exp().sum().item()
    assert 0.93 <= covered([r.spectral_sum(torch.exp) for r in runs], total) <= 0.97
    # Pointwise, for the density smoothed by the same Gaussian.
    grid = torch.tensor([0.2], dtype=torch.float64)
    smooth = torch.exp(-(((0.2 - h.eigenvalues) / 0.5) ** 2) / 2).mean() / (0.5 * math.sqrt(2 * math.pi))
    bands = [r.density_band(grid, sigma=0.5) for r in runs]
    assert 0.93 <= sum(bool(b.lower <= smooth <= b.upper) for b in bands) / RUNS <= 0.97


def test_counts_and_shares_cover_at_least():
    h = prescribed_spectrum(mixed(256))
    runs = list(split(h, num_probes=8, num_steps=30))
    values = h.eigenvalues
    for a, b in [(2.0, math.inf), (-0.5, 0.5), (-math.inf, -0.3), (5.0, 7.0)]:
        truth = ((values >= a) & (values <= b)).sum().item()
        assert covered([r.count(a, b) for r in runs], truth) >= 0.93
    negative = (values < 0).double().mean().item()
    assert covered([r.negative_mass() for r in runs], negative) >= 0.93
    share = (values.clamp(max=0).abs().sum() / values.abs().sum()).item()
    assert covered([r.negative_curvature() for r in runs], share) >= 0.93


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
@pytest.mark.parametrize("num_probes", [1, 4])
def test_extreme_eigenvalues_are_bracketed(distribution, num_probes):
    """A gap smaller than the resolution, where the outermost Ritz value falls short."""
    values = torch.linspace(-1, 1, 256, dtype=torch.float64)
    h = prescribed_spectrum(values)
    runs = list(split(h, num_probes=num_probes, num_steps=20, distribution=distribution))
    top, bottom = (
        [getattr(r, name)() for r in runs] for name in ("largest_eigenvalue", "smallest_eigenvalue")
    )
    assert covered(top, 1.0) >= 0.95
    assert covered(bottom, -1.0) >= 0.95
    assert all(e.value <= 1.0 + 1e-12 for e in top)
    assert max(e.error for e in top) < 0.1
    inside = [r.bounds.lower <= -1 and r.bounds.upper >= 1 for r in runs]
    assert sum(inside) / RUNS >= 0.95


@pytest.mark.parametrize("num_steps", [2, 5, 20])
def test_the_sandwich_and_the_distance_hold_for_every_probe(num_steps):
    h = prescribed_spectrum(mixed(512))
    probes = hs._ops.probes(200, 512, dtype=torch.float64)
    rho = hs.spectral_density(h, num_probes=200, num_steps=num_steps)
    weights, order = h.measure(probes), h.eigenvalues.argsort()
    points = h.eigenvalues[order]
    seen = weights[:, order].cumsum(dim=1)
    last = torch.cat([points[1:] > points[:-1], torch.tensor([True])])
    lower, upper = quadrature.cdf_bounds(
        rho.quadrature, points, slack=rho.rounding, support=(-math.inf, math.inf)
    )
    assert (lower <= seen + 1e-13)[:, last].all()
    assert (seen <= upper + 1e-13)[:, last].all()
    bound = quadrature.wasserstein_bound(rho.quadrature, -1.0, 9.0)
    for r in range(0, 200, 10):
        true = wasserstein1(rho.nodes[r], rho.weights[r], h.eigenvalues, weights[r])
        assert true <= bound[r] + 1e-13
        assert bound[r] < 10
    # Between two nodes the sandwich is not loose: it is one node wide on either side.
    assert (upper - lower).max() <= rho.weights.max() * 2 + 1e-13


def test_student_half_width():
    values = torch.randn(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = scipy.stats.t.interval(0.95, 6, loc=values.mean(), scale=values.std() / math.sqrt(7))
    assert float(half_width(values)) == pytest.approx((high - low) / 2)
    assert float(half_width(values[:1])) == math.inf


def test_the_jackknife_of_a_mean_is_the_t_interval():
    values = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    half = student(len(values) - 1) * jackknife_error(lambda m: m[0], values)
    assert half == pytest.approx(float(half_width(values[:, 0])))
    assert jackknife_error(lambda m: m[0], values[:1]) == math.inf


@pytest.mark.parametrize("count", [1, 3, 50])
def test_count_intervals_cover_small_numbers(count):
    """A t-interval alone covers 0.87 at count 1 and 4 probes."""
    seen = torch.randn(RUNS, 4, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = seen.square().sum(dim=2)
    few = [count_interval(x, x, 10_000) for x in seen]
    assert sum(low <= count <= high for low, high in few) / RUNS >= 0.93
    many = [count_interval(10_000 - x, 10_000 - x, 10_000) for x in seen]
    assert sum(low <= 10_000 - count <= high for low, high in many) / RUNS >= 0.93


def test_count_intervals_at_the_ends():
    zero = torch.zeros(3, dtype=torch.float64)
    assert count_interval(zero, zero, 10) == (0.0, 0.0)
    assert count_interval(10 - zero, 10 - zero, 10) == (10.0, 10.0)
    assert count_interval(zero[:1], zero[:1], 10) == (0.0, 10.0)


def test_the_random_start_bound_in_numbers():
    nodes = torch.tensor([[-1.0, 0.0, 1.0]], dtype=torch.float64)
    eps = (math.log(1.648 * math.sqrt(1e9) / 0.025) / (2 * 100 - 1)) ** 2
    got = random_start_bounds(nodes, n=10**9, steps=100)
    assert got.upper == pytest.approx(1 + 2 * eps / (1 - 2 * eps))
    assert got.lower == pytest.approx(-got.upper)
    assert random_start_bounds(nodes, n=10**9, steps=3).upper == math.inf
    assert random_start_bounds(nodes.expand(4, -1), n=10**9, steps=100).upper < got.upper
