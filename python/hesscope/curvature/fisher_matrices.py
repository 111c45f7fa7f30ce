"""The matrices M of the Fisher family: expected, drawn, and of the labels themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.outputs import ModelOutput, OutputMatrix
from hesscope.objective.criteria import Criterion
from hesscope.objective.likelihoods import Factors, likelihood, row_weights


class FactorMatrix(OutputMatrix):
    """M of a batch as a diagonal and outer products, at the outputs of the batch.

    Parameters
    ----------
    criterion
        Whose likelihood or loss M belongs to.
    name
        Of the whole matrix.
    """

    kind: str

    def __init__(self, criterion: Criterion, name: str = "fisher") -> None:
        self.name = name
        self.criterion = criterion

    def description(self) -> dict[str, object]:
        """Return what a results file says about the matrix."""
        return super().description() | {"kind": self.kind}

    def constants(self, output: ModelOutput, index: int) -> list[Tensor]:
        """Return the diagonal, then coefficient and rows, as far as there are any."""
        factors = self.factors(output, index)
        parts = (factors.diagonal, factors.coefficient, factors.rows)
        dtype = output.leaves[0].dtype
        return [t.detach().to(dtype).contiguous() for t in parts if t is not None]

    def factors(self, output: ModelOutput, index: int) -> Factors:
        """Return M, with the factor that the batch's loss as the criterion returns it gives it."""
        raise NotImplementedError

    def cotangents(
        self,
        output: ModelOutput,  # noqa: ARG002
        leaves: Sequence[Tensor],
        constants: Sequence[Tensor],
    ) -> list[Tensor]:
        """Return M f."""
        (f,) = leaves
        total = constants[0] * f if len(constants) != 2 else None
        if len(constants) > 1:
            coefficient, rows = constants[-2:]
            # one coefficient for each label, in dimensions of length 1 where a label takes several outputs
            dims = [d + 1 for d, size in enumerate(coefficient.shape) if size == 1]
            along = (rows * f).sum(dims, keepdim=True) if dims else rows * f
            part = coefficient * (rows * along).sum(0)
            total = part if total is None else total + part
        assert total is not None
        return [total]

    def _share(self, target: Tensor) -> float:
        """Return the factor of one label's loss in that of the batch."""
        assert self.criterion.count is not None
        return 1.0 / self.criterion.count(target) if self.criterion.reduction == "mean" else 1.0


class Expected(FactorMatrix):
    """The mean of r rᵀ over labels that follow the model's own prediction."""

    kind = "exact"

    def __init__(self, criterion: Criterion) -> None:
        super().__init__(criterion)
        self.likelihood = likelihood(criterion, self.name)

    def factors(self, output: ModelOutput, index: int) -> Factors:  # noqa: ARG002
        """Return the expectation in closed form."""
        f = output.leaves[0].detach()
        weights = self.likelihood.weights(f, output.target) * self._share(output.target)
        return self.likelihood.expected(f, weights)


class Drawn(FactorMatrix):
    """The mean of r rᵀ over labels that are drawn from the model's own prediction."""

    kind = "monte_carlo"
    merges = False  # labels are drawn batch by batch

    def __init__(self, criterion: Criterion, *, num_samples: int, seed: int) -> None:
        super().__init__(criterion)
        self.likelihood = likelihood(criterion, self.name)
        self.num_samples = num_samples
        self.seed = seed

    def description(self) -> dict[str, object]:
        """Return what a results file says about the matrix."""
        return super().description() | {"num_samples": self.num_samples, "seed": self.seed}

    def factors(self, output: ModelOutput, index: int) -> Factors:
        """Return the mean over draws, which depend on the seed, the batch and the label's place in it."""
        f = output.leaves[0].detach()
        weights = self.likelihood.weights(f, output.target) * self._share(output.target)
        normals = _ops.probes(
            self.num_samples,
            self.likelihood.labels(f),
            kind="gaussian",
            seed=self.seed,
            first_probe=index * self.num_samples,
            dtype=torch.float64,
            device=f.device,
        )
        return self.likelihood.drawn(f, weights, normals)


class Empirical(FactorMatrix):
    """r rᵀ of the labels of the data: a sample is a row of target and output."""

    kind = "empirical"

    def factors(self, output: ModelOutput, index: int) -> Factors:
        """Return c r rᵀ, r being the part of the loss gradient in the row of a sample.

        With m the weight of a row and N their sum, r of a mean is m / N times the derivative of the row's
        own mean, and m / N is the weight of the row in the batch: c is N / m, or 1 / m of a sum.
        """
        (f,) = output.leaves
        target = output.target
        if not isinstance(target, Tensor) or target.ndim == 0 or target.shape[0] != f.shape[0]:
            shape = list(target.shape) if isinstance(target, Tensor) else type(target).__name__
            msg = (
                f"{self.name}: output and target must have one row for each sample of batch {index}, got "
                f"{list(f.shape)} and {shape}"
            )
            raise ValueError(msg)
        cut = f.detach().requires_grad_()
        (rows,) = torch.autograd.grad(output.loss([cut]), [cut])
        weights = row_weights(self.criterion, target)
        inverse = torch.where(weights > 0, 1 / weights, 0.0) / self._share(target)
        shape = [len(weights)] + [1] * (f.ndim - 1)
        return Factors(None, inverse.view(shape), rows[None])
