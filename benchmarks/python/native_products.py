"""Time products of engine="native" against vmap(jvp(grad)) and engine="jets", K at once, as ratios.

The three run in turn; a ratio is the median over rounds. engine="jets" is the captured gradient, run
operator by operator by PyTorch.

    python benchmarks/python/native_products.py [--vectors 8] [--repeats 15] [--clock processor] [--json FILE]

Networks width-width-width-10 with tanh and a cross entropy, float32, all parameters.
"""

import sys

import torch
from torch import nn

from harness import CLOCKS, arguments, interleaved, median_ratio, record
from hesscope.curvature import hessian
from hesscope.objective import Objective
from peers import nested_product

SIZES = ((16, 16), (32, 32), (64, 64), (128, 256))  # width, batch


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=8)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what is timed: see harness.py")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = []
    for width, rows in SIZES:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10)
        )
        data = torch.randn(rows, width), torch.randint(0, 10, (rows,))
        objective = Objective(model, nn.CrossEntropyLoss(), data)
        native, jets = (hessian(objective, engine=name) for name in ("native", "jets"))
        vectors = torch.randn(options.vectors, objective.n)
        nested = nested_product(model, data)
        want = nested(vectors)
        for engine in (native, jets):
            error = float((engine.rows(vectors) - want).norm() / want.norm())
            if not error <= 256 * torch.finfo(torch.float32).eps:
                sys.exit(f"width {width}: products of engine={engine.engine!r} are off by {error:.1e}")
        seconds = interleaved(
            {
                "nested": lambda f=nested, v=vectors: f(v),
                "jets": lambda h=jets, v=vectors: h.rows(v),
                "native": lambda h=native, v=vectors: h.rows(v),
            },
            options.repeats,
            clock=options.clock,
        )
        nested_ratio, jets_ratio = (
            median_ratio(seconds[other], seconds["native"]) for other in ("nested", "jets")
        )
        best = {f"{name}_best_ms": 1e3 * min(times) for name, times in seconds.items()}
        ratios = {"speedup_over_nested": nested_ratio, "speedup_over_jets": jets_ratio}
        cases.append({"width": width, "batch": rows} | ratios | best)
        sys.stdout.write(
            f"width {width}, batch {rows}: {nested_ratio:.1f} times vmap(jvp(grad)), {jets_ratio:.1f} times "
            f"jets, {best['native_best_ms']:.3f} ms at best\n"
        )
    settings = {"job": "native_products", "vectors": options.vectors, "clock": options.clock}
    record(options.json, settings | {"cases": cases})


if __name__ == "__main__":
    main()
