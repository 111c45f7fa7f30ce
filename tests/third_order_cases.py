"""What the tests of third order share: nested autograd and differences of products with H as oracles."""

from __future__ import annotations

import itertools

import torch
from torch import nn

import hesscope as hs
from jets_cases import RELATIVE, vectors
from test_jets_models import problem

DOUBLE = torch.float64


def objective_of(name, mode="keep", **options):
    model, x, y = problem(name)
    return hs.Objective(model, nn.CrossEntropyLoss(label_smoothing=0.1), (x, y), mode=mode, **options)


class Cubic(nn.Module):
    """sum_r c_r (a_r' theta)^3 / 6 with orthonormal directions."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.register_buffer("a", torch.linalg.qr(torch.randn(7, 7, generator=g, dtype=DOUBLE))[0])
        self.register_buffer("c", torch.tensor([3.0, -2.0, 1.0, 0.5, 0.0, -1.0, 2.0], dtype=DOUBLE))
        self.theta = nn.Parameter(torch.randn(7, generator=g, dtype=DOUBLE))

    def forward(self, scale):
        return scale * (self.c * (self.a @ self.theta) ** 3).sum() / 6


def difference(objective, function, direction, steps=5, first=2e-2):
    """Derivative of ``function()`` along a unit direction: central differences, extrapolated (Richardson)."""
    parts = objective.parameter_set
    kept = [p.detach().clone() for p in parts.tensors]

    def at(t):
        with torch.no_grad():
            for p, base, part in zip(parts.tensors, kept, parts.slices, strict=True):
                p.copy_(base + t * direction[part].view(p.shape))
        return function()

    rows = [(at(first / 2**k) - at(-first / 2**k)) / (2 * first / 2**k) for k in range(steps)]
    with torch.no_grad():
        for p, base in zip(parts.tensors, kept, strict=True):
            p.copy_(base)
    best, error = rows[0], float("inf")
    for m in range(1, steps):
        rows = [(4**m * b - a) / (4**m - 1) for a, b in itertools.pairwise(rows)]
        if len(rows) > 1 and (rows[-1] - rows[-2]).norm() < error:
            best, error = rows[-1], float((rows[-1] - rows[-2]).norm())
    return best


def units(num, n, seed):
    v = vectors(num, n, seed=seed)
    return v / v.norm(dim=1, keepdim=True)


def assert_close(got, expected, size, relative=RELATIVE):
    error = float((got - expected).norm())
    assert error <= relative * max(float(expected.norm()), size), f"off by {error:.1e}, size {size:.1e}"


def assert_third_order(objective, *, num_vectors=(1, 5), relative=RELATIVE, zero=False):
    """Compare all forms with nested autograd, in which norms are elementary; return the jets engine."""
    jets, oracle = hs.third_order(objective, engine="jets"), hs.third_order(objective, engine="autograd")
    h = hs.hessian(objective, engine="autograd")
    for k in num_vectors:
        u, v = units(k, objective.n, 1), units(k, objective.n, 2)
        products = h.rows(u)
        size = float(products.norm())  # rounding is relative to terms of the size of H
        squares = oracle.contract(u, u)
        assert (squares.norm() == 0) == zero
        assert_close(jets.contract(u, u), squares, size, relative)
        assert_close(jets.contract(u, v), oracle.contract(u, v), size, relative)
        assert_close(jets.quadratic_form(u), (products * u).sum(1), size, relative)
        assert_close(jets.cubic_form(u), (squares * u).sum(1), size, relative)
    return jets


class CubicForm(nn.Module):
    """T[theta, theta, theta] / 6 of a dense symmetric tensor: its third derivative is T, everywhere."""

    def __init__(self, t):
        super().__init__()
        self.register_buffer("t", t)
        self.theta = nn.Parameter(torch.zeros(len(t), dtype=DOUBLE))

    def forward(self, scale):
        return scale * torch.einsum("ijk,i,j,k->", self.t, self.theta, self.theta, self.theta) / 6


def objective_of_tensor(t):
    """The objective whose third derivative is t."""
    model = CubicForm(t)
    return hs.Objective(model, lambda m, s: m(s), torch.tensor(1.0, dtype=DOUBLE))


def random_symmetric(n, seed=0):
    t = torch.randn(n, n, n, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    return sum(t.permute(order) for order in itertools.permutations(range(3))) / 6
