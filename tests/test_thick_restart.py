"""The basis of thick-restart Lanczos: its relation holds through steps, restarts and breakdowns."""

from __future__ import annotations

import pytest
import torch

import hesscope as hs
from hesscope.krylov import rows as storage
from hesscope.krylov.thick_restart import ThickRestartBasis
from hesscope.krylov.wanted import differ, select
from hesscope.testing import axpy_bound, prescribed_spectrum

N = 512
SPECTRUM = torch.linspace(-1, 2, N, dtype=torch.float64)


def started(block=1, *, dtype=torch.float64, spectrum=SPECTRUM):
    h = prescribed_spectrum(spectrum, dtype=dtype)
    basis = ThickRestartBasis(h, capacity=24, block=block, seed=0)
    basis.add_random(block)
    return h, basis


def cleaned(basis):
    """Return the pending rows as they are once clean, and leave the basis as it is."""
    front, scale, along = basis.front.clone(), basis.scale, basis.along
    rows = basis.clean_front().clone()
    basis.front.copy_(front)
    basis.scale, basis.along = scale, along
    return rows


def check(h, basis):
    """``H Q' = Q' T + P' C``, and Q and P together are orthonormal."""
    eps = torch.finfo(h.dtype).eps
    m, p = basis.length, basis.pending
    rows = torch.cat([basis.store.get(0, m), cleaned(basis)]).double()
    assert basis.front.shape[0] == p
    assert (rows @ rows.T - torch.eye(m + p, dtype=torch.float64)).abs().max() <= 2 * (m + p) * eps
    q = basis.store.get(0, m)
    left = h.rows(q).double() - basis.matrix[:m, :m].T @ q.double() - basis.coupling.T @ rows[m:]
    # Rounding of a product, of two projections and of the rotation of a restart, a few eps |H| each.
    assert (left.norm(dim=1) <= 32 * (1 + basis.restarts) * eps * 2).all()


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_relation_holds_through_steps_and_restarts(block, dtype):
    h, basis = started(block, dtype=dtype)
    for _ in range(3):
        while not basis.full:
            assert basis.expand() == block
            check(h, basis)
        basis.restart(select(basis.ritz()[0], "both_ends", 9))
        assert basis.length == 9
        assert basis.pending == block
        check(h, basis)
    assert basis.restarts == 3


def test_a_product_comes_with_one_reading_of_the_basis(monkeypatch):
    """Counted, not timed: one call of extend a step; a restart cleans one row."""
    calls = {"extend": 0, "dot": 0, "axpy": 0}

    def counting(name):
        method = getattr(storage.MemoryRows, name)

        def call(*arguments, **options):
            calls[name] += 1
            return method(*arguments, **options)

        return call

    for name in calls:
        monkeypatch.setattr(storage.MemoryRows, name, counting(name))
    _, basis = started(dtype=torch.float32)
    calls.update(dict.fromkeys(calls, 0))
    for _ in range(24):
        basis.expand()
    assert calls == {"extend": 24, "dot": 0, "axpy": 0}
    basis.restart(torch.arange(6))
    assert calls["axpy"] == 1


def test_residuals_are_those_of_the_ritz_vectors():
    h, basis = started()
    for _ in range(12):
        basis.expand()
    for _ in range(2):
        values, vectors, residuals = basis.ritz()
        x = basis.ritz_vectors(vectors)
        true = (h.rows(x) - values[:, None] * x).norm(dim=1)
        assert (true - residuals).abs().max() <= 1e-14
        basis.restart(torch.arange(5))


def test_a_block_narrows_to_the_directions_that_matter():
    h, basis = started(4)
    basis.expand()
    basis.expand()
    basis.restart(torch.arange(8), matters=torch.tensor([7, 6]), negligible=1e-9)
    assert basis.pending == 2
    rows = basis.store.get(0, 8)
    left = h.rows(rows) - basis.matrix[:8, :8] @ rows - basis.coupling.T @ basis.front
    assert left[6:].norm() <= 1e-13
    assert left[:6].norm() > 1e-3  # what the dropped directions held
    assert basis.neglected == 1e-9


def test_a_breakdown_goes_on_from_a_random_vector():
    spectrum = torch.tensor([1.0, 0.0, -2.0]).double().repeat_interleave(171)[:N]
    h, basis = started(spectrum=spectrum)
    for _ in range(3):
        basis.expand()
    assert basis.pending == 1
    assert not basis.coupling.any()
    check(h, basis)
    for _ in range(6):
        basis.expand()
        check(h, basis)
    values = basis.ritz()[0]
    assert (values - torch.tensor([-2.0] * 3 + [0.0] * 3 + [1.0] * 3)).abs().max() <= 1e-14


def test_a_full_space_is_exhausted(rng):
    a = torch.randn(7, 7, generator=rng)
    h = hs.from_matrix(a + a.T)
    basis = ThickRestartBasis(h, capacity=7, block=2, seed=0)
    basis.add_random(2)
    while not basis.exhausted:
        basis.expand()
    assert basis.length == 7
    assert (basis.ritz()[0] - torch.linalg.eigvalsh((a + a.T).double())).abs().max() <= 1e-5


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3])
def test_the_noise_of_products_is_seen_in_their_asymmetry(noise, rng):
    h = prescribed_spectrum(SPECTRUM)

    def f(v):
        return h.rows(v) + noise * torch.randn(v.shape, generator=rng, dtype=v.dtype) / N**0.5

    noisy = hs.from_function(f, N, batched=True, dtype=torch.float64, check_symmetric=False)
    basis = ThickRestartBasis(noisy, capacity=24, block=1, seed=0)
    basis.add_random(1)
    for _ in range(3):
        while not basis.full:
            basis.expand()
        basis.restart(torch.arange(8))
    # Each defect is the difference of two of its entries, and Gram-Schmidt made one of them exact.
    assert 0.5 * noise <= basis.noise <= 2 * noise + 1e-14


def test_combinations_in_pieces(monkeypatch, rng):
    rows, c = torch.randn(5, 300, generator=rng), torch.randn(3, 5, generator=rng, dtype=torch.float64)
    kept = rows.clone()
    whole, want = storage.combine(c, rows, out=torch.empty(3, 300)), c @ rows.double()
    monkeypatch.setattr(storage, "COLUMNS", 64)
    assert torch.equal(storage.combine(c, rows, out=torch.empty(3, 300)), whole)
    assert torch.equal(storage.combine(c, rows, out=rows[:3]), whole)
    assert ((whole - want).abs() <= axpy_bound(kept.expand(3, -1, -1), c, torch.zeros(3, 300), 1.0)).all()


def test_selection_and_comparison():
    values = torch.tensor([-3.0, -1.0, 0.0, 2.0, 3.0])
    assert values[select(values, "largest", 2)].tolist() == [3, 2]
    assert values[select(values, "smallest", 2)].tolist() == [-3, -1]
    assert values[select(values, "both_ends", 3)].tolist() == [3, 2, -3]
    assert values[select(values, "both_ends", 1)].tolist() == [3]
    assert sorted(values[select(values, "magnitude", 3)].tolist()) == [-3, 2, 3]
    for which in ("largest", "smallest", "both_ends", "magnitude"):
        assert sorted(select(values, which, 5).tolist()) == [0, 1, 2, 3, 4]
    assert not differ(torch.tensor([3.0]), torch.tensor([-3.0]), "magnitude", 0.1)
    assert differ(torch.tensor([3.0]), torch.tensor([-3.0]), "largest", 0.1)
