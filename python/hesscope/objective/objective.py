"""The objective: a model, a loss, data and weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hesscope.objective import data as batches
from hesscope.objective.checks import check_loss, check_options, choose_loss, refuse_constant
from hesscope.objective.data import Batch
from hesscope.objective.parameters import ParameterSet, Selection
from hesscope.objective.state import ModelState


class Objective:
    r"""A scalar function of a model's parameters, linear in the data.

    With ``reduction="mean"`` it is :math:`\sum_b w_b \ell_b / \sum_b w_b + \frac{\lambda}{2}\|\theta\|^2`
    over the batches b. With a known criterion its value does not depend on how the data is cut into
    batches: it is the sum of the criterion over all target elements that count, divided by their
    number ("mean") or not ("sum"), whichever of the two the criterion itself does within a batch.

    Parameters
    ----------
    model
        Any ``nn.Module`` whose selected parameters are on one device. Its gradients, modes, buffers
        and the state of torch's random generators are after every call as they were before.
    loss
        A criterion ``(output, target) -> scalar``, if it is an ``nn.Module``, a function of
        ``torch.nn.functional`` or a ``functools.partial`` of either; any other callable is
        ``loss(model, batch) -> scalar``. None if ``criterion`` is given.
    data
        A tensor, tuple or mapping is one batch. A list, a DataLoader or any other re-iterable is a
        sequence of batches; what is no list may be read more than once, and must give the same batches
        each time. With a criterion, a batch is ``(input, target)`` and the model is called as
        ``model(input)``, ``model(*input)`` for a tuple, ``model(**input)`` for a mapping. Tensors are
        moved to the device of the parameters.
    criterion
        Any other callable to be used as a criterion.
    reduction
        "mean" averages the batches of the data with their weights, "sum" adds their losses.
    weight
        ``weight(batch) -> float``, for every batch; by default, for known criteria, the number of target
        elements that count (``ignore_index`` and class weights included), otherwise the length of the
        first tensor; 1 if the data is one batch. With "sum" an explicit weight multiplies.
    params
        Which parameters: None (all with ``requires_grad``), a pattern as in ``fnmatch`` or a list of
        them, or ``(name, tensor) -> bool``.
    mode
        "keep", "eval" or "train": the mode of all modules during an evaluation.
    l2
        λ: adds λ/2·‖θ‖² over the selected parameters, once.
    rng_seed
        If not None, batch i is evaluated with torch's generators seeded with ``rng_seed + i``, so that
        dropout has one fixed mask per batch.

    Attributes
    ----------
    n
        Number of selected entries; vectors have this length, in the order of ``model.named_parameters()``.
    parameters
        The selected parameters by name.
    dtype, device
        Of vectors: float64 if a selected parameter is, else float32, the arithmetic of the model being
        its own (a bfloat16 model gives products that are right to bfloat16).

    Raises
    ------
    ValueError
        Empty or one-shot data; an unknown mode or reduction; no parameter selected; live dropout. From
        whatever reads the data: other batches than at the first reading (shuffled, augmented, changed).
    TypeError
        Complex parameters; a model, loss or data of the wrong kind.

    Examples
    --------
    >>> model = torch.nn.Linear(3, 1)
    >>> objective = Objective(model, torch.nn.MSELoss(), (torch.ones(5, 3), torch.zeros(5, 1)))
    >>> objective.n
    4
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any] | None,
        data: Any,
        *,
        criterion: Callable[[Any, Any], Tensor] | None = None,
        reduction: str = "mean",
        weight: Callable[[Batch], float] | None = None,
        params: Selection = None,
        mode: str = "keep",
        l2: float = 0.0,
        rng_seed: int | None = None,
    ) -> None:
        check_options(model, reduction, mode, l2)
        self.model = model
        self.criterion, self._loss = choose_loss(loss, criterion)
        self.data = batches.classify(data)
        self.reduction = reduction
        self.weight = weight
        self.mode = mode
        self.l2 = float(l2)
        self.parameter_set = ParameterSet(model, params)
        self.state = ModelState(model, self.parameter_set.tensors, mode=mode, rng_seed=rng_seed)
        self.state.require_fixed_dropout()
        self.n = self.parameter_set.n
        self.dtype = self.parameter_set.dtype
        self.device = self.parameter_set.device
        self.flatten = self.parameter_set.flatten
        self.unflatten = self.parameter_set.unflatten
        self._selection = params
        self._confirmed = False

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The selected parameters by name, in order."""
        return dict(zip(self.parameter_set.names, self.parameter_set.tensors, strict=True))

    @property
    def slices(self) -> Mapping[str, slice]:
        """The range of each parameter in a vector of length n, by name."""
        return dict(zip(self.parameter_set.names, self.parameter_set.slices, strict=True))

    def loss(self) -> float:
        """Return the value; one forward pass over the data, added up in float64."""
        total, divisor = 0.0, 0.0
        for index, source in self.batches():
            batch = self.prepare(source)
            scale, share = self.coefficients(batch)
            divisor += share
            if scale != 0:
                with self.evaluating(index):
                    value = float(self.batch_loss(batch, index).detach())
                self.confirm(batch, index, value)
                total += scale * value
        value = total / self.total(divisor)
        if self.l2 != 0:
            squares = sum(float(p.detach().double().square().sum()) for p in self.parameter_set.tensors)
            value += 0.5 * self.l2 * squares
        return value

    def gradient(self) -> Tensor:
        """Return the gradient ``[n]``; one forward and backward pass over the data."""
        parts = self.parameter_set
        result = torch.zeros(self.n, dtype=self.dtype, device=self.device)
        divisor = 0.0
        for index, source in self.batches():
            batch = self.prepare(source)
            scale, share = self.coefficients(batch)
            divisor += share
            if scale != 0:
                self.add_gradient(result, batch, index, scale)
        result /= self.total(divisor)
        if self.l2 != 0:
            for p, part in zip(parts.tensors, parts.slices, strict=True):
                result[part].add_(p.detach().reshape(-1), alpha=self.l2)
        return result

    def add_gradient(self, result: Tensor, batch: Batch, index: int, scale: float) -> None:
        """Add ``scale`` times the gradient of one batch's loss to ``result [n]``."""
        parts = self.parameter_set
        with self.evaluating(index):
            loss = self.batch_loss(batch, index)
            gradients = torch.autograd.grad(loss, parts.tensors, allow_unused=True)
        self.confirm(batch, index, float(loss.detach()))
        refuse_constant(gradients, index)
        for gradient, part in zip(gradients, parts.slices, strict=True):
            if gradient is not None:
                dense = gradient.to_dense() if gradient.is_sparse else gradient
                result[part].add_(dense.reshape(-1), alpha=scale)

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """Go through the data once: (index, batch as the source gives it)."""
        index = -1
        for index, batch in enumerate(self.data):
            yield index, batch
        if index < 0:
            msg = "Objective: data must contain a batch, got an empty one"
            raise ValueError(msg)

    def prepare(self, batch: Batch) -> Batch:
        """Return a batch with its tensors on the device of the parameters."""
        return batches.to_device(batch, self.device)

    def evaluating(self, index: int) -> contextlib.AbstractContextManager[None]:
        """Hold the model ready for batch ``index``: modes, copies of the buffers, seed, kernels."""
        return self.state.evaluating(index)

    def batch_loss(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of one batch, unweighted, with its graph; call it inside ``evaluating``.

        Raises
        ------
        ValueError
            If the loss is no scalar, not finite, or depends on no selected parameter.
        """
        loss = self.raw_loss(batch)
        check_loss(loss, index)
        return loss.reshape(())

    def raw_loss(self, batch: Batch) -> Tensor:
        """Return what the user's loss returns for one batch, unchecked: no value is read from it."""
        if self.criterion is not None:
            inputs, target = batches.split(batch)
            return self.criterion.function(batches.call(self.model, inputs), target)
        loss: Tensor = self._loss(self.model, batch)
        return loss

    def confirm(self, batch: Batch, index: int, value: float) -> None:
        """On first use, evaluate the batch again and raise ValueError if its loss is another.

        Costs one forward pass, once.
        """
        if self._confirmed:
            return
        with self.evaluating(index):
            loss = self.batch_loss(batch, index).detach()
        # Atomics on a device may change the last bits; random numbers change the first ones.
        if abs(float(loss) - value) > 16 * torch.finfo(loss.dtype).eps * abs(value):
            msg = (
                f"Objective: loss must be deterministic, got {value}, then {float(loss)} for one batch; "
                "switch off what is random (mode='eval') or fix it with rng_seed="
            )
            raise ValueError(msg)
        self._confirmed = True

    def coefficients(self, batch: Batch) -> tuple[float, float]:
        """Return (factor of the batch's loss, its share of the divisor of a mean)."""
        if self.weight is not None:
            scale = share = float(self.weight(batch))
        elif self.criterion is not None and self.criterion.count is not None:
            share = self.criterion.count(batches.split(batch)[1])
            # A criterion that adds is already a sum over the elements, unless none of them counts.
            scale = share if self.criterion.reduction == "mean" else 1.0
        elif self.data.kind == "batch":
            scale = share = 1.0
        else:
            share = batches.length(batch)
            adds = self.criterion is not None and self.criterion.reduction == "sum"
            scale = 1.0 if adds or self.reduction == "sum" else share
        if not (math.isfinite(scale) and math.isfinite(share)) or share < 0:
            msg = f"Objective: weight of a batch must be finite and not negative, got {share}"
            raise ValueError(msg)
        return scale, share

    def total(self, divisor: float) -> float:
        """Return what the weighted sum over the batches is divided by, given the sum of their shares."""
        if divisor == 0:
            msg = "Objective: data must have a target that counts, got weights that are all zero"
            raise ValueError(msg)
        return 1.0 if self.reduction == "sum" else divisor

    def description(self) -> dict[str, object]:
        """Return what a results file says about the objective: JSON-able, no tensors."""
        name = getattr(self._loss, "__qualname__", type(self._loss).__name__)
        selection = self._selection
        return {
            "model": type(self.model).__name__,
            "n": self.n,
            "parameters": len(self.parameter_set.names),
            "parameter_dtypes": sorted({str(p.dtype) for p in self.parameter_set.tensors}),
            "params": "predicate" if callable(selection) else selection,
            "loss": name if self.criterion is None else self.criterion.name,
            "loss_takes": "(model, batch)" if self.criterion is None else "(output, target)",
            "data": type(self.data.source).__name__,
            "reduction": self.reduction,
            "mode": self.mode,
            "l2": self.l2,
            "rng_seed": self.state.rng_seed,
        }
