"""pointwise_jet in the jets engine: third order with and without it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from hesscope import _ops
from hesscope.curvature.jets.higher import fused
from hesscope.objective import Objective
from third_order_cases import assert_third_order

ACTIVATIONS = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "elu": F.elu,
    "log_sigmoid": F.logsigmoid,
    "exp": lambda x: torch.exp(0.3 * x),
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "log": lambda x: torch.log(x * x + 1),
    "rsqrt": lambda x: torch.rsqrt(x * x + 1),
    "reciprocal": lambda x: torch.reciprocal(x * x + 1),
    "square": torch.square,
    "hardswish": F.hardswish,
}


class Network(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.first, self.second, self.third = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.third(self.function(self.second(self.function(self.first(x)))))


def problem(name):
    torch.manual_seed(0)
    model = Network(ACTIVATIONS[name]).double()
    batch = (torch.randn(4, 3, dtype=torch.float64), torch.randint(0, 2, (4,)))
    return Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), batch)


@pytest.fixture
def calls(monkeypatch):
    """Let the kernel serve tensors of any size, and count its calls."""
    counts = {True: 0, False: 0}  # with a product and without
    function = _ops.pointwise_jet

    def counted(taylor, x, g_value=None, *args, **options):
        counts[g_value is not None] += 1
        return function(taylor, x, g_value, *args, **options)

    monkeypatch.setattr(_ops, "pointwise_jet", counted)
    monkeypatch.setattr(fused, "_LEAST", 0)
    return counts


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_third_order_is_that_of_nested_autograd(name, calls):
    assert_third_order(problem(name))
    assert calls[False] > 0


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "gelu_tanh", "silu", "softplus", "elu"])
def test_the_backward_of_an_activation_is_one_call(name, calls):
    objective = problem(name)
    u, v = torch.randn(2, 3, objective.n, dtype=torch.float64)
    d3 = hs.third_order(objective, engine="jets")
    for first, second in ((u, u), (u, v)):
        d3.contract(first, second)
        calls.update({True: 0, False: 0})
        d3.contract(first, second)
        assert calls[True] == 2, calls


@pytest.mark.parametrize("name", ["tanh", "gelu", "square"])
def test_one_direction_beside_many_is_that_direction_for_each(name, calls):
    objective = problem(name)
    u, v = torch.randn(2, 3, objective.n, dtype=torch.float64)
    d3 = hs.third_order(objective, engine="jets")
    expected = d3.contract(u[:1].expand(3, -1).clone(), v)
    for got in (d3.contract(u[0], v), d3.contract(v, u[0])):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    assert calls[False] > 0


def test_small_tensors_stay_in_torch(calls, monkeypatch):
    monkeypatch.setattr(fused, "_LEAST", 1 << 30)
    objective = problem("gelu")
    u = torch.randn(2, objective.n, dtype=torch.float64)
    hs.third_order(objective, engine="jets").contract(u, u)
    assert calls == {True: 0, False: 0}
