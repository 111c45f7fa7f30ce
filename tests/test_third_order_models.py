"""Third order of the models of the jets engine, of homogeneous losses, of empty batches, in bfloat16."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from jets_models import networks, recurrent
from third_order_cases import assert_close, difference, units

WRITTEN_OUT = {
    "resnet18": lambda: networks.resnet18("eval"),
    "group_norm_cnn": networks.group_norm_cnn,
    "autoencoder": lambda: networks.autoencoder("batch"),
    "burgers": lambda: networks.burgers(networks.by_autograd),
    "lstm": lambda: recurrent.classifier("lstm"),
}
TRANSFORMERS = ["gpt2", "llama", "vision"]


def case_of(name):
    if name in WRITTEN_OUT:
        return WRITTEN_OUT[name]()
    pytest.importorskip("transformers", reason="needs transformers, which the extra `test` installs")
    from jets_models import hub

    return getattr(hub, name)("sdpa")


@pytest.mark.parametrize("name", [*WRITTEN_OUT, *TRANSFORMERS])
def test_contractions_are_differences_and_symmetric(name):
    objective = case_of(name).objective(torch.float64)
    d3, h = hs.third_order(objective, engine="jets"), hs.hessian(objective, engine="autograd")
    u, v, w = units(3, objective.n, 3)
    # a longer step carries relus to their other branch
    expected = difference(objective, lambda: h @ v, u, first=1e-5 if name == "resnet18" else 4e-3)
    size = float((h @ v).norm())
    got = d3.contract(u, v)
    assert d3.engine == "jets"
    assert_close(got, expected, 0.01 * size, 1e-7)
    values = torch.stack([d3.contract(*order) for order in itertools.permutations((u, v, w))])
    assert_close(values, values[:1].expand(6), 6**0.5 * max(size, float(got.norm())))


def test_eulers_identity_where_the_loss_is_homogeneous_in_a_block():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    fourth = lambda m, x: (m[2].weight @ m[1](m[0](x)).T).pow(4).sum() * m[4].weight.square().sum()  # noqa: E731
    objective = hs.Objective(model.double(), fourth, torch.randn(7, 4, dtype=torch.float64))
    block = objective.parameter_set.slices[0]  # of degree 4 in the first layer's weights
    position, u = torch.zeros(2, objective.n, dtype=torch.float64)
    position[block] = model[0].weight.detach().flatten()
    u[block] = torch.randn(24, dtype=torch.float64)
    d3, h = hs.third_order(objective, engine="jets"), hs.hessian(objective, engine="jets")
    product = h @ u
    assert product[block].norm() > 0
    # the gradient's part in the block is of degree 3, so the product's is of degree 2
    assert_close(d3.contract(position, u)[block], 2 * product[block], 0.0)
    rest = slice(block.stop, None)  # and everywhere else of degree 3
    assert_close(d3.contract(position, u)[rest], 3 * product[rest], 0.0)


@pytest.mark.parametrize("engine", ["jets", "autograd"])
def test_an_empty_batch_has_no_third_derivative(engine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)).double()
    loss = lambda m, batch: F.mse_loss(m(batch[0]), batch[1], reduction="sum")  # noqa: E731
    batch = torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 2, dtype=torch.float64)
    d3 = hs.third_order(hs.Objective(model, loss, batch), engine=engine)
    u, v = units(2, d3.objective.n, 1)
    rows = torch.stack([u, v])
    assert torch.equal(d3.contract(rows, rows), torch.zeros_like(rows))
    assert torch.equal(d3.contract(u, v), torch.zeros_like(u))
    assert torch.equal(d3.quadratic_form(rows), torch.zeros(2, dtype=torch.float64))
    assert torch.equal(d3.cubic_form(rows), torch.zeros(2, dtype=torch.float64))


def test_no_rows_give_no_rows():
    objective = networks.perceptron().objective(torch.float64)
    d3 = hs.third_order(objective, engine="jets")
    none = torch.empty(0, objective.n, dtype=torch.float64)
    assert d3.contract(none, none).shape == (0, objective.n)
    assert d3.quadratic_form(none).shape == (0,)


@pytest.mark.parametrize("name", ["perceptron", "gpt2"])
def test_bfloat16_is_as_good_as_its_products(name):
    case = networks.perceptron() if name == "perceptron" else case_of(name)
    exact = case.objective(torch.float64)
    u = units(1, exact.n, 2)
    expected = hs.third_order(exact, engine="autograd").contract(u, u)
    product = hs.hessian(exact, engine="autograd").rows(u)
    case.model.to(torch.bfloat16)
    batch = case.batch
    if name == "perceptron":
        batch = (case.batch[0].bfloat16(), case.batch[1])
    low = hs.Objective(case.model, case.loss, batch, **case.options)
    got = hs.third_order(low, engine="jets").contract(u.float(), u.float())
    assert got.dtype == torch.float32
    # weights, data and every operation are rounded to 8 bits: the same size of error as that of a product
    error = (hs.hessian(low, engine="jets").rows(u.float()) - product).norm() / product.norm()
    assert (got - expected).norm() <= 8 * (error + torch.finfo(torch.bfloat16).eps) * expected.norm()
