"""Runs that look at their error and decide: they stop where asked, and their intervals hold all the same."""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs
from hesscope.results import Status
from hesscope.spectrum.adaptive import look_counts, look_level
from hesscope.spectrum.sampling import count_interval, half_width, jackknife_error, student
from hesscope.testing import prescribed_spectrum

RUNS = 1000
FLAT = torch.linspace(-1, 1.3, 256, dtype=torch.float64)


def outliers(n=256):
    values = 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[:6] = torch.tensor([30.0, 20.0, 10.0, -8.0, 5.0, 4.0])
    return values


def test_looks_double_up_to_the_limit():
    assert look_counts(8, 64) == [8, 16, 32, 64]
    assert look_counts(8, 40) == [8, 16, 32, 40]
    assert look_counts(8, 8) == [8]
    assert look_level(1) == pytest.approx(0.95)
    assert look_level(5) == pytest.approx(0.99)


def test_levels_widen_every_interval():
    values = torch.randn(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert half_width(values, 0.99) > 1.3 * half_width(values)
    reach = student(len(values) - 1, 0.99)
    assert reach * jackknife_error(lambda m: m, values) == pytest.approx(float(half_width(values, 0.99)))
    counts = values.square()
    wide, narrow = count_interval(counts, counts, 100, 0.99), count_interval(counts, counts, 100)
    assert wide[0] < narrow[0]
    assert wide[1] > narrow[1]


def test_adaptive_traces_cover_though_they_stop_when_they_like():
    """Stopping where the half-width happens to be small, at 95 % a look, would cover too little."""
    h, truth, tol = prescribed_spectrum(FLAT), float(FLAT.sum()), 0.1
    runs = [hs.trace(h, method="rademacher", products=256, tol=tol, seed=seed) for seed in range(RUNS)]
    assert len({e.products for e in runs}) > 1  # the data decided
    assert sum(e.interval[0] <= truth <= e.interval[1] for e in runs) / RUNS >= 0.95
    assert all(e.error <= 1.2 * tol * float(FLAT.abs().sum()) for e in runs if e.status is Status.CONVERGED)


def test_adaptive_densities_cover_though_they_stop_when_they_like():
    h = prescribed_spectrum(FLAT)
    truth = float(FLAT.sum())
    second = float((FLAT**2).mean())
    above = int((FLAT >= 0.9).sum())
    hits, probes = [0, 0, 0], set()

    def narrow(rho):
        return rho.trace().sampling <= 15.0

    for seed in range(300):
        rho = hs.spectral_density(h, num_steps=10, until=narrow, max_probes=64, seed=seed)
        probes.add(rho.num_probes)
        for i, (got, want) in enumerate(
            [(rho.trace(), truth), (rho.moment(2), second), (rho.count(0.9, math.inf), above)]
        ):
            hits[i] += got.interval[0] <= want <= got.interval[1]
    assert len(probes) > 1
    assert min(hits) / 300 >= 0.95


def test_probes_are_added_until_the_distribution_is_known():
    h = prescribed_spectrum(torch.linspace(-1, 2, 2**12, dtype=torch.float64))
    spread = 3.0
    few = hs.spectral_density(h, num_steps=20, until=0.02, max_probes=64)
    many = hs.spectral_density(h, num_steps=20, until=0.005, max_probes=64)
    assert few.status is many.status is Status.CONVERGED
    assert few.num_probes == 8 < many.num_probes
    assert few.sampling_distance() <= 0.02 * spread
    assert many.sampling_distance() <= 0.005 * spread
    assert few.level == many.level == pytest.approx(1 - 0.05 / 4)
    assert many.products == many.num_probes * 20
    # The same as asking for so many probes outright, but for the level.
    plain = hs.spectral_density(h, num_steps=20, num_probes=many.num_probes)
    assert torch.equal(plain.alpha, many.alpha)
    assert plain.trace().error < many.trace().error
    missed = hs.spectral_density(h, num_steps=5, until=1e-9, max_probes=16)
    assert missed.status is Status.MAX_PRODUCTS
    assert missed.num_probes == 16


def test_steps_and_probes_and_eigenpairs_at_once_and_then_more(tmp_path):
    h = prescribed_spectrum(outliers())
    eig = hs.eigenpairs(h, 6, which="magnitude")
    rho = hs.spectral_density(
        h, num_steps=100, tol=5e-3, until=1e-3, max_probes=16, eigenpairs=eig, keep_state=True
    )
    assert rho.num_steps < 100
    rho.save(tmp_path / "rho.safetensors", state=True)
    rho = hs.load(tmp_path / "rho.safetensors")
    assert rho.level > 0.95
    wide = hs.resume(rho, h, num_probes=20, eigenpairs=eig)
    assert wide.num_probes == 20
    assert wide.num_steps == rho.num_steps
    assert wide.level == rho.level
    assert wide.products == rho.products + 1 + (20 - rho.num_probes) * rho.num_steps
    longer = hs.resume(rho, h, num_steps=rho.num_steps + 5, eigenpairs=eig)
    fresh = hs.spectral_density(h, num_probes=rho.num_probes, num_steps=rho.num_steps + 5, eigenpairs=eig)
    assert torch.equal(longer.alpha, fresh.alpha)
    assert torch.equal(wide.alpha[: rho.num_probes], rho.alpha)


def test_a_tolerance_on_a_trace_of_zero_is_relative_to_the_nuclear_norm():
    half = torch.linspace(0.1, 1, 512, dtype=torch.float64)
    h = prescribed_spectrum(torch.cat([half, -half]))
    got = hs.trace(h, tol=0.05)
    assert got.status is Status.CONVERGED
    assert got.error <= 1.1 * 0.05 * float(2 * half.sum())
    assert got.products < 1024


def test_deflation_and_the_sketch_save_products():
    h = prescribed_spectrum(outliers(1024))
    eig = hs.eigenpairs(h, 6, which="magnitude")
    truth = float(outliers(1024).sum())
    used = {}
    for name, options in {
        "plain": {"method": "rademacher"},
        "sketch": {},
        "pairs": {"eigenpairs": eig},
    }.items():
        got = hs.trace(h, tol=0.05, products=1000, **options)
        used[name] = got.products
        assert got.interval[0] <= truth <= got.interval[1]
    assert used["pairs"] <= 0.2 * used["plain"]
    assert used["sketch"] <= 0.5 * used["plain"]
    assert hs.trace(prescribed_spectrum(FLAT[:16]), tol=0.01).error == 0  # fewer rows than products


def test_a_sketch_is_made_only_where_a_first_look_is_not_enough():
    """8 samples, and up to 8 products for tr|H|; then 16 for the sketch, and at least 8 fresh samples."""
    easy = hs.trace(prescribed_spectrum(torch.linspace(-1, 1.3, 2**12, dtype=torch.float64)), tol=0.05)
    assert 8 < easy.products <= 16
    assert "sketch" not in easy.method
    hard = hs.trace(prescribed_spectrum(outliers(1024)), tol=0.05, products=1000)
    assert hard.products >= 40
    assert "8 directions measured" in hard.method
    assert easy.status is hard.status is Status.CONVERGED
    few = hs.trace(prescribed_spectrum(outliers(1024)), tol=1e-3, products=36)
    assert 36 - 5 <= few.products <= 36  # what is kept for tr|H| is not all used
    assert "sketch" not in few.method


def test_products_that_run_out_and_nan_between_looks():
    h = prescribed_spectrum(FLAT)
    got = hs.trace(h, method="rademacher", tol=1e-6, products=40)
    assert got.status is Status.MAX_PRODUCTS
    assert 40 - 5 <= got.products <= 40
    calls = []

    def broken(rows):
        calls.append(len(rows))
        return h.rows(rows) if sum(calls) <= 16 + 6 else h.rows(rows) * math.nan

    bad = hs.from_function(broken, 256, dtype=torch.float64, batched=True)
    got = hs.trace(bad, method="rademacher", tol=1e-6, products=100)
    assert got.status is Status.NONFINITE_OPERATOR
    assert math.isfinite(got.error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": 0.0}, "trace: tol must be positive, got 0"),
        ({"tol": 0.1, "method": "xtrace"}, "trace: tol must be None for method='xtrace'"),
        ({"tol": 0.1, "products": 10}, "trace: products must be at least 16 with tol, got 10"),
    ],
)
def test_bad_tolerances_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        hs.trace(prescribed_spectrum(FLAT), **options)


def test_bad_ends_are_named():
    h = prescribed_spectrum(FLAT)
    with pytest.raises(ValueError, match="until must be positive, or a function of the density, got -1"):
        hs.spectral_density(h, until=-1.0)
    with pytest.raises(TypeError, match="until must be a number"):
        hs.spectral_density(h, until="soon")
    with pytest.raises(ValueError, match="max_probes must be at least 8, got 4"):
        hs.spectral_density(h, until=0.1, max_probes=4)
