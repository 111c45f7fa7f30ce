"""MlpObjective: against nested differentiation in float64, its identities, and its messages."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from hesscope import _ops

ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, threshold=1e9),
}
LOSSES = ["cross_entropy", "squared_error"]


class Network:
    """The same network twice: for the core, and as a function of one flat vector for torch."""

    def __init__(self, activations, widths=(5, 7, 6, 4), loss="cross_entropy", bias=True, rows=9, seed=0):
        rng = torch.Generator().manual_seed(seed)
        normal = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
        self.activations, self.loss, self.scale = activations, loss, 0.3
        self.weights = [normal(b, a) / a**0.5 * 1.2 for a, b in pairwise(widths)]
        self.biases = [normal(b) if bias else None for b in widths[1:]]
        self.inputs = normal(rows, widths[0])
        self.target = normal(rows, widths[-1]) if loss == "squared_error" else normal(rows, widths[-1]).abs()
        self.vectors = normal(2, 3, sum(w.numel() for w in self.weights) + sum(widths[1:]) * bias)

    def core(self, dtype, device, backend):
        move = lambda t: None if t is None else t.to(device=device, dtype=dtype)  # noqa: E731
        return _ops.MlpObjective(
            [move(w) for w in self.weights],
            [move(b) for b in self.biases],
            self.activations,
            move(self.inputs),
            move(self.target),
            loss=self.loss,
            scale=self.scale,
            backend=backend,
        )

    @property
    def theta(self):
        parts = [p for layer in zip(self.weights, self.biases, strict=True) for p in layer if p is not None]
        return torch.cat([p.flatten() for p in parts])

    def value(self, theta):
        x, at = self.inputs, 0
        for w, b, name in zip(self.weights, self.biases, self.activations, strict=True):
            x = x @ theta[at : at + w.numel()].view_as(w).T
            at += w.numel()
            if b is not None:
                x, at = x + theta[at : at + b.numel()], at + b.numel()
            x = ACTIVATIONS[name](x)
        if self.loss == "squared_error":
            return self.scale * (x - self.target).square().sum()
        return -self.scale * (self.target * x.log_softmax(1)).sum()

    def nested(self, u, v):
        """H v, v' H v, T[u, v, .] and T[v, v, v] for one pair of directions, by reverse passes."""
        theta = self.theta.requires_grad_()
        (gradient,) = torch.autograd.grad(self.value(theta), theta, create_graph=True)
        (product,) = torch.autograd.grad(gradient @ v, theta, create_graph=True, materialize_grads=True)
        if not product.requires_grad:  # a quadratic loss of a linear network
            return product, product @ v, torch.zeros_like(v), torch.zeros(())
        both, twice = (
            torch.autograd.grad(product @ x, theta, retain_graph=True, materialize_grads=True)[0]
            for x in (u, v)
        )
        return product.detach(), (product @ v).detach(), both, twice @ v


def networks():
    for name in ACTIVATIONS:
        yield pytest.param(([name, name, "identity"], {}), id=name)
    yield pytest.param((["tanh", "silu", "sigmoid"], {}), id="active_output")
    yield pytest.param((["tanh", "gelu", "identity"], {"bias": False}), id="no_bias")
    yield pytest.param((["identity"], {"widths": (4, 3)}), id="one_layer")
    yield pytest.param((["tanh", "identity"], {"widths": (1, 1, 1), "rows": 1}), id="smallest")
    yield pytest.param((["identity", "identity", "identity"], {}), id="deep_linear")


def error(got, want):
    return ((got.double().cpu() - want).norm() / (want.norm() + 1e-300)).item()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", list(networks()))
def test_every_derivative_is_that_of_nested_autograd(case, loss, backend, device):
    activations, options = case
    network = Network(activations, loss=loss, **options)
    mlp = network.core(torch.float64, device, backend)
    theta = network.theta.requires_grad_()
    value = network.value(theta)
    (gradient,) = torch.autograd.grad(value, theta)
    assert mlp.n == theta.numel()
    assert mlp.loss == pytest.approx(value.item(), rel=1e-13)
    tolerance, floor = 1e-12, 1e-12 * gradient.norm()
    assert error(mlp.gradient(), gradient) <= tolerance

    u, v = network.vectors
    du, dv = u.to(device), v.to(device)
    rows = [network.nested(*pair) for pair in zip(u, v, strict=True)]
    square = torch.stack([network.nested(x, x)[2] for x in v])
    products, quadratic, both, cubic = (torch.stack(column) for column in zip(*rows, strict=True))
    for got, want in [
        (mlp.products(dv), products),
        (mlp.quadratic(dv), quadratic),
        (mlp.contract(du, dv), both),
        (mlp.contract(dv, dv), square),
        (mlp.cubic(dv), cubic),
    ]:
        assert (got.double().cpu() - want).norm() <= tolerance * want.norm() + 100 * floor


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_is_right_to_its_rounding(loss, backend, device):
    network = Network(["tanh", "gelu", "identity"], loss=loss)
    single, double = (network.core(dtype, device, backend) for dtype in (torch.float32, torch.float64))
    u, v = (x.to(device) for x in network.vectors)
    tolerance = 64 * torch.finfo(torch.float32).eps
    for name, arguments in [("products", (v,)), ("quadratic", (v,)), ("contract", (u, v)), ("cubic", (v,))]:
        want = getattr(double, name)(*arguments).cpu()
        got = getattr(single, name)(*(x.float() for x in arguments))
        assert error(got, want) <= tolerance, name


