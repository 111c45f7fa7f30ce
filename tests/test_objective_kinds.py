"""Objectives of every kind, as both engines that differentiate see them."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from hesscope.curvature import hessian
from hesscope.objective import Objective


@pytest.fixture(params=["auto", "autograd"], autouse=True)
def engine(request, monkeypatch):
    """Every test of this file, by either engine."""
    monkeypatch.setitem(globals(), "hessian", functools.partial(hessian, engine=request.param))
    return request.param


def rounding(matrix, terms):
    """Bound on an entry of H V for V of order 1 in float64: `terms` roundings of sums of |H|."""
    return terms * torch.finfo(torch.float64).eps * float(matrix.abs().sum(dim=1).max())


def products(operator):
    """Return H as the operator sees it, [n, n]."""
    return operator.rows(torch.eye(operator.shape[0], dtype=operator.dtype))


def perceptron():
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Softplus(), nn.Linear(4, 3))


class Transpose(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def test_a_subset_gives_the_block_and_unused_parameters_give_zeros():
    torch.manual_seed(0)
    model = nn.ModuleDict({"used": perceptron(), "unused": nn.Linear(2, 2)}).double()
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randint(0, 3, (6,))

    def loss(m, batch):
        return F.cross_entropy(m["used"](batch[0]), batch[1])

    whole = Objective(model, loss, (x, y))
    full = products(hessian(whole))
    rest = slice(whole.slices["unused.weight"].start, whole.n)
    assert full[rest].abs().sum() == 0
    assert full[:, rest].abs().sum() == 0
    part = Objective(model, loss, (x, y), params=["used.2.*", "unused.bias"])
    chosen = torch.cat([torch.arange(whole.n)[whole.slices[name]] for name in part.parameters])
    block = full[chosen][:, chosen]
    assert (products(hessian(part)) - block).abs().max() <= rounding(full, 200)
    model["used"][0].requires_grad_(False)
    frozen = Objective(model, loss, (x, y))
    block = full[20:, 20:]
    assert frozen.n == whole.n - 20
    assert (products(hessian(frozen)) - block).abs().max() <= rounding(full, 200)


def test_a_linear_loss_has_no_curvature():
    h = hessian(Objective(nn.Linear(3, 1), lambda m, b: m(b).sum(), torch.ones(2, 3), l2=0.5))
    v = torch.arange(8.0).view(2, 4)
    assert torch.equal(h.rows(v), 0.5 * v)


def test_mappings_and_a_model_that_returns_its_own_loss():
    class Output(dict):
        @property
        def loss(self):
            return self["loss"]

    class LanguageModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Embedding(7, 4), nn.Tanh(), nn.Linear(4, 7))

        def forward(self, *, input_ids, labels):
            return Output(loss=F.cross_entropy(self.block(input_ids).transpose(1, 2), labels))

    torch.manual_seed(0)
    model = LanguageModel().double()
    ids = torch.randint(0, 7, (4, 5))
    batch = {"input_ids": ids, "labels": ids.roll(-1, 1)}
    transposed = nn.Sequential(model.block, Transpose())
    direct = products(hessian(Objective(transposed, F.cross_entropy, (ids, batch["labels"]))))
    wrapped = products(hessian(Objective(model, lambda m, b: m(**b).loss, batch)))
    assert (wrapped - direct).abs().max() <= rounding(direct, 100)


def test_a_loss_that_contains_derivatives():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    points = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]

    def residual(m, batch, call=lambda m, x: m(x)):
        x = batch.clone().requires_grad_()
        u = call(m, x)
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return ((slope + u) ** 2).mean()

    objective = Objective(model, residual, points)
    reference = torch.autograd.functional.hessian(
        lambda v: residual(None, points, lambda _, x: functional_call(model, objective.unflatten(v), (x,))),
        objective.flatten(objective.parameters),
    )
    assert (products(hessian(objective)) - reference).abs().max() <= rounding(reference, 500)


def test_a_seed_fixes_dropout_between_products():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randint(0, 3, (6,))
    data = [(x[:3], y[:3]), (x[3:], y[3:])]
    objective = Objective(model, F.cross_entropy, data, rng_seed=7)
    kept, rebuilt = hessian(objective), hessian(objective, memory_budget=0)
    full = products(kept)
    assert torch.equal(products(rebuilt), full)
    assert (full - full.T).abs().max() <= rounding(full, 200)
    assert not torch.equal(products(hessian(Objective(model, F.cross_entropy, data, rng_seed=8))), full)
