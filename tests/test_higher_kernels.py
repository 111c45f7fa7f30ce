"""The core's kernels above first order: the same contractions with and without them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope import _ops
from hesscope.curvature.jets.higher import kernels
from hesscope.objective import Objective
from hesscope.third_order import third_order


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 24), nn.Linear(32, 3)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.out(((q @ k.mT).softmax(-1) @ v).flatten(1))


def normed(norm):
    """A norm of something that has coefficients of every order."""
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 20), norm, nn.GELU(), nn.Linear(20, 40))


CASES = {
    "layer norm": lambda: normed(nn.LayerNorm(20)),
    "rms norm": lambda: normed(nn.RMSNorm(20)),
    "batch norm": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.Tanh(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 40)
    ),
    "attention": Attention,
}
SHAPES_OF_X = {"batch norm": (5, 2, 6, 6), "attention": (5, 4, 6)}
KERNELS = ("norm_jet", "norm_jet_backward", "softmax_jet", "softmax_jet_backward")
SERVED = {
    "layer norm": {"norm_jet", "norm_jet_backward", "softmax_jet"},
    "rms norm": {"norm_jet", "norm_jet_backward", "softmax_jet"},
    "batch norm": {"norm_jet", "softmax_jet"},
    "attention": {"softmax_jet", "softmax_jet_backward"},
}


def problem(case, dtype):
    torch.manual_seed(0)
    model = CASES[case]().to(dtype)
    x = torch.randn(SHAPES_OF_X.get(case, (5, 6)), dtype=dtype)
    return Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), (x, torch.randint(0, 3, (5,))))


def results(objective, k):
    third = third_order(objective, engine="jets")
    u = torch.randn(k, objective.n, dtype=objective.dtype, generator=torch.Generator().manual_seed(2))
    return [third.contract(u, u), third.cubic_form(u), third.contract(u, u, reduction="sum")]


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_contractions_are_the_same_with_kernels(case, k, monkeypatch):
    objective = problem(case, torch.float64)
    expected = results(objective, k)  # of torch: all tensors are small
    counts = dict.fromkeys(KERNELS, 0)

    def counted(name):
        function = getattr(_ops, name)

        def call(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    for name in KERNELS:
        monkeypatch.setattr(_ops, name, counted(name))
    for limit in ("LEAST_NORM", "LEAST_SOFTMAX"):
        monkeypatch.setattr(kernels, limit, 0)
    monkeypatch.setattr("hesscope.curvature.jets.kernels._LEAST_SOFTMAX_ROW", 1)
    got = results(objective, k)
    for first, second in zip(got, expected, strict=True):
        assert (first - second).norm() <= 1e-12 * second.norm()
    assert {name for name, count in counts.items() if count} >= SERVED[case]
