"""The covariance of gradients, over samples or over batches, and so the noise of stochastic gradients."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.fisher import empirical
from hesscope.curvature.ggn import output_operator
from hesscope.curvature.merge import join
from hesscope.curvature.outputs import require_criterion
from hesscope.curvature.plan import Plan
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective
from hesscope.objective.data import Batch
from hesscope.operators import SymmetricOperator


def gradient_covariance(
    objective: Objective, *, over: str = "samples", engine: str = "auto", memory_budget: int | None = None
) -> SymmetricOperator:
    r"""Return the covariance matrix of gradients as an operator.

    :math:`C = \sum_i p_i (g_i - \bar g)(g_i - \bar g)^T` with :math:`\bar g = \sum_i p_i g_i` and
    :math:`\sum_i p_i = 1`. Over samples, :math:`g_i` is the gradient of the objective on sample i alone (a
    row of the target) and :math:`p_i` its weight; over batches, the gradient of a batch's mean loss, and
    the weight of the batch. ``l2`` shifts all gradients alike and plays no part. The weights are those of
    the whole data: there is no correction by the number of samples.

    With ``hs.trace``, the gradient noise scale is ``trace(C).value / |g|²`` (the number of samples at which
    the noise of a batch's gradient is as large as the gradient g of the objective).

    Parameters
    ----------
    objective
        Over samples as for ``fisher(objective, kind="empirical")``; over batches any.
    over
        "samples" or "batches".
    engine
        Over samples as in :func:`ggn`; over batches there is nothing to choose: "auto".
    memory_budget
        Bytes that may be occupied between products; half of the memory that is free when the operator
        is made by default, 0 to keep nothing. Over batches, n numbers are kept for each within it.

    Returns
    -------
    SymmetricOperator
        A positive semi-definite operator with n = ``objective.n``.

    Raises
    ------
    TypeError
        If the objective is none.
    ValueError
        If ``over`` or ``engine`` is unknown, the budget negative, or, over samples, the loss of one sample
        is not known; at a product over batches, if there is one batch only.

    Notes
    -----
    Cost of a product: over samples about 1.3 gradients, plus one gradient when weights or data have
    changed; over batches two readings of the kept gradients, or one gradient for those that do not fit.
    What is subtracted is of the size of |g|², so entries that are far smaller lose digits.

    References
    ----------
    McCandlish, Kaplan, Amodei et al. (2018), arXiv 1812.06162, on the noise scale.
    """
    if over == "samples":
        require_criterion(objective, "gradient_covariance")
        matrix = empirical(objective, "gradient_covariance")
        return SampleCovariance(output_operator(objective, matrix, engine, memory_budget))
    if over != "batches":
        msg = f"gradient_covariance: over must be 'samples' or 'batches', got {over!r}"
        raise ValueError(msg)
    if not isinstance(objective, Objective):
        msg = f"gradient_covariance: objective must be an Objective, got {type(objective).__name__}"
        raise TypeError(msg)
    if engine != "auto":
        msg = f"gradient_covariance: engine must be 'auto' over batches, got {engine!r}"
        raise ValueError(msg)
    return BatchCovariance(objective, memory_budget=memory_budget)


class SampleCovariance(SymmetricOperator):
    """The second moment of the gradients of samples, less the outer product of their mean.

    Parameters
    ----------
    moment
        The second moment, as the empirical Fisher has it.
    """

    writes_into = True

    def __init__(self, moment: PlannedHessian) -> None:
        super().__init__(moment.shape[0], dtype=moment.dtype, device=moment.device)
        self.moment = moment
        self.objective = moment.objective
        self._key: Hashable = None
        self._mean: Tensor | None = None
        self._total = 1.0

    def fingerprint(self) -> Hashable:
        """Return a key of all it depends on; see ``SymmetricOperator.fingerprint``."""
        return self.moment.fingerprint()

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return self.moment.description() | {"operator": "gradient_covariance", "over": "samples"}

    def explain(self) -> str:
        """Say how products are computed."""
        return f"second moment, less the outer product of the mean\n{self.moment.explain()}"

    def _rows(self, vectors: Tensor) -> Tensor:
        with torch.inference_mode(False):
            out = torch.empty(vectors.shape, dtype=self.dtype, device=self.device)
        self._rows_into(vectors, out)
        return out

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        self.moment.rows(vectors, out=out)
        key = self.fingerprint()
        if self._mean is None or key != self._key:
            self._mean, self._total = _mean(self.objective)
            self._key = key
        if self._total != 1:
            out.div_(self._total)
        _subtract_outer(self._mean, vectors, out)


def _mean(objective: Objective) -> tuple[Tensor, float]:
    """Return (mean gradient of the samples, sum of the factors that the objective gives them)."""
    total, divisor = 0.0, 0.0
    for _, source in objective.batches():
        scale, share = objective.coefficients(objective.prepare(source))
        divisor += share
        total += scale * _size(objective, share)
    total /= objective.total(divisor)
    gradient = objective.gradient()
    if objective.l2 != 0:
        gradient.sub_(objective.flatten(objective.parameters), alpha=objective.l2)
    return gradient.div_(total), total


def _size(objective: Objective, share: float) -> float:
    """Return what a batch's loss is divided by to be a mean."""
    adds = objective.criterion is not None and objective.criterion.reduction == "sum"
    return share if adds else 1.0


def _subtract_outer(vector: Tensor, vectors: Tensor, out: Tensor) -> None:
    """Subtract ``vector vectorᵀ v`` for each row v from the rows of ``out``, summed in float64."""
    basis = vector.expand(len(out), 1, -1)
    vectors = vectors.detach()
    coefficients = _ops.multi_dot(basis, vectors if vectors.stride(1) == 1 else vectors.contiguous())
    _ops.multi_axpy(basis, coefficients, out, scale=-1.0)


class BatchCovariance(PlannedHessian):
    """The covariance of the gradients of batches, which are kept within ``memory_budget``.

    Parameters
    ----------
    objective, memory_budget
        As in :class:`hesscope.curvature.AutogradHessian`.
    """

    matrix = "gradient_covariance"
    merges = False

    def __init__(self, objective: Objective, *, memory_budget: int | None = None) -> None:
        super().__init__(objective, memory_budget=memory_budget)
        self._gradients: dict[int, Tensor] = {}

    @property
    def memory(self) -> int:
        """Bytes that kept gradients and batches occupy now."""
        return super().memory + sum(g.numel() * g.element_size() for g in self._gradients.values())

    def release(self) -> None:
        """Free everything that is kept."""
        super().release()
        self._gradients.clear()

    def description(self) -> dict[str, object]:
        """Return what a results file says about the operator."""
        return super().description() | {
            "operator": self.matrix,
            "over": "batches",
            "objective": self.objective.description(),
        }

    def explain(self) -> str:
        """Say how products are computed: batches, gradients kept, memory."""
        lines = ["covariance of the gradients of batches"]
        if self._plan is None:
            return "\n".join([*lines, "nothing is computed yet: the first product reads the data"])
        held, budget = self.memory / 2**20, self.memory_budget / 2**20
        kept, total = len(self._gradients), len(self._plan.groups)
        lines += [
            f"batches: {self._plan.count}; gradients: {kept} of {total} kept",
            f"memory: {held:.1f} MiB held of a budget of {budget:.1f} MiB",
            "cost of a product: reading kept gradients twice; a gradient of every other batch",
        ]
        return "\n".join(lines)

    def _rows_into(self, vectors: Tensor, out: Tensor) -> None:
        vectors = vectors.detach()
        if vectors.stride(1) != 1:
            vectors = vectors.contiguous()
        plan = self._current_plan()
        if len(plan.groups) < 2:
            msg = f"gradient_covariance: data must have at least 2 batches that count, got {len(plan.groups)}"
            raise ValueError(msg)
        mean = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        out.zero_()
        total = 0.0
        for number, weight, gradient in self._walk(plan):
            total += weight
            basis = gradient.expand(len(out), 1, -1)
            _ops.multi_axpy(basis, _ops.multi_dot(basis, vectors), out, scale=weight)
            mean.add_(gradient, alpha=weight)
            if number not in self._gradients and self.memory + gradient.nbytes <= self.memory_budget:
                self._gradients[number] = gradient
        out.div_(total)
        _subtract_outer(mean.div_(total), vectors, out)

    def _walk(self, plan: Plan) -> Iterator[tuple[int, float, Tensor]]:
        """Go through the batches: number, weight, gradient of the mean loss."""
        for number, (group, batches) in enumerate(plan.walk()):
            batch = join(self.objective, batches)
            size = _size(self.objective, self.objective.coefficients(batch)[1])
            gradient = self._gradients.get(number)
            if gradient is None:
                gradient = self._gradient(batch, group.entries[0].index, 1.0 / size)
            yield number, group.scale * size, gradient

    def _gradient(self, batch: Batch, index: int, scale: float) -> Tensor:
        gradient = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        self.objective.add_gradient(gradient, batch, index, scale)
        return gradient
