"""Top eigenpairs of three networks' Hessians: products against ARPACK and PRIMME, seconds against the ways
of hessian-eigenthings and curvlinops.

The job: k = 10 largest eigenpairs with |H x - value x| <= tol |value|, on the multilayer perceptron, the
CNN and the GPT of jets_products.py. SciPy's eigsh (ARPACK) and PRIMME, where it is installed, run on our
operator, so that products compare; hessian-eigenthings (its Lanczos, with the number of steps that first
reaches the residuals, found beforehand) and curvlinops (its operator in eigsh) run on their own. All must
agree on the values, and the residuals are measured with our operator. Products that check for missed pairs
and measure residuals are counted apart; the seconds of "hesscope" have k products that measure its residuals,
which no peer does, those of "not measured" do not.

    python benchmarks/python/eigenpairs_vs_peers.py [--case mlp] [--k 10] [--tol 1e-4] [--json FILE]
"""

from __future__ import annotations

import functools
import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

import hesscope as hs
import peers
from harness import CLOCKS, arguments, interleaved, median_ratio, record
from jets_products import problem

Pairs = tuple[Tensor, Tensor]  # values [k], descending, and vectors [k, n]
Batch = tuple[Tensor, Tensor]


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def descending(values: np.ndarray, vectors: np.ndarray) -> Pairs:
    order = np.argsort(values)[::-1].copy()
    return torch.from_numpy(values[order]).double(), torch.from_numpy(vectors[:, order].T.copy()).float()


def arpack(operator: Any, k: int, tol: float) -> Pairs:
    start = np.random.default_rng(0).standard_normal(operator.shape[0]).astype(operator.dtype)
    return descending(*eigsh(operator, k, which="LA", tol=tol, v0=start))


def primme(operator: Any, k: int, tol: float) -> Pairs:
    from primme import eigsh as primme_eigsh

    method = "PRIMME_DEFAULT_MIN_MATVECS"  # of its methods the one for the fewest products
    return descending(*primme_eigsh(operator, k, which="LA", tol=tol, method=method))


@peers.plain_attention
def eigenthings(model: nn.Module, batch: Batch, k: int, steps: int) -> Pairs:
    from hessian_eigenthings.algorithms.lanczos import lanczos
    from hessian_eigenthings.operators.hessian import HessianOperator

    operator = HessianOperator(model, [batch], loss)
    found = lanczos(operator, k=k, max_iter=steps, which="LA", reorthogonalize=True, seed=0)
    values, vectors = found.eigenvalues.double(), found.eigenvectors
    order = values.argsort(descending=True)
    return values[order], (vectors if vectors.shape[0] == len(values) else vectors.T)[order]


@peers.plain_attention
def curvlinops(model: nn.Module, batch: Batch, k: int, tol: float) -> Pairs:
    return arpack(peers.curvlinops_operator(model, [batch]).to_scipy(), k, tol)


def hesscope(
    objective: hs.Objective, k: int, tol: float, *, check: bool, verify: bool = True
) -> hs.Eigenpairs:
    H = hs.hessian(objective, engine="jets")
    return hs.eigenpairs(H, k, tol=tol, check_missed=check, verify=verify)


def worst(H: hs.SymmetricOperator, pairs: Pairs) -> float:
    """Largest residual relative to its value."""
    values, vectors = pairs
    left = H.rows(vectors.contiguous()).double() - values[:, None] * vectors.double()
    return float((left.norm(dim=1) / values.abs()).max())


def counted(H: hs.SymmetricOperator, run: Callable[[], Pairs]) -> tuple[Pairs, dict[str, float]]:
    before = H.products
    pairs = run()
    products = H.products - before
    return pairs, {"products": products, "residual": worst(H, pairs)}


@peers.plain_attention
def steps_needed(H: hs.SymmetricOperator, model: nn.Module, batch: Batch, k: int, tol: float) -> int:
    """Fewest steps of an unrestarted Lanczos that reach the residuals: what a user would have to guess."""
    from hessian_eigenthings.algorithms.lanczos import lanczos_tridiagonal
    from hessian_eigenthings.operators.hessian import HessianOperator

    operator = HessianOperator(model, [batch], loss)
    start = torch.randn(H.shape[0], generator=torch.Generator().manual_seed(0))
    most = 10 * k
    while True:
        run = lanczos_tridiagonal(operator, start, most, reorthogonalize=True)
        alpha, beta = run.alphas.double(), run.betas.double()
        for m in range(2 * k, most):
            off = beta[: m - 1]
            values, vectors = torch.linalg.eigh(alpha[:m].diag() + off.diag(1) + off.diag(-1))
            residuals = (beta[m - 1] * vectors[-1, -k:]).abs() / values[-k:].abs()
            if float(residuals.max()) <= tol:
                return m
        if most >= 40 * k:
            msg = f"hessian-eigenthings does not reach {tol:g} in {most} steps"
            raise SystemExit(msg)
        most *= 2


