"""The trace of a network's Hessian to 2 % of tr|H|, against PyHessian's and hessian-eigenthings' trace.

The job: ``hs.trace(H, tol=0.02)``, which stops when the half-width of its 95 % interval is at most 2 % of
tr|H|. Its error is measured: the standard deviation over seeds (24 of them know it to 15 %). What a peer
needs for the same error follows from its samples: the variance of z'Hz over the squared error for PyHessian
and eigenthings' "hutchinson", which draw from one distribution, so that their samples are pooled; or the
first budget whose reported standard error is as small ("hutch++", eigenthings' default), at most 801
products.

Costs are in gradients of the same data: seconds of our jobs, in the mean over the seeds, and of 8 products
of a peer, over those of gradients, run in turn. Peers build their graph again in every call; ours is
captured once for a model, which is not in its gradients but stated in seconds. All have to agree on the
trace within four standard errors first.

    python benchmarks/python/trace_vs_peers.py [--case small mlp cnn gpt] [--seeds 24] [--samples 64]
        [--json FILE] [--markdown FILE]
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import hesscope as hs
import peers
from harness import arguments, record
from networks import Batch, problem

TOLERANCE = 0.02
BUDGETS = (12, 24, 48, 99, 198, 396, 801)  # of Hutch++, whose own default is 99
TIMED = 8  # products of a peer that are timed
GRADIENTS = 5  # that are timed at once
Row = dict[str, object]


@dataclass(frozen=True)
class Peer:
    """A peer's estimate, and how many products it needs for an error, or spends in vain."""

    value: float
    error: float
    needed: Callable[[float], tuple[int, bool]]
    run: Callable[[int], object]


def of_samples(samples: list[float], deviation: float, run: Callable[[int], object]) -> Peer:
    """Return a peer whose estimate is a mean of independent samples."""
    return Peer(
        statistics.mean(samples),
        deviation / math.sqrt(len(samples)),
        lambda error: (max(1, math.ceil((deviation / error) ** 2)), True),
        run,
    )


@peers.plain_attention
def pyhessian_trace(model: nn.Module, batch: Batch, count: int) -> list[float]:
    """PyHessian's samples, all of them: as it divides by the trace, and not by its modulus, it stops at once
    where the trace is negative, at any tol from 0 on.
    """
    from pyhessian import hessian

    operator = hessian(model, nn.CrossEntropyLoss(), data=batch, cuda=False)
    return [float(x) for x in operator.trace(maxIter=count, tol=-math.inf)]


@peers.plain_attention
def eigenthings_trace(model: nn.Module, batch: Batch, count: int, method: str):
    from hessian_eigenthings.algorithms.trace import trace
    from hessian_eigenthings.operators.hessian import HessianOperator

    operator = HessianOperator(model, [batch], peers.mean_loss)
    return trace(operator, num_matvecs=count, method=method, seed=0)


def hutchpp(model: nn.Module, batch: Batch) -> Peer:
    """Return eigenthings' default, which reports a standard error itself."""
    first = eigenthings_trace(model, batch, BUDGETS[2], "hutch++")

    def needed(error: float) -> tuple[int, bool]:
        for budget in BUDGETS:
            if eigenthings_trace(model, batch, budget, "hutch++").stderr <= error:
                return budget, True
        return BUDGETS[-1], False

    run = lambda count: eigenthings_trace(model, batch, count, "hutch++")  # noqa: E731
    return Peer(float(first.estimate), float(first.stderr), needed, run)


