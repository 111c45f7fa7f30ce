"""Compare products, densities and memory with the packages people use for the Hessian of a network.

Three tables, for an MLP, a residual CNN, a GPT and a small MLP (networks.py):

- products: K = 8 vectors at once on values that are kept, in gradients of the same data (one batch, and the
  same in 4 small ones), against double backward on a kept graph, curvlinops' 8 columns and
  vmap(jvp(grad));
- densities: 40 steps and 4 probes over 4 small batches, everything included, against each package as it
  ships, and an MLP of 5.8 M parameters with batches of 16;
- memory: the peak while a product with one vector runs, over what the process held before the operator.

All have to agree on the answer before anything is timed. Jobs run in turn; ratios are medians of pairs.

    python benchmarks/python/compare_peers.py [--tables products densities memory] [--case mlp cnn gpt]
        [--repeats 3] [--json FILE] [--markdown FILE]
"""

from __future__ import annotations

import functools
import statistics
import sys
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn

import hesscope as hs
import peers
import process_memory
from harness import arguments, environment, interleaved, median_ratio, record
from networks import problem, split

VECTORS = 8
STEPS, PROBES, BATCHES = 40, 4, 4
Row = dict[str, object]


def differences(what: str, answers: dict[str, Tensor], tolerance: float) -> dict[str, float]:
    """Distances from hesscope's answer, relative to its norm; end the run if one is too large."""
    want = answers["hesscope"]
    errors = {name: float((got - want).norm() / want.norm()) for name, got in answers.items()}
    for name, error in errors.items():
        if not error <= tolerance:
            sys.exit(f"{what}: {name} differs from hesscope by {error:.1e}")
    return errors


def products(case: str, repeats: int) -> Row:
    name, _, parts = case.partition(" in ")
    model, batch = problem(name)
    batches = split(batch, int(parts or 1))
    H = hs.hessian(peers.objective(model, batches))
    kept = torch.empty(VECTORS, H.shape[0])  # where products go, as in a Lanczos run
    jobs = {
        "hesscope": lambda rows: H.rows(rows, out=kept),
        "retained graph": peers.retained_product(model, *batches),
    }
    if case == "small":
        jobs["vmap(jvp(grad))"] = peers.nested_product(model, batch)
    if peers.installed("curvlinops"):
        jobs["curvlinops"] = peers.curvlinops_product(model, *batches)
    vectors = torch.randn(VECTORS, H.shape[0], generator=torch.Generator().manual_seed(1))
    # 0.2 % for curvlinops on the GPT: forward over reverse is wrong through PyTorch's layer norm
    errors = differences(case, {name: job(vectors) for name, job in jobs.items()}, 1e-2)
    timed = {name: functools.partial(job, vectors) for name, job in jobs.items()}
    gradient = functools.partial(peers.gradient, model, batches)
    seconds = interleaved({"gradient": gradient} | timed, 5 * repeats)
    return {
        "case": case,
        "n": H.shape[0],
        "difference": errors,
        "gradient_ms": 1e3 * statistics.median(seconds["gradient"]),
        "gradients a product": {
            name: median_ratio(seconds[name], seconds["gradient"]) / VECTORS for name in jobs
        },
        "times hesscope": {name: median_ratio(seconds[name], seconds["hesscope"]) for name in jobs},
    }


def densities(case: str, repeats: int) -> Row:
    model, batch = problem(case)
    batches = split(batch, BATCHES)
    jobs = {
        name: functools.partial(job, model, batches, PROBES, STEPS) for name, job in peers.densities().items()
    }
    gradient = functools.partial(peers.gradient, model, batches)
    tops = {name: torch.stack([nodes.max() for nodes, _ in job()]).max() for name, job in jobs.items()}
    errors = differences(case, tops, 1e-2)  # 40 steps converge the top of the spectrum
    seconds = interleaved({"gradient": gradient} | jobs, repeats)
    one = statistics.median(seconds["gradient"])
    return {
        "case": case,
        "n": sum(p.numel() for p in model.parameters()),
        "difference": errors,
        "gradient_ms": 1e3 * one,
        "seconds": {name: statistics.median(seconds[name]) for name in jobs},
        "gradients a step and probe": {
            name: statistics.median(seconds[name]) / one / STEPS / PROBES for name in jobs
        },
        "times hesscope": {name: median_ratio(seconds[name], seconds["hesscope"]) for name in jobs},
    }


_PRODUCTS = {
    "hesscope": lambda model, batch: hs.hessian(peers.objective(model, batch)).rows,
    "PyHessian": peers.pyhessian_product,
    "curvlinops": peers.curvlinops_product,
}


def vector(model: nn.Module) -> Tensor:
    return torch.randn(1, sum(p.numel() for p in model.parameters()))


def peak(case: str, who: str) -> int:
    """Return the peak of a second product with one vector, over the process before its operator."""
    torch.set_num_threads(1)
    small, batch = problem("small")
    _PRODUCTS[who](small, batch)(vector(small))  # imports and caches are not the product's
    model, batch = problem(case)
    peers.gradient(model, [batch])
    v = vector(model)
    return process_memory.peak(lambda: functools.partial(_PRODUCTS[who](model, batch), v))


def memory(case: str, repeats: int) -> Row:
    contenders = [name for name in _PRODUCTS if name == "hesscope" or peers.installed(name)]
    row = {who: process_memory.in_processes(peak, case, who, repeats=repeats) for who in contenders}
    return {"case": case, "MiB": row, "times hesscope": {k: v / row["hesscope"] for k, v in row.items()}}


TABLES = {
    "products": (
        products,
        ("small", "mlp", "cnn", "gpt", "mlp in 4", "cnn in 4", "gpt in 4"),
        "gradients a product",
    ),
    "densities": (densities, ("mlp", "cnn", "gpt", "wide"), "gradients a step and probe"),
    "memory": (memory, ("mlp", "cnn", "gpt"), "MiB"),
}


def markdown(rows: list[Row], unit: str) -> str:
    """One row a case: each contender in the unit, and as a multiple of hesscope in brackets."""
    names = list(dict.fromkeys(name for row in rows for name in row[unit]))
    lines = [f"| case | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for row in rows:
        cells = [
            f"{row[unit][name]:.2f} ({row['times hesscope'][name]:.2f}x)" if name in row[unit] else ""
            for name in names
        ]
        lines.append(f"| {row['case']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    names = ("curvlinops-for-pytorch", "PyHessian", "hessian-eigenthings")
    found = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    return {name: found[name.lower()] for name in names if name.lower() in found}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--case", nargs="*", help="only these cases")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(environment() | versions(), flush=True)
    results: dict[str, list[Row]] = {}
    text = []
    for name in options.tables:
        measure, cases, unit = TABLES[name]
        wanted = [case for case in cases if options.case is None or case in options.case]
        results[name] = []
        for case in wanted:
            results[name].append(measure(case, options.repeats))
            print(name, results[name][-1], flush=True)
        text.append(f"{name}, in {unit}\n\n{markdown(results[name], unit)}\n")
    print("\n".join(text))
    if options.markdown is not None:
        options.markdown.write_text("\n".join(text))
    record(
        options.json, {"versions": versions(), "vectors": VECTORS, "steps": STEPS, "probes": PROBES} | results
    )


if __name__ == "__main__":
    main()
