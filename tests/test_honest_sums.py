"""Sums, ranks and condition numbers at the edge of what float64 holds, and of what is known."""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

STEEP = torch.cat([torch.tensor([300.0, 200, 50, 10], dtype=torch.float64), torch.zeros(60)])


def holds(estimate, truth):
    return estimate.interval[0] <= truth <= estimate.interval[1]


@pytest.mark.parametrize("shift", [0.0, 400.0])
def test_sums_whose_cubes_and_squares_overflow_have_intervals(shift):
    got = hs.spectral_sum(prescribed_spectrum(STEEP), torch.exp, shift=shift)
    assert math.isfinite(got.error)
    assert holds(got, float((STEEP + shift).exp().sum()))


def test_sums_whose_cubes_underflow_have_the_intervals_of_others():
    values = torch.linspace(1, 2, 64, dtype=torch.float64)
    small, plain = (hs.trace_inverse(prescribed_spectrum(values * s)) for s in (2.0**-365, 1.0))
    assert small.interval == pytest.approx([end * 2.0**365 for end in plain.interval], rel=1e-9)


def test_a_high_moment_has_an_interval_and_one_beyond_float64_is_refused():
    rho = hs.spectral_density(prescribed_spectrum(STEEP), num_probes=8)
    for p in (50, 100):
        got = rho.moment(p)
        assert math.isfinite(got.error)
        assert holds(got, float((STEEP**p).mean()))
    with pytest.raises(
        ValueError, match=r"moment: p must be small enough for float64 to hold 300\^p, got 130"
    ):
        rho.moment(130)


def test_a_sum_beyond_float64_is_refused():
    values = torch.full((64,), 709.5, dtype=torch.float64)
    with pytest.raises(
        hs.NotDefinedError,
        match=r"spectral_sum: f must be small enough for float64 to hold n f, got 1\.\d+e\+308 with n = 64",
    ):
        hs.spectral_sum(prescribed_spectrum(values), torch.exp)


def test_a_condition_number_needs_pairs_of_both_ends():
    h = prescribed_spectrum(torch.linspace(0.5, 4, 128, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"condition_number: eigenpairs must hold one of each end.* got 1"):
        hs.condition_number(hs.eigenpairs(h, 1, which="both_ends"))
    assert holds(hs.condition_number(hs.eigenpairs(h, 2, which="both_ends")), 8)


@pytest.mark.parametrize("products", [1, 2, 8])
@pytest.mark.filterwarnings("ignore:eigenpairs")
def test_the_condition_number_of_a_search_that_was_stopped_has_no_upper_end(products):
    h = prescribed_spectrum(torch.linspace(0.5, 4, 128, dtype=torch.float64))
    got = hs.condition_number(h, max_products=products)
    assert got.status is hs.Status.MAX_PRODUCTS
    assert got.interval[0] <= 8
    assert got.interval[1] == math.inf
    assert "search was stopped" in got.method


def test_the_condition_number_of_zero_is_infinite():
    h = hs.from_matrix(torch.zeros(50, 50))
    for source in (h, hs.spectral_density(h)):
        got = hs.condition_number(source)
        assert (got.value, got.interval) == (math.inf, (1.0, math.inf))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("least", "steps"), [(1e-6, 20), (1e-9, 100)])
def test_the_interval_of_an_inverse_is_open_where_the_spectrum_may_reach_zero(sign, least, steps):
    values = sign * torch.linspace(least, 2, 1024, dtype=torch.float64)
    got = hs.trace_inverse(prescribed_spectrum(values), num_steps=steps)
    assert holds(got, float(values.reciprocal().sum()))
    assert got.error == math.inf
    assert f"{'upper' if sign > 0 else 'lower'} end unknown: the spectrum may reach zero" in got.method


def test_the_interval_of_an_inverse_is_closed_by_bounds_that_are_known():
    values = torch.linspace(1e-3, 2, 1024, dtype=torch.float64)
    rho = hs.spectral_density(prescribed_spectrum(values), num_steps=100, bounds=(1e-3, 2))
    got = hs.trace_inverse(rho)
    assert math.isfinite(got.error)
    assert "unknown" not in got.method


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("function", [hs.trace_inverse, hs.logdet])
def test_the_shift_that_is_advised_does(function, dtype):
    values = torch.cat([torch.zeros(60), torch.tensor([1.0, 2, 3, 4, 1000])]).double()
    h = hs.from_matrix(torch.diag(values), dtype=dtype)
    with pytest.raises(hs.NotDefinedError, match="Pass a shift above") as caught:
        function(h)
    shift = float(str(caught.value).split("Pass a shift above ")[1].split(";")[0].split(",")[0])
    assert math.isfinite(function(h, shift=1.001 * shift).value)


@pytest.mark.parametrize("kind", ["entropy", "participation"])
def test_an_effective_rank_lies_between_one_and_n(kind):
    values = torch.full((128,), 1e-3, dtype=torch.float64)
    values[0] = 100
    for seed in range(4):
        got = hs.effective_rank(prescribed_spectrum(values), kind=kind, seed=seed)
        assert 1 <= got.interval[0] <= got.value <= got.interval[1] <= 128
