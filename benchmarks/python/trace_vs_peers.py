"""The trace of a network's Hessian to 2 % of tr|H|, against PyHessian's and hessian-eigenthings' trace.

The job: ``hs.trace(H, tol=0.02)``, which stops when the half-width of its 95 % interval is at most 2 % of
tr|H|. Its error is measured: the standard deviation over seeds. What a peer needs for the same error follows
from its own samples: the variance of z'Hz over the squared error (PyHessian and eigenthings' "hutchinson"),
or the first budget whose reported standard error is as small ("hutch++", eigenthings' default). Costs are in
gradients of the same data: seconds of a whole job of ours, and of a peer's products, over those of a
gradient, run in turn. All have to agree on the trace within four standard errors first.

    python benchmarks/python/trace_vs_peers.py [--case small mlp cnn gpt] [--seeds 8] [--samples 64]
        [--repeats 3] [--json FILE] [--markdown FILE]
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import hesscope as hs
import peers
from harness import arguments, interleaved, record
from networks import Batch, problem

TOLERANCE = 0.02
BUDGETS = (12, 24, 48, 99, 198, 396, 801)  # of Hutch++, whose own default is 99
TIMED = 8  # products of a peer that are timed
Row = dict[str, object]


@dataclass(frozen=True)
class Peer:
    """A peer's estimate, and how many products it needs for an error."""

    value: float
    error: float
    needed: Callable[[float], int]
    run: Callable[[int], object]


def of_samples(samples: list[float], run: Callable[[int], object]) -> Peer:
    """Return a peer whose estimate is a mean of independent samples."""
    deviation = statistics.stdev(samples)
    return Peer(
        statistics.mean(samples),
        deviation / math.sqrt(len(samples)),
        lambda error: max(1, math.ceil((deviation / error) ** 2)),
        run,
    )


@peers.plain_attention
def pyhessian_trace(model: nn.Module, batch: Batch, count: int) -> list[float]:
    """PyHessian's samples; with tol = 0 it takes all of them."""
    from pyhessian import hessian

    operator = hessian(model, nn.CrossEntropyLoss(), data=batch, cuda=False)
    return [float(x) for x in operator.trace(maxIter=count, tol=0)]


@peers.plain_attention
def eigenthings_trace(model: nn.Module, batch: Batch, count: int, method: str):
    from hessian_eigenthings.algorithms.trace import trace
    from hessian_eigenthings.operators.hessian import HessianOperator

    operator = HessianOperator(model, [batch], peers.mean_loss)
    return trace(operator, num_matvecs=count, method=method, seed=0)


def hutchpp(model: nn.Module, batch: Batch) -> Peer:
    """Return eigenthings' default, which reports a standard error itself."""
    first = eigenthings_trace(model, batch, BUDGETS[2], "hutch++")

    def needed(error: float) -> int:
        for budget in BUDGETS:
            if eigenthings_trace(model, batch, budget, "hutch++").stderr <= error:
                return budget
        return BUDGETS[-1]  # at least

    run = lambda count: eigenthings_trace(model, batch, count, "hutch++")  # noqa: E731
    return Peer(float(first.estimate), float(first.stderr), needed, run)


def rivals(model: nn.Module, batch: Batch, samples: int) -> dict[str, Peer]:
    """Run every peer that is installed once."""
    found: dict[str, Peer] = {}
    if peers.installed("PyHessian"):
        run = lambda count: pyhessian_trace(model, batch, count)  # noqa: E731
        found["PyHessian"] = of_samples(pyhessian_trace(model, batch, samples), run)
    if peers.installed("hessian-eigenthings"):
        plain = eigenthings_trace(model, batch, samples, "hutchinson")
        run = lambda count: eigenthings_trace(model, batch, count, "hutchinson")  # noqa: E731
        found["hessian-eigenthings, hutchinson"] = of_samples(plain.samples.tolist(), run)
        found["hessian-eigenthings, hutch++"] = hutchpp(model, batch)
    return found


def measure(case: str, seeds: int, samples: int, repeats: int) -> list[Row]:
    """Compare on one network."""
    model, batch = problem(case)
    H = hs.hessian(peers.objective(model, batch), engine="jets")  # its capture is paid once for a model

    def ours(seed: int) -> hs.Estimate:
        return hs.trace(H, tol=TOLERANCE, seed=seed)

    estimates = [ours(seed) for seed in range(seeds)]
    values = [e.value for e in estimates]
    value, error = statistics.mean(values), statistics.stdev(values)
    found = rivals(model, batch, samples)
    for name, peer in found.items():
        allowed = 4 * math.hypot(peer.error, error / math.sqrt(seeds))
        if abs(peer.value - value) > allowed:
            msg = (
                f"{case}: {name} finds {peer.value:.6g}, hesscope {value:.6g}, more than {allowed:.2g} apart"
            )
            raise SystemExit(msg)
    jobs: dict[str, Callable[[], object]] = {
        "gradient": lambda: [peers.gradient(model, [batch]) for _ in range(5)],
        "hesscope": lambda: ours(0),
    }
    jobs |= {name: (lambda peer=peer: peer.run(TIMED)) for name, peer in found.items()}
    seconds = interleaved(jobs, repeats)
    gradients = {
        name: statistics.median(5 * a / b for a, b in zip(times, seconds["gradient"], strict=True))
        for name, times in seconds.items()
    }
    mine = gradients["hesscope"]
    rows: list[Row] = [
        {
            "case": case,
            "job": "hesscope",
            "trace": value,
            "error": error,
            "error bar": statistics.mean(e.error for e in estimates),
            "products": estimates[0].products,
            "gradients": mine,
            "hesscope's share": 1.0,
        }
    ]
    for name, peer in found.items():
        needed = peer.needed(error)
        cost = gradients[name] / TIMED * needed
        rows.append(
            {
                "case": case,
                "job": name,
                "trace": peer.value,
                "error": error,
                "products": needed,
                "gradients": cost,
                "hesscope's share": mine / cost,
            }
        )
    return rows


def table(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = [
        "| case | job | trace | error | products | gradients | hesscope's share |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        trace, error = float(str(row["trace"])), float(str(row["error"]))
        cost, share = float(str(row["gradients"])), float(str(row["hesscope's share"]))
        lines.append(
            f"| {row['case']} | {row['job']} | {trace:.4g} | {error:.2g} | {row['products']} | {cost:.0f} "
            f"| {share:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", default=["mlp", "cnn", "gpt"])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[Row] = []
    for case in options.case:
        rows += measure(case, options.seeds, options.samples, options.repeats)
        print(table(rows), flush=True)
    if options.markdown:
        options.markdown.write_text(table(rows))
    record(options.json, {"job": "trace to 2 % of tr|H|", "tolerance": TOLERANCE, "rows": rows})


if __name__ == "__main__":
    main()
