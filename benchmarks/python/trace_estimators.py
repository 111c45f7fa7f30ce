"""Error against products of the trace and diagonal estimators on six standard spectra, as a figure.

The spectra of Epperly, Tropp and Webber (2024), section 1.3, n = 1000: flat (3 to 1), 1/k^2, 0.9^k, 0.7^k,
and fifty ones above steps of 1e-3 and 1e-8. Eigenvectors are random (the Q of a Gaussian matrix). Plotted is
the median over seeds of the relative error: of the trace, or of the diagonal in norm. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

import hesscope as hs
from harness import environment

N = 1000
BUDGETS = [12, 18, 30, 48, 72, 108, 150, 204, 252, 300]
SERIES = {  # label, estimator, method, colour, marker
    "Rademacher": ("trace", "rademacher", "#666666", "s"),
    "Hutch++": ("trace", "hutch++", "#D55E00", "^"),
    "XTrace": ("trace", "xtrace", "#0072B2", "o"),
    "auto": ("trace", "auto", "#000000", "+"),
    "XDiag (diagonal)": ("diagonal", "xdiag", "#009E73", "v"),
}


def spectra(n: int = N) -> dict[str, Tensor]:
    k = torch.arange(1, n + 1, dtype=torch.float64)
    steps = {low: torch.where(k <= 50, 1.0, low).double() for low in (1e-3, 1e-8)}
    return {
        "flat": 3 - 2 * (k - 1) / (n - 1),
        "1/k²": k**-2,
        "0.9ᵏ": 0.9 ** (k - 1),
        "0.7ᵏ": 0.7 ** (k - 1),
        "step 1e−3": steps[1e-3],
        "step 1e−8": steps[1e-8],
    }


def matrix(eigenvalues: Tensor) -> Tensor:
    """Return a symmetric matrix with these eigenvalues and random eigenvectors."""
    n = len(eigenvalues)
    q = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q
    a = (q * eigenvalues) @ q.T
    return (a + a.T) / 2


def median_error(a: Tensor, estimator: str, method: str, products: int, runs: int) -> float:
    h, errors = hs.from_matrix(a), []
    for seed in range(runs):
        if estimator == "trace":
            value = hs.trace(h, method=method, products=products, seed=seed).value
            errors.append(abs(value - float(a.trace())) / abs(float(a.trace())))
        else:
            value = hs.diagonal(h, method=method, products=products, seed=seed).value
            errors.append(float((value - a.diagonal()).norm() / a.diagonal().norm()))
    return float(torch.tensor(errors, dtype=torch.float64).median())


def measure(runs: int, budgets: list[int], n: int) -> dict[str, dict[str, list[float]]]:
    result: dict[str, dict[str, list[float]]] = {}
    for name, eigenvalues in spectra(n).items():
        a = matrix(eigenvalues)
        result[name] = {
            label: [median_error(a, estimator, method, m, runs) for m in budgets]
            for label, (estimator, method, _, _) in SERIES.items()
        }
        print(name, {label: f"{errors[-1]:.1e}" for label, errors in result[name].items()})
    return result


def draw(result: dict[str, dict[str, list[float]]], budgets: list[int], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True)
    for ax, (name, series) in zip(axes.flat, result.items(), strict=True):
        for label, errors in series.items():
            _, _, colour, marker = SERIES[label]
            shown = [max(error, 1e-16) for error in errors]
            ax.semilogy(budgets, shown, color=colour, marker=marker, markersize=4, linewidth=1.2, label=label)
        ax.set_title(name, loc="left", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    for ax in axes[1]:
        ax.set_xlabel("products with H", fontsize=9)
    for ax in axes[:, 0]:
        ax.set_ylabel("relative error, median", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=5, frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--n", type=int, default=N)
    parser.add_argument("--figure", type=Path, help="write the figure to this file")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    budgets = [m for m in BUDGETS if m < options.n]
    result = measure(options.runs, budgets, options.n)
    if options.figure:
        draw(result, budgets, options.figure)
    if options.json:
        content = {"environment": environment(), "runs": options.runs, "products": budgets, "errors": result}
        options.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
