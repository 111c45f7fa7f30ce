"""multi_dot and multi_axpy: against float64, their contracts, and their messages."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers

from hesscope import _ops
from hesscope.testing import axpy_bound, dot_bound

SIZES = [0, 1, 31, 33, 4095, 4096, 4097, 70_001]
STORAGE = [torch.bfloat16, torch.float32, torch.float64]


def normal(rng, *shape, dtype=torch.float64, device="cpu", padding=3):
    """Rows with padding between them, so that no row but the first is aligned."""
    wide = torch.randn(*shape[:-1], shape[-1] + padding, generator=rng, dtype=torch.float64)
    return wide.to(device=device, dtype=dtype)[..., : shape[-1]]


def test_two_by_three_by_hand(backend, device):
    q = torch.tensor([[[1.0, 2, 3], [-1, 0, 1]]], dtype=torch.float64, device=device)
    w = torch.tensor([[1.0, 10, 100]], dtype=torch.float64, device=device)
    c = _ops.multi_dot(q, w, backend=backend)
    assert c.tolist() == [[321, 99]]
    assert _ops.multi_axpy(q, c, w, scale=-1.0, backend=backend).tolist() == [[-221, -632, -962]]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("k", [1, 8, 9])
@pytest.mark.parametrize("storage", STORAGE, ids=str)
def test_multi_dot_is_within_the_rounding_bound(k, n, storage, dtype, backend, device, rng):
    q = normal(rng, 3, k, n, dtype=storage, device=device)
    w = normal(rng, 3, n, dtype=dtype, device=device)
    want = (q.double() * w.double()[:, None]).sum(-1)
    error = (_ops.multi_dot(q, w, backend=backend) - want).abs()
    assert (error <= dot_bound(q, w[:, None])).all()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("k", [1, 8, 9])
@pytest.mark.parametrize("storage", STORAGE, ids=str)
def test_multi_axpy_is_within_the_rounding_bound(k, n, storage, dtype, backend, device, rng):
    q = normal(rng, 3, k, n, dtype=storage, device=device)
    w = normal(rng, 3, n, dtype=dtype, device=device)
    c = normal(rng, 3, k, device=device)
    want = w.double() - 0.5 * torch.einsum("bk,bkn->bn", c, q.double())
    bound = axpy_bound(q, c, w, 0.5)
    got = _ops.multi_axpy(q, c, w, scale=-0.5, backend=backend)
    assert got.data_ptr() == w.data_ptr()
    assert ((got.double() - want).abs() <= bound).all()


@pytest.mark.parametrize("storage", STORAGE, ids=str)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("n", [5, 4099])
def test_the_bits_do_not_depend_on_the_alignment_of_rows(n, shared, storage, dtype, backend, device, rng):
    def operands(padding):
        rng.manual_seed(0)
        wide = torch.zeros(6, 9, 4160, dtype=storage, device=device)[..., padding : padding + n]
        q = wide.copy_(normal(rng, 6, 9, n))
        w = torch.zeros(6, 4160, dtype=dtype, device=device)[:, padding : padding + n]
        return (q[:1].expand(6, -1, -1) if shared else q), w.copy_(normal(rng, 6, n))

    results = []
    for padding in (0, 1):
        q, w = operands(padding)
        c = _ops.multi_dot(q, w, backend=backend)
        results.append((c, _ops.multi_axpy(q, c, w, scale=-0.5, backend=backend)))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


@pytest.mark.parametrize("storage", STORAGE, ids=str)
@pytest.mark.parametrize("n", [7, 16, 257, 4099])
@pytest.mark.parametrize("vectors", [2, 3, 4, 9])
def test_vectors_that_share_a_basis_get_the_bits_of_one_alone(
    vectors, n, storage, dtype, backend, device, rng
):
    q = normal(rng, 1, 11, n, dtype=storage, device=device)
    w = normal(rng, vectors, n, dtype=dtype, device=device)
    c = normal(rng, vectors, 11, device=device)
    alone = [
        _ops.multi_axpy(q, c[i : i + 1].contiguous(), w[i : i + 1].clone(), scale=-0.5, backend=backend)
        for i in range(vectors)
    ]
    together = _ops.multi_axpy(q.expand(vectors, -1, -1), c.contiguous(), w, scale=-0.5, backend=backend)
    assert torch.equal(together, torch.cat(alone))


def test_multi_axpy_leaves_the_padding_alone(backend, device, rng):
    wide = torch.full((2, 40), torch.nan, device=device)
    w = wide[:, :33].fill_(1.0)
    q = normal(rng, 2, 4, 33, dtype=torch.float32, device=device)
    _ops.multi_axpy(q, torch.ones(2, 4, dtype=torch.float64, device=device), w, backend=backend)
    assert wide[:, 33:].isnan().all()
    assert wide[:, :33].isfinite().all()


def test_a_shared_basis_equals_copies_of_it(backend, device, rng):
    q = normal(rng, 1, 5, 5000, dtype=torch.float32, device=device)
    w = normal(rng, 4, 5000, dtype=torch.float32, device=device)
    shared = _ops.multi_dot(q.expand(4, -1, -1), w, backend=backend)
    assert torch.equal(shared, _ops.multi_dot(q.repeat(4, 1, 1), w, backend=backend))
    w_shared, w_copies = w.clone(), w.clone()
    _ops.multi_axpy(q.expand(4, -1, -1), shared, w_shared, backend=backend)
    _ops.multi_axpy(q.repeat(4, 1, 1), shared, w_copies, backend=backend)
    assert torch.equal(w_shared, w_copies)


@pytest.mark.parametrize("n", [33, 70_001])
def test_a_row_does_not_depend_on_its_batch_or_on_the_threads(n, dtype, backend, device, rng):
    q, w = normal(rng, 8, 3, n, dtype=dtype, device=device), normal(rng, 8, n, dtype=dtype, device=device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = _ops.multi_dot(q, w, backend=backend)
        torch.set_num_threads(1)
        alone = torch.cat([_ops.multi_dot(q[b : b + 1], w[b : b + 1], backend=backend) for b in range(8)])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, alone)


@given(k=integers(0, 12), n=integers(0, 200), seed=integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_multi_dot_is_linear_in_the_vector(k, n, seed):
    rng = torch.Generator().manual_seed(seed)
    q, u, v = normal(rng, 1, k, n), normal(rng, 1, n), normal(rng, 1, n)
    gap = _ops.multi_dot(q, u + v) - _ops.multi_dot(q, u) - _ops.multi_dot(q, v)
    assert (gap.abs() <= 3 * dot_bound(q, (u.abs() + v.abs())[:, None])).all()


def test_messages_name_the_arguments(device, backend):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    with pytest.raises(ValueError, match=r"multi_dot: q must have as many columns as w, got q \[1, 2, 3\]"):
        _ops.multi_dot(ones(1, 2, 3), ones(1, 4), backend=backend)
    with pytest.raises(ValueError, match=r"multi_dot: q must have one basis per row of w"):
        _ops.multi_dot(ones(2, 2, 3), ones(1, 3), backend=backend)
    with pytest.raises(ValueError, match=r"multi_dot: q must have 3 dimensions, got q \[2, 3\]"):
        _ops.multi_dot(ones(2, 3), ones(1, 3), backend=backend)
    with pytest.raises(ValueError, match=r"w must have contiguous rows .* strides \[6, 2\]"):
        _ops.multi_dot(ones(3, 2, 3), ones(3, 6)[:, ::2], backend=backend)
    with pytest.raises(TypeError, match=r"multi_dot: w must be float32 or float64, got w \[1, 3\] int32"):
        _ops.multi_dot(ones(1, 2, 3), ones(1, 3, dtype=torch.int32), backend=backend)
    with pytest.raises(ValueError, match=r"multi_axpy: c must have shape \[1, 2\]"):
        _ops.multi_axpy(ones(1, 2, 3), ones(1, 3, dtype=torch.float64), ones(1, 3), backend=backend)
    with pytest.raises(ValueError, match=r"multi_axpy: rows of w must not overlap"):
        _ops.multi_axpy(
            ones(2, 1, 3), ones(2, 1, dtype=torch.float64), ones(1, 3).expand(2, 3), backend=backend
        )
    with pytest.raises(ValueError, match="backend must be auto, reference, cpu or cuda, got tpu"):
        _ops.multi_dot(ones(1, 2, 3), ones(1, 3), backend="tpu")


def test_torch_operator_contract(device):
    q, w = torch.randn(2, 3, 5, device=device), torch.randn(2, 5, device=device)
    c = torch.ops.hesscope.multi_dot(q, w)
    torch.library.opcheck(torch.ops.hesscope.multi_dot, (q, w))
    torch.library.opcheck(torch.ops.hesscope.multi_axpy, (q, c, w, 0.5))
