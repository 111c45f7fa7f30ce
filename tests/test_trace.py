"""Traces and Frobenius norms: known spectra, published accuracy, coverage, bad input."""

from __future__ import annotations

import math
import signal

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

N = 1024
METHODS = ["auto", "rademacher", "deflated", "xtrace", "hutch++"]


def step(low):
    values = torch.full((N,), low, dtype=torch.float64)
    values[:50] = 1.0
    return values


# The six spectra of Epperly, Tropp and Webber (2024), section 1.3; theirs with n = 1000.
STANDARD = {
    "flat": torch.linspace(3, 1, N, dtype=torch.float64),
    "poly": torch.arange(1, N + 1, dtype=torch.float64) ** -2,
    "exp 0.9": 0.9 ** torch.arange(N, dtype=torch.float64),
    "exp 0.7": 0.7 ** torch.arange(N, dtype=torch.float64),
    "step 1e-3": step(1e-3),
    "step 1e-8": step(1e-8),
}


def outliers(n=256):
    """Indefinite, a few outliers and a bulk."""
    values = 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[:6] = torch.tensor([30.0, 20.0, 10.0, -8.0, 5.0, 4.0])
    return values


def mean_error(method, spectrum, products, *, runs=10, dtype=torch.float64):
    """Mean relative error of the trace, and mean relative error as estimated."""
    h, truth = prescribed_spectrum(spectrum, dtype=dtype), float(spectrum.sum())
    got = [hs.trace(h, method=method, products=products, seed=seed) for seed in range(runs)]
    assert all(0.8 * products <= e.products <= products for e in got)
    return tuple(
        sum(x) / runs / truth for x in zip(*((abs(e.value - truth), e.error) for e in got), strict=True)
    )


# Mean relative errors of the published curves, read at these numbers of products, times three.
PUBLISHED = [
    ("xtrace", "exp 0.7", 70, 1e-5),
    ("xtrace", "exp 0.7", 128, 1e-9),
    ("xtrace", "exp 0.9", 128, 1e-3),
    ("xtrace", "poly", 70, 4e-3),
    ("xtrace", "poly", 128, 1e-3),
    ("xtrace", "step 1e-3", 128, 3e-5),
    ("xtrace", "step 1e-8", 128, 1e-9),
    ("xtrace", "flat", 70, 7e-3),
    ("hutch++", "exp 0.7", 70, 5e-4),
    ("hutch++", "poly", 128, 2e-3),
    ("hutch++", "step 1e-8", 200, 1e-8),
    ("auto", "exp 0.7", 70, 1e-5),
    ("auto", "poly", 128, 1e-3),
    ("auto", "step 1e-8", 128, 1e-9),
    ("auto", "flat", 70, 5e-3),
    ("rademacher", "flat", 70, 3e-3),
]


@pytest.mark.parametrize(("method", "name", "products", "bound"), PUBLISHED)
def test_published_accuracy(method, name, products, bound):
    error, estimated = mean_error(method, STANDARD[name], products)
    assert error <= bound
    floor = 32 * torch.finfo(torch.float64).eps
    assert error <= estimated + floor  # on average: 95 % half-widths are 2.5 times a mean error
    assert estimated <= 12 * error + floor


@pytest.mark.parametrize("method", ["xtrace", "hutch++", "auto"])
@pytest.mark.parametrize("name", ["exp 0.7", "step 1e-8"])
def test_float32_reaches_its_rounding(method, name):
    error, estimated = mean_error(method, STANDARD[name], 200, dtype=torch.float32)
    assert error <= 16 * torch.finfo(torch.float32).eps
    assert error <= estimated


@pytest.mark.parametrize("n", [2, 16, 256])
def test_exact_where_products_suffice(n):
    h = prescribed_spectrum(outliers(256)[:n])
    got = hs.trace(h, products=n)
    assert got.products == n
    assert got.error == 0
    assert got.value == pytest.approx(float(h.eigenvalues.sum()), abs=1e-13 * n)
    for method in ("xtrace", "hutch++"):
        many = hs.trace(h, method=method, products=3 * n)
        assert many.value == pytest.approx(got.value, abs=1e-11)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_low_rank_is_found_exactly_by_a_sketch(method, rank):
    values = torch.zeros(N, dtype=torch.float64)
    values[:rank] = torch.tensor([3.0, -2.0, 1.0, -0.5, 4.0])[:rank]
    h = prescribed_spectrum(values)
    pairs = hs.eigenpairs(h, 5, which="magnitude") if method == "deflated" else None
    got = hs.trace(h, method=method, products=40, eigenpairs=pairs)
    assert math.isfinite(got.error)
    if method != "rademacher" or rank == 0:
        assert abs(got.value - float(values.sum())) <= 1e-6 * float(values.abs().sum())
        assert got.error <= 1e-6 * float(values.abs().sum())


