"""Convolutions with their channels last in memory: the same products, and nothing rearranged on the way."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hesscope.curvature import hessian
from hesscope.curvature.jets import layout, program
from hesscope.curvature.jets.higher import fused
from hesscope.objective import Objective
from hesscope.third_order import third_order


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.conv = nn.Conv2d(4, 6, 3, padding=1, groups=2)

    def forward(self, x):
        x = F.max_pool2d(F.gelu(self.up(x)), 2)
        return F.avg_pool2d(F.pad(F.interpolate(self.conv(x), scale_factor=2.0), (1, 1, 0, 2)), 2)


def network(kind):
    torch.manual_seed(1)
    body = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    if kind == "batch norm":
        body = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, dilation=2))
    if kind == "group norm":
        body = nn.Sequential(nn.Conv2d(4, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 6, 3))
    if kind == "pooled":
        body = Pooled()
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)]
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), body, *head)


KINDS = ("plain", "batch norm", "group norm", "pooled")


def data(dtype):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, 3, 10, 10, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.randint(3, (5,), generator=generator)


def products(kind, engine, dtype, vectors):
    objective = Objective(network(kind).to(dtype), F.cross_entropy, data(dtype))
    return hessian(objective, engine=engine).rows(vectors.to(dtype)).double()


@pytest.fixture(params=[False, True], ids=["channels first", "channels last"])
def order(request, monkeypatch):
    monkeypatch.setattr(program, "faster_last", lambda *_: request.param)
    return bool(request.param)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 3])
def test_products_are_those_of_double_backward_in_either_order(kind, k, order):
    n = sum(p.numel() for p in network(kind).parameters())
    vectors = torch.randn(k, n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    exact = products(kind, "autograd", torch.float64, vectors)
    plain = products(kind, "autograd", torch.float32, vectors)
    got = products(kind, "jets", torch.float32, vectors)
    allowed = 2 * (plain - exact).norm() + 8 * torch.finfo(torch.float32).eps * exact.norm()
    assert (got - exact).norm() <= allowed


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_are_not_kept_are_computed_in_either_order(kind, order):
    del order
    objective = Objective(network(kind).double(), F.cross_entropy, data(torch.float64))
    vectors = torch.randn(2, objective.n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    h = hessian(objective, engine="jets", memory_budget=0)
    expected = hessian(objective, engine="autograd").rows(vectors)
    for _ in range(2):  # the second time without a gradient, and without the values that only it needs
        assert (h.rows(vectors) - expected).norm() <= 1e-10 * expected.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_contractions_are_the_same_in_both_orders(kind, monkeypatch):
    objective = Objective(network(kind), F.cross_entropy, data(torch.float32))
    u, v = torch.randn(2, 2, objective.n, generator=torch.Generator().manual_seed(4))
    found = []
    for last in (False, True):
        monkeypatch.setattr(program, "faster_last", lambda *_, last=last: last)
        third = third_order(objective, engine="jets")
        found.append((third.contract(u, u), third.contract(u, v), third.contract(u, u, reduction="sum")))
    for first, second in zip(*found, strict=True):
        # two orders of summation, through five layers
        assert (first - second).norm() <= 64 * torch.finfo(torch.float32).eps * first.norm()


def test_coefficients_keep_their_channels_last(monkeypatch):
    monkeypatch.setattr(program, "faster_last", lambda *_: True)
    h = hessian(Objective(network("batch norm"), F.cross_entropy, data(torch.float32)), engine="jets")
    v = torch.randn(1, h.shape[0])
    h.rows(v)
    (prepared,) = h._prepared.values()
    orders = []
    for compiled in prepared.steps:
        function = getattr(compiled.step, "func", None)
        if getattr(function, "__name__", "") in ("_convolution_step", "_conv_backward_step"):
            saved = [t for t in _tensors(compiled.step.args) if t.ndim == 4]
            orders += [t.is_contiguous(memory_format=torch.channels_last) for t in saved]
    assert len(orders) >= 6
    assert all(orders)


@pytest.mark.parametrize("kind", ["plain", "batch norm"])
def test_coefficients_above_first_order_keep_their_channels_last(kind, monkeypatch):
    monkeypatch.setattr(program, "faster_last", lambda *_: True)
    orders = []
    function = torch.convolution

    def convolved(x, *rest):
        orders.append(x.is_contiguous(memory_format=torch.channels_last))
        return function(x, *rest)

    objective = Objective(network(kind), F.cross_entropy, data(torch.float32))
    third, v = third_order(objective, engine="jets"), torch.randn(2, objective.n)
    monkeypatch.setattr(fused, "_LEAST", 0)
    third.contract(v, v)
    monkeypatch.setattr(torch, "convolution", convolved)
    third.contract(v, v)
    assert len(orders) >= 2
    assert all(orders)


def _tensors(values):
    if isinstance(values, Tensor):
        return [values]
    return [t for v in values for t in _tensors(v)] if isinstance(values, tuple) else []


def test_the_order_is_measured_once_for_the_same_convolutions(monkeypatch):
    monkeypatch.setattr(layout, "_chosen", {})
    runs = []
    seconds = layout._seconds
    monkeypatch.setattr(layout, "_seconds", lambda run, last: runs.append(last) or seconds(run, last))
    model = network("plain")
    for other in (model, copy.deepcopy(model)):
        h = hessian(Objective(other, F.cross_entropy, data(torch.float32)), engine="jets")
        h.rows(torch.ones(1, h.shape[0]))
    assert sorted(runs) == [False, False, True, True]


def test_the_faster_order_is_chosen(monkeypatch):
    for wanted in (False, True):
        monkeypatch.setattr(layout, "_chosen", {})
        monkeypatch.setattr(layout, "_seconds", lambda _, last, wanted=wanted: float(last != wanted))
        h = hessian(Objective(network("plain"), F.cross_entropy, data(torch.float32)), engine="jets")
        h.rows(torch.ones(1, h.shape[0]))
        (found,) = h._programs.values()
        assert found._channels_last is wanted


def test_a_listing_that_reads_the_order_in_memory_is_left_alone():
    def loss(model, batch):
        y = model(batch)
        still = batch * 2  # contiguous, and no part of what is differentiated
        return (y.mean((2, 3)) * torch.as_strided(still, (5, 4), (300, 1))).square().sum()

    x, _ = data(torch.float32)
    objective = Objective(nn.Conv2d(3, 4, 3), loss, x)
    h = hessian(objective, engine="jets")
    v = torch.ones(1, h.shape[0])
    got = h.rows(v)
    (found,) = h._programs.values()
    assert not found._convolved
    expected = hessian(objective, engine="autograd").rows(v)
    assert (got - expected).norm() <= 64 * torch.finfo(torch.float32).eps * expected.norm()
