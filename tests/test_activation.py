"""activation_derivatives: against arbitrary precision, their contracts, and their messages."""

from __future__ import annotations

import mpmath
import pytest
import torch
import torch.nn.functional as F

from hesscope import _ops

EPS = torch.finfo(torch.float64).eps
FORMULAS = {
    "identity": lambda x: x,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.ncdf(x),
    "gelu_tanh": lambda x: (
        x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)))
    ),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "elu": lambda x: x if x > 0 else mpmath.expm1(x),
    "exp": mpmath.exp,
    "log": mpmath.log,
    "erf": mpmath.erf,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "sqrt": mpmath.sqrt,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "square": lambda x: x * x,
}
POSITIVE = {"log", "sqrt", "rsqrt", "reciprocal"}
IN_TORCH = {
    "identity": lambda x: x,
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, threshold=1e9),
    "elu": F.elu,
    "exp": torch.exp,
    "log": torch.log,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "square": torch.square,
}
POINTS = [-9.0, -3.5, -1.0, -0.3, -1e-3, 0.0, 1e-9, 0.2, 0.7, 1.9, 4.0, 8.5]


@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives_are_those_of_the_formula(name, backend, device):
    points = [at for at in POINTS if at > 1e-6] if name in POSITIVE else POINTS
    if name == "elu":  # one-sided where its second derivative jumps
        points = [at for at in points if at != 0]
    x = torch.tensor([points], dtype=torch.float64, device=device)
    got = _ops.activation_derivatives(name, x, backend=backend).cpu()[:, 0]
    with mpmath.workdps(60):
        want = torch.tensor(
            [[float(mpmath.diff(FORMULAS[name], mpmath.mpf(at), d)) for at in points] for d in range(4)],
            dtype=torch.float64,
        )
    # Terms of up to x^4 times the largest derivative, a few roundings each; no cancellation below that.
    size = (1 + x.cpu()[0].abs()) ** 2
    assert ((got - want).abs() <= 16 * EPS * torch.maximum(size, want.abs())).all()


@pytest.mark.parametrize("name", IN_TORCH)
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_values_are_torchs_and_orders_agree(name, order, dtype, backend, device, rng):
    x = torch.randn(5, 40, generator=rng, dtype=torch.float64)
    x = (x.abs() if name in POSITIVE else x).to(device=device, dtype=dtype)[:, :37]
    got = _ops.activation_derivatives(name, x, order=order, backend=backend)
    assert got.shape == (order + 1, 5, 37)
    assert torch.equal(got, _ops.activation_derivatives(name, x, backend=backend)[: order + 1])
    want = IN_TORCH[name](x.double())
    assert ((got[0].double() - want).abs() <= 8 * torch.finfo(dtype).eps * (1 + want.abs())).all()


def test_relu_has_the_derivatives_of_its_half_lines(backend, device):
    x = torch.tensor([[-2.0, 0.0, 3.0, -torch.inf]], device=device)
    got = _ops.activation_derivatives("relu", x, backend=backend)[:, 0].tolist()
    assert got == [[0, 0, 3, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_nan_poisons_its_own_element_only(backend, device):
    x = torch.zeros(3, 5, device=device)
    x[1, 2] = torch.nan
    for name in IN_TORCH:
        got = _ops.activation_derivatives(name, x, order=1, backend=backend)
        assert got[0].isnan().sum() == 1, name


def test_empty_problems_are_legal(backend, device):
    x = torch.ones(0, 3, device=device)
    assert _ops.activation_derivatives("tanh", x, backend=backend).shape == (4, 0, 3)


def test_messages_name_the_arguments(backend, device):
    x = torch.ones(2, 3, device=device)
    with pytest.raises(ValueError, match=r"the activation must be one of identity, relu, .*; got mish"):
        _ops.activation_derivatives("mish", x, backend=backend)
    with pytest.raises(
        ValueError, match=r"activation_derivatives: out must hold 1 to 4 derivatives, got out \[5,"
    ):
        _ops.activation_derivatives("tanh", x, order=4, backend=backend)
    with pytest.raises(
        TypeError, match=r"activation_derivatives: x must be float32 or float64, got x .* int64"
    ):
        _ops.activation_derivatives("tanh", x.long(), backend=backend)


def test_torch_operator_contract(device):
    x = torch.randn(2, 3, device=device)
    torch.library.opcheck(torch.ops.hesscope.activation_derivatives, ("tanh", x, 2))
