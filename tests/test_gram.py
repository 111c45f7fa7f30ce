"""gram: against float64, its contracts, and its messages."""

from __future__ import annotations

import pytest
import torch

from hesscope import _ops
from hesscope.testing import dot_bound

SIZES = [0, 1, 7, 33, 511, 4097, 70_001]
STORAGE = [torch.bfloat16, torch.float32, torch.float64]


def normal(rng, *shape, dtype=torch.float64, device="cpu", padding=3):
    """Rows with padding between them, so that no row but the first is aligned."""
    wide = torch.randn(*shape[:-1], shape[-1] + padding, generator=rng, dtype=torch.float64)
    return wide.to(device=device, dtype=dtype)[..., : shape[-1]]


def test_two_by_three_by_hand(backend, device):
    q = torch.tensor([[1.0, 2, 3], [-1, 0, 1]], dtype=torch.float64, device=device)
    w = torch.tensor([[1.0, 10, 100]], dtype=torch.float64, device=device)
    assert _ops.gram(q, w, backend=backend).tolist() == [[321], [99]]
    assert _ops.gram(q, backend=backend).tolist() == [[14, 2], [2, 2]]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("k", "b"), [(1, 1), (4, 2), (5, 7), (9, 3)])
@pytest.mark.parametrize("left", STORAGE, ids=str)
@pytest.mark.parametrize("right", STORAGE, ids=str)
def test_is_within_the_rounding_bound(k, b, n, left, right, backend, device, rng):
    q = normal(rng, k, n, dtype=left, device=device)
    w = normal(rng, b, n, dtype=right, device=device)
    want = q.double() @ w.double().T
    error = (_ops.gram(q, w, backend=backend) - want).abs()
    assert (error <= 2 * dot_bound(q[:, None], w[None])).all()


@pytest.mark.parametrize("storage", STORAGE, ids=str)
@pytest.mark.parametrize("k", [1, 3, 6, 13])
def test_the_half_that_is_copied_has_the_bits_of_the_other(k, storage, backend, device, rng):
    q = normal(rng, k, 40_001, dtype=storage, device=device)
    half = _ops.gram(q, backend=backend)
    assert torch.equal(half, half.T)
    assert torch.equal(half, _ops.gram(q, q.clone(), backend=backend))


@pytest.mark.parametrize("padding", [0, 1])
def test_an_entry_depends_on_its_rows_alone(padding, backend, device, rng):
    """Not on the other rows, the alignment or the threads."""
    q = normal(rng, 6, 70_001, dtype=torch.float32, device=device)
    w = normal(rng, 5, 70_001, dtype=torch.float32, device=device)
    room = torch.zeros(6, 70_016, dtype=torch.float32, device=device)[:, padding : padding + 70_001]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = _ops.gram(room.copy_(q), w, backend=backend)
        torch.set_num_threads(1)
        alone = [[_ops.gram(x[None], y[None], backend=backend) for y in w] for x in q]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, torch.cat([torch.cat(row, dim=1) for row in alone]))


def test_messages_name_the_arguments(device, backend):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    with pytest.raises(ValueError, match=r"gram: q must have as many columns as w, got q \[2, 3\]"):
        _ops.gram(ones(2, 3), ones(2, 4), backend=backend)
    with pytest.raises(ValueError, match=r"gram: q must have 2 dimensions, got q \[1, 2, 3\]"):
        _ops.gram(ones(1, 2, 3), ones(2, 3), backend=backend)
    with pytest.raises(ValueError, match=r"gram: w must have contiguous rows"):
        _ops.gram(ones(2, 3), ones(2, 6)[:, ::2], backend=backend)
    with pytest.raises(TypeError, match=r"gram: w must be bfloat16 or float32 or float64, got w \[1, 3\]"):
        _ops.gram(ones(2, 3), ones(1, 3, dtype=torch.int32), backend=backend)


def test_empty_problems_are_legal(backend, device):
    empty = torch.ones(0, 5, device=device)
    assert _ops.gram(empty, torch.ones(3, 5, device=device), backend=backend).shape == (0, 3)
    assert _ops.gram(torch.ones(3, 0, device=device), backend=backend).tolist() == [[0.0] * 3] * 3


def test_torch_operator_contract(device):
    arguments = (torch.randn(3, 50, device=device), torch.randn(2, 50, device=device))
    torch.library.opcheck(torch.ops.hesscope.gram.default, arguments)
