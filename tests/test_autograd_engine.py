"""Products of the autograd engine against dense Hessians and closed forms."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from hesscope import curvature
from hesscope.curvature import AutogradHessian
from hesscope.objective import Objective

hessian = functools.partial(curvature.hessian, engine="autograd")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dense(objective, evaluate):
    """Return H [n, n] in float64 of evaluate(dict of parameters), by torch's own double backward."""
    point = objective.flatten({k: p.detach().double() for k, p in objective.parameters.items()}).double()
    return torch.autograd.functional.hessian(lambda v: evaluate(objective.unflatten(v)), point)


def rounding(matrix, terms, dtype=torch.float64):
    """Bound on an entry of H V for V of order 1: `terms` roundings of sums of |H|."""
    return terms * torch.finfo(dtype).eps * float(matrix.abs().sum(dim=1).max())


def products(operator):
    """Return H as the operator sees it, [n, n]."""
    n = operator.shape[0]
    return operator.rows(torch.eye(n, dtype=operator.dtype)).double()


class Attention(nn.Module):
    """A decoder block with a tied embedding; attention by scaled_dot_product_attention."""

    def __init__(self, vocabulary=7, width=4):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(x + self.out(F.gelu(mixed))).transpose(1, 2)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 3, batch_first=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def encoder():
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu", batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 3))


def convolution():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )


def perceptron():
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Softplus(), nn.Linear(4, 3))


MODELS = {
    "perceptron": (perceptron, (3,), 3),
    "convolution": (convolution, (1, 6, 6), 3),
    "attention": (Attention, None, 7),
    "recurrent": (Recurrent, (4, 3), 2),
    "encoder": (encoder, (3, 4), 3),
}


def problem(name, dtype=torch.float64, rows=6, seed=0):
    build, shape, classes = MODELS[name]
    torch.manual_seed(seed)
    model = build().to(dtype)
    g = generator(seed)
    if shape is None:
        x, y = (
            torch.randint(0, classes, (rows, 5), generator=g),
            torch.randint(0, classes, (rows, 5), generator=g),
        )
    else:
        x = torch.randn(rows, *shape, generator=g, dtype=torch.float64).to(dtype)
        y = torch.randint(0, classes, (rows,), generator=g)
    return model, x, y


def math_attention(evaluate):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def wrapped(parameters):
        with sdpa_kernel(SDPBackend.MATH):
            return evaluate(parameters)

    return wrapped


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", MODELS)
def test_products_are_those_of_the_dense_hessian(name, mode):
    model, x, y = problem(name)
    objective = Objective(model, nn.CrossEntropyLoss(), (x, y), mode=mode)
    model.train(mode == "train")
    reference = dense(
        objective, math_attention(lambda p: F.cross_entropy(functional_call(model, p, (x,)), y))
    )
    got = products(hessian(objective))
    assert (got - reference).abs().max() <= rounding(reference, 500)
    assert (got - got.T).abs().max() <= rounding(reference, 500)


@pytest.mark.parametrize("rows", [1, 4, 33])
def test_least_squares_has_the_closed_form(rows):
    g = generator()
    x = torch.randn(rows, 4, generator=g, dtype=torch.float64)
    t = torch.randn(rows, 1, generator=g, dtype=torch.float64)
    model = nn.Linear(4, 1).double()
    padded = torch.cat([x, torch.ones(rows, 1, dtype=torch.float64)], dim=1)
    reference = 2 * padded.T @ padded / rows
    got = products(hessian(Objective(model, nn.MSELoss(), (x, t))))
    assert (got - reference).abs().max() <= rounding(reference, 4 * rows)
    decayed = products(hessian(Objective(model, nn.MSELoss(), [(x, t)] * 2, l2=0.5)))
    identity = torch.eye(5, dtype=torch.float64)
    assert (decayed - reference - 0.5 * identity).abs().max() <= rounding(reference, 4 * rows)


def test_softmax_regression_has_the_closed_form():
    g = generator()
    x, y = torch.randn(20, 3, generator=g, dtype=torch.float64), torch.randint(0, 4, (20,), generator=g)
    model = nn.Linear(3, 4, bias=False).double()
    p = model(x).softmax(dim=1).detach()
    # H = mean_i (diag(p_i) - p_i p_i^T) kron x_i x_i^T, for W laid out [class, feature].
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    reference = torch.einsum("iab,ic,id->acbd", inner, x, x).reshape(12, 12) / 20
    for data in ((x, y), list(zip(x.split(7), y.split(7), strict=True))):
        got = products(hessian(Objective(model, nn.CrossEntropyLoss(), data)))
        assert (got - reference).abs().max() <= rounding(reference, 100)


