"""gemm: against float64, its contracts, and its messages."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from hesscope import _ops

# Around the tiles of every backend, and a sum and a block longer than one.
SIZES = [(1, 1, 1), (5, 7, 3), (12, 32, 16), (13, 33, 17), (65, 63, 64), (97, 513, 257), (100, 40, 600)]
LAYOUTS = ["rows", "columns", "strided"]


def normal(rng, *shape, layout="rows", dtype=torch.float64, device="cpu"):
    """Numbers in a memory layout; nothing but their first element is aligned."""
    batch, rows, cols = shape
    x = torch.randn(*shape, generator=rng, dtype=torch.float64).to(device=device, dtype=dtype)
    if layout == "rows":
        return torch.zeros(batch, rows, cols + 3, dtype=dtype, device=device)[..., :cols].copy_(x)
    if layout == "columns":
        return torch.zeros(batch, cols, rows, dtype=dtype, device=device).mT.copy_(x)
    return torch.zeros(batch, rows, 2 * cols + 1, dtype=dtype, device=device)[..., : 2 * cols : 2].copy_(x)


def gemm_bound(a, x, alpha=1.0, beta=0.0, c=None):
    """k products and sums in any order, and the factors: Higham 2002, section 3.5."""
    eps = torch.finfo(a.dtype).eps
    terms = abs(alpha) * (a.double().abs() @ x.double().abs())
    bound = (a.shape[-1] + 3) * eps * terms
    return bound if c is None else bound + 3 * eps * (abs(beta) * c.double().abs() + terms)


def test_two_by_three_by_hand(backend, device):
    a = torch.tensor([[[1.0, 2, 3], [-1, 0, 1]]], dtype=torch.float64, device=device)
    x = torch.tensor([[[1.0, 0], [10, 1], [100, 2]]], dtype=torch.float64, device=device)
    assert _ops.gemm(a, x, backend=backend).tolist() == [[[321, 8], [99, 2]]]
    out = torch.ones(1, 2, 2, dtype=torch.float64, device=device)
    got = _ops.gemm(a, x, alpha=2.0, beta=-1.0, out=out, backend=backend)
    assert got.data_ptr() == out.data_ptr()
    assert out.tolist() == [[[641, 15], [197, 3]]]


@pytest.mark.parametrize(("m", "n", "k"), SIZES)
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_products_are_within_the_rounding_bound(m, n, k, left, right, dtype, backend, device, rng):
    a = normal(rng, 2, m, k, layout=left, dtype=dtype, device=device)
    x = normal(rng, 2, k, n, layout=right, dtype=dtype, device=device)
    out = torch.full((2, m, n + 3), torch.nan, dtype=dtype, device=device)
    got = _ops.gemm(a, x, out=out[..., :n], backend=backend).double()
    assert ((got - a.double() @ x.double()).abs() <= gemm_bound(a, x)).all()
    assert out[..., n:].isnan().all()


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (-0.5, 2.0), (0.0, 0.5), (3.0, 0.0)])
@pytest.mark.parametrize(("m", "n", "k"), [(13, 33, 17), (7, 70, 300), (30, 4, 0)])
def test_factors_are_applied(m, n, k, alpha, beta, dtype, backend, device, rng):
    a, x = normal(rng, 3, m, k, dtype=dtype, device=device), normal(rng, 3, k, n, dtype=dtype, device=device)
    c = normal(rng, 3, m, n, dtype=dtype, device=device)
    want = alpha * (a.double() @ x.double()) + beta * c.double()
    bound = gemm_bound(a, x, alpha, beta, c)
    got = _ops.gemm(a, x, alpha=alpha, beta=beta, out=c, backend=backend).double()
    assert ((got - want).abs() <= bound).all()


@pytest.mark.parametrize("k", [0, 5])
def test_without_beta_the_output_is_not_read(k, backend, device):
    a, x = torch.ones(1, 4, k, device=device), torch.ones(1, k, 6, device=device)
    out = torch.full((1, 4, 6), torch.nan, device=device)
    assert (_ops.gemm(a, x, out=out, backend=backend) == k).all()


@pytest.mark.parametrize("shared", ["a", "x", "both"])
def test_one_matrix_for_the_batch_equals_copies_of_it(shared, dtype, backend, device, rng):
    a, x = (
        normal(rng, 3, 20, 30, dtype=dtype, device=device),
        normal(rng, 3, 30, 40, dtype=dtype, device=device),
    )
    left = a[:1].expand(3, -1, -1) if shared != "x" else a
    right = x[:1].expand(3, -1, -1) if shared != "a" else x
    got = _ops.gemm(left, right, backend=backend)
    assert torch.equal(got, _ops.gemm(left.contiguous(), right.contiguous(), backend=backend))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n", [128, 130])  # whole vectors are read where they are, others are packed
def test_an_element_depends_on_its_row_and_column_only(n, layout, dtype, backend, device, rng):
    if backend == "reference":
        pytest.skip("by construction")
    a = normal(rng, 2, 150, 600, layout=layout, dtype=dtype, device=device)
    x = normal(rng, 2, 600, n, layout=layout, dtype=dtype, device=device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        whole = _ops.gemm(a, x, backend=backend)
        torch.set_num_threads(1)
        assert torch.equal(whole, _ops.gemm(a, x, backend=backend))
    finally:
        torch.set_num_threads(threads)
    part = _ops.gemm(a[1:, 7:30], x[1:, :, 11:60], backend=backend)
    assert torch.equal(part, whole[1:, 7:30, 11:60])
    copied = _ops.gemm(a.contiguous(), x.contiguous(), backend=backend)
    assert torch.equal(whole, copied)


def test_more_rows_and_columns_than_are_packed_at_once(dtype, backend, device, rng):
    """Sizes past kGemmRows and kGemmColumns; a sum of integers is exact in any order."""
    if backend == "reference":
        pytest.skip("slow by construction")
    if backend == "cuda":
        pytest.skip("nothing is packed")
    a = torch.randint(-3, 4, (1, 4100, 3), generator=rng).to(dtype)
    x = torch.randint(-3, 4, (1, 3, 4200), generator=rng).to(dtype)
    assert torch.equal(_ops.gemm(a, x, backend=backend), a @ x)


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4)])
def test_empty_problems_are_legal(shape, backend, device):
    batch, m, n, k = shape
    a, x = torch.ones(batch, m, k, device=device), torch.ones(batch, k, n, device=device)
    assert _ops.gemm(a, x, backend=backend).shape == (batch, m, n)


def test_nan_poisons_its_row_and_column_only(backend, device):
    a, x = torch.zeros(1, 40, 50, device=device), torch.ones(1, 50, 60, device=device)
    a[0, 3, 49] = torch.nan
    x[0, 0, 7] = torch.inf
    got = _ops.gemm(a, x, backend=backend).isnan()
    assert got[0, 3].all()
    assert got[0, :, 7].all()
    assert got.sum() == 40 + 60 - 1


@settings(max_examples=30, deadline=None)
@given(
    m=integers(0, 40),
    n=integers(0, 70),
    k=integers(0, 40),
    layout=sampled_from(LAYOUTS),
    seed=integers(0, 2**31),
)
def test_any_small_size(m, n, k, layout, seed):
    rng = torch.Generator().manual_seed(seed)
    a, x = normal(rng, 2, m, k, layout=layout), normal(rng, 2, k, n)
    assert ((_ops.gemm(a, x) - a @ x).abs() <= 2 * gemm_bound(a, x)).all()


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    run = lambda a, x, **options: _ops.gemm(a, x, backend=backend, **options)  # noqa: E731
    with pytest.raises(ValueError, match=r"gemm: a must have 3 dimensions, got a \[2, 3\] float32"):
        run(ones(2, 3), ones(1, 3, 4))
    with pytest.raises(
        ValueError, match=r"gemm: x must have as many matrices as a, got a \[1, 2, 3\] .* x \[2,"
    ):
        run(ones(1, 2, 3), ones(2, 3, 4))
    with pytest.raises(
        ValueError, match=r"gemm: x must have as many rows as a has columns, got .*x \[1, 4, 4\]"
    ):
        run(ones(1, 2, 3), ones(1, 4, 4))
    with pytest.raises(ValueError, match=r"gemm: c must have shape \[1, 2, 4\], got c \[1, 2, 5\]"):
        run(ones(1, 2, 3), ones(1, 3, 4), out=ones(1, 2, 5))
    with pytest.raises(ValueError, match=r"gemm: c must have contiguous rows"):
        run(ones(1, 2, 3), ones(1, 3, 4), out=ones(1, 4, 2).mT)
    with pytest.raises(
        ValueError, match=r"gemm: rows of c must not overlap, got c \[2, 2, 4\] .*strides \[0, 4, 1\]"
    ):
        run(ones(2, 2, 3), ones(2, 3, 4), out=ones(1, 2, 4).expand(2, -1, -1))
    with pytest.raises(TypeError, match=r"gemm: a must be float32 or float64, got a \[1, 2, 3\] bfloat16"):
        run(ones(1, 2, 3, dtype=torch.bfloat16), ones(1, 3, 4, dtype=torch.bfloat16))
    with pytest.raises(
        TypeError, match=r"gemm: x must have the dtype of a, got a .* and x \[1, 3, 4\] float64"
    ):
        run(ones(1, 2, 3), ones(1, 3, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"gemm: alpha and beta must be finite, got inf and 0"):
        run(ones(1, 2, 3), ones(1, 3, 4), alpha=float("inf"))


def test_torch_operator_contract(device):
    a, x = torch.randn(2, 3, 5, device=device), torch.randn(2, 5, 4, device=device)
    torch.library.opcheck(torch.ops.hesscope.gemm, (a, x, torch.zeros(2, 3, 4, device=device), 1.0, 0.5))
