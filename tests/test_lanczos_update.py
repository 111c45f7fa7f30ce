"""lanczos_update: one step against extended precision, its contract, and its messages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hesscope import _ops
from hesscope._ops import LanczosState
from hesscope.testing import lanczos_bound

SIZES = [1, 3, 31, 33, 4095, 4096, 4097, 70_001]


def normal(rng, *shape, dtype=torch.float64, device="cpu", padding=3):
    """Rows with padding between them, so that no row but the first is aligned."""
    wide = torch.randn(*shape[:-1], shape[-1] + padding, generator=rng, dtype=torch.float64)
    return wide.to(device=device, dtype=dtype)[..., : shape[-1]]


def state_of(rows, device):
    """Rows [scale, scale_prev, beta_prev, largest]."""
    return torch.tensor(rows, dtype=torch.float64, device=device)


def update(w, v, v_prev, state, *, backend, tolerance=0.0, next=None):
    """Run one step with poisoned outputs; the state is advanced in place."""
    alpha, beta = (torch.full((len(w),), torch.nan, dtype=torch.float64, device=w.device) for _ in range(2))
    next = torch.full_like(w, torch.nan) if next is None else next
    _ops.lanczos_update(
        w, v, v_prev, next, state, alpha, beta, breakdown_tolerance=tolerance, backend=backend
    )
    return alpha, beta, next


def random_step(rng, rows, n, dtype, device):
    """Operands of a step in the middle of a recurrence."""
    w, v, v_prev = (normal(rng, rows, n, dtype=dtype, device=device) for _ in range(3))
    state = 0.5 + torch.rand(rows, len(LanczosState), generator=rng, dtype=torch.float64)
    return w, v, v_prev, state.to(device)


def oracle(w, v, v_prev, state):
    """alpha, beta and next in extended precision; next is not rounded."""
    w, v, v_prev, state = (x.cpu().numpy().astype(np.longdouble) for x in (w, v, v_prev, state))
    scale, scale_prev, beta_prev, _ = (column[:, None] for column in state.T)
    r = scale * w - beta_prev * scale_prev * v_prev
    alpha = (scale * v * r).sum(-1)
    following = r - alpha[:, None] * scale * v
    beta = np.sqrt((following**2).sum(-1))
    return tuple(torch.from_numpy(x.astype(np.float64)) for x in (alpha, beta, following))


def test_one_step_of_a_two_by_two_matrix_by_hand(backend, device):
    # H = [[2, 1], [1, 3]] and v = 2 e_1: q_1 = e_1, H v = (4, 2), alpha = 2, beta = 1, q_2 = e_2.
    tensor = lambda *x: torch.tensor([x], dtype=torch.float64, device=device)  # noqa: E731
    state = state_of([[0.5, 0, 0, 0]], device)
    alpha, beta, following = update(tensor(4, 2), tensor(2, 0), tensor(0, 0), state, backend=backend)
    assert (alpha.tolist(), beta.tolist(), following.tolist()) == ([2], [1], [[0, 1]])
    assert state.tolist() == [[1, 0.5, 1, 3]]
    # H e_2 = (1, 3): alpha = 3, and the space is exhausted.
    alpha, beta, following = update(tensor(1, 3), following, tensor(2, 0), state, backend=backend)
    assert (alpha.tolist(), beta.tolist(), following.tolist()) == ([3], [0], [[0, 0]])
    assert state.tolist() == [[0, 1, 0, 3]]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_step_is_within_the_rounding_bound(rows, n, dtype, backend, device, rng):
    w, v, v_prev, state = random_step(rng, rows, n, dtype, device)
    want = oracle(w, v, v_prev, state)
    bounds = lanczos_bound(w, v, v_prev, state)
    got = update(w, v, v_prev, state, backend=backend)
    for name, x, y, bound in zip(["alpha", "beta", "next"], got, want, bounds, strict=True):
        assert ((x.double().cpu() - y).abs() <= bound.cpu()).all(), name


def test_the_state_moves_on(dtype, backend, device, rng):
    w, v, v_prev, before = random_step(rng, 3, 50, dtype, device)
    before[0, LanczosState.LARGEST] = 1e6
    state = before.clone()
    alpha, beta, _ = update(w, v, v_prev, state, backend=backend)
    assert torch.equal(state[:, LanczosState.SCALE], 1 / beta)
    assert torch.equal(state[:, LanczosState.SCALE_PREV], before[:, LanczosState.SCALE])
    assert torch.equal(state[:, LanczosState.BETA_PREV], beta)
    largest = torch.maximum(before[:, LanczosState.LARGEST], alpha.abs() + beta)
    assert torch.equal(state[:, LanczosState.LARGEST], largest)


@pytest.mark.parametrize("n", SIZES)
def test_next_may_be_v_prev(n, dtype, backend, device, rng):
    w, v, v_prev, state = random_step(rng, 3, n, dtype, device)
    want = update(w, v, v_prev, state.clone(), backend=backend)
    got = update(w, v, v_prev, state, backend=backend, next=v_prev)
    assert all(torch.equal(x, y) for x, y in zip(got, want, strict=True))


@pytest.mark.parametrize("column", [LanczosState.SCALE_PREV, LanczosState.BETA_PREV])
@pytest.mark.parametrize("n", [5, 4097])
def test_the_first_step_does_not_read_v_prev(column, n, dtype, backend, device, rng):
    w, v, v_prev, state = random_step(rng, 3, n, dtype, device)
    state[:, column] = 0
    other = state.clone()
    want = update(w, v, torch.zeros_like(v_prev), state, backend=backend)
    got = update(w, v, v_prev.fill_(torch.nan), other, backend=backend, next=v_prev)
    assert all(torch.equal(x, y) and y.isfinite().all() for x, y in zip(got, want, strict=True))


@pytest.mark.parametrize("n", [5, 4097])
def test_a_frozen_row_gives_zeros_and_reads_nothing(n, dtype, backend, device, rng):
    w, v, v_prev, state = random_step(rng, 3, n, dtype, device)
    alone = update(w, v, v_prev, state.clone(), backend=backend)
    state[1, LanczosState.SCALE] = 0
    for x in (w, v, v_prev):
        x[1] = torch.nan
    before = state[1].clone()
    got = update(w, v, v_prev, state, backend=backend)
    assert all((x[1] == 0).all() for x in got)
    assert torch.equal(state[1], before)
    assert all(torch.equal(x[::2], y[::2]) for x, y in zip(got, alone, strict=True))


@pytest.mark.parametrize("n", [7, 4097])
def test_an_eigenvector_breaks_down_at_once(n, dtype, backend, device, rng):
    v = normal(rng, 2, n, dtype=dtype, device=device)
    w = v.clone()
    w[0] *= -0.7  # an eigenvector of -0.7; row 1 is none
    w[1, 0] += 1
    state = torch.zeros(2, len(LanczosState), dtype=torch.float64, device=device)
    state[:, LanczosState.SCALE] = 1 / v.double().norm(dim=-1)
    scale = state[:, LanczosState.SCALE].clone()
    alpha, beta, following = update(
        w, v, v, state, backend=backend, tolerance=(n + 8) * torch.finfo(dtype).eps
    )
    assert beta[0] == 0
    assert (following[0] == 0).all()
    error = torch.finfo(dtype).eps + (n + 8) * torch.finfo(torch.float64).eps
    assert abs(alpha[0].item() + 0.7) <= 0.7 * error
    assert state[0].tolist()[:3] == [0, scale[0], 0]
    assert beta[1] > 0
    assert following[1].any()


def test_the_threshold_is_relative_to_the_largest_seen(backend, device):
    w = torch.tensor([[0.0, 1]], dtype=torch.float64, device=device).repeat(2, 1)
    v = torch.tensor([[1.0, 0]], dtype=torch.float64, device=device).repeat(2, 1)
    state = state_of([[1, 0, 0, 64], [1, 0, 0, 65]], device)  # beta = 1 against 1/64 of the largest
    _, beta, _ = update(w, v, v, state, backend=backend, tolerance=1 / 64.5)
    assert beta.tolist() == [1, 0]


@pytest.mark.parametrize("operand", ["w", "v", "v_prev"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_value_that_is_not_finite_goes_through(operand, value, dtype, backend, device, rng):
    w, v, v_prev, state = random_step(rng, 3, 4100, dtype, device)
    {"w": w, "v": v, "v_prev": v_prev}[operand][1, 4097] = value
    alpha, beta, _ = update(w, v, v_prev, state, backend=backend, tolerance=1e-3)
    assert not alpha[1].isfinite()
    assert not beta[1].isfinite()
    assert alpha[::2].isfinite().all()
    assert beta[::2].isfinite().all()


@pytest.mark.parametrize("n", [33, 70_001])
def test_a_row_does_not_depend_on_its_batch_or_on_the_threads(n, dtype, backend, device, rng):
    w, v, v_prev, state = random_step(rng, 8, n, dtype, device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = update(w, v, v_prev, state.clone(), backend=backend)
        torch.set_num_threads(1)
        alone = [
            update(w[k : k + 1], v[k : k + 1], v_prev[k : k + 1], state[k : k + 1], backend=backend)
            for k in range(8)
        ]
    finally:
        torch.set_num_threads(threads)
    for x, parts in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(x, torch.cat(parts))


@pytest.mark.parametrize("n", [5, 4099])
def test_the_bits_do_not_depend_on_the_alignment_of_rows(n, dtype, backend, device, rng):
    w, v, v_prev, state = random_step(rng, 3, n, dtype, device)
    results = []
    for padding in (0, 1):
        aligned = [
            torch.zeros(3, 4160, dtype=dtype, device=device)[:, padding : padding + n].copy_(x)
            for x in (w, v, v_prev)
        ]
        results.append(update(*aligned, state.clone(), backend=backend, next=aligned[2]))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_alpha_and_beta_may_be_columns_and_padding_is_left_alone(dtype, backend, device, rng):
    w, v, v_prev, state = random_step(rng, 3, 35, dtype, device)
    want = update(w, v, v_prev, state.clone(), backend=backend)
    coefficients = torch.full((3, 2, 4), torch.nan, dtype=torch.float64, device=device)
    wide = torch.full((3, 38), torch.nan, dtype=dtype, device=device)
    _ops.lanczos_update(
        w,
        v,
        v_prev,
        wide[:, 1:36],
        state,
        coefficients[:, 0, 2],
        coefficients[:, 1, 3],
        breakdown_tolerance=0.0,
        backend=backend,
    )
    assert torch.equal(coefficients[:, 0, 2], want[0])
    assert torch.equal(coefficients[:, 1, 3], want[1])
    assert torch.equal(wide[:, 1:36], want[2])
    assert coefficients.isnan().sum() == 3 * 2 * 4 - 6
    assert wide.isnan().sum() == 3 * 3


def test_no_rows_is_no_work(dtype, backend, device):
    empty = torch.empty(0, 5, dtype=dtype, device=device)
    state = torch.empty(0, len(LanczosState), dtype=torch.float64, device=device)
    update(empty, empty, empty, state, backend=backend, next=empty.clone())


def test_messages_name_the_arguments(backend, device):
    def check(error, match, **change):
        tensors = {name: torch.ones(2, 3, device=device) for name in ("w", "v", "v_prev", "next")} | {
            "state": torch.ones(2, 4, dtype=torch.float64, device=device),
            "alpha": torch.ones(2, dtype=torch.float64, device=device),
            "beta": torch.ones(2, dtype=torch.float64, device=device),
            "breakdown_tolerance": 0.0,
        }
        with pytest.raises(error, match=match):
            _ops.lanczos_update(**(tensors | change), backend=backend)

    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    shared = ones(3, 3)
    check(ValueError, r"lanczos_update: w must have 2 dimensions, got w \[3\]", w=ones(3))
    check(ValueError, r"lanczos_update: w must have at least one column, got w \[2, 0\]", w=ones(2, 0))
    check(ValueError, r"lanczos_update: v must have shape \[2, 3\], got v \[2, 4\]", v=ones(2, 4))
    check(ValueError, r"lanczos_update: v_prev must have shape \[2, 3\]", v_prev=ones(1, 3))
    check(ValueError, r"lanczos_update: next must have shape \[2, 3\]", next=ones(2, 2))
    check(ValueError, r"rows of next must not overlap", next=ones(1, 3).expand(2, 3))
    check(ValueError, r"v must have contiguous rows", v=ones(2, 6)[:, ::2])
    check(ValueError, r"state must have shape \[2, 4\]", state=ones(2, 3, dtype=torch.float64))
    check(ValueError, r"alpha must have shape \[2\]", alpha=ones(3, dtype=torch.float64))
    check(ValueError, r"elements of beta must not overlap", beta=ones(1, dtype=torch.float64).expand(2))
    check(ValueError, r"next must not share memory with w", w=shared[:2], next=shared[:2])
    check(ValueError, r"next must not share memory with v", v=shared[:2], next=shared[:2])
    check(
        ValueError,
        r"next must have the row stride of v_prev .*, got 6 and 3",
        v_prev=shared[:2],
        next=shared.flatten().as_strided((2, 3), (6, 1)),
    )
    check(ValueError, r"breakdown_tolerance must be at least 0, got -1", breakdown_tolerance=-1.0)
    check(ValueError, r"breakdown_tolerance must be at least 0", breakdown_tolerance=float("nan"))
    check(TypeError, r"w must be float32 or float64, got w \[2, 3\] int32", w=ones(2, 3, dtype=torch.int32))
    check(TypeError, r"v must have the dtype of w, got w .* and v", v=ones(2, 3, dtype=torch.float64))
    check(TypeError, r"state must be float64", state=ones(2, 4))
    check(TypeError, r"alpha must be float64", alpha=ones(2))


def test_torch_operator_contract(device, rng):
    w, v, v_prev, state = random_step(rng, 2, 5, torch.float32, device)
    alpha, beta = torch.zeros(2, 2, dtype=torch.float64, device=device)
    torch.library.opcheck(
        torch.ops.hesscope.lanczos_update,
        (w, v, v_prev, torch.zeros_like(w), state, alpha, beta, 0.0),
    )