def covered(function, h, truth, runs=1000, **options):
    """Share of seeded runs whose interval holds the truth."""
    intervals = (function(h, seed=seed, **options).interval for seed in range(runs))
    return sum(low <= truth <= high for low, high in intervals) / runs


@pytest.mark.parametrize("products", [8, 16])
def test_the_interval_of_the_deflated_trace_covers(products):
    h = prescribed_spectrum(outliers())
    pairs = hs.eigenpairs(h, 6, which="magnitude", tol=1e-3)
    share = covered(hs.trace, h, float(outliers().sum()), products=products, eigenpairs=pairs)
    assert 0.93 <= share <= 0.97


def test_the_interval_of_the_plain_trace_covers():
    spectrum = torch.linspace(-1, 2, 256, dtype=torch.float64)
    share = covered(
        hs.trace, prescribed_spectrum(spectrum), float(spectrum.sum()), method="rademacher", products=8
    )
    assert 0.93 <= share <= 0.97


def test_the_interval_of_hutchpp_covers():
    spectrum = torch.linspace(-1, 2, 256, dtype=torch.float64)
    share = covered(
        hs.trace, prescribed_spectrum(spectrum), float(spectrum.sum()), method="hutch++", products=12
    )
    assert 0.93 <= share <= 0.97


def test_the_interval_of_the_frobenius_norm_covers():
    h = prescribed_spectrum(outliers())
    pairs = hs.eigenpairs(h, 6, which="magnitude", tol=1e-3)
    truth = float(outliers().norm())
    assert 0.93 <= covered(hs.frobenius_norm, h, truth, products=8, eigenpairs=pairs) <= 0.97
    assert covered(hs.frobenius_norm, h, truth, products=8) >= 0.90  # skewed by outliers, as documented


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_over_seeds_is_the_trace(method):
    """Unbiased: the mean of many runs lies within its own standard error."""
    h, truth = prescribed_spectrum(outliers()), float(outliers().sum())
    pairs = hs.eigenpairs(h, 3, tol=1e-2) if method == "deflated" else None
    values = torch.tensor(
        [hs.trace(h, method=method, products=16, seed=s, eigenpairs=pairs).value for s in range(400)]
    )
    assert abs(float(values.mean()) - truth) <= 4 * float(values.std()) / 20


def test_eigenpairs_of_another_operator_cost_variance_only():
    other = hs.eigenpairs(prescribed_spectrum(outliers(), seed=9), 5)
    h = prescribed_spectrum(outliers())
    values = torch.tensor([hs.trace(h, products=8, seed=s, eigenpairs=other).value for s in range(400)])
    assert abs(float(values.mean()) - float(outliers().sum())) <= 4 * float(values.std()) / 20


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_trace_near_zero_keeps_its_interval(method, dtype):
    """An indefinite matrix whose trace vanishes: errors are relative to |H|_F, never to the trace."""
    half = 0.8 ** torch.arange(128, dtype=torch.float64)
    spectrum = torch.cat([half, -half])
    h = prescribed_spectrum(spectrum, dtype=dtype)
    pairs = hs.eigenpairs(h, 10, which="both_ends") if method == "deflated" else None
    share = covered(hs.trace, h, 0.0, runs=100, method=method, products=24, eigenpairs=pairs)
    assert share >= 0.85  # xtrace's is an error estimate
    got = hs.trace(h, method=method, products=24, eigenpairs=pairs)
    assert 0 < got.error <= 3 * float(spectrum.norm())


def test_deflation_reuses_eigenpairs_without_products():
    h = prescribed_spectrum(outliers())
    pairs, before = hs.eigenpairs(h, 6, which="magnitude"), h.products
    got, plain = hs.trace(h, products=16, eigenpairs=pairs), None
    assert h.products - before == got.products == 16
    plain = hs.trace(h, method="rademacher", products=16)
    assert got.error < 0.1 * plain.error
    assert "6 eigenpairs" in got.method


@pytest.mark.parametrize("function", [hs.trace, hs.frobenius_norm])
@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_the_scale_does_not_matter(function, factor):
    want = function(prescribed_spectrum(outliers(), dtype=torch.float32))
    got = function(prescribed_spectrum(outliers() * factor, dtype=torch.float32))
    assert got.value == pytest.approx(factor * want.value, rel=1e-4)
    assert got.error == pytest.approx(factor * want.error, rel=1e-4)


