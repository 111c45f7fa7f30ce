"""What the tests of GGN, Fisher and covariance share: small models, criteria, dense truths."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jacrev

from jets_cases import RELATIVE, smooth

ENGINES = ("autograd", "jets")


def mlp(outputs=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def hessian_of(function):
    """In reverse mode twice: torch's forward mode warns at import and is wrong through some norms."""
    return jacrev(jacrev(function))


def frozen(model):
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def flat(tree, rows):
    return torch.cat([t.reshape(*rows, -1) for t in tree.values()], -1)


def dense_truth(model, criterion, x, y):
    """JᵀMJ of one batch, both factors written out by torch.func in reverse mode."""
    parameters = frozen(model)
    output = functional_call(model, parameters, (x,)).detach()
    jacobian = flat(jacrev(lambda p: functional_call(model, p, (x,)))(parameters), output.shape)
    jacobian = jacobian.reshape(output.numel(), -1)
    middle = hessian_of(lambda f: criterion(f, y))(output).reshape(output.numel(), output.numel())
    return jacobian.T @ middle @ jacobian


def residual_truth(model, criterion, x, y):
    """Σ (∂ℓ/∂f) ∇²f: the Hessian of <c, f(θ)> at constant c."""
    parameters = frozen(model)
    output = functional_call(model, parameters, (x,)).detach().requires_grad_()
    (c,) = torch.autograd.grad(criterion(output, y), output)
    second = hessian_of(lambda p: (c * functional_call(model, p, (x,))).sum())(parameters)
    n = sum(p.numel() for p in parameters.values())
    rows = [[second[a][b].reshape(p.numel(), -1) for b in parameters] for a, p in parameters.items()]
    return torch.cat([torch.cat(row, 1) for row in rows], 0).reshape(n, n)


def dense(operator):
    return operator.rows(torch.eye(operator.shape[0], dtype=operator.dtype))


def assert_close(got, expected, relative=RELATIVE):
    assert expected.norm() > 0
    error = float((got - expected).norm() / expected.norm())
    assert error <= relative, f"off by {error:.1e}"


X = smooth(12, 4)
LABELS = torch.arange(12) % 3
SOFT = smooth(12, 3, seed=1).softmax(-1)
BINARY = (smooth(12, 3, seed=2) > 0).double()
CRITERIA = {
    "cross_entropy": (F.cross_entropy, LABELS),
    "class weights": (nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]).double()), LABELS),
    "ignored": (nn.CrossEntropyLoss(ignore_index=1), LABELS),
    "smoothing": (
        nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]).double(), label_smoothing=0.2),
        LABELS,
    ),
    "soft targets": (F.cross_entropy, SOFT),
    "summed": (nn.CrossEntropyLoss(reduction="sum"), LABELS),
    "mse": (nn.MSELoss(), smooth(12, 3, seed=3)),
    "bce": (
        functools.partial(
            F.binary_cross_entropy_with_logits, pos_weight=torch.tensor([3.0, 1.0, 0.5]).double()
        ),
        BINARY,
    ),
    "huber": (nn.HuberLoss(), smooth(12, 3, seed=3)),
    "poisson": (nn.PoissonNLLLoss(), BINARY),
    "kl": (nn.KLDivLoss(reduction="batchmean"), SOFT),
}
