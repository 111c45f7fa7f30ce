"""Time products with H of the jets engine against the autograd engine, in gradients.

Three cases with one batch each: a multilayer perceptron 784-512-512-10, a small residual CNN with batch
norm, a small GPT written out here. A unit is a plain gradient of the same batch. Gradients and products
of both engines are timed in turn, on kept values and a kept graph; the median of the ratios is printed.
Everything is verified before it is timed.

    python benchmarks/python/jets_products.py [--case mlp] [--vectors 1 4 8] [--repeats 15] [--json FILE]
"""

import functools
import statistics

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import arguments, environment, interleaved, median_ratio, record
from hesscope.curvature import hessian
from hesscope.objective import Objective


class Residual(nn.Module):
    def __init__(self, width: int, out: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.skip = nn.Identity() if width == out and stride == 1 else nn.Conv2d(width, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(c, dim=2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, vocabulary: int = 512, width: int = 128, layers: int = 4, length: int = 64):
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.place(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x))).flatten(0, 1)


def problem(case: str) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    if case == "mlp":
        model = nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )
        return model, (torch.randn(512, 784), torch.randint(0, 10, (512,)))
    if case == "small":
        layers = [layer for _ in range(3) for layer in (nn.Linear(64, 64), nn.Tanh())]
        return nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(0, 10, (64,)))
    if case == "cnn":
        model = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            Residual(32, 32, 1),
            Residual(32, 64, 2),
            Residual(64, 128, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(128, 10),
        )
        return model, (torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,)))
    tokens = torch.randint(0, 512, (8, 65))
    return Gpt(), (tokens[:, :-1].contiguous(), tokens[:, 1:].flatten())


def gradient(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    torch.autograd.grad(F.cross_entropy(model(batch[0]), batch[1]), list(model.parameters()))


def measure(case: str, vectors: list[int], repeats: int) -> list[dict[str, object]]:
    model, batch = problem(case)
    # a loss of (model, batch): its data may have other lengths than its targets
    objective = Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), batch)
    engines = {name: hessian(objective, engine=name) for name in ("jets", "autograd")}
    rows = []
    for k in vectors:
        probes = torch.randn(k, objective.n, generator=torch.Generator().manual_seed(k))
        first, second = (h.rows(probes) for h in engines.values())
        error = float((first - second).norm() / second.norm())
        if error > 2**14 * torch.finfo(torch.float32).eps:  # two float32 evaluations of a deep model
            msg = f"{case}: products are off by {error:.1e}"
            raise SystemExit(msg)
        jobs = {"gradient": functools.partial(gradient, model, batch)}
        jobs |= {name: functools.partial(h.rows, probes) for name, h in engines.items()}
        seconds = interleaved(jobs, repeats)
        row = {"case": case, "n": objective.n, "K": k, "error": error}
        row |= {name: median_ratio(seconds[name], seconds["gradient"]) / k for name in engines}
        row["speedup"] = median_ratio(seconds["autograd"], seconds["jets"])
        row["gradient_ms"] = 1000 * statistics.median(seconds["gradient"])
        rows.append(row)
        print(
            f"{case:6} K={k}: jets {row['jets']:.2f}, autograd {row['autograd']:.2f} gradients a product "
            f"({row['speedup']:.2f}x), gradient {row['gradient_ms']:.1f} ms, difference {error:.0e}",
            flush=True,
        )
    print(engines["jets"].explain(), flush=True)
    return rows


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="*", default=["small", "mlp", "cnn", "gpt"])
    parser.add_argument("--vectors", type=int, nargs="*", default=[1, 4, 8])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(environment())
    rows = [row for case in options.case for row in measure(case, options.vectors, options.repeats)]
    record(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