def rivals(model: nn.Module, batch: Batch, samples: int) -> dict[str, Peer]:
    """Run every peer that is installed once."""
    drawn: dict[str, list[float]] = {}
    runs: dict[str, Callable[[int], object]] = {}
    if peers.installed("PyHessian"):
        name = "PyHessian"
        drawn[name] = pyhessian_trace(model, batch, samples)
        runs[name] = lambda count: pyhessian_trace(model, batch, count)
    if peers.installed("hessian-eigenthings"):
        name = "hessian-eigenthings, hutchinson"
        drawn[name] = eigenthings_trace(model, batch, samples, "hutchinson").samples.tolist()
        runs[name] = lambda count: eigenthings_trace(model, batch, count, "hutchinson")
    found = {name: of_samples(drawn[name], of_one_matrix(drawn), runs[name]) for name in drawn}
    if peers.installed("hessian-eigenthings"):
        found["hessian-eigenthings, hutch++"] = hutchpp(model, batch)
    return found


def of_one_matrix(samples: dict[str, list[float]]) -> float:
    """Return the standard deviation of z'Hz over random signs, which is the same in every package."""
    variances = [statistics.variance(values) for values in samples.values()]
    return math.sqrt(statistics.mean(variances))


def measure(case: str, seeds: int, samples: int) -> list[Row]:
    """Compare on one network."""
    model, batch = problem(case)
    began = time.perf_counter()
    H = hs.hessian(peers.objective(model, batch), engine="jets")
    hs.trace(H, tol=TOLERANCE)
    captured = time.perf_counter() - began  # once for a model, a first trace included
    found = rivals(model, batch, samples)
    jobs: dict[str, Callable[[int], object]] = {
        "gradient": lambda _: [peers.gradient(model, [batch]) for _ in range(GRADIENTS)],
        "hesscope": lambda seed: hs.trace(H, tol=TOLERANCE, seed=seed),
    }
    jobs |= {name: (lambda _, peer=peer: peer.run(TIMED)) for name, peer in found.items()}
    ratios: dict[str, list[float]] = {name: [] for name in jobs}
    estimates: list[hs.Estimate] = []
    for seed in range(1, seeds + 1):
        one = 0.0
        for name, job in jobs.items():
            start = time.perf_counter()
            result = job(seed)
            seconds = time.perf_counter() - start
            one = seconds / GRADIENTS if name == "gradient" else one
            ratios[name].append(seconds / one)
            if isinstance(result, hs.Estimate):
                estimates.append(result)
    values = [e.value for e in estimates]
    value, error = statistics.mean(values), statistics.stdev(values)
    for name, peer in found.items():
        allowed = 4 * math.hypot(peer.error, error / math.sqrt(seeds))
        if abs(peer.value - value) > allowed:
            msg = (
                f"{case}: {name} finds {peer.value:.6g}, hesscope {value:.6g}, more than {allowed:.2g} apart"
            )
            raise SystemExit(msg)
    mine = statistics.mean(ratios["hesscope"])  # the number of products differs from seed to seed
    rows: list[Row] = [
        {
            "case": case,
            "job": "hesscope",
            "trace": value,
            "error": error,
            "error bar": statistics.mean(e.error for e in estimates),
            "products": statistics.mean(e.products for e in estimates),
            "gradients": mine,
            "capture and first trace, seconds": captured,
            "hesscope's share": 1.0,
        }
    ]
    for name, peer in found.items():
        needed, reached = peer.needed(error)
        cost = statistics.median(ratios[name]) / TIMED * needed
        rows.append(
            {
                "case": case,
                "job": name,
                "trace": peer.value,
                "error": error,
                "reached": reached,
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
        more, less = ("", "") if row.get("reached", True) else ("≥ ", "≤ ")
        lines.append(
            f"| {row['case']} | {row['job']} | {trace:.4g} | {error:.2g} "
            f"| {more}{float(str(row['products'])):.0f} | {more}{cost:.0f} | {less}{share:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", default=["mlp", "cnn", "gpt"])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[Row] = []
    for case in options.case:
        rows += measure(case, options.seeds, options.samples)
        print(table(rows), flush=True)
        record(options.json, {"job": "trace to 2 % of tr|H|", "tolerance": TOLERANCE, "rows": rows})
    if options.markdown:
        options.markdown.write_text(table(rows))


if __name__ == "__main__":
    main()
