"""Data: one batch or a sequence of them, of tensors in any nesting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from hesscope.objective.readings import Readings

Batch = Any  # a tensor, or tuples, lists and mappings of them; what the loss takes


@dataclass(frozen=True)
class Data:
    """What was passed as ``data``, and how to go through it.

    Attributes
    ----------
    source
        The user's object.
    kind
        "batch" (one batch), "list" (batches that stay in memory) or "stream" (anything re-iterable,
        whose batches may be made anew each time).
    """

    source: Any
    kind: str
    _readings: Readings = field(default_factory=lambda: Readings(tensors), repr=False, compare=False)

    def __iter__(self) -> Iterator[Batch]:
        """Go through the batches once; raise ValueError if a stream gives others than at first."""
        if self.kind == "stream":
            return self._readings.read(self.source)
        return iter([self.source] if self.kind == "batch" else self.source)


def classify(data: object) -> Data:
    """Decide what ``data`` is; raise if it is empty or can be read only once."""
    if isinstance(data, Tensor):
        return Data(data, "batch")
    if isinstance(data, (tuple, Mapping)):
        if len(data) == 0:
            _refuse_empty()
        return Data(data, "batch")
    if isinstance(data, list):
        if not data:
            _refuse_empty()
        return Data(data, "list")
    advice = "pass a tensor, tuple or dict (one batch), or a list, DataLoader or other re-iterable of batches"
    if isinstance(data, (str, bytes)) or not isinstance(data, Iterable) or hasattr(data, "__array__"):
        msg = f"Objective: data must be tensors in batches, got {type(data).__name__}; {advice}"
        raise TypeError(msg)
    if isinstance(data, Iterator):
        msg = (
            f"Objective: data must be re-iterable, got a one-shot {type(data).__name__}; "
            "every product with H reads the data again: pass list(data) or a DataLoader"
        )
        raise ValueError(msg)  # noqa: TRY004 - of the right protocol, but used up after one pass
    if isinstance(data, Sized) and len(data) == 0:
        _refuse_empty()
    return Data(data, "stream")


def _refuse_empty() -> None:
    msg = "Objective: data must contain a batch, got an empty one"
    raise ValueError(msg)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move every tensor of a batch; objects that are no containers move if they have ``.to``."""

    def move(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf if leaf.device == device else leaf.to(device)
        if all(t.device == device for t in tensors(leaf)):
            return leaf
        if hasattr(leaf, "to"):
            return leaf.to(device)
        return {key: to_device(value, device) for key, value in leaf.items()}

    return pytree.tree_map(move, batch)


def tensors(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch, those in mappings and plain objects included, in order."""
    found: list[Tensor] = []
    for leaf in pytree.tree_leaves(batch):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, Mapping):
            found.extend(t for value in leaf.values() for t in tensors(value))
        elif hasattr(leaf, "__dict__") and not isinstance(leaf, type):
            found.extend(t for t in vars(leaf).values() if isinstance(t, Tensor))
    return found


def length(batch: Batch) -> float:
    """Return the length of the first tensor of a batch: its default weight."""
    found = tensors(batch)
    if not found or found[0].ndim == 0:
        what = "no tensor" if not found else "a first tensor without dimensions"
        msg = f"Objective: a batch must start with a tensor that has a length, got {what}; pass weight="
        raise ValueError(msg)
    return float(found[0].shape[0])


def split(batch: Batch) -> tuple[Any, Tensor]:
    """Return (input, target) of a criterion's batch."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    what = f"a {type(batch).__name__}"
    if isinstance(batch, (tuple, list)):
        what += f" of {len(batch)}"
    msg = (
        f"Objective: with a criterion every batch must be (input, target), got {what}; "
        "a list is a sequence of batches, a tuple is one; for other batches pass loss(model, batch)"
    )
    raise ValueError(msg)


def call(model: Any, inputs: Any) -> Any:
    """Call a model: ``model(tensor)``, ``model(*tuple)`` or ``model(**mapping)``."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def signature(batch: Batch) -> tuple[Any, ...] | None:
    """Return what must agree for batches to be concatenated, or None if this one cannot be.

    All leaves must be tensors of one length; the shapes beyond dimension 0, dtypes and nesting are
    the signature.
    """
    leaves, nesting = pytree.tree_flatten(batch)
    if not leaves or not all(isinstance(leaf, Tensor) and leaf.ndim > 0 for leaf in leaves):
        return None
    if len({leaf.shape[0] for leaf in leaves}) != 1:
        return None
    return (str(nesting), tuple((tuple(t.shape[1:]), t.dtype) for t in leaves))


def concatenate(batches: list[Batch]) -> Batch:
    """Join batches of one signature along dimension 0."""
    if len(batches) == 1:
        return batches[0]
    nesting = pytree.tree_structure(batches[0])
    columns = zip(*(pytree.tree_leaves(batch) for batch in batches), strict=True)
    return pytree.tree_unflatten([torch.cat(column) for column in columns], nesting)


def narrowed(batch: Batch, part: slice) -> Batch:
    """Return some samples of a batch that has a signature, as views."""
    return pytree.tree_map(lambda t: t[part], batch)
