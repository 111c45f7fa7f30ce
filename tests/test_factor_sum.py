"""factor_sum: the sum of products with shared factors, broadcast, in place, and its messages."""

from __future__ import annotations

import itertools

import pytest
import torch

from hesscope import _ops

FULL = (3, 2, 5, 37)


def normal(rng, shape, dtype, device, padding=0):
    wide = (*shape[:-1], shape[-1] + padding)
    return torch.randn(wide, generator=rng, dtype=torch.float64).to(device, dtype)[..., : shape[-1]]


def expected(factors, tangents, scale=1.0):
    """The sum in float64, and a bound of its rounding errors in the dtype of the factors."""
    products = [f.double() * t.double() for f, t in zip(factors, tangents, strict=True)]
    size = abs(scale) * sum(p.abs() for p in products)
    return scale * sum(products), (2 * len(factors) + 2) * torch.finfo(factors[0].dtype).eps * size


def assert_within(got, want, bound):
    assert ((got.double() - want).abs() <= bound.expand_as(want)).all()


@pytest.mark.parametrize("c", [1, 2, 31, 511, 512, 513, 1500])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 3])
def test_is_the_sum_of_products(c, count, padding, dtype, backend, device, rng):
    shape = (3, 2, 2, c)
    factors = [normal(rng, shape[1:], dtype, device, padding) for _ in range(count)]
    tangents = [normal(rng, shape, dtype, device, padding) for _ in range(count)]
    out = torch.full((3, 2, 2, c + 5), torch.nan, dtype=dtype, device=device)
    _ops.factor_sum(factors, tangents, out[..., :c], scale=-0.3, backend=backend)
    assert_within(out[..., :c], *expected(factors, tangents, -0.3))
    assert out[..., c:].isnan().all()


@pytest.mark.parametrize("factor", [*itertools.product([False, True], repeat=3)])
@pytest.mark.parametrize("tangent", [*itertools.product([False, True], repeat=3)])
def test_dimensions_of_one_are_broadcast(factor, tangent, dtype, backend, device, rng):
    cut = lambda ones: tuple(1 if one else d for one, d in zip(ones, FULL[1:], strict=True))  # noqa: E731
    factors = [normal(rng, cut(factor), dtype, device), normal(rng, FULL[1:], dtype, device)]
    tangents = [normal(rng, (3, *cut(tangent)), dtype, device), normal(rng, FULL, dtype, device)]
    out = torch.full(FULL, torch.nan, dtype=dtype, device=device)
    _ops.factor_sum(factors, tangents, out, backend=backend)
    assert_within(out, *expected(factors, tangents))


def test_adds_to_what_is_there(dtype, backend, device, rng):
    factors, tangents = [normal(rng, FULL[1:], dtype, device)], [normal(rng, FULL, dtype, device)]
    before = normal(rng, FULL, dtype, device)
    out = before.clone()
    _ops.factor_sum(factors, tangents, out, scale=2.0, add=True, backend=backend)
    want, bound = expected(factors, tangents, 2.0)
    rounding = torch.finfo(dtype).eps * (want.abs() + before.double().abs())
    assert_within(out, want + before, bound + rounding)


def test_the_result_may_replace_a_tangent(dtype, backend, device, rng):
    factors = [normal(rng, FULL[1:], dtype, device) for _ in range(2)]
    tangents = [normal(rng, FULL, dtype, device) for _ in range(2)]
    want = _ops.factor_sum(factors, tangents, torch.empty_like(tangents[0]), backend=backend)
    got = _ops.factor_sum(factors, tangents, tangents[1], backend=backend)
    assert got is tangents[1]
    assert torch.equal(got, want)


def test_probes_and_threads_do_not_change_the_bits(dtype, backend, device, rng):
    shape = (4, 3, 1, 70_001 if backend == "cpu" else 701)
    factors = [normal(rng, shape[1:], dtype, device) for _ in range(2)]
    tangents = [normal(rng, shape, dtype, device) for _ in range(2)]
    want = _ops.factor_sum(factors, tangents, torch.empty_like(tangents[0]), backend=backend)
    one = [t[2:3] for t in tangents]
    assert torch.equal(_ops.factor_sum(factors, one, torch.empty_like(one[0]), backend=backend), want[2:3])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = _ops.factor_sum(factors, tangents, torch.empty_like(want), backend=backend)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again, want)


@pytest.mark.parametrize("empty", range(4))
def test_nothing_to_do_is_no_error(empty, backend, device):
    shape = [2, 3, 4, 5]
    shape[empty] = 0
    out = torch.empty(shape, device=device)
    assert _ops.factor_sum([torch.empty(shape[1:], device=device)], [out], out, backend=backend) is out


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    run = lambda f, t, out: _ops.factor_sum(f, t, out, backend=backend)  # noqa: E731
    f, t = ones(1, 1, 4), ones(2, 3, 1, 4)
    with pytest.raises(ValueError, match=r"factor_sum: factors must be 1 to 3.*got 4 and 4"):
        run([f] * 4, [t] * 4, t)
    with pytest.raises(ValueError, match=r"as many as tangents, got 2 and 1"):
        run([f, f], [t], t)
    with pytest.raises(ValueError, match=r"factors\[0\] must be broadcast to out in dimension 2"):
        run([ones(1, 1, 3)], [t], t)
    with pytest.raises(ValueError, match=r"tangents\[1\] must be broadcast to out in dimension 0"):
        run([f, f], [t, t[:1]], t)
    with pytest.raises(ValueError, match=r"tangents\[0\] must have 4 dimensions, got tangents\[0\] \[4\]"):
        run([f], [ones(4)], t)
    with pytest.raises(ValueError, match=r"factors\[0\] must be contiguous in its last dimension"):
        run([ones(1, 1, 8)[..., ::2]], [t], t)
    with pytest.raises(TypeError, match=r"tangents\[0\] must have the dtype of out"):
        run([f], [t.double()], t)
    with pytest.raises(TypeError, match=r"out must be float32 or float64"):
        run([f.int()], [t.int()], t.int())
    with pytest.raises(ValueError, match=r"out must be contiguous in its last dimension and not overlap"):
        run([f], [t], ones(2, 3, 1, 1).expand(2, 3, 1, 4))


def test_torch_operator_contract(device):
    tensors = [torch.randn(2, 1, 5, device=device)], [torch.randn(3, 2, 1, 5, device=device)]
    out = torch.empty(3, 2, 1, 5, device=device)
    torch.library.opcheck(torch.ops.hesscope.factor_sum, (*tensors, out, 0.5, False))
