"""The GGN as an operator: budgets, changes, precision, what it says, what it refuses."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from jets_cases import smooth, vectors
from output_cases import ENGINES, LABELS, X, assert_close, dense, dense_truth, mlp


@pytest.mark.parametrize("engine", ENGINES)
def test_a_criterion_that_is_linear_in_the_outputs_gives_zero(engine):
    model = nn.Sequential(mlp(), nn.LogSoftmax(-1))
    objective = hs.Objective(model, F.nll_loss, (X, LABELS), l2=0.5)
    v = vectors(2, objective.n)
    assert torch.equal(hs.ggn(objective, engine=engine).rows(v), 0.5 * v)


@pytest.mark.parametrize("engine", ENGINES)
def test_budgets_and_changes(engine):
    model = mlp()
    batches = [(X[:5], LABELS[:5]), (X[5:], LABELS[5:])]
    objective = hs.Objective(model, None, batches, criterion=lambda f, y: F.cross_entropy(f, y))
    full = hs.ggn(objective, engine=engine)
    v = vectors(3, objective.n)
    expected = full.rows(v)
    assert full.memory > 0
    tight = full.memory * 2 // 3
    if engine == "jets":  # whose budget holds for what a product needs beside what is kept, as well
        tight = full.predicted_memory() - 8 * objective.n - 1
    for budget in (0, tight):
        g = hs.ggn(objective, engine=engine, memory_budget=budget)
        for _ in range(2):
            assert_close(g.rows(v), expected, 1e-14)
        assert g.memory <= min(budget, full.memory - 1)
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    assert_close(full.rows(v), hs.ggn(objective, engine=engine).rows(v), 1e-14)
    assert (full.rows(v) - expected).norm() > 1e-3 * expected.norm()
    full.release()
    assert full.memory == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_low_precision_and_results(engine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).bfloat16()
    reference = mlp()
    reference.load_state_dict(model.state_dict())
    x = X.bfloat16()
    objective = hs.Objective(model, F.cross_entropy, (x, LABELS))
    g = hs.ggn(objective, engine=engine)
    v = vectors(2, objective.n, dtype=torch.float32)
    expected = v.double() @ dense_truth(reference, F.cross_entropy, x.double(), LABELS)
    got = g.rows(v)
    assert got.dtype == torch.float32
    assert_close(got.double(), expected, 16 * torch.finfo(torch.bfloat16).eps)


def test_krylov_methods_take_it():
    objective = hs.Objective(mlp(), F.cross_entropy, (X, LABELS))
    g = hs.ggn(objective)
    values = torch.linalg.eigvalsh(dense(g))
    eig = hs.eigenpairs(g, 2, which="largest")
    assert_close(eig.values.sort().values, values[-2:], 1e-7)
    rho = hs.spectral_density(g, num_probes=2, num_steps=20)
    assert rho.nodes.min() >= -1e-10
    assert g.description()["operator"] == "ggn"
    assert g.description()["engine"] == "jets"
    assert "engine: jets" in g.explain()
    assert "ggn, engine: autograd" in hs.ggn(objective, engine="autograd").explain()


def test_falling_back_is_said():
    def cumulative(f, y):
        return f.logcumsumexp(1).square().sum() + F.mse_loss(f, y)

    objective = hs.Objective(mlp(), None, (X, smooth(12, 3)), criterion=cumulative)
    g = hs.ggn(objective)
    with pytest.warns(UserWarning, match=r"ggn: falling back to engine='autograd'.*logcumsumexp"):
        got = dense(g)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(dense(g), got)
    assert_close(got, dense_truth(objective.model, cumulative, X, smooth(12, 3)))
    with pytest.raises(RuntimeError, match=r"ggn: engine='jets' must.*logcumsumexp"):
        dense(hs.ggn(objective, engine="jets"))


def test_input_that_is_refused():
    model = mlp()
    with pytest.raises(TypeError, match="ggn: objective must be an Objective, got Sequential"):
        hs.ggn(model)
    whole = hs.Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), (X, LABELS))
    with pytest.raises(ValueError, match=r"ggn: objective must have a criterion.*pass Objective\("):
        hs.ggn(whole)
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    with pytest.raises(ValueError, match="ggn: engine must be 'auto', 'jets' or 'autograd', got 'fast'"):
        hs.ggn(objective, engine="fast")
    with pytest.raises(ValueError, match="ggn: memory_budget must not be negative, got -1"):
        hs.ggn(objective, memory_budget=-1)
    for engine in ENGINES:
        constant = hs.Objective(model, None, (X, LABELS), criterion=lambda _, y: y.double().sum())
        with pytest.raises(ValueError, match="must depend on the selected parameters"):
            dense(hs.ggn(constant, engine=engine))
        infinite = hs.Objective(model, None, (X, LABELS), criterion=lambda f, _: f.sum() / 0)
        with pytest.raises(ValueError, match="must be finite"):
            dense(hs.ggn(infinite, engine=engine))


def test_an_opaque_function_is_named():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return 2 * gradient * ctx.saved_tensors[0]

    class Model(nn.Linear):
        def forward(self, x):
            return Opaque.apply(super().forward(x))

    objective = hs.Objective(Model(4, 3).double(), F.cross_entropy, (X, LABELS))
    with pytest.raises(RuntimeError, match=r"ggn: every operation .* second derivative, got Opaque"):
        dense(hs.ggn(objective, engine="autograd"))
