"""Full reorthogonalisation by itself: vectors that are nearly in the span of the basis."""

from __future__ import annotations

import pytest
import torch

from hesscope._ops import LanczosState
from hesscope.krylov.basis import Basis
from hesscope.krylov.recurrence import Recurrence
from hesscope.krylov.rows import MemoryRows


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


def problem(dtype, small):
    """A basis of 5 rows in 200 dimensions, and two vectors: one the span's but for ``small`` of it."""
    q, _ = torch.linalg.qr(
        torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    rows, outside = q.T[:5].to(dtype), q.T[5].to(dtype)
    like = torch.empty(2, 200, dtype=dtype)
    basis = Basis(MemoryRows(2, 8, 200, storage=dtype, dtype=dtype, device=like.device), 8, like)
    for row in rows:
        state = torch.zeros(2, len(LanczosState), dtype=torch.float64)
        state[:, LanczosState.SCALE] = 0.5
        basis.begin(Recurrence(2 * row.repeat(2, 1), torch.empty(2, 200, dtype=dtype), state))
    inside = torch.tensor([0.5, -0.2, 0.3, 0.1, 0.4], dtype=dtype) @ rows
    v = torch.stack([inside + small * outside, outside + 0.25 * rows[4]])
    state[:, LanczosState.LARGEST] = 1.0
    return basis, Recurrence(v, torch.empty(2, 200, dtype=dtype), state), rows


def test_two_passes_make_a_nearly_dependent_vector_orthogonal(dtype):
    eps = torch.finfo(dtype).eps
    small = eps**0.5
    basis, recurrence, rows = problem(dtype, small)
    alpha, beta = torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    basis.clean(recurrence, alpha, beta, breakdown_tolerance=8 * eps)
    r = recurrence.v.double()
    # One pass leaves eps |v| of the span, which is sqrt(eps) of the result; the second removes that.
    assert ((r @ rows.double().T).abs() <= 4 * eps * r.norm(dim=1, keepdim=True)).all()
    assert torch.allclose(beta, r.norm(dim=1), rtol=4 * eps)
    assert beta.tolist() == pytest.approx([small, 1], rel=1e-2)
    # What lay along the newest row, q_j, goes to alpha_j.
    assert (alpha - 1).tolist() == pytest.approx([0.4, 0.25], abs=8 * eps)
    state = recurrence.scalars
    assert torch.equal(state[:, LanczosState.SCALE], 1 / beta)
    assert torch.equal(state[:, LanczosState.BETA_PREV], beta)
    assert torch.equal(state[:, LanczosState.LARGEST], alpha + beta)


def test_a_dependent_vector_ends_its_recurrence_only(dtype):
    basis, recurrence, _ = problem(dtype, 0.0)
    alpha, beta = torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    basis.clean(recurrence, alpha, beta, breakdown_tolerance=8 * torch.finfo(dtype).eps)
    assert beta[0] == 0
    assert recurrence.scalars[0, LanczosState.SCALE] == 0
    assert (recurrence.v[0] == 0).all()
    assert beta[1] > 0.9


def test_the_measured_orthogonality_sees_a_bad_row(dtype):
    basis, _, rows = problem(dtype, 0.0)
    assert basis.orthogonality() <= 8 * torch.finfo(dtype).eps
    basis.rows.tensor[1, 3] += 1e-3 * rows[1]
    assert basis.orthogonality() == pytest.approx(1e-3, rel=1e-2)
