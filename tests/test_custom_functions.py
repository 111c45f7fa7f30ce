"""Custom functions, with every engine: a backward that hides its part of H gives no number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hesscope as hs


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0] ** 2


class Detached(Cube):
    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0].detach() ** 2


class HalfDetached(Cube):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * g * x * x.detach()


class Numpy(Cube):
    @staticmethod
    def backward(ctx, g):
        slope = 3 * ctx.saved_tensors[0].detach().double().cpu().numpy() ** 2
        return g * torch.from_numpy(slope).to(g)


class Intermediate(torch.autograd.Function):
    """Saves what the forward computed on the side, which has no graph."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(3 * x**2)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class Attribute(torch.autograd.Function):
    """Keeps its input without save_for_backward, and a number; autograd follows it all the same."""

    @staticmethod
    def forward(ctx, x, power):
        ctx.x, ctx.power = x, power
        return x**power

    @staticmethod
    def backward(ctx, g):
        return ctx.power * g * ctx.x ** (ctx.power - 1), None


class Exponential(torch.autograd.Function):
    """Saves its output."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class Rectifier(torch.autograd.Function):
    """Saves a mask: its backward changes at kinks alone."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x > 0)
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class Rounded(torch.autograd.Function):
    """Passes gradients through a rounding."""

    @staticmethod
    def forward(ctx, x):  # noqa: ARG004
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx, g):  # noqa: ARG004
        return g


class TwoOutputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3, x.sin()

    @staticmethod
    def backward(ctx, g, _):
        return 3 * g * ctx.saved_tensors[0] ** 2


class Affine(torch.autograd.Function):
    """A layer, which hides its weight from the derivative of one of its outputs."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g @ weight.detach(), g.T @ x


def objective(function, dtype=torch.float64, criterion=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)).to(dtype)
    x, y = torch.randn(8, 4, dtype=dtype), torch.randn(8, 3, dtype=dtype)
    loss = criterion or nn.functional.mse_loss
    return hs.Objective(model, lambda m, b: loss(m[1](function(m[0](b[0]))), b[1]), (x, y))


def products(of, engine="autograd"):
    torch.manual_seed(1)
    return hs.hessian(of, engine=engine).rows(torch.randn(3, of.n, dtype=of.dtype))


@pytest.mark.parametrize("engine", ["autograd", "jets", "auto"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("function", [Detached, HalfDetached, Numpy, Intermediate])
def test_a_backward_that_hides_what_it_depends_on_is_named(function, dtype, engine):
    h = hs.hessian(objective(function.apply, dtype), engine=engine)
    for _ in range(2):  # and not at the second call either
        with pytest.raises(RuntimeError, match=rf"got {function.__name__}, whose backward does not let auto"):
            h.rows(torch.ones(1, h.shape[0], dtype=h.dtype))


def test_a_linear_loss_does_not_hide_it():
    of = objective(Detached.apply, criterion=lambda a, _: a.sum())
    with pytest.raises(RuntimeError, match="got Detached, whose backward"):
        products(of)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_output_of_a_backward_counts(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)).to(dtype)
    data = torch.randn(8, 4, dtype=dtype), torch.randint(0, 3, (8,))
    hidden = hs.Objective(
        model,
        lambda m, b: nn.functional.cross_entropy(
            Affine.apply(torch.tanh(b[0] @ m[0].weight.T), m[1].weight), b[1]
        ),
        data,
    )
    with pytest.raises(RuntimeError, match="got Affine, whose backward"):
        products(hidden)


def test_it_is_named_among_others_that_are_right():
    of = objective(lambda x: Exponential.apply(Rounded.apply(Numpy.apply(Cube.apply(x)))))
    with pytest.raises(RuntimeError, match="got Numpy, whose backward"):
        products(of)


RIGHT = [
    (Cube.apply, lambda x: x**3),
    (lambda x: Attribute.apply(x, 3), lambda x: x**3),
    (Exponential.apply, torch.exp),
    (Rectifier.apply, torch.relu),
    (lambda x: TwoOutputs.apply(x)[0], lambda x: x**3),
    (lambda x: x + Detached.apply(x.detach()), lambda x: x + x.detach() ** 3),
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("function", "plain"), RIGHT)
def test_functions_that_are_right_give_the_products_of_their_formulas(function, plain, dtype):
    got, want = products(objective(function, dtype)), products(objective(plain, dtype))
    assert (got - want).norm() <= 64 * torch.finfo(dtype).eps * want.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_that_are_passed_through_a_rounding_are_no_error(dtype):
    through = products(objective(lambda x: Exponential.apply(Rounded.apply(x)), dtype))
    plain = products(objective(lambda x: torch.exp(x + ((8 * x).round() / 8 - x).detach()), dtype))
    assert (through - plain).norm() <= 64 * torch.finfo(dtype).eps * plain.norm()


def test_a_function_is_checked_once_and_weights_are_not_touched():
    calls = []

    def counted(x):
        calls.append(1)
        return Cube.apply(x)

    of = objective(counted)
    weights = [p.detach().clone() for p in of.parameter_set.tensors]
    h = hs.hessian(of, engine="autograd")
    v = torch.ones(1, h.shape[0], dtype=torch.float64)
    h.rows(v)
    first = len(calls)
    for p, before in zip(of.parameter_set.tensors, weights, strict=True):
        assert torch.equal(p, before)
    of.parameter_set.tensors[0].data.add_(0.1)  # a new graph, the same function
    h.rows(v)
    assert len(calls) - first < first
    assert len(calls) - first <= 2


@pytest.mark.parametrize("function", [Cube.apply, Rectifier.apply])
def test_jets_take_functions_that_are_right(function):
    want = products(objective(function))
    assert (products(objective(function), "jets") - want).norm() <= 1e-14 * want.norm()


def test_a_ggn_needs_no_second_derivative_of_them():
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.a, self.function = nn.Linear(4, 6).double(), function

        def forward(self, x):
            return self.function(self.a(x))

    x, y = torch.randn(8, 4).double(), torch.randn(8, 6).double()
    model = Net(Numpy.apply)
    got = hs.ggn(hs.Objective(model, nn.MSELoss(), (x, y))).rows(torch.eye(30, dtype=torch.float64))
    model.function = lambda a: a**3
    want = hs.ggn(hs.Objective(model, nn.MSELoss(), (x, y))).rows(torch.eye(30, dtype=torch.float64))
    assert (got - want).norm() <= 1e-14 * want.norm()


def test_another_engine_is_right_where_autograd_is_not():
    want = products(objective(lambda x: x**3))
    got = products(objective(Numpy.apply), engine="finite_difference")
    assert (got - want).norm() <= 1e-6 * want.norm()
