"""Spectral sums, norms, ranks, counts and condition numbers against closed forms and dense truth."""

from __future__ import annotations

import math

import pytest
import scipy.sparse as sp
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

N = 1024


def bulk(n=N):
    """Indefinite, mean near zero, a few outliers."""
    values = 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values -= values.mean()
    values[:4] = torch.tensor([20.0, -15.0, 8.0, -13.0])
    return values


def positive(n=N):
    return torch.logspace(-2, 0, n, dtype=torch.float64)


def inside(estimate, truth):
    return estimate.interval[0] <= float(truth) <= estimate.interval[1]


def entropy_rank(values):
    p = values.abs() / values.abs().sum()
    return float((-torch.special.xlogy(p, p).sum()).exp())


def participation_rank(values):
    return float(values.abs().sum() ** 2 / values.square().sum())


CASES = [
    ("exp", bulk, lambda h: hs.spectral_sum(h, torch.exp), lambda v: v.exp().sum()),
    ("cube", bulk, lambda h: hs.spectral_sum(h, lambda x: x**3), lambda v: (v**3).sum()),
    (
        "shifted",
        positive,
        lambda h: hs.spectral_sum(h, torch.sqrt, shift=0.5),
        lambda v: (v + 0.5).sqrt().sum(),
    ),
    ("nuclear", bulk, hs.nuclear_norm, lambda v: v.abs().sum()),
    ("inverse", positive, hs.trace_inverse, lambda v: v.reciprocal().sum()),
    ("inverse of a negative one", lambda: -positive(), hs.trace_inverse, lambda v: v.reciprocal().sum()),
    ("logdet", positive, hs.logdet, lambda v: v.log().sum()),
    ("shifted logdet", bulk, lambda h: hs.logdet(h, shift=16.0), lambda v: (v + 16).log().sum()),
    ("absolute", bulk, lambda h: hs.logdet(h, shift=2.0, absolute=True), lambda v: (v + 2).abs().log().sum()),
    ("entropy", bulk, hs.effective_rank, entropy_rank),
    ("participation", bulk, lambda h: hs.effective_rank(h, kind="participation"), participation_rank),
    ("count", bulk, lambda h: hs.count(h, 0.05, math.inf), lambda v: (v >= 0.05).sum()),
]


