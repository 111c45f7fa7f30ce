"""product_sum: against float64, its contracts, and its messages."""

from __future__ import annotations

import pytest
import torch

from hesscope import _ops

SHAPES = [(1, 1, 1), (2, 3, 5), (3, 1, 64), (2, 7, 65), (4, 33, 130), (1, 50, 1000)]
# Terms of one to four factors; an operand that is used twice; one that is not used.
SCALES = [1.0, -0.5, 3.0]
FACTORS = [[0], [1, 2], [0, 3, 4, 4]]


def normal(rng, *shape, dtype=torch.float64, device="cpu", padding=3):
    wide = torch.randn(*shape[:-1], shape[-1] + padding, generator=rng, dtype=torch.float64)
    return wide.to(device=device, dtype=dtype)[..., : shape[-1]]


def operands_of(rng, a, b, c, dtype, device, padding=3):
    shapes = [(a, b, c), (1, b, c), (a, 1, c), (a, b, 1), (1, 1, 1), (a, b, c)]
    return [normal(rng, *shape, dtype=dtype, device=device, padding=padding) for shape in shapes]


def oracle(operands, scales, factors, magnitude=False):
    total = 0
    for scale, term in zip(scales, factors, strict=True):
        product = torch.tensor(scale, dtype=torch.float64)
        for f in term:
            product = product * operands[f].double().cpu()
        total = total + (product.abs() if magnitude else product)
    return total


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_within_the_rounding_bound(shape, padding, dtype, backend, device, rng):
    operands = operands_of(rng, *shape, dtype, device, padding)
    out = torch.full((*shape[:2], shape[2] + padding), torch.nan, dtype=dtype, device=device)
    got = _ops.product_sum(operands, SCALES, FACTORS, out=out[..., : shape[2]], backend=backend)
    error = (got.double().cpu() - oracle(operands, SCALES, FACTORS)).abs()
    bound = 8 * torch.finfo(dtype).eps * oracle(operands, SCALES, FACTORS, magnitude=True)
    assert (error <= bound).all()
    assert out[..., shape[2] :].isnan().all()


def test_two_terms_by_hand_into_an_operand(backend, device):
    x = torch.tensor([[[1.0, 2], [3, 4]]], device=device)
    y = torch.tensor([[[10.0], [100]]], device=device)
    got = _ops.product_sum([x, y], [2.0, 1.0], [[0, 1], [0, 0]], out=x, backend=backend)
    assert got.data_ptr() == x.data_ptr()
    assert x.tolist() == [[[21, 44], [609, 816]]]


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_empty_outputs_are_legal(shape, backend, device):
    x = torch.ones(*shape, device=device)
    assert _ops.product_sum([x], [1.0], [[0]], out=torch.empty_like(x), backend=backend).shape == shape


def test_an_element_does_not_depend_on_the_threads_or_the_layout(dtype, backend, device, rng):
    operands = operands_of(rng, 8, 40, 200, dtype, device)
    out = torch.empty(8, 40, 200, dtype=dtype, device=device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = _ops.product_sum(operands, SCALES, FACTORS, out=out, backend=backend).clone()
    finally:
        torch.set_num_threads(threads)
    whole = [x.contiguous() for x in operands]
    alone = torch.empty(8, 40, 200, dtype=dtype, device=device)
    for a in range(8):
        part = [x[a : a + 1] if x.shape[0] > 1 else x for x in whole]
        _ops.product_sum(part, SCALES, FACTORS, out=alone[a : a + 1], backend=backend)
    assert torch.equal(together, alone)


def test_messages_name_the_arguments(backend, device):
    x = torch.ones(1, 2, 3, device=device)

    def run(operands, scales, factors, out=x):
        return _ops.product_sum(operands, scales, factors, out=out, backend=backend)

    with pytest.raises(ValueError, match=r"product_sum: there must be 1 to 10 operands, got 0"):
        run([], [1.0], [[0]])
    with pytest.raises(ValueError, match=r"product_sum: there must be 1 to 8 terms, got 9"):
        run([x], [1.0] * 9, [[0]] * 9)
    with pytest.raises(ValueError, match=r"product_sum: factors must be numbers of the 1 operands, got 1"):
        run([x], [1.0], [[1]])
    with pytest.raises(ValueError, match=r"product_sum: a term must have at least one factor"):
        run([x], [1.0], [[]])
    with pytest.raises(ValueError, match=r"product_sum: a term must have at most 4 factors, got 5"):
        run([x], [1.0], [[0] * 5])
    with pytest.raises(ValueError, match=r"product_sum: there must be one scale for each term, got 2 for 1"):
        run([x], [1.0, 2.0], [[0]])
    with pytest.raises(
        ValueError, match=r"each dimension of an operand must be that of out or 1, got operand"
    ):
        run([torch.ones(1, 3, 3, device=device)], [1.0], [[0]])
    with pytest.raises(ValueError, match=r"product_sum: rows of out must not overlap"):
        run([x], [1.0], [[0]], out=x[:, :1].expand(1, 2, 3))
    with pytest.raises(TypeError, match=r"product_sum: operand must have the dtype of out"):
        run([x.double()], [1.0], [[0]])


def test_torch_operator_contract(device):
    x = torch.randn(2, 3, 4, device=device)
    torch.library.opcheck(
        torch.ops.hesscope.product_sum,
        ([x, x.clone()], [1.0, 2.0], [0, 0, 1], [1, 2], torch.zeros(2, 3, 4, device=device)),
    )
