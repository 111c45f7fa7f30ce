"""log det and trace of the inverse by stochastic Lanczos quadrature: here, in imate and in primate.

The same matrices, precision, probes, steps and threads, no reorthogonalisation, conversion of the matrix
included. Two sparse matrices in compressed rows; and a prescribed spectrum, which is a product with fast
transforms here and a dense matrix in imate, which takes no operators, and in primate. In the last lines
primate has our product, through SciPy. All must agree with the truth where it is known, else with each other,
before anything is timed. imate and primate (scikit-primate) are not dependencies: install them to run this.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imate
import numpy as np
import primate.operators
import primate.trace
import scipy.sparse as sp
import torch

import hesscope as hs
from harness import CLOCKS, arguments, interleaved, median_ratio, record
from hesscope.testing import prescribed_spectrum

PROBES, STEPS = 8, 50
_AGREE = 6.0  # standard errors, of 8 probes: Student's t with 7 degrees of freedom exceeds 4 in 1 run of 200


@dataclass(frozen=True)
class Problem:
    """A positive definite matrix, in the form that each package takes, made anew for every run."""

    name: str
    n: int
    operator: Callable[[], hs.SymmetricOperator]
    for_imate: Callable[[], object] | None
    for_primate: Callable[[], object]
    eigenvalues: torch.Tensor | None


def random_rows(n: int) -> sp.csr_matrix:
    """About 10 entries a row at random columns, diagonally dominant."""
    rng = np.random.default_rng(0)
    pairs = 9 * n // 2
    rows, columns = rng.integers(n, size=pairs), rng.integers(n, size=pairs)
    values = rng.uniform(-0.03, 0.03, size=pairs).astype(np.float32)
    upper = sp.coo_matrix((values, (rows, columns)), shape=(n, n)).tocsr()
    return (upper + upper.T + sp.identity(n, dtype=np.float32, format="csr")).tocsr()


def grid(side: int) -> tuple[sp.csr_matrix, torch.Tensor]:
    """Laplacian of a square grid plus 0.1, and its eigenvalues."""
    line = sp.diags([-1.0, 2.05, -1.0], [-1, 0, 1], shape=(side, side))
    angles = torch.arange(1, side + 1, dtype=torch.float64) * math.pi / (side + 1)
    one = 2.05 - 2 * angles.cos()
    return sp.kronsum(line, line).tocsr().astype(np.float32), (one[:, None] + one).flatten()


def problems(n: int, dense: int) -> list[Problem]:
    rows = random_rows(n)
    laplacian, values = grid(math.isqrt(n))
    spectrum = torch.linspace(0.1, 2, dense, dtype=torch.float64)
    h = prescribed_spectrum(spectrum, dtype=torch.float32)
    matrix = h.rows(torch.eye(dense)).numpy()
    matrix = (matrix + matrix.T) / 2
    return [
        Problem("random rows", n, lambda: hs.from_matrix(rows), lambda: rows, lambda: rows, None),
        Problem(
            "grid",
            len(values),
            lambda: hs.from_matrix(laplacian),
            lambda: laplacian,
            lambda: laplacian,
            values,
        ),
        Problem("prescribed spectrum", dense, lambda: h, lambda: matrix, lambda: matrix, spectrum),
        Problem("the same, our product in primate", dense, lambda: h, None, h.to_scipy, spectrum),
    ]


def ours(problem: Problem, job: str) -> hs.Estimate:
    function = hs.logdet if job == "log det" else hs.trace_inverse
    return function(problem.operator(), num_probes=PROBES, num_steps=STEPS)


def by_imate(problem: Problem, job: str, threads: int) -> float:
    function = imate.logdet if job == "log det" else imate.traceinv
    return float(
        function(
            problem.for_imate(),
            method="slq",
            min_num_samples=PROBES,
            max_num_samples=PROBES,
            lanczos_degree=STEPS,
            orthogonalize=0,
            num_threads=threads,
        )
    )


def by_primate(problem: Problem, job: str) -> float:
    function = np.log if job == "log det" else np.reciprocal
    # orth=0: the last two vectors only.
    operator = primate.operators.MatrixFunction(
        problem.for_primate(), fun=function, deg=STEPS, dtype=np.float32, orth=0
    )
    return float(primate.trace.hutch(operator, converge="count", count=PROBES, batch=PROBES, seed=1))


def agree(problem: Problem, job: str, results: dict[str, float], error: float) -> dict[str, float]:
    """Return each result's distance from the truth, or from ours; raise RuntimeError if one is too far."""
    standard = error / 2.36  # of 8 probes
    if problem.eigenvalues is not None:
        v = problem.eigenvalues
        truth, allowed = float((v.log() if job == "log det" else v.reciprocal()).sum()), _AGREE * standard
    else:
        truth, allowed = results["hesscope"], math.sqrt(2) * _AGREE * standard
    distances = {name: abs(result - truth) for name, result in results.items()}
    wrong = {name: d for name, d in distances.items() if not d <= allowed}
    if wrong:
        msg = f"{problem.name}, {job}: {results} must be within {allowed:.4g} of {truth:.6g}, got {wrong}"
        raise RuntimeError(msg)
    return distances


def compare(problem: Problem, job: str, threads: int, repeats: int, clock: str) -> dict[str, object]:
    jobs: dict[str, Callable[[], object]] = {
        "hesscope": lambda: ours(problem, job),
        "imate": lambda: by_imate(problem, job, threads),
        "primate": lambda: by_primate(problem, job),
    }
    if problem.for_imate is None:
        del jobs["imate"]
    peers = [name for name in jobs if name != "hesscope"]
    mine = ours(problem, job)
    results = {"hesscope": mine.value} | {name: float(jobs[name]()) for name in peers}
    distances = agree(problem, job, results, mine.error)
    seconds = interleaved(jobs, repeats, clock=clock)
    ratios = {name: median_ratio(seconds[name], seconds["hesscope"]) for name in peers}
    return {
        "matrix": problem.name,
        "n": problem.n,
        "job": job,
        "values": results,
        "half-width": mine.error,
        "distance": distances,
        "from": "the other" if problem.eigenvalues is None else "the truth",
        "seconds": seconds,
        "ratios": ratios,
    }


def table(rows: list[dict]) -> str:
    lines = [
        "| matrix | n | | hesscope, s | imate | primate | error: hesscope | imate | primate |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds = statistics.median(row["seconds"]["hesscope"])
        ratios = " | ".join(
            f"{row['ratios'][name]:.1f}x" if name in row["ratios"] else "" for name in ("imate", "primate")
        )
        scale = abs(row["values"]["hesscope"])
        errors = " | ".join(
            f"{row['distance'][name] / scale:.1e}" if name in row["distance"] else ""
            for name in ("hesscope", "imate", "primate")
        )
        if row["from"] == "the other":
            errors = "not known | | "
        lines.append(f"| {row['matrix']} | {row['n']} | {row['job']} | {seconds:.2f} | {ratios} | {errors} |")
    return "\n".join(lines)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000, help="of the sparse matrices")
    parser.add_argument("--dense", type=int, default=4096, help="of the prescribed spectrum, a power of 2")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what is timed: see harness.py")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [
        compare(problem, job, options.threads, options.repeats, options.clock)
        for problem in problems(options.n, options.dense)
        for job in ("log det", "trace of the inverse")
    ]
    text = table(rows)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text + "\n")
    record(
        options.json,
        {
            "job": "log det and trace of the inverse",
            "probes": PROBES,
            "steps": STEPS,
            "clock": options.clock,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
