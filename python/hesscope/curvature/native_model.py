"""What the native engine can differentiate: reading a model and a criterion, or saying why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from hesscope.objective import Objective
from hesscope.objective.criteria import criterion_settings

_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Identity: "identity",
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.SiLU: "silu",
}


@dataclass(frozen=True)
class Layer:
    """A dense layer: its parameters and the name of its activation."""

    weight: Tensor
    bias: Tensor | None
    activation: str


@dataclass(frozen=True)
class NativeCriterion:
    """A loss that the core knows, and the settings of the criterion."""

    loss: str
    settings: dict[str, Any]


def _refuse(reason: str) -> NoReturn:
    msg = (
        f"hessian: engine='native' must be given a dense network with a cross entropy or mean squared error, "
        f"got {reason}; use engine='jets' or 'autograd'"
    )
    raise ValueError(msg)


def _modules(model: nn.Module) -> Iterator[nn.Module]:
    if type(model) is nn.Sequential:
        for child in model:
            yield from _modules(child)
    else:
        yield model


def _activation(module: nn.Module) -> str | None:
    if type(module) is nn.GELU:
        return "gelu" if module.approximate == "none" else "gelu_tanh"
    if type(module) is nn.Softplus:
        return "softplus" if module.beta == 1 else None
    return _ACTIVATIONS.get(type(module))


def describe_layers(objective: Objective) -> list[Layer]:
    """Read the layers of an objective's model; raise ValueError if it is no dense network."""
    layers: list[Layer] = []
    activated = True
    for position, module in enumerate(_modules(objective.model)):
        name = _activation(module)
        if type(module) is nn.Linear:
            bias = None if module.bias is None else module.bias.detach()
            layers.append(Layer(module.weight.detach(), bias, "identity"))
            activated = False
        elif type(module) is nn.Flatten and position == 0 and (module.start_dim, module.end_dim) == (1, -1):
            continue
        elif name is not None and not activated:
            layers[-1] = Layer(layers[-1].weight, layers[-1].bias, name)
            activated = name != "identity"
        else:
            _refuse(f"a model with {module} at position {position}")
    _check_parameters(objective, layers)
    return layers


def _check_parameters(objective: Objective, layers: list[Layer]) -> None:
    if not layers:
        _refuse("a model without a linear layer")
    used = [t for layer in layers for t in (layer.weight, layer.bias) if t is not None]
    selected = [p.data_ptr() for p in objective.parameter_set.tensors]
    if [t.data_ptr() for t in used] != selected:
        _refuse("a selection of the parameters, or parameters that layers share")
    dtypes = {t.dtype for t in used}
    if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
        _refuse(f"parameters of {', '.join(sorted(map(str, dtypes)))}")
    if any(t.stride(-1) != 1 for t in used):
        _refuse("a weight whose rows are not contiguous")


def describe_criterion(objective: Objective) -> NativeCriterion:
    """Read the criterion of an objective; raise ValueError if the core has no such loss."""
    if objective.criterion is None:
        _refuse("a loss of (model, batch)")
    family, settings = criterion_settings(objective.criterion.function)
    losses = {"cross_entropy": "cross_entropy", "mse_loss": "squared_error"}
    if family not in losses or settings.get("size_average") is not None or settings.get("reduce") is not None:
        _refuse(f"the criterion {objective.criterion.name}")
    if family == "mse_loss" and settings.get("weight") is not None:
        _refuse("a weighted mean squared error")
    return NativeCriterion(losses[family], settings)


def target_of(
    criterion: NativeCriterion, layers: list[Layer], inputs: object, target: Tensor
) -> tuple[Tensor, float]:
    """Return the target rows ``[M, out]`` of a batch and the factor of its loss."""
    weight = layers[0].weight
    if not isinstance(inputs, Tensor) or inputs.ndim < 2 or inputs.flatten(1).shape[1] != weight.shape[1]:
        got = list(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
        _refuse(f"an input that is no [M, {weight.shape[1]}], but {got}")
    shape = (len(inputs), layers[-1].weight.shape[0])
    mean = criterion.settings.get("reduction", "mean") == "mean"
    if criterion.loss == "squared_error":
        if tuple(target.shape) != shape:
            _refuse(f"a target {list(target.shape)} for an output {list(shape)}")
        return target.to(weight.dtype).contiguous(), 1 / target.numel() if mean else 1.0
    rows, divisor = _class_rows(criterion.settings, target, shape, weight)
    return rows.to(weight.dtype).contiguous(), 1 / divisor if mean else 1.0


def _class_rows(
    settings: dict[str, Any], target: Tensor, shape: tuple[int, int], like: Tensor
) -> tuple[Tensor, float]:
    """Return the weights of the log-probabilities in a cross entropy, float64, and its divisor."""
    classes = shape[1]
    given, smoothing = settings.get("weight"), float(settings.get("label_smoothing") or 0.0)
    weight = like.new_ones(classes, dtype=torch.float64)
    if given is not None:
        weight = given.detach().to(weight)
    if target.is_floating_point():
        if tuple(target.shape) != shape:
            _refuse(f"a target {list(target.shape)} for an output {list(shape)}")
        smooth = (1 - smoothing) * target.double() + smoothing / classes
        return smooth * weight, float(shape[0])
    if tuple(target.shape) != shape[:1]:
        _refuse(f"a target {list(target.shape)} for an output {list(shape)}")
    ignored = settings.get("ignore_index")
    counts = target != (-100 if ignored is None else ignored)
    index = torch.where(counts, target, 0)
    rows = torch.nn.functional.one_hot(index, classes).double() * (1 - smoothing) * weight
    rows = (rows + smoothing / classes * weight) * counts[:, None]
    return rows, float((weight[index] * counts).sum())
