"""Resuming: a longer or wider run equals a fresh one, and says what it costs."""

from __future__ import annotations

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

SPECTRUM = torch.linspace(-1, 2, 2**10, dtype=torch.float64)


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def operator(request):
    return prescribed_spectrum(SPECTRUM, dtype=request.param)


def same(a, b):
    assert torch.equal(a.alpha, b.alpha)
    assert torch.equal(a.beta, b.beta)
    assert a.settings == b.settings
    assert a.status is b.status


@pytest.mark.parametrize("through_file", [False, True])
def test_fifty_steps_and_fifty_more_equal_a_hundred(operator, through_file, tmp_path):
    fresh = hs.spectral_density(operator, num_probes=3, num_steps=100)
    half = hs.spectral_density(operator, num_probes=3, num_steps=50, keep_state=True)
    if through_file:
        half.save(tmp_path / "half", state=True)
        half = hs.load(tmp_path / "half")
    before = operator.products
    whole = hs.resume(half, operator, num_steps=100)
    same(whole, fresh)
    assert operator.products - before == 3 * 50 + 1  # one product compares the operators
    assert whole.products == 3 * 100 + 1
    assert whole.state is None
    assert half.num_steps == 50
    same(hs.resume(half, operator, num_steps=100), fresh)  # the state was not used up


def test_rounding_is_all_that_differs_for_other_operators():
    a = torch.randn(200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = (a + a.T) / 40
    h = hs.from_function(lambda v: v @ a, 200, dtype=torch.float64, batched=True)
    fresh = hs.spectral_density(h, num_steps=20)
    got = hs.resume(hs.spectral_density(h, num_steps=10, keep_state=True), h, num_steps=20)
    assert torch.allclose(got.alpha, fresh.alpha, rtol=0, atol=1e-10)


def test_more_probes_cost_their_own_products_only(operator):
    two = hs.spectral_density(operator, num_probes=2, num_steps=30)
    five = hs.resume(two, operator, num_probes=5)
    same(five, hs.spectral_density(operator, num_probes=5, num_steps=30))
    assert five.products == 5 * 30 + 1


def test_both_at_once_and_twice_in_a_row(operator):
    rho = hs.spectral_density(operator, num_probes=2, num_steps=10, keep_state=True)
    rho = hs.resume(rho, operator, num_probes=3, num_steps=25, keep_state=True)
    rho = hs.resume(rho, operator, num_probes=4, num_steps=40, keep_state=True)
    same(rho, hs.spectral_density(operator, num_probes=4, num_steps=40))
    assert rho.state.v.shape == (4, 2**10)


def test_without_state_the_steps_are_replayed_and_announced(operator):
    rho = hs.spectral_density(operator, num_probes=2, num_steps=10)
    with pytest.warns(UserWarning, match=r"20 products are repeated \(2 probes, 10 steps\)"):
        got = hs.resume(rho, operator, num_steps=15, num_probes=3)
    same(got, hs.spectral_density(operator, num_probes=3, num_steps=15))
    assert got.products == 20 + 1 + 30 + 15


def test_full_reorthogonalisation_replays(operator):
    rho = hs.spectral_density(operator, num_probes=2, num_steps=10, reorthogonalize="full")
    with pytest.warns(UserWarning, match="20 products are repeated"):
        got = hs.resume(rho, operator, num_steps=20)
    same(got, hs.spectral_density(operator, num_probes=2, num_steps=20, reorthogonalize="full"))
    assert got.orthogonality < 1e-5


@pytest.mark.parametrize("kind", ["full", "selective"])
def test_a_state_that_is_a_basis_is_refused_with_what_it_takes_and_what_to_do(operator, kind):
    before = operator.products
    with pytest.raises(ValueError, match="keep_state must be False with reorthogonalize=") as caught:
        hs.spectral_density(operator, num_probes=2, num_steps=10, reorthogonalize=kind, keep_state=True)
    size = f"{20 * 2**10 * operator.dtype.itemsize / 1e9:.3g} GB"
    assert f"the whole basis: 20 vectors of length 1024, {size}" in str(caught.value)
    assert "hesscope.resume adds steps without it, by repeating 20 products" in str(caught.value)
    assert operator.products == before


def test_a_recurrence_that_ended_needs_no_more_steps():
    h = hs.from_matrix(torch.diag(torch.tensor([1.0, 2, 3, 3])))
    rho = hs.spectral_density(h, num_probes=2, num_steps=50)
    same(hs.resume(rho, h, num_probes=4), hs.spectral_density(h, num_probes=4, num_steps=50))
    got = hs.resume(rho, h, num_steps=80)
    assert got.status is hs.Status.INVARIANT_SUBSPACE
    assert torch.equal(got.alpha, rho.alpha)


def test_a_converged_run_is_wider_but_not_longer_unless_asked():
    h = prescribed_spectrum(SPECTRUM)
    rho = hs.spectral_density(h, num_probes=2, num_steps=500, tol=0.01, keep_state=True)
    wide = hs.resume(rho, h, num_probes=3)
    assert wide.status is hs.Status.CONVERGED
    assert wide.num_steps == rho.num_steps
    longer = hs.resume(rho, h, num_steps=rho.num_steps + 20)
    same(longer, hs.spectral_density(h, num_probes=2, num_steps=rho.num_steps + 20))


def test_another_operator_is_refused(operator):
    rho = hs.spectral_density(operator, num_probes=2, num_steps=10)
    other = prescribed_spectrum(SPECTRUM * 1.01, dtype=operator.dtype)
    with pytest.raises(ValueError, match=r"resume: operator must be the one that density was computed from"):
        hs.resume(rho, other, num_probes=3)
    with pytest.raises(ValueError, match=r"operator must have n=1024 and dtype .*, got n=512"):
        hs.resume(rho, prescribed_spectrum(SPECTRUM[:512], dtype=operator.dtype), num_probes=3)
    with pytest.raises(TypeError, match="operator must be a SymmetricOperator, got Tensor"):
        hs.resume(rho, torch.eye(3))
    with pytest.raises(TypeError, match="resume: density must be a SpectralDensity, got str"):
        hs.resume("rho.safetensors", operator)


def test_totals_must_not_shrink(operator):
    rho = hs.spectral_density(operator, num_probes=2, num_steps=10)
    with pytest.raises(ValueError, match="resume: num_steps must be at least 10, got 9"):
        hs.resume(rho, operator, num_steps=9)
    with pytest.raises(ValueError, match="resume: num_probes must be at least 2, got 1"):
        hs.resume(rho, operator, num_probes=1)
    with pytest.raises(ValueError, match="resume: keep_state=True needs the state"):
        hs.resume(rho, operator, num_probes=3, keep_state=True)
