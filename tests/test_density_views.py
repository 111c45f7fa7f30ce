"""Kernel polynomials and continued fractions of the same coefficients, against densities that are known."""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum


def semicircle(n):
    """Quantiles of the semicircle law on [-2, 2]."""
    low, high = torch.full((n,), -2.0, dtype=torch.float64), torch.full((n,), 2.0, dtype=torch.float64)
    level = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    for _ in range(60):
        x = (low + high) / 2
        below = 0.5 + x * (4 - x * x).sqrt() / (4 * math.pi) + (x / 2).asin() / math.pi < level
        low, high = torch.where(below, x, low), torch.where(below, high, x)
    return (low + high) / 2


def law(x):
    return (4 - x.square()).clamp(min=0).sqrt() / (2 * math.pi)


@pytest.fixture(scope="module")
def wigner():
    return hs.spectral_density(prescribed_spectrum(semicircle(2**16)), num_probes=3, num_steps=24)


GRID = torch.linspace(-1.9, 1.9, 77, dtype=torch.float64)


def test_kpm_finds_the_semicircle(wigner):
    got = wigner.kpm(GRID)
    assert (got.value - law(GRID)).abs().max() <= 0.012
    assert got.sigma == pytest.approx(math.pi / 48 * 2, rel=0.06)
    assert (got.lower <= got.value).all()
    assert (got.value <= got.upper).all()


def test_haydock_with_a_terminator_finds_the_semicircle(wigner):
    """alpha -> 0 and beta -> 1: the square root continues the fraction exactly, hardly broadened."""
    got = wigner.haydock(GRID, eta=1e-4, terminator="square_root")
    assert (got.value - law(GRID)).abs().max() <= 0.02
    outside = wigner.haydock(torch.tensor([-2.5, 2.5]), eta=1e-4, terminator="square_root")
    assert outside.value.max() <= 1e-3
    # Without one, as narrow a curve is nothing but spikes.
    assert (wigner.haydock(GRID, eta=1e-4).value - law(GRID)).abs().max() > 0.2


def test_haydock_without_terminator_is_the_broadened_rule(wigner):
    eta = 0.07
    distance = GRID[:, None, None] - wigner.nodes
    expected = (wigner.weights * eta / math.pi / (distance**2 + eta**2)).sum(dim=2).mean(dim=1)
    assert torch.allclose(wigner.haydock(GRID, eta=eta).value, expected, rtol=1e-9, atol=0)
    assert wigner.haydock(GRID).sigma == pytest.approx(wigner.sigma())


@pytest.mark.parametrize("num_moments", [4, 9, 60])
def test_kpm_is_the_damped_chebyshev_series_of_the_measure_itself(num_moments):
    """Moments taken from the eigenvalues and the probe, not from any node; positive; mass 1."""
    values = torch.cat(
        [torch.zeros(100, dtype=torch.float64), torch.linspace(-1, 2, 156, dtype=torch.float64)]
    )
    h = prescribed_spectrum(values)
    rho = hs.spectral_density(h, num_probes=1, num_steps=30)
    weights = h.measure(hs._ops.probes(1, 256, seed=0, dtype=torch.float64))[0]
    low, high = float(rho.nodes.min()), float(rho.nodes.max())
    middle, half = (low + high) / 2, (high - low) / 2 * (1 + 2 / num_moments)
    grid = middle + half * torch.linspace(-0.98, 0.98, 99, dtype=torch.float64)
    t = (grid - middle) / half
    series = torch.zeros_like(t)
    for j in range(num_moments):
        q = math.pi / (num_moments + 1)
        damping = (num_moments - j + 1) * math.cos(q * j) + math.sin(q * j) / math.tan(q)
        moment = (weights * torch.cos(j * ((values - middle) / half).clamp(-1, 1).acos())).sum()
        factor = 1.0 if j == 0 else 2.0
        series += factor * damping / (num_moments + 1) * moment * torch.cos(j * t.acos())
    expected = series / (math.pi * half * (1 - t**2).sqrt())
    got = rho.kpm(grid, num_moments=num_moments).value
    assert torch.allclose(got, expected, rtol=1e-8, atol=1e-8)
    assert (got >= 0).all()
    fine = middle + half * torch.cos(torch.linspace(math.pi, 0, 4001, dtype=torch.float64))
    assert float(torch.trapezoid(rho.kpm(fine, num_moments=num_moments).value, fine)) == pytest.approx(
        1, abs=2e-3
    )


