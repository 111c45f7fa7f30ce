"""How often every error bar holds the truth: 1,000 seeded runs each, on four spectra, as a table.

The spectra, n = 1024, all but the last indefinite: evenly spread; a power law; that of a network (half zeros,
a bulk of both signs, outliers); clusters with multiplicities. Eigenvectors come from a signed Walsh-Hadamard
transform; for the diagonal they are random, n = 128. A pure sampling interval must hold in 93 to 97 % of the
runs; one with a bound or a worst case in it in at least 93 %. Estimates of an error are not intervals: their
share is reported, and not judged. Nothing is timed.

What corrects intervals for skewness was tuned on those spectra. ``--spectra unseen`` runs the error bars of
densities on five others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from coverage_cases import Case, Outcome, Problem
from coverage_table import CASES
from harness import environment
from hesscope.testing import prescribed_spectrum

N, RUNS = 1024, 1000
PURE, AT_LEAST = (0.93, 0.97), 0.93
_MARKS = {"tuned": "coverage", "unseen": "unseen spectra"}
_NO_DENSITY = ("trace,", "frobenius_norm", "diagonal")  # how the cases begin that see no density
NOISE = 2.6  # standard deviations of a share of so many runs, that a verdict grants it (1 in 100)


def spectra(n: int = N) -> dict[str, Tensor]:
    """Return the four spectra by name, ``[n]`` each."""
    k = torch.arange(n, dtype=torch.float64)
    signs = 1 - 2 * (k % 3 == 1).double()
    bulk = torch.randn(n // 2 - 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outliers = torch.tensor([12.0, 9.0, 7.0, 5.0, 4.0, 3.5, 3.0, -2.0], dtype=torch.float64)
    centres = torch.tensor([-0.5, 0.1, 0.4, 1.0], dtype=torch.float64)
    return {
        "flat": torch.linspace(-1, 1.3, n, dtype=torch.float64),
        "power law": signs * (1 + k / 8) ** -1,
        "network": torch.cat([torch.zeros(n // 2, dtype=torch.float64), 0.2 * bulk, outliers]),
        "clusters": (centres[(k % 4).long()] + 1e-3 * ((k // 64) / 16)),
    }


def unseen_spectra(n: int = N) -> dict[str, Tensor]:
    """Return five more by name, ``[n]`` each, on which nothing was tuned.

    That of a sample covariance (Marchenko-Pastur) with three outliers; 0.9^k; moduli log-uniform over five
    decades with random signs; a flat bulk and one giant; a heavy tail (Pareto, exponent 1.5), random signs.
    """
    rng = torch.Generator().manual_seed(7)

    def uniform(count: int) -> Tensor:
        return torch.rand(count, dtype=torch.float64, generator=rng)

    samples = torch.randn(2 * n, n - 3, dtype=torch.float64, generator=rng)
    covariance = torch.linalg.svdvals(samples).square() / (2 * n)
    signs = 1 - 2 * (uniform(n) < 0.5).double()
    k = torch.arange(n, dtype=torch.float64)
    return {
        "covariance": torch.cat([covariance, 4 + 12 * uniform(3)]),
        "0.9^k": 0.9**k,
        "log-uniform": signs * 10 ** (-5 * uniform(n)),
        "one giant": torch.cat([torch.linspace(-1, 1, n - 1, dtype=torch.float64), torch.tensor([100.0])]),
        "heavy tail": signs.flip(0) * uniform(n) ** (-1 / 1.5),
    }


SPECTRA = {"tuned": spectra, "unseen": unseen_spectra}


def share(outcome: Outcome) -> float:
    """Share of runs (and points of a curve) in which the interval holds."""
    return float(outcome.hits.double().mean())


def verdict(case: Case, outcome: Outcome, covered: float, runs: int) -> str:
    """Judge a share of the runs, granting it the noise of fewer than 1,000."""
    noise = NOISE * (0.95 * 0.05 / runs) ** 0.5 if runs < RUNS else 0.0
    if case.kind == "estimate" or outcome.claimed <= 0.5:
        return "an estimate"
    if covered < AT_LEAST - noise:
        return "TOO LOW"
    if case.kind == "sampling" and covered > PURE[1] + noise:
        return "TOO HIGH"
    return "ok"


def measure(runs: int, n: int, only: str, which: str = "tuned") -> list[dict[str, object]]:
    """Run every case on every spectrum of a set."""
    rows: list[dict[str, object]] = []
    cases = [case for case in CASES if which == "tuned" or not case.name.startswith(_NO_DENSITY)]
    for name, values in SPECTRA[which](n).items():
        problem = Problem(prescribed_spectrum(values), name)
        for case in cases:
            if only not in f"{name}: {case.name}":
                continue
            began = time.perf_counter()
            outcome = case.run(problem, runs)
            covered = share(outcome)
            rows.append(
                {
                    "spectrum": name,
                    "case": case.name,
                    "kind": case.kind,
                    "coverage": covered,
                    "share of runs that claim an interval": outcome.claimed,
                    "verdict": verdict(case, outcome, covered, runs),
                    "median half-width over |value|": outcome.relative_width,
                    "seconds": time.perf_counter() - began,
                }
            )
            last = rows[-1]
            print(f"{name:10s} {case.name:58s} {100 * covered:5.1f} %  {last['verdict']:12s}", flush=True)
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Return a Markdown table: a line per case, a column per spectrum, in percent."""
    names = list(dict.fromkeys(str(row["spectrum"]) for row in rows))
    lines = [
        "| error bar | kind | " + " | ".join(names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for case in dict.fromkeys((str(row["case"]), str(row["kind"])) for row in rows):
        shares = {row["spectrum"]: row for row in rows if row["case"] == case[0]}
        cells = [
            f"{100 * float(str(shares[name]['coverage'])):.1f}" + _mark(str(shares[name]["verdict"]))
            if name in shares
            else ""
            for name in names
        ]
        lines.append(f"| {case[0]} | {case[1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def insert(page: Path, text: str, runs: int, which: str = "tuned") -> None:
    """Put the table of a set of spectra between its marks in a page."""
    begin, end = f"<!-- {_MARKS[which]} -->", f"<!-- /{_MARKS[which]} -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n{runs:,} runs each.\n\n{text}{end}{after}", encoding="utf-8")


def _mark(verdict: str) -> str:
    return {"TOO LOW": " ↓", "TOO HIGH": " ↑", "an estimate": " (e)"}.get(verdict, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--n", type=int, default=N)
    parser.add_argument("--spectra", choices=SPECTRA, default="tuned", help="the set of spectra")
    parser.add_argument("--only", default="", help="cases whose 'spectrum: name' contains this")
    parser.add_argument("--json", type=Path, help="write the record to this file")
    parser.add_argument("--page", type=Path, help="put the table into this page (docs/error_bars.md)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options.runs, options.n, options.only, options.spectra)
    if options.page:
        insert(options.page, table(rows), options.runs, options.spectra)
    if options.json:
        record = {"environment": environment(), "runs": options.runs, "n": options.n, "rows": rows}
        options.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    if any(str(row["verdict"]).startswith("TOO") for row in rows):
        sys.exit("some intervals do not cover as they should")


if __name__ == "__main__":
    main()
