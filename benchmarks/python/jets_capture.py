"""Time the capture of a gradient as a share of a density job of 50 steps and 4 probes.

The cases of jets_products.py, in a warm process: each case is captured once before it is measured. What is
reported is tracing (`trace`), all that happens once per signature (`once`: tracing, listing, partition, the
checks against autograd), and the job with everything in it. The density of both engines is compared first.

    python benchmarks/python/jets_capture.py [--case mlp] [--steps 50] [--probes 4] [--json FILE]
"""

import statistics
import time

import torch
import torch.nn.functional as F

import hesscope as hs
from harness import arguments, environment, record
from hesscope.curvature import hessian
from hesscope.objective import Objective
from jets_products import CASES, problem

LIMIT = 0.1  # of the job


def fresh(case: str) -> Objective:
    model, batch = problem(case)
    return Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), batch)


def once(case: str) -> tuple[float, float]:
    """Seconds of tracing, and of everything that only the first product of a signature pays."""
    h = hessian(fresh(case), engine="jets")
    v = torch.randn(1, h.shape[0])
    start = time.perf_counter()
    h.rows(v)
    first = time.perf_counter() - start
    h.release()  # captured gradients stay, values of the batch do not
    start = time.perf_counter()
    h.rows(v)
    return h.capture_seconds, first - (time.perf_counter() - start)


def job(case: str, steps: int, probes: int, engine: str = "jets") -> tuple[float, torch.Tensor]:
    h = hessian(fresh(case), engine=engine)
    start = time.perf_counter()
    density = hs.spectral_density(h, num_steps=steps, num_probes=probes)
    return time.perf_counter() - start, torch.as_tensor(density.nodes)


def measure(case: str, steps: int, probes: int, repeats: int) -> dict[str, object]:
    tolerance = 2**14 * torch.finfo(torch.float32).eps
    _, nodes = job(case, 3, probes)
    _, expected = job(case, 3, probes, "autograd")
    error = float((nodes - expected).abs().max() / expected.abs().max())
    if error > tolerance:
        msg = f"{case}: nodes are off by {error:.1e}"
        raise SystemExit(msg)
    traces, firsts = zip(*(once(case) for _ in range(repeats)), strict=True)
    whole = statistics.median(job(case, steps, probes)[0] for _ in range(repeats))
    row = {
        "case": case,
        "trace_seconds": statistics.median(traces),
        "once_seconds": statistics.median(firsts),
        "job_seconds": whole,
    }
    row["share"] = row["once_seconds"] / whole
    print(
        f"{case:6} trace {row['trace_seconds']:.3f} s, once {row['once_seconds']:.3f} s of a job of "
        f"{whole:.2f} s: {100 * row['share']:.1f} %{'' if row['share'] <= LIMIT else '  over the limit'}",
        flush=True,
    )
    return row


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="*", default=CASES)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--probes", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(environment())
    rows = [measure(case, options.steps, options.probes, options.repeats) for case in options.case]
    record(options.json, {"steps": options.steps, "probes": options.probes, "rows": rows})


if __name__ == "__main__":
    main()
