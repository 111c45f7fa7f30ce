"""Which parameters are differentiated, and where each lies in a vector of n entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

Selection = str | Sequence[str] | Callable[[str, Tensor], bool] | None


class ParameterSet:
    """The selected parameters of a model, in the order of ``model.named_parameters()``.

    Only parameters with ``requires_grad`` take part, and a shared one is there once, under its first
    name; a pattern or a predicate may refer to it by any of its names.

    Attributes
    ----------
    names, tensors, numels, slices
        One entry per parameter; ``slices`` are the ranges in the vector of length ``n``.
    watched
        (module, attribute, name, parameter) of every parameter of the model, to notice a change.
    dtype
        Of vectors: float64 if any selected parameter is float64, else float32.
    """

    def __init__(self, model: nn.Module, selection: Selection) -> None:
        aliases, found, owners = _named(model)
        chosen = _select(aliases, found, selection)
        self.names = chosen
        self.tensors = [found[name] for name in chosen]
        self.watched = [(*owners[name], name, parameter) for name, parameter in found.items()]
        self.device = _check(chosen, self.tensors)
        self.dtype = torch.float64 if any(p.dtype == torch.float64 for p in self.tensors) else torch.float32
        self.numels = [p.numel() for p in self.tensors]
        self.slices: list[slice] = []
        start = 0
        for numel in self.numels:
            self.slices.append(slice(start, start + numel))
            start += numel
        self.n = start

    def flatten(self, values: Mapping[str, Tensor]) -> Tensor:
        """Lay tensors, keyed by parameter name, end to end: ``dict -> [n]``."""
        missing = [name for name in self.names if name not in values]
        unknown = [name for name in values if name not in self.names]
        if missing or unknown:
            msg = f"flatten: values must name every parameter, got missing {missing}, unknown {unknown}"
            raise ValueError(msg)
        vector = torch.empty(self.n, dtype=self.dtype, device=self.device)
        for name, p, part in zip(self.names, self.tensors, self.slices, strict=True):
            if values[name].shape != p.shape:
                msg = f"flatten: {name} must have shape {list(p.shape)}, got {list(values[name].shape)}"
                raise ValueError(msg)
            vector[part].view(p.shape).copy_(values[name].detach())
        return vector

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Cut a vector into views shaped as the parameters: ``[n] -> dict``."""
        if vector.shape != (self.n,):
            msg = f"unflatten: vector must have shape [{self.n}], got {list(vector.shape)}"
            raise ValueError(msg)
        return {
            name: vector[part].reshape(p.shape)
            for name, p, part in zip(self.names, self.tensors, self.slices, strict=True)
        }


def _named(
    model: nn.Module,
) -> tuple[dict[str, list[str]], dict[str, nn.Parameter], dict[str, tuple[nn.Module, str]]]:
    """Return by first name: all names, the parameter, and (owning module, attribute)."""
    first_name: dict[int, str] = {}
    aliases: dict[str, list[str]] = {}
    found: dict[str, nn.Parameter] = {}
    owners: dict[str, tuple[nn.Module, str]] = {}
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = first_name.setdefault(id(parameter), name)
        aliases.setdefault(first, []).append(name)
        found[first] = parameter
        prefix, _, attribute = first.rpartition(".")
        owners[first] = (modules[prefix], attribute)
    return aliases, found, owners


def _select(
    aliases: Mapping[str, Sequence[str]], found: Mapping[str, nn.Parameter], selection: Selection
) -> list[str]:
    trainable = [name for name, p in found.items() if p.requires_grad]
    if not trainable:
        msg = "Objective: model must have a parameter with requires_grad, got none"
        raise ValueError(msg)
    if selection is None:
        return trainable
    if callable(selection):
        chosen = [m for m in trainable if any(selection(name, found[m]) for name in aliases[m])]
        if not chosen:
            msg = f"Objective: params must select a parameter, got none of {_listing(trainable)}"
            raise ValueError(msg)
        return chosen
    patterns = [selection] if isinstance(selection, str) else list(selection)
    hits: set[str] = set()
    for pattern in patterns:
        matching = {m for m in trainable if any(fnmatchcase(name, pattern) for name in aliases[m])}
        if not matching:
            msg = (
                f"Objective: params must match a parameter with requires_grad, got {pattern!r}; "
                f"there are {_listing(trainable)}"
            )
            raise ValueError(msg)
        hits |= matching
    if not hits:
        msg = f"Objective: params must select a parameter, got {patterns}; there are {_listing(trainable)}"
        raise ValueError(msg)
    return [name for name in trainable if name in hits]


def _listing(names: Iterable[str], limit: int = 20) -> str:
    names = list(names)
    rest = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def _check(names: Sequence[str], tensors: Sequence[Tensor]) -> torch.device:
    for name, p in zip(names, tensors, strict=True):
        if isinstance(p, UninitializedParameter):
            msg = f"Objective: model must be initialised, got lazy parameter {name}; run it once first"
            raise ValueError(msg)  # noqa: TRY004 - the value is not ready; its type is legal
        if not p.dtype.is_floating_point:
            msg = f"Objective: parameters must be real floating-point tensors, got {p.dtype} for {name}"
            raise TypeError(msg)
    devices = {p.device for p in tensors}
    if len(devices) > 1:
        listed = ", ".join(sorted(map(str, devices)))
        msg = f"Objective: the selected parameters must be on one device, got {listed}"
        raise ValueError(msg)
    return tensors[0].device