def test_the_third_order_is_the_derivative_of_products(backend, device):
    """Richardson's difference of H v along u: error O(h^4) and eps / h."""
    network = Network(["tanh", "softplus", "identity"])
    u, v = network.vectors
    want = network.core(torch.float64, device, backend).contract(u[:1].to(device), v[:1].to(device)).cpu()

    def products(step):
        moved, at = Network(["tanh", "softplus", "identity"]), 0
        for l in range(3):  # noqa: E741
            for part in (moved.weights[l], moved.biases[l]):
                part += step * u[0, at : at + part.numel()].view_as(part)
                at += part.numel()
        return moved.core(torch.float64, device, backend).products(v[:1].to(device)).cpu()

    def difference(h):
        return (products(h) - products(-h)) / (2 * h)

    h = 2e-3
    assert error((4 * difference(h / 2) - difference(h)) / 3, want) <= 1e-7


def test_contractions_are_symmetric(backend, device):
    network = Network(["silu", "tanh", "identity"])
    mlp = network.core(torch.float64, device, backend)
    u, v = (x.to(device) for x in network.vectors)
    w = torch.roll(u, 1, 0)
    values = [(mlp.contract(a, b) * c).sum(1) for a, b, c in [(u, v, w), (v, u, w), (u, w, v), (w, v, u)]]
    assert all(((x - values[0]).abs() <= 1e-11 * values[0].abs().max()).all() for x in values)
    forward, backward = mlp.cubic(v), (mlp.contract(v, v) * v).sum(1)
    assert ((forward - backward).abs() <= 1e-11 * backward.abs().max()).all()


def test_a_row_does_not_depend_on_its_neighbours_or_the_threads(dtype, backend, device):
    network = Network(["tanh", "gelu", "identity"], widths=(30, 70, 40, 11), rows=50)
    mlp = network.core(dtype, device, backend)
    u, v = (x.to(device=device, dtype=dtype) for x in network.vectors)
    wide = torch.zeros(3, v.shape[1] + 5, dtype=dtype, device=device)[:, : v.shape[1]].copy_(v)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = mlp.products(wide), mlp.contract(u, v)
    finally:
        torch.set_num_threads(threads)
    for k in range(3):
        part = slice(k, k + 1)
        assert torch.equal(together[0][part], mlp.products(v[part]))
        assert torch.equal(together[1][part], mlp.contract(u[part], v[part]))


def test_no_directions_are_legal(backend, device):
    network = Network(["tanh", "gelu", "identity"])
    mlp = network.core(torch.float64, device, backend)
    none = torch.empty(0, mlp.n, dtype=torch.float64, device=device)
    assert mlp.products(none).shape == (0, mlp.n)
    assert mlp.cubic(none).shape == (0,)


def test_messages_name_the_arguments(backend, device):
    network = Network(["tanh", "gelu", "identity"])
    mlp = network.core(torch.float64, device, backend)
    ones = lambda *shape, dtype=torch.float64: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    with pytest.raises(ValueError, match=r"MlpObjective: v must have shape \[K, 118\], got \[2, 5\]"):
        mlp.products(ones(2, 5))
    with pytest.raises(TypeError, match=r"MlpObjective: v must have the dtype of the network"):
        mlp.products(ones(2, mlp.n, dtype=torch.float32))
    with pytest.raises(ValueError, match=r"MlpObjective: v must have shape \[2, 118\], got \[3, 118\]"):
        mlp.contract(ones(2, mlp.n), ones(3, mlp.n))
    network.weights[1] = network.weights[1][:, :5]
    with pytest.raises(ValueError, match=r"the weight of layer 1 must have 7 columns, got \[6, 5\]"):
        network.core(torch.float64, device, backend)
    network = Network(["tanh", "gelu", "identity"])
    network.target = network.target[:, :3]
    with pytest.raises(ValueError, match=r"MlpObjective: the target must have shape \[9, 4\], got \[9, 3\]"):
        network.core(torch.float64, device, backend)
    network = Network(["tanh", "mish", "identity"])
    with pytest.raises(ValueError, match=r"the activation must be one of identity, .*; got mish"):
        network.core(torch.float64, device, backend)
    network = Network(["tanh", "tanh", "identity"], loss="hinge")
    with pytest.raises(ValueError, match=r"loss must be 'cross_entropy' or 'squared_error', got 'hinge'"):
        network.core(torch.float64, device, backend)
