"""The core's kernels in the jets engine: the same products with and without them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope import _ops
from hesscope.curvature import hessian
from hesscope.curvature.jets import kernels
from hesscope.objective import Objective


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 24), nn.Linear(32, 3)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.out(((q @ k.mT).softmax(-1) @ v).flatten(1))


CASES = {
    "layer norm": lambda: nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3)),
    "batch norm": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(64, 3)
    ),
    "group norm": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)
    ),
    "rms norm": lambda: nn.Sequential(nn.Linear(6, 16), nn.RMSNorm(16), nn.GELU(), nn.Linear(16, 3)),
    "attention": Attention,
}
LIMITS = [name for name in vars(kernels) if "LEAST" in name]
SHAPES_OF_X = {"layer norm": (5, 6), "rms norm": (5, 6), "attention": (5, 4, 6)}
SERVED = {case: {"factor_sum", "norm_jet", "norm_jet_backward", "softmax_jet"} for case in CASES}
SERVED["attention"] = {"softmax_jet", "softmax_jet_backward"}


def problem(case, dtype):
    torch.manual_seed(0)
    model = CASES[case]().to(dtype)
    x = torch.randn(SHAPES_OF_X.get(case, (5, 2, 6, 6)), dtype=dtype)
    return Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), (x, torch.randint(0, 3, (5,))))


@pytest.fixture
def calls(monkeypatch):
    """Let kernels serve tensors of any size, and count their calls."""
    counts = dict.fromkeys(set.union(*SERVED.values()), 0)

    def counted(name):
        function = getattr(_ops, name)

        def call(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    for name in LIMITS:
        monkeypatch.setattr(kernels, name, 0)
    for name in counts:
        monkeypatch.setattr(_ops, name, counted(name))
    return counts


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 3])
def test_products_agree_with_double_backward(case, k, calls):
    objective = problem(case, torch.float64)
    v = torch.randn(k, objective.n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    want = hessian(objective, engine="autograd").rows(v)
    got = hessian(objective, engine="jets").rows(v)
    assert (got - want).norm() <= 1e-10 * want.norm()
    assert {name for name, count in calls.items() if count > 0} == SERVED[case], calls


@pytest.mark.parametrize("case", CASES)
def test_small_tensors_stay_in_torch(case, calls, monkeypatch):
    for name in LIMITS:
        monkeypatch.setattr(kernels, name, 1 << 30)
    objective = problem(case, torch.float64)
    hessian(objective, engine="jets").rows(torch.ones(2, objective.n, dtype=torch.float64))
    assert set(calls.values()) == {0}, calls


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_cross_entropy_keeps_one_tensor_of_the_size_of_the_logits(smoothing, calls):
    logits = 4 * 50_000
    model = nn.Linear(3, 50_000, bias=False)
    batch = (torch.randn(4, 3), torch.randint(0, 50_000, (4,)))
    loss = lambda m, b: F.cross_entropy(m(b[0]), b[1], label_smoothing=smoothing)  # noqa: E731
    h = hessian(Objective(model, loss, batch), engine="jets")
    v = torch.randn(2, 150_000)
    h.rows(v)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.numel() == 2 * logits and not function.is_view:
                sizes.append(str(function))
            return out

    calls["softmax_jet"] = 0
    with Watch():
        h.rows(v)
    # the coefficients of the logits, by a product, and of their gradient, by the kernel
    assert calls["softmax_jet"] == 1
    assert len(sizes) == 2, sizes


SHAPES = [
    ((2, 3), [(2, 3), (3,)]),
    ((2, 3, 4), [(1, 3, 1), (2, 3, 4)]),
    ((2, 3, 4, 5), [(2, 3, 4, 5), ()]),
    ((2, 1, 4), [(4,), (2, 1, 1)]),
]


@pytest.mark.parametrize(("shape", "operands"), SHAPES)
def test_folding_keeps_the_broadcast(shape, operands):
    padded = [(*[1] * (len(shape) - len(s)), *s) for s in operands]
    axes = kernels._axes(shape, padded)
    whole = kernels._fold(shape, axes)
    for sizes in padded:
        t = torch.randn(sizes, dtype=torch.float64)
        folded = t.view(kernels._fold(sizes, axes)).expand(whole)
        assert torch.equal(folded.reshape(shape), t.expand(shape))


def test_a_broadcast_in_more_than_three_runs_is_left_to_torch():
    assert kernels._axes((2, 3, 4, 5), [(2, 1, 4, 1), (1, 3, 1, 5)]) is None
