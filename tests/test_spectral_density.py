"""spectral_density on spectra that are known: distances, sandwiches, counts, moments, resuming, refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

import hesscope as hs
from hesscope.spectrum import quadrature
from hesscope.testing import prescribed_spectrum, wasserstein1

EPS = torch.finfo(torch.float64).eps


def semicircle(n):
    """Quantiles of the semicircle law, ``F(x) = 1/2 + x sqrt(4 - x^2) / 4 pi + asin(x / 2) / pi``."""
    low, high = torch.full((n,), -2.0, dtype=torch.float64), torch.full((n,), 2.0, dtype=torch.float64)
    level = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    for _ in range(60):
        x = (low + high) / 2
        below = 0.5 + x * (4 - x * x).sqrt() / (4 * math.pi) + (x / 2).asin() / math.pi < level
        low, high = torch.where(below, x, low), torch.where(below, high, x)
    return (low + high) / 2


def network_like(n):
    """Half the eigenvalues exactly zero, a bulk of both signs, ten outliers."""
    bulk = torch.linspace(-1, 1, n // 2 - 10, dtype=torch.float64) ** 3 * 0.1
    zeros = torch.zeros(n - n // 2, dtype=torch.float64)
    return torch.cat([zeros, bulk, torch.linspace(0.5, 3.0, 10, dtype=torch.float64)])


SPECTRA = {
    "uniform": lambda n: torch.linspace(-1, 2, n, dtype=torch.float64),
    "semicircle": semicircle,
    "network": network_like,
    "decaying": lambda n: torch.arange(1, n + 1, dtype=torch.float64) ** -1.0,
}


def distance(rho, eigenvalues):
    n, k = eigenvalues.shape[0], rho.num_probes
    truth = torch.full((n,), 1 / n, dtype=torch.float64)
    return wasserstein1(rho.nodes.flatten(), rho.weights.flatten() / k, eigenvalues, truth)


def check_spectrum(n, eigenvalues, dtype):
    h = prescribed_spectrum(eigenvalues, dtype=dtype, seed=3)
    rho = hs.spectral_density(h, num_probes=1, num_steps=100)
    spread = (eigenvalues.max() - eigenvalues.min()).item()
    assert distance(rho, h.eigenvalues) <= 0.005 * spread

    # The measure that this probe sees is known exactly, and lies inside the sandwich at every point.
    probe = torch.empty(1, n, dtype=dtype)
    hs._ops.probes(1, n, seed=0, dtype=dtype, out=probe)
    order = h.eigenvalues.argsort()
    points, seen = h.eigenvalues[order], h.measure(probe)[0][order].cumsum(0)
    # float32 rounding moves an eigenvalue by a few eps |H|, and a cumulated weight by a few eps.
    lower, upper = quadrature.cdf_bounds(
        rho.quadrature, points, slack=8 * rho.rounding, support=(-math.inf, math.inf)
    )
    rounding = 32 * torch.finfo(dtype).eps
    last = torch.cat([points[1:] > points[:-1], torch.tensor([True])])  # F jumps after the last copy
    assert (lower[0] <= seen + rounding)[last].all()
    assert (seen <= upper[0] + rounding)[last].all()
    order_bound = rho.wasserstein()[0].item()
    true = wasserstein1(rho.nodes[0], rho.weights[0], h.eigenvalues, h.measure(probe)[0])
    assert true <= order_bound + rounding * spread


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_density_is_near_the_truth_and_inside_its_bounds(name, dtype):
    check_spectrum(2**15, SPECTRA[name](2**15), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["semicircle", "network"])
def test_density_of_a_million_eigenvalues(name):
    check_spectrum(2**20, SPECTRA[name](2**20), torch.float32)


@pytest.mark.parametrize("name", SPECTRA)
def test_counts_are_inside_their_intervals(name):
    n = 2**12
    h = prescribed_spectrum(SPECTRA[name](n))
    rho = hs.spectral_density(h, num_probes=8, num_steps=60)
    low, high = h.eigenvalues.min().item(), h.eigenvalues.max().item()
    inside = 0
    edges = torch.linspace(low - 0.1, high + 0.1, 9, dtype=torch.float64).tolist()
    pairs = [(-math.inf, e) for e in edges] + [(e, math.inf) for e in edges] + list(pairwise(edges))
    for a, b in pairs:
        got = rho.count(a, b)
        true = ((h.eigenvalues >= a) & (h.eigenvalues <= b)).sum().item()
        assert 0 <= got.interval[0] <= got.value <= got.interval[1] <= n
        assert got.error == pytest.approx((got.interval[1] - got.interval[0]) / 2)
        inside += got.interval[0] - 1e-9 <= true <= got.interval[1] + 1e-9
    assert inside >= len(pairs) - 2  # 95 % each, and the questions share their probes


def test_outliers_are_counted_where_they_are_resolved():
    h = prescribed_spectrum(network_like(2**12))
    rho = hs.spectral_density(h, num_probes=32, num_steps=100)
    got = rho.count(0.4, math.inf)
    assert got.interval[0] <= 10 <= got.interval[1]
    # 10 eigenvalues, 32 probes: sqrt(2 * 10 / 32) = 0.8 of sampling; a node or two at the edge.
    assert got.sampling < 4 * 0.8
    assert got.error < 6


def test_the_semicircle_has_constant_coefficients():
    rho = hs.spectral_density(prescribed_spectrum(semicircle(2**16)), num_probes=2, num_steps=10)
    # alpha_j -> 0 and beta_j -> 1 with fluctuations of order 1 / sqrt(n) that grow with j.
    allowed = 6 * torch.arange(1, 11) / 2**8
    assert (rho.alpha.abs() <= allowed).all()
    assert ((rho.beta - 1).abs() <= allowed).all()


@pytest.mark.parametrize("mode", ["none", "full"])
def test_moments_are_exact_to_degree_2m_minus_1(mode):
    n, m = 256, 5
    h = prescribed_spectrum(torch.linspace(-1, 1.5, n, dtype=torch.float64))
    rho = hs.spectral_density(h, num_probes=3, num_steps=m, reorthogonalize=mode)
    weights = h.measure(hs._ops.probes(3, n, dtype=torch.float64))
    for p in range(2 * m):
        exact = (weights * h.eigenvalues**p).sum(dim=1)
        got = rho.moment(p)
        assert got.value == pytest.approx(exact.mean().item(), abs=64 * EPS * 1.5**p)
        assert got.quadrature == 0
    assert rho.moment(2 * m).quadrature > 0
    exact = (weights * h.eigenvalues ** (2 * m)).sum(dim=1).mean().item()
    assert rho.moment(2 * m).value != pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_trace_needs_one_step_and_zero_is_no_special_case(distribution):
    h = prescribed_spectrum(torch.linspace(-1, 1, 1024, dtype=torch.float64))  # trace 0
    rho = hs.spectral_density(h, num_probes=16, num_steps=1, distribution=distribution)
    got = rho.trace()
    assert got.interval[0] <= 0 <= got.interval[1]
    assert got.sampling == got.error > 0
    assert got.quadrature == 0
    assert rho.products == 16


def test_distribution_functions_and_counts_include_their_ends():
    rho = hs.spectral_density(hs.from_matrix(torch.diag(torch.tensor([1.0, 2.0]))), num_probes=2)
    node = rho.nodes[0, 1].item()
    edge = torch.tensor([math.nextafter(node, 0), node], dtype=torch.float64)
    assert rho.cdf(edge).tolist() == pytest.approx([0.5, 1])
    assert rho.count(node, node).value == pytest.approx(1)
    assert rho.count(math.nextafter(node, 3), 3).value == pytest.approx(0)


def test_negative_nodes_are_kept():
    eigenvalues = torch.cat([-torch.linspace(1, 2, 128), torch.linspace(1, 5, 384)]).double()
    rho = hs.spectral_density(prescribed_spectrum(eigenvalues), num_probes=16, num_steps=40)
    assert rho.nodes.min() == pytest.approx(-2, abs=1e-3)
    mass = rho.negative_mass()
    assert mass.interval[0] <= 0.25 <= mass.interval[1]
    assert mass.error < 0.1
    share = rho.negative_curvature()
    true = eigenvalues.clamp(max=0).sum().abs() / eigenvalues.abs().sum()
    assert share.interval[0] <= true <= share.interval[1]
    assert share.error < 0.1
    assert rho.largest_eigenvalue().interval[0] <= 5 <= rho.largest_eigenvalue().interval[1]
    assert rho.smallest_eigenvalue().interval[0] <= -2 <= rho.smallest_eigenvalue().interval[1]


def test_exact_zeros_are_not_negative():
    eigenvalues = torch.cat([torch.zeros(96), torch.ones(32)]).double()
    rho = hs.spectral_density(prescribed_spectrum(eigenvalues), num_probes=8, num_steps=40)
    assert rho.status is hs.Status.INVARIANT_SUBSPACE
    assert rho.negative_mass().interval == (0, 0)
    assert rho.count(-0.1, 0.1).value == pytest.approx(96, abs=20)
    assert rho.bounds.method == "exact"
    assert (rho.wasserstein() == 0).all()


def test_rows_that_end_early_are_padded_with_weight_zero():
    h = hs.from_matrix(torch.diag(torch.tensor([1.0, 1, 1, 2], dtype=torch.float64)))
    rho = hs.spectral_density(h, num_probes=2, num_steps=100)
    assert rho.num_steps == 2
    assert torch.allclose(rho.nodes, torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert torch.allclose(rho.weights, torch.tensor([0.75, 0.25], dtype=torch.float64))
    single = hs.from_matrix(torch.tensor([[3.0]]))
    rho = hs.spectral_density(single, num_probes=1)
    assert (rho.nodes.item(), rho.weights.item(), rho.num_steps) == (3.0, 1.0, 1)


@pytest.mark.parametrize("mode", ["none", "full"])
def test_more_steps_than_rows_stops_rightly(mode):
    a = torch.randn(20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = hs.from_matrix(a + a.T)
    rho = hs.spectral_density(h, num_probes=2, num_steps=500, reorthogonalize=mode)
    assert rho.num_steps == 20
    assert rho.products == 40
    size = torch.linalg.matrix_norm(a + a.T, 2)
    if mode == "full":
        assert ((rho.nodes - torch.linalg.eigvalsh(a + a.T)).abs() <= 1e-10 * size).all()


@pytest.mark.parametrize("mode", ["none", "full"])
def test_weights_are_positive_and_sum_to_one(mode):
    h = prescribed_spectrum(network_like(2**10))
    rho = hs.spectral_density(h, num_probes=4, num_steps=150, reorthogonalize=mode)
    assert (rho.weights >= 0).all()
    assert torch.allclose(rho.weights.sum(dim=1), torch.ones(4, dtype=torch.float64), rtol=0, atol=150 * EPS)
    assert (rho.nodes.diff(dim=1) >= 0).all()


def test_densities_integrate_to_one_and_carry_a_band():
    h = prescribed_spectrum(network_like(2**10))
    rho = hs.spectral_density(h, num_probes=4, num_steps=50)
    grid = rho.grid(4000, sigma=0.02)
    band = rho.density_band(grid, sigma=0.02)
    # The grid reaches 4 sigma beyond the outermost nodes: erfc(4 / sqrt 2) = 6e-5 of a node's weight is cut.
    assert torch.trapezoid(band.value, grid).item() == pytest.approx(1, abs=2e-4)
    assert torch.equal(rho.density(grid, sigma=0.02), band.value)
    assert ((band.lower <= band.value) & (band.value <= band.upper) & (band.lower >= 0)).all()
    assert rho.density_band(grid).sigma == rho.sigma() > 0
    cdf = rho.cdf_band(grid)
    assert ((cdf.lower >= 0) & (cdf.lower <= cdf.value) & (cdf.value <= cdf.upper) & (cdf.upper <= 1)).all()
    assert rho.cdf(math.inf).item() == pytest.approx(1)
    assert rho.cdf(torch.zeros(2, 3)).shape == (2, 3)


def test_spectra_of_one_point_have_a_density():
    for value in (0.0, -3.0):
        h = hs.from_function(lambda v, value=value: value * v, 50, batched=True)
        rho = hs.spectral_density(h, num_probes=2)
        grid = rho.grid(2001)
        assert torch.trapezoid(rho.density(grid), grid).item() == pytest.approx(1, abs=1e-3)


def test_one_probe_has_an_unknown_sampling_error():
    rho = hs.spectral_density(prescribed_spectrum(semicircle(256)), num_probes=1, num_steps=20)
    for got in (rho.trace(), rho.moment(2), rho.spectral_sum(torch.exp), rho.count(0, 1)):
        assert got.sampling == math.inf
        assert got.error == math.inf
        assert math.isfinite(got.value)
    band = rho.density_band(rho.grid())
    assert (band.upper == math.inf).all()
    assert (band.lower == 0).all()


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    h = prescribed_spectrum(semicircle(1024))
    first, second = (hs.spectral_density(h, num_steps=20, seed=7) for _ in range(2))
    assert torch.equal(first.alpha, second.alpha)
    assert not torch.equal(first.alpha, hs.spectral_density(h, num_steps=20, seed=8).alpha)


def test_tol_stops_early_and_says_so():
    h = prescribed_spectrum(semicircle(2**12))
    rho = hs.spectral_density(h, num_probes=2, num_steps=1000, tol=0.01)
    assert rho.status is hs.Status.CONVERGED
    assert 10 < rho.num_steps < 200
    tighter = hs.spectral_density(h, num_probes=2, num_steps=1000, tol=0.002)
    assert tighter.num_steps > rho.num_steps
    assert hs.spectral_density(h, num_probes=2, num_steps=30, tol=1e-9).status is hs.Status.COMPLETE


def test_given_bounds_are_used_and_doubted():
    h = prescribed_spectrum(semicircle(512))
    rho = hs.spectral_density(h, num_steps=20, bounds=(-2.0, 2.0))
    assert (rho.bounds.lower, rho.bounds.upper, rho.bounds.method) == (-2.0, 2.0, "given")
    assert (rho.wasserstein() < hs.spectral_density(h, num_steps=20).wasserstein()).all()
    assert rho.count(-math.inf, -2.1).interval == (0, 0)
    with pytest.warns(RuntimeWarning, match=r"bounds .* do not hold the spectrum, whose Ritz values span"):
        hs.spectral_density(h, num_steps=20, bounds=(-1.0, 1.0))
    assert hs.spectral_density(h, num_steps=2).bounds.upper == math.inf


def test_spectral_sums():
    h = prescribed_spectrum(torch.linspace(-1, 1, 256, dtype=torch.float64))
    rho = hs.spectral_density(h, num_probes=16, num_steps=30)
    got = rho.spectral_sum(torch.exp)
    assert got.interval[0] <= h.eigenvalues.exp().sum() <= got.interval[1]
    assert got.quadrature < 1e-9 * got.value
    with pytest.raises(ValueError, match=r"f must be finite on the spectrum, but is nan at the node -"):
        rho.spectral_sum(torch.log)
    with pytest.raises(ValueError, match="f must map a tensor"):
        rho.spectral_sum(torch.sum)
    positive = hs.spectral_density(hs.shifted(h, 1.5), num_probes=16, num_steps=30).spectral_sum(torch.log)
    assert positive.interval[0] <= (h.eigenvalues + 1.5).log().sum() <= positive.interval[1]
