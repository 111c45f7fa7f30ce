"""Every activation of ``torch.nn``, and special functions, by the jets engine against double backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.curvature import hessian
from hesscope.objective import Objective
from jets_cases import assert_agrees, function_objective, positive, smooth, vectors

MODULES = {
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "softplus_threshold": lambda: nn.Softplus(2.0, 0.7),
    "threshold": lambda: nn.Threshold(0.1, 3.0),
    "elu_alpha": lambda: nn.ELU(0.7),
    "celu_alpha": lambda: nn.CELU(0.5),
    "prelu_channels": lambda: nn.PReLU(3),
    "softmax": lambda: nn.Softmax(1),
    "softmin": lambda: nn.Softmin(-1),
    "log_softmax": lambda: nn.LogSoftmax(0),
}
NEEDS_ARGUMENTS = {"Threshold", "Softmax", "Softmin", "LogSoftmax", "MultiheadAttention"}
MODULES |= {name: getattr(nn, name) for name in nn.modules.activation.__all__ if name not in NEEDS_ARGUMENTS}


class Activated(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.inner, self.activation = nn.Parameter(smooth(2, 3, 4, 4)), activation

    def forward(self, scale):
        out = self.activation(scale * self.inner)
        weights = torch.linspace(0.3, 1.7, out.numel(), dtype=out.dtype).view(out.shape)
        return (weights * out).sum() + 0.5 * (weights.flip(0) * out * out).sum()


def objective(activation):
    model = Activated(activation).double()
    return Objective(model, lambda m, b: m(b), torch.tensor(0.9, dtype=torch.float64), mode="eval")


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("Hardsigmoid", "Softmax2d")])
def test_activations(name):
    assert_agrees(objective(MODULES[name]()))


def test_softmax_over_channels():
    assert_agrees(objective(nn.Softmax2d()))


def test_hardsigmoid_has_a_hessian_although_double_backward_has_none():
    got = hessian(objective(nn.Hardsigmoid()), engine="jets")
    same = hessian(objective(lambda x: (x / 6 + 0.5).clamp(0, 1)), engine="autograd")
    v = vectors(5, got.shape[0])
    # PyTorch's derivative multiplies by 1/6 rounded to float32, whatever the precision
    size = same.rows(v).norm()
    assert (got.rows(v) - same.rows(v)).norm() <= torch.finfo(torch.float32).eps * size


@pytest.mark.parametrize(
    "activation",
    [F.relu, F.relu6, F.elu, F.celu, F.selu, F.silu, F.mish, F.hardswish, F.leaky_relu],
    ids=lambda f: f.__name__,
)
def test_activations_in_place(activation):
    assert_agrees(function_objective(lambda x: activation(x * 1, inplace=True), smooth(2, 3, 4)))


SPECIAL = [
    "acosh",
    "asinh",
    "digamma",
    "erf",
    "erfc",
    "exp2",
    "expm1",
    "frac",
    "i0",
    "lgamma",
    "log10",
    "log1p",
    "log2",
    "nan_to_num",
    "neg",
    "positive",
    "rad2deg",
    "deg2rad",
    "reciprocal",
    "rsqrt",
    "sinc",
    "sqrt",
    "square",
    "tan",
    "trunc",
    "sign",
    "ceil",
    "floor",
    "round",
    "special.erfcx",
    "special.i0e",
    "special.i1",
    "special.i1e",
    "special.entr",
    "special.ndtr",
    "special.log_ndtr",
]
INSIDE = ["acos", "asin", "atanh", "erfinv", "logit", "special.ndtri"]  # of (0, 1)


@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions(name):
    module, _, short = name.rpartition(".")
    function = getattr(torch.special if module else torch, short)
    x = positive(3, 4) + (1 if name == "acosh" else 0)
    assert_agrees(function_objective(lambda x: function(x) + x * x, x))


@pytest.mark.parametrize("name", INSIDE)
def test_special_functions_between_0_and_1(name):
    module, _, short = name.rpartition(".")
    function = getattr(torch.special if module else torch, short)
    assert_agrees(function_objective(function, smooth(3, 4).sigmoid()))


BINARY = {
    "hypot": torch.hypot,
    "fmod": torch.fmod,
    "remainder": torch.remainder,
    "remainder_of_a_number": lambda a, b: torch.remainder(a, 0.4) * b,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
    "copysign": torch.copysign,
    "logaddexp": torch.logaddexp,
    "logaddexp2": torch.logaddexp2,
    "xlog1py": torch.special.xlog1py,
    "lerp": lambda a, b: torch.lerp(a, b, a),
    "floored_quotient": lambda a, b: torch.div(a, b, rounding_mode="floor") + a * b,
    "float_power": torch.float_power,
    "divided_by_counts": lambda a, b: a * b / torch.tensor(3),
}


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 1), (2, 1, 4))])
@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two(name, shapes):
    a, b = (positive(*shape, seed=3 * i) for i, shape in enumerate(shapes))
    assert_agrees(function_objective(BINARY[name], a, b))
