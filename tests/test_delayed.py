"""Delayed Gram-Schmidt: as orthogonal as projecting at once, on Krylov bases that lose orthogonality fast."""

from __future__ import annotations

import pytest
import torch

import hesscope as hs
from hesscope._ops import LanczosState
from hesscope.krylov import basis as basis_module
from hesscope.krylov import lanczos as lanczos_module
from hesscope.krylov.basis import Basis
from hesscope.krylov.delayed import DelayedBasis
from hesscope.krylov.recurrence import Recurrence
from hesscope.krylov.rows import MemoryRows
from hesscope.testing import prescribed_spectrum, wasserstein1

N, STEPS = 2**12, 120


def spectrum(name):
    """What makes Lanczos lose orthogonality: converged outliers, clusters, copies; and what does not."""
    bulk = torch.randn(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    j = torch.arange(N, dtype=torch.float64)
    if name == "normal":
        return bulk
    if name == "fast decay":
        return 1.5 ** -j.clamp(max=100)
    if name == "outliers 1e6":
        return torch.cat([torch.tensor([1e4, 1e3, -1e3, 50.0, 1.0]).double(), 0.01 * bulk[5:]])
    if name == "two clusters":
        return torch.where(bulk > 0, 1.0, -1.0) + 1e-4 * bulk
    copies = torch.cat([torch.ones(3), torch.linspace(-1, 0.9, 37)]).double()
    return torch.cat([copies, 1e-3 * bulk[40:]])


NAMES = ["normal", "fast decay", "outliers 1e6", "two clusters", "copies"]


def at_once(num_steps, like, *, selective, plan):
    """Project every vector in its own step, as it is done for rows in bfloat16."""
    assert not selective
    assert plan.storage != "bfloat16"
    k, n = like.shape
    rows = MemoryRows(k, num_steps, n, storage=like.dtype, dtype=like.dtype, device=like.device)
    return Basis(rows, num_steps, like)


def density(h):
    return hs.spectral_density(h, num_probes=2, num_steps=STEPS, reorthogonalize="full")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_is_as_orthogonal_as_projecting_at_once(name, dtype, monkeypatch):
    h, eps = prescribed_spectrum(spectrum(name), dtype=dtype), torch.finfo(dtype).eps
    delayed = density(h)
    monkeypatch.setattr(lanczos_module, "make_basis", at_once)
    direct = density(h)
    assert delayed.orthogonality <= max(2 * direct.orthogonality, 8 * eps)
    assert delayed.orthogonality <= STEPS**0.5 * eps
    size = float(spectrum(name).abs().max())
    for i in range(2):
        distance = wasserstein1(delayed.nodes[i], delayed.weights[i], direct.nodes[i], direct.weights[i])
        assert distance <= 64 * eps * size


def test_the_basis_is_read_once_a_step(monkeypatch):
    """Counted, not timed: one call of extend a step, and neither dot nor axpy."""
    calls = {"extend": 0, "dot": 0, "axpy": 0}

    class Counting(MemoryRows):
        def extend(self, *arguments):
            calls["extend"] += 1
            return super().extend(*arguments)

        def dot(self, *arguments, **options):
            calls["dot"] += 1
            return super().dot(*arguments, **options)

        def axpy(self, *arguments, **options):
            calls["axpy"] += 1
            return super().axpy(*arguments, **options)

    monkeypatch.setattr("hesscope.krylov.basis_plan.MemoryRows", Counting)
    density(prescribed_spectrum(spectrum("outliers 1e6"), dtype=torch.float32))
    assert calls == {"extend": STEPS, "dot": 0, "axpy": 0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_vector_that_is_mostly_in_the_span_is_cleaned_at_once(dtype):
    """Nine tenths of the step's vector lie along the basis, in two recurrences of one run."""
    eps = torch.finfo(dtype).eps
    q, _ = torch.linalg.qr(
        torch.randn(200, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    rows = q.T.to(dtype)
    like = rows[:2]
    basis = DelayedBasis(MemoryRows(2, 8, 200, storage=dtype, dtype=dtype, device=like.device), 8, like)
    state = torch.zeros(2, len(LanczosState), dtype=torch.float64)
    state[:, LanczosState.SCALE] = 1.0
    recurrence = Recurrence(rows[:1].repeat(2, 1), torch.empty(2, 200, dtype=dtype), state)
    alpha, beta = torch.zeros(2, 2, dtype=torch.float64)
    for j in range(5):  # a shift: the next row is the product
        recurrence.v = rows[j].repeat(2, 1)
        basis.advance(recurrence, rows[j + 1].repeat(2, 1), alpha, beta, breakdown_tolerance=8 * eps)
        assert beta.tolist() == pytest.approx([1, 1], abs=16 * eps)
    small = 1e-3
    product = torch.stack([2 * rows[1] - rows[3] + small * rows[6], 0.5 * rows[4] + rows[6]])
    basis.advance(recurrence, product, alpha, beta, breakdown_tolerance=8 * eps)
    r = recurrence.v.double()
    assert beta.tolist() == pytest.approx([small, 1.0], rel=1e-2)
    assert ((r @ rows[:6].double().T).abs() <= 8 * eps * r.norm(dim=1, keepdim=True)).all()
    assert basis.orthogonality() <= 16 * eps


def test_storages_that_round_are_projected_on_at_once():
    like = torch.empty(1, 200_000)
    plan = hs.plan_basis(200_000, 4, basis="bfloat16")
    assert isinstance(basis_module.make_basis(4, like, selective=False, plan=plan), Basis)
    assert isinstance(basis_module.make_basis(4, like, selective=True, plan=None), Basis)
    assert isinstance(basis_module.make_basis(4, like, selective=False, plan=None), DelayedBasis)
