"""Noticing that weights, buffers or data have changed since a graph was built."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import torch
from torch import Tensor

from hesscope.objective import Objective
from hesscope.objective.checksum import Checksum
from hesscope.objective.data import tensors


def fingerprint(objective: Objective, checksum: Checksum | None = None) -> Hashable:
    """Return a key of all an objective depends on; a checksum that is kept between calls makes it faster.

    Address and version counter of every parameter, buffer and batch tensor that stays in memory, the
    training flags, and a sum over the bits of all of them, for writes that bypass the counter. Reads
    everything once: about a thousandth of a product for a network with dense layers.

    Raises
    ------
    ValueError
        If a parameter of the model is no longer the one that was selected, or was moved to another
        device, precision or shape.
    """
    _require_same_kind(objective)
    watched: list[Tensor] = []
    for module, attribute, name, parameter in objective.parameter_set.watched:
        if module._parameters.get(attribute) is not parameter:
            msg = f"fingerprint: model must keep its parameters, got another {name}; make a new Objective"
            raise ValueError(msg)
        watched.append(parameter)
    watched += objective.state.buffers()
    if objective.data.kind != "stream":
        watched += [t for batch in objective.data for t in tensors(batch)]
    return (objective.state.flags(), address_key(watched), (checksum or Checksum())(watched))


def _require_same_kind(objective: Objective) -> None:
    parts = objective.parameter_set
    for name, numel, p in zip(parts.names, parts.numels, parts.tensors, strict=True):
        if p.device != objective.device or p.numel() != numel:
            msg = (
                f"fingerprint: model must stay as it was selected, got {name} with {p.numel()} entries on "
                f"{p.device}, before {numel} on {objective.device}; make a new Objective"
            )
            raise ValueError(msg)
    double = any(p.dtype == torch.float64 for p in parts.tensors)
    if double != (objective.dtype == torch.float64):
        msg = (
            f"fingerprint: model must keep its precision, got {parts.tensors[0].dtype} for {parts.names[0]}, "
            f"vectors being {objective.dtype}; make a new Objective"
        )
        raise ValueError(msg)


def address_key(watched: Iterable[Tensor]) -> Hashable:
    """Return the addresses and version counters of tensors."""
    return tuple((t.data_ptr(), -1 if t.is_inference() else t._version) for t in watched)
