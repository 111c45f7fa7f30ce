"""The same jobs in the packages people use for them, as these ship, and in plain PyTorch.

The packages are not dependencies: those that are installed take part (curvlinops-for-pytorch, PyHessian,
hessian-eigenthings). A density job returns nodes and weights of each probe; a product job maps rows
[K, n] to rows [K, n].
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

import hesscope as hs
from networks import Batch

Quadratures = list[tuple[Tensor, Tensor]]
DensityJob = Callable[[nn.Module, list[Batch], int, int], Quadratures]  # (model, batches, probes, steps)
Product = Callable[[Tensor], Tensor]


# fused attention has no second derivative on a CPU; hesscope replaces it by itself
plain_attention = sdpa_kernel(SDPBackend.MATH)


def mean_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def objective(model: nn.Module, batches: Batch | list[Batch]) -> hs.Objective:
    """A loss of (model, batch): the data of a language model has other lengths than its targets."""
    return hs.Objective(model, mean_loss, batches)


def gradient(model: nn.Module, batches: list[Batch]) -> None:
    for batch in batches:
        torch.autograd.grad(mean_loss(model, batch), list(model.parameters()))


def hesscope_density(model: nn.Module, batches: list[Batch], probes: int, steps: int) -> Quadratures:
    rho = hs.spectral_density(hs.hessian(objective(model, batches)), num_probes=probes, num_steps=steps)
    return list(zip(rho.nodes, rho.weights, strict=True))


@plain_attention
def eigenthings_density(model: nn.Module, batches: list[Batch], probes: int, steps: int) -> Quadratures:
    from hessian_eigenthings.algorithms.spectral_density import spectral_density
    from hessian_eigenthings.operators.hessian import HessianOperator

    operator = HessianOperator(model, batches, mean_loss)
    result = spectral_density(operator, num_runs=probes, lanczos_steps=steps, seed=0)
    return list(zip(result.raw_eigenvalues, result.raw_weights, strict=True))


@plain_attention
def curvlinops_density(model: nn.Module, batches: list[Batch], probes: int, steps: int) -> Quadratures:
    from curvlinops.papyan2020traces.spectrum import fast_lanczos

    runs = [fast_lanczos(curvlinops_operator(model, batches), steps) for _ in range(probes)]
    return [(values, vectors[0] ** 2) for values, vectors in runs]


@plain_attention
def pyhessian_density(model: nn.Module, batches: list[Batch], probes: int, steps: int) -> Quadratures:
    from pyhessian import hessian

    def eig(matrix: Tensor, **_: object) -> tuple[Tensor, Tensor]:  # it calls torch.eig, which is removed
        values, vectors = torch.linalg.eigh(matrix)
        return values[:, None], vectors

    torch.eig = eig
    operator = hessian(model, nn.CrossEntropyLoss(), dataloader=batches, cuda=False)
    nodes, weights = operator.density(iter=steps, n_v=probes)
    return [(torch.tensor(t), torch.tensor(w)) for t, w in zip(nodes, weights, strict=True)]


def curvlinops_operator(model: nn.Module, batches: list[Batch]):
    from curvlinops import HessianLinearOperator

    return HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), batches, check_deterministic=False
    )


def curvlinops_product(model: nn.Module, *batches: Batch) -> Product:
    operator = curvlinops_operator(model, list(batches))
    return plain_attention(lambda rows: (operator @ rows.T).T)


@plain_attention
def retained_product(model: nn.Module, *batches: Batch) -> Product:
    """Double backward on kept graphs of the gradients: the strongest formulation in plain PyTorch."""
    parameters = list(model.parameters())
    flat = []
    for batch in batches:
        gradients = torch.autograd.grad(mean_loss(model, batch), parameters, create_graph=True)
        flat.append(torch.cat([g.reshape(-1) for g in gradients]) / len(batches))

    def product(rows: Tensor) -> Tensor:
        out = torch.zeros_like(rows)
        for row, v in zip(out, rows, strict=True):
            for g in flat:
                parts = torch.autograd.grad(g, parameters, v, retain_graph=True)
                row += torch.cat([p.reshape(-1) for p in parts])
        return out

    return product


def nested_product(model: nn.Module, batch: Batch) -> Product:
    """vmap(jvp(grad)), as a user of torch.func writes it."""
    values = {name: p.detach() for name, p in model.named_parameters()}
    sizes = [p.numel() for p in values.values()]

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(model, parameters, (batch[0],)), batch[1])

    @plain_attention
    def product(rows: Tensor) -> Tensor:
        parts = rows.split(sizes, dim=1)
        tangents = {
            name: part.view(-1, *p.shape) for (name, p), part in zip(values.items(), parts, strict=True)
        }
        products = vmap(lambda tangent: jvp(grad(loss), (values,), (tangent,))[1])(tangents)
        return torch.cat([part.flatten(1) for part in products.values()], dim=1)

    return product


@plain_attention
def pyhessian_product(model: nn.Module, batch: Batch) -> Product:
    from pyhessian import hessian
    from pyhessian.utils import hessian_vector_product

    operator = hessian(model, nn.CrossEntropyLoss(), data=batch, cuda=False)
    shapes = [p.shape for p in operator.params]

    def product(rows: Tensor) -> Tensor:
        out = []
        for row in rows:
            parts = row.split([shape.numel() for shape in shapes])
            v = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
            out.append(
                torch.cat(
                    [h.reshape(-1) for h in hessian_vector_product(operator.gradsH, operator.params, v)]
                )
            )
        return torch.stack(out)

    return product


_MODULES = {
    "PyHessian": "pyhessian",
    "hessian-eigenthings": "hessian_eigenthings",
    "curvlinops": "curvlinops",
}
_DENSITIES = {
    "PyHessian": pyhessian_density,
    "hessian-eigenthings": eigenthings_density,
    "curvlinops": curvlinops_density,
}


def installed(name: str) -> bool:
    return importlib.util.find_spec(_MODULES[name]) is not None


def densities() -> dict[str, DensityJob]:
    """The density jobs of hesscope and of every peer that is installed."""
    return {"hesscope": hesscope_density} | {k: job for k, job in _DENSITIES.items() if installed(k)}
