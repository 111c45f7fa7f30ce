"""Criteria as negative log likelihoods: what they say about labels, given the outputs of a model.

A criterion is the negative log likelihood of independent labels, one for each element of the target (for
classes) or of the output, times a weight of each. A weight counts as that many equal samples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hesscope.objective.criteria import Criterion


@dataclass(frozen=True)
class Factors:
    """M of a batch as ``diag(d) + Σ_s c r_s r_sᵀ`` for each label.

    Attributes
    ----------
    diagonal
        d, in the shape of the output, or None.
    coefficient
        c, of the dimensions of the output, of length 1 in those that a label takes several entries of; or
        None.
    rows
        r, ``[S, *output]``, or None.
    """

    diagonal: Tensor | None
    coefficient: Tensor | None = None
    rows: Tensor | None = None


class Likelihood(ABC):
    """The distribution of labels that a criterion belongs to.

    Attributes
    ----------
    settings
        Of the criterion.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings

    @abstractmethod
    def weights(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the weight of each label, to be broadcast to the output."""

    @abstractmethod
    def expected(self, output: Tensor, weights: Tensor) -> Factors:
        """Return the mean over labels of r rᵀ, r the derivative of a label's negative log likelihood."""

    @abstractmethod
    def drawn(self, output: Tensor, weights: Tensor, normals: Tensor) -> Factors:
        """Return the same as a mean over draws, made of ``normals [S, number of labels]``."""

    def labels(self, output: Tensor) -> int:
        """Return how many labels an output gives."""
        return output.numel()


class Categorical(Likelihood):
    """Classes, from logits (``cross_entropy``) or log-probabilities (``nll_loss``)."""

    def __init__(self, settings: Mapping[str, Any], *, logits: bool) -> None:
        super().__init__(settings)
        self.logits = logits

    def labels(self, output: Tensor) -> int:
        """Return how many labels an output gives: one for all its classes."""
        return output.numel() // max(output.shape[_class_dim(output)], 1)

    def weights(self, output: Tensor, target: Tensor) -> Tensor:
        """Return class weights of the given labels, 0 for ignored ones; of mixtures, the mean."""
        dim = _class_dim(output)
        classes = output.shape[dim]
        given = self.settings.get("weight")
        per_class = (
            torch.ones(classes, dtype=output.dtype, device=output.device)
            if given is None
            else given.detach().to(output.device, output.dtype)
        )
        smoothing = float(self.settings.get("label_smoothing") or 0.0)
        if target.is_floating_point():
            shape = [classes if d == dim else 1 for d in range(output.ndim)]
            soft = target * (1 - smoothing) + smoothing / classes
            return (soft * per_class.view(shape)).sum(dim, keepdim=True)
        ignore = self.settings.get("ignore_index")
        counts = target != (-100 if ignore is None else ignore)
        own = per_class[torch.where(counts, target, 0)]
        mixed = own * (1 - smoothing) + per_class.mean() * smoothing
        return (mixed * counts).unsqueeze(dim)

    def expected(self, output: Tensor, weights: Tensor) -> Factors:
        """Return diag(p) - p pᵀ for logits, diag(p) for log-probabilities."""
        p = self._probabilities(output)
        if not self.logits:
            return Factors(weights * p)
        return Factors(weights * p, -weights, p[None])

    def drawn(self, output: Tensor, weights: Tensor, normals: Tensor) -> Factors:
        """Draw a class for each label by inverting the distribution function."""
        dim = _class_dim(output)
        p = self._probabilities(output)
        below = p.double().cumsum(dim)
        uniform = 0.5 * torch.erfc(-normals / math.sqrt(2.0))
        drawn = []
        for u in uniform:
            level = u.view(below.select(dim, 0).shape).unsqueeze(dim) * below.narrow(dim, -1, 1)
            label = (below <= level).sum(dim, keepdim=True).clamp_(max=output.shape[dim] - 1)
            drawn.append(torch.zeros_like(p).scatter_(dim, label, 1.0))
        hot = torch.stack(drawn)
        rows = p - hot if self.logits else -hot
        return Factors(None, weights / len(normals), rows)

    def _probabilities(self, output: Tensor) -> Tensor:
        return output.softmax(_class_dim(output)) if self.logits else output.exp()


class Normal(Likelihood):
    """Numbers with variance 1/2, whose negative log likelihood is ``(f - y)²`` (``mse_loss``)."""

    def weights(self, output: Tensor, target: Tensor) -> Tensor:  # noqa: ARG002
        """Return ones."""
        return torch.ones_like(output)

    def expected(self, output: Tensor, weights: Tensor) -> Factors:  # noqa: ARG002
        """Return 2, the mean of (2 (f - y))²."""
        return Factors(2 * weights)

    def drawn(self, output: Tensor, weights: Tensor, normals: Tensor) -> Factors:
        """Draw y = f + z / √2."""
        squares = 2 * normals.square().mean(0)
        return Factors(weights * squares.view(output.shape).to(output.dtype))


class Bernoulli(Likelihood):
    """Yes or no, from logits (``binary_cross_entropy_with_logits``)."""

    def weights(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the weights of the criterion, those of positive labels included."""
        found = torch.ones_like(output)
        positive = self.settings.get("pos_weight")
        if positive is not None:
            found = 1 + (positive.detach().to(output.device, output.dtype) - 1) * target
        given = self.settings.get("weight")
        return found if given is None else found * given.detach().to(output.device, output.dtype)

    def expected(self, output: Tensor, weights: Tensor) -> Factors:
        """Return p (1 - p)."""
        p = output.sigmoid()
        return Factors(weights * p * (1 - p))

    def drawn(self, output: Tensor, weights: Tensor, normals: Tensor) -> Factors:
        """Draw 1 where a uniform number is below p."""
        uniform = 0.5 * torch.erfc(-normals / math.sqrt(2.0))
        p = output.sigmoid()
        labels = (uniform.view(-1, *output.shape) < p.double()).to(p.dtype)
        return Factors(weights * (p - labels).square().mean(0))


_KNOWN: Mapping[str, Any] = {
    "cross_entropy": lambda settings: Categorical(settings, logits=True),
    "nll_loss": lambda settings: Categorical(settings, logits=False),
    "mse_loss": Normal,
    "binary_cross_entropy_with_logits": Bernoulli,
}


def likelihood(criterion: Criterion, matrix: str) -> Likelihood:
    """Return the distribution of labels that a criterion belongs to.

    Raises
    ------
    ValueError
        If it is not known.
    """
    make = _KNOWN.get(criterion.family or "")
    if make is None or criterion.count is None:
        msg = (
            f"{matrix}: criterion must belong to a known distribution of labels ({', '.join(_KNOWN)}), got "
            f"{criterion.name}; kind='empirical' takes more criteria"
        )
        raise ValueError(msg)
    found: Likelihood = make(criterion.settings)
    return found


def row_weights(criterion: Criterion, target: Tensor) -> Tensor:
    """Return ``[rows]``: what each row of a target counts in a mean, as ``criterion.count`` does."""
    assert criterion.count is not None
    if criterion.family not in ("cross_entropy", "nll_loss") or target.is_floating_point():
        return torch.full(
            (len(target),), criterion.count(target[:1]), dtype=torch.float64, device=target.device
        )
    ignore = criterion.settings.get("ignore_index")
    counts = target != (-100 if ignore is None else ignore)
    given = criterion.settings.get("weight")
    if given is None:
        weights = counts.double()
    else:
        weights = given.detach().to(target.device, torch.float64)[torch.where(counts, target, 0)] * counts
    return weights.reshape(len(target), -1).sum(1)


def _class_dim(output: Tensor) -> int:
    return 1 if output.ndim > 1 else 0
