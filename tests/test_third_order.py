"""third_order on whole models, and as an operator."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from jets_cases import vectors
from test_jets_models import MODELS, problem
from third_order_cases import DOUBLE, assert_close, difference, objective_of, units


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", MODELS)
def test_contractions_are_differences_of_products_with_h(name, mode):
    if mode == "eval" and name not in ("batch_norm", "instance_norm"):
        pytest.skip("the same as in training mode")
    objective = objective_of(name, mode, l2=0.1)
    d3, h = hs.third_order(objective, engine="jets"), hs.hessian(objective, engine="autograd")
    u, v = units(2, objective.n, 3)
    pair = torch.stack([u, v])
    both = difference(objective, lambda: h.rows(pair), u, first=4e-3)
    size = float(h.rows(pair).norm())
    for got, expected in zip((d3.contract(u, u), d3.contract(u, v)), both, strict=True):
        assert expected.norm() > 0.01 * size
        assert_close(got, expected, 0.0, 1e-7)
    assert_close(d3.quadratic_form(pair), (h.rows(pair) * pair).sum(1), size)
    assert_close(d3.cubic_form(u), both[0] @ u, size, 1e-7)


@pytest.mark.parametrize("name", ["perceptron", "batch_norm", "gpt"])
def test_t_is_symmetric_and_multilinear(name):
    objective = objective_of(name)
    d3 = hs.third_order(objective, engine="jets")
    three = list(units(3, objective.n, 5))
    size = float(d3.contract(three[0], three[0]).norm())
    values = torch.stack([d3.contract(*order) for order in itertools.permutations(three)])
    assert_close(values, values[:1].expand(6), 6**0.5 * size)
    u, v, w = three
    assert_close(d3.contract(2 * u - 3 * w, v), 2 * d3.contract(u, v) - 3 * d3.contract(w, v), size)
    polarised = d3.contract(u + v, u + v) - d3.contract(u, u) - d3.contract(v, v)
    assert_close(2 * d3.contract(u, v), polarised, size)
    assert_close(d3.contract(u, v, u), d3.contract(u, u) @ v, size)
    assert_close(d3.contract(v, u, u), d3.contract(u, u) @ v, size)
    assert_close(d3.contract(u, u, u), d3.contract(u, u) @ u, size)


@pytest.mark.parametrize("engine", ["jets", "autograd"])
def test_rows_are_paired_and_one_vector_goes_with_all(engine):
    objective = objective_of("perceptron", l2=0.3)
    d3 = hs.third_order(objective, engine=engine)
    u, v, w = (vectors(5, objective.n, seed=i) for i in range(3))
    apart = torch.stack([d3.contract(*pair) for pair in zip(u, v, strict=True)])
    size = float(apart.norm())
    assert_close(d3.contract(u, v), apart, size)
    assert_close(d3.contract(u, v, w), (apart * w).sum(1), size)
    assert_close(d3.contract(u[0], v), torch.stack([d3.contract(u[0], row) for row in v]), size)
    assert_close(d3.contract(v, u[0]), d3.contract(u[0], v), size)
    assert_close(d3.contract(u, v, reduction="sum"), apart.sum(0), size)
    assert_close(d3.contract(u, u, reduction="sum"), d3.contract(u, u).sum(0), size)
    assert_close(d3.quadratic_form(u, reduction="sum"), d3.quadratic_form(u).sum(), size)
    assert_close(d3.contract(u, u, u, reduction="sum"), d3.cubic_form(u).sum(), size)
    assert d3.contract(u[0], v[0]).shape == (objective.n,)
    assert d3.contract(u[0], v[0], w[0]).shape == d3.cubic_form(u[0]).shape == ()
    assert d3.contract(u[:0], v[:0]).shape == (0, objective.n)
    assert d3.contract(u[:0], v[:0], reduction="sum").abs().sum() == 0
    assert d3.cubic_form(u[:0]).shape == d3.quadratic_form(u[:0]).shape == (0,)


def test_one_direction_given_twice_costs_less():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective, engine="jets")
    u = vectors(3, objective.n)
    d3.contract(u, u)
    d3.contract(u, u.view_as(u))  # another tensor, the same storage
    assert "s, t, st" not in d3.explain()
    got = d3.contract(u, u.clone())
    assert "s, t, st" in d3.explain()
    assert_close(got, d3.contract(u, u), 0.0)
    assert d3.contractions == 12


def test_a_loss_that_contains_derivatives():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()

    def residual(m, batch):
        z = batch.detach().requires_grad_()
        u = m(z)
        (du,) = torch.autograd.grad(u.sum(), z, create_graph=True)
        (dxx,) = torch.autograd.grad(du[:, 1].sum(), z, create_graph=True)
        return ((du[:, 0] + u[:, 0] * du[:, 1] - 0.1 * dxx[:, 1]) ** 2).mean()

    objective = hs.Objective(model, residual, vectors(7, 2).contiguous())
    d3, h = hs.third_order(objective, engine="jets"), hs.hessian(objective, engine="autograd")
    u, v = units(2, objective.n, 3)
    expected = difference(objective, lambda: h @ v, u)
    assert_close(d3.contract(u, v), expected, 0.0, 1e-7)
    assert_close(d3.cubic_form(u), d3.contract(u, u) @ u, float(expected.norm()))
    oracle = hs.third_order(objective, engine="autograd")
    assert_close(d3.contract(u, v), oracle.contract(u, v), 0.0)


@pytest.mark.parametrize("name", ["perceptron", "gpt", "group_norm"])
def test_float32_is_as_good_as_nested_autograd(name):
    model, x, y = problem(name)
    exact = hs.Objective(model, F.cross_entropy, (x, y))
    u, v = vectors(3, exact.n), vectors(3, exact.n, seed=2)
    reference = hs.third_order(exact, engine="jets").contract(u, v)
    single = hs.Objective(
        problem(name)[0].float(), F.cross_entropy, (x.float() if x.is_floating_point() else x, y)
    )
    errors = [
        (hs.third_order(single, engine=engine).contract(u.float(), v.float()).double() - reference).norm()
        for engine in ("jets", "autograd")
    ]
    assert errors[0] <= 2 * errors[1]


def test_the_change_of_h_is_an_operator():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective, engine="jets")
    d, v = units(1, objective.n, 4)[0], vectors(3, objective.n)
    change = d3.operator(d)
    expected = d3.contract(d, v)
    assert_close(change.rows(v), expected, 0.0)
    assert change.products == 3
    key = change.fingerprint()
    dense = change.rows(torch.eye(objective.n, dtype=DOUBLE))
    assert_close(dense, dense.t(), 0.0)
    values = torch.linalg.eigvalsh(dense)
    eig = hs.eigenpairs(change, k=2, which="largest")
    assert_close(eig.values, values[-2:].flip(0), 0.0, 1e-6)
    rho = hs.spectral_density(change, num_probes=4, num_steps=20)
    assert rho.nodes.min() >= values[0] - 1e-9
    assert rho.nodes.max() <= values[-1] + 1e-9
    with torch.no_grad():
        objective.parameter_set.tensors[0].add_(0.1)
    assert change.fingerprint() != key
    d.zero_()  # the operator has a copy
    assert change.rows(v).norm() > 0
