"""Operations without a second derivative are named, never silently left out."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

from hesscope import curvature
from hesscope.objective import Objective

hessian = functools.partial(curvature.hessian, engine="autograd")


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * gradient * x


class GoodSquare(Square):
    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * gradient * x


def operator(loss, n=3):
    torch.manual_seed(0)
    return hessian(Objective(nn.Linear(n, 2), loss, torch.randn(4, n)))


def product(h):
    return h.rows(torch.ones(1, h.shape[0]))


@pytest.mark.parametrize("power", [1, 2])
def test_a_function_marked_once_differentiable_is_named(power):
    # With power 1 the incoming gradient is constant, and torch would return zeros without a word.
    h = operator(lambda m, b: Square.apply(m(b)).pow(power).sum())
    with pytest.raises(RuntimeError, match="must have a second derivative, got Square"):
        product(h)
    good = operator(lambda m, b: GoodSquare.apply(m(b)).pow(power).sum())
    plain = operator(lambda m, b: (m(b) ** 2).pow(power).sum())
    expected = product(plain)
    bound = 64 * torch.finfo(torch.float32).eps * expected.abs().max()
    assert (product(good) - expected).abs().max() <= bound


def test_an_operation_without_a_second_derivative_is_named():
    def loss(m, b):
        rows = m(b).flatten()
        return torch.segment_reduce(rows.pow(2), "sum", lengths=torch.tensor([rows.numel()])).pow(2).sum()

    h = operator(loss)
    named = r"must have a second derivative.*_segment_reduce_backward.*Replace it"
    with pytest.raises(RuntimeError, match=named):
        product(h)


def test_fused_attention_is_avoided_and_named_where_it_is_forced():
    def attend(m, b):
        q = m(b).view(1, 1, 4, 2)
        return F.scaled_dot_product_attention(q, q, q).pow(2).sum()

    def forced(m, b):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return attend(m, b)

    assert product(operator(attend)).abs().sum() > 0
    with pytest.raises(RuntimeError, match=r"second derivative.*scaled_dot_product_flash_attention"):
        product(operator(forced))


def test_other_errors_of_the_model_pass_through():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        product(operator(lambda m, b: m(b[:, :2]).sum()))


def test_a_failed_product_leaves_a_usable_operator():
    broken = [True]

    def loss(m, b):
        if broken[0]:
            raise KeyError
        return m(b).pow(2).sum()

    h = operator(loss)
    with pytest.raises(KeyError):
        product(h)
    broken[0] = False
    assert product(h).isfinite().all()