def measure(case: str, k: int, tol: float, repeats: int, clock: str) -> dict[str, Any]:
    model, batch = problem(case)
    objective = hs.Objective(model, loss, batch)
    H = hs.hessian(objective, engine="jets")
    scipy_operator = H.to_scipy()
    pairs, rows = {}, {}
    pairs["eigsh"], rows["eigsh"] = counted(H, lambda: arpack(scipy_operator, k, tol))
    pairs["eigsh, tol=0"], rows["eigsh, tol=0"] = counted(H, lambda: arpack(scipy_operator, k, 0))
    # Their criterion is relative to each value, ours to the norm of H: as strict for the smallest value. The
    # norm may be that of the other end, of which the largest values say nothing.
    values = pairs["eigsh"][0]
    (norm,) = hs.eigenpairs(H, 1, which="magnitude", tol=1e-2, check_missed=False).values.abs().tolist()
    ours = tol * float(values.abs().min()) / norm
    if importlib.util.find_spec("primme") is not None:
        pairs["PRIMME"], rows["PRIMME"] = counted(H, lambda: primme(scipy_operator, k, ours))
    else:
        print("PRIMME: not installed, left out")
    eig = hesscope(objective, k, ours, check=True)
    pairs["hesscope"] = (eig.values, eig.vectors)
    rows["hesscope"] = {
        "products": eig.search_products,
        "check_products": eig.check_products,
        "verification_products": eig.verification_products,
        "residual": worst(H, pairs["hesscope"]),
    }
    jobs: dict[str, Callable[[], object]] = {
        "hesscope": functools.partial(hesscope, objective, k, ours, check=False),
        "hesscope, not measured": functools.partial(hesscope, objective, k, ours, check=False, verify=False),
        "hesscope, with the check": functools.partial(hesscope, objective, k, ours, check=True),
    }
    if importlib.util.find_spec("hessian_eigenthings") is not None:
        steps = steps_needed(H, model, batch, k, tol)
        jobs["hessian-eigenthings"] = functools.partial(eigenthings, model, batch, k, steps)
        pairs["hessian-eigenthings"] = eigenthings(model, batch, k, steps)
        rows["hessian-eigenthings"] = {
            "products": steps,
            "residual": worst(H, pairs["hessian-eigenthings"]),
        }
    if importlib.util.find_spec("curvlinops") is not None:
        try:
            pairs["curvlinops"] = curvlinops(model, batch, k, tol)
            jobs["curvlinops"] = functools.partial(curvlinops, model, batch, k, tol)
        except RuntimeError as error:  # 3.0.1 takes no batch norm in training mode
            print(f"{case}: curvlinops cannot do it: {str(error).split('.', maxsplit=1)[0]}")
    if rows["hesscope"]["residual"] > tol:
        msg = f"{case}: hesscope's residuals reach {rows['hesscope']['residual']:.1e} of a value"
        raise SystemExit(msg)
    for name, (found, _) in pairs.items():
        error = float(((found - values).abs() / values.abs().max()).max())
        if error > 10 * tol:
            msg = f"{case}: {name} disagrees about the eigenvalues by {error:.1e}"
            raise SystemExit(msg)
    seconds = interleaved(jobs, repeats, clock=clock)
    for name, times in seconds.items():
        rows.setdefault(name, {})
        rows[name] |= {"seconds": times, "times hesscope": median_ratio(times, seconds["hesscope"])}
    for name, row in rows.items():
        products = f"{row['products']:5.0f} products" if "products" in row else 14 * " "
        ratio = f"{row['products'] / eig.search_products:5.2f} x" if "products" in row else 7 * " "
        took = (
            f"{statistics.median(row['seconds']):8.3f} s {row['times hesscope']:6.2f} x"
            if "seconds" in row
            else ""
        )
        print(f"{case:5} {name:26} {products} {ratio} {took}", flush=True)
    return {"case": case, "n": objective.n, "k": k, "tol": tol, "rows": rows}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="*", default=["mlp", "cnn", "gpt"])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what is timed: see harness.py")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = [measure(case, options.k, options.tol, options.repeats, options.clock) for case in options.case]
    record(options.json, {"job": "top eigenpairs of networks", "clock": options.clock, "cases": cases})


if __name__ == "__main__":
    main()