@pytest.mark.parametrize(("spectrum", "function", "truth"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_interval_holds_the_closed_form(spectrum, function, truth, dtype):
    values = spectrum()
    h = prescribed_spectrum(values, dtype=dtype)
    got = function(h)
    assert inside(got, truth(values))
    assert 0 < got.error < math.inf
    assert got.products == h.products == 800
    assert got.status is hs.Status.COMPLETE
    # The same from the density, without another product.
    rho = hs.spectral_density(h, num_probes=8)
    before = h.products
    again = function(rho)
    assert (again.value, again.error) == (got.value, got.error)
    assert h.products == before


@pytest.mark.parametrize("n", [2**14, 2**20])
def test_large_prescribed_spectra(n):
    values = torch.linspace(0.1, 1, n, dtype=torch.float64)
    h = prescribed_spectrum(values, dtype=torch.float32)
    rho = hs.spectral_density(h, num_probes=4, num_steps=24)
    for got, truth in [
        (hs.logdet(rho), values.log().sum()),
        (hs.trace_inverse(rho), values.reciprocal().sum()),
        (hs.nuclear_norm(rho), values.sum()),
        (hs.effective_rank(rho), entropy_rank(values)),
    ]:
        assert inside(got, truth)
        assert got.error <= 0.02 * abs(float(truth))


@pytest.mark.parametrize("kind", ["entropy", "participation"])
@pytest.mark.parametrize("factor", [1e-20, 1.0, 1e20])
def test_ranks_of_projections_are_their_ranks_at_any_scale(kind, factor):
    """Half of the eigenvalues the same, the others zero: both ranks are n / 2."""
    values = torch.cat([torch.ones(128), torch.zeros(128)]).double() * factor
    got = hs.effective_rank(prescribed_spectrum(values), kind=kind, num_probes=64)
    assert got.value == pytest.approx(128, rel=0.1)
    assert inside(got, 128)
    assert got.quadrature == 0


def test_eigenpairs_reduce_the_error_without_bias_or_further_products():
    values = bulk()
    h = prescribed_spectrum(values)
    rough = hs.eigenpairs(h, 4, which="magnitude", tol=1e-3)
    rho = hs.spectral_density(h, num_probes=8, num_steps=60)
    before = h.products
    for function, truth in [
        (hs.nuclear_norm, values.abs().sum()),
        (hs.effective_rank, entropy_rank(values)),
        (lambda h, **o: hs.spectral_sum(h, lambda x: x.square(), **o), values.square().sum()),
        (lambda h, **o: hs.logdet(h, shift=16.0, **o), (values + 16).log().sum()),
    ]:
        plain, reduced = function(rho), function(rho, eigenpairs=rough)
        assert inside(reduced, truth)
        assert reduced.sampling < 0.3 * plain.sampling
        assert "4 eigenpairs" in reduced.method
    assert h.products == before
    # Pairs of another operator cost variance only.
    other = hs.eigenpairs(prescribed_spectrum(bulk(), seed=9), 4)
    means = [hs.nuclear_norm(h, num_steps=60, eigenpairs=other, seed=s).value for s in range(50)]
    spread = torch.tensor(means).std() / math.sqrt(50)
    assert abs(torch.tensor(means).mean() - values.abs().sum()) <= 4 * spread


def test_a_count_takes_known_pairs_out():
    values = bulk()
    h = prescribed_spectrum(values)
    pairs = hs.eigenpairs(h, 2)
    rho = hs.spectral_density(h, num_probes=8, num_steps=60)
    got = hs.count(rho, 1.0, math.inf, eigenpairs=pairs)
    assert got.value == pytest.approx(2, abs=1e-6)
    assert inside(got, 2)
    assert got.error < 0.5 * rho.count(1.0, math.inf).error
    straddling = hs.count(rho, float(pairs.values[1]), math.inf, eigenpairs=pairs)
    assert inside(straddling, 2)
    everything = hs.count(rho, -math.inf, math.inf, eigenpairs=pairs)
    assert everything.interval == (N, N)
    most = hs.count(rho, -math.inf, 1.0, eigenpairs=pairs)
    assert inside(most, N - 2)
    assert most.error < 0.5 * rho.count(-math.inf, 1.0).error


def test_an_adaptive_run_ends_within_its_tolerance():
    values = bulk()
    h = prescribed_spectrum(values)
    pairs = hs.eigenpairs(h, 4, which="magnitude")
    before = h.products
    got = hs.nuclear_norm(h, eigenpairs=pairs, tol=0.02, num_probes=4, num_steps=8, max_products=100_000)
    assert got.status is hs.Status.CONVERGED
    assert got.error <= 0.02 * got.value
    assert inside(got, values.abs().sum())
    assert got.products == h.products - before
    assert got.quadrature <= 0.01 * got.value
    # Too few products for it: the same, and said so.
    short = hs.nuclear_norm(h, tol=1e-6, num_probes=4, num_steps=8, max_products=200)
    assert short.status is hs.Status.MAX_PRODUCTS
    assert short.products <= 200
    assert inside(short, values.abs().sum())


def test_a_trace_near_zero_has_a_tolerance_that_ends():
    """tr H = 0: a tolerance relative to it could never be met; relative to tr |H| it is."""
    half = torch.linspace(0.1, 1, N // 2, dtype=torch.float64)
    values = torch.cat([half, -half])
    got = hs.spectral_sum(prescribed_spectrum(values), lambda x: x, tol=0.05)
    assert got.status is hs.Status.CONVERGED
    assert inside(got, 0.0)
    assert got.error <= 0.05 * 1.1 * float(values.abs().sum())


def test_float32_stops_at_its_rounding():
    values = torch.logspace(-7, 0, N, dtype=torch.float64)
    got = hs.logdet(prescribed_spectrum(values, dtype=torch.float32), shift=1e-4, tol=1e-7, num_steps=200)
    assert got.status is hs.Status.NOISE_FLOOR
    assert inside(got, (values + 1e-4).log().sum())


def test_log_determinants_say_what_is_known():
    certain = hs.logdet(prescribed_spectrum(torch.linspace(1, 2, N, dtype=torch.float64)))
    assert certain.sign == 1
    assert 0.9 < certain.lower_bound <= 1 <= certain.lowest
    doubtful = hs.logdet(prescribed_spectrum(torch.logspace(-8, 0, N, dtype=torch.float64)), num_steps=20)
    assert doubtful.lower_bound < 0 < doubtful.lowest
    assert "as far as bounds go" in doubtful.method
    few = torch.tensor([-3.0, 1.0, 2.0, 2.0], dtype=torch.float64)
    odd = hs.logdet(prescribed_spectrum(few), absolute=True, num_probes=64)
    assert odd.sign in (-1, 0)
    unknown = hs.logdet(prescribed_spectrum(bulk()), shift=2.0, absolute=True)
    assert unknown.sign in (1, 0)  # two eigenvalues are below -2


def test_csr_log_determinants_and_inverse_traces():
    """The Laplacian of a 40 x 30 grid: eigenvalues in closed form."""
    line = [2 - 2 * torch.cos(torch.arange(1, k + 1) * math.pi / (k + 1)).double() for k in (40, 30)]
    values = (line[0][:, None] + line[1][None, :]).flatten()
    chains = [sp.diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(k, k)) for k in (40, 30)]
    a = sp.kronsum(chains[1], chains[0]).tocsr()
    h = hs.from_matrix(a)
    rho = hs.spectral_density(h, num_probes=16, num_steps=120)
    assert inside(hs.logdet(rho), values.log().sum())
    assert inside(hs.trace_inverse(rho), values.reciprocal().sum())
    assert hs.trace_inverse(rho).error < 0.2 * float(values.reciprocal().sum())


class TestConditionNumber:
    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_definite_operators(self, sign, dtype):
        values = sign * torch.linspace(0.1, 3, 256, dtype=torch.float64)
        h = prescribed_spectrum(values, dtype=dtype)
        got = hs.condition_number(h)
        assert inside(got, 30)
        assert got.error < 0.5
        eig = hs.eigenpairs(h, 4, which="both_ends")
        assert inside(hs.condition_number(eig), 30)
        rho = hs.spectral_density(h, num_probes=4, num_steps=100)
        assert inside(hs.condition_number(rho), 30)
        shifted = hs.condition_number(rho, shift=sign * 1.0)
        assert inside(shifted, 4 / 1.1)

    def test_indefinite_operators_have_a_lower_bound(self):
        values = bulk(256)
        got = hs.condition_number(prescribed_spectrum(values))
        assert got.method.startswith("lower bound; indefinite")
        assert got.interval == (got.value, math.inf)
        assert 1 <= got.value <= float(values.abs().max() / values.abs().min())
        rho = hs.spectral_density(prescribed_spectrum(values), num_steps=60)
        better = hs.condition_number(rho)
        assert got.value < better.value <= float(values.abs().max() / values.abs().min())

    @pytest.mark.parametrize("low", [0.0, 1e-18])
    def test_singular_operators_are_infinite_with_the_reason(self, low):
        values = torch.cat([torch.full((8,), low), torch.linspace(1, 2, 248)]).double()
        got = hs.condition_number(prescribed_spectrum(values))
        assert got.value == math.inf
        assert got.method.startswith("singular to rounding")

    def test_an_end_that_is_not_resolved_leaves_the_upper_end_open(self):
        values = torch.logspace(-9, 0, 256, dtype=torch.float64)
        got = hs.condition_number(prescribed_spectrum(values), tol=1e-4)
        assert got.interval[1] == math.inf
        assert inside(got, 1e9)
        assert "upper end unknown" in got.method
        assert hs.condition_number(prescribed_spectrum(torch.ones(1, dtype=torch.float64))).value == 1