def test_kpm_is_zero_outside_and_keeps_the_mean(wigner):
    assert wigner.kpm(torch.tensor([-3.0, 3.0])).value.tolist() == [0, 0]
    grid = torch.linspace(-2.5, 2.5, 4001, dtype=torch.float64)
    curve = wigner.kpm(grid).value
    assert float(torch.trapezoid(grid * curve, grid)) == pytest.approx(wigner.moment(1).value, abs=5e-3)
    second = float(torch.trapezoid(grid**2 * curve, grid))
    assert abs(second - 1.0) <= wigner.kpm(grid).sigma ** 2 + 0.01


def test_known_eigenvalues_are_bumps_of_their_own():
    values = torch.cat(
        [torch.linspace(-1, 1, 252, dtype=torch.float64), torch.tensor([9.0, 20.0, 30.0, 50.0])]
    )
    h = prescribed_spectrum(values)
    eig = hs.eigenpairs(h, 4)
    rho = hs.spectral_density(h, num_probes=3, num_steps=20, eigenpairs=eig)
    top = torch.tensor([30.0])
    for curve in (rho.kpm, rho.haydock):
        at = curve(top)
        height = 1 / (math.pi * at.sigma) if curve == rho.haydock else 1 / (math.sqrt(2 * math.pi) * at.sigma)
        assert float(at.value) == pytest.approx(height / 256, rel=2e-2)
    # The rest is resolved on its own range: a density of 1/2 over [-1, 1], not over [-1, 50].
    bulk = torch.linspace(-0.8, 0.8, 41, dtype=torch.float64)
    assert float(rho.kpm(bulk).value.mean()) == pytest.approx(0.5 * 252 / 256, rel=0.1)
    assert rho.kpm(bulk).sigma < 0.1


def test_recurrences_that_ended_and_points():
    h = hs.from_matrix(torch.diag(torch.tensor([1.0, 2.0, 2.0, 4.0], dtype=torch.float64)))
    rho = hs.spectral_density(h, num_probes=2, num_steps=50)
    grid = torch.linspace(0, 5, 501, dtype=torch.float64)
    for terminator in ("none", "square_root"):  # nothing goes on where a recurrence has ended
        got = rho.haydock(grid, eta=0.01, terminator=terminator)
        assert torch.allclose(got.value, rho.haydock(grid, eta=0.01).value)
    near = grid[(grid > 1.5) & (grid < 2.5)]
    sharp = rho.kpm(near, num_moments=300)  # exact moments of any degree
    assert abs(float(near[sharp.value.argmax()]) - 2) < 0.02
    assert sharp.value.max() > 5
    one = hs.spectral_density(hs.from_matrix(3 * torch.eye(5, dtype=torch.float64)), num_probes=2)
    at = one.kpm(torch.tensor([3.0, 3.1]))
    assert at.value[0] > 10
    assert at.value[1] == 0
    assert torch.isfinite(one.haydock(torch.tensor([3.0])).value).all()


def test_no_products_and_no_bad_input(wigner):
    assert wigner.kpm(GRID).value.dtype == torch.float64
    single = hs.spectral_density(prescribed_spectrum(semicircle(256)), num_probes=1, num_steps=6)
    assert single.kpm(GRID).upper.isinf().all()
    with pytest.raises(
        ValueError, match="kpm: num_moments must be at most 48, twice the steps taken, got 49"
    ):
        wigner.kpm(GRID, num_moments=49)
    with pytest.raises(ValueError, match="kpm: num_moments must be at least 2, got 1"):
        wigner.kpm(GRID, num_moments=1)
    with pytest.raises(ValueError, match=r"kpm: grid must have shape \[G\]"):
        wigner.kpm(GRID[None])
    with pytest.raises(ValueError, match="haydock: eta must be positive and finite, got 0"):
        wigner.haydock(GRID, eta=0.0)
    with pytest.raises(ValueError, match="haydock: terminator must be one of"):
        wigner.haydock(GRID, terminator="root")
