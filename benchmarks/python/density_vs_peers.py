"""A spectral density of a wide MLP's Hessian, here and in the packages people use for it.

The job: an MLP 784-2048-2048-10 (5.8 M parameters), a data set of 4 batches of 16, 2 probes, 40 Lanczos
steps each, float32. Peers keep their own defaults (two of them reorthogonalise in full). The peers are not
dependencies: install those that should take part (curvlinops-for-pytorch, PyHessian, hessian-eigenthings).
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

import hesscope as hs
from harness import arguments, interleaved, median_ratio, record

PROBES, STEPS = 2, 40
Quadratures = list[tuple[Tensor, Tensor]]  # nodes and weights of each probe


def problem() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10)
    )
    batches = [(torch.randn(16, 784), torch.randint(10, (16,))) for _ in range(4)]
    return model, batches


def gradient_job(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> Callable[[], object]:
    parameters = list(model.parameters())
    criterion = nn.CrossEntropyLoss()

    def job() -> object:
        return [torch.autograd.grad(criterion(model(x), y), parameters) for x, y in batches]

    return job


def hesscope_job(model, batches) -> Callable[[], Quadratures]:
    def job() -> Quadratures:
        H = hs.hessian(hs.Objective(model, nn.CrossEntropyLoss(), batches))
        rho = hs.spectral_density(H, num_probes=PROBES, num_steps=STEPS)
        return list(zip(rho.nodes, rho.weights, strict=True))

    return job


def eigenthings_job(model, batches) -> Callable[[], Quadratures]:
    from hessian_eigenthings.algorithms.spectral_density import spectral_density
    from hessian_eigenthings.operators.hessian import HessianOperator

    criterion = nn.CrossEntropyLoss()

    def job() -> Quadratures:
        operator = HessianOperator(model, batches, lambda m, batch: criterion(m(batch[0]), batch[1]))
        result = spectral_density(operator, num_runs=PROBES, lanczos_steps=STEPS, seed=0)
        return list(zip(result.raw_eigenvalues, result.raw_weights, strict=True))

    return job


def curvlinops_job(model, batches) -> Callable[[], Quadratures]:
    from curvlinops import HessianLinearOperator
    from curvlinops.papyan2020traces.spectrum import fast_lanczos

    parameters = [p for p in model.parameters() if p.requires_grad]

    def job() -> Quadratures:
        operator = HessianLinearOperator(
            model, nn.CrossEntropyLoss(), parameters, batches, check_deterministic=False
        )
        runs = [fast_lanczos(operator, STEPS) for _ in range(PROBES)]
        return [(values, vectors[0] ** 2) for values, vectors in runs]

    return job


def pyhessian_job(model, batches) -> Callable[[], Quadratures]:
    from pyhessian import hessian

    def eig(matrix: Tensor, **_: object) -> tuple[Tensor, Tensor]:  # removed from torch
        values, vectors = torch.linalg.eigh(matrix)
        return values[:, None], vectors

    def job() -> Quadratures:
        torch.eig = eig
        nodes, weights = hessian(model, nn.CrossEntropyLoss(), dataloader=batches, cuda=False).density(
            iter=STEPS, n_v=PROBES
        )
        return [(torch.tensor(t), torch.tensor(w)) for t, w in zip(nodes, weights, strict=True)]

    return job


PEERS = {
    "hessian-eigenthings": ("hessian_eigenthings", eigenthings_job),
    "curvlinops": ("curvlinops", curvlinops_job),
    "PyHessian": ("pyhessian", pyhessian_job),
}


def verify(jobs: dict[str, Callable[[], Quadratures]]) -> None:
    """All must find the same top of the spectrum; 40 steps converge it to float32 accuracy."""
    tops = {name: max(float(nodes.max()) for nodes, _ in job()) for name, job in jobs.items()}
    for name, top in tops.items():
        if abs(top - tops["hesscope"]) > 1e-3 * abs(tops["hesscope"]):
            msg = f"{name} disagrees about the largest eigenvalue: {tops}"
            raise RuntimeError(msg)


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(options.threads)
    model, batches = problem()
    jobs = {"hesscope": hesscope_job(model, batches)}
    for name, (module, make) in PEERS.items():
        if importlib.util.find_spec(module) is not None:
            jobs[name] = make(model, batches)
        else:
            print(f"{name}: not installed, left out")
    verify(jobs)
    gradient = gradient_job(model, batches)
    seconds = interleaved({"gradient": lambda: [gradient() for _ in range(10)]} | jobs, options.repeats)
    one_gradient = statistics.median(seconds.pop("gradient")) / 10
    result = {
        name: {
            "seconds": times,
            "gradients per step and probe": statistics.median(times) / one_gradient / STEPS / PROBES,
            "times hesscope": median_ratio(times, seconds["hesscope"]),
        }
        for name, times in seconds.items()
    }
    print(f"one gradient of the data set: {1e3 * one_gradient:.1f} ms")
    for name, row in result.items():
        print(
            f"{name:20s} {statistics.median(row['seconds']):8.2f} s"
            f" {row['gradients per step and probe']:6.2f} gradients a step and probe"
            f" {row['times hesscope']:6.2f} x hesscope"
        )
    record(options.json, {"job": "density of a wide MLP", "gradient_seconds": one_gradient, "result": result})


if __name__ == "__main__":
    main()
