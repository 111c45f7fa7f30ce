"""What the jets engine promises for every model: exactness, symmetry, linearity, K at once, float32."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from hesscope.curvature import hessian
from hesscope.objective import Objective
from jets_cases import RELATIVE, vectors


class WideCasts(TorchFunctionMode):
    """Lets a model that rounds to float32 inside (softmax, norms, losses) compute in float64 throughout."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def wide(x):
            return torch.float64 if x is torch.float32 else x

        args, kwargs = pytree.tree_map(wide, (args, dict(kwargs or {})))
        return func(*args, **kwargs) if func is not torch.Tensor.float else args[0].double()


@dataclass
class Case:
    """A model in float32, its loss of (model, batch), and one batch."""

    model: nn.Module
    loss: Callable
    batch: object
    options: dict = field(default_factory=dict)

    def objective(self, dtype):
        """The objective in a precision, at the same numbers."""
        if dtype == torch.float32:
            return Objective(self.model, self.loss, self.batch, **self.options)

        def loss(model, batch):
            with WideCasts():
                return self.loss(model, batch)

        batch = pytree.tree_map(
            lambda t: t.double() if isinstance(t, torch.Tensor) and t.is_floating_point() else t, self.batch
        )
        return Objective(copy.deepcopy(self.model).double(), loss, batch, **self.options)


def assert_exact(case):
    """Compare with double backward in float64, then identities that need no reference."""
    objective = case.objective(torch.float64)
    jets, oracle = hessian(objective, engine="jets"), hessian(objective, engine="autograd")
    v = vectors(8, objective.n)
    got, expected = jets.rows(v), oracle.rows(v)
    size = expected.norm()
    assert size > 0
    assert (got - expected).norm() <= RELATIVE * size
    apart = torch.stack([jets @ row for row in v])
    assert (got - apart).norm() <= RELATIVE * size  # eight at once are eight times one
    products = v @ got.T  # u'Hv of all pairs
    scale = v.norm(dim=1)[:, None] * got.norm(dim=1)[None, :]
    assert ((products - products.T).abs() <= RELATIVE * scale).all()
    mixed = jets @ (2 * v[0] - 3 * v[1])
    assert (mixed - 2 * got[0] + 3 * got[1]).norm() <= RELATIVE * size


def assert_as_good_in_float32(case):
    """The error in float32 is at most twice that of double backward, both against float64."""
    exact, objective = case.objective(torch.float64), case.objective(torch.float32)
    v = vectors(8, exact.n, dtype=torch.float32)
    reference = hessian(exact, engine="autograd").rows(v.double())
    jets, double = (
        (hessian(objective, engine=engine).rows(v).double() - reference).norm()
        for engine in ("jets", "autograd")
    )
    assert 0 < double < 1e-3 * reference.norm()  # else the comparison says nothing
    assert jets <= 2 * double, (
        f"{float(jets / reference.norm()):.1e}, double backward {float(double / reference.norm()):.1e}"
    )
