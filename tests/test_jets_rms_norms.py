"""RMS norms, written out or as a module: found in captured gradients, and right at second and third order."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from hesscope.curvature.jets.capture import capture
from hesscope.curvature.jets.decompositions import decompositions
from hesscope.curvature.jets.primitives import ops
from hesscope.objective import Objective

aten = torch.ops.aten


class Written(nn.Module):
    """As language models have it in their own code."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(1 + torch.randn(width))

    def forward(self, x):
        rstd = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * (x * rstd)


class Residual(nn.Module):
    def __init__(self, norm, width):
        super().__init__()
        self.norm, self.linear = norm, nn.Linear(width, width)

    def forward(self, x):
        return x + self.linear(self.norm(x)).tanh()


def square(width):
    return nn.Unflatten(-1, (2, width // 2)), nn.RMSNorm((2, width // 2), eps=0.1), nn.Flatten(-2)


MODELS = {
    "module": lambda: (nn.Linear(6, 8), nn.RMSNorm(8)),
    "no weight": lambda: (nn.Linear(6, 8), nn.RMSNorm(8, elementwise_affine=False)),
    "two dimensions": lambda: (nn.Linear(6, 8), *square(8)),
    "written": lambda: (nn.Linear(6, 8), Written(8)),
    "residual": lambda: (nn.Linear(6, 8), *(Residual(Written(8), 8) for _ in range(3))),
    "residual modules": lambda: (
        nn.Linear(6, 8),
        *(Residual(nn.RMSNorm(8), 8) for _ in range(2)),
        nn.RMSNorm(8),
    ),
}
COUNTS = {"residual": 3, "residual modules": 3}


def objective(name):
    torch.manual_seed(0)
    model = nn.Sequential(*MODELS[name](), nn.Linear(8, 3)).double()
    batch = (torch.randn(5, 6, dtype=torch.float64), torch.randint(0, 3, (5,)))
    return Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), batch)


def targets(problem):
    (index, batch) = next(iter(problem.batches()))
    return [instruction.target for instruction in capture(problem, batch, index).code.code]


@pytest.mark.parametrize("name", MODELS)
def test_norms_and_their_backward_passes_become_primitives(name):
    found = targets(objective(name))
    count = COUNTS.get(name, 1)
    assert found.count(ops.normalize.default) == count
    assert found.count(ops.normalize_backward.default) == count
    assert aten.pow.Tensor_Scalar not in found
    assert aten.rsqrt.default not in found


@pytest.mark.parametrize("name", MODELS)
def test_products_are_those_of_double_backward(name):
    problem = objective(name)
    v = torch.randn(3, problem.n, dtype=torch.float64)
    want = hs.hessian(problem, engine="autograd").rows(v)
    got = hs.hessian(problem, engine="jets").rows(v)
    assert (got - want).norm() <= 1e-12 * want.norm()


@pytest.mark.parametrize("name", MODELS)
def test_third_order_is_that_of_nested_autograd(name):
    problem = objective(name)
    u, v = torch.randn(2, 2, problem.n, dtype=torch.float64)
    want, got = (hs.third_order(problem, engine=engine) for engine in ("autograd", "jets"))
    for first, second in ((u, u), (u, v)):
        expected = want.contract(first, second)
        assert (got.contract(first, second) - expected).norm() <= 1e-11 * expected.norm()
    cubic = want.cubic_form(u)
    assert ((got.cubic_form(u) - cubic).abs() <= 1e-11 * cubic.abs().max()).all()


OTHERS = {
    "no keepdim": lambda x: x * torch.rsqrt(x.pow(2).mean(-1) + 1e-6)[:, None],
    "a sum": lambda x: x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6),
    "a cube": lambda x: x * torch.rsqrt(x.pow(4).mean(-1, keepdim=True) + 1e-6),
    "another tensor": lambda x: x.tanh() * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_a_norm_is_left_alone_and_right(name):
    torch.manual_seed(0)
    model = nn.Linear(6, 8).double()
    loss = lambda m, b: (OTHERS[name](m(b)) * torch.arange(8.0)).sin().sum()  # noqa: E731
    problem = Objective(model, loss, torch.randn(5, 6, dtype=torch.float64))
    assert ops.normalize.default not in targets(problem)
    v = torch.randn(2, problem.n, dtype=torch.float64)
    want = hs.hessian(problem, engine="autograd").rows(v)
    assert (hs.hessian(problem, engine="jets").rows(v) - want).norm() <= 1e-12 * want.norm()


def test_a_mean_square_that_is_read_elsewhere_stays():
    torch.manual_seed(0)
    model = nn.Linear(6, 8).double()

    def loss(m, b):
        x = m(b)
        shifted = x.pow(2).mean(-1, keepdim=True) + 1e-6
        return (x * torch.rsqrt(shifted)).sin().sum() + shifted.log().sum()

    problem = Objective(model, loss, torch.randn(5, 6, dtype=torch.float64))
    v = torch.randn(2, problem.n, dtype=torch.float64)
    want = hs.hessian(problem, engine="autograd").rows(v)
    assert (hs.hessian(problem, engine="jets").rows(v) - want).norm() <= 1e-12 * want.norm()


def test_the_fused_operator_of_devices_has_the_same_values():
    table = decompositions()
    x, w, g = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in [(5, 8), (8,), (5, 8)])
    want = F.rms_norm(x, (8,), w, 0.1)
    grads = torch.autograd.grad(want, (x, w), g)
    with torch.no_grad():
        y, rstd = table[aten._fused_rms_norm.default](x, [8], w, 0.1)
        dx, dw = table[aten._fused_rms_norm_backward.default](g, x, [8], rstd, w, [True, True])
    for got, expected in zip((y, dx, dw), (want, *grads), strict=True):
        assert (got - expected).abs().max() <= 1e-13
