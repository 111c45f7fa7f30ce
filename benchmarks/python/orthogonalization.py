"""Lanczos with full reorthogonalisation on a cheap operator: what the basis costs, here and in a peer.

The job: m steps on vectors of length n, float32, H a diagonal matrix, so that the time is that of the basis.
hessian-eigenthings projects out one vector after the other; it is not a dependency, and takes part where it
is installed. Every way must find the outliers, and ours an orthogonal basis, before it is timed. The speed
is also given as a share of the copy bandwidth, measured in turn, counting the readings of the j vectors
before step j that the algorithm makes: one with "full", two with rows in bfloat16. The reading that measures
the orthogonality at the end is not counted, but timed; "without measuring" leaves out its time, which the
peer does not spend, and that of the products. What a mere reading of memory reaches is measured, too.

    python benchmarks/python/orthogonalization.py [--n 10000000] [--steps 100] [--json FILE]
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import hesscope as hs
from harness import CLOCKS, arguments, interleaved, median_ratio, record
from hesscope.krylov.recurrence import from_probes
from hesscope.krylov.rows import MemoryRows

PEER = "hessian-eigenthings"
Job = Callable[[], Tensor]  # Ritz values, ascending


def diagonal(n: int) -> Tensor:
    """Ten outliers over a bulk: orthogonality is lost early."""
    values = 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(0))
    values[:10] = torch.linspace(1, 3, 10)
    return values


def hesscope_job(values: Tensor, steps: int, **options: str) -> Job:
    H = hs.from_function(lambda v: v * values, len(values), batched=True, check_symmetric=False)

    def job() -> Tensor:
        job.operator = H  # type: ignore[attr-defined]
        rho = hs.spectral_density(H, num_probes=1, num_steps=steps, **options)
        job.result = rho  # type: ignore[attr-defined]
        return rho.nodes[0]

    return job


def eigenthings_job(values: Tensor, steps: int) -> Job:
    from hessian_eigenthings.algorithms.lanczos import lanczos_tridiagonal
    from hessian_eigenthings.operators.base import LambdaOperator

    n = len(values)
    operator = LambdaOperator(lambda v: v * values, n)
    kind = {"kind": "rademacher", "dtype": torch.float32, "device": torch.device("cpu")}
    start = from_probes(1, n, seed=0, **kind).v[0]

    def job() -> Tensor:
        run = lanczos_tridiagonal(operator, start, steps, reorthogonalize=True)
        a, b = run.alphas.double(), run.betas.double()
        return torch.linalg.eigvalsh(torch.diag(a) + torch.diag(b, 1) + torch.diag(b, -1))

    return job


def timed_apart(job: Job, clock: Callable[[], float]) -> float:
    """Seconds that one run spends on products and on measuring how orthogonal the basis is."""
    spent = 0.0

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal spent
            start = clock()
            out = method(*args, **options)
            spent += clock() - start
            return out

        return call

    operator, measure = job.operator, MemoryRows.defect  # type: ignore[attr-defined]
    operator.rows, MemoryRows.defect = timed(operator.rows), timed(measure)  # type: ignore[method-assign]
    try:
        job()
    finally:
        del operator.rows
        MemoryRows.defect = measure  # type: ignore[method-assign]
    return spent


def percent(share: float | None) -> str:
    return 5 * " " + "-" if share is None else f"{100 * share:4.0f} %"


def verify(jobs: dict[str, Job], steps: int) -> dict[str, float]:
    """All must find the ten outliers; ours must be as orthogonal as they claim."""
    outliers = torch.linspace(1, 3, 10).double()  # all have converged after 100 steps
    for name, job in jobs.items():
        error = float((job()[-10:].double() - outliers).abs().max()) / 3
        print(f"{name}: the ten largest Ritz values are off by {error:.1e} of the largest")
        allowed = 1e-2 if name == PEER else 1e-4  # sums in float32 cost the peer 3e-3 at n = 1e7
        if error > allowed:
            msg = f"{name} is wrong about the ten largest eigenvalues by {error:.1e}"
            raise SystemExit(msg)
    eps = torch.finfo(torch.float32).eps
    orthogonality = {
        name: job.result.orthogonality  # type: ignore[attr-defined]
        for name, job in jobs.items()
        if hasattr(job, "result")
    }
    if orthogonality["full"] > 4 * steps**0.5 * eps or orthogonality["selective"] > 2 * eps**0.5:
        msg = f"the basis is not orthogonal: {orthogonality}"
        raise SystemExit(msg)
    return orthogonality


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what is timed: see harness.py")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n, steps = options.n, options.steps
    values = diagonal(n)
    jobs = {
        "full": hesscope_job(values, steps, reorthogonalize="full"),
        "selective": hesscope_job(values, steps, reorthogonalize="selective"),
        "bfloat16": hesscope_job(values, steps, reorthogonalize="full", basis="bfloat16"),
    }
    if importlib.util.find_spec("hessian_eigenthings") is not None:
        jobs[PEER] = eigenthings_job(values, steps)
    else:
        print("hessian-eigenthings: not installed, left out")
    orthogonality = verify(jobs, steps)
    copies = 20  # of as many rows: more than a cache holds, as a basis is
    source = torch.randn(copies, n)
    target = source.clone()  # memory that has been written before: fresh pages would be timed as well
    memory = {"copy": lambda: target.copy_(source), "read": source.sum}
    seconds = interleaved(memory | jobs, options.repeats, clock=options.clock)
    bandwidth = 8 * n * copies / statistics.median(seconds["copy"])
    reading = 4 * n * steps * (steps + 1) / 2  # of j vectors in float32 in step j, all steps together
    readings = {"full": 1.0, "bfloat16": 1.0}  # two of two bytes each
    apart = {"full": timed_apart(jobs["full"], CLOCKS[options.clock])}

    def share(name: str, readings: float | None, *, without: float = 0.0) -> float | None:
        if readings is None:
            return None
        return readings * reading / (statistics.median(seconds[name]) - without) / bandwidth

    result = {
        name: {
            "seconds": seconds[name],
            "times full": median_ratio(seconds[name], seconds["full"]),
            "share of copy bandwidth": share(name, readings.get(name)),
            "share, without measuring": share(name, readings.get(name), without=apart.get(name, 0.0)),
            "orthogonality": orthogonality.get(name),
            "memory_bytes": getattr(getattr(job, "result", None), "memory_bytes", None),
            "projections": getattr(getattr(job, "result", None), "projections", None),
        }
        for name, job in jobs.items()
    }
    read = 4 * n * copies / statistics.median(seconds["read"])
    print(f"n = {n}, {steps} steps, copy at {bandwidth / 1e9:.1f} GB/s, reading at {read / 1e9:.1f} GB/s")
    for name, row in result.items():
        print(
            f"{name:20s} {statistics.median(row['seconds']):8.2f} s {row['times full']:6.2f} x full"
            f" {percent(row['share of copy bandwidth'])} of copy bandwidth,"
            f" {percent(row['share, without measuring'])} without measuring and the operator"
            f"  orthogonality {row['orthogonality']}"
        )
    record(
        options.json,
        {
            "job": "full reorthogonalisation",
            "n": n,
            "steps": steps,
            "clock": options.clock,
            "copy": bandwidth,
            "read": read,
            "result": result,
        },
    )


if __name__ == "__main__":
    main()
