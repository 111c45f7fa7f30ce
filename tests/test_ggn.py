"""The GGN: against dense truth and closed forms, and what is left of the Hessian without it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jacrev
from torch.utils.data import DataLoader, TensorDataset

import hesscope as hs
from jets_cases import smooth, vectors
from output_cases import (
    CRITERIA,
    ENGINES,
    LABELS,
    X,
    assert_close,
    dense,
    dense_truth,
    flat,
    frozen,
    hessian_of,
    mlp,
    residual_truth,
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CRITERIA)
def test_it_is_the_dense_matrix(name, engine):
    criterion, y = CRITERIA[name]
    model = mlp()
    if name == "kl":  # it takes log-probabilities and is linear in them: let it be curved
        model = nn.Sequential(*model, nn.LogSoftmax(-1))
        loss = criterion
        criterion = lambda f, y: loss(f, y) + f.square().mean()  # noqa: E731
        objective = hs.Objective(model, None, (X, y), criterion=criterion)
    else:
        objective = hs.Objective(model, criterion, (X, y), reduction="sum" if name == "summed" else "mean")
    expected = dense_truth(model, criterion, X, y)
    got = hs.ggn(objective, engine=engine)
    assert_close(dense(got), expected)
    assert_close(got.rows(vectors(1, objective.n)), vectors(1, objective.n) @ expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["cross_entropy", "mse", "smoothing"])
def test_the_hessian_is_the_ggn_and_a_residual(name, engine):
    criterion, y = CRITERIA[name]
    model = mlp()
    objective = hs.Objective(model, criterion, (X, y), l2=0.3)
    h = dense(hs.hessian(objective, engine="autograd"))
    residual = residual_truth(model, criterion, X, y)
    assert residual.norm() > 0.01 * h.norm()
    assert_close(dense(hs.ggn(objective, engine=engine)) + residual, h)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_has_no_negative_eigenvalue_where_the_hessian_has(engine):
    for name in ("cross_entropy", "smoothing", "bce", "mse"):
        criterion, y = CRITERIA[name]
        objective = hs.Objective(mlp(), criterion, (X, y))
        values = torch.linalg.eigvalsh(dense(hs.ggn(objective, engine=engine)))
        assert values.min() >= -1e-13 * values.max()
        assert torch.linalg.eigvalsh(dense(hs.hessian(objective))).min() < -1e-3 * values.max()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_linear_model_has_no_residual(engine):
    for name in ("cross_entropy", "mse", "bce", "huber"):
        criterion, y = CRITERIA[name]
        objective = hs.Objective(nn.Linear(4, 3).double(), criterion, (X, y), l2=0.1)
        assert_close(dense(hs.ggn(objective, engine=engine)), dense(hs.hessian(objective)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["class weights", "ignored", "summed", "mse", "soft targets"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_it_does_not_depend_on_how_the_data_is_cut(name, reduction, engine):
    criterion, y = CRITERIA[name]
    model = mlp()
    ragged = [(X[:5], y[:5]), (X[5:6], y[5:6]), (X[6:], y[6:])]
    whole = hs.Objective(model, criterion, (X, y), l2=0.2, reduction=reduction)
    cut = hs.Objective(model, criterion, ragged, l2=0.2, reduction=reduction)
    loader = hs.Objective(
        model, criterion, DataLoader(TensorDataset(X, y), batch_size=5), l2=0.2, reduction=reduction
    )
    expected = dense(hs.ggn(whole, engine=engine))
    assert_close(dense(hs.ggn(cut, engine=engine)), expected)
    assert_close(dense(hs.ggn(loader, engine=engine, memory_budget=0)), expected)
    # and it is weighted as the Hessian is, whatever the weights
    weighted = hs.Objective(nn.Linear(4, 3).double(), criterion, ragged, weight=lambda b: len(b[0]) ** 2)
    assert_close(dense(hs.ggn(weighted, engine=engine)), dense(hs.hessian(weighted)))


def conv_net():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.GroupNorm(3, 3),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm(4)
        self.mix = nn.Linear(4, 12)

    def forward(self, tokens):
        x = self.norm(self.table(tokens))
        q, k, v = (t[:, None] for t in self.mix(x).chunk(3, -1))
        y = x + F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0]
        return (y @ self.table.weight.T).transpose(1, 2)  # [B, classes, T], tied


MODELS = {
    "convolution, norms": (conv_net, smooth(6, 1, 4, 4), torch.arange(6) % 3),
    "attention, tied weights": (
        Attention,
        torch.arange(12).view(3, 4) % 5,
        torch.arange(12).view(3, 4) * 2 % 5,
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", MODELS)
def test_whole_models(name, mode, engine):
    make, x, y = MODELS[name]
    torch.manual_seed(1)
    model = make().double()
    objective = hs.Objective(model, F.cross_entropy, (x, y), mode=mode)
    with objective.evaluating(0):
        parameters = list(model.parameters())
        output = model(x)
        rows = [
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(f, parameters, retain_graph=True)])
            for f in output.reshape(-1)
        ]
    jacobian, output = torch.stack(rows), output.detach()
    middle = hessian_of(lambda f: F.cross_entropy(f, y))(output).reshape(output.numel(), -1)
    expected = jacobian.T @ middle @ jacobian
    got = hs.ggn(objective, engine=engine)
    assert_close(dense(got), expected)
    u, v = vectors(2, objective.n)
    assert abs(u @ (got @ v.contiguous()) - v @ (got @ u.contiguous())) <= 1e-12 * expected.norm() * u.norm()


@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_in_any_nesting(engine):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean, self.spread = nn.Linear(4, 1), nn.Linear(4, 1)

        def forward(self, x):
            return {"mean": self.mean(x).tanh(), "spread": self.spread(x), "unused": x.sum(), "n": 3}

    def nll(output, y):
        return ((output["mean"] - y).square() * (-output["spread"]).exp() + output["spread"]).mean()

    torch.manual_seed(0)
    model, y = Pair().double(), smooth(12, 1, seed=3)
    objective = hs.Objective(model, None, (X, y), criterion=nll)

    def outputs(p):
        found = functional_call(model, p, (X,))
        return torch.cat([found["mean"], found["spread"]], 1)

    parameters = frozen(model)
    jacobian = flat(jacrev(outputs)(parameters), (12, 2))
    middle = hessian_of(lambda f: nll({"mean": f[:, :1], "spread": f[:, 1:]}, y))(
        outputs(parameters).detach()
    )
    j = jacobian.reshape(24, -1)
    assert_close(dense(hs.ggn(objective, engine=engine)), j.T @ middle.reshape(24, 24) @ j)


@pytest.mark.parametrize("engine", ENGINES)
def test_frozen_unused_and_selected_parameters(engine):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.unused = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(2, 2)
            self.first.bias.requires_grad_(False)

        def forward(self, x):
            return self.second(torch.sin(self.first(x)))

    torch.manual_seed(0)
    model = Model().double()
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS), params=["first.*", "unused.*"])
    got = dense(hs.ggn(objective, engine=engine))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "first.weight")
    expected = dense_truth(model, F.cross_entropy, X, LABELS)
    assert_close(got[:16, :16], expected)
    assert (got[16:] == 0).all()
    assert (got[:, 16:] == 0).all()
