"""Criteria ``(output, target) -> scalar``: recognising them, and counting what they average over."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Count = Callable[[Tensor], float]


@dataclass(frozen=True)
class Criterion:
    """A loss of (output, target).

    Attributes
    ----------
    function
        Called with (output, target).
    name
        For messages and descriptions.
    reduction
        "mean" or "sum": what ``function`` does over the elements of a batch.
    count
        Target -> number of elements (or their total weight) that a mean is taken over; None where it
        is not known, and then a batch counts with its length.
    separable
        True if the loss of concatenated batches is the counted mean (or the sum) of their losses.
    family
        Its name in ``torch.nn.functional``, or None if its mean is not understood.
    settings
        What it is called with besides output and target, and attributes of a module of the same names.
    """

    function: Callable[[Any, Any], Tensor]
    name: str
    reduction: str
    count: Count | None
    separable: bool
    family: str | None
    settings: Mapping[str, Any]


def is_criterion(loss: object) -> bool:
    """Tell whether a callable is an ``nn.Module``, from ``torch.nn.functional``, or a partial of either."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    if isinstance(loss, nn.Module):
        return True
    name = getattr(loss, "__name__", None)
    return isinstance(name, str) and getattr(F, name, None) is loss


def make_criterion(loss: Callable[..., Any]) -> Criterion:
    """Describe a criterion; raise ValueError if it does not reduce to a scalar."""
    function, settings = _unwrap(loss)
    name = getattr(function, "__name__", type(function).__name__)
    reduction = settings.get("reduction") or "mean"
    if reduction == "none":
        msg = f"Objective: criterion must reduce to a scalar, got {name} with reduction='none'"
        raise ValueError(msg)
    family = _family(function)
    count = None if family is None else _count(family, settings)
    return Criterion(
        function=loss,
        name=name,
        # "batchmean" and the like are means over what `count` says.
        reduction="sum" if reduction == "sum" else "mean",
        count=count,
        separable=count is not None and not _weight_is_per_batch(family, settings),
        family=family,
        settings=settings,
    )


def criterion_settings(loss: Callable[..., Any]) -> tuple[str | None, dict[str, Any]]:
    """Return (name in ``torch.nn.functional`` or None if the mean is not understood, settings)."""
    function, settings = _unwrap(loss)
    return _family(function), settings


def _unwrap(loss: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the innermost callable and the settings it is called with."""
    bound: dict[str, Any] = {}
    positional = False
    while isinstance(loss, functools.partial):
        bound = {**loss.keywords, **bound}
        positional = positional or bool(loss.args)
        loss = loss.func
    if isinstance(loss, nn.Module):
        names = ("reduction", "weight", "ignore_index", "label_smoothing", "pos_weight")
        return loss, {name: getattr(loss, name, None) for name in names} | bound
    if positional:
        msg = "Objective: a partial criterion must bind keywords only, got positional arguments"
        raise ValueError(msg)
    try:
        parameters = inspect.signature(loss).parameters
    except (TypeError, ValueError):  # builtins without a signature
        return loss, bound
    defaults = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    return loss, defaults | bound


_MODULES: dict[type[nn.Module], str] = {
    nn.CrossEntropyLoss: "cross_entropy",
    nn.NLLLoss: "nll_loss",
    nn.MSELoss: "mse_loss",
    nn.L1Loss: "l1_loss",
    nn.SmoothL1Loss: "smooth_l1_loss",
    nn.HuberLoss: "huber_loss",
    nn.BCELoss: "binary_cross_entropy",
    nn.BCEWithLogitsLoss: "binary_cross_entropy_with_logits",
    nn.PoissonNLLLoss: "poisson_nll_loss",
    nn.SoftMarginLoss: "soft_margin_loss",
    nn.HingeEmbeddingLoss: "hinge_embedding_loss",
    nn.KLDivLoss: "kl_div",
    nn.MultiMarginLoss: "multi_margin_loss",
    nn.MultiLabelMarginLoss: "multilabel_margin_loss",
    nn.MultiLabelSoftMarginLoss: "multilabel_soft_margin_loss",
}
_CLASSES = {"cross_entropy", "nll_loss"}
_BINARY = {"binary_cross_entropy", "binary_cross_entropy_with_logits"}
_SAMPLES = {"multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss"}
_KNOWN = set(_MODULES.values())


def _family(function: Callable[..., Any]) -> str | None:
    """Return the name in ``torch.nn.functional`` of a criterion whose mean is understood."""
    if isinstance(function, nn.Module):
        for cls, name in _MODULES.items():
            # A subclass with a forward of its own is another criterion.
            if isinstance(function, cls) and type(function).forward is cls.forward:
                return name
        return None
    name = getattr(function, "__name__", "")
    return name if name in _KNOWN and getattr(F, name) is function else None


def _count(family: str, settings: Mapping[str, Any]) -> Count | None:
    legacy = settings.get("size_average") is not None or settings.get("reduce") is not None
    weighted = settings.get("weight") is not None
    if legacy or (weighted and family not in _CLASSES | _BINARY | _SAMPLES):
        return None
    if family in _CLASSES:
        ignore = settings.get("ignore_index")
        return functools.partial(
            _count_classes, weight=settings.get("weight"), ignore_index=-100 if ignore is None else ignore
        )
    if family in _SAMPLES:
        return _count_label_sets if family.startswith("multilabel") else _count_elements
    return _count_rows if settings.get("reduction") == "batchmean" else _count_elements


def _weight_is_per_batch(family: str | None, settings: Mapping[str, Any]) -> bool:
    """Tell whether a weight has the shape of a batch, so that it fits no concatenation."""
    return family in _BINARY and settings.get("weight") is not None


def _count_elements(target: Tensor) -> float:
    return float(target.numel())


def _count_rows(target: Tensor) -> float:
    return float(target.shape[0])


def _count_label_sets(target: Tensor) -> float:
    return float(target.shape[:-1].numel())


def _count_classes(target: Tensor, *, weight: Tensor | None, ignore_index: int) -> float:
    if target.is_floating_point():  # class probabilities, classes in dimension 1 (0 without a batch)
        classes = target.shape[1 if target.ndim > 1 else 0]
        return target.numel() / max(classes, 1)
    counted = target[target != ignore_index]
    if weight is None:
        return float(counted.numel())
    return float(weight.detach().to(counted.device, torch.float64)[counted].sum())
