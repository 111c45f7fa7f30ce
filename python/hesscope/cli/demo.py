"""``hesscope demo``: from real data to the spectrum of a trained network, in one command."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from hesscope.cli import console
from hesscope.cli.run import SEED, compute, make_folder, present
from hesscope.curvature import hessian
from hesscope.objective import Objective

_WIDTHS = (64, 64, 32, 10)
_STEPS, _STEP_SIZE = 300, 0.2


def demo(options: argparse.Namespace) -> int:
    """Serve ``hesscope demo`` and return the exit code."""
    make_folder(options.output)
    with _one_thread():
        return _demo(options)


def _demo(options: argparse.Namespace) -> int:
    inputs, labels = digits()
    model = train(inputs, labels, seed=SEED if options.seed is None else options.seed).float()
    inputs = inputs.float()
    objective = Objective(model, nn.CrossEntropyLoss(), (inputs, labels))
    with torch.no_grad():
        accuracy = float((model(inputs).argmax(dim=1) == labels).double().mean())
    shape = "-".join(map(str, _WIDTHS))
    console.say(
        f"A {shape} network ({objective.n:,} parameters), trained on {len(labels):,} digits by {_STEPS} "
        f"steps of gradient descent with step size {_STEP_SIZE}: loss {objective.loss():.3f}, accuracy "
        f"{100 * accuracy:.1f} %, |gradient| {float(objective.gradient().norm()):.3f}.",
        wrap=True,
    )
    rho = compute(hessian(objective), options)
    return present(rho, options.output, title=f"Hessian of a {shape} network trained on digits")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: matrices this small gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def digits() -> tuple[Tensor, Tensor]:
    """Return all of scikit-learn's digits: ``[1797, 64]`` float64 in [0, 1], and labels ``[1797]``.

    Raises
    ------
    CommandError
        If scikit-learn is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        msg = "demo needs scikit-learn for its data: pip install 'hesscope[demo]'"
        raise console.CommandError(msg)
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.from_numpy(images / 16.0), torch.from_numpy(labels).long()


def train(inputs: Tensor, labels: Tensor, *, seed: int, steps: int = _STEPS) -> nn.Sequential:
    """Train a network by full-batch gradient descent.

    Such training raises the largest eigenvalue until 2 / step size, the edge of stability (Cohen et al.
    2021), where it is sensitive to rounding: hence float64, so that machines agree on the network.

    Parameters
    ----------
    inputs, labels
        Shapes ``[N, 64]`` (float64) and ``[N]``.
    seed
        Of the initial weights. torch's global generator is left as it was.
    steps
        Of gradient descent.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(_WIDTHS):
            layers += [nn.Linear(wide, narrow), nn.GELU()]
    model = nn.Sequential(*layers[:-1]).to(inputs.dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=_STEP_SIZE)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return model
