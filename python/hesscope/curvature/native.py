"""The native engine: products with H of small dense networks, differentiated in C++."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hesscope._ops import MlpObjective
from hesscope.curvature.merge import join
from hesscope.curvature.native_model import describe_criterion, describe_layers, target_of
from hesscope.curvature.plan import Group
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective
from hesscope.objective.data import Batch, split

# Tensors of activations that a product needs, one number for each activation and vector.
_STREAMS = {"products": 5, "contract": 16}
_WORKING_SET = {"cpu": 4 << 20, "cuda": 64 << 20}  # bytes of them at once: what caches hold, or fills a GPU


class NativeHessian(PlannedHessian):
    """The Hessian of a dense network's loss, by the core's ``MlpObjective``.

    Made for networks so small that PyTorch's overhead per operator dominates. All products of a call go
    through the network at once, without Python. Changed weights or data are noticed at the next call.

    Parameters
    ----------
    objective
        Its model must be an ``nn.Linear``, or an ``nn.Sequential`` of them, each followed by at most one
        of ReLU, Tanh, Sigmoid, GELU, SiLU, Softplus or Identity, an ``nn.Flatten`` in front allowed; all
        parameters selected, all float32 or all float64; the criterion a cross entropy or mean squared
        error.
    memory_budget
        Bytes for activations kept between products, and for batches read from a DataLoader; half of the
        free memory by default, 0 to keep nothing.

    Raises
    ------
    ValueError
        If the objective is any other: the message says why. At a product, if the gradient is not that of
        autograd (a hook, a parametrisation).

    Notes
    -----
    Cost of a product: 2 gradients, and 2 for every batch that does not fit the budget; once per batch a
    gradient by autograd, to check it. A ReLU network is differentiated along its selection, so its third
    derivative misses the kinks. Softplus is the exact function: PyTorch cuts it off at its threshold.
    """

    def __init__(self, objective: Objective, *, memory_budget: int | None = None) -> None:
        super().__init__(objective, memory_budget=memory_budget)
        self._layers = describe_layers(objective)
        self._criterion = describe_criterion(objective)
        self._kept: dict[int, MlpObjective] = {}
        self._bytes = 0
        self._verified: set[int] = set()

    @property
    def engine(self) -> str:
        """What computes the products: "native"."""
        return "native"

    @property
    def memory(self) -> int:
        """Bytes that kept activations and batches occupy now."""
        return super().memory + self._bytes

    def release(self) -> None:
        """Free all kept values and batches."""
        super().release()
        self._kept.clear()
        self._verified.clear()
        self._bytes = 0

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return super().description() | {
            "operator": "hessian",
            "engine": self.engine,
            "objective": self.objective.description(),
        }

    def explain(self) -> str:
        """Say how products are computed: engine, layers, batches, memory, cost."""
        widths = [layer.weight.shape[1] for layer in self._layers] + [self._layers[-1].weight.shape[0]]
        shape = "-".join(map(str, widths))
        names = ", ".join(layer.activation for layer in self._layers)
        lines = [f"engine: native (a dense network {shape} with {names}, differentiated in C++)"]
        plan = self._plan
        if plan is None:
            return "\n".join([*lines, "nothing is computed yet: the first product reads the data"])
        return "\n".join(
            [
                *lines,
                f"batches: {plan.count}, {plan.merging}",
                f"values: {len(self._kept)} of {len(plan.groups)} batches kept",
                f"memory: {self.memory / 2**20:.1f} MiB held of a budget of "
                f"{self.memory_budget / 2**20:.1f} MiB",
                "cost of a product: 2 gradients, 4 of a batch that is computed again",
            ]
        )

    def quadratic(self, vectors: Tensor) -> Tensor:
        """Return ``v' H v`` for the rows of ``vectors [K, n]``: ``[K]``, float64; forward passes alone."""
        total = torch.zeros(len(vectors), dtype=torch.float64, device=self.device)
        for part, mlp in self._parts(vectors, "products"):
            total[part] += mlp.quadratic(vectors[part])
        return total + self.objective.l2 * vectors.double().square().sum(1)

    def _forms(self, vectors: Tensor) -> Tensor:
        return self.quadratic(vectors)

    def contract(self, u: Tensor, v: Tensor) -> Tensor:
        """Return ``T[u, v, .]`` for the rows of ``u`` and ``v [K, n]``, paired: ``[K, n]``."""
        total = torch.zeros_like(v)
        for part, mlp in self._parts(v, "contract"):
            total[part] += mlp.contract(u[part], v[part])
        return total

    def cubic(self, vectors: Tensor) -> Tensor:
        """Return ``T[v, v, v]`` for the rows of ``vectors [K, n]``: ``[K]``, float64; forward alone."""
        total = torch.zeros(len(vectors), dtype=torch.float64, device=self.device)
        for part, mlp in self._parts(vectors, "products"):
            total[part] += mlp.cubic(vectors[part])
        return total

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        vectors = vectors.detach()
        if vectors.stride(1) != 1:
            vectors = vectors.contiguous()
        single = None
        for part, mlp in self._parts(vectors, "products"):
            single = single or mlp
            if mlp is single and out.stride(1) == 1:
                mlp.products(vectors[part], out=out[part])
            elif mlp is single:
                out[part] = mlp.products(vectors[part])
            else:
                out[part] += mlp.products(vectors[part])
        if self.objective.l2 != 0:
            out.add_(vectors, alpha=self.objective.l2)

    def _parts(self, vectors: Tensor, name: str) -> Iterator[tuple[slice, MlpObjective]]:
        """Pair every batch with every chunk of vectors that fits the working set."""
        for number, (group, batches) in enumerate(self._current_plan().walk()):
            mlp = self._kept.get(number)
            if mlp is None:
                with torch.inference_mode(False), torch.no_grad():
                    mlp = self._prepare(number, group, join(self.objective, batches))
            size = _WORKING_SET[self.device.type]
            rows = max(1, size // (_STREAMS[name] * mlp.activation_bytes))
            for start in range(0, len(vectors), rows):
                yield slice(start, start + rows), mlp

    def _prepare(self, number: int, group: Group, batch: Batch) -> MlpObjective:
        inputs, target = split(batch)
        rows, factor = target_of(self._criterion, self._layers, inputs, target)
        mlp = MlpObjective(
            [layer.weight for layer in self._layers],
            [layer.bias for layer in self._layers],
            [layer.activation for layer in self._layers],
            inputs.flatten(1).to(self.dtype).contiguous(),
            rows,
            loss=self._criterion.loss,
            scale=factor * group.scale,
        )
        if number not in self._verified:
            self._verify(mlp, group, batch)
            self._verified.add(number)
        size = 9 * mlp.activation_bytes
        if self.memory + size <= self.memory_budget:
            self._kept[number] = mlp
            self._bytes += size
        return mlp

    def _verify(self, mlp: MlpObjective, group: Group, batch: Batch) -> None:
        """Compare the gradient with autograd's: it sees hooks, and everything else that types do not."""
        index = group.entries[0].index
        expected = torch.zeros(self.objective.n, dtype=self.dtype, device=self.device)
        with torch.enable_grad():
            self.objective.add_gradient(expected, batch, index, group.scale)
        error, size = float((mlp.gradient() - expected).norm()), float(expected.norm())
        weights = sum(float(layer.weight.double().square().sum()) for layer in self._layers) ** 0.5
        eps = torch.finfo(self.dtype).eps
        # As for captured gradients: near a minimum, what an error does to the loss is what counts.
        if error <= 4096 * eps * size or error * weights <= 1024 * eps * max(abs(mlp.loss), eps):
            return
        msg = (
            f"hessian: engine='native' must have the gradient of autograd, but that of batch {index} is off "
            f"by {error:.1e} of {size:.1e}: the model does more than its layers say (hooks, parametrisations)"
        )
        raise ValueError(msg)
