"""Small networks whose Hessian is known densely, by PyTorch's own double backward in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import hesscope as hs


@dataclass(frozen=True, eq=False)
class DenseNetwork:
    """An objective, the optimizer that trained it, and its Hessian ``[n, n]`` in float64."""

    objective: hs.Objective
    optimizer: torch.optim.Optimizer
    hessian: torch.Tensor
    values: torch.Tensor
    vectors: torch.Tensor  # [n, n], columns

    def operator(self, dtype=torch.float64):
        """The engine's Hessian in float64; the dense one, rounded, in float32."""
        if dtype == torch.float64:
            return hs.hessian(self.objective)
        return hs.from_matrix(self.hessian, dtype=dtype)


def dense(objective, loss):
    """Hessian of ``loss(parameters by name)`` by reverse over reverse."""
    names, sizes = list(objective.parameters), [p.numel() for p in objective.parameters.values()]

    def flat_loss(theta):
        parts = theta.split(sizes)
        shapes = [p.shape for p in objective.parameters.values()]
        return loss({n: t.view(s) for n, t, s in zip(names, parts, shapes, strict=True)})

    theta = torch.cat([p.detach().reshape(-1) for p in objective.parameters.values()])
    hessian = torch.autograd.functional.hessian(flat_loss, theta, vectorize=True)
    return (hessian + hessian.T) / 2


def finished(objective, optimizer, hessian):
    values, vectors = torch.linalg.eigh(hessian)
    return DenseNetwork(objective, optimizer, hessian, values, vectors)


@cache
def digits(hidden=10, steps=60, optimizer="Adam"):
    """A 64-hidden-10 tanh network in the middle of training: outliers, dead pixels, negative curvature."""
    images, labels = (torch.from_numpy(x) for x in load_digits(return_X_y=True))
    images, labels = images[:200] / 16, labels[:200]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10)).double()
    objective = hs.Objective(model, nn.CrossEntropyLoss(), (images, labels))
    steps_of = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-2)
    for _ in range(steps):
        steps_of.zero_grad()
        cross_entropy(model(images), labels).backward()
        steps_of.step()

    def loss(parameters):
        return cross_entropy(torch.func.functional_call(model, parameters, (images,)), labels)

    return finished(objective, steps_of, dense(objective, loss))


@cache
def traceless():
    """Two linear layers under a loss that is linear in the output: eigenvalues in pairs ±, mean zero."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 12, generator=generator, dtype=torch.float64)
    weights = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(12, 16, bias=False), nn.Linear(16, 6, bias=False)).double()

    def value(network, batch):
        return (network(batch[0]) * batch[1]).mean()

    objective = hs.Objective(model, value, (inputs, weights))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        value(model, (inputs, weights)).backward()
        optimizer.step()

    def loss(parameters):
        return (torch.func.functional_call(model, parameters, (inputs,)) * weights).mean()

    return finished(objective, optimizer, dense(objective, loss))
