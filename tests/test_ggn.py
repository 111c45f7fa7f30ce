"""The GGN: against dense truth and closed forms, and what is left of the Hessian without it."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jacrev
from torch.utils.data import DataLoader, TensorDataset

import hesscope as hs
from jets_cases import RELATIVE, smooth, vectors

ENGINES = ("autograd", "jets")


def mlp(outputs=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def hessian_of(function):
    """In reverse mode twice: torch's forward mode warns at import and is wrong through some norms."""
    return jacrev(jacrev(function))


def frozen(model):
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def flat(tree, rows):
    return torch.cat([t.reshape(*rows, -1) for t in tree.values()], -1)


def dense_truth(model, criterion, x, y):
    """JᵀMJ of one batch, both factors written out by torch.func in reverse mode."""
    parameters = frozen(model)
    output = functional_call(model, parameters, (x,)).detach()
    jacobian = flat(jacrev(lambda p: functional_call(model, p, (x,)))(parameters), output.shape)
    jacobian = jacobian.reshape(output.numel(), -1)
    middle = hessian_of(lambda f: criterion(f, y))(output).reshape(output.numel(), output.numel())
    return jacobian.T @ middle @ jacobian


def residual_truth(model, criterion, x, y):
    """Σ (∂ℓ/∂f) ∇²f: the Hessian of <c, f(θ)> at constant c."""
    parameters = frozen(model)
    output = functional_call(model, parameters, (x,)).detach().requires_grad_()
    (c,) = torch.autograd.grad(criterion(output, y), output)
    second = hessian_of(lambda p: (c * functional_call(model, p, (x,))).sum())(parameters)
    n = sum(p.numel() for p in parameters.values())
    rows = [
        torch.cat([second[a][b].reshape(parameters[a].numel(), -1) for b in parameters], 1)
        for a in parameters
    ]
    return torch.cat(rows, 0).reshape(n, n)


def dense(operator):
    return operator.rows(torch.eye(operator.shape[0], dtype=operator.dtype))


def assert_close(got, expected, relative=RELATIVE):
    assert expected.norm() > 0
    error = float((got - expected).norm() / expected.norm())
    assert error <= relative, f"off by {error:.1e}"


X = smooth(12, 4)
LABELS = torch.arange(12) % 3
SOFT = smooth(12, 3, seed=1).softmax(-1)
BINARY = (smooth(12, 3, seed=2) > 0).double()
CRITERIA = {
    "cross_entropy": (F.cross_entropy, LABELS),
    "class weights": (nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]).double()), LABELS),
    "ignored": (nn.CrossEntropyLoss(ignore_index=1), LABELS),
    "smoothing": (
        nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]).double(), label_smoothing=0.2),
        LABELS,
    ),
    "soft targets": (F.cross_entropy, SOFT),
    "summed": (nn.CrossEntropyLoss(reduction="sum"), LABELS),
    "mse": (nn.MSELoss(), smooth(12, 3, seed=3)),
    "bce": (
        functools.partial(
            F.binary_cross_entropy_with_logits, pos_weight=torch.tensor([3.0, 1.0, 0.5]).double()
        ),
        BINARY,
    ),
    "huber": (nn.HuberLoss(), smooth(12, 3, seed=3)),
    "poisson": (nn.PoissonNLLLoss(), BINARY),
    "kl": (nn.KLDivLoss(reduction="batchmean"), SOFT),
}


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
    for budget in (0, full.memory * 2 // 3):
        g = hs.ggn(objective, engine=engine, memory_budget=budget)
        for _ in range(2):
            assert_close(g.rows(v), expected, 1e-14)
        assert g.memory <= budget
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
    def inverse(f, y):
        return torch.linalg.inv(f[:3] + 3 * torch.eye(3).double()).sum() + F.mse_loss(f, y)

    objective = hs.Objective(mlp(), None, (X, smooth(12, 3)), criterion=inverse)
    g = hs.ggn(objective)
    with pytest.warns(UserWarning, match=r"ggn: falling back to engine='autograd'.*linalg_inv"):
        got = dense(g)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(dense(g), got)
    assert_close(got, dense_truth(objective.model, inverse, X, smooth(12, 3)))
    with pytest.raises(RuntimeError, match=r"ggn: engine='jets' must.*linalg_inv"):
        dense(hs.ggn(objective, engine="jets"))


def test_input_that_is_refused():
    model = mlp()
    with pytest.raises(TypeError, match="ggn: objective must be an Objective, got Sequential"):
        hs.ggn(model)
    whole = hs.Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), (X, LABELS))
    with pytest.raises(
        ValueError, match=r"ggn: objective must have a criterion.*pass Objective\(model, None"
    ):
        hs.ggn(whole)
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    with pytest.raises(ValueError, match="ggn: engine must be 'auto', 'jets' or 'autograd', got 'fast'"):
        hs.ggn(objective, engine="fast")
    with pytest.raises(ValueError, match="ggn: memory_budget must not be negative, got -1"):
        hs.ggn(objective, memory_budget=-1)
    for engine in ENGINES:
        constant = hs.Objective(model, None, (X, LABELS), criterion=lambda f, y: y.double().sum())
        with pytest.raises(ValueError, match="must depend on the selected parameters"):
            dense(hs.ggn(constant, engine=engine))
        infinite = hs.Objective(model, None, (X, LABELS), criterion=lambda f, y: f.sum() / 0)
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
    with pytest.raises(
        RuntimeError, match="ggn: every operation .* must have a second derivative, got Opaque"
    ):
        dense(hs.ggn(objective, engine="autograd"))
