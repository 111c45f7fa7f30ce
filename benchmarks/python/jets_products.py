"""Time products with H of the jets engine against the autograd engine, in gradients.

The cases of networks.py with one batch each; a unit is a plain gradient of the same batch. Gradients and
products of both engines are timed in turn, on kept values and a kept graph; the median of the ratios is
printed.
Everything is verified before it is timed.

    python benchmarks/python/jets_products.py [--case mlp] [--vectors 1 4 8] [--repeats 15] [--json FILE]
"""

import functools
import statistics

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
from harness import arguments, environment, interleaved, median_ratio, record
from hesscope.curvature import hessian
from hesscope.objective import Objective
from peers import gradient

CASES = ("small", "mlp", "cnn", "cnn-train", "gpt")


def problem(case: str) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return a case of networks.py; "cnn-train" is its "cnn" with statistics of the batch."""
    model, batch = networks.problem(case.removesuffix("-train"))
    return model.train(case.endswith("-train")), batch


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
        jobs = {"gradient": functools.partial(gradient, model, [batch])}
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
    parser.add_argument("--case", nargs="*", default=CASES)
    parser.add_argument("--vectors", type=int, nargs="*", default=[1, 4, 8])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(environment())
    rows = [row for case in options.case for row in measure(case, options.vectors, options.repeats)]
    record(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
