"""Diagonals from random probes, against dense matrices."""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

METHODS = ["xdiag", "rademacher", "deflated"]


def matrix(n, spectrum, seed=0):
    """A dense symmetric matrix with this spectrum and eigenvectors uniformly at random."""
    rng = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(n, n, generator=rng, dtype=torch.float64)).Q
    return q @ torch.diag(spectrum) @ q.T


def decaying(n=300):
    values = 0.7 ** torch.arange(n, dtype=torch.float64)
    values[1::3] *= -1
    return matrix(n, values)


def estimates(a, method, products, runs):
    """Diagonals from seeds 0 to ``runs``."""
    h = hs.from_matrix(a)
    pairs = hs.eigenpairs(h, 8, which="magnitude", tol=1e-4) if method == "deflated" else None
    options = {"method": method, "products": products, "eigenpairs": pairs}
    return [hs.diagonal(h, seed=seed, **options) for seed in range(runs)]


def mean_error(method, a, products, runs=10):
    """Mean of the largest error, relative to the largest entry, and of the same as estimated."""
    size, got = float(a.diagonal().abs().max()), estimates(a, method, products, runs)
    errors = [float((e.value - a.diagonal()).abs().max()) / size for e in got]
    estimated = [float(e.error.max()) / size for e in got]
    return sum(errors) / runs, sum(estimated) / runs


# Epperly, Tropp and Webber (2024), figure 4: XDiag follows the decay of the spectrum.
@pytest.mark.parametrize(
    ("method", "products", "bound"),
    [
        ("xdiag", 30, 0.1),
        ("xdiag", 70, 1e-4),
        ("xdiag", 120, 1e-8),
        ("deflated", 60, 0.1),
        ("rademacher", 60, 1.5),
    ],
)
def test_error_against_products(method, products, bound):
    error, estimated = mean_error(method, decaying(), products)
    assert error <= bound
    assert error <= 2 * estimated
    assert estimated <= 30 * error


@pytest.mark.parametrize("method", METHODS)
def test_unbiased_with_errors_of_the_right_size(method):
    a = matrix(64, torch.linspace(-1, 2, 64, dtype=torch.float64))
    a[0, 0] += 5  # an entry that stands out
    runs = 300
    got = estimates(a, method, 16, runs)
    values = torch.stack([e.value for e in got])
    deviation = values.std(dim=0)
    assert ((values.mean(dim=0) - a.diagonal()).abs() <= 4.5 * deviation / math.sqrt(runs)).all()
    inside = torch.stack([(e.value - a.diagonal()).abs() <= e.error for e in got]).double().mean()
    assert inside >= (0.85 if method == "xdiag" else 0.92)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_low_rank_is_found_exactly(dtype):
    values = torch.zeros(64, dtype=torch.float64)
    values[:4] = torch.tensor([4.0, -3.0, 2.0, -1.0])
    a = matrix(64, values).to(dtype)
    got = hs.diagonal(hs.from_matrix(a), products=20)
    assert (got.value - a.diagonal()).abs().max() <= 32 * torch.finfo(dtype).eps * 4
    assert got.products == 20
    assert got.value.dtype == torch.float64


def test_a_diagonal_matrix_needs_one_probe():
    d = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = hs.diagonal(hs.from_matrix(torch.diag(d)), method="rademacher", products=1)
    assert torch.equal(got.value, d)
    assert torch.isinf(got.error).all()


def test_more_products_than_rows():
    a = matrix(9, torch.linspace(-1, 1, 9, dtype=torch.float64))
    got = hs.diagonal(hs.from_matrix(a), products=40)
    assert got.products == 18
    assert (got.value - a.diagonal()).abs().max() <= 1e-13


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_the_scale_does_not_matter(factor):
    a = decaying(100).float()
    want = hs.diagonal(hs.from_matrix(a))
    got = hs.diagonal(hs.from_matrix(a * factor))
    assert (got.value / factor - want.value).abs().max() <= 1e-5 * want.value.abs().max()


def test_zero():
    got = hs.diagonal(prescribed_spectrum(torch.zeros(32, dtype=torch.float64)))
    assert not got.value.any()
    assert not got.error.any()


def test_sum_of_the_diagonal_is_the_trace_of_a_network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    batch = torch.randn(32, 6, dtype=torch.float64), torch.randint(3, (32,))
    h = hs.hessian(hs.Objective(model, torch.nn.functional.cross_entropy, batch))
    dense = h.rows(torch.eye(h.shape[0], dtype=torch.float64))
    got = hs.diagonal(h, products=60)
    assert ((got.value - dense.diagonal()).abs() <= 3 * got.error + 1e-12).double().mean() >= 0.95
    assert float((got.value - dense.diagonal()).norm()) <= 0.3 * float(dense.diagonal().norm())
    whole = hs.trace(h, products=h.shape[0])
    assert whole.value == pytest.approx(float(dense.trace()), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "magic"}, ValueError, "diagonal: method must be one of 'xdiag'.*got 'magic'"),
        ({"products": 3}, ValueError, "diagonal: products must be at least 4, got 3"),
        ({"products": 0, "method": "rademacher"}, ValueError, "diagonal: products must be at least 1, got 0"),
        ({"seed": 1.5}, TypeError, "diagonal: seed must be an integer"),
        ({"method": "deflated"}, ValueError, "diagonal: eigenpairs must be given for method='deflated'"),
        ({"eigenpairs": 3}, ValueError, "diagonal: eigenpairs must be None for method='xdiag'"),
        ({"eigenpairs": 3, "method": "deflated"}, TypeError, "diagonal: eigenpairs must be an Eigenpairs"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        hs.diagonal(prescribed_spectrum(torch.ones(64)), **arguments)


def test_products_that_are_not_finite_are_an_error():
    h = hs.from_function(lambda v: v * torch.nan, 64, check_symmetric=False)
    with pytest.raises(ValueError, match="diagonal: operator must return finite products"):
        hs.diagonal(h)
