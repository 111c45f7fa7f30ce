"""smoothed_density and smoothed_cdf: against mpmath, their identities, their limits and their messages."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from hesscope import _ops

EPS = torch.finfo(torch.float64).eps
OPS = {"density": _ops.smoothed_density, "cdf": _ops.smoothed_cdf}
SIZES = [(1, 1, 1), (2, 3, 127), (3, 100, 128), (1, 33, 129), (2, 17, 1001)]  # B, m, G


def quadrature(rng, batch, m, device="cpu", padding=3):
    """Nodes within a few units of 0, positive and negative weights; rows padded with NaN."""
    wide = torch.randn(2, batch, m + padding, generator=rng, dtype=torch.float64)
    wide[:, :, m:] = torch.nan
    nodes, weights = wide.to(device)
    return nodes[:, :m], weights[:, :m]


def density_bound(nodes, weights, grid, sigma):
    """Three roundings in z, doubled by the square and weighted by it; exp (2 ulp), the weight and the scale;
    the sum. Underflow adds one subnormal per term.
    """
    z = (grid[None, :, None] - nodes[:, None]) / sigma
    weight = weights.abs()[:, None] / (sigma * math.sqrt(2 * math.pi))
    terms = (2 * z**2 + 8 + nodes.shape[1]) * weight * (-(z**2) / 2).exp()
    return (EPS * terms + weight * 2.0**-1074).sum(-1)


def cdf_bound(nodes, weights, grid, sigma):
    """Three roundings in z through the density, Phi (2 ulp), the weight, the sum."""
    z = (grid[None, :, None] - nodes[:, None]) / sigma
    slope = z.abs() * (-(z**2) / 2).exp() / math.sqrt(2 * math.pi)
    terms = weights.abs()[:, None] * (2 * slope + (4 + nodes.shape[1]) * torch.special.ndtr(z))
    return (EPS * terms + weights.abs()[:, None] * 2.0**-1074).sum(-1)


BOUNDS = {"density": density_bound, "cdf": cdf_bound}


def oracle(name, nodes, weights, grid, sigma):
    density = lambda z: mpmath.npdf(z) / sigma  # noqa: E731
    term = {"density": density, "cdf": mpmath.ncdf}[name]
    with mpmath.workdps(40):
        rows = [
            [
                float(
                    mpmath.fsum(
                        mpmath.mpf(w) * term((mpmath.mpf(x) - mpmath.mpf(node)) / mpmath.mpf(sigma))
                        for node, w in zip(row, row_weights, strict=True)
                    )
                )
                for x in grid.tolist()
            ]
            for row, row_weights in zip(nodes.tolist(), weights.tolist(), strict=True)
        ]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.03, 1.0, 7.0])
@pytest.mark.parametrize("name", OPS)
def test_matches_the_definition_within_the_rounding_bound(name, sigma, backend, device, rng):
    nodes, weights = quadrature(rng, 2, 7)
    grid = torch.linspace(-3, 3, 41, dtype=torch.float64)
    got = OPS[name](nodes.to(device), weights.to(device), grid.to(device), sigma=sigma, backend=backend)
    error = (got.cpu() - oracle(name, nodes, weights, grid, sigma)).abs()
    assert (error <= BOUNDS[name](nodes, weights, grid, sigma)).all()


@pytest.mark.parametrize(("batch", "m", "points"), SIZES)
@pytest.mark.parametrize("name", OPS)
def test_every_backend_agrees_with_the_reference(name, batch, m, points, backend, device, rng):
    nodes, weights = quadrature(rng, batch, m, device)
    grid = torch.randn(points, 2, generator=rng, dtype=torch.float64).to(device)[:, 1]
    got = OPS[name](nodes, weights, grid, sigma=0.1, backend=backend).cpu()
    nodes, weights, grid = nodes.cpu(), weights.cpu(), grid.cpu()
    want = OPS[name](nodes, weights, grid, sigma=0.1, backend="reference")
    assert ((got - want).abs() <= BOUNDS[name](nodes, weights, grid, 0.1)).all()


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize(("batch", "m", "points"), [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_empty_problems_are_legal(batch, m, points, name, backend, device):
    nodes = torch.ones(batch, m, dtype=torch.float64, device=device)
    grid = torch.ones(points, dtype=torch.float64, device=device)
    got = OPS[name](nodes, nodes, grid, sigma=1.0, backend=backend)
    assert got.shape == (batch, points)
    assert (got == 0).all()


def test_the_integral_of_the_density_is_the_sum_of_the_weights(backend, device, rng):
    """Trapezoids of width sigma / 4 integrate a Gaussian to 2 exp(-32 pi^2) < eps, and 12 sigma from every
    node the rest is 4e-33: what is left is rounding.
    """
    sigma = 0.2
    nodes, weights = quadrature(rng, 3, 20, device)
    low, high = nodes.min().item() - 12 * sigma, nodes.max().item() + 12 * sigma
    count = math.ceil((high - low) / (sigma / 4))
    grid = torch.linspace(low, high, count, dtype=torch.float64, device=device)
    step = (high - low) / (count - 1)
    integral = _ops.smoothed_density(nodes, weights, grid, sigma=sigma, backend=backend).sum(-1) * step
    size = weights.abs().sum(-1)
    bound = density_bound(nodes, weights, grid, sigma).sum(-1) * step + 2 * count * EPS * size
    assert ((integral - weights.sum(-1)).abs() <= bound).all()


@pytest.mark.parametrize("sigma", [0.05, 1.0])
def test_the_cdf_is_the_integral_of_the_density(sigma, backend, device, rng):
    """Gauss-Legendre with 20 points on cells of width sigma: its error, at most 2^-40 |f^(40)| / 40! with
    |f^(40)| < 10^24 for a Gaussian of width 1, is below 1e-35.
    """
    nodes, weights = quadrature(rng, 2, 5, device)
    edges = torch.arange(-40, 41, dtype=torch.float64, device=device) * sigma
    points, coefficients = (
        torch.from_numpy(a).to(device) * (sigma / 2) for a in np.polynomial.legendre.leggauss(20)
    )
    grid = ((edges[1:] + edges[:-1]) / 2)[:, None] + points
    density = _ops.smoothed_density(nodes, weights, grid.flatten(), sigma=sigma, backend=backend)
    cells = density.view(2, *grid.shape) @ coefficients
    cdf = _ops.smoothed_cdf(nodes, weights, edges, sigma=sigma, backend=backend)
    noise = density_bound(nodes, weights, grid.flatten(), sigma).view(2, *grid.shape) @ coefficients
    # A grid point is rounded: eps |x| / sigma in z, where the slope of the density is below 1 / 4 sigma^2.
    moved = EPS * (edges.abs()[1:] + edges.abs()[:-1]) / sigma * weights.abs().sum(-1)[:, None]
    ends = cdf_bound(nodes, weights, edges, sigma)
    bound = noise + moved + ends[:, 1:] + ends[:, :-1] + 40 * EPS * weights.abs().sum(-1)[:, None]
    assert ((cdf.diff(dim=-1) - cells).abs() <= bound).all()


def test_the_cdf_grows_from_zero_to_the_sum_of_the_weights(backend, device, rng):
    nodes, weights = quadrature(rng, 3, 50, device)
    weights = weights.abs()
    grid = torch.linspace(-60, 60, 2001, dtype=torch.float64, device=device)
    cdf = _ops.smoothed_cdf(nodes, weights, grid, sigma=1.0, backend=backend)
    total = weights.sum(-1)
    slack = 2 * cdf_bound(nodes, weights, grid, 1.0).amax(-1)
    assert (cdf.diff(dim=-1) >= -slack[:, None]).all()
    assert (cdf[:, 0] == 0).all()
    assert ((cdf[:, -1] - total).abs() <= 100 * EPS * total).all()


def test_without_smoothing_the_cdf_is_a_step_closed_on_the_right(backend, device):
    nodes = torch.tensor([[-1.0, 0.0, 2.0, 2.0]], dtype=torch.float64, device=device)
    weights = torch.tensor([[0.5, 0.25, 0.125, -1.0]], dtype=torch.float64, device=device)
    above = math.nextafter(2.0, 3.0)
    below = math.nextafter(2.0, 1.0)
    grid = torch.tensor([-5.0, -1.0, 0.0, below, 2.0, above], dtype=torch.float64, device=device)
    got = _ops.smoothed_cdf(nodes, weights, grid, sigma=0.0, backend=backend)
    assert got.tolist() == [[0.0, 0.5, 0.75, 0.75, -0.125, -0.125]]


def test_a_node_far_away_adds_exactly_nothing(backend, device):
    nodes = torch.tensor([[0.0, 1e300, -math.inf, math.inf]], dtype=torch.float64, device=device)
    weights = torch.ones(1, 4, dtype=torch.float64, device=device)
    grid = torch.tensor([0.0, 39.0, -39.0], dtype=torch.float64, device=device)
    for sigma in (1.0, 2.0**-1022, 1e-300):
        got = _ops.smoothed_density(nodes, weights, grid, sigma=sigma, backend=backend)
        alone = _ops.smoothed_density(nodes[:, :1], weights[:, :1], grid, sigma=sigma, backend=backend)
        assert torch.equal(got, alone)
        assert got[0, 0] > 0
        assert got[0, 1:].tolist() == [0.0, 0.0]
        cdf = _ops.smoothed_cdf(nodes, weights, grid, sigma=sigma, backend=backend)
        assert cdf.tolist() == [[1.5, 2.0, 1.0]]


@pytest.mark.parametrize("sigma", [0.0, 0.5])
@pytest.mark.parametrize("name", OPS)
def test_nan_poisons_its_own_row_only(name, sigma, backend, device):
    if name == "density" and sigma == 0:
        pytest.skip("a density needs a width")
    nodes = torch.zeros(3, 200, dtype=torch.float64, device=device)
    weights = torch.ones_like(nodes)
    nodes[0, 199], weights[2, 0] = torch.nan, torch.nan
    got = OPS[name](
        nodes, weights, torch.linspace(-9, 9, 7).double().to(device), sigma=sigma, backend=backend
    )
    assert got[0].isnan().all()
    assert got[1].isfinite().all()
    assert got[2].isnan().all()


@pytest.mark.parametrize("name", OPS)
def test_a_value_does_not_depend_on_its_batch_its_grid_or_the_threads(name, backend, device, rng):
    nodes, weights = quadrature(rng, 4, 31, device)
    grid = torch.randn(300, generator=rng, dtype=torch.float64).to(device)

    def run(b, part):
        row = slice(b, b + 1)
        return OPS[name](nodes[row], weights[row], grid[part], sigma=0.3, backend=backend)

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = OPS[name](nodes, weights, grid, sigma=0.3, backend=backend)
        torch.set_num_threads(1)
        alone = [torch.cat([run(b, slice(77)), run(b, slice(77, None))], dim=1) for b in range(4)]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, torch.cat(alone))


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float64: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    run = lambda nodes, weights, grid, sigma=1.0, op=_ops.smoothed_density: op(  # noqa: E731
        nodes, weights, grid, sigma=sigma, backend=backend
    )
    for sigma in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"smoothed_density: sigma must be positive, finite .*, got "):
            run(ones(1, 2), ones(1, 2), ones(3), sigma)
    for sigma in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"smoothed_cdf: sigma must be 0, or positive, finite"):
            run(ones(1, 2), ones(1, 2), ones(3), sigma, _ops.smoothed_cdf)
    with pytest.raises(ValueError, match=r"smoothed_density: weights must have shape \[1, 2\], got"):
        run(ones(1, 2), ones(1, 3), ones(3))
    with pytest.raises(
        TypeError, match=r"smoothed_density: nodes must be float64, got nodes \[1, 2\] float32"
    ):
        run(ones(1, 2, dtype=torch.float32), ones(1, 2), ones(3))
    with pytest.raises(ValueError, match=r"smoothed_cdf: grid must have 1 dimension, got grid \[3, 1\]"):
        run(ones(1, 2), ones(1, 2), ones(3, 1), 1.0, _ops.smoothed_cdf)
    with pytest.raises(ValueError, match=r"smoothed_cdf: nodes must have contiguous rows"):
        run(ones(1, 4)[:, ::2], ones(1, 2), ones(3), 1.0, _ops.smoothed_cdf)


def test_torch_operator_contract(device):
    nodes, grid = (
        torch.randn(2, 3, dtype=torch.float64, device=device),
        torch.zeros(4, device=device).double(),
    )
    torch.library.opcheck(torch.ops.hesscope.smoothed_density, (nodes, nodes, grid, 0.5))
    torch.library.opcheck(torch.ops.hesscope.smoothed_cdf, (nodes, nodes, grid, 0.0))
