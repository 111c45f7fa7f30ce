"""Tracing without fake tensors and generated code: the same listing, and PyTorch as it was."""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental import proxy_tensor

from hesscope.curvature import hessian
from hesscope.curvature.jets import capture, tracing
from hesscope.objective import Objective


def objective():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4), nn.Softplus()
    )

    def loss(m, batch):
        y = m(batch[0])
        written = torch.zeros_like(y)
        written[:, 1:3] = y[:, :2].mT.T.flip(0)[torch.tensor([1, 0, 2])]
        return F.mse_loss(written * y, batch[1])

    return Objective(model, loss, (torch.randn(3, 2, 6, 6), torch.randn(3, 4)))


def described(code):
    return [(str(item.target), item.value) for item in code.code], code.outputs, code.inputs


def test_the_listing_is_that_of_plain_tracing(monkeypatch):
    found = described(capture.capture(objective(), next(iter(objective().data)), 0).code)
    monkeypatch.setattr(capture, "light", contextlib.nullcontext)
    assert found == described(capture.capture(objective(), next(iter(objective().data)), 0).code)


@pytest.mark.parametrize("fails", [False, True])
def test_pytorch_is_left_as_it_was(fails):
    before = proxy_tensor.extract_val
    with contextlib.suppress(ZeroDivisionError), tracing.light():
        assert proxy_tensor.extract_val is not before
        if fails:
            raise ZeroDivisionError
    assert proxy_tensor.extract_val is before


def test_internals_that_are_not_there_are_not_missed(monkeypatch):
    monkeypatch.delattr(proxy_tensor, "extract_val")
    monkeypatch.delattr(tracing._lazy_graph_module, "_use_lazy_graph_module")
    with tracing.light():
        assert not hasattr(proxy_tensor, "extract_val")


def test_products_agree_with_double_backward():
    h = hessian(objective(), engine="jets")
    v = torch.randn(2, h.shape[0])
    expected = hessian(objective(), engine="autograd").rows(v)
    assert (h.rows(v) - expected).norm() <= 64 * torch.finfo(torch.float32).eps * expected.norm()
