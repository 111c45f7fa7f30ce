"""Noticing that weights, buffers or data have changed since a graph was built."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import torch
from torch import Tensor

from hesscope.objective import Objective
from hesscope.objective.data import tensors

_SMALL = 1 << 16  # bytes: cheaper to copy than to sum by a call of its own


def fingerprint(objective: Objective) -> Hashable:
    """Return a key of all an objective depends on.

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
    return (objective.state.flags(), address_key(watched), checksum(watched))


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


def checksum(watched: Iterable[Tensor]) -> int:
    """Return the sum of the bits of tensors, as 64-bit words; one synchronisation per device."""
    sums: dict[torch.device, list[Tensor]] = {}
    for t in watched:
        if t.layout == torch.strided and t.numel() > 0:
            sums.setdefault(t.device, []).extend(_bit_sums(t.detach()))
    return sum(int(torch.cat(parts).sum()) for parts in sums.values())


def _bit_sums(tensor: Tensor) -> list[Tensor]:
    """Return words ``[*]`` whose total changes with any one word of the tensor: itself if it is small.

    Summing many small tensors together takes half of the calls: a product of a small network takes a
    millisecond, and every call microseconds.
    """
    flat = tensor.contiguous().as_strided((tensor.numel(),), (1,))  # a stride of 1 even for one entry
    size, offset = flat.element_size(), flat.storage_offset()
    if offset * size % 8:  # words must start at multiples of 8 within the storage
        flat = flat.clone()
    whole = flat.numel() * size // 8 * 8
    if whole == flat.numel() * size:
        words = flat.view(torch.int64)
        return [words if whole <= _SMALL else words.sum()[None]]
    octets = flat.view(torch.uint8)
    return [octets[:whole].view(torch.int64).sum()[None], octets[whole:].sum()[None]]
