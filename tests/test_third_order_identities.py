"""Closed forms of third order: softmax regression, deep linear networks, Euler's identity."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from jets_cases import vectors
from third_order_cases import assert_close

ENGINES = ["jets", "autograd"]


@pytest.mark.parametrize("engine", ENGINES)
def test_softmax_regression_is_the_third_cumulant(engine):
    x, y = vectors(15, 4).contiguous(), torch.arange(15) % 3
    model = nn.Linear(4, 3, bias=False).double()
    objective = hs.Objective(model, nn.CrossEntropyLoss(), (x, y))
    u, v, w = vectors(3, 12, seed=2)
    p = torch.softmax(model(x).detach(), 1)
    centred = []
    for direction in (u, v, w):
        scores = x @ direction.view(3, 4).T
        centred.append(scores - (p * scores).sum(1, keepdim=True))
    a, b, c = centred
    d3 = hs.third_order(objective, engine=engine)
    assert_close(d3.contract(u, v, w), (p * a * b * c).sum(1).mean(), 0.0)
    assert_close(d3.cubic_form(u), (p * a**3).sum(1).mean(), 0.0)
    assert_close(d3.quadratic_form(v), (p * b * b).sum(1).mean(), 0.0)
    # T[u, v, .] from products of centred scores, whose own cumulant with every score is the gradient.
    third = p * (a * b - (p * a * b).sum(1, keepdim=True))
    assert_close(d3.contract(u, v), (third.T @ x / 15).reshape(-1), 0.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_deep_linear_network_is_a_polynomial(engine):
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in ((4, 3), (3, 5), (5, 2)))).double()
    x, y = vectors(9, 4).contiguous(), vectors(9, 2, seed=2).contiguous()
    objective = hs.Objective(model, nn.MSELoss(), (x, y))
    u = vectors(1, objective.n, seed=3)[0]
    pieces = list(objective.unflatten(u).values())
    powers = [x]  # coefficients of t in the output at theta + t u
    for layer, piece in zip(model, pieces, strict=True):
        weight = layer.weight.detach()
        following = [torch.zeros(9, len(weight), dtype=x.dtype) for _ in range(len(powers) + 1)]
        for k, coefficient in enumerate(powers):
            following[k] += coefficient @ weight.T
            following[k + 1] += coefficient @ piece.T
        powers = following
    powers[0] = powers[0] - y
    second = (2 * powers[0] * powers[2] + powers[1] ** 2).mean()
    third = 2 * (powers[0] * powers[3] + powers[1] * powers[2]).mean()
    d3 = hs.third_order(objective, engine=engine)
    assert_close(d3.quadratic_form(u), 2 * second, 0.0)
    assert_close(d3.cubic_form(u), 6 * third, 0.0)
    assert_close(d3.contract(u, u) @ u, 6 * third, 0.0)


def block_rows(objective, names, count, seed):
    """Random directions that move only some parameters."""
    rows = vectors(count, objective.n, seed=seed).clone()
    for name, part in objective.slices.items():
        if name not in names:
            rows[:, part] = 0
    return rows


EULER = {
    # degree, which parameters, model: y -> loss
    "a linear network, in all weights": (4, None, lambda: nn.Linear(3, 2, bias=False)),
    "weights before a norm": (0, {"0.weight", "0.bias"}, lambda: nn.LayerNorm(3, eps=0.0)),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", EULER)
def test_eulers_identity(name, engine):
    """For degree p in a block of weights: H w = (p - 1) g and T[w, ., .] = (p - 2) H on the block."""
    degree, names, second = EULER[name]
    torch.manual_seed(0)
    bias = names is not None
    model = nn.Sequential(nn.Linear(4, 3, bias=bias), second(), *([nn.Tanh()] if bias else [])).double()
    if bias:
        model[1].weight.data.uniform_(0.5, 1.5)
    objective = hs.Objective(model, lambda m, b: m(b).square().sum(), vectors(7, 4).contiguous())
    names = set(objective.parameters) if names is None else names
    here = objective.flatten({k: p.detach() for k, p in objective.parameters.items()})
    own = torch.zeros_like(here)
    for each in names:
        own[objective.slices[each]] = here[objective.slices[each]]
    v, w = block_rows(objective, names, 2, 5)
    d3, h = hs.third_order(objective, engine=engine), hs.hessian(objective)
    size = float((h @ v).norm())
    assert size > 0.1
    assert_close(d3.contract(own, v, w), (degree - 2) * (h @ v) @ w, size)
    on_block = block_rows(objective, names, 1, 6)[0] != 0
    expected = (degree - 2) * (degree - 1) * objective.gradient()
    assert_close(d3.contract(own, own)[on_block], expected[on_block], size)
    assert_close(d3.cubic_form(own), (degree - 2) * (degree - 1) * objective.gradient() @ own, size)
    assert_close(d3.quadratic_form(own), (degree - 1) * objective.gradient() @ own, size)


def test_norms_of_exponentials_along_orthonormal_directions():
    """L = sum exp(a_i' theta): T = sum w_i a_i (x) a_i (x) a_i."""
    a = torch.linalg.qr(vectors(6, 6))[0]
    model = nn.Linear(6, 1, bias=False).double()
    objective = hs.Objective(model, lambda m, x: m(x).exp().sum(), a.contiguous())
    weights = (a @ model.weight.detach()[0]).exp()
    d3 = hs.third_order(objective)
    assert d3.project(a).frobenius_norm() == pytest.approx(float(weights.norm()))
    found = d3.injective_norm(tol=1e-9, num_steps=300)
    assert found.value == pytest.approx(float(weights.max()))
    assert found.interval[0] <= float(weights.norm()) * 1.2
    eig = hs.eigenpairs(hs.hessian(objective), k=2)
    best = int(weights.argmax())  # H = sum w_i a_i a_i': the eigenvalue is w, and so is its slope
    assert_close(d3.eigenvalue_gradient(eig, 0).value, weights[best] * a[best], 0.0, 1e-8)
    total = d3.trace_gradient(num_probes=6)
    assert_close(total.value, weights @ a, 0.0)


def test_logistic_regression_predicts_its_own_sharpness():
    x, y = vectors(30, 3).contiguous(), (torch.arange(30) % 2).double()
    model = nn.Linear(3, 1, bias=False).double()
    objective = hs.Objective(
        model, lambda m, b: F.binary_cross_entropy_with_logits(m(b[0])[:, 0], b[1]), (x, y)
    )
    eig = hs.eigenpairs(hs.hessian(objective), k=3)
    p = torch.sigmoid(x @ model.weight.detach()[0])
    for i in range(3):
        score = x @ eig.vectors[i]
        expected = x.T @ (p * (1 - p) * (1 - 2 * p) * score**2) / 30
        got = hs.third_order(objective).eigenvalue_gradient(eig, i)
        assert float((got.value - expected).norm()) <= got.error < 1e-6  # n pairs: every gap is known
