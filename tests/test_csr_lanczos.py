"""csr_lanczos_update: against extended precision, and a Lanczos run against the two ops it replaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

import hesscope as hs
from hesscope import _ops
from hesscope._ops import LanczosState
from hesscope.krylov.lanczos import lanczos
from hesscope.krylov.recurrence import Recurrence, from_probes
from hesscope.testing import lanczos_bound

SIZES = [1, 2, 33, 4096, 4097, 9001]


def matrix_of(n, *, seed=0, per_row=6):
    """A symmetric SciPy matrix with about so many entries a row, some rows empty."""
    rng = np.random.default_rng(seed)
    count = per_row * n // 2
    upper = sparse.coo_array(
        (rng.normal(size=count), (rng.integers(n, size=count), rng.integers(n, size=count))), shape=(n, n)
    )
    return (upper + upper.T).tocsr()


def parts_of(matrix, *, dtype=torch.float64, index=torch.int32, device="cpu"):
    row_start = torch.from_numpy(matrix.indptr.astype(np.int64))
    columns, values = torch.from_numpy(matrix.indices).to(index), torch.from_numpy(matrix.data).to(dtype)
    return tuple(x.to(device) for x in (row_start, columns, values))


def operands(n, k, *, dtype, device, seed=3):
    """``v, v_prev [n, W]`` and the state of K recurrences in the middle of a run; lanes past K are NaN."""
    rng = torch.Generator().manual_seed(seed)
    v, v_prev = (torch.randn(n, 8, generator=rng, dtype=torch.float64) for _ in range(2))
    state = 0.5 + torch.rand(8, len(LanczosState), generator=rng, dtype=torch.float64)
    lanes = _ops.csr_lanczos_lanes(k)
    v, v_prev = (x[:, :lanes].to(device=device, dtype=dtype).contiguous() for x in (v, v_prev))
    for x in (v, v_prev):
        x[:, k:] = torch.nan
    return v, v_prev, state[:k].to(device)


def update(parts, v, v_prev, state, *, backend, tolerance=0.0):
    """Run one step with poisoned outputs; returns alpha, beta and next."""
    alpha, beta = (torch.full((len(state),), torch.nan, dtype=torch.float64, device=v.device) for _ in "ab")
    _ops.csr_lanczos_update(
        *parts, v, v_prev, state, alpha, beta, breakdown_tolerance=tolerance, backend=backend
    )
    return alpha, beta, v_prev


def test_one_step_of_a_two_by_two_matrix_by_hand(backend, device):
    # As in test_lanczos_update.py: H = [[2, 1], [1, 3]] and v = 2 e_1.
    parts = parts_of(sparse.csr_array(np.array([[2.0, 1], [1, 3]])), device=device)
    column = lambda *x: torch.tensor(x, dtype=torch.float64, device=device)[:, None]  # noqa: E731
    state = torch.tensor([[0.5, 0, 0, 0]], dtype=torch.float64, device=device)
    v, v_prev = column(2, 0), column(torch.nan, torch.nan)
    alpha, beta, following = update(parts, v, v_prev, state, backend=backend)
    assert (alpha.tolist(), beta.tolist(), following[:, 0].tolist()) == ([2], [1], [0, 1])
    assert state.tolist() == [[1, 0.5, 1, 3]]
    alpha, beta, following = update(parts, following, v, state, backend=backend)
    assert (alpha.tolist(), beta.tolist(), following[:, 0].tolist()) == ([3], [0], [0, 0])
    assert state.tolist() == [[0, 1, 0, 3]]


@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("k", [1, 2, 3, 8])
def test_a_step_is_within_the_rounding_bound(k, n, index, dtype, backend, device):
    matrix = matrix_of(n)
    parts = parts_of(matrix, dtype=dtype, index=index, device=device)
    v, v_prev, state = operands(n, k, dtype=dtype, device=device)
    stored = sparse.csr_array((parts[2].cpu().double().numpy(), matrix.indices, matrix.indptr))
    q, before = (x[:, :k].T.cpu().double().numpy() for x in (v, v_prev))
    w, sizes = ((m @ x.T).T for m, x in ((stored, q), (abs(stored), abs(q))))
    scale, scale_prev, beta_prev, _ = state.cpu().double().numpy().T[:, :, None]
    r = scale * w - beta_prev * scale_prev * before
    alpha = (scale * q * r).sum(-1)
    want = r - alpha[:, None] * scale * q
    # Beside those of lanczos_update: rounding of the row sums, and of r to the dtype.
    eps = torch.finfo(dtype).eps
    terms = 2 + np.diff(matrix.indptr)
    off = torch.from_numpy(scale * terms * eps * sizes + eps * abs(r))
    rows = (torch.from_numpy(x).to(dtype) for x in (w, q, before))
    bounds = [bound.cpu() for bound in lanczos_bound(*rows, state.cpu())]
    weight = torch.from_numpy(abs(scale * q))
    off_alpha = (weight * off).sum(dim=1)
    off_next = off + off_alpha[:, None] * weight
    got = update(parts, v, v_prev, state, backend=backend)
    found = got[0].cpu(), got[1].cpu(), got[2][:, :k].T.cpu().double()
    exact = torch.from_numpy(alpha), torch.from_numpy(np.sqrt((want**2).sum(-1))), torch.from_numpy(want)
    for x, y, bound, more in zip(
        found, exact, bounds, (off_alpha, off_next.norm(dim=1), off_next), strict=True
    ):
        assert ((x - y).abs() <= bound + more).all()


def test_a_recurrence_does_not_depend_on_its_batch_or_on_the_threads(dtype, backend, device):
    parts = parts_of(matrix_of(9001), dtype=dtype, device=device)
    v, v_prev, state = operands(9001, 8, dtype=dtype, device=device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = update(parts, v, v_prev.clone(), state.clone(), backend=backend)
        torch.set_num_threads(1)
        for k in (1, 2, 3, 4, 7):
            lanes = _ops.csr_lanczos_lanes(k)
            some = (x[:, :lanes].contiguous() for x in (v, v_prev))
            part = update(parts, *some, state[:k].clone(), backend=backend)
            assert torch.equal(part[0], together[0][:k])
            assert torch.equal(part[1], together[1][:k])
            assert torch.equal(part[2][:, :k], together[2][:, :k])
            assert (part[2][:, k:] == 0).all()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("column", [LanczosState.SCALE_PREV, LanczosState.BETA_PREV])
def test_the_first_step_does_not_read_v_prev(column, dtype, backend, device):
    parts = parts_of(matrix_of(500), dtype=dtype, device=device)
    v, v_prev, state = operands(500, 3, dtype=dtype, device=device)
    state[:, column] = 0
    want = update(parts, v, torch.zeros_like(v_prev), state.clone(), backend=backend)
    got = update(parts, v, v_prev.fill_(torch.nan), state, backend=backend)
    assert all(torch.equal(x, y) and y.isfinite().all() for x, y in zip(got, want, strict=True))


def test_a_frozen_recurrence_gives_zeros_and_reads_nothing(dtype, backend, device):
    parts = parts_of(matrix_of(500), dtype=dtype, device=device)
    v, v_prev, state = operands(500, 3, dtype=dtype, device=device)
    alone = update(parts, v, v_prev.clone(), state.clone(), backend=backend)
    state[1, LanczosState.SCALE] = 0
    for x in (v, v_prev):
        x[:, 1] = torch.nan
    before = state[1].clone()
    got = update(parts, v, v_prev, state, backend=backend)
    assert (got[0][1], got[1][1], float(got[2][:, 1].abs().max())) == (0, 0, 0)
    assert torch.equal(state[1], before)
    for r in (0, 2):
        assert torch.equal(got[0][r], alone[0][r])
        assert torch.equal(got[2][:, r], alone[2][:, r])


def test_what_is_not_finite_goes_through(backend, device):
    parts = parts_of(matrix_of(500), device=device)
    v, v_prev, state = operands(500, 2, dtype=torch.float64, device=device)
    v[7, 1] = torch.inf
    alpha, beta, _ = update(parts, v, v_prev, state, backend=backend)
    assert alpha.isfinite().tolist() == [True, False]
    assert beta.isfinite().tolist() == [True, False]


def test_messages_name_the_argument(device):
    parts = parts_of(matrix_of(50), device=device)
    v, v_prev, state = operands(50, 3, dtype=torch.float64, device=device)
    nine = torch.ones(9, 4, dtype=torch.float64, device=device)
    cases = [
        ((v[:, :3], v_prev, state), ValueError, r"csr_lanczos_update: v must have shape \[50, 4\]"),
        ((v, v_prev.T.contiguous().T, state), ValueError, "v_prev must be contiguous"),
        ((v, v, state), ValueError, "v_prev must not share memory with v"),
        ((v, v_prev, state.float()), TypeError, "state must be float64"),
        ((v.float(), v_prev, state), TypeError, "v"),
        ((v, v_prev, nine), ValueError, "recurrences must be at most 8, got 9"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            update(parts, *arguments, backend="auto")
    with pytest.raises(ValueError, match="breakdown_tolerance must be at least 0"):
        update(parts, v, v_prev, state, backend="auto", tolerance=-1.0)


def test_opcheck(device):
    parts = parts_of(matrix_of(40), device=device)
    v, v_prev, state = operands(40, 2, dtype=torch.float64, device=device)
    alpha, beta = (torch.zeros(2, dtype=torch.float64, device=device) for _ in "ab")
    torch.library.opcheck(
        torch.ops.hesscope.csr_lanczos_update.default, (*parts, v, v_prev, state, alpha, beta, 0.0)
    )


class Unfused(hs.SymmetricOperator):
    """The same products, one at a time."""

    def __init__(self, h):
        super().__init__(h.shape[0], dtype=h.dtype, device=h.device)
        self.h = h

    def _rows(self, vectors):
        return self.h.rows(vectors)


@pytest.mark.parametrize("k", [1, 3, 8, 11])
def test_a_run_is_that_of_the_two_ops(k, dtype):
    n, steps = 3000, 10
    h = hs.from_matrix(matrix_of(n) + 4 * sparse.eye_array(n), dtype=dtype)
    runs = []
    for operator in (h, Unfused(h)):
        r = from_probes(k, n, seed=0, kind="rademacher", dtype=dtype, device=torch.device("cpu"))
        before = operator.products
        run = lanczos(operator, r, num_steps=steps)
        assert operator.products == before + k * steps
        runs.append((run.alpha, run.beta, r.v, r.v_prev, r.scalars))
    eps = torch.finfo(dtype).eps
    for fused, plain in zip(*runs, strict=True):
        # Ten steps far from convergence: perturbations grow by the ratio of beta to beta, a few a step.
        assert float((fused - plain).abs().max()) <= 1000 * eps * float(plain.abs().max())
    assert not torch.equal(runs[0][0], runs[1][0])  # another op indeed


def test_a_run_in_two_parts_has_the_same_bits():
    h = hs.from_matrix(matrix_of(2000), dtype=torch.float32)
    start = {"seed": 1, "kind": "rademacher", "dtype": torch.float32, "device": torch.device("cpu")}
    whole = lanczos(h, from_probes(5, 2000, **start), num_steps=12)
    r = from_probes(5, 2000, **start)
    first = lanczos(h, r, num_steps=7)
    assert isinstance(r, Recurrence)
    second = lanczos(h, r, num_steps=5)
    assert torch.equal(torch.cat([first.alpha, second.alpha], dim=1), whole.alpha)
    assert torch.equal(torch.cat([first.beta, second.beta], dim=1), whole.beta)


def test_a_recurrence_that_ends_is_not_disturbed_by_its_neighbours():
    values = torch.tensor([1.0, 2.0, 3.0]).repeat(100)
    h = hs.from_matrix(sparse.diags_array(values.numpy()).tocsr(), dtype=torch.float64)
    rho = hs.spectral_density(h, num_probes=3, num_steps=10)
    assert rho.status is hs.Status.INVARIANT_SUBSPACE
    assert rho.num_steps == 3
    assert torch.allclose(rho.nodes, torch.tensor([1.0, 2.0, 3.0]).double().expand(3, 3), atol=1e-12)
