"""Rate of the core's matrix product against torch's (MKL or OpenBLAS), in pairs, as ratios.

python benchmarks/python/gemm_vs_torch.py [--threads 1] [--repeats 15] [--json FILE]
"""

import sys

import torch

from harness import arguments, interleaved, median_ratio, record
from hesscope import _ops

SIZES = (64, 256, 512, 1024)


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(options.threads)
    cases = []
    for dtype in (torch.float32, torch.float64):
        for n in SIZES:
            generator = torch.Generator().manual_seed(n)
            a, x = torch.randn(2, 1, n, n, generator=generator, dtype=torch.float64).to(dtype)
            out, want = torch.empty_like(a), a.double() @ x.double()
            bound = (n + 3) * torch.finfo(dtype).eps * (a.double().abs() @ x.double().abs())
            if not ((_ops.gemm(a, x, out=out).double() - want).abs() <= bound).all():
                sys.exit(f"gemm is wrong for n = {n}, {dtype}")
            seconds = interleaved(
                {
                    "torch": lambda a=a, x=x, out=out: torch.bmm(a, x, out=out),
                    "hesscope": lambda a=a, x=x, out=out: _ops.gemm(a, x, out=out),
                },
                max(options.repeats, 3 * 10**7 // n**3),
            )
            ratio = median_ratio(seconds["torch"], seconds["hesscope"])
            rate = 2e-9 * n**3 / min(seconds["hesscope"])
            cases.append({"dtype": str(dtype), "n": n, "rate_over_torch": ratio, "best_gflop_per_s": rate})
            sys.stdout.write(f"{dtype} n={n}: {ratio:.2f} of torch's rate, {rate:.0f} GFLOP/s at best\n")
    record(options.json, {"job": "gemm_vs_torch", "cases": cases})


if __name__ == "__main__":
    main()