@pytest.mark.parametrize("num_vectors", [1, 2, 5])
def test_rows_columns_and_single_vectors_agree(num_vectors):
    model, x, y = problem("perceptron")
    objective = Objective(model, F.cross_entropy, [(x[:4], y[:4]), (x[4:], y[4:])])
    h = hessian(objective)
    wide = torch.randn(num_vectors, objective.n + 3, generator=generator(1), dtype=torch.float64)
    vectors = wide[:, : objective.n]  # strided rows
    rows = h.rows(vectors)
    assert h.products == num_vectors
    assert rows.shape == vectors.shape
    assert torch.equal(h.rows(vectors.contiguous()), rows)
    assert torch.equal(h @ vectors.T, rows.T)
    for k in range(num_vectors):
        assert torch.equal(h @ vectors[k], rows[k])
    assert h.products == 4 * num_vectors
    from_scipy = torch.from_numpy(h.to_scipy() @ vectors.T.contiguous().numpy())
    assert torch.equal(from_scipy, rows.T)


def test_products_are_linear_in_the_vector():
    model, x, y = problem("attention")
    h = hessian(Objective(model, F.cross_entropy, (x, y)))
    u, v = torch.randn(2, h.shape[0], generator=generator(2), dtype=torch.float64)
    bound = rounding(products(h), 100) * 10
    assert (h @ (2 * u - 3 * v) - 2 * (h @ u) + 3 * (h @ v)).abs().max() <= bound


@pytest.mark.parametrize("name", ["perceptron", "attention"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_is_as_good_as_torch_in_that_precision(name, dtype):
    model, x, y = problem(name, dtype)
    objective = Objective(model, F.cross_entropy, (x, y))
    v = torch.randint(0, 2, (3, objective.n), generator=generator(3)).float() * 2 - 1
    h = hessian(objective)
    assert h.dtype == torch.float32
    got = h.rows(v)
    assert got.dtype == torch.float32
    double = problem(name)[0]
    double.load_state_dict(model.state_dict())
    inputs = x.double() if x.is_floating_point() else x
    exact = hessian(Objective(double, F.cross_entropy, (inputs, y))).rows(v.double())
    assert (got - exact).norm() <= 2 * (plain_products(model, x, y, v) - exact).norm()


def plain_products(model, x, y, v):
    """What a textbook double backward in the model's precision gives."""
    parameters = list(model.parameters())
    rows = []
    with math_attention_context():
        for row in v:
            loss = F.cross_entropy(model(x), y)
            gradients = torch.autograd.grad(loss, parameters, create_graph=True)
            cut = [
                part.view(p.shape).to(p.dtype)
                for part, p in zip(row.split([p.numel() for p in parameters]), parameters, strict=True)
            ]
            result = torch.autograd.grad(gradients, parameters, cut)
            rows.append(torch.cat([r.reshape(-1) for r in result]))
    return torch.stack(rows).double()


def math_attention_context():
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def test_mixed_precision_parameters():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 3).double()

        def forward(self, x):
            return self.head(self.body(x).tanh().double())

    torch.manual_seed(0)
    model, x, y = Mixed(), torch.randn(6, 3), torch.randint(0, 3, (6,))
    objective = Objective(model, F.cross_entropy, (x, y))
    h = hessian(objective)
    assert h.dtype == torch.float64
    twin = Mixed().double()
    twin.load_state_dict(model.state_dict())
    reference = products(hessian(Objective(twin, F.cross_entropy, (x.double(), y))))
    assert (products(h) - reference).abs().max() <= rounding(reference, 100, torch.float32)


def test_products_do_not_depend_on_the_callers_grad_mode_and_leave_no_gradient():
    model, x, y = problem("perceptron")
    objective = Objective(model, F.cross_entropy, (x, y))
    v = torch.ones(1, objective.n, dtype=torch.float64, requires_grad=True)
    expected = hessian(objective).rows(v)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            got = hessian(objective).rows(v)
        assert torch.equal(got, expected)
    assert not expected.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_nan_in_a_vector_is_returned():
    model, x, y = problem("perceptron")
    h = hessian(Objective(model, F.cross_entropy, (x, y)))
    v = torch.full((1, h.shape[0]), float("nan"), dtype=torch.float64)
    assert h.rows(v).isnan().any()


def test_arguments_are_checked():
    model, x, y = problem("perceptron")
    objective = Objective(model, F.cross_entropy, (x, y))
    assert isinstance(hessian(objective), AutogradHessian)
    with pytest.raises(TypeError, match="objective must be an Objective, got Sequential"):
        hessian(model)
    with pytest.raises(ValueError, match=r"engine must be one of 'auto', .*, got 'fast'"):
        hessian(objective, engine="fast")
    with pytest.raises(ValueError, match="memory_budget must not be negative"):
        hessian(objective, memory_budget=-1)
    with pytest.raises(TypeError, match=r"vectors must be torch.float64"):
        hessian(objective) @ torch.ones(objective.n)
