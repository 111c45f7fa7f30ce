"""The finite-difference engine: central differences of gradients, for models without a second derivative."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.graph import accumulate
from hesscope.curvature.merge import join
from hesscope.curvature.plan import Plan
from hesscope.curvature.planned import PlannedHessian
from hesscope.curvature.shadow import Shadow
from hesscope.objective import Objective
from hesscope.objective.checks import refuse_constant
from hesscope.objective.data import Batch

_TRIALS = (1.0, 4.0, 0.25, 16.0, 1 / 16)  # factors of the step, tried in turn until one will do
_NOISE = 0.5  # a relative difference between two steps that leaves no correct digit


class FiniteDifferenceHessian(PlannedHessian):
    """The Hessian of an objective, by central differences of its gradient.

    ``H v ≈ (g(θ + h v) - g(θ - h v)) / 2h``. For models that have no second derivative: fused attention,
    custom functions. Fused kernels run as they are. The model computes with a copy of its weights in at
    least single precision; its own are never written to.

    The step moves each parameter tensor by at most eps^(1/3) of its size (of the typical size of all
    weights, if it is smaller), eps being the precision of the copy. When weights or data have changed, two
    steps are compared on one random vector, and longer and shorter ones are tried if they disagree; so
    the products depend on nothing but the vector and what is differentiated.

    Parameters
    ----------
    objective
        What is differentiated.
    memory_budget
        Bytes for batches read from a DataLoader; half of the free memory by default.
    precision
        Of the copy, at least: float32, or float64, which gives 10 digits instead of 3 or 4 where the
        model can be evaluated in it.

    Attributes
    ----------
    error_estimate
        Relative error of the product with a random vector, from two steps; None before the first
        product. Errors of other products are of the same size absolutely, so relatively larger where
        H v is small.

    Raises
    ------
    ValueError
        A negative budget or another precision; at a product, whatever the loss is refused for.
    RuntimeError
        At a product, if the differences are noise.

    Notes
    -----
    Cost of a product: 2 gradients; once for every change of weights or data 4 more, at most 20. Memory: that
    of a gradient, a copy of the weights and a gradient. Where the gradient jumps (relu), the
    difference contains the jumps, which double backward leaves out.

    References
    ----------
    Dembo, Steihaug (1983), Math. Programming 26, 190-212, on differences of gradients in Newton methods.
    """

    gradients = 1.0

    def __init__(
        self,
        objective: Objective,
        *,
        memory_budget: int | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(objective, memory_budget=memory_budget)
        if precision not in (torch.float32, torch.float64):
            msg = f"hessian: precision must be torch.float32 or torch.float64, got {precision}"
            raise ValueError(msg)
        self.precision = precision
        self.error_estimate: float | None = None
        self._factor = 1.0

    def release(self) -> None:
        """Free all kept batches; the step is chosen anew."""
        super().release()
        self.error_estimate = None

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return super().description() | {
            "operator": self.matrix,
            "engine": "finite_difference",
            "precision": str(self.precision),
            "error_estimate": self.error_estimate,
            "objective": self.objective.description(),
        }

    def explain(self) -> str:
        """Say how products are computed: engine, batches, step, error, cost."""
        lines = ["engine: finite_difference (central differences of gradients)"]
        if self._plan is None or self.error_estimate is None:
            return "\n".join([*lines, "nothing is computed yet: the first product chooses the step"])
        reading = "; read again for every call" if self._plan.streams else ""
        move = self._factor * self._epsilon() ** (1 / 3)
        lines += [
            f"batches: {self._plan.count}, {self._plan.merging}{reading}",
            f"step: moves a parameter tensor by at most {move:.1e} of its size, in {self.precision}",
            f"error: {self.error_estimate:.1e} of a product with a random vector, from two steps",
            "cost of a product: 2 gradients",
        ]
        return "\n".join(lines)

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        vectors = vectors.detach()
        if vectors.stride(1) != 1:
            vectors = vectors.contiguous()
        plan = self._current_plan()
        if self.error_estimate is None:
            self._choose_step(plan)
        unit = self._units(vectors)
        self._differences(plan, vectors, [self._factor * step for step in unit], out)
        if self.l2 != 0:
            out.add_(vectors, alpha=self.l2)

    def batch_product(self, batch: Batch, index: int, vector: Tensor) -> tuple[Tensor, float]:
        """Return the difference of a batch's gradients along ``vector [n]``, and the norm of its rounding.

        With the first step that is tried, for a prepared batch. Costs 2 gradients.
        """
        (step,) = self._units(vector[None])
        pieces = vector.split_with_sizes(self.objective.parameter_set.numels)
        product = torch.zeros_like(vector)
        size = 0.0
        with Shadow(self.objective, self.precision) as shadow:
            converted = shadow.convert(batch)
            for sign in (1.0, -1.0):
                shadow.move(pieces, sign * step)
                gradients = self._gradients(shadow, converted, index)
                size = max(size, _norm(gradients))
                targets = product.split_with_sizes(self.objective.parameter_set.numels)
                accumulate(gradients, targets, sign / (2 * step), overwrite=False)
        return product, self._epsilon() * size / (2 * step)

    def _choose_step(self, plan: Plan) -> None:
        """Compare steps h and h / 2 on a random vector: their distance is 3/4 of the truncation error of h.

        Rounding errors are in the distance as well, twice as large for h / 2; but where they are larger
        than all that the step changes, gradients do not differ at all, so one ulp of them is added.

        Raises
        ------
        RuntimeError
            If they have no digit in common.
        """
        signs = _ops.probes(1, self.shape[0], seed=0, dtype=self.dtype, device=self.device)
        pair = signs.expand(2, -1)
        (unit,) = self._units(signs)
        enough = 32 * self._epsilon() ** (2 / 3)
        best = float("inf")
        for factor in _TRIALS:
            products = torch.empty_like(pair)
            gradient = self._differences(plan, pair, [factor * unit, factor * unit / 2], products)
            size = float(products[0].double().norm())
            distance = float((products[0].double() - products[1].double()).norm())
            noise = self._epsilon() * gradient / (2 * factor * unit)
            error = (4 / 3 * distance + noise) / size if size > 0 else float("inf")
            if error < best:
                best, self._factor = error, factor
            if best <= enough:
                break
        if not best <= _NOISE:
            msg = (
                "hessian: differences of gradients must rise above their noise, got an error of "
                f"{best:.1e} of a product, at best; compute in float64 (FiniteDifferenceHessian(objective, "
                "precision=torch.float64)), remove what is random, or use engine='autograd' if there is "
                "a second derivative"
            )
            raise RuntimeError(msg)
        self.error_estimate = best

    def _epsilon(self) -> float:
        coarsest = max(
            torch.finfo(torch.promote_types(p.dtype, self.precision)).eps
            for p in self.objective.parameter_set.tensors
        )
        return float(coarsest)

    def _units(self, vectors: Tensor) -> list[float]:
        """Return for each vector the step that moves the parameter tensors by eps^(1/3) of their size."""
        parts = self.objective.parameter_set
        squares = [float(p.detach().double().square().sum()) for p in parts.tensors]
        typical = sum(squares) / self.shape[0] or 1.0
        largest = torch.zeros(len(vectors), dtype=torch.float64, device=vectors.device)
        for piece, square, numel in zip(
            vectors.split_with_sizes(parts.numels, 1), squares, parts.numels, strict=True
        ):
            size = max(square, typical * numel) ** 0.5
            largest = torch.maximum(
                largest, torch.linalg.vector_norm(piece, dim=1, dtype=torch.float64) / size
            )
        move = self._epsilon() ** (1 / 3)
        return [move / x if x != 0 else 0.0 for x in largest.tolist()]

    def _differences(self, plan: Plan, vectors: Tensor, steps: Sequence[float], out: Tensor) -> float:
        """Write the central difference along each vector with its step to ``out``.

        Returns the norms of the gradients of all batches, with their weights, added up.
        """
        numels = self.objective.parameter_set.numels
        out.zero_()
        total = 0.0
        with Shadow(self.objective, self.precision) as shadow:
            for group, batches in plan.walk():
                batch, index = shadow.convert(join(self.objective, batches)), group.entries[0].index
                for vector, step, target in zip(vectors, steps, out, strict=True):
                    if not step > 0:  # a vector of zeros, or with an entry that is not finite
                        target.add_(vector.sum())
                        continue
                    pieces = vector.split_with_sizes(numels)
                    shadow.move(pieces, step)
                    ahead = self._gradients(shadow, batch, index)
                    total += abs(group.scale) * _norm(ahead) / len(steps)
                    shadow.move(pieces, -step)
                    behind = self._gradients(shadow, batch, index)
                    differences = [
                        None if a is None or b is None else a - b for a, b in zip(ahead, behind, strict=True)
                    ]
                    scale = group.scale / (2 * step)
                    accumulate(differences, target.split_with_sizes(numels), scale, overwrite=False)
        return total

    def _gradients(self, shadow: Shadow, batch: Batch, index: int) -> list[Tensor | None]:
        """Return the gradient of a batch at the shadow, with kernels as they are."""
        tensors = self.objective.parameter_set.tensors
        with self.objective.state.evaluating(index, fused=True):
            shadow.convert_buffers()
            loss = self.objective.batch_loss(batch, index)
            found = torch.autograd.grad(loss, tensors, allow_unused=True)
        refuse_constant(found, index)
        return [g.to_dense() if g is not None and g.is_sparse else g for g in found]


def _norm(pieces: Sequence[Tensor | None]) -> float:
    squares = sum(float(g.double().square().sum()) for g in pieces if g is not None)
    return float(squares**0.5)
