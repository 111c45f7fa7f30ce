"""What the tests of the jets engine share: comparing it with double backward."""

from __future__ import annotations

import torch
from torch import nn

from hesscope.curvature import hessian
from hesscope.objective import Objective

# Both engines evaluate the same formula in float64 up to the order of operations; the issue asks for 1e-10.
RELATIVE = 1e-10


def vectors(num_vectors, n, seed=1, dtype=torch.float64):
    """Rows of a wider matrix, so that they are strided."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(num_vectors, n + 3, generator=g, dtype=torch.float64).to(dtype)[:, :n]


def assert_agrees(objective, *, num_vectors=(1, 5), relative=RELATIVE):
    """Compare products of both engines; return the jets engine."""
    jets, oracle = hessian(objective, engine="jets"), hessian(objective, engine="autograd")
    for k in num_vectors:
        v = vectors(k, objective.n)
        got, expected = jets.rows(v), oracle.rows(v)
        assert got.shape == expected.shape
        error = (got - expected).norm()
        assert error <= relative * expected.norm(), f"off by {float(error / expected.norm()):.1e}"
        assert expected.norm() > 0
    return jets


class Function(nn.Module):
    """A loss whose gradient and Hessian depend on every derivative of a function up to the second."""

    def __init__(self, function, *inputs):
        super().__init__()
        self.function = function
        self.inputs = nn.ParameterList([nn.Parameter(t) for t in inputs])

    def forward(self, scale):
        out = self.function(*self.inputs)
        parts = out if isinstance(out, (tuple, list)) else [out]
        loss = 0.0
        for part in parts:
            weights = torch.linspace(0.3, 1.7, part.numel(), dtype=part.dtype).view(part.shape)
            loss = loss + (weights * part).sum() + 0.5 * (part * part * weights.flip(-1)).sum()
        return loss * scale


def function_objective(function, *inputs):
    model = Function(function, *inputs)
    return Objective(model, lambda m, batch: m(batch), torch.tensor(0.7, dtype=torch.float64))


def smooth(*shape, seed=0):
    """Normal numbers."""
    g = torch.Generator().manual_seed(seed + 7 * len(shape))
    return torch.randn(shape, generator=g, dtype=torch.float64)


def positive(*shape, seed=0):
    return smooth(*shape, seed=seed).abs() + 0.5


@torch.library.custom_op("hesscope_tests::cube", mutates_args=())
def cube(x: torch.Tensor) -> torch.Tensor:
    """An operator that autograd differentiates twice and that the jets engine has no rule for."""
    return x * x * x


@cube.register_fake
def _cube_shape(x):
    return torch.empty_like(x)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


cube.register_autograd(lambda ctx, g: 3 * g * ctx.saved_tensors[0] ** 2, setup_context=_save)