def test_dense_truth_of_an_odd_size(rng):
    a = torch.randn(33, 33, generator=rng, dtype=torch.float64)
    h = hs.from_matrix(a + a.T)
    for method in ("rademacher", "xtrace", "hutch++"):
        got = hs.trace(h, method=method, products=30)
        assert got.interval[0] - got.error <= float(2 * a.trace()) <= got.interval[1] + got.error
    assert hs.trace(h, products=33).value == pytest.approx(float(2 * a.trace()), abs=1e-12)
    got = hs.frobenius_norm(h, products=100)
    assert got.interval[0] <= float((a + a.T).norm()) <= got.interval[1]


def test_one_probe_has_an_unknown_error():
    got = hs.trace(prescribed_spectrum(outliers()), method="rademacher", products=1)
    assert math.isinf(got.error)
    got = hs.frobenius_norm(prescribed_spectrum(outliers()), products=1)
    assert math.isinf(got.error)
    assert got.value > 0


def test_the_norm_of_zero_is_zero():
    got = hs.frobenius_norm(prescribed_spectrum(torch.zeros(64)))
    assert (got.value, got.error) == (0, 0)


def bad_at(call, action):
    """An operator that does ``action`` to its products at one call."""
    h, calls = prescribed_spectrum(outliers()), 0

    def f(v):
        nonlocal calls
        calls += 1
        w = h.rows(v)
        return action(w) if calls == call else w

    return hs.from_function(f, 256, dtype=torch.float64, batched=True, check_symmetric=False)


def test_products_that_are_not_finite():
    got = hs.trace(bad_at(3, lambda w: w * torch.nan), method="rademacher", products=32)
    assert got.status is hs.Status.NONFINITE_OPERATOR
    assert got.value == hs.trace(prescribed_spectrum(outliers()), method="rademacher", products=16).value
    with pytest.raises(ValueError, match="frobenius_norm: operator must return finite products"):
        hs.frobenius_norm(bad_at(1, lambda w: w / 0))
    with pytest.raises(ValueError, match="trace: operator must return finite products"):
        hs.trace(bad_at(2, lambda w: w / 0), method="xtrace")


def test_ctrl_c_keeps_what_was_sampled():
    def press(w):
        signal.raise_signal(signal.SIGINT)
        return w

    got = hs.trace(bad_at(2, press), method="rademacher", products=32)
    assert got.status is hs.Status.INTERRUPTED
    assert got.products == 16
    assert got.value == hs.trace(prescribed_spectrum(outliers()), method="rademacher", products=16).value


def test_an_operator_that_changes_is_an_error():
    class Changing(type(prescribed_spectrum(outliers()))):
        def fingerprint(self):
            return self.products > 10

    with pytest.raises(RuntimeError, match="trace: operator must not change"):
        hs.trace(Changing(outliers()))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "magic"}, ValueError, "trace: method must be one of 'auto'.*got 'magic'"),
        ({"products": 0}, ValueError, "trace: products must be at least 1, got 0"),
        ({"products": 3, "method": "xtrace"}, ValueError, "trace: products must be at least 4, got 3"),
        ({"products": 3, "method": "hutch++"}, ValueError, "trace: products must be at least 4, got 3"),
        ({"products": 1.5}, TypeError, "trace: products must be an integer, got float 1.5"),
        ({"seed": -1}, ValueError, "trace: seed must be at least 0, got -1"),
        ({"method": "deflated"}, ValueError, "trace: eigenpairs must be given for method='deflated'"),
        ({"eigenpairs": 3}, TypeError, "trace: eigenpairs must be an Eigenpairs"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        hs.trace(prescribed_spectrum(outliers()), **arguments)


def test_bad_operators_and_pairs_are_named():
    with pytest.raises(TypeError, match=r"trace: operator must be a SymmetricOperator.*got Tensor"):
        hs.trace(torch.eye(3))
    pairs = hs.eigenpairs(prescribed_spectrum(outliers()), 2)
    with pytest.raises(ValueError, match="trace: eigenpairs must be None for method='xtrace'"):
        hs.trace(prescribed_spectrum(outliers()), method="xtrace", eigenpairs=pairs)
    with pytest.raises(
        ValueError, match=r"eigenpairs must be those of the operator.*n = 128, got .* n = 256"
    ):
        hs.trace(prescribed_spectrum(outliers(128)), eigenpairs=pairs)
    with pytest.raises(ValueError, match=r"eigenpairs must be those of the operator, torch\.float32"):
        hs.trace(prescribed_spectrum(outliers(), dtype=torch.float32), eigenpairs=pairs)
