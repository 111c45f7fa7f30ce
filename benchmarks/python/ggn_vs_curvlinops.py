"""Time products with the GGN, a drawn and the empirical Fisher against curvlinops, in gradients.

Three cases with one batch each, those of jets_products.py: a multilayer perceptron, a small residual CNN
with batch norm in evaluation mode, a small GPT. All rows of a call are computed at once in both packages.
GGN and empirical Fisher are compared before they are timed; drawn labels differ, so that of the drawn
Fisher only its time is compared. curvlinops is not a dependency: install curvlinops-for-pytorch.

    python benchmarks/python/ggn_vs_curvlinops.py [--case mlp] [--vectors 1 8] [--repeats 5] [--json FILE]
"""

import functools
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import hesscope as hs
from harness import arguments, environment, interleaved, median_ratio, record
from hesscope.operators import SymmetricOperator
from jets_products import gradient, problem

CRITERION = nn.CrossEntropyLoss()
OURS: dict[str, Callable[[hs.Objective], SymmetricOperator]] = {
    "ggn": hs.ggn,
    "monte_carlo": functools.partial(hs.fisher, kind="monte_carlo"),
    "empirical": functools.partial(hs.fisher, kind="empirical"),
}


def theirs(name: str, model: nn.Module, batch: tuple[Tensor, Tensor]) -> object:
    import curvlinops

    parameters = [p for p in model.parameters() if p.requires_grad]
    kind = {
        "ggn": curvlinops.GGNLinearOperator,
        "monte_carlo": curvlinops.FisherMCLinearOperator,
        "empirical": curvlinops.EFLinearOperator,
    }[name]
    return kind(model, CRITERION, parameters, [batch], check_deterministic=False)


def multiply(operator: object, columns: Tensor) -> Tensor:
    """Multiply by a peer's operator: torch's fused attention has no forward mode."""
    with sdpa_kernel(SDPBackend.MATH):
        return operator @ columns


def measure(case: str, vectors: list[int], repeats: int) -> list[dict[str, object]]:
    model, batch = problem(case)
    model.eval()
    if case == "gpt":  # from torch's own initial weights its predictions are certain, and every matrix is 0
        nn.init.normal_(model.token.weight, std=0.02)
    objective = hs.Objective(model, CRITERION, batch)
    rows = []
    for name, make in OURS.items():
        ours, other = make(objective), theirs(name, model, batch)
        for k in vectors:
            probes = torch.randn(k, objective.n, generator=torch.Generator().manual_seed(k))
            columns = probes.T.contiguous()
            first, second = ours.rows(probes), multiply(other, columns).T
            error = float((first - second).norm() / second.norm())
            if name != "monte_carlo" and error > 2**14 * torch.finfo(torch.float32).eps:
                msg = f"{case}, {name}: products are off by {error:.1e}"
                raise SystemExit(msg)
            jobs = {
                "gradient": functools.partial(gradient, model, batch),
                "hesscope": functools.partial(ours.rows, probes),
                "curvlinops": functools.partial(multiply, other, columns),
            }
            seconds = interleaved(jobs, repeats)
            row = {"case": case, "matrix": name, "n": objective.n, "K": k, "difference": error}
            row |= {p: median_ratio(seconds[p], seconds["gradient"]) / k for p in ("hesscope", "curvlinops")}
            row["speedup"] = median_ratio(seconds["curvlinops"], seconds["hesscope"])
            row["gradient_ms"] = 1000 * statistics.median(seconds["gradient"])
            rows.append(row)
            print(
                f"{case:6} {name:12} K={k}: hesscope {row['hesscope']:.2f}, "
                f"curvlinops {row['curvlinops']:.2f} gradients a product ({row['speedup']:.2f}x), "
                f"difference {error:.0e}",
                flush=True,
            )
    return rows


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="*", default=["small", "mlp", "cnn", "gpt"])
    parser.add_argument("--vectors", type=int, nargs="*", default=[1, 8])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(environment())
    rows = [row for case in options.case for row in measure(case, options.vectors, options.repeats)]
    record(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
