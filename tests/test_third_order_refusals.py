"""What has no third derivative, or one that would mislead, is refused by name."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

import hesscope as hs
from hesscope.third_order.kinks import find_kinks
from jets_cases import vectors
from third_order_cases import DOUBLE, assert_close, objective_of

X, Y = vectors(7, 4).contiguous(), vectors(7, 2, seed=2).contiguous()


def kinks_of(objective):
    index, batch = next(objective.batches())
    return find_kinks(objective, objective.prepare(batch), index)


def network(*activations):
    torch.manual_seed(0)
    layers = [nn.Linear(4, 5)]
    for activation in activations:
        layers += [activation, nn.Linear(5, 5)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(5, 2)).double()


KINKED = {
    "abs": (nn.L1Loss(), "abs, relu"),
    "hinge": (lambda m, b: F.relu(1 - b[1] * m(b[0])).mean(), "relu"),
    "margin": (lambda m, b: F.margin_ranking_loss(*m(b[0]).T, b[1][:, 0].sign()), "clamp_min, relu"),
    "mean": (lambda m, b: m(b[0]).mean(), "relu"),
    "masked": (lambda m, b: torch.where(b[1] > 0, m(b[0]), -m(b[0])).amax(1).sum(), "amax, relu"),
}


@pytest.mark.parametrize("engine", ["jets", "autograd"])
@pytest.mark.parametrize("name", KINKED)
def test_kinks_alone_are_refused(name, engine):
    loss, named = KINKED[name]
    objective = hs.Objective(network(nn.LeakyReLU()), loss, (X, Y))
    d3 = hs.third_order(objective, engine=engine)
    u = vectors(1, objective.n)[0]
    for call in (d3.contract, lambda u, _: d3.cubic_form(u), lambda u, _: d3.quadratic_form(u)):
        with pytest.raises(
            ValueError, match=r"third_order: objective must bend somewhere, but its only"
        ) as error:
            call(u, u)
    assert f"({', '.join(sorted({*named.split(', '), 'leaky_relu'}))})" in str(error.value)
    assert "miss how kinks move" in str(error.value)


BENT = {
    "square": nn.MSELoss(),
    "product": lambda m, b: (m(b[0]) * m(b[0])).mean(),
    "cross entropy": lambda m, b: F.cross_entropy(m(b[0]), (b[1][:, 0] > 0).long()),
    "quotient": lambda m, b: (m(b[0]) / m(b[0]).sum().detach().abs().add(m(b[0])[0, 0])).sum(),
    "penalty": lambda m, b: m(b[0]).abs().mean() + m[0].weight.square().sum(),
}


@pytest.mark.parametrize("name", BENT)
def test_what_bends_beside_its_kinks_is_not_refused_and_explains_them(name):
    objective = hs.Objective(network(), BENT[name], (X, Y))
    d3 = hs.third_order(objective)
    u = vectors(1, objective.n)[0]
    assert "kinks" not in d3.explain()
    d3.contract(u, u)
    assert "relu" in d3.explain()
    assert "along the branches selected here" in d3.explain()


def test_what_has_no_kinks_has_none():
    gpt = objective_of("gpt")
    assert kinks_of(gpt).names == ()
    assert not kinks_of(gpt).alone
    linear = hs.Objective(nn.Linear(4, 2).double(), lambda m, b: m(b[0]).sum(), (X, Y))
    d3 = hs.third_order(linear)  # nothing bends, and nothing has a kink: its third derivative is zero
    assert d3.contract(*vectors(2, linear.n)).norm() == 0
    in_place = nn.Sequential(nn.Linear(4, 2), nn.ReLU(inplace=True)).double()
    assert kinks_of(hs.Objective(in_place, nn.L1Loss(), (X, Y))).alone


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0] ** 2


class Detached(torch.autograd.Function):
    """Its second derivative is zero to autograd, without an error."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0].detach() ** 2


class Slope(torch.autograd.Function):
    """3 x^2, whose slope is right, but a constant to autograd."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 3 * x**2

    @staticmethod
    def backward(ctx, g):
        return 6 * g * ctx.saved_tensors[0].detach()


class Twice(torch.autograd.Function):
    """Right up to the second derivative, wrong in the third."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return g * Slope.apply(ctx.saved_tensors[0])


class Right(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0] ** 2


def custom(function, dtype=DOUBLE, l2=0.0):
    torch.manual_seed(0)
    model = nn.Linear(4, 3).to(dtype)
    return hs.Objective(model, lambda m, b: function(m(b)).sum(), X.to(dtype), l2=l2)


OPAQUE = [
    (Once, "must have a second derivative, got Once"),
    (Detached, r"with Detached that of order 2 is off by 100%.*Replace it by elementary"),
    (Twice, r"with Slope, Twice that of order 3 is off by 100%"),
]


@pytest.mark.parametrize(("function", "message"), OPAQUE)
def test_functions_without_the_derivatives_needed_give_no_number(function, message):
    objective = custom(function.apply)
    u = vectors(1, objective.n)[0]
    d3 = hs.third_order(objective, engine="autograd")
    for _ in range(2):  # and not at the second call either
        with pytest.raises(RuntimeError, match=message):
            d3.cubic_form(u)


@pytest.mark.parametrize("engine", ["jets", "auto"])
@pytest.mark.parametrize("function", [function for function, _ in OPAQUE])
def test_where_the_jets_engine_sees_into_them_the_number_is_right(function, engine):
    objective, plain = custom(function.apply), custom(lambda x: x**3)
    u, v = vectors(2, objective.n)
    d3, oracle = hs.third_order(objective, engine=engine), hs.third_order(plain, engine="autograd")
    for name, directions in (("cubic_form", [u]), ("contract", [u, u]), ("contract", [u, v])):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "third_order: falling back")
            try:
                got = getattr(d3, name)(*directions)
            except RuntimeError as error:
                assert any(word in str(error) for word in ("capture", "derivative"))  # noqa: PT017
            else:
                assert_close(got, getattr(oracle, name)(*directions), 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_custom_function_that_is_right_is_trusted(dtype):
    objective, plain = custom(Right.apply, dtype, l2=0.3), custom(lambda x: x**3, dtype, l2=0.3)
    u, v = vectors(2, objective.n, dtype=dtype)
    d3 = hs.third_order(objective, engine="autograd")
    expected = hs.third_order(plain, engine="autograd").contract(u, v)
    assert_close(d3.contract(u, v), expected, 0.0, 1e-5 if dtype == torch.float32 else 1e-10)
