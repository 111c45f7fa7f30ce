"""Lanczos on operators whose norm, squared, the vectors' dtype does not hold: as on any other, scaled."""

from __future__ import annotations

import pytest
import scipy.sparse
import torch

import hesscope as hs

N, STEPS = 64, 30
VALUES = torch.linspace(1, 2, N, dtype=torch.float64)
SCALES = [(torch.float32, p) for p in (-90, -73, 67, 100)] + [(torch.float64, p) for p in (-490, 490)]


def dense(dtype, power):
    """A float64 matrix is rounded once; the scale is a power of two, so that all are the same one, scaled."""
    q, _ = torch.linalg.qr(torch.randn(N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    matrix = (q * VALUES) @ q.T
    matrix = ((matrix + matrix.T) / 2).to(dtype).double() * 2.0**power
    return hs.from_matrix(matrix, dtype=dtype)


def sparse(dtype, power):
    """The steps are fused with its products, as long as its scale is ordinary."""
    beside = torch.full((N - 1,), 0.25, dtype=torch.float64)
    matrix = torch.diag(VALUES) + torch.diag(beside, 1) + torch.diag(beside, -1)
    matrix = (matrix.to(dtype).double() * 2.0**power).to(dtype)
    return hs.from_scipy(scipy.sparse.csr_array(matrix.numpy()))


@pytest.mark.parametrize(("dtype", "power"), SCALES, ids=str)
@pytest.mark.parametrize("mode", ["none", "full", "selective"])
@pytest.mark.parametrize("make", [dense, sparse])
def test_coefficients_scale_with_the_operator(make, mode, dtype, power):
    options = {"num_probes": 3, "num_steps": STEPS, "reorthogonalize": mode}
    plain = hs.spectral_density(make(dtype, 0), **options)
    rho = hs.spectral_density(make(dtype, power), **options)
    assert rho.status is plain.status
    assert rho.num_steps == STEPS
    for got, expected in ((rho.alpha, plain.alpha), (rho.beta, plain.beta)):
        first = slice(0, 8)  # rounding is the same up to that of separate steps, and grows
        assert torch.allclose(
            got[:, first] / 2.0**power, expected[:, first], rtol=1e4 * torch.finfo(dtype).eps
        )
    assert float(rho.nodes.min()) / 2.0**power == pytest.approx(float(plain.nodes.min()), rel=1e-5)


@pytest.mark.parametrize("power", [-90, 100])
def test_a_run_is_continued_at_that_scale(power):
    h = dense(torch.float32, power)
    begun = hs.spectral_density(h, num_steps=10, keep_state=True)
    whole = hs.spectral_density(h, num_steps=STEPS)
    assert torch.equal(hs.resume(begun, h, num_steps=STEPS).alpha, whole.alpha)


def test_a_tiny_positive_operator_has_no_negative_curvature():
    rho = hs.spectral_density(dense(torch.float32, -73), num_probes=8)
    assert rho.negative_curvature().value == 0
    assert rho.smallest_eigenvalue().interval[0] > 0


@pytest.mark.parametrize("power", [-900, -530])
def test_a_norm_whose_square_vanishes_in_float64_is_refused(power):
    with pytest.raises(hs.RunFailed, match="operator must have a norm of at least 1e-150, got .*scaled"):
        hs.spectral_density(dense(torch.float64, power))
