"""log det of a sparse positive definite matrix by stochastic Lanczos quadrature, here and in imate.

n = 1e6, about 10 nonzeros a row at random columns, 8 probes, 50 steps, no reorthogonalisation, float32
and the same number of threads. imate is not a dependency: install it to run this.
"""

from __future__ import annotations

import statistics

import imate
import numpy as np
import scipy.sparse as sp
import torch

import hesscope as hs
from harness import arguments, interleaved, median_ratio, record

PROBES, STEPS = 8, 50


def matrix(n: int, seed: int = 0) -> sp.csr_matrix:
    """Symmetric with unit diagonal and 9 off-diagonal entries a row on average, diagonally dominant."""
    rng = np.random.default_rng(seed)
    pairs = 9 * n // 2
    rows, columns = rng.integers(n, size=pairs), rng.integers(n, size=pairs)
    values = rng.uniform(-0.03, 0.03, size=pairs).astype(np.float32)
    upper = sp.coo_matrix((values, (rows, columns)), shape=(n, n)).tocsr()
    return (upper + upper.T + sp.identity(n, dtype=np.float32, format="csr")).tocsr()


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    a = matrix(options.n)

    def ours() -> hs.Estimate:
        rho = hs.spectral_density(hs.from_matrix(a), num_probes=PROBES, num_steps=STEPS)
        return rho.spectral_sum(torch.log)

    def theirs() -> float:
        return float(
            imate.logdet(
                a,
                method="slq",
                min_num_samples=PROBES,
                max_num_samples=PROBES,
                lanczos_degree=STEPS,
                orthogonalize=0,
                num_threads=options.threads,
            )
        )

    mine, other = ours(), theirs()
    # Both are estimates from as many probes: their difference has sqrt(2) times the spread of one.
    if abs(mine.value - other) > 2 * np.sqrt(2) * mine.error:
        msg = f"the two disagree: {mine} and {other}"
        raise RuntimeError(msg)
    seconds = interleaved({"hesscope": ours, "imate": theirs}, options.repeats)
    per_step = {name: 1e3 * statistics.median(t) / STEPS / PROBES for name, t in seconds.items()}
    ratio = median_ratio(seconds["imate"], seconds["hesscope"])
    print(f"n = {options.n}, {a.nnz / options.n:.1f} nonzeros a row")
    print(f"log det {mine.value:.1f} ± {mine.error:.1f} and {other:.1f}")
    for name, milliseconds in per_step.items():
        print(f"{name:10s} {milliseconds:7.2f} ms a step and probe")
    print(f"imate / hesscope: {ratio:.2f}")
    record(options.json, {"job": "SLQ log det", "seconds": seconds, "imate / hesscope": ratio})


if __name__ == "__main__":
    main()
