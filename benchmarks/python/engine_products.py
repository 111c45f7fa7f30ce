"""Time products with H of the autograd engine, in gradients of the same data.

A wide multilayer perceptron (784-2048-2048-10, 5.8 million parameters) on 4 batches of 16. A unit is a
plain gradient over the 4 batches; gradients and products are timed in pairs, one thread, and the median
of the ratios is printed with the 10th and 90th percentiles. Everything is verified before it is timed.

    python benchmarks/python/engine_products.py [--width 2048] [--repeats 15] [--json FILE]
"""

import argparse
import functools
import json
import platform
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hesscope.curvature import AutogradHessian, hessian
from hesscope.objective import Objective

NUM_VECTORS = (1, 2, 8)


def problem(width: int) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10)
    )
    return model, [(torch.randn(16, 784), torch.randint(0, 10, (16,))) for _ in range(4)]


def plain_gradient(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> None:
    for x, y in data:
        torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))


def plain_product(model: nn.Module, data: list[tuple[Tensor, Tensor]], vector: Tensor) -> Tensor:
    """Multiply H with a vector [n] as a textbook does."""
    parameters = list(model.parameters())
    loss = sum(F.cross_entropy(model(x), y) for x, y in data) / len(data)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    parts = vector.split([p.numel() for p in parameters])
    cut = [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]
    return torch.cat([r.reshape(-1) for r in torch.autograd.grad(gradients, parameters, cut)])


def verify(name: str, h: AutogradHessian, model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> None:
    vector = torch.randn(h.shape[0], generator=torch.Generator().manual_seed(1))
    expected = plain_product(model, data, vector)
    error = float((h @ vector - expected).norm() / expected.norm())
    # sums of up to 2048 float32 products through three layers, each way
    if error > 6 * 2048**0.5 * torch.finfo(torch.float32).eps:
        msg = f"{name}: products are off by {error:.1e}"
        raise SystemExit(msg)


def ratios(first, second, repeats: int) -> list[float]:
    """Return second's time over first's, timed in pairs."""
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        first()
        middle = time.perf_counter()
        second()
        found.append((time.perf_counter() - middle) / (middle - start))
    return sorted(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, data = problem(options.width)
    engines = {
        "merged": hessian(Objective(model, F.cross_entropy, data)),
        "unmerged": hessian(Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), data)),
        "unmerged, nothing kept": hessian(
            Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), data), memory_budget=0
        ),
    }
    rows = []
    print(f"n = {engines['merged'].shape[0]}, gradients per product: median (10 % to 90 %)")
    for name, h in engines.items():
        verify(name, h, model, data)
        for k in NUM_VECTORS:
            product = functools.partial(h.rows, torch.randn(k, h.shape[0]))
            found = ratios(functools.partial(plain_gradient, model, data), product, options.repeats)
            found = [r / k for r in found]
            low, high = found[len(found) // 10], found[-1 - len(found) // 10]
            rows.append({"engine": name, "K": k, "median": statistics.median(found), "p10": low, "p90": high})
            print(f"{name:>24}  K = {k}: {rows[-1]['median']:.2f} ({low:.2f} to {high:.2f})")
    if options.json:
        environment = {"torch": torch.__version__, "machine": platform.processor(), "threads": 1}
        options.json.write_text(json.dumps({"environment": environment, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
