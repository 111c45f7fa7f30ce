"""third_order against derivatives in closed form, and through norms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from hesscope.third_order.elementary_norms import ElementaryNorms
from jets_cases import vectors
from third_order_cases import DOUBLE, Cubic, assert_close, difference


def test_a_cubic_form():
    model = Cubic()
    d3 = hs.third_order(hs.Objective(model, lambda m, s: m(s), torch.tensor(1.0, dtype=DOUBLE)))
    u, v, w = vectors(3, 7)
    a, c = model.a, model.c
    expected = a.t() @ (c * (a @ u) * (a @ v))
    assert_close(d3.contract(u, v), expected, 0.0)
    assert_close(d3.contract(u, v, w), expected @ w, float(expected.norm()))
    assert_close(d3.cubic_form(u), (c * (a @ u) ** 3).sum(), 0.0)
    assert_close(d3.quadratic_form(u), (c * (a @ model.theta.detach()) * (a @ u) ** 2).sum(), 0.0)
    with torch.no_grad():
        model.theta.zero_()
    assert_close(d3.contract(u, v), expected, 0.0)  # T does not depend on the place
    assert d3.quadratic_form(u) == 0


def test_a_fourth_power():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 3.0)
    objective = hs.Objective(model, lambda m, x: (m(x) ** 4).sum(), torch.ones(1, 1, dtype=DOUBLE))
    one = torch.ones(1, dtype=DOUBLE)
    for engine in ("jets", "autograd"):
        d3 = hs.third_order(objective, engine=engine)
        values = [objective.gradient(), d3.quadratic_form(one), d3.contract(one, one), d3.cubic_form(one)]
        assert [float(value) for value in values] == [108.0, 108.0, 72.0, 72.0]


def test_logistic_regression():
    torch.manual_seed(0)
    x, y = vectors(20, 4).contiguous(), (torch.arange(20) % 2).double()
    model = nn.Linear(4, 1, bias=False).double()
    objective = hs.Objective(
        model, lambda m, b: F.binary_cross_entropy_with_logits(m(b[0])[:, 0], b[1]), (x, y)
    )
    d3 = hs.third_order(objective, engine="jets")
    p = torch.sigmoid(x @ model.weight.detach()[0])
    third = p * (1 - p) * (1 - 2 * p)
    u, v = vectors(2, 4, seed=2)
    assert_close(d3.contract(u, v), x.t() @ (third * (x @ u) * (x @ v)) / 20, 0.0)
    assert_close(d3.quadratic_form(u), (p * (1 - p) * (x @ u) ** 2).mean(), 0.0)


def test_a_sum_of_exponentials():
    a = vectors(6, 4).contiguous()
    model = nn.Linear(4, 1, bias=False).double()
    objective = hs.Objective(model, lambda m, x: m(x).exp().sum(), a)
    d3 = hs.third_order(objective, engine="jets")
    weights = (a @ model.weight.detach()[0]).exp()
    u, v = vectors(2, 4, seed=3)
    assert_close(d3.contract(u, v), a.t() @ (weights * (a @ u) * (a @ v)), 0.0)


class Scalar(nn.Module):
    def __init__(self, t, function):
        super().__init__()
        self.t, self.function = nn.Parameter(torch.tensor(t, dtype=DOUBLE)), function

    def forward(self, scale):
        return scale * self.function(self.t)


def layer_norm(t):
    x = torch.stack((t, t.new_zeros(()))).reshape(1, 2)
    weight = torch.tensor([1.0, 2.0], dtype=DOUBLE)
    return F.layer_norm(x, [2], weight=weight, bias=weight.new_zeros(2), eps=0.25).sum()


def batch_norm(t):
    x = torch.stack([(i + 1) * t + (i % 3 - 1) * t * t + i for i in range(8)]).reshape(2, 2, 2)
    weight, bias = torch.tensor([[1.5, -0.5], [0.25, 1.0]], dtype=DOUBLE)
    y = F.batch_norm(x, None, None, weight=weight, bias=bias, training=True, eps=0.25)
    return (y * torch.arange(1, 9, dtype=DOUBLE).reshape(2, 2, 2)).sum()


@pytest.mark.parametrize("engine", ["jets", "autograd"])
@pytest.mark.parametrize(
    ("function", "t", "second"),
    [(layer_norm, 0.7, 0.7749142079590942), (batch_norm, -6.0, -0.20703015646993195)],
)
def test_norms_that_nested_derivatives_get_wrong(function, t, second, engine):
    """PyTorch issues 196700 and 196699 give the second derivatives; the third is their difference."""
    model = Scalar(t, function)
    objective = hs.Objective(model, lambda m, s: m(s), torch.tensor(1.0, dtype=DOUBLE))
    d3 = hs.third_order(objective, engine=engine)
    one = torch.ones(1, dtype=DOUBLE)
    assert float(d3.quadratic_form(one)) == pytest.approx(second, rel=1e-12)
    h = hs.hessian(objective, engine="jets")
    expected = difference(objective, lambda: h @ one, one)
    assert_close(d3.cubic_form(one), expected[0], 0.0, 1e-8)
    assert_close(d3.contract(one, one), expected, 0.0, 1e-8)


def nodes(tensor):
    """The names of all nodes of a graph, in one string."""
    found, stack = set(), [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in found:
            found.add(node)
            stack += [following for following, _ in node.next_functions]
    return " ".join(type(node).__name__ for node in found)


def test_elementary_norms_are_the_norms():
    x, w, b = vectors(6, 4).reshape(3, 2, 4), vectors(1, 4, seed=2)[0], vectors(1, 4, seed=3)[0]
    channels = x.transpose(1, 2).contiguous().requires_grad_()
    x.requires_grad_()
    mean, var = w * 0.1, b.abs() + 1
    calls = [
        lambda: F.layer_norm(x, (4,), w, b),
        lambda: torch.layer_norm(x, (2, 4)),
        lambda: F.rms_norm(x, (4,), w),
        lambda: F.group_norm(channels, 2, w, b),
        lambda: F.instance_norm(channels, weight=w, bias=b),
        lambda: F.batch_norm(channels, None, None, w, b, training=True, eps=0.1),
        lambda: F.batch_norm(channels, mean, var, w, b),
        lambda: torch.batch_norm(channels, w, b, None, None, True, 0.1, 1e-3, False),
        lambda: torch.instance_norm(channels, w, b, None, None, True, 0.1, 1e-3, False),
    ]
    for call in calls:
        expected = call()
        with ElementaryNorms():
            got = call()
        assert_close(got.detach(), expected.detach(), 0.0)
        assert "Norm" not in nodes(got)
    assert "Norm" in nodes(calls[0]())
