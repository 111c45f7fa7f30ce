"""The jets engine on whole models, in float64, against double backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.curvature import hessian
from hesscope.objective import Objective
from jets_cases import RELATIVE, assert_agrees, vectors


def perceptron():
    return nn.Sequential(
        nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.GELU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)
    )


def instance_norm(width):
    return nn.InstanceNorm2d(width, affine=True)


class Residual(nn.Module):
    def __init__(self, norm, width, stride):
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.Conv2d(width, width, 3, 1, 1),
        )
        self.norm1, self.norm2 = norm(width), norm(width)
        self.skip = nn.Conv2d(width, width, 1, stride) if stride > 1 else nn.Identity()
        # autograd writes into parts of tensors for an activation in place on what is a view
        self.act = nn.ReLU(inplace=norm is not instance_norm)

    def forward(self, x):
        inner = self.norm2(self.second(self.act(self.norm1(self.first(x)))))
        return self.act(inner + self.skip(x))


def convolutional(norm):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        norm(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Residual(norm, 4, 1),
        Residual(norm, 4, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (
            p.view(b, t, self.heads, -1).transpose(1, 2) for p in self.qkv(self.norm1(x)).split(c, dim=2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, tied=True):
        super().__init__()
        self.token, self.place = nn.Embedding(9, 8), nn.Embedding(5, 8)
        self.blocks = nn.Sequential(Block(8, 2), Block(8, 2))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 9, bias=False)
        if tied:
            self.head.weight = self.token.weight

    def forward(self, tokens):
        x = self.token(tokens) + self.place(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x))).transpose(1, 2)


class Llama(nn.Module):
    """Rotary embedding, RMS norm, gated feed-forward, fewer keys than queries."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(9, 8)
        self.q, self.kv, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.gate, self.up, self.down = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(6, 8)
        self.norm1, self.norm2 = nn.RMSNorm(8), nn.RMSNorm(8)
        self.register_buffer("rate", torch.tensor([1.0]))

    def rotate(self, x):
        with torch.no_grad():
            angle = torch.arange(x.shape[2])[:, None] * self.rate
            cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], -1) * sin

    def forward(self, tokens):
        x = self.token(tokens)
        b, t, _ = x.shape
        h = self.norm1(x)
        q = self.rotate(self.q(h).view(b, t, 4, 2).transpose(1, 2))
        k, v = (p.view(b, t, 2, 2).transpose(1, 2) for p in self.kv(h).chunk(2, -1))
        mixed = F.scaled_dot_product_attention(q, self.rotate(k), v, is_causal=True, enable_gqa=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, 8))
        h = self.norm2(x)
        x = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return (x @ self.token.weight.t()).transpose(1, 2)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell, self.head = kind(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def encoder():
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu", batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 3))


MODELS = {
    "perceptron": (perceptron, (6,), 3),
    "batch_norm": (lambda: convolutional(nn.BatchNorm2d), (2, 8, 8), 3),
    "group_norm": (lambda: convolutional(lambda width: nn.GroupNorm(2, width)), (2, 8, 8), 3),
    "instance_norm": (lambda: convolutional(instance_norm), (2, 8, 8), 3),
    "gpt": (Gpt, None, 9),
    "untied": (lambda: Gpt(tied=False), None, 9),
    "llama": (Llama, None, 9),
    "lstm": (lambda: Recurrent(nn.LSTM), (5, 3), 3),
    "gru": (lambda: Recurrent(nn.GRU), (5, 3), 3),
    "encoder": (encoder, (3, 4), 3),
}


def problem(name, rows=6):
    build, shape, classes = MODELS[name]
    torch.manual_seed(0)
    model = build().double()
    g = torch.Generator().manual_seed(0)
    if shape is None:
        return model, *torch.randint(0, classes, (2, rows, 5), generator=g)
    x = torch.randn(rows, *shape, generator=g, dtype=torch.float64)
    return model, x, torch.randint(0, classes, (rows,), generator=g)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", MODELS)
def test_products_are_those_of_double_backward(name, mode):
    if name in ("lstm", "gru", "llama", "untied") and mode == "eval":
        pytest.skip("the same as in training mode")
    model, x, y = problem(name)
    objective = Objective(model, nn.CrossEntropyLoss(label_smoothing=0.1), (x, y), mode=mode, l2=0.01)
    h = assert_agrees(objective)
    u, v = vectors(2, objective.n, seed=3)
    hu, hv = h.rows(torch.stack([u, v]))
    scale = hu.norm() * hv.norm()
    assert (u @ hv - v @ hu).abs() <= RELATIVE * scale  # symmetry
    assert (h @ (2 * u - 3 * v) - 2 * hu + 3 * hv).norm() <= RELATIVE * (hu.norm() + hv.norm())


@pytest.mark.parametrize("name", ["perceptron", "batch_norm", "gpt"])
def test_eight_vectors_at_once_are_eight_times_one(name):
    model, x, y = problem(name)
    h = hessian(Objective(model, F.cross_entropy, (x, y)), engine="jets")
    v = vectors(8, h.shape[0])
    apart = torch.stack([h @ row for row in v])
    assert (h.rows(v) - apart).norm() <= RELATIVE * apart.norm()


@pytest.mark.parametrize("name", ["perceptron", "gpt", "group_norm"])
def test_float32_is_as_good_as_double_backward(name):
    model, x, y = problem(name)
    exact = Objective(model, F.cross_entropy, (x, y))
    v = vectors(4, exact.n)
    reference = hessian(exact, engine="autograd").rows(v)
    single = problem(name)[0].float()
    inputs = x.float() if x.is_floating_point() else x
    objective = Objective(single, F.cross_entropy, (inputs, y))
    errors = [
        (hessian(objective, engine=engine).rows(v.float()).double() - reference).norm()
        for engine in ("jets", "autograd")
    ]
    assert errors[0] <= 2 * errors[1]


def test_bfloat16_parameters():
    model, x, y = problem("perceptron")
    v = vectors(3, Objective(model, F.cross_entropy, (x, y)).n)
    reference = hessian(Objective(model, F.cross_entropy, (x, y))).rows(v)
    low = problem("perceptron")[0].bfloat16()
    objective = Objective(low, F.cross_entropy, (x.bfloat16(), y))
    got, other = (hessian(objective, engine=e).rows(v.float()).double() for e in ("jets", "autograd"))
    assert (got - reference).norm() <= 2 * (other - reference).norm()


def test_shared_frozen_selected_and_unused_parameters():
    torch.manual_seed(0)
    first, last = nn.Linear(4, 4), nn.Linear(4, 3)
    model = nn.Sequential(first, nn.Tanh(), first, nn.Tanh(), last).double()
    model.register_parameter("unused", nn.Parameter(torch.ones(3, dtype=torch.float64)))
    x, y = vectors(5, 4), torch.tensor([0, 1, 2, 0, 1])
    assert_agrees(Objective(model, F.cross_entropy, (x, y)))
    assert_agrees(Objective(model, F.cross_entropy, (x, y), params="*bias"))
    first.bias.requires_grad_(False)
    h = assert_agrees(Objective(model, F.cross_entropy, (x, y)))
    v = vectors(2, h.shape[0])
    assert (h.rows(v)[:, h.objective.slices["unused"]] == 0).all()


def test_several_weighted_batches_and_merging():
    model, x, y = problem("perceptron", rows=11)
    data = [(x[:4], y[:4]), (x[4:8], y[4:8]), (x[8:], y[8:])]
    weights = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    assert_agrees(Objective(model, nn.CrossEntropyLoss(weight=weights), data, l2=0.1))
    assert_agrees(Objective(model, nn.CrossEntropyLoss(), data, reduction="sum"))
    assert_agrees(Objective(model, nn.CrossEntropyLoss(), data, weight=lambda batch: float(batch[1][0]) + 1))
    merged = assert_agrees(Objective(model, nn.CrossEntropyLoss(), data))
    whole = hessian(Objective(model, nn.CrossEntropyLoss(), (x, y)), engine="jets")
    v = vectors(3, merged.shape[0])
    assert (merged.rows(v) - whole.rows(v)).norm() <= RELATIVE * whole.rows(v).norm()


def test_a_loss_that_contains_derivatives():
    """A residual u_t + u u_x - 0.1 u_xx of a network u(t, x), and the loss of its mean square."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    points = vectors(7, 2)

    def residual(m, batch):
        z = batch.detach().requires_grad_()
        u = m(z)
        (du,) = torch.autograd.grad(u.sum(), z, create_graph=True)
        (dxx,) = torch.autograd.grad(du[:, 1].sum(), z, create_graph=True)
        return ((du[:, 0] + u[:, 0] * du[:, 1] - 0.1 * dxx[:, 1]) ** 2).mean()

    assert_agrees(Objective(model, residual, points.clone()))

    def functional(m, batch):
        slope = torch.func.vmap(torch.func.grad(lambda z: m(z)[0]))(batch)
        return (slope**2).sum() + m(batch).square().mean()

    assert_agrees(Objective(model, functional, points.clone()))


def test_an_autoencoder_with_fixed_noise_takes_its_input_as_target():
    torch.manual_seed(0)
    encode, decode = nn.Linear(4, 4), nn.Linear(2, 4)
    model = nn.ModuleDict({"encode": encode, "decode": decode}).double()
    noise = vectors(6, 2, seed=5)

    def loss(m, batch):
        mean, log_scale = m["encode"](batch[0]).chunk(2, dim=1)
        rebuilt = m["decode"](mean + log_scale.exp() * batch[1])
        kl = 0.5 * (mean**2 + (2 * log_scale).exp() - 2 * log_scale - 1).sum(1).mean()
        return F.mse_loss(rebuilt, batch[0]) + kl

    assert_agrees(Objective(model, loss, (vectors(6, 4), noise)))


def test_a_stopped_gradient_is_a_constant():
    model, x, y = problem("perceptron")

    def detached(m, batch):
        out = m(batch[0])
        return F.cross_entropy(out, batch[1]) + ((out - 0.5 * out.detach()) ** 2).mean() * out.data.norm()

    def no_grad(m, batch):
        with torch.no_grad():
            target = m(batch[0]).softmax(1)
        return F.cross_entropy(m(batch[0]) * 0.5, target)

    for loss in (detached, no_grad):
        assert_agrees(Objective(model, loss, (x, y)))


def test_dropout_with_a_seed():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8), nn.Dropout(0.4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3)
    ).double()
    data = [(vectors(5, 4, seed=i), torch.tensor([0, 1, 2, 0, 1])) for i in range(2)]
    assert_agrees(Objective(model, F.cross_entropy, data, rng_seed=3))
