"""v'Hv without a product: the numbers that products give, from every operator, checked before they count."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hesscope as hs
from hesscope.curvature.jets import forms
from hesscope.testing import prescribed_spectrum


def objective(*, l2=0.0, batches=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.LayerNorm(9), nn.Linear(9, 3)).double()
    x, y = torch.randn(24, 6, dtype=torch.float64), torch.randint(3, (24,))
    data = list(zip(x.chunk(batches), y.chunk(batches), strict=True))
    return hs.Objective(model, nn.CrossEntropyLoss(), data, l2=l2)


def dense(n=12):
    a = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return hs.from_matrix(a + a.T)


OPERATORS = {
    "matrix": dense,
    "shifted": lambda: hs.shifted(dense(), 2.0),
    "scaled": lambda: hs.scaled(dense(), -3.0),
    "preconditioned": lambda: hs.preconditioned(dense(), torch.linspace(1, 2, 12, dtype=torch.float64)),
    "jets": lambda: hs.hessian(objective(), engine="jets"),
    "jets, l2": lambda: hs.hessian(objective(l2=0.3), engine="jets"),
    "autograd": lambda: hs.hessian(objective(l2=0.3), engine="autograd"),
    "ggn": lambda: hs.ggn(objective(l2=0.3)),
    "shifted hessian": lambda: hs.shifted(hs.hessian(objective()), 1.0),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_forms_are_those_of_products(name):
    H = OPERATORS[name]()
    v = torch.randn(5, H.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = H.products
    got = H.quadratic_forms(v)
    assert H.products == before + 5
    assert got.dtype == torch.float64
    want = (H.rows(v) * v).sum(dim=1)
    size = float((v.norm(dim=1) * H.rows(v).norm(dim=1)).max())
    assert (got - want).abs().max() <= 1e-13 * size
    assert H.quadratic_forms(v[:0]).shape == (0,)
    strided = torch.stack([v, v], dim=2)[..., 0]
    assert (H.quadratic_forms(strided) - got).abs().max() <= 1e-13 * size


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_forward_forms_go_through_no_product_after_the_first_call(monkeypatch, l2):
    H = hs.hessian(objective(l2=l2), engine="jets")
    v = torch.randn(3, H.shape[0], dtype=torch.float64)
    want = H.quadratic_forms(v)
    monkeypatch.setattr(type(H), "_jet_rows", lambda *_: pytest.fail("a product"))
    assert torch.equal(H.quadratic_forms(v), want)


def test_changed_weights_are_noticed():
    problem = objective()
    H = hs.hessian(problem, engine="jets")
    v = torch.randn(2, H.shape[0], dtype=torch.float64)
    before = H.quadratic_forms(v)
    with torch.no_grad():
        for p in problem.model.parameters():
            p.mul_(1.1)
    after = H.quadratic_forms(v)
    assert (after - before).abs().min() > 1e-6
    assert torch.allclose(after, (hs.hessian(problem, engine="autograd").rows(v) * v).sum(1), rtol=1e-10)


@pytest.mark.parametrize("budget", [0, 2**14, None])
def test_the_memory_of_forms_is_counted_and_released(budget):
    H = hs.hessian(objective(), engine="jets", memory_budget=budget)
    v = torch.randn(2, H.shape[0], dtype=torch.float64)
    H.rows(v)
    products = H.memory
    want = H.quadratic_forms(v)
    if budget is None:
        assert H.memory > products
    else:
        assert H.memory <= budget
    H.release()
    assert H.memory == 0
    assert torch.allclose(H.quadratic_forms(v), want, rtol=1e-12)


def test_forms_that_disagree_with_products_are_not_used(monkeypatch):
    """A second derivative of the loss that is not the first one of its gradient."""
    real = forms.ForwardForms._forward
    monkeypatch.setattr(forms.ForwardForms, "_forward", lambda self, v: real(self, v) + 1e-6)
    H = hs.hessian(objective(), engine="jets")
    v = torch.randn(4, H.shape[0], dtype=torch.float64)
    assert torch.allclose(H.quadratic_forms(v), (H.rows(v) * v).sum(1), rtol=1e-12)


def test_what_cannot_be_captured_falls_back_to_products():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.from_numpy(x.detach().numpy() ** 3)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x**2 * g

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.linspace(0.5, 1.5, 4, dtype=torch.float64))

        def forward(self, x):
            return Opaque.apply(self.w * x).sum()

    x = torch.ones(4, dtype=torch.float64)
    H = hs.hessian(hs.Objective(Model(), lambda m, b: m(b), x), engine="auto")
    v = torch.eye(4, dtype=torch.float64)
    with pytest.warns(UserWarning, match="falling back"):
        got = H.quadratic_forms(v)
    assert torch.allclose(got, 6 * torch.linspace(0.5, 1.5, 4, dtype=torch.float64))


def test_layers_cover_all_coordinates_and_begin_with_their_matrices():
    problem = objective()
    H = hs.hessian(problem)
    assert H.layers() == (slice(0, 81), slice(81, 111))  # the norm goes with the layer before it
    assert hs.shifted(H, 1.0).layers() == H.layers()
    assert prescribed_spectrum(torch.ones(4)).layers() == (slice(0, 4),)


def test_bad_vectors_are_named():
    H = dense()
    with pytest.raises(ValueError, match=r"quadratic_forms: vectors must have shape \[K, 12\], got \[12\]"):
        H.quadratic_forms(torch.zeros(12, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"quadratic_forms: vectors must be torch\.float64"):
        H.quadratic_forms(torch.zeros(2, 12))
